//! Bugs that one thread shows: dumps in pages, eviction, limits, misuse, and one of protocol logic (G13, G14, G17, G18, G21,
//! G24). Each is a search through all small cases; the checker merely runs it.

use super::pair;
use crate::harness::Model;
use crate::verdict::saw;

pub const MODELS: [&[Model]; 6] = [
    &pair!("g13-dump-keeps-a-reference", "a dump that is cut short by a deletion leaks no reference",
        threads: 1, outcomes: &["whole", "cut"], dump_reference),
    &pair!("g14-dump-counts-buckets", "a dump in pages of any size yields every entry once",
        threads: 1, outcomes: &["once each"], dump_pages),
    &pair!("g17-chain-without-a-limit", "no look-up visits more entries than the limit allows",
        threads: 1, outcomes: &["refused", "admitted"], chain_limit),
    &pair!("g18-collector-starts-over", "an expired entry goes within as many runs as there are entries",
        threads: 1, outcomes: &["evicted"], collector),
    &pair!("g21-resize-before-the-table", "a size given before there is a table, or too large a one, is refused",
        threads: 1, outcomes: &["refused", "resized"], misuse),
    &pair!("g24-reset-without-direction", "nothing that one side sends out of window closes an established connection",
        threads: 1, outcomes: &["stays", "closed by the other"], reset),
];

/// A dump of a table of two buckets goes over in messages of one entry; after each, one entry may be deleted.
fn dump_reference(fixed: bool) {
    for deleted in [None, Some(0), Some(1), Some(2)] {
        // Entry: bucket and references (the table's).
        let mut entries = [(0, 1), (0, 1), (1, 1)];
        let mut linked = [true; 3];
        let mut last: Option<usize> = None;
        let mut dumped = 0;
        let mut first_message = true;
        for bucket in 0..2 {
            loop {
                // Where to go on in this bucket: behind `last`, if it is met again.
                let in_bucket: Vec<usize> = (0..3)
                    .filter(|&i| linked[i] && entries[i].0 == bucket)
                    .collect();
                let from = match last {
                    Some(l) if fixed => in_bucket
                        .iter()
                        .position(|&i| i > l)
                        .unwrap_or(in_bucket.len()),
                    Some(l) => match in_bucket.iter().position(|&i| i == l) {
                        Some(at) => {
                            entries[l].1 -= 1;
                            last = None;
                            at + 1
                        }
                        None => in_bucket.len(),
                    },
                    None => 0,
                };
                let Some(&next) = in_bucket.get(from) else {
                    break;
                };
                dumped += 1;
                if !fixed {
                    entries[next].1 += 1;
                }
                last = Some(next);
                if std::mem::take(&mut first_message)
                    && let Some(d) = deleted
                {
                    linked[d] = false;
                    entries[d].1 -= 1;
                }
            }
        }
        if !fixed && let Some(l) = last.filter(|&l| linked[l]) {
            // The end of the dump drops it where it still knows of it.
            entries[l].1 -= 1;
        }
        for (i, &(_, refs)) in entries.iter().enumerate() {
            assert_eq!(refs, i32::from(linked[i]), "a reference to entry {i} leaks");
        }
        saw(if dumped == 3 { "whole" } else { "cut" });
    }
}

fn dump_pages(fixed: bool) {
    let table: [&[u32]; 3] = [&[1, 2, 3], &[], &[4, 5]];
    for page in 1..=5 {
        let mut out = Vec::new();
        // Where the next page begins: bucket, and entries of it that were shown.
        let mut at = (0, 0);
        let mut pages = 0;
        while at.0 < table.len() {
            pages += 1;
            assert!(pages < 20, "the dump never ends");
            let mut room = page;
            while at.0 < table.len() && room > 0 {
                let rest = &table[at.0][at.1..];
                let n = rest.len().min(room);
                out.extend_from_slice(&rest[..n]);
                room -= n;
                at = if n == rest.len() {
                    (at.0 + 1, 0)
                } else {
                    (at.0, at.1 + n)
                };
            }
            if !fixed && at.1 > 0 {
                // Only the bucket's number is kept, and the next page begins behind it.
                at = (at.0 + 1, 0);
            }
        }
        assert_eq!(out, [1, 2, 3, 4, 5], "pages of {page}");
    }
    saw("once each");
}

fn chain_limit(fixed: bool) {
    const LIMIT: usize = 50;
    for spread in [0, 7, 29] {
        let (mut chain, mut refused) = (Vec::new(), 0);
        // An attacker knows the hash: all in one bucket.
        for key in 0..200 {
            if fixed && chain.len() > LIMIT + spread {
                refused += 1;
            } else {
                chain.push(key);
            }
        }
        assert!(
            chain.len() <= LIMIT + 30,
            "a look-up visits {} entries",
            chain.len()
        );
        saw("admitted");
        if refused > 0 {
            saw("refused");
        }
    }
}

/// A collector with a budget; before each run something in front expires again.
fn collector(fixed: bool) {
    const BUDGET: usize = 2;
    for victim in 0..6 {
        let mut expired = [false; 6];
        expired[victim] = true;
        let (mut next, mut runs) = (0, 0);
        while expired[victim] {
            // Traffic makes the first two expire anew.
            (expired[0], expired[1]) = (true, true);
            runs += 1;
            assert!(runs <= 6, "entry {victim} is never reached");
            let mut evicted = 0;
            if !fixed {
                next = 0;
            }
            for _ in 0..6 {
                if std::mem::take(&mut expired[next]) {
                    evicted += 1;
                }
                next = (next + 1) % 6;
                if evicted == BUDGET {
                    break;
                }
            }
        }
    }
    saw("evicted");
}

fn misuse(fixed: bool) {
    #[derive(Debug, PartialEq)]
    struct Refused;
    let set_size = |table: &mut Option<Vec<u64>>, size: usize| -> Result<(), Refused> {
        if fixed && (table.is_none() || size == 0 || size.checked_mul(8).is_none()) {
            return Err(Refused);
        }
        // The kernel would write through the pointer, and allocate what the product came to.
        let bytes = size.checked_mul(8).expect("the product wraps");
        let old = table.as_mut().expect("no table to resize");
        *old = vec![0; bytes / 8];
        assert!(!old.is_empty(), "no bucket for any hash");
        Ok(())
    };
    for size in [0, 1, 1024, usize::MAX / 4] {
        let mut table = None;
        assert_eq!(set_size(&mut table, size), Err(Refused));
        saw("refused");
        table = Some(vec![0]);
        if set_size(&mut table, size).is_ok() {
            saw("resized");
        }
    }
}

/// Who sent a segment, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Segment {
    Syn,
    /// A reset whose sequence number is out of window; its acknowledgement is of the last ignored SYN.
    Reset,
    /// Data out of window.
    Data,
}

/// All sequences of three segments, each from either side, on an established connection.
fn reset(fixed: bool) {
    use Segment::{Data, Reset, Syn};
    let all = [
        (0, Syn),
        (0, Reset),
        (0, Data),
        (1, Syn),
        (1, Reset),
        (1, Data),
    ];
    for a in all {
        for b in all {
            for c in all {
                let mut established = true;
                let mut last: Option<(usize, Segment)> = None;
                for s in [a, b, c] {
                    if s.1 == Reset
                        && let Some((dir, Syn)) = last
                        && (!fixed || dir != s.0)
                    {
                        established = false;
                    }
                    last = Some(s);
                }
                let one_side = a.0 == b.0 && b.0 == c.0;
                assert!(
                    established || !one_side,
                    "one side alone closes it: {a:?} {b:?} {c:?}"
                );
                saw(if established {
                    "stays"
                } else {
                    "closed by the other"
                });
            }
        }
    }
}
