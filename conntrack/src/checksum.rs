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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_words_and_odd_ends() {
        assert_eq!(fold(0xffff), 0xffff);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold(0x0005_fffe_ffff), 4);
        for (bytes, expected) in [
            (&[][..], 7),
            (&[1], 0x0107),
            (&[1, 2], 0x0109),
            (&[1, 2, 3], 0x0409),
            (&[1, 2, 3, 4, 5], 0x090d),
        ] {
            assert_eq!(fold(sum(bytes, 7)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_pseudo_header_is_the_sum_of_its_fields() {
        let v4 = pseudo([10, 0, 0, 1].into(), [10, 0, 1, 2].into(), 17, 20);
        assert_eq!(v4, 0x0a00_0001 + 0x0a00_0102 + 17 + 20);
        let (a, b) = ([0x20, 1, 0, 0], [0, 0, 0, 9]);
        let address: [u8; 16] = [a, [0; 4], [0; 4], b].concat().try_into().unwrap();
        let v6 = pseudo(address.into(), address.into(), 6, 40);
        assert_eq!(v6, 2 * (0x2001_0000 + 9) + 6 + 40);
    }
}
