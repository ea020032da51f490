//! SCTP: associations, and chunks in any order.

use std::net::IpAddr;

use super::ip::{hosts, ip, side, turned};
use super::{Dice, Sent};

fn chunk(kind: u8, flags: u8, body: &[u8], length: Option<u16>) -> Vec<u8> {
    let mut c = vec![kind, flags];
    c.extend(length.unwrap_or(4 + body.len() as u16).to_be_bytes());
    c.extend(body);
    c.resize(c.len().next_multiple_of(4), 0);
    c
}

fn init(kind: u8, tag: u32) -> Vec<u8> {
    chunk(
        kind,
        0,
        &[
            &tag.to_be_bytes()[..],
            &[0, 0, 255, 255, 0, 10, 0, 10, 0, 0, 0, 1],
        ]
        .concat(),
        None,
    )
}

fn sctp(
    hosts: [IpAddr; 2],
    ports: [u16; 2],
    dir: usize,
    tag: u32,
    chunks: &[Vec<u8>],
    dice: &mut Dice,
) -> Sent {
    let (src, dst) = turned(hosts, dir);
    let (sport, dport) = turned(ports, dir);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(tag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(chunks.concat());
    if dice.percent(2) {
        l4.extend(b"xy");
    }
    let mut crc = crc32c(&l4);
    if dice.percent(2) {
        crc ^= 0x5555;
    }
    l4[8..12].copy_from_slice(&crc.to_le_bytes());
    (side(dir), ip(src, dst, 132, &l4, dice))
}

fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| {
            if c & 1 != 0 {
                c >> 1 ^ 0x82f6_3b78
            } else {
                c >> 1
            }
        })
    })
}

pub(super) fn story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
    type Association = ([IpAddr; 2], [u16; 2], [u32; 2]);
    let mut all: Vec<Association> = (0..dice.pick(&[1, 1, 2, 3]))
        .map(|n| {
            let ends = hosts(dice, n == 2);
            (ends, [500 + n, 600], [dice.pick(&[dice_word(n), 0]), 77])
        })
        .collect();
    while out.len() < count {
        let n = dice.below(all.len() as u32) as usize;
        if dice.percent(3) {
            let d = dice.below(2) as usize;
            all[n].2[d] = dice.word();
        }
        let (ends, ports, tags) = all[n];
        let d = dice.below(2) as usize;
        let data = chunk(0, 3, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'd'], None);
        let whole = [
            (d, 0, init(1, tags[d])),
            (1 - d, tags[d], init(2, tags[1 - d])),
            (d, tags[1 - d], chunk(10, 0, b"biscuit!", None)),
            (1 - d, tags[d], chunk(11, 0, b"", None)),
            (d, tags[1 - d], data.clone()),
        ];
        let end = [
            (d, tags[1 - d], chunk(7, 0, &[0, 0, 0, 1], None)),
            (1 - d, tags[d], chunk(8, 0, b"", None)),
            (d, tags[1 - d], chunk(14, 0, b"", None)),
        ];
        match dice.below(100) {
            0..12 => {
                let n = 1 + dice.below(5) as usize;
                out.extend(
                    whole[..n].iter().map(|(d, tag, c)| {
                        sctp(ends, ports, *d, *tag, std::slice::from_ref(c), dice)
                    }),
                );
            }
            12..20 => {
                let n = 1 + dice.below(3) as usize;
                out.extend(
                    end[..n].iter().map(|(d, tag, c)| {
                        sctp(ends, ports, *d, *tag, std::slice::from_ref(c), dice)
                    }),
                );
            }
            _ => {
                let chunks: Vec<Vec<u8>> = (0..dice.pick(&[1, 1, 1, 2, 2, 3]))
                    .map(|_| {
                        let flag = dice.below(2) as u8;
                        let (kind, length) = (dice.word() as u8, dice.pick(&[0, 1, 4, 7, 100]));
                        let other = dice.word();
                        let short = dice.below(16) as usize;
                        dice.pick(&[
                            init(1, tags[d]),
                            init(2, tags[d]),
                            chunk(10, 0, b"biscuit!", None),
                            chunk(11, 0, b"", None),
                            data.clone(),
                            chunk(3, 0, &[0; 12], None),
                            chunk(4, 0, b"\0\x01\0\x08beat", None),
                            chunk(5, 0, b"\0\x01\0\x08beat", None),
                            chunk(6, flag, b"", None),
                            chunk(7, 0, &[0, 0, 0, 1], None),
                            chunk(8, 0, b"", None),
                            chunk(9, 0, &[0, 3, 0, 4], None),
                            chunk(14, flag, b"", None),
                            chunk(kind, 0, b"", None),
                            chunk(kind % 15, 0, b"abc", Some(length)),
                            init(1, other),
                            chunk(1, 0, &vec![0; short], None),
                        ])
                    })
                    .collect();
                let right = tags[1 - d];
                let mut tag = if dice.percent(75) {
                    right
                } else {
                    dice.pick(&[tags[d], 0, 12_345])
                };
                if chunks[0][0] == 1 && dice.percent(90) {
                    tag = 0;
                }
                out.push(sctp(ends, ports, d, tag, &chunks, dice));
            }
        }
    }
}

/// A tag for the association number `n`.
fn dice_word(n: u16) -> u32 {
    Dice::new(u64::from(n)).word()
}
