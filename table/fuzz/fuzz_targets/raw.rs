//! Operations on the raw table, one handle or two at once, against a list of what is linked under which hash.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use nulls::raw::{InsertError, Table};
use nulls::rcu;

#[derive(Arbitrary, Debug)]
enum Op {
    Insert(u8),
    Insert2(u8, u8),
    Remove(u8),
    Remove2(u8, u8),
    Replace(u8),
    Find(u8),
    Walk,
    Resize(u8),
    Maintain,
    Assist(bool),
}

#[derive(Arbitrary, Debug)]
struct Input {
    hashes: [u64; 32],
    ops: Vec<Op>,
}

fuzz_target!(|input: Input| {
    // Handles 1 to 64; those 32 apart share a hash.
    let hash = |x: u32| input.hashes[x as usize % 32];
    let table = Table::new();
    let mut linked = [false; 65];
    let mut assist = true;
    for op in &input.ops {
        let guard = rcu::pin();
        let probe = |x: u32| table.probe(&guard, hash(x), |y| y == x, &hash);
        let handle = |x: u8| u32::from(x) % 64 + 1;
        let written = match *op {
            Op::Insert(x) => {
                let x = handle(x);
                let p = probe(x);
                assert_eq!(p.hit().is_some(), linked[x as usize]);
                if linked[x as usize] {
                    continue;
                }
                linked[x as usize] = true;
                p.insert(x).expect("nobody else is here")
            }
            Op::Insert2(x, y) => {
                let (x, y) = (handle(x), handle(y));
                if x == y || linked[x as usize] || linked[y as usize] {
                    continue;
                }
                let (p, q) = (probe(x), probe(y));
                // The second probe may have moved the first one's bucket.
                let w = match table.insert2(p, x, q, y) {
                    Ok(w) => w,
                    Err(InsertError::Stale) => match table.insert2(probe(x), x, probe(y), y) {
                        Ok(w) => w,
                        Err(InsertError::Stale) => table
                            .insert2(probe(x), x, probe(y), y)
                            .expect("both have moved"),
                        Err(e) => panic!("{e:?}"),
                    },
                    Err(e) => panic!("{e:?}"),
                };
                (linked[x as usize], linked[y as usize]) = (true, true);
                w
            }
            Op::Remove(x) => {
                let x = handle(x);
                let p = probe(x);
                assert_eq!(p.hit().is_some(), linked[x as usize]);
                if !linked[x as usize] {
                    continue;
                }
                linked[x as usize] = false;
                p.remove().expect("nobody else is here").1
            }
            Op::Remove2(x, y) => {
                let (x, y) = (handle(x), handle(y));
                if x == y || !linked[x as usize] || !linked[y as usize] {
                    continue;
                }
                let mut w = None;
                for _ in 0..3 {
                    if let Ok((handles, written)) = table.remove2(probe(x), probe(y)) {
                        assert_eq!(handles, (x, y));
                        w = Some(written);
                        break;
                    }
                }
                (linked[x as usize], linked[y as usize]) = (false, false);
                w.expect("both have moved")
            }
            Op::Replace(x) => {
                // By the other handle of the same hash.
                let x = handle(x);
                let y = (x + 31) % 64 + 1;
                if !linked[x as usize] || linked[y as usize] {
                    continue;
                }
                (linked[x as usize], linked[y as usize]) = (false, true);
                probe(x).replace(y).expect("nobody else is here").1
            }
            Op::Find(x) => {
                let x = handle(x);
                let found = table.find(&guard, hash(x), |y| (y == x).then_some(()));
                assert_eq!(found.is_some(), linked[x as usize]);
                continue;
            }
            Op::Walk => {
                let (mut at, mut out, mut all) = (Some(0), Vec::new(), Vec::new());
                while let Some(c) = at {
                    at = table.step(&guard, c, &hash, &mut out);
                    assert!(
                        all.last()
                            .is_none_or(|l: &(u64, u32)| out.first().is_none_or(|f| l.0 <= f.0))
                    );
                    all.extend_from_slice(&out);
                }
                let mut handles: Vec<u32> = all.iter().map(|e| e.1).collect();
                handles.sort_unstable();
                let expected: Vec<u32> = (1..65).filter(|&x| linked[x as usize]).collect();
                assert_eq!(handles, expected);
                continue;
            }
            Op::Resize(n) => {
                table.resize(usize::from(n)).expect("memory");
                continue;
            }
            Op::Maintain => {
                let _ = table.maintain(&hash).expect("memory");
                continue;
            }
            Op::Assist(on) => {
                assist = on;
                continue;
            }
        };
        if assist {
            written.assist(&guard, &hash);
        }
        assert_eq!(table.len(), linked.iter().filter(|l| **l).count());
    }
});
