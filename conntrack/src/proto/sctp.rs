//! SCTP (`nf_conntrack_proto_sctp.c`): the state of an association from its chunks, guarded by verification tags.

use super::{Ctx, Outcome, Proto};
use crate::conn::{Conn, Inner};
use crate::events;
use crate::parse::{be16, be32};
use crate::reason::What;
use crate::snapshot::ProtoInfo;
use crate::status::{ASSURED, CONFIRMED, CtInfo};
use crate::sysctl::Sysctl;
use crate::tuple::Direction;

/// A state (`enum sctp_conntrack`); the numbers are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum State {
    #[default]
    None,
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownRecd,
    ShutdownAckSent,
    HeartbeatSent,
}

impl State {
    const ALL: [Self; 9] = [
        Self::None,
        Self::Closed,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownRecd,
        Self::ShutdownAckSent,
        Self::HeartbeatSent,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE_WAIT",
            Self::CookieEchoed => "COOKIE_ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "SHUTDOWN_SENT",
            Self::ShutdownRecd => "SHUTDOWN_RECD",
            Self::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            Self::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    const fn knob(self) -> Sysctl {
        match self {
            Self::None | Self::Closed => Sysctl::SctpTimeoutClosed,
            Self::CookieWait => Sysctl::SctpTimeoutCookieWait,
            Self::CookieEchoed => Sysctl::SctpTimeoutCookieEchoed,
            Self::Established => Sysctl::SctpTimeoutEstablished,
            Self::ShutdownSent => Sysctl::SctpTimeoutShutdownSent,
            Self::ShutdownRecd => Sysctl::SctpTimeoutShutdownRecd,
            Self::ShutdownAckSent => Sysctl::SctpTimeoutShutdownAckSent,
            Self::HeartbeatSent => Sysctl::SctpTimeoutHeartbeatSent,
        }
    }
}

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

const CL: Option<State> = Some(State::Closed);
const CW: Option<State> = Some(State::CookieWait);
const CE: Option<State> = Some(State::CookieEchoed);
const ES: Option<State> = Some(State::Established);
const SS: Option<State> = Some(State::ShutdownSent);
const SR: Option<State> = Some(State::ShutdownRecd);
const SA: Option<State> = Some(State::ShutdownAckSent);
const HS: Option<State> = Some(State::HeartbeatSent);
const IV: Option<State> = None;

/// The transition for one kind of chunk, by direction and state: columns NO CL CW CE ES SS SR SA HS. `None`: chunks of this kind change nothing.
#[rustfmt::skip]
const fn row(kind: u8) -> Option<&'static [[Option<State>; 9]; 2]> {
    Some(match kind {
        INIT => &[
            [CL, CL, CW, CE, ES, CL, CL, SA, CW],
            [IV, CL, CW, CE, ES, SS, SR, SA, IV]],
        INIT_ACK => &[
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            [IV, CW, CW, CE, ES, SS, SR, SA, IV]],
        ABORT => &[
            [CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [IV, CL, CL, CL, CL, CL, CL, CL, IV]],
        SHUTDOWN => &[
            [CL, CL, CW, CE, SS, SS, SR, SA, CL],
            [IV, CL, CW, CE, SR, SS, SR, SA, IV]],
        SHUTDOWN_ACK => &[
            [SA, CL, CW, CE, ES, SA, SA, SA, SA],
            [IV, CL, CW, CE, ES, SA, SA, SA, IV]],
        ERROR => &[
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            [IV, CL, CW, CL, ES, SS, SR, SA, IV]],
        COOKIE_ECHO => &[
            [CL, CL, CE, CE, ES, SS, SR, SA, CL],
            [IV, CL, CE, CE, ES, SS, SR, SA, IV]],
        COOKIE_ACK => &[
            [CL, CL, CW, ES, ES, SS, SR, SA, CL],
            [IV, CL, CW, ES, ES, SS, SR, SA, IV]],
        SHUTDOWN_COMPLETE => &[
            [CL, CL, CW, CE, ES, SS, SR, CL, CL],
            [IV, CL, CW, CE, ES, SS, SR, CL, IV]],
        HEARTBEAT => &[
            [HS, CL, CW, CE, ES, SS, SR, SA, HS],
            [IV, CL, CW, CE, ES, SS, SR, SA, HS]],
        HEARTBEAT_ACK => &[
            [CL, CL, CW, CE, ES, SS, SR, SA, HS],
            [IV, CL, CW, CE, ES, SS, SR, SA, ES]],
        _ => return None,
    })
}

fn next(dir: Direction, kind: u8, old: State) -> Option<State> {
    match row(kind) {
        Some(r) => r[dir.index()][old as usize],
        None => Some(old),
    }
}

/// What is remembered of an association (`struct ip_ct_sctp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sctp {
    state: State,
    vtag: [u32; 2],
    init: [bool; 2],
    last_dir: u8,
    heartbeat_failed: bool,
}

impl Sctp {
    pub(super) fn info(&self) -> ProtoInfo {
        ProtoInfo::Sctp {
            state: self.state.name(),
            vtag: self.vtag,
        }
    }

    /// Takes over what the control plane says (`nlattr_to_sctp`). False for a state that is none.
    pub(super) fn set(&mut self, state: u8, vtag: [Option<u32>; 2]) -> bool {
        let Some(state) = State::ALL.get(usize::from(state)) else {
            return false;
        };
        self.state = *state;
        for (old, new) in self.vtag.iter_mut().zip(vtag) {
            *old = new.unwrap_or(*old);
        }
        true
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(
            self.state,
            State::ShutdownSent | State::ShutdownRecd | State::ShutdownAckSent
        )
    }
}

#[derive(Clone, Copy)]
struct Chunk<'a> {
    kind: u8,
    flags: u8,
    length: u16,
    /// What follows the chunk's header, up to the end of the packet.
    body: &'a [u8],
}

impl Chunk<'_> {
    /// The tag in INIT and INIT-ACK, if their whole fixed part is there.
    fn init_tag(&self) -> Option<u32> {
        self.body.get(..16).and_then(|b| be32(b, 0))
    }

    /// T bit: the tag is the receiver's own.
    fn reflected(&self) -> bool {
        self.flags & 1 != 0
    }
}

const HEADER: usize = 12;

/// Chunks in order; ends where no chunk header fits. Lengths of 0 must have been excluded, or it ends after such a chunk.
fn chunks(l4: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let header = l4.get(at..at + 4)?;
        let length = be16(header, 2)?;
        let chunk = Chunk {
            kind: header[0],
            flags: header[1],
            length,
            body: &l4[at + 4..],
        };
        at = if length == 0 {
            usize::MAX - 4
        } else {
            at + ((usize::from(length) + 3) & !3)
        };
        Some(chunk)
    })
}

/// A set of chunk types.
#[derive(Default)]
struct Kinds([u64; 4]);

impl Kinds {
    fn add(&mut self, kind: u8) {
        self.0[usize::from(kind >> 6)] |= 1 << (kind & 63);
    }

    fn has_any(&self, kinds: &[u8]) -> bool {
        kinds
            .iter()
            .any(|k| self.0[usize::from(k >> 6)] & 1 << (k & 63) != 0)
    }
}

/// Which kinds of chunks there are, if they may be together like that (`do_basic_checks`).
fn basic_checks(l4: &[u8]) -> Result<Kinds, Option<What>> {
    let mut kinds = Kinds::default();
    let mut alone = false;
    let mut count = 0;
    for c in chunks(l4) {
        alone |= matches!(c.kind, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
        let must_be_first = alone || matches!(c.kind, COOKIE_ACK | COOKIE_ECHO);
        if (must_be_first && count != 0) || c.length == 0 {
            let len = c.length.swap_bytes();
            return Err(Some(What::SctpChunk {
                count,
                kind: c.kind,
                len,
                flag: u8::from(alone),
            }));
        }
        kinds.add(c.kind);
        count += 1;
    }
    if count == 0 { Err(None) } else { Ok(kinds) }
}

/// The first packet of an association (`sctp_new`).
fn begin(l4: &[u8], vtag: u32) -> Option<Sctp> {
    let mut s = Sctp::default();
    for c in chunks(l4) {
        if matches!(
            next(Direction::Original, c.kind, State::None),
            None | Some(State::None)
        ) {
            return None;
        }
        match c.kind {
            INIT => {
                let tag = c.init_tag()?;
                if vtag != 0 {
                    return None;
                }
                s.vtag[1] = tag;
            }
            HEARTBEAT => s.vtag[0] = vtag,
            SHUTDOWN_ACK => s.vtag[1] = vtag,
            _ => {}
        }
    }
    Some(s)
}

fn crc_holds(l4: &[u8]) -> bool {
    let crc = crc32c::crc32c_append(
        crc32c::crc32c_append(crc32c::crc32c(&l4[..8]), &[0; 4]),
        &l4[HEADER..],
    );
    l4[8..HEADER] == crc.to_le_bytes()
}

pub(super) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    let l4 = cx.l4();
    if l4.len() < HEADER {
        return cx.invalid(What::Text("nf_ct_sctp: short packet"));
    }
    if cx.wants_checksum() && !crc_holds(l4) {
        return cx.invalid(What::Text("nf_ct_sctp: bad CRC"));
    }
    let kinds = match basic_checks(l4) {
        Ok(k) => k,
        Err(None) => return Outcome::Invalid,
        Err(Some(w)) => return cx.invalid(w),
    };
    let vtag = be32(l4, 4).unwrap_or(0);
    let dir = info.dir();
    let mut guard = c.inner();
    let Inner { proto, policy, .. } = &mut *guard;
    let confirmed = c.status() & CONFIRMED != 0;
    if !confirmed {
        if kinds.has_any(&[ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK]) {
            return Outcome::Invalid;
        }
        let Some(s) = begin(l4, vtag) else {
            return Outcome::Invalid;
        };
        *proto = Proto::Sctp(s);
    }
    let Proto::Sctp(s) = proto else {
        return Outcome::Invalid;
    };

    let own_rules = [
        INIT,
        SHUTDOWN_COMPLETE,
        COOKIE_ECHO,
        ABORT,
        SHUTDOWN_ACK,
        HEARTBEAT,
        HEARTBEAT_ACK,
    ];
    if !kinds.has_any(&own_rules) && vtag != s.vtag[dir.index()] {
        let (got, expected) = (vtag.swap_bytes(), s.vtag[dir.index()].swap_bytes());
        return cx.invalid(What::SctpVtag(got, expected, dir as u8));
    }

    let mut new = State::None;
    let mut refresh = true;
    for chunk in chunks(l4) {
        match tag_allows(s, &chunk, vtag, dir, &kinds, refresh) {
            Tag::Ok => {}
            Tag::Wrong => return Outcome::Invalid,
            Tag::Doubtful => {
                refresh = false;
                continue;
            }
        }
        let old = s.state;
        let Some(state) = next(dir, chunk.kind, old) else {
            let what = What::SctpState {
                old: old as u8,
                dir: dir as u8,
                kind: chunk.kind,
            };
            return cx.invalid(what);
        };
        new = state;
        if !learn_tag(s, &chunk, dir, old == State::None) {
            return Outcome::Invalid;
        }
        // Repeating INIT shall not keep the entry.
        if chunk.kind == INIT && old == State::Closed && new == State::Closed && confirmed {
            refresh = false;
        }
        s.state = new;
        if old != new {
            c.note(events::mask::PROTOINFO);
            if new == State::Established && c.set_status(ASSURED) {
                c.note(events::mask::ASSURED);
            }
        }
    }
    if refresh {
        cx.refresh(c, info, cx.timeout(policy.as_deref(), new.knob()));
    }
    Outcome::Accept
}

enum Tag {
    Ok,
    Wrong,
    /// A heartbeat with an unknown tag: let through, believed when it is answered.
    Doubtful,
}

/// The special cases of the tag check (RFC 9260, 8.5.1).
fn tag_allows(
    s: &mut Sctp,
    chunk: &Chunk<'_>,
    vtag: u32,
    dir: Direction,
    kinds: &Kinds,
    first_doubt: bool,
) -> Tag {
    let (mine, other) = (dir.index(), dir.other().index());
    let ok = match chunk.kind {
        INIT => vtag == 0,
        ABORT | SHUTDOWN_COMPLETE => vtag == s.vtag[if chunk.reflected() { other } else { mine }],
        COOKIE_ECHO => vtag == s.vtag[mine],
        COOKIE_ACK => {
            s.init = [false; 2];
            true
        }
        HEARTBEAT if s.vtag[mine] == 0 => {
            s.vtag[mine] = vtag;
            true
        }
        HEARTBEAT if vtag != s.vtag[mine] => {
            if kinds.has_any(&[DATA]) || !first_doubt {
                return Tag::Wrong;
            }
            s.heartbeat_failed = true;
            s.last_dir = dir as u8;
            return Tag::Doubtful;
        }
        HEARTBEAT_ACK if s.vtag[mine] == 0 => {
            s.vtag[mine] = vtag;
            true
        }
        HEARTBEAT_ACK if vtag != s.vtag[mine] => {
            if kinds.has_any(&[DATA]) || !s.heartbeat_failed || s.last_dir == dir as u8 {
                return Tag::Wrong;
            }
            s.heartbeat_failed = false;
            s.vtag[mine] = vtag;
            s.vtag[other] = 0;
            true
        }
        HEARTBEAT | HEARTBEAT_ACK => {
            s.heartbeat_failed = false;
            true
        }
        _ => true,
    };
    if ok { Tag::Ok } else { Tag::Wrong }
}

/// INIT and INIT-ACK tell the tag that the other side must use.
fn learn_tag(s: &mut Sctp, chunk: &Chunk<'_>, dir: Direction, first: bool) -> bool {
    let (mine, other) = (dir.index(), dir.other().index());
    if !matches!(chunk.kind, INIT | INIT_ACK) {
        return true;
    }
    let Some(tag) = chunk.init_tag() else {
        return false;
    };
    if chunk.kind == INIT {
        // A repeated INIT is no sign of a collision (6.18's stable releases). The first one's tag is known already, from `begin`.
        if first || s.vtag[other] != tag {
            if s.init == [true; 2] {
                s.init[other] = false;
            }
            s.init[mine] = true;
        }
    } else {
        let known = s.vtag[other];
        let contradicts = known != tag && ((!s.init[other] && known != 0) || s.init == [true; 2]);
        if contradicts {
            return false;
        }
    }
    s.vtag[other] = tag;
    true
}
