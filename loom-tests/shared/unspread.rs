//! Where a key of a map lies is its hasher's choice, but for what the map does to hashes.

/// Undoes the map's spreading of hashes, so that keys lie where a model or scenario wants them.
pub fn unspread(hash: u64) -> u64 {
    // The inverse of the map's odd factor modulo 2^64, by Newton's iteration; the shifts undo themselves.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut inverse = FACTOR;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(FACTOR.wrapping_mul(inverse)));
    }
    let p = (hash ^ hash >> 32).wrapping_mul(inverse);
    p ^ p >> 32
}
