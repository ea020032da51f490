//! A stream of records out of a pcap or pcapng file, plain or gzip-compressed, or standard input.
//!
//! Memory is bounded by [`MAX_RECORD`], whatever lengths the file claims: the size of a record is read from its header
//! before any buffer grows. Everything before a damaged place is delivered; then [`Capture::next`] returns one
//! [`CaptureError`] with the file's name, the number of the packet that could not be read and its byte offset (in the
//! uncompressed data), and the capture ends.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};

/// The largest record accepted, headers included. libpcap's own limit for a packet is 256 KiB; pcapng blocks that carry
/// no packet (name tables, secrets) can be larger.
pub(crate) const MAX_RECORD: usize = 16 << 20;

/// The most interfaces one pcapng section may describe.
const MAX_INTERFACES: usize = 65_536;

const BUFFER: usize = 1 << 17;
const NANOS: i128 = 1_000_000_000;

/// One captured frame.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Time stamp: nanoseconds since 1970. `None`: the file has none for this packet (pcapng simple packet block).
    pub(crate) time: Option<i64>,
    /// Link type as the tcpdump project numbers them.
    pub(crate) link: u16,
    /// Captured bytes.
    pub(crate) data: &'a [u8],
    /// Length of the frame on the wire, at least `data.len()` unless the file is wrong.
    pub(crate) wire_len: u32,
}

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The operating system or the decompressor failed.
    Io(io::Error),
    /// Not a single byte.
    Empty,
    /// Neither pcap nor pcapng.
    NotACapture([u8; 4]),
    /// The data end in the middle of a record.
    Truncated,
    /// A record claims more than [`MAX_RECORD`] bytes.
    TooLarge(u64),
    /// The bytes contradict the format.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "{e}"),
            Self::Empty => write!(f, "the file is empty"),
            Self::NotACapture(magic) => {
                let [a, b, c, d] = magic;
                write!(
                    f,
                    "not a pcap or pcapng file (it begins with {a:02x} {b:02x} {c:02x} {d:02x})"
                )
            }
            Self::Truncated => write!(f, "the file ends in the middle of a record"),
            Self::TooLarge(n) => write!(
                f,
                "a record claims {n} bytes, more than the {MAX_RECORD} accepted"
            ),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
        }
    }
}

/// A place in a capture and what is wrong there.
#[derive(Debug)]
pub(crate) struct CaptureError {
    pub(crate) file: String,
    /// The packet that could not be read, from 1; 0 when not even the file's header could.
    pub(crate) packet: u64,
    /// Offset of the record's first byte in the uncompressed data.
    pub(crate) offset: u64,
    pub(crate) fault: Fault,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.packet == 0 {
            write!(f, "{}: {}", self.file, self.fault)
        } else {
            write!(
                f,
                "{}: packet {} at byte offset {}: {}",
                self.file, self.packet, self.offset, self.fault
            )
        }
    }
}

impl std::error::Error for CaptureError {}

/// The parser swallows I/O errors; this keeps the last one for the message.
struct Tap<R> {
    inner: R,
    error: Rc<RefCell<Option<io::Error>>>,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let kind = e.kind();
                    *self.error.borrow_mut() = Some(e);
                    return Err(kind.into());
                }
                ok => return ok,
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    /// Most bytes captured of a packet; 0: no limit.
    snaplen: u32,
    /// Time units per second.
    resolution: u128,
    /// Seconds to add.
    offset: i64,
}

#[derive(Clone, Copy)]
enum Format {
    Pcap {
        header: usize,
        big_endian: bool,
        nanos: bool,
        link: u16,
    },
    PcapNg {
        big_endian: bool,
    },
}

/// An open capture.
pub(crate) struct Capture {
    name: String,
    reader: Box<dyn PcapReaderIterator>,
    error: Rc<RefCell<Option<io::Error>>>,
    format: Format,
    interfaces: Vec<Interface>,
    capacity: usize,
    packets: u64,
    done: bool,
    frame: Vec<u8>,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("name", &self.name)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

/// What one parsed block means to us.
enum Step {
    Skip,
    Packet {
        time: Option<i64>,
        link: u16,
        wire_len: u32,
    },
    Bad(Fault),
}

impl Capture {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, CaptureError> {
        if path.as_os_str() == "-" {
            return Self::new("standard input".into(), Box::new(io::stdin().lock()));
        }
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, Box::new(file)),
            Err(e) => Err(CaptureError {
                file: name,
                packet: 0,
                offset: 0,
                fault: Fault::Io(e),
            }),
        }
    }

    /// Reads a capture from `input`; `name` is for messages.
    pub(crate) fn new(name: String, input: Box<dyn Read>) -> Result<Self, CaptureError> {
        Self::start(name.clone(), input).map_err(|fault| CaptureError {
            file: name,
            packet: 0,
            offset: 0,
            fault,
        })
    }

    fn start(name: String, mut input: Box<dyn Read>) -> Result<Self, Fault> {
        let mut head = read_up_to(&mut input, 4)?;
        if head.starts_with(&[0x1f, 0x8b]) {
            let packed = BufReader::with_capacity(BUFFER, Cursor::new(head).chain(input));
            input = Box::new(MultiGzDecoder::new(packed));
            head = read_up_to(&mut input, 4)?;
        }
        let magic: [u8; 4] = match head.as_slice().try_into() {
            Ok(magic) => magic,
            Err(_) if head.is_empty() => return Err(Fault::Empty),
            Err(_) => return Err(Fault::Truncated),
        };
        let error = Rc::new(RefCell::new(None));
        // The parser wants the whole file header in its first read, which a pipe does not promise.
        let pcapng = magic == [0x0a, 0x0d, 0x0d, 0x0a];
        let need = if pcapng {
            section_header_len(&mut input, &mut head)?
        } else {
            24
        };
        head.extend(read_up_to(&mut input, need - head.len())?);
        let capacity = BUFFER.max(need);
        let rest = Tap {
            inner: Cursor::new(head.clone()).chain(input),
            error: Rc::clone(&error),
        };
        let (format, reader): (_, Box<dyn PcapReaderIterator>) = if pcapng {
            let reader = PcapNGReader::new(capacity, rest).map_err(|e| head_fault(&e, magic))?;
            (
                Format::PcapNg {
                    big_endian: head[8] == 0x1a,
                },
                Box::new(reader),
            )
        } else {
            let mut reader =
                LegacyPcapReader::new(capacity, rest).map_err(|e| head_fault(&e, magic))?;
            let format = match reader.next() {
                Ok((size, PcapBlockOwned::LegacyHeader(h))) => {
                    let format = Format::Pcap {
                        header: if h.is_modified_format() { 24 } else { 16 },
                        big_endian: h.is_bigendian(),
                        nanos: h.is_nanosecond_precision(),
                        // The upper half holds flags (length of a frame check sequence).
                        link: h.network.0 as u16,
                    };
                    reader.consume(size);
                    format
                }
                _ => return Err(Fault::Malformed("file header")),
            };
            (format, Box::new(reader))
        };
        Ok(Self {
            name,
            reader,
            error,
            format,
            interfaces: Vec::new(),
            capacity,
            packets: 0,
            done: false,
            frame: Vec::new(),
        })
    }

    /// The next record; `None` at the end. After an error there is nothing more.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        if self.done {
            return Ok(None);
        }
        match self.advance() {
            Ok(Some((time, link, wire_len))) => {
                self.packets += 1;
                Ok(Some(Record {
                    time,
                    link,
                    data: &self.frame,
                    wire_len,
                }))
            }
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(fault) => {
                self.done = true;
                let offset = self.reader.consumed() as u64;
                Err(CaptureError {
                    file: self.name.clone(),
                    packet: self.packets + 1,
                    offset,
                    fault,
                })
            }
        }
    }

    /// Moves to the next packet and copies its bytes to `self.frame`.
    fn advance(&mut self) -> Result<Option<(Option<i64>, u16, u32)>, Fault> {
        loop {
            // Sizes are judged before the parser sees the record: it neither limits them nor tells a block that
            // contradicts itself from one that is not here yet.
            let have = self.reader.data().len();
            let declared = self.declared_len();
            if let Some(n) = declared {
                if n > MAX_RECORD as u64 {
                    return Err(Fault::TooLarge(n));
                }
                if n as usize + 64 > self.capacity {
                    self.capacity = n as usize + BUFFER;
                    self.reader.grow(self.capacity);
                }
            }
            let (size, step) = match self.reader.next() {
                Ok((size, block)) => (
                    size,
                    step(
                        &block,
                        &mut self.format,
                        &mut self.interfaces,
                        &mut self.frame,
                    ),
                ),
                Err(PcapError::Eof) => return Ok(None),
                Err(
                    PcapError::Incomplete(_) | PcapError::BufferTooSmall | PcapError::UnexpectedEof,
                ) if declared.is_some_and(|n| n <= have as u64) => {
                    return Err(Fault::Malformed("a block's lengths contradict each other"));
                }
                Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                    self.refill()?;
                    continue;
                }
                Err(PcapError::UnexpectedEof) => return Err(Fault::Truncated),
                Err(PcapError::ReadError) => return Err(self.read_fault()),
                Err(_) => return Err(Fault::Malformed("a block that does not follow the format")),
            };
            match step {
                Step::Bad(fault) => return Err(fault),
                Step::Skip => self.reader.consume(size),
                Step::Packet {
                    time,
                    link,
                    wire_len,
                } => {
                    self.reader.consume(size);
                    return Ok(Some((time, link, wire_len)));
                }
            }
        }
    }

    fn refill(&mut self) -> Result<(), Fault> {
        if self.reader.refill().is_err() {
            return Err(self.read_fault());
        }
        Ok(())
    }

    fn read_fault(&self) -> Fault {
        let e = self.error.borrow_mut().take();
        match e {
            // A compressed stream that stops is a truncated capture; say it in those words.
            Some(e) if e.kind() == io::ErrorKind::UnexpectedEof => Fault::Truncated,
            Some(e) => Fault::Io(e),
            None => Fault::Io(io::ErrorKind::Other.into()),
        }
    }

    /// Size of the record at hand as its header gives it, if that much is in the buffer.
    fn declared_len(&self) -> Option<u64> {
        let data = self.reader.data();
        let word = |at: usize, big: bool| {
            let b: [u8; 4] = data.get(at..at + 4)?.try_into().ok()?;
            Some(u64::from(if big {
                u32::from_be_bytes(b)
            } else {
                u32::from_le_bytes(b)
            }))
        };
        match self.format {
            Format::Pcap {
                header, big_endian, ..
            } => Some(header as u64 + word(8, big_endian)?),
            Format::PcapNg { big_endian } => {
                let big = if word(0, false)? == 0x0a0d_0d0a {
                    *data.get(8)? == 0x1a
                } else {
                    big_endian
                };
                word(4, big)
            }
        }
    }
}

/// Reads until `n` bytes or the end.
fn read_up_to(input: &mut dyn Read, n: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(n);
    input
        .take(n as u64)
        .read_to_end(&mut out)
        .map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Truncated,
            _ => Fault::Io(e),
        })?;
    Ok(out)
}

/// Length of a pcapng section header block of which `head` holds the type; reads on as far as needed.
fn section_header_len(input: &mut dyn Read, head: &mut Vec<u8>) -> Result<usize, Fault> {
    head.extend(read_up_to(input, 8)?);
    let Some((len, order)) = head.get(4..8).zip(head.get(8..12)) else {
        return Err(Fault::Truncated);
    };
    let len: [u8; 4] = [len[0], len[1], len[2], len[3]];
    let len = match order {
        [0x1a, 0x2b, 0x3c, 0x4d] => u32::from_be_bytes(len),
        [0x4d, 0x3c, 0x2b, 0x1a] => u32::from_le_bytes(len),
        _ => return Err(Fault::Malformed("byte-order mark of the section header")),
    };
    match len as usize {
        n if n < 28 => Err(Fault::Malformed("length of the section header")),
        n if n > MAX_RECORD => Err(Fault::TooLarge(n as u64)),
        n => Ok(n),
    }
}

fn head_fault<I>(e: &PcapError<I>, magic: [u8; 4]) -> Fault {
    match e {
        PcapError::HeaderNotRecognized => Fault::NotACapture(magic),
        PcapError::Incomplete(_) | PcapError::UnexpectedEof | PcapError::Eof => Fault::Truncated,
        _ => Fault::Malformed("file header"),
    }
}

fn step(
    block: &PcapBlockOwned<'_>,
    format: &mut Format,
    interfaces: &mut Vec<Interface>,
    frame: &mut Vec<u8>,
) -> Step {
    match block {
        PcapBlockOwned::LegacyHeader(_) => Step::Skip,
        PcapBlockOwned::Legacy(p) => {
            let Format::Pcap { nanos, link, .. } = *format else {
                return Step::Skip;
            };
            let fraction = i64::from(p.ts_usec) * if nanos { 1 } else { 1000 };
            frame.clear();
            frame.extend_from_slice(p.data);
            Step::Packet {
                time: Some(i64::from(p.ts_sec) * NANOS as i64 + fraction),
                link,
                wire_len: p.origlen,
            }
        }
        PcapBlockOwned::NG(Block::SectionHeader(shb)) => {
            *format = Format::PcapNg {
                big_endian: shb.big_endian(),
            };
            interfaces.clear();
            Step::Skip
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(idb)) => {
            if interfaces.len() == MAX_INTERFACES {
                return Step::Bad(Fault::Malformed("too many interfaces"));
            }
            let Some(resolution) = resolution(idb.if_tsresol) else {
                return Step::Bad(Fault::Malformed("time resolution of an interface"));
            };
            // The parser reads the offset as little-endian in either byte order.
            let big = matches!(format, Format::PcapNg { big_endian: true });
            let offset = if big {
                idb.if_tsoffset.swap_bytes()
            } else {
                idb.if_tsoffset
            };
            interfaces.push(Interface {
                link: idb.linktype.0 as u16,
                snaplen: idb.snaplen,
                resolution,
                offset,
            });
            Step::Skip
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(p)) => {
            let Some(i) = interfaces.get(p.if_id as usize) else {
                return Step::Bad(Fault::Malformed(
                    "packet of an interface that was never described",
                ));
            };
            frame.clear();
            frame.extend_from_slice(p.packet_data());
            Step::Packet {
                time: Some(i.time(p.ts_high, p.ts_low)),
                link: i.link,
                wire_len: p.origlen,
            }
        }
        PcapBlockOwned::NG(Block::SimplePacket(p)) => {
            let Some(i) = interfaces.first() else {
                return Step::Bad(Fault::Malformed(
                    "packet before any interface was described",
                ));
            };
            // The block has no captured length: it is the wire length, cut at the interface's limit; padding follows.
            let limit = if i.snaplen == 0 { u32::MAX } else { i.snaplen };
            let bytes = p.raw_packet_data();
            let Some(bytes) = bytes.get(..p.origlen.min(limit) as usize) else {
                return Step::Bad(Fault::Malformed("a block's lengths contradict each other"));
            };
            frame.clear();
            frame.extend_from_slice(bytes);
            Step::Packet {
                time: None,
                link: i.link,
                wire_len: p.origlen,
            }
        }
        PcapBlockOwned::NG(Block::Unknown(b))
            if b.block_type.swap_bytes() == 2 || b.block_type == 2 =>
        {
            old_packet(b.data, format, interfaces, frame)
        }
        PcapBlockOwned::NG(_) => Step::Skip,
    }
}

/// The obsolete packet block of early pcapng files (type 2): an enhanced packet block with a 16-bit interface number.
fn old_packet(data: &[u8], format: &Format, interfaces: &[Interface], frame: &mut Vec<u8>) -> Step {
    let big = matches!(format, Format::PcapNg { big_endian: true });
    let (Some(head), Some(body)) = (data.get(..20), data.get(20..)) else {
        return Step::Bad(Fault::Malformed("packet block too short"));
    };
    let word = |at: usize| {
        let b = [head[at], head[at + 1], head[at + 2], head[at + 3]];
        if big {
            u32::from_be_bytes(b)
        } else {
            u32::from_le_bytes(b)
        }
    };
    let id = if big {
        u16::from_be_bytes([head[0], head[1]])
    } else {
        u16::from_le_bytes([head[0], head[1]])
    };
    let Some(i) = interfaces.get(usize::from(id)) else {
        return Step::Bad(Fault::Malformed(
            "packet of an interface that was never described",
        ));
    };
    let Some(bytes) = body.get(..word(12) as usize) else {
        return Step::Bad(Fault::Malformed("a block's lengths contradict each other"));
    };
    frame.clear();
    frame.extend_from_slice(bytes);
    Step::Packet {
        time: Some(i.time(word(4), word(8))),
        link: i.link,
        wire_len: word(16),
    }
}

impl Interface {
    /// Nanoseconds since 1970, clamped to what 64 bits hold.
    fn time(&self, high: u32, low: u32) -> i64 {
        let ticks = u128::from(high) << 32 | u128::from(low);
        let nanos = (ticks / self.resolution) as i128 * NANOS
            + (ticks % self.resolution * NANOS as u128 / self.resolution) as i128
            + i128::from(self.offset) * NANOS;
        nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// Time units per second of an `if_tsresol` option: a power of two when the top bit is set, else of ten.
fn resolution(option: u8) -> Option<u128> {
    let n = u32::from(option & 0x7f);
    // Bounded so that ticks below one unit times 10^9 stay within 128 bits.
    if option & 0x80 != 0 {
        (n <= 96).then(|| 1 << n)
    } else {
        10u128.checked_pow(n).filter(|_| n <= 28)
    }
}
