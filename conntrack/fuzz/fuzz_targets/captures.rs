//! Captures as `nct replay` reads them, and the packets in them: no panic, no endless reading.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../nct/src/capture/frame.rs"]
mod frame;
#[path = "../../nct/src/capture/source.rs"]
mod source;

use libfuzzer_sys::fuzz_target;
use nulls_conntrack::{Config, Family, Hook, NullsStore, Packet, Tracker, Verdict};
use std::io::Cursor;

fuzz_target!(|input: &[u8]| {
    let ct = Tracker::new(
        NullsStore::<()>::new(1 << 10, 16).expect("memory"),
        Config::default(),
    );
    let input = Box::new(Cursor::new(input.to_vec()));
    let Ok(mut capture) = source::Capture::new("input".to_owned(), input) else {
        return;
    };
    let mut records = 0;
    while let Ok(Some(record)) = capture.next() {
        records += 1;
        assert!(records < 1_000_000, "more records than bytes");
        if let frame::Payload::Ip(ip) = frame::decode(record.link, record.data) {
            let family = match ip.family {
                frame::Family::V4 => Family::Ipv4,
                frame::Family::V6 => Family::Ipv6,
            };
            let mut pkt = Packet::new(ip.bytes, family, record.time.unwrap_or(0).unsigned_abs());
            if ct.track(&mut pkt, Hook::PreRouting) == Verdict::Accept {
                ct.confirm(&mut pkt, Hook::PostRouting);
            }
        }
    }
});
