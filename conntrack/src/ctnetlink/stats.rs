//! Statistics as messages (`IPCTNL_MSG_CT_GET_STATS_CPU`, `IPCTNL_MSG_CT_GET_STATS`).

use super::attr::{DecodeError, Reader, Writer};
use super::{Command, HEADERS, finish, flags, header};
use crate::stats::StatsSnapshot;

/// `CTA_STATS_*` of what 6.18 sends, in its order.
const FIELDS: [u16; 10] = [2, 4, 8, 9, 10, 11, 12, 13, 14, 15];

fn fields(s: &StatsSnapshot) -> [u64; 10] {
    [
        s.found,
        s.invalid,
        s.insert,
        s.insert_failed,
        s.drop,
        s.early_drop,
        s.error,
        s.search_restart,
        s.clash_resolve,
        s.chaintoolong,
    ]
}

/// The message with the counters of processor `cpu`. Numbers are cut to 32 bits, as the kernel's are.
#[must_use]
pub fn encode_cpu(cpu: u16, seq: u32, portid: u32, s: &StatsSnapshot) -> Vec<u8> {
    let mut out = header(Command::GetStatsCpu, flags::MULTI, seq, portid, 0);
    out[HEADERS - 2..HEADERS].copy_from_slice(&cpu.to_be_bytes());
    for (kind, v) in FIELDS.into_iter().zip(fields(s)) {
        Writer(&mut out).be32(kind, v as u32);
    }
    finish(out)
}

/// Reads a message of [`encode_cpu`]: processor and counters. Counters that are not in it are 0.
///
/// # Errors
/// Damaged bytes.
pub fn decode_cpu(bytes: &[u8]) -> Result<(u16, StatsSnapshot), DecodeError> {
    let head: &[u8; HEADERS] = bytes.first_chunk().ok_or(DecodeError::Truncated)?;
    let cpu = u16::from_be_bytes([head[HEADERS - 2], head[HEADERS - 1]]);
    let mut s = StatsSnapshot::default();
    for a in Reader(&bytes[HEADERS..]) {
        let a = a?;
        let field = match a.kind {
            2 => &mut s.found,
            4 => &mut s.invalid,
            8 => &mut s.insert,
            9 => &mut s.insert_failed,
            10 => &mut s.drop,
            11 => &mut s.early_drop,
            12 => &mut s.error,
            13 => &mut s.search_restart,
            14 => &mut s.clash_resolve,
            15 => &mut s.chaintoolong,
            _ => continue,
        };
        *field = u64::from(a.be32()?);
    }
    Ok((cpu, s))
}

/// The message with the number of entries and the limit.
#[must_use]
pub fn encode_global(seq: u32, portid: u32, entries: u32, max: u32) -> Vec<u8> {
    let mut out = header(Command::GetStats, 0, seq, portid, 0);
    let mut w = Writer(&mut out);
    w.be32(1, entries);
    w.be32(2, max);
    finish(out)
}

/// Reads a message of [`encode_global`]: entries and limit.
///
/// # Errors
/// Damaged bytes.
pub fn decode_global(bytes: &[u8]) -> Result<(u32, u32), DecodeError> {
    let mut both = [0; 2];
    for a in Reader(bytes.get(HEADERS..).ok_or(DecodeError::Truncated)?) {
        let a = a?;
        if let 1 | 2 = a.kind {
            both[usize::from(a.kind - 1)] = a.be32()?;
        }
    }
    let [entries, max] = both;
    Ok((entries, max))
}
