//! The plots.

use super::tables::entries;
use super::{Cell, Data};
use anyhow::{Result, anyhow};
use bench_results::key::KeyKind;
use bench_results::work::{Mode, Order, Presence3, Spec, Work};
use plotters::prelude::*;
use std::path::Path;

/// A curve: its name and its points, each with the ends of its interval.
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// What a plot looks like.
struct Plot<'a> {
    file: &'a str,
    title: String,
    x: &'a str,
    y: &'a str,
    log_x: bool,
    log_y: bool,
}

/// A colour for each contender, the same in every plot.
fn colour(name: &str) -> RGBColor {
    const NAMES: &[&str] = &[
        "nulls",
        "dashmap",
        "papaya",
        "scc",
        "scc-index",
        "flurry",
        "kovan",
        "hashbrown",
        "classic",
        "nulls-held",
        "nulls-type-stable",
        "std-rwlock",
        "std-mutex",
        "parking-lot",
        "machine",
        "nulls-inline",
        "nulls-inline-held",
    ];
    const COLOURS: &[(u8, u8, u8)] = &[
        (200, 30, 30),
        (30, 90, 200),
        (230, 140, 0),
        (20, 140, 60),
        (110, 190, 60),
        (140, 80, 190),
        (0, 160, 170),
        (60, 60, 60),
        (150, 100, 60),
        (240, 110, 110),
        (160, 0, 70),
        (110, 130, 190),
        (80, 100, 140),
        (150, 170, 210),
        (150, 150, 150),
        (255, 80, 0),
        (255, 160, 110),
    ];
    let at = NAMES.iter().position(|n| *n == name);
    let (r, g, b) = at
        .and_then(|i| COLOURS.get(i).copied())
        .unwrap_or((0, 0, 0));
    RGBColor(r, g, b)
}

/// Every plot that the data are enough for: file names and titles.
pub fn all(data: &Data, folder: &Path) -> Result<Vec<(String, String)>> {
    let mut done = Vec::new();
    let mut draw = |plot: Plot<'_>, curves: Vec<Curve>| -> Result<()> {
        if curves.iter().any(|c| !c.points.is_empty()) {
            draw(&folder.join(plot.file), &plot, &curves)
                .map_err(|e| anyhow!("{}: {e}", plot.file))?;
            done.push((plot.file.to_owned(), plot.title));
        }
        Ok(())
    };
    for (presence, name, file) in [
        (Presence3::Hit, "Hits", "lookup-hit-by-size.svg"),
        (Presence3::Miss, "Misses", "lookup-miss-by-size.svg"),
    ] {
        let plot = Plot {
            file,
            title: format!("{name} by size, u64 keys, one thread"),
            x: "entries",
            y: "ns a look-up",
            log_x: true,
            log_y: true,
        };
        let curves = by(
            data,
            |s| (plain_look_up(s, presence) && s.threads == 1).then_some(s.entries as f64),
            "ns",
        );
        draw(plot, curves)?;
    }
    let plot = Plot {
        file: "lookup-by-threads.svg",
        title: "Hits on one shared map of 1 k entries by threads (two processors)".into(),
        x: "threads",
        y: "million look-ups a second, all threads",
        log_x: false,
        log_y: true,
    };
    let curves = by(
        data,
        |s| (plain_look_up(s, Presence3::Hit) && s.entries == 1000).then_some(s.threads as f64),
        "mops",
    );
    draw(plot, curves)?;
    let plot = Plot {
        file: "memory.svg",
        title: "Resident bytes per entry over one doubling".into(),
        x: "entries",
        y: "bytes an entry",
        log_x: false,
        log_y: false,
    };
    let curves = by(
        data,
        |s| (s.work == Work::Memory).then_some(s.entries as f64),
        "bytes_per_entry",
    );
    draw(plot, curves)?;
    series(data, &mut draw)?;
    for threads in [1, 2] {
        let file = format!("conntrack-ladder-{threads}.svg");
        let plot = Plot {
            file: &file,
            title: format!("The tracker by sessions (nat-ladder), {threads} thread(s)"),
            x: "sessions",
            y: "ns a packet",
            log_x: true,
            log_y: false,
        };
        let curves = by(
            data,
            |s| {
                (s.row().starts_with("conntrack/nat-ladder/") && s.threads == threads)
                    .then_some(s.entries as f64)
            },
            "ns",
        );
        draw(plot, curves)?;
    }
    Ok(done)
}

/// Plots of curves that single processes noted; of several repetitions the one with the middle maximum.
fn series(data: &Data, draw: &mut impl FnMut(Plot<'_>, Vec<Curve>) -> Result<()>) -> Result<()> {
    for (_, cells) in &data.rows {
        let Some(spec) = cells.first().map(|c| &c.spec) else {
            continue;
        };
        let n = entries(spec.entries);
        let t = spec.threads;
        match spec.work {
            Work::Timeline => draw(
                Plot {
                    file: "growth-timeline.svg",
                    title: format!("Resident memory while {n} entries are inserted"),
                    x: "seconds",
                    y: "MiB",
                    log_x: false,
                    log_y: false,
                },
                noted(cells, "resident_mib"),
            )?,
            Work::Latency { readers, .. } => {
                for (role, what) in [("insert", "insertions"), ("lookup", "look-ups")] {
                    let file = format!("latency-{role}-{t}-{readers}.svg");
                    draw(
                        Plot {
                            file: &file,
                            title: format!(
                                "Latency of {what} while a map grows to {n}: {t} inserting, {readers} looking up"
                            ),
                            x: "one in so many",
                            y: "ns",
                            log_x: true,
                            log_y: true,
                        },
                        noted(cells, &format!("{role}_ns")),
                    )?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn noted(cells: &[Cell], name: &str) -> Vec<Curve> {
    let highest = |c: &[(f64, f64)]| c.iter().map(|p| p.1).fold(0.0, f64::max);
    cells
        .iter()
        .filter_map(|cell| {
            let mut all: Vec<&Vec<(f64, f64)>> = cell
                .samples
                .iter()
                .filter_map(|s| s.series.get(name))
                .collect();
            all.sort_by(|a, b| highest(a).total_cmp(&highest(b)));
            let middle = all.get(all.len().checked_sub(1)? / 2)?;
            Some(Curve {
                name: cell.spec.contender.clone(),
                points: (*middle).clone(),
            })
        })
        .collect()
}

fn plain_look_up(s: &Spec, wanted: Presence3) -> bool {
    s.key == KeyKind::U64
        && (s.build == bench_results::measure::Build::Grown || s.contender == "classic")
        && s.work
            == Work::Lookup {
                presence: wanted,
                order: Order::Uniform,
                mode: Mode::Throughput,
                huge_pages: true,
            }
}

/// Medians of a metric by what `x` says, one curve for each contender that has a point.
fn by(data: &Data, x: impl Fn(&Spec) -> Option<f64>, metric: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for cell in data.cells() {
        let (Some(x), Some(y)) = (x(&cell.spec), cell.estimate(metric)) else {
            continue;
        };
        let name = &cell.spec.contender;
        let point = (x, y.median);
        match curves.iter_mut().find(|c| c.name == *name) {
            Some(c) => c.points.push(point),
            None => curves.push(Curve {
                name: name.clone(),
                points: vec![point],
            }),
        }
    }
    for c in &mut curves {
        c.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    curves
}

/// The ends of an axis, with some room.
fn ends(values: impl Iterator<Item = f64>, log: bool) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite() && (!log || *v > 0.0))
        .fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return (1.0, 10.0);
    }
    if log {
        (low / 1.15, high * 1.15)
    } else {
        let room = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-9);
        (low - room, high + room)
    }
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(path: &Path, plot: &Plot<'_>, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|c| c.points.iter().copied());
    let x = ends(points().map(|p| p.0), plot.log_x);
    let (low, high) = ends(points().map(|p| p.1), plot.log_y);
    // Lengths begin at nothing, except where they are logarithms.
    let y = if plot.log_y { (low, high) } else { (0.0, high) };
    let root = SVGBackend::new(path, (860, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&root);
    builder
        .caption(&plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70);
    /// The same for each kind of axes.
    macro_rules! with_axes {
        ($x:expr, $y:expr) => {{
            let mut chart = builder.build_cartesian_2d($x, $y)?;
            chart
                .configure_mesh()
                .x_desc(plot.x)
                .y_desc(plot.y)
                .light_line_style(BLACK.mix(0.04))
                .bold_line_style(BLACK.mix(0.12))
                .x_label_formatter(&|v| label(*v))
                .y_label_formatter(&|v| label(*v))
                .draw()?;
            for c in curves {
                let colour = colour(&c.name);
                chart
                    .draw_series(LineSeries::new(
                        c.points.iter().copied(),
                        colour.stroke_width(2),
                    ))?
                    .label(c.name.as_str())
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                    });
                if c.points.len() <= 20 {
                    chart.draw_series(
                        c.points.iter().map(|p| Circle::new(*p, 3, colour.filled())),
                    )?;
                }
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.2))
                .draw()?;
        }};
    }
    match (plot.log_x, plot.log_y) {
        (true, true) => with_axes!((x.0..x.1).log_scale(), (y.0..y.1).log_scale()),
        (true, false) => with_axes!((x.0..x.1).log_scale(), y.0..y.1),
        (false, true) => with_axes!(x.0..x.1, (y.0..y.1).log_scale()),
        (false, false) => with_axes!(x.0..x.1, y.0..y.1),
    }
    root.present()?;
    Ok(())
}

/// A number on an axis.
fn label(v: f64) -> String {
    let short = |v: f64| {
        let text = format!("{v:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match v.abs() {
        a if a >= 1e9 => format!("{} G", short(v / 1e9)),
        a if a >= 1e6 => format!("{} M", short(v / 1e6)),
        a if a >= 1e3 => format!("{} k", short(v / 1e3)),
        _ => short(v),
    }
}
