//! Multiplicative range reduction: a hash to a bucket, an interval of hashes to a bucket and back.
//!
//! [`reciprocal_scale`] takes the **high** bits of the hash, so that bucket `b` of `n` is the contiguous interval
//! `[interval_start(b, n), interval_start(b + 1, n))` of the hash space, for any `n`, a power of two or not.
//!
//! Source: `reciprocal_scale()` in Linux `include/linux/math.h`; D. Lemire, "Fast Random Integer Generation in an
//! Interval", ACM TOMACS 29(1), 2019.

/// Maps a 64-bit `hash` to `0..n`: `hash * n >> 64`. Yields 0 when `n` is 0.
///
/// ```
/// assert_eq!(nulls::scale::reciprocal_scale(u64::MAX, 10), 9);
/// assert_eq!(nulls::scale::reciprocal_scale(1 << 63, 10), 5);
/// ```
#[inline(always)]
pub const fn reciprocal_scale(hash: u64, n: u64) -> u64 {
    ((hash as u128 * n as u128) >> 64) as u64
}

/// The kernel's form: maps a 32-bit `value` to `0..n` by `value * n >> 32`.
///
/// ```
/// assert_eq!(nulls::scale::reciprocal_scale32(u32::MAX, 1024), 1023);
/// ```
#[inline(always)]
pub const fn reciprocal_scale32(value: u32, n: u32) -> u32 {
    ((value as u64 * n as u64) >> 32) as u32
}

/// The first hash of bucket `b` among `n`: `ceil(b * 2^64 / n)`. `b == n` yields `2^64`, hence the wide result.
///
/// # Panics
/// When `n` is 0.
///
/// ```
/// use nulls::scale::{interval_start, reciprocal_scale};
/// let first = interval_start(3, 7) as u64;
/// assert_eq!(reciprocal_scale(first, 7), 3);
/// assert_eq!(reciprocal_scale(first - 1, 7), 2);
/// ```
#[inline]
pub const fn interval_start(b: u64, n: u64) -> u128 {
    ((b as u128) << 64).div_ceil(n as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_the_64_bit_form() {
        for n in [1, 2, 3, 5, 7, 1 << 20, (1 << 32) - 1, 1 << 32, u64::MAX] {
            assert_eq!(reciprocal_scale(0, n), 0);
            assert_eq!(reciprocal_scale(u64::MAX, n), n - 1);
        }
        assert_eq!(reciprocal_scale(u64::MAX, 0), 0);
    }

    #[test]
    fn edges_of_the_32_bit_form() {
        for n in [1, 2, 3, 5, 1000, 1 << 16, u32::MAX] {
            assert_eq!(reciprocal_scale32(0, n), 0);
            assert_eq!(reciprocal_scale32(u32::MAX, n), n - 1);
        }
        assert_eq!(reciprocal_scale32(u32::MAX, 0), 0);
        // The product of the largest operands must not overflow.
        assert_eq!(reciprocal_scale32(u32::MAX, u32::MAX), u32::MAX - 1);
    }

    #[test]
    fn intervals_tile_the_hash_space() {
        for n in [1u64, 2, 3, 7, 10, 1000, 4097] {
            assert_eq!(interval_start(0, n), 0);
            assert_eq!(interval_start(n, n), 1 << 64);
            for b in 1..n {
                let first = interval_start(b, n) as u64;
                assert_eq!(reciprocal_scale(first, n), b);
                assert_eq!(reciprocal_scale(first - 1, n), b - 1);
            }
        }
    }
}
