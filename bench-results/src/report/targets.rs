//! What the project set out to reach, answered by the figures.

use super::{Data, OURS, is_peer};
use bench_results::work::Work;
use std::fmt::Write as _;

/// A target and its answer: a figure and whether it is enough; none if what it takes was not measured.
pub(super) struct Target {
    text: String,
    answer: Option<(String, bool)>,
}

impl Target {
    pub(super) fn new(text: impl Into<String>, answer: Option<(String, bool)>) -> Self {
        Self {
            text: text.into(),
            answer,
        }
    }
}

fn look_up(what: &str, n: usize, threads: usize) -> String {
    format!("lookup/throughput/uniform/{what}/u64/{n}/x{threads}/grown")
}

/// A median.
fn median(data: &Data, row: &str, name: &str, metric: &str) -> Option<f64> {
    data.figure(row, name, metric).map(|e| e.median)
}

/// Median times of two contenders in a row, the first divided by the second.
fn ratio(data: &Data, row: &str, one: &str, other: &str) -> Option<f64> {
    Some(median(data, row, one, "ns")? / median(data, row, other, "ns")?)
}

/// The best peer of a row and its time divided by that of `name`.
fn best<'a>(data: &'a Data, row: &str, name: &str) -> Option<(&'a str, f64)> {
    let (_, cells) = data.rows.iter().find(|(r, _)| r == row)?;
    cells
        .iter()
        .map(|c| c.spec.contender.as_str())
        .filter(|c| is_peer(c))
        .filter_map(|c| Some((c, ratio(data, row, c, name)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

/// What one of ours did: how little it took (less is better), in words, and whether that is enough.
struct Answer {
    took: f64,
    text: String,
    reached: bool,
}

/// The answer of the better of ours, which is named, and beside it the other's.
pub(super) fn ours(answer: impl Fn(&str) -> Option<(f64, String, bool)>) -> Option<(String, bool)> {
    let mut all: Vec<(&str, Answer)> = OURS
        .iter()
        .filter_map(|&name| {
            let (took, text, reached) = answer(name)?;
            let answer = Answer {
                took,
                text,
                reached,
            };
            Some((name, answer))
        })
        .collect();
    all.sort_by(|a, b| a.1.took.total_cmp(&b.1.took));
    let told: Vec<String> = all
        .iter()
        .map(|(name, a)| format!("{name} {}", a.text))
        .collect();
    let reached = all.first()?.1.reached;
    Some((told.join("; "), reached))
}

fn look_ups(data: &Data) -> Vec<Target> {
    let mut targets = Vec::new();
    for (n, limit) in [(1_000, 1.5), (100_000, 2.2), (1_000_000, 1.5)] {
        for what in ["hit", "miss"] {
            let row = look_up(what, n, 1);
            targets.push(Target::new(
                format!("{what} at {n}: at most {limit}× hashbrown without synchronisation"),
                ours(|name| {
                    let r = ratio(data, &row, name, "hashbrown")?;
                    Some((r, format!("{r:.2}×"), r <= limit))
                }),
            ));
            targets.push(Target::new(
                format!("{what} at {n}: ahead of every concurrent peer"),
                ours(|name| {
                    let (peer, r) = best(data, &row, name)?;
                    Some((1.0 / r, format!("{r:.2}× as fast as {peer}"), r > 1.0))
                }),
            ));
        }
    }
    let row = look_up("hit", 1_000, 2);
    targets.push(Target::new(
        "hit at 1000, two threads on one map: at least 8× as fast as dashmap",
        ours(|name| {
            let r = ratio(data, &row, "dashmap", name)?;
            Some((1.0 / r, format!("{r:.1}×"), r >= 8.0))
        }),
    ));
    targets
}

/// Writes and mixes: in how many rows dashmap, papaya and scc are behind. In each row the better of ours counts.
fn writes(data: &Data) -> Vec<Target> {
    let (mut ahead, mut rows, mut behind) = (0, 0, Vec::new());
    let mut ahead_alone = OURS.map(|name| (name, 0));
    let mut worst: Option<(f64, String)> = None;
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
        // The least of the rivals' times divided by ours.
        let least = |name: &str| {
            ["dashmap", "papaya", "scc"]
                .iter()
                .filter_map(|c| ratio(data, row, c, name))
                .min_by(f64::total_cmp)
        };
        let better = |of: &dyn Fn(&str) -> Option<f64>| {
            OURS.iter()
                .filter_map(|&name| Some((name, of(name)?)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
        };
        if spec.threads == 2
            && let Some((name, r)) = better(&least)
        {
            rows += 1;
            for (name, ahead) in &mut ahead_alone {
                *ahead += usize::from(least(name).is_some_and(|r| r > 1.0));
            }
            if r > 1.0 {
                ahead += 1;
            } else {
                behind.push(format!("`{row}` {name} {r:.2}×"));
            }
        }
        if spec.threads == 1
            && let Some((name, r)) = better(&|name| Some(best(data, row, name)?.1))
            && worst.as_ref().is_none_or(|(w, _)| r < *w)
        {
            let all: Vec<String> = OURS
                .iter()
                .filter(|&&other| other != name)
                .filter_map(|other| Some(format!("; {other} {:.2}", best(data, row, other)?.1)))
                .collect();
            let peer = best(data, row, name).map_or("", |b| b.0);
            let text = format!("least: {name} {r:.2} of {peer}'s{} (`{row}`)", all.concat());
            worst = Some((r, text));
        }
    }
    let not = match behind.len() {
        0 => String::new(),
        _ => format!("; not in {}", behind.join(", ")),
    };
    let alone = ahead_alone.map(|(name, n)| format!("{name} by itself in {n}"));
    vec![
        Target::new(
            "two threads, inserts, removes, updates and mixes: ahead of dashmap, papaya and scc in nine rows of ten",
            (rows > 0).then(|| {
                (
                    format!("ahead in {ahead} of {rows} ({}){not}", alone.join(", ")),
                    ahead * 10 >= rows * 9,
                )
            }),
        ),
        Target::new(
            "one thread, the same: never below 0.8 of the best peer's speed",
            worst.map(|(r, text)| (text, r >= 0.8)),
        ),
    ]
}

/// Milliseconds of a longest insertion and of the machine's own longest stall.
fn stall(ours: f64, machine: f64) -> (f64, String, bool) {
    (
        ours,
        format!("{ours:.2} ms, machine {machine:.2} ms"),
        ours <= machine,
    )
}

fn growth(data: &Data) -> Vec<Target> {
    let mut targets = Vec::new();
    for threads in [1, 2] {
        let ms = |row: &str, name: &str, metric: &str| {
            median(data, row, name, metric).map(|ns| ns / 1e6)
        };
        // The machine's: an empty loop after each growth, in the same process and for as long.
        let row = format!("growth/u64/16000000/x{threads}/grown");
        let closed = ours(|name| {
            let machine = ms(&row, name, "floor_max")?;
            Some(stall(ms(&row, name, "insert_max")?, machine))
        });
        targets.push(Target::new(
            format!("longest insertion while growing to 16 M, {threads} thread(s), as fast as it goes: no longer than the machine's own stalls"),
            closed,
        ));
        // The machine's: the same schedule with nothing to do, in processes of its own.
        // A schedule takes as long as it takes: one thread's is shorter.
        let (n, size) = [(4_000_000, "4 M"), (16_000_000, "16 M")][threads - 1];
        let row = format!("latency/rate250000/readers0/u64/{n}/x{threads}/grown");
        let of = |name: &str| ms(&row, name, "insert_longest");
        targets.push(Target::new(
            format!(
                "the same on a schedule of 250 000 a second for each thread, growing to {size}"
            ),
            ours(|name| {
                let (took, text, reached) = stall(of(name)?, of("machine")?);
                let late = ms(&row, name, "insert_max").unwrap_or_default();
                let text = format!("{text}; from when it was due {late:.2} ms");
                Some((took, text, reached))
            }),
        ));
    }
    targets.push(Target::new(
        "median over a doubling at most 30 bytes per u64→u64 entry",
        ours(|name| {
            let mut bytes: Vec<f64> = data
                .cells()
                .filter(|c| c.spec.work == Work::Memory && c.spec.contender == name)
                .filter_map(|c| c.estimate("bytes_per_entry").map(|e| e.median))
                .collect();
            bytes.sort_by(f64::total_cmp);
            let most = bytes.last()?;
            let middle = f64::midpoint(bytes[(bytes.len() - 1) / 2], bytes[bytes.len() / 2]);
            let of = bytes.len();
            let text = format!("{middle:.1}, most {most:.1} ({of} sizes)");
            Some((middle, text, middle <= 30.0))
        }),
    ));
    targets
}

fn others(data: &Data) -> Vec<Target> {
    let mut targets = Vec::new();
    for t in [1, 2] {
        let row = format!("peers/bulk/bytes16/1000000/x{t}/presized");
        targets.push(Target::new(
            format!(
                "batches of 16-byte keys, 95/5, {t} thread(s): level with rte_hash's bulk look-up"
            ),
            ours(|name| {
                let r = ratio(data, &row, "rte_hash", name)?;
                Some((1.0 / r, format!("{r:.2}× as fast as rte_hash"), r >= 1.0))
            }),
        ));
    }
    for (n, limit) in [(1_000, 90.0), (100_000, 250.0)] {
        let row = format!("established/burst32/u64/{n}/x1/grown");
        targets.push(Target::new(
            format!(
                "tracking established UDP flows, both directions, from headers to updated entries, bursts of 32, {n} sessions, one thread: at most {limit} ns a packet"
            ),
            median(data, &row, "nulls", "ns").map(|ns| (format!("{ns:.1} ns"), ns <= limit)),
        ));
    }
    let row = "established/burst32/u64/1000000/x2/grown";
    targets.push(Target::new(
        "the same at 1 M sessions, two threads: at most 0.6× the time on dashmap",
        ratio(data, row, "nulls", "dashmap").map(|r| (format!("{r:.2}×"), r <= 0.6)),
    ));
    targets
}

/// The table of targets.
pub fn table(data: &Data) -> String {
    let parts = [
        look_ups(data),
        writes(data),
        growth(data),
        others(data),
        super::criterion::targets(data),
    ];
    let mut text =
        String::from("\n## Targets\n\n| target | measured | reached |\n| --- | --- | --- |\n");
    for t in parts.into_iter().flatten() {
        let (figure, reached) = match &t.answer {
            None => ("not measured", "–"),
            Some((figure, true)) => (figure.as_str(), "yes"),
            Some((figure, false)) => (figure.as_str(), "**no**"),
        };
        let _ = writeln!(text, "| {} | {figure} | {reached} |", t.text);
    }
    text.push_str(include_str!("obstacles.md"));
    text
}
