//! IPv4 fragments (`net/ipv4/ip_fragment.c`).

use super::pieces::Wrong;
use super::{Fragment, Join, Key};
use crate::checksum;
use std::net::Ipv4Addr;

const MORE: u16 = 0x2000;
const DONT: u16 = 0x4000;
const OFFSET: u16 = 0x1fff;

pub(super) struct V4;

/// Takes a packet apart; `None` when it is no fragment.
pub(super) fn parse(packet: &[u8], zone: u16) -> Option<Fragment<'_>> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let addr = |at: usize| {
        Some(Ipv4Addr::from(
            <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?,
        ))
    };
    let frag = word(6)?;
    if frag & (MORE | OFFSET) == 0 {
        return None;
    }
    let ihl = usize::from(packet.first()? & 15) * 4;
    Some(Fragment {
        key: Key {
            src: addr(12)?.into(),
            dst: addr(16)?.into(),
            id: word(4)?.into(),
            protonum: *packet.get(9)?,
            zone,
            iif: 0,
        },
        offset: u32::from(frag & OFFSET) * 8,
        more: frag & MORE != 0,
        ecn: packet[1] & 3,
        header: packet.get(..ihl)?.to_vec(),
        data: packet.get(ihl..)?,
        size: packet.len(),
        dont: frag & DONT != 0,
    })
}

impl Join for V4 {
    const LENGTHS: Wrong = Wrong::Contradiction;

    fn join(mut header: Vec<u8>, payload: &[u8], ecn: u8, dont: bool) -> Option<Vec<u8>> {
        let len = u16::try_from(header.len() + payload.len()).ok()?;
        header[1] |= ecn;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        let frag = if dont { DONT } else { 0 };
        header[6..8].copy_from_slice(&frag.to_be_bytes());
        header[10..12].copy_from_slice(&[0, 0]);
        let sum = !checksum::fold(checksum::sum(&header, 0));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend_from_slice(payload);
        Some(header)
    }
}
