//! The same random packets through a kernel and through the tracker, compared after every packet: state and direction of the packet, and the whole
//! table as `/proc/net/nf_conntrack` shows it.
//!
//! Needs root, `ip`, `nft`, `conntrack` and a kernel that may make network namespaces; says so and passes where that is not to be had. The kernel is
//! supposed to be Linux 6.18. 20 seeds by default; `NCT_LIVE_SEEDS` says how many, `NCT_LIVE_FIRST` with which to begin,
//! `NCT_LIVE_PACKETS` how many packets each has; with `NCT_LIVE_TRACE` set every packet is shown:
//!
//! ```text
//! NCT_LIVE_SEEDS=1000 cargo test -p nct --test live -- --nocapture
//! ```

#![cfg(target_os = "linux")]

mod kernel;
mod traffic;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use kernel::{Kernel, STATES, Side};
use nulls_conntrack::defrag::{self, Defrag};
use nulls_conntrack::input::ip_rcv;
use nulls_conntrack::{
    Config, Direction, Family, Hook, Layout, Nanos, NullsStore, Packet, Pipeline, Tracker, Verdict,
};
use traffic::{Dice, KINDS, Kind};

/// Timeouts that could end during a run are made long, on both sides. (Of fragments above all: the kernel's timer may be two seconds late.)
const LONG: [&str; 10] = [
    "frag6_timeout",
    "tcp_timeout_close",
    "sctp_timeout_closed",
    "sctp_timeout_cookie_wait",
    "sctp_timeout_cookie_echoed",
    "sctp_timeout_shutdown_sent",
    "sctp_timeout_shutdown_recd",
    "sctp_timeout_shutdown_ack_sent",
    "sctp_timeout_heartbeat_sent",
    "sctp_timeout_established",
];

/// A difference that is one happens in each of so many runs.
const ATTEMPTS: usize = 5;

/// Settings that change what TCP does, and values to try.
const CHOICES: [(&str, &[u32]); 4] = [
    ("tcp_loose", &[1, 1, 0]),
    ("tcp_be_liberal", &[0, 0, 1]),
    ("tcp_ignore_invalid_rst", &[0, 0, 1]),
    ("tcp_max_retrans", &[3, 0, 1, 5]),
];

struct Ours {
    ct: Tracker<NullsStore>,
    pipeline: Pipeline<NullsStore>,
}

impl Ours {
    /// With fragments that wait from earlier seeds, as they do in the kernel.
    fn new(defrag: &Arc<Defrag>) -> Self {
        let mut pipeline = Pipeline::new(Layout::Linux618);
        defrag.register(&mut pipeline);
        let ct = Tracker::new(
            NullsStore::new(100_000, 1024).expect("memory"),
            Config::default(),
        );
        Self { ct, pipeline }
    }

    /// The number that the kernel's rules would write, if the packet goes on.
    fn send(&self, side: Side, packet: &[u8], now: Nanos) -> Option<u8> {
        let family = if packet[0] >> 4 == 6 {
            Family::Ipv6
        } else {
            Family::Ipv4
        };
        let data = ip_rcv(packet, family).ok()?;
        let mut pkt = Packet::new(data, family, now);
        pkt.iif = 1 + side as u32;
        if self.pipeline.run(&self.ct, &mut pkt, Hook::PreRouting) != Verdict::Accept {
            return None;
        }
        let state = STATES
            .iter()
            .position(|s| *s == pkt.state().name())
            .expect("a state");
        let dir = match pkt.direction() {
            None => 0,
            Some(Direction::Original) => 1,
            Some(Direction::Reply) => 2,
        };
        let passed = self.pipeline.run(&self.ct, &mut pkt, Hook::PostRouting) == Verdict::Accept;
        passed.then_some(1 + 3 * state as u8 + dir)
    }
}

/// How often each number was seen.
type Seen = BTreeMap<Option<u8>, usize>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn now() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_nanos() as Nanos)
}

/// Lines without timeout and number of references, and the timeouts.
fn lines(table: &str) -> Vec<(Vec<&str>, i64)> {
    let mut all: Vec<_> = table
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line
                .split_whitespace()
                .filter(|f| !f.starts_with("use="))
                .collect();
            let timeout = fields
                .remove(4)
                .parse()
                .expect("the fifth field is the timeout");
            (fields, timeout)
        })
        .collect();
    all.sort();
    all
}

fn name(code: Option<u8>) -> String {
    match code {
        None => "not forwarded".to_owned(),
        Some(0) => "no state".to_owned(),
        Some(c) => {
            let (state, dir) = (usize::from(c - 1) / 3, (c - 1) % 3);
            let dirs = ["", " original", " reply"];
            format!(
                "{}{}",
                STATES.get(state).unwrap_or(&"?"),
                dirs[usize::from(dir)]
            )
        }
    }
}

/// Sends one seed's packets both ways. The first difference, if there is one.
fn compare(
    kernel: &Kernel,
    kind: Kind,
    seed: u64,
    count: usize,
    seen: &mut Seen,
    defrag: &Arc<Defrag>,
) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let ours = Ours::new(defrag);
    let trace = std::env::var_os("NCT_LIVE_TRACE").is_some();
    kernel.flush();
    let mut settings: Vec<(&str, u32)> = LONG.iter().map(|n| (*n, kernel::LONG_TIME)).collect();
    for (name, values) in CHOICES {
        settings.push((name, values[dice.below(values.len() as u32) as usize]));
    }
    for (name, value) in settings.into_iter().chain([("acct", 1)]) {
        let name = format!("nf_conntrack_{name}");
        kernel.set(&name, value);
        ours.ct
            .set_sysctl(&name, &value.to_string())
            .expect("a setting");
    }
    for (n, (side, packet)) in traffic::packets(kind, &mut dice, count)
        .into_iter()
        .enumerate()
    {
        if trace {
            tell(&format!("{side:?} {}", hex(&packet)));
        }
        let t = now();
        let theirs = kernel.send(side, &packet);
        let mine = ours.send(side, &packet, t);
        let place = || {
            format!(
                "{kind:?} seed {seed} packet {n} from {side:?}: {}\n",
                hex(&packet)
            )
        };
        if theirs != mine {
            return Err(format!(
                "{}the kernel says {}, we say {}",
                place(),
                name(theirs),
                name(mine)
            ));
        }
        *seen.entry(mine).or_default() += 1;
        // Both tables as of now, however long it takes to read them.
        let t = now();
        let table = kernel.table();
        let text = ours.ct.proc_net_nf_conntrack(t);
        let (k, m) = (lines(&table), lines(&text));
        let close = k.len() == m.len()
            && k.iter()
                .zip(&m)
                .all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1);
        if !close {
            let only = |a: &[(Vec<&str>, i64)], b: &[(Vec<&str>, i64)]| -> String {
                a.iter()
                    .filter(|e| !b.contains(e))
                    .map(|(f, t)| format!("  {t} {}\n", f.join(" ")))
                    .collect()
            };
            return Err(format!(
                "{}only the kernel has\n{}only we have\n{}",
                place(),
                only(&k, &m),
                only(&m, &k)
            ));
        }
    }
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse().unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

/// Says something even if the test's output is not shown.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[test]
fn the_kernel_and_the_tracker_agree_after_every_packet() {
    let (seeds, first) = (setting("NCT_LIVE_SEEDS", 20), setting("NCT_LIVE_FIRST", 1));
    let count = setting("NCT_LIVE_PACKETS", 200) as usize;
    // A thread of its own: it changes namespaces.
    let run = move || {
        let kernel = match Kernel::new("a") {
            Ok(kernel) => kernel,
            Err(why) => {
                tell(&format!("SKIPPED: no comparison with a live kernel: {why}"));
                return Vec::new();
            }
        };
        let (mut differences, mut again) = (Vec::new(), 0);
        let mut seen = Seen::new();
        let defrag = Arc::new(Defrag::new(defrag::Config {
            timeout: kernel::LONG_TIME,
            ..defrag::Config::default()
        }));
        for seed in first..first + seeds {
            let kind = KINDS[(seed % KINDS.len() as u64) as usize];
            // What depends on when exactly a packet came (the machine may stand still for seconds) does not happen every time.
            if let Err(once) = compare(&kernel, kind, seed, count, &mut seen, &defrag) {
                again += 1;
                let mut more =
                    (1..ATTEMPTS).map(|_| compare(&kernel, kind, seed, count, &mut seen, &defrag));
                if more.any(|r| r.is_ok()) {
                    tell(&format!("not every time: {once}"));
                } else {
                    differences.push(once);
                }
            }
            if seeds > 50 && (seed - first) % 50 == 49 {
                tell(&format!(
                    "{} seeds, {} differences",
                    seed - first + 1,
                    differences.len()
                ));
            }
        }
        tell(&format!(
            "live comparison: {seeds} seeds of {count} packets, {} differences, {} that did not happen again",
            differences.len(),
            again - differences.len()
        ));
        let kinds: Vec<String> = seen
            .iter()
            .map(|(c, n)| format!("{n} {}", name(*c)))
            .collect();
        tell(&kinds.join(", "));
        // A comparison in which nothing happens would not be one.
        if seeds >= 6 && count >= 100 {
            assert!(seen.len() >= 6, "only {kinds:?}");
        }
        differences
    };
    let differences = std::thread::spawn(run).join().expect("the comparison ends");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
