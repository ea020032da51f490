//! `report`: everything derived from one file of raw results: a table of figures (CSV), plots (SVG) and the README.

mod criterion;
mod plots;
mod stats;
mod tables;
mod targets;

use crate::plan::{self, Row, Size};
use crate::raw::{self, Line};
use anyhow::{Context, Result, ensure};
use bench_results::environment::Environment;
use bench_results::work::{Sample, Spec, Work};
use clap::Args;
use stats::Estimate;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The file of raw results [default: the one in results/ that was begun last, a full run before a quick one]
    raw: Option<PathBuf>,
    /// Where the derived files go: derived.csv and plots/ in this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The document that gets the tables
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))]
    readme: PathBuf,
}

/// Where a run began or went on.
#[derive(Clone, Debug)]
struct Begin {
    environment: Environment,
    plan: String,
    versions: Vec<String>,
    busy_ok: bool,
}

/// One contender's figures in one row.
#[derive(Clone, Debug)]
struct Cell {
    spec: Spec,
    samples: Vec<Sample>,
}

/// The raw results, sorted.
#[derive(Clone, Debug, Default)]
struct Data {
    source: String,
    begins: Vec<Begin>,
    /// By row in the order of the plan, then contender in that order; those without samples were not measured.
    rows: Vec<(String, Vec<Cell>)>,
    failures: usize,
    /// The criterion benches, if they were stored.
    criterion: Option<crate::criterion::Results>,
}

impl Data {
    fn new(source: &Path, lines: Vec<Line>) -> Self {
        let mut data = Self {
            source: source
                .file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            ..Self::default()
        };
        let mut repetitions: BTreeMap<(Spec, usize), ()> = BTreeMap::new();
        let mut failed = Vec::new();
        for line in lines {
            match line {
                Line::Environment {
                    environment,
                    plan,
                    versions,
                    busy_ok,
                } => data.begins.push(Begin {
                    environment,
                    plan,
                    versions,
                    busy_ok,
                }),
                Line::Failure {
                    spec, repetition, ..
                } => failed.push((spec, repetition)),
                Line::Sample {
                    spec,
                    repetition,
                    sample,
                    ..
                } => {
                    repetitions.insert((spec.clone(), repetition), ());
                    data.add(spec, sample);
                }
            }
        }
        // A failure that was made good later is none.
        data.failures = failed
            .into_iter()
            .filter(|f| !repetitions.contains_key(f))
            .count();
        data
    }

    fn add(&mut self, spec: Spec, sample: Sample) {
        let row = row_name(&spec);
        let at = self
            .rows
            .iter()
            .position(|(r, _)| *r == row)
            .unwrap_or_else(|| {
                self.rows.push((row, Vec::new()));
                self.rows.len() - 1
            });
        let cells = &mut self.rows[at].1;
        match cells
            .iter_mut()
            .find(|c| c.spec.contender == spec.contender)
        {
            Some(cell) => cell.samples.push(sample),
            None => {
                let cell = Cell {
                    spec,
                    samples: vec![sample],
                };
                // In the order of the first turn, which odd turns reverse; a run that was resumed may begin with either.
                cells.push(cell);
            }
        }
    }

    /// With the rows in the order of the plan, and what was planned but not measured among them, as cells without samples.
    fn with_plan(mut self, planned: &[Row]) -> Self {
        let mut measured = std::mem::take(&mut self.rows);
        for row in planned {
            let name = row_name(&row.specs[0]);
            let mut found = match measured.iter().position(|(r, _)| *r == name) {
                Some(at) => measured.remove(at).1,
                None => Vec::new(),
            };
            let mut cells = Vec::new();
            for spec in &row.specs {
                let at = found
                    .iter()
                    .position(|c| c.spec.contender == spec.contender);
                cells.push(at.map_or_else(
                    || Cell {
                        spec: spec.clone(),
                        samples: Vec::new(),
                    },
                    |at| found.remove(at),
                ));
            }
            cells.append(&mut found);
            self.rows.push((name, cells));
        }
        self.rows.append(&mut measured);
        self
    }

    /// The cells of all rows.
    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|(_, cells)| cells)
    }

    /// The figure of a contender in the row of that name.
    fn figure(&self, row: &str, contender: &str, metric: &str) -> Option<Estimate> {
        let (_, cells) = self.rows.iter().find(|(r, _)| r == row)?;
        cells
            .iter()
            .find(|c| c.spec.contender == contender)?
            .estimate(metric)
    }
}

/// The row that a measurement stands in. The classic table is told its size beforehand; it stands among the others all the same.
fn row_name(spec: &Spec) -> String {
    let mut as_others = spec.clone();
    if spec.contender == "classic" {
        as_others.build = bench_results::measure::Build::Grown;
    }
    as_others.row()
}

impl Cell {
    fn estimate(&self, metric: &str) -> Option<Estimate> {
        let values: Vec<f64> = self
            .samples
            .iter()
            .filter_map(|s| s.values.get(metric).copied())
            .collect();
        stats::estimate(&values)
    }

    /// Whether a figure of it is one to beat: neither ours nor a limit or an ablation.
    fn is_peer(&self) -> bool {
        is_peer(&self.spec.contender)
    }
}

/// The project's maps, of which the better one stands for them: values where it holds them, or entries in the buckets.
const OURS: [&str; 2] = ["nulls", "nulls-inline"];

fn is_peer(name: &str) -> bool {
    !name.starts_with("nulls") && !["hashbrown", "classic", "machine"].contains(&name)
}

/// The raw file to use when none is named.
fn newest() -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(crate::results())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            let begin = raw::read(&path)?.into_iter().find_map(|l| match l {
                Line::Environment {
                    environment, plan, ..
                } => Some((plan == "full", environment.date)),
                _ => None,
            });
            files.extend(begin.map(|b| (b, path)));
        }
    }
    files.sort();
    files
        .pop()
        .map(|(_, path)| path)
        .context("no raw results yet: cargo run --release -p bench-results")
}

/// The subcommand.
pub fn run(a: &Arguments) -> Result<()> {
    let raw = a.raw.clone().map_or_else(newest, Ok)?;
    let data = Data::new(&raw, raw::read(&raw)?);
    let full = data.begins.iter().any(|b| b.plan == "full");
    let size = if full { Size::Full } else { Size::Quick };
    let mut data = data.with_plan(&plan::rows(size, &crate::external::all_c_maps()));
    ensure!(
        !data.rows.is_empty() && !data.begins.is_empty(),
        "{} holds no results",
        raw.display()
    );
    let out = a.out.clone().unwrap_or_else(crate::results);
    data.criterion = crate::criterion::stored(&out)?;
    if let Some(growths) = growths(&data) {
        crate::store::write(&out.join("growth.json"), &growths)?;
    }
    std::fs::create_dir_all(out.join("plots"))?;
    std::fs::write(out.join("derived.csv"), csv(&data))?;
    let plots = plots::all(&data, &out.join("plots"))?;
    let plots: Vec<(String, String)> = plots
        .into_iter()
        .map(|(file, title)| (relative(&a.readme, &out.join("plots").join(file)), title))
        .collect();
    std::fs::write(&a.readme, tables::readme(&data, &plots))?;
    println!(
        "from {}: {}, {} and {} plots",
        raw.display(),
        a.readme.display(),
        out.join("derived.csv").display(),
        plots.len()
    );
    Ok(())
}

/// Single insertions while maps grow: of the largest size that was measured, process by process.
fn growths(data: &Data) -> Option<serde_json::Value> {
    let of = |c: &&Cell| c.spec.work == Work::Growth && !c.samples.is_empty();
    let largest = data.cells().filter(of).map(|c| c.spec.entries).max()?;
    let mut growths = Vec::new();
    for cell in data
        .cells()
        .filter(of)
        .filter(|c| c.spec.entries == largest)
    {
        for s in &cell.samples {
            let number = |name: &str| s.values.get(name).map(|&v| v as u64);
            let spread = |role: &str| {
                let quantiles = ["p50", "p99", "p99_9", "p99_99", "max"];
                let values =
                    quantiles.map(|q| (q.to_owned(), number(&format!("{role}_{q}")).into()));
                serde_json::Value::Object(values.into_iter().collect())
            };
            growths.push(serde_json::json!({
                "contender": cell.spec.contender,
                "entries": largest,
                "threads": cell.spec.threads,
                "seconds": s.values.get("seconds"),
                "insert": spread("insert"),
                "floor": spread("floor"),
                "most_moved": number("most_moved"),
                "longest_at": number("longest_at"),
            }));
        }
    }
    Some(serde_json::json!({
        "environment": data.begins.last().map(|b| &b.environment),
        "growths": growths,
    }))
}

/// A path as a link in `document` has it.
fn relative(document: &Path, path: &Path) -> String {
    let folder = document.parent().unwrap_or(Path::new(""));
    path.strip_prefix(folder)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

/// One line for each figure.
fn csv(data: &Data) -> String {
    let mut text = String::from("row,contender,metric,n,median,low95,high95\n");
    for (row, cells) in &data.rows {
        for cell in cells {
            let Some(first) = cell.samples.first() else {
                let _ = writeln!(text, "{row},{},not measured,0,,,", cell.spec.contender);
                continue;
            };
            for metric in first.values.keys() {
                if let Some(e) = cell.estimate(metric) {
                    let _ = writeln!(
                        text,
                        "{row},{},{metric},{},{},{},{}",
                        cell.spec.contender, e.n, e.median, e.low, e.high
                    );
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_results::key::KeyKind;
    use bench_results::measure::Build;
    use bench_results::work::{Mode, Order, Presence3};

    fn line(contender: &str, entries: usize, repetition: usize, ns: f64) -> Line {
        Line::Sample {
            spec: Spec {
                work: Work::Lookup {
                    presence: Presence3::Hit,
                    order: Order::Uniform,
                    mode: Mode::Throughput,
                    huge_pages: true,
                },
                key: KeyKind::U64,
                entries,
                threads: 1,
                build: Build::Grown,
                ms: 1,
                contender: contender.into(),
            },
            repetition,
            seconds: 1.0,
            sample: Sample::default().with("ns", ns),
        }
    }

    #[test]
    fn what_was_not_measured_is_named() {
        let begin = Line::Sample {
            spec: plan::rows(Size::Full, &[])[0].specs[0].clone(),
            repetition: 0,
            seconds: 1.0,
            sample: Sample::default().with("ns", 3.0),
        };
        let planned = plan::rows(Size::Full, &crate::external::all_c_maps());
        let data = Data::new(Path::new("x/raw.jsonl"), vec![begin]).with_plan(&planned);
        assert_eq!(data.rows.len(), planned.len());
        let text = tables::readme(&data, &[]);
        // The one figure, the others of its table, tables without any, and every target.
        assert!(text.contains("| nulls | 3.00 | not measured |"), "{text}");
        assert!(text.contains("Not measured."));
        let targets = targets::table(&data);
        assert!(text.contains(&targets));
        let answers: Vec<&str> = targets
            .lines()
            .skip_while(|l| !l.contains("---"))
            .skip(1)
            .take_while(|l| l.starts_with('|'))
            .collect();
        assert!(
            answers.len() > 20 && answers.iter().all(|l| l.ends_with("| not measured | – |")),
            "{targets}"
        );
        assert!(csv(&data).contains(",dashmap,not measured,0,,,"));
        // Nor do the plots need more.
        let folder = std::env::temp_dir().join(format!("few-plots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        plots::all(&data, &folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn growths_of_the_largest_size_are_told_one_by_one() {
        let growth = |entries, repetition, longest| {
            let Line::Sample { spec, .. } = line("nulls", entries, repetition, 0.0) else {
                unreachable!("it makes samples");
            };
            Line::Sample {
                spec: Spec {
                    work: Work::Growth,
                    ..spec
                },
                repetition,
                seconds: 1.0,
                sample: Sample::default()
                    .with("seconds", 0.5)
                    .with("insert_max", longest)
                    .with("floor_max", 7.0),
            }
        };
        let lines = vec![growth(10, 0, 1.0), growth(20, 0, 2.0), growth(20, 1, 3.0)];
        let told = growths(&Data::new(Path::new("x/raw.jsonl"), lines)).unwrap();
        let all = told["growths"].as_array().unwrap();
        let longest: Vec<u64> = all
            .iter()
            .map(|g| g["insert"]["max"].as_u64().unwrap())
            .collect();
        assert_eq!(longest, [2, 3]);
        assert!(
            all.iter()
                .all(|g| g["floor"]["max"] == 7 && g["entries"] == 20)
        );
        assert!(all[0]["most_moved"].is_null());
        assert!(growths(&Data::default()).is_none());
    }

    #[test]
    fn tables_follow_from_the_lines_and_say_who_wins() {
        let mut lines = Vec::new();
        for (entries, peer) in [(1000, 20.0), (100_000, 5.0)] {
            for r in 0..3 {
                lines.push(line("nulls", entries, r, 10.0 + r as f64));
                lines.push(line("dashmap", entries, r, peer));
                lines.push(line("hashbrown", entries, r, 8.0));
            }
        }
        let data = Data::new(Path::new("x/raw.jsonl"), lines);
        assert_eq!(data.rows.len(), 2);
        let row = "lookup/throughput/uniform/hit/u64/1000/x1/grown";
        assert_eq!(data.figure(row, "nulls", "ns").unwrap().median, 11.0);
        let text = tables::readme(&data, &[]);
        assert!(text.contains("| dashmap |"), "{text}");
        // Ahead at 1 k, behind at 100 k.
        assert!(text.contains("nulls, 1.82×"), "{text}");
        assert!(text.contains("**dashmap**, 2.20× (nulls)"), "{text}");
        assert!(csv(&data).contains(&format!("{row},nulls,ns,3,11,")));
        let folder = std::env::temp_dir().join(format!("plots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let plots = plots::all(&data, &folder).unwrap();
        let svg = std::fs::read_to_string(folder.join(&plots[0].0)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("dashmap"));
    }
}
