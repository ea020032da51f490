//! Many times: a histogram of them, and the longest.

use super::Sample;
use core::time::Duration;
use hdrhistogram::Histogram;

/// Times of single operations.
#[derive(Debug)]
pub(super) struct Times {
    histogram: Histogram<u64>,
    /// Nanoseconds; exact, not rounded to the histogram's three digits.
    pub(super) longest: u64,
}

impl Times {
    pub(super) fn new() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("valid bounds"),
            longest: 0,
        }
    }

    /// Notes one. True: there was none as long before.
    #[inline]
    pub(super) fn note(&mut self, time: Duration) -> bool {
        let ns = nanoseconds(time);
        self.histogram.saturating_record(ns);
        let longest = ns > self.longest;
        if longest {
            self.longest = ns;
        }
        longest
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.histogram += &other.histogram;
        self.longest = self.longest.max(other.longest);
    }

    /// Percentiles and the maximum, and the curve between them. Nothing if nothing was noted.
    pub(super) fn tell(&self, role: &str, sample: &mut Sample) {
        let h = &self.histogram;
        if h.is_empty() {
            return;
        }
        for (name, q) in [
            ("p50", 0.5),
            ("p99", 0.99),
            ("p99_9", 0.999),
            ("p99_99", 0.9999),
        ] {
            sample
                .values
                .insert(format!("{role}_{name}"), h.value_at_quantile(q) as f64);
        }
        sample
            .values
            .insert(format!("{role}_max"), self.longest as f64);
        let curve = (0..=24)
            .map(|i| {
                // One point per quarter of a decade of rarity.
                let rarity = 10f64.powf(f64::from(i) / 4.0);
                (rarity, h.value_at_quantile(1.0 - 1.0 / rarity) as f64)
            })
            .filter(|p| p.0 <= h.len() as f64)
            .collect();
        sample.series.insert(format!("{role}_ns"), curve);
    }
}

/// A span as a number.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
