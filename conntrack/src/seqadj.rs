//! Sequence numbers after a payload changed its length (`nf_conntrack_seqadj.c`).
//!
//! A helper that rewrites an address in a TCP payload may make it longer or shorter. From there on the sequence numbers of that direction, and the
//! acknowledgements of the other, are shifted. The tracker itself thinks in the numbers of whoever sent the original bytes.

use crate::checksum;
use crate::packet::Packet;
use crate::parse;
use crate::store::Store;
use crate::tuple::{Direction, Family, ipproto};

/// The shift of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqAdj {
    /// Sequence number of the last packet that was changed, as its sender counts.
    pub pos: u32,
    /// Shift up to there.
    pub before: i32,
    /// Shift beyond.
    pub after: i32,
}

fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

impl SeqAdj {
    /// The shift at `seq` (`nf_ct_seq_offset`).
    pub(crate) fn offset(&self, seq: u32) -> i32 {
        if after(seq, self.pos) {
            self.after
        } else {
            self.before
        }
    }

    /// The packet at `seq` grew by so many bytes (`nf_ct_seqadj_set`).
    pub(crate) fn grow(&mut self, seq: u32, by: i32) {
        if self.before == self.after || after(seq, self.pos) {
            self.pos = seq;
            self.before = self.after;
            self.after = self.after.wrapping_add(by);
        }
    }

    /// An acknowledgement of shifted numbers, in the sender's own.
    fn undo(&self, ack: u32) -> u32 {
        let beyond = after(ack.wrapping_sub(self.before as u32), self.pos);
        ack.wrapping_sub(if beyond { self.after } else { self.before } as u32)
    }
}

/// Shifts a packet's numbers (`nf_ct_seq_adjust`). False: it is too short.
pub(crate) fn packet<S: Store>(
    pkt: &mut Packet<'_, '_, S>,
    adj: &[SeqAdj; 2],
    dir: Direction,
) -> bool {
    let family = pkt.family();
    let Some((ipproto::TCP, at)) = parse::l4proto(pkt.data(), 0, family) else {
        return true;
    };
    let Some(mut header) = pkt
        .data()
        .get(at..)
        .map(<[u8]>::to_vec)
        .filter(|h| h.len() >= 20)
    else {
        return false;
    };
    let (this, other) = (&adj[dir.index()], &adj[1 - dir.index()]);
    let shift = |header: &mut [u8], at: usize, f: &dyn Fn(u32) -> u32| {
        if let Some(bytes) = header.get_mut(at..at + 4) {
            let old = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            bytes.copy_from_slice(&f(old).to_be_bytes());
        }
    };
    shift(&mut header, 4, &|seq| {
        seq.wrapping_add(this.offset(seq) as u32)
    });
    let ack = header[13] & 0x10 != 0;
    if ack {
        shift(&mut header, 8, &|ack| other.undo(ack));
        for edge in sack_edges(&header) {
            shift(&mut header, edge, &|ack| other.undo(ack));
        }
    }
    // The checksum follows by the difference of the headers, so that a wrong one stays wrong.
    let end = (usize::from(header[12] >> 4) * 4).clamp(20, header.len());
    let old = &pkt.data()[at..at + end];
    let sum =
        checksum::sum(&header[..end], 0) + (u64::from(u32::MAX) << 16) - checksum::sum(old, 0);
    let stored = u16::from_be_bytes([header[16], header[17]]);
    let new = !checksum::fold(u64::from(!stored) + sum);
    header[16..18].copy_from_slice(&new.to_be_bytes());
    pkt.data_mut()[at..].copy_from_slice(&header);
    true
}

/// Offsets of the edges of selectively acknowledged blocks.
fn sack_edges(header: &[u8]) -> Vec<usize> {
    let mut edges = Vec::new();
    let end = (usize::from(header[12] >> 4) * 4).min(header.len());
    let mut at = 20;
    while at < end {
        match (header[at], header.get(at + 1)) {
            (0, _) => break,
            (1, _) => at += 1,
            (kind, Some(&len)) if len >= 2 && at + usize::from(len) <= end => {
                let len = usize::from(len);
                if kind == 5 && len >= 10 && (len - 2) % 8 == 0 {
                    edges.extend((at + 2..at + len).step_by(4));
                }
                at += len;
            }
            _ => break,
        }
    }
    edges
}

/// Replaces bytes of a TCP or UDP packet's payload and repairs lengths and checksums; a UDP packet without one stays without. Returns the growth;
/// `None` when the packet is too short for that, or would become too long.
pub(crate) fn mangle<S: Store>(
    pkt: &mut Packet<'_, '_, S>,
    from: usize,
    len: usize,
    new: &[u8],
) -> Option<i32> {
    let family = pkt.family();
    let (protonum, at) = parse::l4proto(pkt.data(), 0, family)?;
    let field = at + if protonum == ipproto::TCP { 16 } else { 6 };
    let mut data = pkt.data().to_vec();
    if data.len() < field + 2 || data.len() < from + len {
        return None;
    }
    data.splice(from..from + len, new.iter().copied());
    match family {
        Family::Ipv4 => {
            let total = u16::try_from(data.len()).ok()?;
            data[2..4].copy_from_slice(&total.to_be_bytes());
            data[10..12].fill(0);
            let ihl = usize::from(data[0] & 15) * 4;
            let sum = !checksum::fold(checksum::sum(&data[..ihl], 0));
            data[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Family::Ipv6 => {
            let payload = u16::try_from(data.len() - 40).ok()?;
            data[4..6].copy_from_slice(&payload.to_be_bytes());
        }
    }
    let length = data.len() - at;
    let mut summed = true;
    if protonum == ipproto::UDP {
        data[at + 4..at + 6].copy_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
        summed = data[field..field + 2] != [0, 0];
    }
    if summed {
        data[field..field + 2].fill(0);
        let ends = parse::outer_addrs(&data, family)?;
        let pseudo = checksum::pseudo(ends.src(), ends.dst(), protonum, length as u32);
        let sum = match !checksum::fold(checksum::sum(&data[at..], pseudo)) {
            // 0 would mean that there is none.
            0 if protonum == ipproto::UDP => u16::MAX,
            sum => sum,
        };
        data[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        pkt.set_mangled();
    }
    pkt.set_data(data);
    Some(new.len() as i32 - len as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_begins_behind_the_packet_that_grew() {
        let mut a = SeqAdj::default();
        assert_eq!((a.offset(0), a.offset(u32::MAX)), (0, 0));
        a.grow(1000, 5);
        assert_eq!((a.offset(999), a.offset(1000), a.offset(1001)), (0, 0, 5));
        // A second change further on; an older one repeated changes nothing.
        a.grow(2000, -2);
        assert_eq!((a.offset(1500), a.offset(2001)), (5, 3));
        a.grow(1000, 5);
        assert_eq!(
            a,
            SeqAdj {
                pos: 2000,
                before: 5,
                after: 3
            }
        );
    }

    #[test]
    fn acknowledgements_are_undone_where_the_numbers_were_shifted() {
        let mut a = SeqAdj::default();
        a.grow(u32::MAX - 10, 7);
        for seq in [u32::MAX - 20, u32::MAX - 10, u32::MAX, 0, 5, 100] {
            let shifted = seq.wrapping_add(a.offset(seq) as u32);
            assert_eq!(a.undo(shifted), seq, "{seq}");
        }
    }

    #[test]
    fn only_whole_sack_blocks_are_found() {
        let mut header = vec![0; 20];
        header[12] = 0xb0;
        header.extend([1, 1, 5, 18]);
        header.extend([9; 16]);
        header.extend([0, 0, 0, 0]);
        assert_eq!(sack_edges(&header), [24, 28, 32, 36]);
        header[23] = 17;
        assert_eq!(sack_edges(&header), [0usize; 0]);
        header[23] = 200;
        assert_eq!(sack_edges(&header), [0usize; 0]);
    }
}
