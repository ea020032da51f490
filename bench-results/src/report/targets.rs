//! What the project set out to reach, answered by the figures.

use super::{Data, is_peer};
use bench_results::work::Work;
use std::fmt::Write as _;

/// An answer.
struct Answer {
    target: String,
    figure: String,
    reached: bool,
}

fn hit(n: usize) -> String {
    format!("lookup/throughput/uniform/hit/u64/{n}/x1/grown")
}

fn miss(n: usize) -> String {
    format!("lookup/throughput/uniform/miss/u64/{n}/x1/grown")
}

/// Median times of two contenders in a row, the first divided by the second.
fn ratio(data: &Data, row: &str, one: &str, other: &str) -> Option<f64> {
    let of = |name| data.figure(row, name, "ns").map(|e| e.median);
    Some(of(one)? / of(other)?)
}

/// The best peer of a row and its time divided by ours.
fn best<'a>(data: &'a Data, row: &str) -> Option<(&'a str, f64)> {
    let (_, cells) = data.rows.iter().find(|(r, _)| r == row)?;
    cells
        .iter()
        .map(|c| c.spec.contender.as_str())
        .filter(|c| is_peer(c))
        .filter_map(|c| Some((c, ratio(data, row, c, "nulls")?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

fn look_ups(data: &Data) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (n, limit) in [(1_000, 1.5), (100_000, 2.2), (1_000_000, 1.5)] {
        if let Some(r) = ratio(data, &hit(n), "nulls", "hashbrown") {
            answers.push(Answer {
                target: format!("hit at {n}: at most {limit}× hashbrown without synchronisation"),
                figure: format!("{r:.2}×"),
                reached: r <= limit,
            });
        }
        for (what, row) in [("hit", hit(n)), ("miss", miss(n))] {
            if let Some((peer, r)) = best(data, &row) {
                answers.push(Answer {
                    target: format!("{what} at {n}: ahead of every concurrent peer"),
                    figure: format!("best peer {peer}: {r:.2}× our time"),
                    reached: r > 1.0,
                });
            }
        }
    }
    let shared = "lookup/throughput/uniform/hit/u64/1000/x2/grown";
    if let Some(r) = ratio(data, shared, "dashmap", "nulls") {
        answers.push(Answer {
            target: "hit at 1000, two threads on one map: at least 8× as fast as dashmap".into(),
            figure: format!("{r:.1}×"),
            reached: r >= 8.0,
        });
    }
    answers
}

/// Writes and mixes: in how many rows dashmap, papaya and scc are behind.
fn writes(data: &Data) -> Vec<Answer> {
    let mut ahead = (0, 0);
    let mut worst: Option<(f64, &str)> = None;
    for (row, cells) in &data.rows {
        let Some(spec) = cells.first().map(|c| &c.spec) else {
            continue;
        };
        if !matches!(
            spec.work,
            Work::Insert | Work::Remove | Work::Update | Work::Replace | Work::Mix { .. }
        ) {
            continue;
        }
        if spec.threads == 2 {
            let rivals = ["dashmap", "papaya", "scc"];
            let r = rivals
                .iter()
                .filter_map(|c| ratio(data, row, c, "nulls"))
                .min_by(f64::total_cmp);
            if let Some(r) = r {
                ahead.0 += usize::from(r > 1.0);
                ahead.1 += 1;
            }
        }
        if spec.threads == 1
            && let Some((_, r)) = best(data, row)
            && worst.is_none_or(|(w, _)| r < w)
        {
            worst = Some((r, row));
        }
    }
    let mut answers = Vec::new();
    if ahead.1 > 0 {
        answers.push(Answer {
            target: "two threads, inserts, removes, updates and mixes: ahead of dashmap, papaya and scc in nine rows of ten".into(),
            figure: format!("ahead in {} of {}", ahead.0, ahead.1),
            reached: ahead.0 * 10 >= ahead.1 * 9,
        });
    }
    if let Some((r, row)) = worst {
        answers.push(Answer {
            target: "one thread, the same: never below 0.8 of the best peer's speed".into(),
            figure: format!("least {r:.2} ({row})"),
            reached: r >= 0.8,
        });
    }
    answers
}

fn growth(data: &Data) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (row, cells) in &data.rows {
        if !cells
            .first()
            .is_some_and(|c| matches!(c.spec.work, Work::Latency { .. }))
        {
            continue;
        }
        let most = |name| data.figure(row, name, "insert_max").map(|e| e.median);
        if let (Some(ours), Some(machine)) = (most("nulls"), most("machine")) {
            answers.push(Answer {
                target: format!(
                    "longest stall while growing no longer than the machine's own ({row})"
                ),
                figure: format!("{:.2} ms, machine {:.2} ms", ours / 1e6, machine / 1e6),
                reached: ours <= machine,
            });
        }
    }
    let mut bytes: Vec<f64> = data
        .cells()
        .filter(|c| c.spec.work == Work::Memory && c.spec.contender == "nulls")
        .filter_map(|c| c.estimate("bytes_per_entry").map(|e| e.median))
        .collect();
    if !bytes.is_empty() {
        bytes.sort_by(f64::total_cmp);
        let median = f64::midpoint(bytes[(bytes.len() - 1) / 2], bytes[bytes.len() / 2]);
        answers.push(Answer {
            target: "median over a doubling at most 30 bytes per u64→u64 entry".into(),
            figure: format!(
                "{median:.1}, most {:.1}",
                bytes.last().copied().unwrap_or_default()
            ),
            reached: median <= 30.0,
        });
    }
    answers
}

fn others(data: &Data) -> Vec<Answer> {
    let mut answers = Vec::new();
    for t in [1, 2] {
        let row = format!("peers/bulk/bytes16/1000000/x{t}/presized");
        if let Some(r) = ratio(data, &row, "rte_hash", "nulls") {
            answers.push(Answer {
                target: format!("batches of 16-byte keys, 95/5, {t} thread(s): level with rte_hash's bulk look-up"),
                figure: format!("rte_hash takes {r:.2}× our time"),
                reached: r >= 1.0,
            });
        }
    }
    for (n, limit) in [(1_000, 90.0), (100_000, 250.0)] {
        let row = format!("conntrack/elephants/u64/{n}/x1/grown");
        if let Some(e) = data.figure(&row, "nulls", "ns") {
            answers.push(Answer {
                target: format!("tracking established flows, {n} sessions, one thread: at most {limit} ns a packet (here the `elephants` traffic, parsing included)"),
                figure: format!("{:.0} ns", e.median),
                reached: e.median <= limit,
            });
        }
    }
    let row = "conntrack/nat-ladder/u64/1000000/x2/grown";
    if let Some(r) = ratio(data, row, "nulls", "dashmap") {
        answers.push(Answer {
            target: "tracking at 1 M sessions, two threads: at most 0.6× the time on dashmap"
                .into(),
            figure: format!("{r:.2}×"),
            reached: r <= 0.6,
        });
    }
    answers
}

/// The table of targets that the data can answer.
pub fn table(data: &Data) -> String {
    let parts = [look_ups(data), writes(data), growth(data), others(data)];
    let all: Vec<Answer> = parts.into_iter().flatten().collect();
    if all.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("\n## Targets\n\n| target | measured | reached |\n| --- | --- | --- |\n");
    for a in all {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            a.target,
            a.figure,
            if a.reached { "yes" } else { "**no**" }
        );
    }
    text
}
