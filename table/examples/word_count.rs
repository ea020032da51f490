//! Counting words with rayon: one shared map, filled and read in parallel.
//!
//! `cargo run -p nulls --release --features rayon --example word_count [FILE]`

use nulls::HashMap;
use rayon::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

fn main() -> std::io::Result<()> {
    let text = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?,
        None => {
            "the quick brown fox jumps over the lazy dog and the dog sleeps on\n".repeat(20_000)
        }
    };

    // Counters are changed in place, so the values are atomics: no entry is replaced.
    let counts: HashMap<&str, AtomicU64> = HashMap::new();
    text.par_lines().for_each(|line| {
        let counts = counts.pin();
        for word in line.split_whitespace() {
            counts
                .get_or_insert_with(word, AtomicU64::default)
                .fetch_add(1, Relaxed);
        }
    });

    // Parallel iteration needs a view that several threads may share.
    let view = counts.pin_owned();
    let total: u64 = view.par_iter().map(|(_, n)| n.load(Relaxed)).sum();
    let mut top: Vec<(u64, &str)> = view
        .par_iter()
        .map(|(word, n)| (n.load(Relaxed), *word))
        .collect();
    top.par_sort_unstable_by(|a, b| b.cmp(a));
    println!("{total} words, {} different", counts.len());
    for (n, word) in top.iter().take(10) {
        println!("{n:>9} {word}");
    }
    assert_eq!(total as usize, text.split_whitespace().count());
    Ok(())
}
