//! TCP: connections that begin, talk and end, and segments that are nearly right or wrong.

use std::net::IpAddr;

use super::ip::{hosts, ip, seal, side, turned};
use super::{Dice, Sent};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

pub(super) struct Flow {
    pub(super) hosts: [IpAddr; 2],
    pub(super) ports: [u16; 2],
    pub(super) next: [u32; 2],
    pub(super) windows: [u16; 2],
    pub(super) begins: usize,
}

impl Flow {
    fn new(dice: &mut Dice) -> Self {
        let v6 = dice.percent(30);
        Self {
            hosts: hosts(dice, v6),
            ports: [dice.pick(&[1000, 2000, 3000]), dice.pick(&[80, 443])],
            next: [near(dice, 0), near(dice, 0x7fff_fff0)],
            windows: [
                dice.pick(&[65_535, 1000, 0, 30_000, 100]),
                dice.pick(&[65_535, 500, 8192]),
            ],
            begins: usize::from(dice.percent(20)),
        }
    }
}

/// A number like `x`: equal, a little off, off by a window, anywhere.
pub(super) fn near(dice: &mut Dice, x: u32) -> u32 {
    const OFF: [i64; 20] = [
        0,
        0,
        0,
        0,
        1,
        -1,
        2,
        10,
        -10,
        100,
        -100,
        1000,
        -1000,
        65_535,
        -65_535,
        66_000,
        -66_001,
        70_000,
        1 << 20,
        1 << 31,
    ];
    if dice.percent(5) {
        return dice.word();
    }
    x.wrapping_add(dice.pick(&OFF) as u32)
}

pub(super) fn options(dice: &mut Dice) -> Vec<u8> {
    let mut o = Vec::new();
    for _ in 0..dice.below(4) {
        let scale = dice.pick(&[0, 1, 7, 14, 15, 200]);
        let junk = vec![dice.word() as u8, dice.below(10) as u8];
        o.extend(dice.pick(&[
            vec![2, 4, 5, 180],
            vec![3, 3, scale],
            vec![4, 2],
            vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            vec![1],
            vec![0],
            vec![3, 2],
            vec![5, 0],
            junk,
        ]));
    }
    o.truncate(40);
    o
}

/// One segment.
#[derive(Clone, Default)]
pub(super) struct Segment {
    pub(super) flags: u8,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) len: usize,
    pub(super) options: Vec<u8>,
    pub(super) win: Option<u16>,
    pub(super) reserved: u8,
    pub(super) offset: Option<u8>,
}

pub(super) fn segment(f: &Flow, dir: usize, s: &Segment, dice: &mut Dice) -> Sent {
    let (src, dst) = turned(f.hosts, dir);
    let (sport, dport) = turned(f.ports, dir);
    let mut options = s.options.clone();
    options.resize(options.len().next_multiple_of(4), 1);
    let words = s.offset.unwrap_or(5 + (options.len() / 4) as u8);
    let mut l4 = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    l4.extend(s.seq.to_be_bytes());
    l4.extend(s.ack.to_be_bytes());
    l4.extend([words << 4 | s.reserved, s.flags]);
    l4.extend(s.win.unwrap_or(f.windows[dir]).to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(options);
    l4.resize(l4.len() + s.len, b'x');
    seal(src, dst, 6, &mut l4, 16, dice);
    (side(dir), ip(src, dst, 6, &l4, dice))
}

pub(super) fn story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
    let mut flows: Vec<Flow> = (0..dice.pick(&[1, 1, 2, 3]))
        .map(|_| Flow::new(dice))
        .collect();
    while out.len() < count {
        let n = dice.below(flows.len() as u32) as usize;
        let f = &mut flows[n];
        let d = dice.below(2) as usize;
        let s = Segment {
            seq: f.next[d],
            ack: f.next[1 - d],
            ..Segment::default()
        };
        match dice.below(100) {
            0..6 => {
                let i = f.begins;
                if dice.percent(50) {
                    f.next = [dice.word(), dice.word()];
                }
                let o = options(dice);
                out.push(segment(
                    f,
                    i,
                    &Segment {
                        flags: SYN,
                        seq: f.next[i],
                        options: o,
                        ..Segment::default()
                    },
                    dice,
                ));
                f.next[i] = f.next[i].wrapping_add(1);
                if dice.percent(80) {
                    let s = Segment {
                        flags: SYN | ACK,
                        seq: f.next[1 - i],
                        ack: f.next[i],
                        options: options(dice),
                        ..s
                    };
                    out.push(segment(f, 1 - i, &s, dice));
                    f.next[1 - i] = f.next[1 - i].wrapping_add(1);
                    if dice.percent(80) {
                        let s = Segment {
                            flags: ACK,
                            seq: f.next[i],
                            ack: f.next[1 - i],
                            ..Segment::default()
                        };
                        out.push(segment(f, i, &s, dice));
                    }
                }
            }
            6..50 => {
                let len = dice.pick(&[0, 0, 1, 10, 500, 1000]);
                let mut options = Vec::new();
                if dice.percent(20) {
                    let left = f.next[1 - d].wrapping_add(100);
                    let right = f.next[1 - d].wrapping_add(dice.pick(&[200, 5000, 70_000]));
                    let sack = [
                        &[1, 1, 5, 10][..],
                        &left.to_be_bytes(),
                        &right.to_be_bytes(),
                    ]
                    .concat();
                    options = dice.pick(&[sack, vec![1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4]]);
                }
                let flags = dice.pick(&[ACK, ACK | PSH]);
                out.push(segment(
                    f,
                    d,
                    &Segment {
                        flags,
                        len,
                        options,
                        ..s
                    },
                    dice,
                ));
                f.next[d] = f.next[d].wrapping_add(len as u32);
            }
            50..58 => {
                out.push(segment(
                    f,
                    d,
                    &Segment {
                        flags: FIN | ACK,
                        ..s
                    },
                    dice,
                ));
                f.next[d] = f.next[d].wrapping_add(1);
            }
            58..66 => {
                let seq = dice.pick(&[f.next[d], 0]);
                let seq = if dice.percent(40) {
                    near(dice, f.next[d])
                } else {
                    seq
                };
                let ack = if dice.percent(50) {
                    near(dice, f.next[1 - d])
                } else {
                    dice.pick(&[f.next[1 - d], 0])
                };
                let flags = dice.pick(&[RST, RST | ACK]);
                out.push(segment(
                    f,
                    d,
                    &Segment {
                        flags,
                        seq,
                        ack,
                        ..s
                    },
                    dice,
                ));
            }
            66..72 => {
                let s = Segment {
                    flags: SYN,
                    seq: near(dice, f.next[d]),
                    options: options(dice),
                    ..Segment::default()
                };
                out.push(segment(f, d, &s, dice));
            }
            72..76 => {
                let s = Segment {
                    flags: SYN | ACK,
                    seq: near(dice, f.next[d]),
                    ack: near(dice, f.next[1 - d]),
                    options: options(dice),
                    ..Segment::default()
                };
                out.push(segment(f, d, &s, dice));
            }
            76..89 => {
                let s = Segment {
                    flags: dice.pick(&[ACK, ACK | PSH, FIN | ACK, RST, RST | ACK]),
                    seq: near(dice, f.next[d]),
                    ack: near(dice, f.next[1 - d]),
                    len: dice.pick(&[0, 0, 1, 100, 1400]),
                    win: dice.pick(&[None, None, Some(0), Some(1), Some(65_535), Some(5000)]),
                    ..s
                };
                out.push(segment(f, d, &s, dice));
            }
            89..91 => f.windows[d] = dice.pick(&[0, 1, 100, 5000, 65_535]),
            91..94 => {
                let from = out.len().saturating_sub(12);
                if let Some(old) = out[from..].first().cloned() {
                    for _ in 0..dice.pick(&[1, 1, 2, 4]) {
                        out.push(old.clone());
                    }
                }
            }
            94..96 => {
                let s = Segment {
                    flags: dice.word() as u8,
                    seq: near(dice, f.next[d]),
                    ack: near(dice, f.next[1 - d]),
                    options: options(dice),
                    reserved: dice.pick(&[0, 0, 1, 15]),
                    ..s
                };
                out.push(segment(f, d, &s, dice));
            }
            96..97 => {
                let s = Segment {
                    flags: ACK,
                    len: 3,
                    offset: Some(dice.pick(&[4, 6, 15])),
                    ..s
                };
                out.push(segment(f, d, &s, dice));
            }
            _ => flows[n] = Flow::new(dice),
        }
    }
}
