//! The Internet checksum.

use std::net::IpAddr;

/// Adds the 16-bit words of `bytes` to `acc`. `bytes` begins at an even offset of what is summed up.
#[must_use]
pub fn sum(bytes: &[u8], acc: u64) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut acc = words.by_ref().fold(acc, |a, w| {
        a + u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]]))
    });
    for half in words.remainder().chunks(2) {
        acc += u64::from(u16::from_be_bytes([
            half[0],
            half.get(1).copied().unwrap_or(0),
        ]));
    }
    acc
}

/// Folds a sum to 16 bits; data that carries its own right checksum gives `0xffff`.
#[must_use]
pub fn fold(mut acc: u64) -> u16 {
    while acc > 0xffff {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    acc as u16
}

/// The sum of the pseudo header of both families.
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, protonum: u8, len: u32) -> u64 {
    let addr = |a: IpAddr, acc| match a {
        IpAddr::V4(a) => sum(&a.octets(), acc),
        IpAddr::V6(a) => sum(&a.octets(), acc),
    };
    addr(src, addr(dst, u64::from(protonum) + u64::from(len)))
}
