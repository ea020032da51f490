//! Medians, and how sure they are.

/// A median with its 95 % bootstrap confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// How many figures it is of.
    pub n: usize,
    /// The middle one.
    pub median: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The middle of sorted figures.
fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n % 2 == 1 {
        sorted[n / 2]
    } else {
        f64::midpoint(sorted[n / 2 - 1], sorted[n / 2])
    }
}

/// The median of `values`, with the 2.5th and 97.5th percentile of the medians of 4000 resamples. The resamples are drawn
/// with a fixed seed: the same figures give the same interval. `None` of no figures.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = middle(&sorted);
    let mut state = 0u64;
    let mut medians: Vec<f64> = (0..4000)
        .map(|_| {
            let mut again: Vec<f64> = (0..n)
                .map(|_| {
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let r = bench_results::workload::mix64(state);
                    sorted[nulls::scale::reciprocal_scale(r, n as u64) as usize]
                })
                .collect();
            again.sort_by(f64::total_cmp);
            middle(&again)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Some(Estimate {
        n,
        median,
        low: medians[100],
        high: medians[3899],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_narrows() {
        assert_eq!(estimate(&[]), None);
        let one = estimate(&[2.5]).unwrap();
        assert_eq!((one.low, one.median, one.high), (2.5, 2.5, 2.5));
        let few: Vec<f64> = (0..10).map(f64::from).collect();
        let many: Vec<f64> = (0..1000).map(|i| f64::from(i) / 100.0).collect();
        let (few, many) = (estimate(&few).unwrap(), estimate(&many).unwrap());
        assert_eq!(few.median, 4.5);
        assert!(few.low < few.median && few.median < few.high);
        assert!(many.high - many.low < few.high - few.low);
    }
}
