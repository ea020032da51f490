//! The criterion benches: a table, and the targets that are theirs.

use super::tables::number;
use super::targets::{Target, ours};
use super::{Data, OURS};
use std::fmt::Write as _;

/// dashmap's time divided by that of one of ours.
fn ahead(data: &Data, group: &str, name: &str) -> Option<f64> {
    let of = |name| data.criterion.as_ref()?.median(group, name);
    Some(of("dashmap")? / of(name)?)
}

/// What was set out for one run of criterion against dashmap, `map.pin().get(&k)` for each look-up.
pub(super) fn targets(data: &Data) -> Vec<Target> {
    let mut targets = Vec::new();
    for (threads, sizes) in [(1, &[1_000, 100_000, 1_000_000][..]), (2, &[1_000])] {
        for &n in sizes {
            for figure in ["hit", "miss"] {
                let least = match (threads, n) {
                    (1, 1_000) => 2.0,
                    (1, _) => 1.0,
                    _ => 6.0,
                };
                let group = format!("{figure}/{n}/{threads}-thread");
                targets.push(Target::new(
                    format!("criterion, {figure} at {n}, {threads} thread(s): at least {least}× as fast as dashmap"),
                    ours(|name| {
                        let r = ahead(data, &group, name)?;
                        Some((1.0 / r, format!("{r:.2}×"), r >= least))
                    }),
                ));
            }
        }
    }
    targets
}

/// Every benchmark, ours beside dashmap's.
pub(super) fn tables(data: &Data) -> String {
    let mut text = String::from("\n## Criterion\n\n");
    let Some(results) = &data.criterion else {
        text.push_str("Not measured.\n");
        return text;
    };
    let mut contenders: Vec<&str> = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for b in &results.benchmarks {
        if !contenders.contains(&b.contender.as_str()) {
            contenders.push(&b.contender);
        }
        if !groups.contains(&b.group.as_str()) {
            groups.push(&b.group);
        }
    }
    let e = &results.environment;
    let _ = writeln!(
        text,
        "Nanoseconds an operation: medians, and criterion's intervals of 95 %. Benchmarks of a group ran one after the other, not in turns. From `results/criterion.json`, \
         stored {} at commit `{}`.\n",
        e.date,
        e.commit.get(..12).unwrap_or(&e.commit)
    );
    let _ = writeln!(
        text,
        "|  | {} | *dashmap by the better of ours* |",
        contenders.join(" | ")
    );
    let _ = writeln!(text, "|{}", " --- |".repeat(contenders.len() + 2));
    for group in groups {
        let _ = write!(text, "| {group} |");
        for contender in &contenders {
            let found = results
                .benchmarks
                .iter()
                .find(|b| b.group == group && b.contender == *contender);
            let _ = match found.map(|b| b.estimate) {
                Some(e) => write!(
                    text,
                    " {} ({}–{}) |",
                    number(e.median),
                    number(e.low),
                    number(e.high)
                ),
                None => write!(text, " – |"),
            };
        }
        let ratio = OURS
            .iter()
            .filter_map(|&name| Some((name, ahead(data, group, name)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map_or_else(String::new, |(name, r)| format!("{r:.2}× ({name})"));
        let _ = writeln!(text, " {ratio} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criterion::{Benchmark, Estimate, Results};
    use bench_results::environment::Environment;

    #[test]
    fn benchmarks_stand_beside_each_other_and_answer_their_targets() {
        let benchmark = |contender: &str, median| Benchmark {
            group: "hit/1000/1-thread".into(),
            contender: contender.into(),
            estimate: Estimate {
                median,
                low: median - 1.0,
                high: median + 1.0,
            },
        };
        let mut data = Data::default();
        assert!(tables(&data).contains("Not measured."));
        data.criterion = Some(Results {
            environment: Environment::here(),
            benchmarks: vec![benchmark("dashmap", 12.0), benchmark("nulls", 5.0)],
        });
        let text = tables(&data);
        assert!(
            text.contains("| 12.0 (11.0–13.0) | 5.00 (4.00–6.00) | 2.40× (nulls) |"),
            "{text}"
        );
        let targets = super::super::targets::table(&data);
        let answered: Vec<&str> = targets
            .lines()
            .filter(|l| l.contains("criterion") && !l.contains("not measured"))
            .collect();
        assert_eq!(answered.len(), 1);
        assert!(
            answered[0].ends_with("| nulls 2.40× | yes |"),
            "{answered:?}"
        );
        // The better one answers, and the other stands beside it.
        let results = data.criterion.as_mut().unwrap();
        results.benchmarks.push(benchmark("nulls-inline", 8.0));
        let targets = super::super::targets::table(&data);
        assert!(
            targets.contains("| nulls 2.40×; nulls-inline 1.50× | yes |"),
            "{targets}"
        );
        data.criterion.as_mut().unwrap().benchmarks[1] = benchmark("nulls", 24.0);
        let targets = super::super::targets::table(&data);
        assert!(
            targets.contains("| nulls-inline 1.50×; nulls 0.50× | **no** |"),
            "{targets}"
        );
        assert!(tables(&data).contains("| 1.50× (nulls-inline) |"));
    }
}
