//! Hashes of keys: the kernel's two, over the kernel's bytes.
//!
//! Direction is never hashed; the namespace always, the zone where the kernel of that age did. The kernel keeps 32 bits of the result, this
//! table uses 64.

use crate::tuple::TUPLE_HASHED;
use crate::zone::{Key, Link};

/// Which hash distributes the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// SipHash-2-4, Linux 5.15 and later. The kernel truncates the result to 32 bits, here all 64 are used.
    SipHash,
    /// Bob Jenkins' lookup3 over words (`jhash2`), Linux up to 5.14. Its 32 bits are put at both ends of the 64-bit result, because the table takes
    /// the bucket from the top and the tag from the bottom. The zone is not hashed.
    Jhash2,
}

/// A keyed hash.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    kind: HashKind,
    k0: u64,
    k1: u64,
}

/// Stands for `net_hash_mix`: something different for each namespace.
fn net_mix(net: u32) -> u64 {
    u64::from(net).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl KeyHasher {
    /// A hasher of the given kind and 128-bit secret (`jhash2` uses the low 32 bits of the first word).
    #[must_use]
    pub fn new(kind: HashKind, k0: u64, k1: u64) -> Self {
        Self { kind, k0, k1 }
    }

    /// The hash of `key`.
    #[must_use]
    pub fn hash(&self, key: &Key) -> u64 {
        match self.kind {
            HashKind::SipHash => {
                let [h] = self.siphash([key]);
                h
            }
            HashKind::Jhash2 => self.jhash(key),
        }
    }

    /// Fills in the hashes of many links.
    pub(crate) fn hash_all(&self, links: &mut [Link]) {
        if self.kind == HashKind::Jhash2 {
            for link in links {
                link.hash = self.jhash(&link.key);
            }
            return;
        }
        let mut pairs = links.chunks_exact_mut(2);
        for pair in &mut pairs {
            let [a, b] = pair else { continue };
            [a.hash, b.hash] = self.siphash([&a.key, &b.key]);
        }
        for link in pairs.into_remainder() {
            link.hash = self.hash(&link.key);
        }
    }

    /// SipHash-2-4 of the first 39 bytes of `N` tuples. Written out for this one length, five words, and for several tuples at a time: each step
    /// waits for the one before, so that the steps of two tuples fit into the time of one.
    #[inline(always)]
    fn siphash<const N: usize>(&self, keys: [&Key; N]) -> [u64; N] {
        let mut v = keys.map(|key| {
            let (k0, k1) = (self.k0 ^ u64::from(key.zone), self.k1 ^ net_mix(key.net.0));
            // "somepseudorandomlygeneratedbytes", as SipHash's paper has it.
            [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ]
        });
        for i in 0..5 {
            let word = |key: &Key| match i {
                // The fortieth byte of a tuple is 0; in its place goes the length.
                4 => key.tuple.0[4] | (TUPLE_HASHED as u64) << 56,
                _ => key.tuple.0[i],
            };
            for (v, key) in v.iter_mut().zip(keys) {
                v[3] ^= word(key);
            }
            sip_rounds::<2, N>(&mut v);
            for (v, key) in v.iter_mut().zip(keys) {
                v[0] ^= word(key);
            }
        }
        for v in &mut v {
            v[2] ^= 0xff;
        }
        sip_rounds::<4, N>(&mut v);
        v.map(|[a, b, c, d]| a ^ b ^ c ^ d)
    }

    fn jhash(&self, key: &Key) -> u64 {
        let bytes = key.tuple.to_bytes();
        let mut words = [0u32; 9];
        for (w, b) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *w = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
        let dst_l4 = u32::from(u16::from_le_bytes([bytes[36], bytes[37]]));
        let init = self.k0 as u32
            ^ net_mix(key.net.0) as u32
            ^ (dst_l4 << 16 | u32::from(key.tuple.protonum()));
        let h = u64::from(jhash2(&words, init));
        h << 32 | h
    }
}

/// `R` of SipHash's rounds on each of `N` states.
#[inline(always)]
fn sip_rounds<const R: usize, const N: usize>(states: &mut [[u64; 4]; N]) {
    for _ in 0..R {
        for [a, b, c, d] in states.iter_mut() {
            *a = a.wrapping_add(*b);
            *c = c.wrapping_add(*d);
            *b = b.rotate_left(13) ^ *a;
            *d = d.rotate_left(16) ^ *c;
            *a = a.rotate_left(32);
            *c = c.wrapping_add(*b);
            *a = a.wrapping_add(*d);
            *b = b.rotate_left(17) ^ *c;
            *d = d.rotate_left(21) ^ *a;
            *c = c.rotate_left(32);
        }
    }
}

/// Bob Jenkins' lookup3 `hashword` with the kernel's initial value (`include/linux/jhash.h`).
#[must_use]
pub fn jhash2(words: &[u32], initval: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add((words.len() as u32) << 2)
        .wrapping_add(initval);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = words;
    while rest.len() > 3 {
        a = a.wrapping_add(rest[0]);
        b = b.wrapping_add(rest[1]);
        c = c.wrapping_add(rest[2]);
        mix(&mut a, &mut b, &mut c);
        rest = &rest[3..];
    }
    if rest.is_empty() {
        return c;
    }
    if rest.len() > 2 {
        c = c.wrapping_add(rest[2]);
    }
    if rest.len() > 1 {
        b = b.wrapping_add(rest[1]);
    }
    a = a.wrapping_add(rest[0]);
    finish(&mut a, &mut b, &mut c);
    c
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    // Each round: x -= z; x ^= rotl(z, n); z += y, the three roles rotating.
    let mut round = |n: [u32; 3]| {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(n[0]);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(n[1]);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(n[2]);
        *b = b.wrapping_add(*a);
    };
    round([4, 6, 8]);
    round([16, 19, 4]);
}

fn finish(a: &mut u32, b: &mut u32, c: &mut u32) {
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(14));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(11));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(25));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(16));
    *a = (*a ^ *c).wrapping_sub(c.rotate_left(4));
    *b = (*b ^ *a).wrapping_sub(a.rotate_left(14));
    *c = (*c ^ *b).wrapping_sub(b.rotate_left(24));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::{Tuple, ipproto};
    use crate::zone::NetId;
    use siphasher::sip::SipHasher24;

    #[test]
    fn siphash_of_the_reference_paper() {
        // Appendix A of the paper: key 00..0f, message 00..0e.
        let bytes: Vec<u8> = (0..15).collect();
        let k0 = u64::from_le_bytes(std::array::from_fn(|i| i as u8));
        let k1 = u64::from_le_bytes(std::array::from_fn(|i| i as u8 + 8));
        assert_eq!(
            SipHasher24::new_with_keys(k0, k1).hash(&bytes),
            0xa129_ca61_49be_45e5
        );
    }

    /// lookup3's `hashlittle`, byte by byte, to connect `jhash2` with the published values, which are for strings.
    fn hashlittle(key: &[u8], initval: u32) -> u32 {
        let start = 0xdead_beef_u32
            .wrapping_add(key.len() as u32)
            .wrapping_add(initval);
        let (mut a, mut b, mut c) = (start, start, start);
        let word = |k: &[u8], i: usize| {
            (0..4).fold(0u32, |w, j| {
                w | u32::from(*k.get(i + j).unwrap_or(&0)) << (8 * j)
            })
        };
        let mut k = key;
        while k.len() > 12 {
            a = a.wrapping_add(word(k, 0));
            b = b.wrapping_add(word(k, 4));
            c = c.wrapping_add(word(k, 8));
            mix(&mut a, &mut b, &mut c);
            k = &k[12..];
        }
        if !k.is_empty() {
            a = a.wrapping_add(word(k, 0));
            b = b.wrapping_add(word(k, 4));
            c = c.wrapping_add(word(k, 8));
            finish(&mut a, &mut b, &mut c);
        }
        c
    }

    #[test]
    fn jhash2_agrees_with_the_published_values_of_lookup3() {
        // Values that lookup3.c prints for its self-test.
        assert_eq!(hashlittle(b"", 0), 0xdead_beef);
        assert_eq!(hashlittle(b"", 0xdead_beef), 0xbd5b_7dde);
        assert_eq!(
            hashlittle(b"Four score and seven years ago", 0),
            0x1777_0551
        );
        assert_eq!(
            hashlittle(b"Four score and seven years ago", 1),
            0xcd62_8161
        );
        assert_eq!(jhash2(&[], 0), 0xdead_beef);
        for words in 0..20u32 {
            let w: Vec<u32> = (0..words)
                .map(|i| i.wrapping_mul(0x9e37_79b9) ^ 0x55)
                .collect();
            let bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
            assert_eq!(
                jhash2(&w, words),
                hashlittle(&bytes, words),
                "{words} words"
            );
        }
    }

    fn key(zone: u16, net: u32) -> Key {
        Key {
            tuple: Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::UDP, 1000, 53),
            zone,
            links: 3,
            net: NetId(net),
        }
    }

    #[test]
    fn siphash_covers_the_kernels_39_bytes_zone_and_namespace() {
        let h = KeyHasher::new(HashKind::SipHash, 1, 2);
        let bytes = key(0, 0).tuple.to_bytes();
        assert_eq!(
            h.hash(&key(0, 0)),
            SipHasher24::new_with_keys(1, 2).hash(&bytes[..39])
        );
        assert_eq!(
            h.hash(&key(5, 0)),
            SipHasher24::new_with_keys(1 ^ 5, 2).hash(&bytes[..39])
        );
        assert_eq!(
            h.hash(&key(0, 1)),
            SipHasher24::new_with_keys(1, 2 ^ net_mix(1)).hash(&bytes[..39])
        );
        assert_ne!(h.hash(&key(0, 1)), h.hash(&key(1, 0)));
    }

    #[test]
    fn hashes_of_many_are_those_of_each() {
        for kind in [HashKind::SipHash, HashKind::Jhash2] {
            let h = KeyHasher::new(kind, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
            for n in 0..6 {
                let mut links: Vec<_> = (0..n)
                    .map(|i| {
                        let bytes = [i as u8 ^ 0xa5; 16];
                        let key = Key {
                            tuple: Tuple::v6(bytes, [i as u8; 16], ipproto::TCP, 7 * i, 80 + i),
                            ..key(i, u32::from(i) / 2)
                        };
                        Link { hash: 0, key }
                    })
                    .collect();
                h.hash_all(&mut links);
                for l in links {
                    assert_eq!(l.hash, h.hash(&l.key));
                    let bytes = l.key.tuple.to_bytes();
                    let reference = SipHasher24::new_with_keys(
                        h.k0 ^ u64::from(l.key.zone),
                        h.k1 ^ net_mix(l.key.net.0),
                    );
                    let same = l.hash == reference.hash(&bytes[..TUPLE_HASHED]);
                    assert_eq!(same, kind == HashKind::SipHash);
                }
            }
        }
    }

    #[test]
    fn jhash2_ignores_the_zone_and_fills_both_ends() {
        let h = KeyHasher::new(HashKind::Jhash2, 7, 0);
        let v = h.hash(&key(0, 0));
        assert_eq!(v, h.hash(&key(9, 0)));
        assert_ne!(v, h.hash(&key(0, 1)));
        assert_eq!(v >> 32, v & 0xffff_ffff);
    }

    #[test]
    fn jhash2_begins_with_secret_namespace_port_and_protocol() {
        let bytes = key(0, 0).tuple.to_bytes();
        let words: Vec<u32> = bytes[..36]
            .chunks_exact(4)
            .map(|w| u32::from_le_bytes(w.try_into().unwrap()))
            .collect();
        // Port 53 in network order, and UDP.
        let port_and_protocol = 0x3500_0011;
        for (secret, net) in [(7, 0), (7, 3), (0xffff_fff0, 0xff)] {
            let init = secret ^ net_mix(net) as u32 ^ port_and_protocol;
            let h = KeyHasher::new(HashKind::Jhash2, u64::from(secret), 0).hash(&key(0, net));
            assert_eq!(h >> 32, u64::from(jhash2(&words, init)), "{secret} {net}");
        }
    }
}
