//! The kinds of keys: each is made from a 64-bit number, one to one.

use bytemuck::NoUninit;
use core::fmt::Debug;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};

/// What maps are keyed by.
pub trait Key: Clone + Debug + Eq + Ord + Hash + Send + Sync + 'static {
    /// The key of a number; different for different numbers.
    fn of(number: u64) -> Self;
}

/// The names of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Eight bytes, hashed as one word.
    U64,
    /// Two words.
    Bytes16,
    /// Addresses, ports and protocol of an IPv4 flow.
    Tuple,
    /// `session:` and sixteen hexadecimal digits on the heap.
    String,
}

impl Key for u64 {
    #[inline]
    fn of(number: u64) -> Self {
        number
    }
}

/// A key of sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Bytes16(u64, u64);

// SAFETY: two words, one right behind the other.
unsafe impl NoUninit for Bytes16 {}

impl Key for Bytes16 {
    fn of(number: u64) -> Self {
        Self(number, crate::workload::mix64(!number))
    }
}

/// An IPv4 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Tuple {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    /// Zeros, where padding would be: keys that are copied byte by byte must have none.
    rest: [u8; 3],
}

// SAFETY: 4 + 4 + 2 + 2 + 1 + 3 bytes, each field where it must be aligned: nothing is left between them or behind.
unsafe impl NoUninit for Tuple {}

const _: () = assert!(size_of::<Tuple>() == 16);

impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.destination.hash(state);
        self.source_port.hash(state);
        self.destination_port.hash(state);
        self.protocol.hash(state);
    }
}

impl Key for Tuple {
    fn of(number: u64) -> Self {
        let ports = crate::workload::mix64(!number);
        Self {
            source: (number >> 32) as u32,
            destination: number as u32,
            source_port: (ports >> 48) as u16,
            destination_port: 443,
            protocol: if ports & 1 == 0 { 6 } else { 17 },
            rest: [0; 3],
        }
    }
}

impl Key for String {
    fn of(number: u64) -> Self {
        format!("session:{number:016x}")
    }
}
