//! The result of a run as text.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::report::{Point, Report, Spread};
use super::worker::Collections;

/// A number with three significant digits and a unit: `1.23 M`.
fn short(n: f64) -> String {
    let (n, unit) = match n {
        n if n >= 1e9 => (n / 1e9, " G"),
        n if n >= 1e6 => (n / 1e6, " M"),
        n if n >= 1e3 => (n / 1e3, " k"),
        n => (n, ""),
    };
    let decimals = if unit.is_empty() && n >= 10.0 || n >= 100.0 {
        0
    } else if n >= 10.0 {
        1
    } else {
        2
    };
    format!("{n:.decimals$}{unit}")
}

/// Nanoseconds for people: `123 ns`, `4.56 µs`.
fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e4 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// 1234567 as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn ratio(s: &Spread) -> String {
    format!("{:.2}× ({:.2}–{:.2})", s.median, s.lowest, s.highest)
}

/// The tables of all points and what the columns mean.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let env = &report.environment;
    line(format!("{}, {} CPUs, {}", env.cpu, env.cpus, env.os));
    if !env.optimised {
        line(
            "Built without optimisation: use `cargo run --release` for figures that mean anything."
                .to_owned(),
        );
    }
    for points in report.points.chunk_by(|a, b| a.size == b.size) {
        line(traffic(report, &points[0]));
        line(table(points).to_string());
    }
    if report.points.is_empty() {
        line("Nothing was measured completely.".to_owned());
        return out;
    }
    line(notes(report));
    if report.interrupted {
        line("Interrupted: complete rounds only.".to_owned());
    }
    match report.problems.as_slice() {
        [] => line("Every store classified the packets alike, and none is INVALID.".to_owned()),
        problems => problems.iter().for_each(|p| line(format!("WRONG: {p}"))),
    }
    out
}

fn traffic(report: &Report, point: &Point) -> String {
    use clap::ValueEnum;
    let t = &point.traffic;
    let name = report
        .workload
        .to_possible_value()
        .map_or_else(String::new, |v| v.get_name().to_owned());
    format!(
        "\n{name}: {} {}. {} packets a round ({} a packet, {} s of traffic) after {} to warm up.\n\
         {} flows (TCP {}, UDP {}, ICMP {}; {} never answered), {} of them new while measuring ({} never answered).",
        grouped(point.size),
        report.size_means,
        grouped(t.packets),
        format_args!("{:.0} bytes", t.wire_bytes as f64 / t.packets.max(1) as f64),
        short(t.virtual_seconds),
        grouped(t.warm_up_packets),
        grouped(t.flows),
        percent(t.tcp_share),
        percent(t.udp_share),
        percent(t.icmp_share),
        percent(t.unreplied_share),
        grouped(t.new_flows),
        percent(t.new_unreplied_share),
    )
}

fn table(points: &[Point]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let first = points[0].results.first().map_or("", |r| r.store.name());
    table.set_header([
        "threads".to_owned(),
        "store".to_owned(),
        "packets/s".to_owned(),
        "CPU".to_owned(),
        "median".to_owned(),
        "p99".to_owned(),
        "p99.9".to_owned(),
        "maximum".to_owned(),
        "entries".to_owned(),
        "buckets".to_owned(),
        "bytes/entry".to_owned(),
        format!("{first} / this"),
    ]);
    for point in points {
        for result in &point.results {
            let ns = &result.nanoseconds;
            let ratio = point
                .ratios
                .iter()
                .find(|r| r.against == result.store)
                .map_or_else(String::new, |r| ratio(&r.ratio));
            table.add_row(
                [
                    point.threads.to_string(),
                    result.store.name().to_owned(),
                    short(result.packets_per_second.median),
                    result
                        .cpu_nanoseconds
                        .as_ref()
                        .map_or_else(String::new, |cpu| time(cpu.median)),
                    time(ns.median),
                    time(ns.p99),
                    time(ns.p999),
                    time(ns.maximum),
                    grouped(result.entries),
                    grouped(result.buckets),
                    result
                        .bytes_per_entry
                        .map_or_else(String::new, |bytes| format!("{bytes:.0}")),
                    ratio,
                ]
                .map(|text| Cell::new(text).set_alignment(CellAlignment::Right)),
            );
        }
    }
    table
}

fn notes(report: &Report) -> String {
    let rounds = report
        .points
        .iter()
        .flat_map(|p| &p.results)
        .map(|r| r.rounds.len())
        .min()
        .unwrap_or(0);
    let harness = super::report::median(report.points.iter().map(|p| p.harness_nanoseconds));
    let singly = match report.burst {
        None => format!("times of single packets,\n{harness:.0} ns of each are the harness's"),
        Some(n) => format!("of bursts of {n} packets, for each packet,\nin the tracker alone"),
    };
    format!(
        "packets/s: all threads together. CPU: running time of all threads for each packet. Median to maximum: {singly}.\n\
         {}\n\
         Entries, buckets: the table at the end. Bytes/entry: all that the tracker has allocated after the warm-up.\n\
         Ratio: packets/s of the first store by those of this one in the neighbouring round (lowest–highest).\n\
         All figures are medians of {rounds} rounds or more, in which the stores take turns.",
        collector(report)
    )
}

/// What the garbage collector did. It may not have been due: it waits for up to a minute, on the clock of the packets.
fn collector(report: &Report) -> String {
    let rounds = || {
        let results = report.points.iter().flat_map(|p| &p.results);
        results.flat_map(|r| &r.rounds)
    };
    let longest = |runs: &mut dyn Iterator<Item = Collections>| {
        runs.filter(|c| c.runs > 0)
            .map(|c| c.longest_nanoseconds)
            .max()
    };
    let within = match longest(&mut rounds().map(|r| r.collections)) {
        None => "was not due within the measured packets".to_owned(),
        Some(most) => format!(
            "runs between packets and counts in packets/s and CPU; its longest run took {}",
            time(most as f64)
        ),
    };
    match longest(&mut rounds().map(|r| r.tidying)) {
        None => format!("The garbage collector {within}."),
        Some(most) => format!(
            "The garbage collector {within} (longest before measuring: {}).",
            time(most as f64)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_234_567.0), "1.23 M");
        assert_eq!(short(12_345.0), "12.3 k");
        assert_eq!(short(999.0), "999");
        assert_eq!(short(1.5), "1.50");
        assert_eq!(time(123.4), "123 ns");
        assert_eq!(time(45_600.0), "45.6 µs");
        assert_eq!(time(7_890_000.0), "7.89 ms");
        assert_eq!(grouped(1), "1");
        assert_eq!(grouped(123_456), "123,456");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
