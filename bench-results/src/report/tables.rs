//! The README: prose that does not change, and tables that the raw results determine.

use super::{Cell, Data, OURS, is_peer, targets};
use bench_results::key::KeyKind;
use bench_results::measure::Build;
use bench_results::work::{Mix, Mode, Order, Presence3, Spec, Work};
use std::fmt::Write as _;

/// A number of entries as people say it.
pub fn entries(n: usize) -> String {
    match n {
        n if n >= 1_000_000 && n.is_multiple_of(1_000_000) => format!("{} M", n / 1_000_000),
        n if n >= 1000 && n.is_multiple_of(1000) => format!("{} k", n / 1000),
        n if n.is_power_of_two() && n > 1 => format!("2^{}", n.ilog2()),
        n => n.to_string(),
    }
}

fn threads(n: usize) -> String {
    match n {
        1 => "one thread".into(),
        2 => "two threads".into(),
        n => format!("{n} threads"),
    }
}

/// The name that serde gives to a choice.
fn name(v: impl serde::Serialize) -> String {
    serde_json::to_value(v)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The table that a measurement belongs to, and its column there. `None`: it has a table of another form.
fn place(s: &Spec) -> Option<(String, String)> {
    let t = threads(s.threads);
    let built = if s.build == Build::Presized {
        ", presized"
    } else {
        ""
    };
    match s.work {
        Work::Lookup {
            presence,
            order,
            mode,
            huge_pages,
        } => {
            let key = match s.key {
                KeyKind::U64 => "u64",
                KeyKind::Bytes16 => "16-byte",
                KeyKind::Tuple => "5-tuple",
                KeyKind::String => "string",
            };
            if s.build == Build::Presized && s.contender != "classic" {
                let pages = if huge_pages {
                    "huge pages"
                } else {
                    "no huge pages"
                };
                return Some((
                    format!("Huge pages: look-ups in presized maps, {t}, ns"),
                    format!("{} {}, {pages}", name(presence), entries(s.entries)),
                ));
            }
            let how = match mode {
                Mode::Throughput => "independent look-ups",
                Mode::Dependent => "dependent look-ups (latency)",
                Mode::Batch => "look-ups in batches of 32",
            };
            let order = match order {
                Order::Uniform => "",
                Order::Zipf => ", Zipf 0.99",
                Order::Sequential => ", in the order of insertion numbers",
            };
            let presence = match presence {
                Presence3::Hit => "hit",
                Presence3::Miss => "miss",
                Presence3::Half => "50:50",
            };
            Some((
                format!("{key} keys: {how}{order}, {t}, ns"),
                format!("{presence} {}", entries(s.entries)),
            ))
        }
        Work::Mix { mix } => {
            let (family, which) = match mix {
                Mix::Ycsb { name: n } => ("YCSB", name(n).to_uppercase()),
                Mix::Published { name: n } => ("conc-map-bench", name(n)),
            };
            Some((
                format!(
                    "{family}, {} entries, {t}, ns an operation",
                    entries(s.entries)
                ),
                which,
            ))
        }
        Work::Insert | Work::Remove | Work::Update | Work::Replace | Work::Iterate => {
            let kind = s.row().split('/').next().unwrap_or_default().to_owned();
            Some((
                format!("Writes and iteration, {t}, ns an operation"),
                format!("{kind} {}{built}", entries(s.entries)),
            ))
        }
        Work::Geometry { every_us } => {
            let writer = match every_us {
                0 => "nobody publishes".to_owned(),
                us => format!("published every {us} µs"),
            };
            Some((
                "Reading an address and its length together, ns".into(),
                format!("{t}, {writer}"),
            ))
        }
        Work::Pin => Some((
            "Protecting a look-up (under a guard held anyway), ns for look-up and protection"
                .into(),
            format!("{} {t}", entries(s.entries)),
        )),
        Work::Peers { zipf, bulk } => {
            let key = if s.key == KeyKind::U64 {
                "u64"
            } else {
                "16-byte"
            };
            let order = if zipf { "Zipf" } else { "uniform" };
            let bulk = if bulk { ", batches" } else { "" };
            Some((
                format!(
                    "95 % look-ups, 5 % updates, {} {key} keys, ns an operation",
                    entries(s.entries)
                ),
                format!("{order}{bulk}, {t}"),
            ))
        }
        Work::Established { burst } => Some((
            format!(
                "Tracking established UDP flows, both directions, bursts of {burst}, {t}: ns a packet in the tracker, from headers to updated entries"
            ),
            entries(s.entries),
        )),
        Work::Conntrack { .. } => Some((
            format!("Connection tracking, {t}, ns a packet"),
            s.row()
                .split('/')
                .nth(1)
                .map_or_else(String::new, |w| format!("{w} {}", entries(s.entries))),
        )),
        _ => None,
    }
}

/// Three digits.
pub fn number(v: f64) -> String {
    let magnitude = if v == 0.0 {
        0.0
    } else {
        v.abs().log10().floor()
    };
    let digits = (2.0 - magnitude).clamp(0.0, 3.0) as usize;
    format!("{v:.digits$}")
}

/// A median and its interval.
fn figure(cell: &Cell, metric: &str) -> Option<String> {
    let e = cell.estimate(metric)?;
    Some(if e.n > 1 {
        format!(
            "{} ({}–{})",
            number(e.median),
            number(e.low),
            number(e.high)
        )
    } else {
        number(e.median)
    })
}

/// The same, or that there is none.
fn figure_or_not(cell: &Cell, metric: &str) -> String {
    figure(cell, metric).unwrap_or_else(|| "not measured".into())
}

fn head(text: &mut String, columns: impl IntoIterator<Item = String>) {
    let columns: Vec<String> = columns.into_iter().collect();
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(columns.len()));
}

/// A table of contenders by columns, with a last line that says who is fastest and by how much.
fn comparison(title: &str, columns: &[(String, &[Cell])], metric: &str) -> String {
    let mut text = format!("\n### {title}\n\n");
    if columns
        .iter()
        .all(|(_, cells)| cells.iter().all(|c| c.samples.is_empty()))
    {
        text.push_str("Not measured.\n");
        return text;
    }
    let mut contenders: Vec<&str> = Vec::new();
    for cell in columns.iter().flat_map(|(_, cells)| cells.iter()) {
        if !contenders.contains(&cell.spec.contender.as_str()) {
            contenders.push(&cell.spec.contender);
        }
    }
    head(
        &mut text,
        std::iter::once(String::new()).chain(columns.iter().map(|(c, _)| c.clone())),
    );
    for &contender in &contenders {
        let _ = write!(text, "| {contender} |");
        for (_, cells) in columns {
            let value = cells
                .iter()
                .find(|c| c.spec.contender == contender)
                .map_or_else(|| "–".into(), |c| figure_or_not(c, metric));
            let _ = write!(text, " {value} |");
        }
        text.push('\n');
    }
    if contenders.iter().any(|c| OURS.contains(c)) && contenders.iter().any(|c| is_peer(c)) {
        text.push_str("| *best of ours or best peer* |");
        for (_, cells) in columns {
            let _ = write!(text, " {} |", winner(cells, metric).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// Who is faster: the better of ours or the best of the peers, and how many times (and whom).
fn winner(cells: &[Cell], metric: &str) -> Option<String> {
    let best = |takes_part: &dyn Fn(&Cell) -> bool| {
        cells
            .iter()
            .filter(|c| takes_part(c))
            .filter_map(|c| Some((c.spec.contender.as_str(), c.estimate(metric)?.median)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (name, ours) = best(&|c| OURS.contains(&c.spec.contender.as_str()))?;
    let (peer, theirs) = best(&Cell::is_peer)?;
    Some(if ours <= theirs {
        format!("{name}, {:.2}× ({peer})", theirs / ours)
    } else {
        format!("**{peer}**, {:.2}× ({name})", ours / theirs)
    })
}

/// A table of contenders by everything that was noted of them.
fn metrics(title: &str, cells: &[(String, &Cell)]) -> String {
    let mut text = format!("\n### {title}\n\n");
    let Some(first) = cells.iter().find_map(|(_, c)| c.samples.first()) else {
        text.push_str("Not measured.\n");
        return text;
    };
    let mut names: Vec<&String> = first.values.keys().collect();
    for (_, c) in cells {
        for n in c.samples.iter().flat_map(|s| s.values.keys()) {
            if !names.contains(&n) {
                names.push(n);
            }
        }
    }
    head(
        &mut text,
        std::iter::once(String::new()).chain(names.iter().map(|n| n.replace('_', " "))),
    );
    for (label, c) in cells {
        let _ = write!(text, "| {label} |");
        for n in &names {
            let value = match c.samples.is_empty() {
                true => "not measured".into(),
                false => figure(c, n).unwrap_or_default(),
            };
            let _ = write!(text, " {value} |");
        }
        text.push('\n');
    }
    text
}

/// Bytes per entry over the doubling: what matters is the middle and the worst of the sizes.
fn memory(data: &Data) -> Option<String> {
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    for cell in data.cells().filter(|c| c.spec.work == Work::Memory) {
        let Some(value) = cell.estimate("bytes_per_entry").map(|e| e.median) else {
            continue;
        };
        let name = cell.spec.contender.as_str();
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => values.push(value),
            None => all.push((name, vec![value])),
        }
    }
    if all.is_empty() {
        return None;
    }
    let mut text = String::from("\n### Resident bytes per u64→u64 entry over one doubling\n\n");
    head(
        &mut text,
        ["", "sizes", "least", "median", "most"].map(String::from),
    );
    for (name, mut values) in all {
        values.sort_by(f64::total_cmp);
        let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} |",
            values.len(),
            number(values[0]),
            number(middle),
            number(values[values.len() - 1])
        );
    }
    Some(text)
}

/// The tables in the order of the plan.
fn tables(data: &Data) -> String {
    type Column<'a> = (String, &'a [Cell]);
    let mut comparisons: Vec<(String, Vec<Column<'_>>)> = Vec::new();
    let mut text = String::new();
    for (_, cells) in &data.rows {
        let Some(spec) = cells
            .iter()
            .map(|c| &c.spec)
            .find(|s| s.contender != "classic")
            .or(cells.first().map(|c| &c.spec))
        else {
            continue;
        };
        if let Some((title, column)) = place(spec) {
            match comparisons.iter_mut().find(|(t, _)| *t == title) {
                Some((_, columns)) => columns.push((column, cells)),
                None => comparisons.push((title, vec![(column, cells)])),
            }
        }
    }
    for (title, columns) in &comparisons {
        text.push_str(&comparison(title, columns, "ns"));
        let opening: Vec<Column<'_>> = columns
            .iter()
            .filter(|(_, cells)| cells.iter().any(|c| c.estimate("new_ns").is_some()))
            .cloned()
            .collect();
        if !opening.is_empty() {
            let title = format!("{title}: those that begin a connection (looked up, made, linked)");
            text.push_str(&comparison(&title, &opening, "new_ns"));
        }
    }
    text.push_str(&memory(data).unwrap_or_default());
    let mut grid = Vec::new();
    for (_, cells) in &data.rows {
        let Some(spec) = cells.first().map(|c| &c.spec) else {
            continue;
        };
        let n = entries(spec.entries);
        let title = match spec.work {
            Work::Latency { rate, readers } => format!(
                "Growth from empty to {n} on a schedule of {rate}/s, {} inserting, {readers} looking up: ns",
                threads(spec.threads)
            ),
            Work::Growth => format!(
                "Growth from empty to {n} as fast as it goes, {} inserting: ns of single insertions (floor: gaps between readings of the clock in an empty loop)",
                threads(spec.threads)
            ),
            Work::Fractions => {
                format!("The raw table grows to {n}, with fraction bytes and without")
            }
            Work::Timeline => format!("Memory while {n} entries are inserted"),
            Work::Shrink => format!("From {n} entries to a sixteenth"),
            Work::Garbage => format!("Ten replacements of {n} values under one reader that stays"),
            Work::FactorFill { factor, fill } => {
                if let Some(c) = cells.first() {
                    grid.push((format!("× {:.2} at {fill} %", f64::from(factor) / 100.0), c));
                }
                continue;
            }
            _ => continue,
        };
        let cells: Vec<(String, &Cell)> = cells
            .iter()
            .map(|c| (c.spec.contender.clone(), c))
            .collect();
        text.push_str(&metrics(&title, &cells));
    }
    if !grid.is_empty() {
        text.push_str(&metrics("Growth factor and fill of the raw table", &grid));
    }
    text
}

/// The whole document.
pub fn readme(data: &Data, plots: &[(String, String)]) -> String {
    let mut text = String::from(include_str!("readme.md"));
    text.push_str("\n## Where and when\n\n");
    let _ = writeln!(
        text,
        "Everything below is derived from `results/{}`.",
        data.source
    );
    for b in &data.begins {
        let e = &b.environment;
        let _ = writeln!(
            text,
            "\n* {} ({} plan): {}, {} processors, {} MiB, Linux {}, huge pages {}, {}, commit `{}`, nulls by {}; others used \
             {:.1} % of the machine before it began{}.",
            e.date,
            b.plan,
            e.cpu,
            e.cpus,
            e.memory_kib / 1024,
            e.kernel,
            e.huge_pages,
            e.rustc,
            &e.commit.get(..12).unwrap_or(&e.commit),
            e.flavour,
            e.busy_percent,
            if b.busy_ok {
                ", and being busy was allowed: not fit for publication"
            } else {
                ""
            }
        );
    }
    if let Some(b) = data.begins.last() {
        let _ = writeln!(text, "\nAgainst {}.", b.versions.join(", "));
    }
    if data.failures > 0 {
        let _ = writeln!(
            text,
            "\n{} processes failed; their figures are missing.",
            data.failures
        );
    }
    text.push_str(&targets::table(data));
    text.push_str(&super::criterion::tables(data));
    if !plots.is_empty() {
        text.push_str("\n## Plots\n");
        for (file, title) in plots {
            let _ = write!(text, "\n![{title}]({file})\n");
        }
    }
    text.push_str("\n## Tables\n");
    text.push_str(&tables(data));
    text
}
