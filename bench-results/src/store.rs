//! Result files, and measurements in processes of their own.

use anyhow::{Context, Result, bail, ensure};
use bench_results::environment::Environment;
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where timings go and whether they may.
#[derive(Debug, Args)]
pub struct Output {
    /// The folder for the result file.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    pub out: PathBuf,
    /// Measure although the machine is busy with other things. The result says that it was.
    #[arg(long)]
    pub busy_ok: bool,
}

impl Output {
    /// Looks around before a timing, and refuses a busy machine.
    pub fn environment(&self) -> Result<Environment> {
        let here = Environment::here();
        if here.is_busy() && !self.busy_ok {
            bail!(
                "the machine is busy ({:.0} % of its time goes elsewhere): timings would mean nothing. \
                 Wait, or give --busy-ok and an --out that is not published",
                here.busy_percent
            );
        }
        Ok(here)
    }

    /// Writes a result file.
    pub fn write(&self, name: &str, result: &impl Serialize) -> Result<()> {
        write(&self.out.join(name), result)
    }
}

/// Writes a result as JSON, replacing the file as a whole.
pub fn write(path: &Path, result: &impl Serialize) -> Result<()> {
    let folder = path.parent().context("a file in a folder")?;
    std::fs::create_dir_all(folder)?;
    let temporary = path.with_extension("json.new");
    std::fs::write(&temporary, serde_json::to_string_pretty(result)? + "\n")?;
    std::fs::rename(&temporary, path).with_context(|| path.display().to_string())?;
    println!("written: {}", path.display());
    Ok(())
}

/// Has a fresh process of this program do `subcommand` on `task`, and returns its answer.
pub fn in_fresh_process<A: DeserializeOwned>(subcommand: &str, task: &impl Serialize) -> Result<A> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(&serde_json::to_vec(task)?)?;
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "{subcommand} failed: {}", out.status);
    Ok(serde_json::from_slice(&out.stdout)?)
}

/// The middle of some numbers, and the quartiles below and above: `(lower, median, upper)`.
pub fn quartiles(values: &[f64]) -> (f64, f64, f64) {
    let mut v = values.to_vec();
    v.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let x = q * (v.len() - 1) as f64;
        let (low, high) = (v[x.floor() as usize], v[x.ceil() as usize]);
        low + (high - low) * x.fract()
    };
    (at(0.25), at(0.5), at(0.75))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quartiles_of_a_few() {
        assert_eq!(super::quartiles(&[3.0]), (3.0, 3.0, 3.0));
        assert_eq!(
            super::quartiles(&[4.0, 1.0, 3.0, 2.0, 5.0]),
            (2.0, 3.0, 4.0)
        );
        assert_eq!(super::quartiles(&[1.0, 2.0]), (1.25, 1.5, 1.75));
    }
}
