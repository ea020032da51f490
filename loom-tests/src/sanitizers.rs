//! The stress scenarios under the nightly compiler's sanitizers.
//!
//! No standard library is rebuilt: what std does is not instrumented, which ThreadSanitizer makes up for by intercepting the
//! calls into the C library. It does not understand fences; the table needs none of its own to order ordinary memory, since
//! every hand-over of it is also a release that is acquired. The only suppressions are of std's own thread handles.

use crate::report::{Table, grouped};
use crate::runner::{self, Run};
use crate::workspace::{Program, Sanitizer, Workspace};
use crate::{Options, Tally, announce};
use anyhow::Result;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Time a scenario may need beyond its budget: sanitizers slow everything down.
const GRACE: Duration = Duration::from_secs(120);

fn has(toolchain_and_command: &[&str]) -> bool {
    let (program, args) = (toolchain_and_command[0], &toolchain_and_command[1..]);
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Builds the stress scenarios under each sanitizer and runs them for `seconds` each; and Miri, where it can be had.
///
/// # Errors
///
/// Something cannot be built or run. A finding is no error but counted.
pub fn run(options: &Options, seconds: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    if has(&["rustc", "+nightly", "--version"]) {
        let workspace = Workspace::locate()?;
        let mut table = Table::new(&["sanitizer", "scenario", "operations", "time", "verdict"]);
        for sanitizer in [Sanitizer::Thread, Sanitizer::Address, Sanitizer::Leak] {
            let program = workspace.build_sanitized(sanitizer)?;
            announce(&program);
            let contents = runner::list(&program)?;
            for model in options.select(&contents)? {
                let run = one(&program, options, &model.name, seconds)?;
                let ok = run.as_expected(model);
                tally.count(ok);
                if !ok {
                    println!("{} under {sanitizer:?}: {}", model.name, run.reason());
                }
                table.row([
                    format!("{sanitizer:?}"),
                    model.name.clone(),
                    grouped(run.executions),
                    format!("{:.0} s", run.time.as_secs_f64()),
                    if ok { "ok" } else { "FAILED" }.to_owned(),
                ]);
            }
        }
        if options.filters.is_empty() {
            // Whatever was made is dropped: counted by the tests themselves, and once more by who knows every allocation.
            let (begin, leak) = (Instant::now(), Sanitizer::Leak);
            let ok = workspace.test_sanitized(leak, "drops")?;
            tally.count(ok);
            table.row([
                format!("{leak:?}"),
                "table/tests/drops.rs".to_owned(),
                String::new(),
                format!("{:.0} s, built", begin.elapsed().as_secs_f64()),
                if ok { "ok" } else { "FAILED" }.to_owned(),
            ]);
        }
        println!("\n{table}");
        if options.write && options.filters.is_empty() {
            crate::report::write_readme("sanitizers", &table.markdown())?;
        }
    } else {
        println!(
            "sanitizers: skipped, there is no nightly compiler (`rustup toolchain install nightly`)"
        );
        tally.skipped += 1;
    }
    miri(&mut tally)?;
    Ok(tally)
}

fn one(program: &Program, options: &Options, name: &str, seconds: u64) -> Result<Run> {
    let args = ["run".to_owned(), name.to_owned(), seconds.to_string()];
    let limit = (Duration::from_secs(seconds) + GRACE).mul_f64(options.patience);
    runner::run(program, &args, limit)
}

/// Runs the sequential tests of the table under Miri.
fn miri(tally: &mut Tally) -> Result<()> {
    if !has(&["cargo", "+nightly", "miri", "--version"]) {
        println!(
            "miri: skipped, the nightly toolchain has no such component (`rustup +nightly component add miri`)"
        );
        tally.skipped += 1;
        return Ok(());
    }
    // Without the system's own memory functions, and with races and aliasing checked. What takes minutes is left out.
    let status = Command::new("cargo")
        .args([
            "+nightly", "miri", "test", "-p", "nulls", "--lib", "--test", "raw", "--test", "pool",
        ])
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks")
        .status()?;
    tally.count(status.success());
    Ok(())
}
