//! Netlink attributes: type, length and value, padded to four bytes (`struct nlattr`).
//!
//! The reader never trusts a length: what does not fit is an error, and unknown types are the caller's to skip. Numbers in conntrack's attributes are
//! big-endian, attribute headers are in the machine's own order.

use std::fmt;

/// Set in the type of an attribute that holds attributes.
const NESTED: u16 = 1 << 15;
/// Set in the type of an attribute whose number is big-endian.
const NET_BYTEORDER: u16 = 1 << 14;
const HEADER: usize = 4;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A length reaches beyond the end, or is too short for a header.
    Truncated,
    /// A value has the wrong size for its type; the attribute's number is given.
    Size(u16),
    /// A value is out of range; the attribute's number is given.
    Value(u16),
    /// An attribute that must be there is missing; its number is given.
    Missing(u16),
    /// Not a message of this subsystem.
    NotOurs,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message is cut short"),
            Self::Size(n) => write!(f, "attribute {n} has the wrong size"),
            Self::Value(n) => write!(f, "attribute {n} has an impossible value"),
            Self::Missing(n) => write!(f, "attribute {n} is missing"),
            Self::NotOurs => f.write_str("not a message of connection tracking"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends attributes to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// An attribute with these bytes.
    ///
    /// # Panics
    /// The value is 64 KiB or longer.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(HEADER + value.len()).expect("attributes are short");
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// A byte.
    pub fn u8(&mut self, kind: u16, v: u8) {
        self.put(kind, &[v]);
    }

    /// Two bytes, big-endian.
    pub fn be16(&mut self, kind: u16, v: u16) {
        self.put(kind, &v.to_be_bytes());
    }

    /// Four bytes, big-endian.
    pub fn be32(&mut self, kind: u16, v: u32) {
        self.put(kind, &v.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    pub fn be64(&mut self, kind: u16, v: u64) {
        self.put(kind, &v.to_be_bytes());
    }

    /// A text, with a zero behind it.
    pub fn string(&mut self, kind: u16, v: &str) {
        let mut bytes = v.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// An attribute that holds what `fill` writes.
    ///
    /// # Panics
    /// It is 64 KiB or longer.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend((kind | NESTED).to_ne_bytes());
        fill(&mut Writer(self.0));
        let len = u16::try_from(self.0.len() - start).expect("attributes are short");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

/// One attribute: its number without flags, and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Number.
    pub kind: u16,
    /// Value, without padding.
    pub value: &'a [u8],
}

impl<'a> Attr<'a> {
    fn fixed<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.value
            .try_into()
            .map_err(|_| DecodeError::Size(self.kind))
    }

    /// A byte.
    ///
    /// # Errors
    /// The value has another size; so for the others below.
    pub fn u8(&self) -> Result<u8, DecodeError> {
        self.fixed::<1>().map(|[b]| b)
    }

    /// Big-endian, two bytes.
    ///
    /// # Errors
    /// The value has another size.
    pub fn be16(&self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// Big-endian, four bytes.
    ///
    /// # Errors
    /// The value has another size.
    pub fn be32(&self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// Big-endian, eight bytes.
    ///
    /// # Errors
    /// The value has another size.
    pub fn be64(&self) -> Result<u64, DecodeError> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// The value has another size.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.fixed()
    }

    /// A text that ends at the first zero, or at the end.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn string(&self) -> Result<&'a str, DecodeError> {
        let text = self.value.split(|b| *b == 0).next().unwrap_or_default();
        std::str::from_utf8(text).map_err(|_| DecodeError::Value(self.kind))
    }

    /// The attributes in it.
    #[must_use]
    pub fn nested(&self) -> Reader<'a> {
        Reader(self.value)
    }
}

/// Goes through attributes; stops after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Attr<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let attr = self.split();
        if attr.is_err() {
            self.0 = &[];
        }
        Some(attr)
    }
}

impl<'a> Reader<'a> {
    fn split(&mut self) -> Result<Attr<'a>, DecodeError> {
        let (header, _) = self
            .0
            .split_first_chunk::<HEADER>()
            .ok_or(DecodeError::Truncated)?;
        let [a, b, c, d] = *header;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = self.0.get(HEADER..len).ok_or(DecodeError::Truncated)?;
        // The last attribute's padding may be missing.
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Ok(Attr {
            kind: u16::from_ne_bytes([c, d]) & !(NESTED | NET_BYTEORDER),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_come_back_and_are_padded() {
        let mut buf = Vec::new();
        let mut w = Writer(&mut buf);
        w.u8(1, 7);
        w.nest(2, |w| w.be16(3, 0x1234));
        w.string(4, "ftp");
        assert_eq!(buf.len() % 4, 0);
        let got: Vec<_> = Reader(&buf).collect::<Result<_, _>>().expect("well-formed");
        assert_eq!(got.iter().map(|a| a.kind).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(got[0].u8(), Ok(7));
        let inner = got[1].nested().next().expect("one").expect("well-formed");
        assert_eq!((inner.kind, inner.be16()), (3, Ok(0x1234)));
        assert_eq!(got[2].string(), Ok("ftp"));
        assert_eq!(got[0].be32(), Err(DecodeError::Size(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let n = Reader(&bytes).count();
            prop_assert!(n <= bytes.len() / 4 + 1);
        }
    }
}
