//! What a reader that stays where it is holds back.

use super::lookup::loaded;
use super::memory::resident;
use super::{Sample, Spec};
use crate::contender::{Flurry, Inline, Map, Nulls, Papaya, SccIndex, Session};
use crate::measure::Build;
use crate::workload::{present, value_of};

/// `None`: no such contender, or one whose readers hold nothing back (they block writers instead).
pub(super) fn run(spec: &Spec) -> Option<Sample> {
    match spec.contender.as_str() {
        "nulls" => Some(work::<Nulls>(spec, |m| Box::new(m.map().pin()))),
        "nulls-inline" => Some(work::<Inline>(spec, |m| Box::new(m.map().pin()))),
        "papaya" => Some(work::<Papaya<u64>>(spec, |m| Box::new(m.map().pin()))),
        "flurry" => Some(work::<Flurry<u64>>(spec, |m| Box::new(m.map().pin()))),
        "scc-index" => Some(work::<SccIndex<u64>>(spec, |_| Box::new(scc::Guard::new()))),
        _ => None,
    }
}

/// Whatever keeps a reader where it is.
trait Stays {}
impl<T> Stays for T {}

/// Ten replacements of every value while this thread stays pinned, and ten after.
fn work<M: Map>(spec: &Spec, stay: impl for<'a> Fn(&'a M) -> Box<dyn Stays + 'a>) -> Sample {
    let map: M = loaded::<u64, M>(spec.entries, Build::Grown);
    let replace = || {
        std::thread::scope(|s| {
            s.spawn(|| {
                let session = map.session();
                for _ in 0..10 {
                    for i in 0..spec.entries as u64 {
                        let old = session.insert(present(i), value_of(present(i)));
                        assert_eq!(old, Some(value_of(present(i))), "{}", M::NAME);
                    }
                }
            });
        });
    };
    replace();
    let before = resident();
    let reader = stay(&map);
    replace();
    let stalled = resident();
    drop(reader);
    replace();
    let after = resident();
    let mib = |bytes: u64| bytes.saturating_sub(before) as f64 / f64::from(1 << 20);
    Sample::one("stalled_mib", mib(stalled))
        .with("after_mib", mib(after))
        .with(
            "bytes_per_replacement",
            stalled.saturating_sub(before) as f64 / (10 * spec.entries) as f64,
        )
}
