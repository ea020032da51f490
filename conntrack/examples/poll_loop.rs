//! A datapath as poll-mode drivers have it: one thread for each receive queue, bursts of packets, one tracker for all of them.
//!
//! `cargo run --release -p nulls-conntrack --example poll_loop -- [QUEUES] [BURSTS]`
//!
//! The "card" here makes its packets itself: each queue sees the packets of its own flows, both directions, as receive-side scaling with a symmetric
//! key would spread them. A thread takes a burst, tracks it ([`Tracker::track_batch`]: parse, prefetch, look up, update), lets a rule of the application
//! decide, and sends the rest on. Another thread collects garbage, a third reads events; neither ever stops the queues.

use nulls_conntrack::event_queue::EventQueue;
use nulls_conntrack::events::Kind;
use nulls_conntrack::tracker::GcWorker;
use nulls_conntrack::{
    Config, Direction, Family, Hook, NullsStore, Packet, PacketState, Tracker, Verdict,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Packets in a burst.
const BURST: usize = 32;
/// Flows of each queue.
const FLOWS: u32 = 10_000;

/// A receive queue that makes its packets: datagrams of many flows, and answers to them.
struct Queue {
    number: u8,
    next: u32,
}

impl Queue {
    /// Fills `frames` with the next packets, from the IP header on.
    fn receive(&mut self, frames: &mut Vec<Vec<u8>>) {
        frames.clear();
        for _ in 0..BURST {
            let flow = self.next / 4 % FLOWS;
            let back = self.next % 4 == 3;
            self.next += 1;
            let client = [10, self.number, (flow >> 8) as u8, flow as u8];
            let server = [192, 0, 2, 53];
            let (src, dst) = if back {
                (server, client)
            } else {
                (client, server)
            };
            let (sport, dport) = if back { (53u16, 4000u16) } else { (4000, 53) };
            let mut p = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
            p.extend(src);
            p.extend(dst);
            p.extend(sport.to_be_bytes());
            p.extend(dport.to_be_bytes());
            p.extend([0, 8, 0, 0]);
            frames.push(p);
        }
    }
}

/// What a thread counted.
#[derive(Default)]
struct Counts {
    packets: u64,
    new: u64,
    established: u64,
    dropped: u64,
}

/// One thread of the datapath.
fn datapath(ct: &Tracker<NullsStore>, mut queue: Queue, bursts: u64, began: Instant) -> Counts {
    let mut counts = Counts::default();
    let mut frames = Vec::with_capacity(BURST);
    for _ in 0..bursts {
        queue.receive(&mut frames);
        // One look at the clock serves the burst.
        let now = began.elapsed().as_nanos() as u64;
        let mut packets: Vec<_> = frames
            .iter()
            .map(|f| Packet::new(f, Family::Ipv4, now))
            .collect();
        ct.track_batch(&mut packets, Hook::PreRouting, |ct, packet, verdict| {
            counts.packets += 1;
            // The application's rule: answers only to what was asked.
            let unasked = packet.state() == PacketState::New
                && packet
                    .conn()
                    .is_some_and(|c| c.tuple(Direction::Original).src_l4() == 53);
            if verdict != Verdict::Accept || unasked {
                counts.dropped += 1;
                return;
            }
            match packet.state() {
                PacketState::New => counts.new += 1,
                _ => counts.established += 1,
            }
            if ct.confirm(packet, Hook::PostRouting) != Verdict::Accept {
                counts.dropped += 1;
            }
        });
    }
    counts
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let queues: u8 = args.next().map_or(Ok(2), |a| a.parse())?;
    let bursts: u64 = args.next().map_or(Ok(20_000), |a| a.parse())?;
    let ct = Arc::new(Tracker::new(
        NullsStore::<()>::with_capacity(1 << 20, 1 << 15)?,
        Config::default(),
    ));
    let (events, mut reader) = EventQueue::new(1 << 16);
    ct.set_listener(Some(Arc::new(events.only(&[Kind::New, Kind::Destroy]))));
    let began = Instant::now();
    let _collector = GcWorker::spawn(Arc::clone(&ct), move || began.elapsed().as_nanos() as u64)?;
    let (done, told) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|s| {
        s.spawn(|| {
            // Relaxed: both are numbers on their own; the last events are read after the end.
            while !done.load(Ordering::Relaxed) {
                while reader.next_timeout(Duration::from_millis(20)).is_some() {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
            told.fetch_add(reader.by_ref().count() as u64, Ordering::Relaxed);
        });
        let threads: Vec<_> = (0..queues)
            .map(|number| {
                let ct = &ct;
                s.spawn(move || datapath(ct, Queue { number, next: 0 }, bursts, began))
            })
            .collect();
        for (q, t) in threads.into_iter().enumerate() {
            let c = t.join().expect("the datapath does not panic");
            println!(
                "queue {q}: {} packets, {} new, {} established, {} dropped",
                c.packets, c.new, c.established, c.dropped
            );
        }
        done.store(true, Ordering::Relaxed);
    });
    println!(
        "{} connections in {:.2} s; {} events read, {} lost",
        ct.net().count(),
        began.elapsed().as_secs_f64(),
        told.load(Ordering::Relaxed),
        reader.lost()
    );
    Ok(())
}
