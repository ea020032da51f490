//! Flow records as IPFIX messages (RFC 7011), one after the other in a file (RFC 5655). Both directions are in one record (RFC 5103).

use std::cell::RefCell;
use std::io::{Cursor, Write};
use std::net::IpAddr;
use std::rc::Rc;

use binrw::BinWrite;
use ipfixrw::information_elements::{Formatter, get_default_formatter};
use ipfixrw::parser::{
    DataRecord, DataRecordKey, DataRecordType, DataRecordValue, FieldSpecifier, Message, Records,
    Set, TemplateRecord,
};
use ipfixrw::template_store::TemplateStore;

use super::flows::{Flow, FlowWriter};
use crate::replay::Failure;

/// The enterprise under which elements mean the other direction.
pub(crate) const REVERSE: u32 = 29_305;
/// Records in a message: far below 64 KiB.
const BATCH: usize = 256;
const TEMPLATE_V4: u16 = 256;
const TEMPLATE_V6: u16 = 257;

/// The elements of a record: enterprise, number, length; and the key under which the library knows them.
const COMMON: [(Option<u32>, u16, u16, &str); 14] = [
    (None, 152, 8, "flowStartMilliseconds"),
    (None, 153, 8, "flowEndMilliseconds"),
    (None, 4, 1, "protocolIdentifier"),
    (None, 7, 2, "sourceTransportPort"),
    (None, 11, 2, "destinationTransportPort"),
    (None, 86, 8, "packetTotalCount"),
    (None, 85, 8, "octetTotalCount"),
    (Some(REVERSE), 86, 8, "reversePacketTotalCount"),
    (Some(REVERSE), 85, 8, "reverseOctetTotalCount"),
    (None, 227, 2, "postNAPTSourceTransportPort"),
    (None, 228, 2, "postNAPTDestinationTransportPort"),
    (None, 136, 1, "flowEndReason"),
    (None, 148, 8, "flowId"),
    (None, 234, 4, "ingressVRFID"),
];

const V4: [(Option<u32>, u16, u16, &str); 5] = [
    (None, 8, 4, "sourceIPv4Address"),
    (None, 12, 4, "destinationIPv4Address"),
    (None, 225, 4, "postNATSourceIPv4Address"),
    (None, 226, 4, "postNATDestinationIPv4Address"),
    (None, 32, 2, "icmpTypeCodeIPv4"),
];

const V6: [(Option<u32>, u16, u16, &str); 5] = [
    (None, 27, 16, "sourceIPv6Address"),
    (None, 28, 16, "destinationIPv6Address"),
    (None, 281, 16, "postNATSourceIPv6Address"),
    (None, 282, 16, "postNATDestinationIPv6Address"),
    (None, 139, 2, "icmpTypeCodeIPv6"),
];

/// What the library must know beyond the registry.
pub(crate) fn formatter() -> Formatter {
    let mut f = get_default_formatter();
    for (enterprise, id, _, name) in COMMON {
        if let Some(e) = enterprise {
            f.insert((e, id), (name, DataRecordType::UnsignedInt));
        }
    }
    f
}

fn template(id: u16, own: [(Option<u32>, u16, u16, &str); 5]) -> TemplateRecord {
    TemplateRecord {
        template_id: id,
        field_specifiers: COMMON
            .into_iter()
            .chain(own)
            .map(|(e, id, len, _)| FieldSpecifier::new(e, id, len))
            .collect(),
    }
}

/// Writes messages.
pub(crate) struct Ipfix<W> {
    out: W,
    templates: TemplateStore,
    formatter: Rc<Formatter>,
    /// Records that wait, by family.
    waiting: [Vec<DataRecord>; 2],
    sequence: u32,
    begun: bool,
}

impl<W: Write> Ipfix<W> {
    /// A writer that has written nothing yet.
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            templates: Rc::new(RefCell::new(ahash::HashMap::default())),
            formatter: Rc::new(formatter()),
            waiting: [Vec::new(), Vec::new()],
            sequence: 0,
            begun: false,
        }
    }

    fn message(&mut self, sets: Vec<Set>, time: u32) -> Result<(), Failure> {
        let message = Message {
            export_time: time,
            sequence_number: self.sequence,
            observation_domain_id: 1,
            sets,
        };
        let mut bytes = Cursor::new(Vec::new());
        let args = (self.templates.clone(), self.formatter.clone(), 4u8);
        message
            .write_args(&mut bytes, args)
            .map_err(|e| Failure::Message(format!("IPFIX: {e}")))?;
        self.out.write_all(bytes.get_ref())?;
        Ok(())
    }

    fn flush(&mut self, time: u32) -> Result<(), Failure> {
        if !self.begun {
            self.begun = true;
            let records = vec![template(TEMPLATE_V4, V4), template(TEMPLATE_V6, V6)];
            self.templates
                .insert_template_records(&records, &self.formatter);
            let set = Set {
                records: Records::Template(records),
            };
            self.message(vec![set], time)?;
        }
        for (i, id) in [TEMPLATE_V4, TEMPLATE_V6].into_iter().enumerate() {
            let data = std::mem::take(&mut self.waiting[i]);
            if data.is_empty() {
                continue;
            }
            let n = data.len() as u32;
            let set = Set {
                records: Records::Data { set_id: id, data },
            };
            self.message(vec![set], time)?;
            self.sequence = self.sequence.wrapping_add(n);
        }
        Ok(())
    }
}

fn record(f: &Flow) -> (usize, DataRecord) {
    use DataRecordValue::{DateTimeMilliseconds, Ipv4Addr, Ipv6Addr, U8, U16, U32, U64};
    let v6 = usize::from(f.src.is_ipv6());
    let names = [V4, V6][v6];
    let ms = |secs: f64| (secs * 1000.0) as u64;
    let addr = |a: IpAddr| match a {
        IpAddr::V4(a) => Ipv4Addr(a),
        IpAddr::V6(a) => Ipv6Addr(a),
    };
    let icmp = u16::from(f.icmp_type.unwrap_or(0)) << 8 | u16::from(f.icmp_code.unwrap_or(0));
    let common = [
        DateTimeMilliseconds(ms(f.start)),
        DateTimeMilliseconds(ms(f.end)),
        U8(f.protonum),
        U16(f.sport),
        U16(f.dport),
        U64(f.packets),
        U64(f.bytes),
        U64(f.reply_packets),
        U64(f.reply_bytes),
        U16(f.reply_dport),
        U16(f.reply_sport),
        U8(f.reason as u8),
        U64(u64::from(f.c)),
        U32(u32::from(f.zone)),
    ];
    let own = [
        addr(f.src),
        addr(f.dst),
        addr(f.reply_dst),
        addr(f.reply_src),
        U16(icmp),
    ];
    let common = COMMON.into_iter().map(|c| c.3).zip(common);
    let own = names.into_iter().map(|c| c.3).zip(own);
    let values = common
        .chain(own)
        .map(|(name, v)| (DataRecordKey::Str(name), v))
        .collect();
    (v6, DataRecord { values })
}

impl<W: Write> FlowWriter for Ipfix<W> {
    fn flow(&mut self, f: &Flow) -> Result<(), Failure> {
        let (family, record) = record(f);
        self.waiting[family].push(record);
        if self.waiting[family].len() >= BATCH {
            self.flush(f.end as u32)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.flush((super::live::wall_clock() / 1_000_000_000) as u32)?;
        self.out.flush()?;
        Ok(())
    }
}
