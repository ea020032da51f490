//! Runs checking programs: one process a run, several at a time, each under a time limit.

use crate::workspace::Program;
use anyhow::{Context, Result, ensure};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A model, or a stress scenario, as its program describes it.
#[derive(Debug, Clone)]
pub struct Model {
    /// Name, with its source file as the first part.
    pub name: String,
    /// Whether it is wrong on purpose, and must fail.
    pub must_fail: bool,
    /// Threads, the first one included.
    pub threads: usize,
    /// Preemption bound of the mode `fast`.
    pub fast_bound: usize,
    /// Preemption bound of the mode `full`.
    pub full_bound: usize,
    /// Time until a run is given up.
    pub limit: Duration,
    /// Outcomes that have to be seen.
    pub outcomes: Vec<String>,
    /// Mutants that have to be caught.
    pub kills: Vec<String>,
    /// What it proves, in a line.
    pub proves: String,
}

impl Model {
    /// Whether this belongs to the self-test of the checker.
    #[must_use]
    pub fn is_litmus(&self) -> bool {
        self.name.starts_with("litmus/")
    }

    /// Whether this is a model of one of the kernel's algorithms, which no mutant of the table concerns.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        self.name.starts_with("kernel/")
    }
}

/// All that a program contains.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Models or scenarios, in source order.
    pub models: Vec<Model>,
    /// Names of the orderings that can be weakened.
    pub mutants: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Nothing failed.
    Clean,
    /// An execution failed, or the model did not show what it has to: the message.
    Failed(String),
    /// The process died without a word.
    Crashed(String),
    /// The time limit was reached: nothing is known.
    TimedOut,
    /// Not begun, because the time given to the whole was over: nothing is known.
    Skipped,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// Executions made.
    pub executions: u64,
    /// Time taken.
    pub time: Duration,
    /// How often the mutant was met.
    pub hits: u64,
    /// `outcome=count`, separated by commas.
    pub seen: String,
    /// Mutants met, if that was asked for.
    pub reached: Vec<String>,
}

impl Run {
    /// Whether the run shows a bug. A time-out does not.
    #[must_use]
    pub fn caught(&self) -> bool {
        matches!(self.end, End::Failed(_) | End::Crashed(_))
    }

    /// Whether this is what `model` has to come to.
    #[must_use]
    pub fn as_expected(&self, model: &Model) -> bool {
        if model.must_fail {
            self.caught()
        } else {
            self.end == End::Clean
        }
    }

    /// A run that was not made.
    #[must_use]
    pub fn skipped() -> Self {
        Self {
            end: End::Skipped,
            executions: 0,
            time: Duration::ZERO,
            hits: 0,
            seen: String::new(),
            reached: Vec::new(),
        }
    }

    /// What went wrong, in a line.
    #[must_use]
    pub fn reason(&self) -> String {
        match &self.end {
            End::Clean => String::new(),
            End::Failed(why) => why.clone(),
            End::Crashed(why) => format!("crashed: {why}"),
            End::Skipped => "not run: the time is over".to_owned(),
            End::TimedOut => format!("time limit reached after {:.0} s", self.time.as_secs_f64()),
        }
    }
}

fn command(program: &Program, args: &[String]) -> Command {
    let mut c = Command::new(&program.path);
    c.args(args).env("RUST_BACKTRACE", "0");
    // Read by programs under ThreadSanitizer only.
    let suppressions = concat!(env!("CARGO_MANIFEST_DIR"), "/tsan-suppressions.txt");
    c.env("TSAN_OPTIONS", format!("suppressions={suppressions}"));
    // The checker reads its limits from the environment too; ours are the only ones.
    for (k, _) in std::env::vars_os() {
        if k.to_string_lossy().starts_with("LOOM_") {
            c.env_remove(k);
        }
    }
    c
}

/// Asks a program what it contains.
///
/// # Errors
///
/// It cannot be run, or answers in another format.
pub fn list(program: &Program) -> Result<Contents> {
    let out = command(program, &["list".to_owned()])
        .output()
        .context("asking for the models")?;
    ensure!(
        out.status.success(),
        "listing the models failed: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout)?;
    let words = |s: &str| -> Vec<String> {
        s.split(',')
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut contents = Contents {
        models: Vec::new(),
        mutants: Vec::new(),
    };
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            [
                "@model",
                name,
                kind,
                threads,
                bound,
                limit,
                outcomes,
                kills,
                proves,
            ] => contents.models.push(Model {
                name: (*name).to_owned(),
                must_fail: *kind == "caught",
                threads: threads.parse()?,
                fast_bound: bound.split_once('/').map_or("0", |(f, _)| f).parse()?,
                full_bound: bound.split_once('/').map_or("0", |(_, f)| f).parse()?,
                limit: Duration::from_secs(limit.parse()?),
                outcomes: words(outcomes),
                kills: words(kills),
                proves: (*proves).to_owned(),
            }),
            ["@mutant", name] => contents.mutants.push((*name).to_owned()),
            _ => anyhow::bail!("unexpected line: {line}"),
        }
    }
    ensure!(
        !contents.models.is_empty(),
        "the program contains no models"
    );
    Ok(contents)
}

/// Runs a program once with `args`, for at most `limit`.
///
/// # Errors
///
/// The process cannot be started or watched. A failing model is no error.
pub fn run(program: &Program, args: &[String], limit: Duration) -> Result<Run> {
    let start = Instant::now();
    let mut child = command(program, args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.path.display()))?;
    let mut stdout = child.stdout.take().context("no output")?;
    let mut stderr = child.stderr.take().context("no output")?;
    let (status, out, err) = std::thread::scope(|s| -> Result<_> {
        let read = |r: &mut dyn Read| {
            let mut bytes = Vec::new();
            // What was read before an error is still worth showing.
            let _ = r.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let out = s.spawn(move || read(&mut stdout));
        let err = s.spawn(move || read(&mut stderr));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() >= limit {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(4));
        };
        let text = |t: std::thread::ScopedJoinHandle<'_, String>| t.join().unwrap_or_default();
        Ok((status, text(out), text(err)))
    })?;

    let mut result = Run {
        end: End::Clean,
        executions: 0,
        time: start.elapsed(),
        hits: 0,
        seen: String::new(),
        reached: Vec::new(),
    };
    let mut reported = false;
    let mut why = Vec::new();
    for line in out.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["@result", executions, millis, hits, seen] => {
                reported = true;
                result.executions = executions.parse()?;
                result.time = Duration::from_millis(millis.parse()?);
                result.hits = hits.parse()?;
                result.seen = (*seen).to_owned();
            }
            // All that is known of a run that is given up.
            ["@progress", executions] if !reported => result.executions = executions.parse()?,
            ["@reached", names] => {
                result.reached = names.split(',').map(str::to_owned).collect();
            }
            ["@panic", what, place] => why.push(format!("{what} ({place})")),
            ["@unseen", what] => why.push(format!("outcome \"{what}\" never seen")),
            ["@undeclared", what] => why.push(format!("outcome \"{what}\" is not declared")),
            ["@floor", what] => why.push((*what).to_owned()),
            _ => {}
        }
    }
    result.end = match status {
        None => End::TimedOut,
        Some(s) if s.success() && reported && why.is_empty() => End::Clean,
        Some(_) if reported && !why.is_empty() => End::Failed(why.join("; ")),
        Some(s) => {
            let last = err
                .lines()
                .rev()
                .find(|l| !l.trim().is_empty())
                .unwrap_or("");
            End::Crashed(format!("{s} {last}").trim().to_owned())
        }
    };
    Ok(result)
}

/// Calls `f` on every item, `jobs` at a time, and returns the results in the items' order.
///
/// # Errors
///
/// The first error in the items' order.
pub fn parallel<T: Sync, R: Send>(
    items: &[T],
    jobs: usize,
    f: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|s| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            s.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(i) else { break };
                    let r = f(item);
                    *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(r);
                }
            });
        }
    });
    slots
        .into_iter()
        .map(|m| {
            m.into_inner()
                .unwrap_or_else(|e| e.into_inner())
                .context("an item was not run")?
        })
        .collect()
}
