//! The mode `long`: everything, for as long as told.
//!
//! What is exhaustive (models at their full bounds, the kill matrix) runs once, if its share of the time suffices; what is random (stress,
//! histories, random schedules) gets a share of the time and whatever is left after. Nothing is begun when the time is over.

use crate::models::{self, Bound};
use crate::{Options, Tally, mutants, stress};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Runs all modes for about `minutes`.
///
/// # Errors
///
/// Something cannot be built or run. A failing check is no error but counted.
pub fn run(options: &Options, minutes: u64) -> Result<Tally> {
    let begin = Instant::now();
    let whole = Duration::from_secs(60 * minutes);
    let by = |percent: u32| Options {
        deadline: Some(begin + whole * percent / 100),
        ..options.clone()
    };
    let mut tally = Tally::default();
    // A twentieth of the time for one scenario and one random schedule each, as there are some ten of either.
    let seconds = (whole.as_secs() / 200).clamp(2, 120);

    title("models, full bounds", begin);
    tally += models::run(&by(50), Bound::Full)?;
    title("random schedules", begin);
    tally += stress::shuttle(&by(100), seconds)?;
    title("real threads and histories", begin);
    tally += stress::run(&by(100), seconds, 30)?;
    title("kill matrix", begin);
    tally += mutants::run(&by(100), mutants::Extent::All)?;

    // Whatever is left goes to what is random.
    let mut round = 2;
    let mut options = by(100);
    options.write = false;
    while begin.elapsed() + Duration::from_secs(30 * seconds) < whole && tally.failed == 0 {
        title(&format!("random again, round {round}"), begin);
        tally += stress::shuttle(&options, seconds)?;
        tally += stress::run(&options, seconds, 30)?;
        round += 1;
    }
    println!("\n{} minutes", begin.elapsed().as_secs() / 60);
    Ok(tally)
}

fn title(what: &str, begin: Instant) {
    println!("\n== {what}, after {} s\n", begin.elapsed().as_secs());
}
