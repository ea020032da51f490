//! Random packets, the same for the same seed: segments, chunks and datagrams that are right, nearly right, and wrong.

use nulls_conntrack::checksum::{fold, pseudo, sum};
use std::net::IpAddr;

use super::kernel::Side;

/// Kinds of traffic.
pub(crate) const KINDS: [Kind; 3] = [Kind::Tcp, Kind::Sctp, Kind::Mixed];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Sctp,
    Mixed,
}

/// A small generator of numbers (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn word(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.word() % n
    }

    /// True in `n` of a hundred cases.
    fn percent(&mut self, n: u32) -> bool {
        self.below(100) < n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize].clone()
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.word() as u8).collect()
    }
}

/// A packet and where it comes in.
pub(crate) type Sent = (Side, Vec<u8>);

/// `count` packets.
pub(crate) fn packets(kind: Kind, dice: &mut Dice, count: usize) -> Vec<Sent> {
    let mut out = Vec::new();
    match kind {
        Kind::Tcp => tcp_story(dice, count, &mut out),
        Kind::Sctp => sctp_story(dice, count, &mut out),
        Kind::Mixed => mixed_story(dice, count, &mut out),
    }
    out.truncate(count);
    out
}

fn hosts(dice: &mut Dice, v6: bool) -> [IpAddr; 2] {
    let n = dice.below(2);
    let m = dice.below(2);
    let parse = |s: String| s.parse().expect("an address");
    if v6 {
        [
            parse(format!("2001:db8:1::1{n}")),
            parse(format!("2001:db8:2::2{m}")),
        ]
    } else {
        [
            parse(format!("192.0.2.1{n}")),
            parse(format!("198.51.100.2{m}")),
        ]
    }
}

fn side(dir: usize) -> Side {
    if dir == 0 { Side::Client } else { Side::Server }
}

/// Source and destination for a direction.
fn turned<T: Copy>(ends: [T; 2], dir: usize) -> (T, T) {
    (ends[dir], ends[1 - dir])
}

/// An IP packet.
fn ip(src: IpAddr, dst: IpAddr, protonum: u8, l4: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut p;
    match (src, dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            p = vec![0x45, 0];
            p.extend((20 + l4.len() as u16).to_be_bytes());
            p.extend((dice.word() as u16).to_be_bytes());
            p.extend([0, 0, 64, protonum, 0, 0]);
            p.extend(s.octets());
            p.extend(d.octets());
            let check = !fold(sum(&p, 0));
            p[10..12].copy_from_slice(&check.to_be_bytes());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            p = vec![0x60, 0, 0, 0];
            p.extend((l4.len() as u16).to_be_bytes());
            p.extend([protonum, 64]);
            p.extend(s.octets());
            p.extend(d.octets());
        }
        _ => unreachable!("hosts are of one family"),
    }
    p.extend(l4);
    p
}

/// Fills in the checksum at `at`, wrong in a few cases.
fn seal(src: IpAddr, dst: IpAddr, protonum: u8, l4: &mut [u8], at: usize, dice: &mut Dice) {
    let start = if protonum == 1 {
        0
    } else {
        pseudo(src, dst, protonum, l4.len() as u32)
    };
    let mut check = match !fold(sum(l4, start)) {
        0 if protonum == 17 => 0xffff,
        c => c,
    };
    if dice.percent(2) {
        check ^= dice.pick(&[0x5555, 1]);
    }
    l4[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

struct Flow {
    hosts: [IpAddr; 2],
    ports: [u16; 2],
    next: [u32; 2],
    windows: [u16; 2],
    begins: usize,
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
fn near(dice: &mut Dice, x: u32) -> u32 {
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

fn options(dice: &mut Dice) -> Vec<u8> {
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
struct Segment {
    flags: u8,
    seq: u32,
    ack: u32,
    len: usize,
    options: Vec<u8>,
    win: Option<u16>,
    reserved: u8,
    offset: Option<u8>,
}

fn segment(f: &Flow, dir: usize, s: &Segment, dice: &mut Dice) -> Sent {
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

fn tcp_story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
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

fn sctp_story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
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

/// A datagram of some protocol, right or nearly so.
fn datagram(src: IpAddr, dst: IpAddr, back: bool, dice: &mut Dice) -> Vec<u8> {
    let v6 = src.is_ipv6();
    let (mut sport, mut dport) = (dice.pick(&[5u16, 53, 1000]), dice.pick(&[5u16, 53, 1000]));
    if back {
        (sport, dport) = (dport, sport);
    }
    let n = dice.pick(&[0, 1, 8, 100]);
    let data = vec![b'd'; n];
    let ports = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    match dice.below(10) {
        0..3 => {
            let length = if dice.percent(70) {
                8 + n as u16
            } else {
                dice.pick(&[0, 7, 8, 9, 500])
            };
            let mut l4 = [ports, length.to_be_bytes().to_vec(), vec![0, 0], data].concat();
            if dice.percent(90) {
                seal(src, dst, 17, &mut l4, 6, dice);
            }
            ip(src, dst, 17, &l4, dice)
        }
        3 => {
            let f = Flow {
                hosts: [src, dst],
                ports: [sport, dport],
                next: [0; 2],
                windows: [1000; 2],
                begins: 0,
            };
            let flags = dice.pick(&[SYN, SYN | ACK, ACK, RST, FIN | ACK, 0]);
            let (seq, ack) = (dice.pick(&[1, 100, 2000]), dice.pick(&[0, 2, 101]));
            segment(
                &f,
                0,
                &Segment {
                    flags,
                    seq,
                    ack,
                    len: n,
                    ..Segment::default()
                },
                dice,
            )
            .1
        }
        4 | 8 => {
            let protonum = if v6 { 58 } else { 1 };
            let query = if v6 { [128, 129] } else { [8, 0] };
            let odd = if v6 {
                vec![133, 135, 137, 139, 140, 130, 143]
            } else {
                vec![13, 14, 15, 16, 17, 18]
            };
            let kind = match dice.below(10) {
                0..6 => query[dice.below(2) as usize],
                6..8 => dice.pick(&odd),
                _ => dice.word() as u8,
            };
            let mut l4 = vec![
                kind,
                dice.pick(&[0, 0, 0, 1, 255]),
                0,
                0,
                0,
                dice.pick(&[1, 2]),
                0,
                1,
            ];
            let more = dice.pick(&[0, 8, 28, 48, 60]);
            l4.extend(dice.bytes(more));
            seal(src, dst, protonum, &mut l4, 2, dice);
            ip(src, dst, protonum, &l4, dice)
        }
        5 => ip(src, dst, 47, &[&[0, 0, 8, 0][..], &data].concat(), dice),
        6 => {
            let mut l4 = vec![
                0x20,
                dice.pick(&[1, 1, 1, 2, 7]),
                0x88,
                dice.pick(&[0x0b, 0x0b, 0x0c]),
                0,
                0,
                0,
                dice.pick(&[1, 2]),
            ];
            l4.extend(&data);
            l4.truncate(if dice.percent(80) {
                l4.len()
            } else {
                dice.below(9) as usize
            });
            ip(src, dst, 47, &l4, dice)
        }
        7 => {
            let mut l4 = [
                ports,
                dice.pick(&[0u16, 8, 9, 3, 200]).to_be_bytes().to_vec(),
                vec![0, 0],
                data,
            ]
            .concat();
            seal(src, dst, 17, &mut l4, 6, dice);
            ip(src, dst, 136, &l4, dice)
        }
        _ => {
            let protonum = if v6 {
                dice.pick(&[2, 4, 33, 50, 89, 103, 253, 255, 1])
            } else {
                dice.pick(&[0, 2, 4, 33, 50, 51, 89, 253, 255, 59, 60, 43, 44])
            };
            let n = dice.pick(&[0, 1, 8, 16, 40]);
            let data = dice.bytes(n);
            ip(src, dst, protonum, &data, dice)
        }
    }
}

/// An error about a packet that was sent, mostly to whoever sent it.
fn icmp_error(inner: &[u8], dice: &mut Dice) -> Option<Sent> {
    let v6 = inner.first()? >> 4 == 6;
    let addr = |at: usize| -> Option<IpAddr> {
        Some(if v6 {
            <[u8; 16]>::try_from(inner.get(8 + 16 * at..24 + 16 * at)?)
                .ok()?
                .into()
        } else {
            <[u8; 4]>::try_from(inner.get(12 + 4 * at..16 + 4 * at)?)
                .ok()?
                .into()
        })
    };
    let [src, dst] = [addr(0)?, addr(1)?];
    let (from, to) = if dice.percent(85) {
        (dst, src)
    } else {
        (src, dst)
    };
    let kind = if v6 {
        dice.pick(&[1, 2, 3, 4, 0, 100, 127, 137])
    } else {
        dice.pick(&[3, 3, 4, 5, 11, 12])
    };
    let mut quoted = inner.to_vec();
    if dice.percent(25) {
        let at = dice.below(quoted.len().min(48) as u32) as usize;
        quoted[at] = dice.word() as u8;
    }
    let whole = quoted.len();
    let cut = dice.pick(&[28, whole, whole]);
    quoted.truncate(if dice.percent(80) {
        cut
    } else {
        dice.below(whole as u32 + 1) as usize
    });
    let mut l4 = vec![kind, dice.pick(&[0, 1, 3, 4]), 0, 0, 0, 0, 0, 0];
    l4.extend(quoted);
    let protonum = if v6 { 58 } else { 1 };
    seal(from, to, protonum, &mut l4, 2, dice);
    let side =
        if from.to_string().starts_with("192.") || from.to_string().starts_with("2001:db8:1:") {
            Side::Client
        } else {
            Side::Server
        };
    Some((side, ip(from, to, protonum, &l4, dice)))
}

/// Splits a packet into fragments of `step` bytes.
fn fragments(p: &[u8], step: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
    let v6 = p[0] >> 4 == 6;
    let head = if v6 { 40 } else { 20 };
    let id = dice.word();
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut at = head;
    while at < p.len() {
        let end = (at + step).min(p.len());
        let (offset, more) = ((at - head) as u16, u16::from(end < p.len()));
        let mut f = p[..head].to_vec();
        if v6 {
            f[6] = 44;
            f.extend([p[6], 0]);
            f.extend((offset | more).to_be_bytes());
            f.extend(id.to_be_bytes());
            f.extend(&p[at..end]);
            let len = (f.len() - 40) as u16;
            f[4..6].copy_from_slice(&len.to_be_bytes());
        } else {
            f.extend(&p[at..end]);
            let len = f.len() as u16;
            f[2..4].copy_from_slice(&len.to_be_bytes());
            f[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            f[6..8].copy_from_slice(&(offset >> 3 | more << 13).to_be_bytes());
            f[10..12].fill(0);
            let check = !fold(sum(&f[..20], 0));
            f[10..12].copy_from_slice(&check.to_be_bytes());
        }
        out.push(f);
        at = end;
    }
    for n in (1..out.len()).rev() {
        out.swap(n, dice.below(n as u32 + 1) as usize);
    }
    if dice.percent(20) {
        out.pop();
    }
    out
}

fn mixed_story(dice: &mut Dice, count: usize, out: &mut Vec<Sent>) {
    while out.len() < count {
        let recent = out.len().saturating_sub(30);
        if dice.percent(25) && !out.is_empty() {
            let n = recent + dice.below((out.len() - recent) as u32) as usize;
            let inner = out[n].1.clone();
            out.extend(icmp_error(&inner, dice));
            continue;
        }
        let v6 = dice.percent(35);
        let ends = hosts(dice, v6);
        let d = dice.below(2) as usize;
        let (src, dst) = turned(ends, d);
        let mut p = datagram(src, dst, d == 1, dice);
        match dice.below(100) {
            0..4 => p.truncate(1 + dice.below(p.len() as u32) as usize),
            4..8 if !v6 => {
                let total = dice.pick(&[19u16, 20, 24, 28, 60_000]);
                p[2..4].copy_from_slice(&total.to_be_bytes());
                p[10..12].fill(0);
                let check = !fold(sum(&p[..20], 0));
                p[10..12].copy_from_slice(&check.to_be_bytes());
            }
            8..18 if p.len() > 60 => {
                let step = dice.pick(&[8, 16, 24, 40]);
                let pieces = fragments(&p, step, dice);
                out.extend(pieces.into_iter().map(|f| (side(d), f)));
                continue;
            }
            18..30 if v6 => p = extended(&p, dice),
            _ => {}
        }
        out.push((side(d), p));
    }
}

/// Extension headers in an IPv6 packet.
fn extended(p: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut next = p[6];
    let mut body = p[40..].to_vec();
    for _ in 0..1 + dice.below(3) {
        let kind = dice.pick(&[0, 43, 60, 44, 51, 60]);
        let more = dice.pick(&[0u8, 0, 1, 2]);
        let mut h = match kind {
            44 => vec![next, 0, 0, dice.pick(&[0, 0, 0, 8, 6]), 0, 0, 0, 7],
            51 => [vec![next, 1], vec![0; 10]].concat(),
            43 => [
                vec![next, more, dice.pick(&[4, 3]), 0],
                vec![0; usize::from(more) * 8 + 4],
            ]
            .concat(),
            _ => [
                vec![next, more, 1, 4 + more * 8],
                vec![0; 4 + usize::from(more) * 8],
            ]
            .concat(),
        };
        h.extend(body);
        body = h;
        next = kind;
    }
    let mut out = p[..40].to_vec();
    out[6] = next;
    out[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}
