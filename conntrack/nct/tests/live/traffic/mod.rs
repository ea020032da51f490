//! Random packets, the same for the same seed: segments, chunks and datagrams that are right, nearly right, and wrong.

mod dice;
mod ip;
mod mixed;
mod sctp;
mod tcp;

pub(crate) use dice::Dice;

use super::kernel::Side;

/// Kinds of traffic.
pub(crate) const KINDS: [Kind; 3] = [Kind::Tcp, Kind::Sctp, Kind::Mixed];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Sctp,
    Mixed,
}

/// A packet and where it comes in.
pub(crate) type Sent = (Side, Vec<u8>);

/// `count` packets.
pub(crate) fn packets(kind: Kind, dice: &mut Dice, count: usize) -> Vec<Sent> {
    let mut out = Vec::new();
    match kind {
        Kind::Tcp => tcp::story(dice, count, &mut out),
        Kind::Sctp => sctp::story(dice, count, &mut out),
        Kind::Mixed => mixed::story(dice, count, &mut out),
    }
    out.truncate(count);
    out
}
