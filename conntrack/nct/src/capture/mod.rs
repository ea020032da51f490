//! Reading packet captures.
//!
//! [`source`] turns a file or standard input, compressed or not, into records (time, link type, frame bytes) in bounded
//! memory; [`frame`] finds the IP packet in a frame. Neither trusts its input: a damaged file gives the records before
//! the damage and then one error that says where it is.

pub(crate) mod frame;
pub(crate) mod source;

#[cfg(test)]
mod tests;
