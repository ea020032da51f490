//! Raw results: JSON lines, one appended for each process that finished, never changed afterwards.

use anyhow::{Context, Result};
use bench_results::environment::Environment;
use bench_results::work::{Sample, Spec};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum Line {
    /// A run began (or went on): what follows was measured there.
    Environment {
        /// Where and when.
        environment: Environment,
        /// `quick` or `full`.
        plan: String,
        /// Versions of the contenders, from the lock file.
        versions: Vec<String>,
        /// Share of processor time that others had while nothing ran, in percent; the limit that was asked for.
        busy_ok: bool,
    },
    /// A process that finished.
    Sample {
        /// What it did.
        spec: Spec,
        /// Its number among those that did the same, from 0.
        repetition: usize,
        /// Wall time of the process in seconds.
        seconds: f64,
        /// What came out.
        #[serde(flatten)]
        sample: Sample,
    },
    /// A process that failed, and how: no figure comes from it, and it is tried again in the next run.
    Failure {
        /// What it did.
        spec: Spec,
        /// Its number.
        repetition: usize,
        /// What it said last.
        error: String,
    },
}

/// All lines of a file; none if there is no file. A last line that was cut short is left out.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut lines = Vec::new();
    let mut texts = BufReader::new(file).lines().peekable();
    let mut number = 0;
    while let Some(text) = texts.next() {
        number += 1;
        let text = text?;
        match serde_json::from_str(&text) {
            Ok(line) => lines.push(line),
            Err(_) if texts.peek().is_none() => {}
            Err(e) => return Err(e).with_context(|| format!("{}:{number}", path.display())),
        }
    }
    Ok(lines)
}

/// Appends to a file of lines.
#[derive(Debug)]
pub struct Appender(File);

impl Appender {
    /// Opens it, making it if need be. What a cut-short last line left is ended first.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        if path.exists() {
            let text = std::fs::read(path)?;
            let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
            if whole < text.len() {
                OpenOptions::new()
                    .write(true)
                    .open(path)?
                    .set_len(whole as u64)?;
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| path.display().to_string())?;
        Ok(Self(file))
    }

    /// Adds a line and hands it to the system.
    pub fn add(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)?;
        self.0.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bench_results::key::KeyKind;
    use bench_results::measure::Build;
    use bench_results::work::Work;

    #[test]
    fn what_was_cut_short_is_left_out_and_written_over() {
        let path = std::env::temp_dir().join(format!("raw-{}.jsonl", std::process::id()));
        let line = Line::Sample {
            spec: Spec {
                work: Work::Pin,
                key: KeyKind::U64,
                entries: 3,
                threads: 1,
                build: Build::Grown,
                ms: 1,
                contender: "fence".into(),
            },
            repetition: 4,
            seconds: 0.5,
            sample: Sample::default().with("ns", 1.5),
        };
        Appender::open(&path).unwrap().add(&line).unwrap();
        let half = serde_json::to_string(&line).unwrap();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&half.as_bytes()[..20])
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 1);
        Appender::open(&path).unwrap().add(&line).unwrap();
        let lines = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(
            matches!(&lines[1], Line::Sample { sample, repetition: 4, .. } if sample.values["ns"] == 1.5)
        );
    }
}
