//! Packets, frames and capture files for tests.

/// An IPv4 UDP packet without a UDP checksum.
pub(crate) fn udp4(src: [u8; 4], dst: [u8; 4], sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let len = 28 + payload.len() as u16;
    let mut p = vec![0x45, 0];
    p.extend(len.to_be_bytes());
    p.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    p.extend(src);
    p.extend(dst);
    let sum: u32 = p
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend(sport.to_be_bytes());
    p.extend(dport.to_be_bytes());
    p.extend((len - 20).to_be_bytes());
    p.extend([0, 0]);
    p.extend(payload);
    p
}

pub(crate) const A: [u8; 4] = [10, 0, 0, 1];
pub(crate) const B: [u8; 4] = [10, 9, 9, 2];

/// A question and its answer.
pub(crate) fn dialogue() -> [Vec<u8>; 2] {
    [
        udp4(A, B, 1000, 53, b"question"),
        udp4(B, A, 53, 1000, b"answer"),
    ]
}

/// An Ethernet frame with VLAN tags (their ether types).
pub(crate) fn ethernet(packet: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        f.extend(tag.to_be_bytes());
        f.extend([0, 100]);
    }
    f.extend(if packet[0] >> 4 == 6 {
        [0x86, 0xdd]
    } else {
        [8, 0]
    });
    f.extend(packet);
    f
}

/// A little-endian microsecond pcap file; each packet has its time in microseconds.
pub(crate) fn pcap(link: u32, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut f = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
        f.extend(u32::to_le_bytes(word));
    }
    for (time, data) in packets {
        record(&mut f, *time, data, data.len());
    }
    f
}

/// Appends a record whose packet had `wire` bytes.
pub(crate) fn record(f: &mut Vec<u8>, time: u64, data: &[u8], wire: usize) {
    for word in [
        time / 1_000_000,
        time % 1_000_000,
        data.len() as u64,
        wire as u64,
    ] {
        f.extend((word as u32).to_le_bytes());
    }
    f.extend(data);
}

/// A pcapng file with one interface of microsecond resolution.
pub(crate) fn pcapng(link: u16, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let len = (padded as u32 + 12).to_le_bytes();
        let mut b = kind.to_le_bytes().to_vec();
        b.extend(len);
        b.extend(body);
        b.resize(8 + padded, 0);
        b.extend(len);
        b
    }
    let mut section = 0x1a2b_3c4du32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    let mut f = block(0x0a0d_0d0a, &section);
    let mut interface = link.to_le_bytes().to_vec();
    interface.extend([0; 6]);
    f.extend(block(1, &interface));
    for (time, data) in packets {
        let mut body = Vec::new();
        for word in [
            0,
            (time >> 32) as u32,
            *time as u32,
            data.len() as u32,
            data.len() as u32,
        ] {
            body.extend(word.to_le_bytes());
        }
        body.extend(data);
        f.extend(block(6, &body));
    }
    f
}
