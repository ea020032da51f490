//! TCP (`nf_conntrack_proto_tcp.c`).
//!
//! [`table`] says which segment leads from which state to which, [`window`] whether its numbers fit, and this file what follows from both.

mod options;
mod table;
mod window;

use super::{Ctx, Outcome, Proto};
use crate::clock::{HZ, Jiffies};
use crate::conn::{Conn, EXT_TIMEOUT, Inner};
use crate::events;
use crate::parse::{be16, be32};
use crate::policy::TimeoutPolicy;
use crate::reason::What;
use crate::snapshot::ProtoInfo;
use crate::status::{ASSURED, CONFIRMED, CtInfo, FIXED_TIMEOUT, SEEN_REPLY, SEQ_ADJUST};
use crate::sysctl::Sysctl;
use crate::tuple::{Direction, ipproto};
use table::{Class, Next, State};
use window::{Fit, Side};

pub(crate) const FLAG_WINDOW_SCALE: u8 = 0x01;
pub(crate) const FLAG_SACK_PERM: u8 = 0x02;
pub(crate) const FLAG_CLOSE_INIT: u8 = 0x04;
pub(crate) const FLAG_BE_LIBERAL: u8 = 0x08;
pub(crate) const FLAG_DATA_UNACKNOWLEDGED: u8 = 0x10;
pub(crate) const FLAG_MAXACK_SET: u8 = 0x20;
pub(crate) const FLAG_EXP_CHALLENGE_ACK: u8 = 0x40;
pub(crate) const FLAG_SIMULTANEOUS_OPEN: u8 = 0x80;

/// `a` before `b` on the circle of sequence numbers.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` after `b` on the circle of sequence numbers.
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// What is remembered of a TCP connection (`struct ip_ct_tcp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tcp {
    seen: [Side; 2],
    state: State,
    /// Of the last segment, or the last ignored one: class, sender, numbers.
    last_index: Class,
    last_dir: u8,
    retrans: u8,
    last_wscale: u8,
    last_flags: u8,
    last_win: u16,
    last_seq: u32,
    last_ack: u32,
    last_end: u32,
}

/// A segment's header, decoded.
struct Segment<'a> {
    seq: u32,
    ack: u32,
    /// Sequence number behind it: SYN and FIN count one each.
    end: u32,
    win: u16,
    syn: bool,
    has_ack: bool,
    rst: bool,
    class: Class,
    /// The options, if all of them are there.
    options: &'a [u8],
}

const HEADER: usize = 20;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// Combinations that occur, with PSH, ECE and CWR masked out.
fn flags_make_sense(flags: u8) -> bool {
    const { assert!(PSH == 8 && URG == 32) };
    matches!(flags & (FIN | SYN | RST | ACK | URG), f if f == SYN
        || f == SYN | URG
        || f == SYN | ACK
        || f == RST
        || f == RST | ACK
        || f == FIN | ACK
        || f == FIN | ACK | URG
        || f == ACK
        || f == ACK | URG)
}

/// Decodes the header, or tells what is wrong with it (`tcp_error`). `Err(None)`: not even a header.
// Always: a result that came back through memory would be copied before it is used.
#[inline(always)]
fn segment<'a>(cx: &Ctx<'a>) -> Result<Segment<'a>, Option<What>> {
    let data: &'a [u8] = cx.data;
    let l4 = data.get(cx.l4..).unwrap_or(&[]);
    let header: &[u8; HEADER] = l4.first_chunk().ok_or(None)?;
    let length = usize::from(header[12] >> 4) * 4;
    if length < HEADER || l4.len() < length {
        return Err(Some(What::Text("truncated packet")));
    }
    if cx.wants_checksum() && !cx.checksum_holds(Some(ipproto::TCP), l4.len()) {
        return Err(Some(What::Text("bad checksum")));
    }
    let flags = header[13];
    if !flags_make_sense(flags) {
        return Err(Some(What::Text("invalid tcp flag combination")));
    }
    let (syn, fin) = (flags & SYN != 0, flags & FIN != 0);
    let seq = be32(header, 4).unwrap_or(0);
    Ok(Segment {
        seq,
        ack: be32(header, 8).unwrap_or(0),
        end: seq.wrapping_add((l4.len() - length) as u32 + u32::from(syn) + u32::from(fin)),
        win: be16(header, 14).unwrap_or(0),
        syn,
        has_ack: flags & ACK != 0,
        rst: flags & RST != 0,
        class: Class::of(flags & RST != 0, syn, fin, flags & ACK != 0),
        options: &l4[HEADER..length],
    })
}

impl Tcp {
    pub(super) fn info(&self) -> ProtoInfo {
        ProtoInfo::Tcp {
            state: self.state.name(),
            wscale: [self.seen[0].scale, self.seen[1].scale],
            flags: [self.seen[0].flags, self.seen[1].flags],
        }
    }

    /// Takes over what the control plane says (`nlattr_to_tcp`): window scales only if both sides have them. False for a state that is none.
    pub(super) fn set(
        &mut self,
        state: u8,
        wscale: [Option<u8>; 2],
        flags: [Option<(u8, u8)>; 2],
    ) -> bool {
        let Some(state) = State::ALL.get(usize::from(state)) else {
            return false;
        };
        self.state = *state;
        for (side, f) in self.seen.iter_mut().zip(flags) {
            if let Some((flags, mask)) = f {
                side.flags = side.flags & !mask | flags & mask;
            }
        }
        let scaled = self.seen.iter().all(|s| s.flags & FLAG_WINDOW_SCALE != 0);
        if let ([Some(a), Some(b)], true) = (wscale, scaled) {
            (self.seen[0].scale, self.seen[1].scale) = (a.min(14), b.min(14));
        }
        true
    }

    /// Of a connection that has only begun: the sequence number behind its SYN.
    pub(crate) fn syn_end(&self) -> Option<u32> {
        (self.state == State::SynSent).then_some(self.seen[0].end)
    }

    /// In TIME_WAIT or further, and `seq` is beyond what its beginner sent.
    pub(crate) fn is_over_before(&self, seq: u32) -> bool {
        self.state >= State::TimeWait && after(seq, self.seen[0].end)
    }

    /// Half closed or further (`tcp_can_early_drop`).
    pub(super) fn is_closing(&self) -> bool {
        matches!(
            self.state,
            State::FinWait | State::LastAck | State::TimeWait | State::Close | State::CloseWait
        )
    }

    /// Numbers out of the window do no harm from now on.
    pub(super) fn be_liberal(&mut self) {
        if self.state == State::Established {
            for side in &mut self.seen {
                side.flags |= FLAG_BE_LIBERAL;
            }
        }
    }

    /// Packets went by unseen: take the next ones as they are.
    pub(super) fn forget_windows(&mut self) {
        if self.state == State::Established {
            for side in &mut self.seen {
                side.max_win = 0;
            }
        }
    }

    /// The first segment of a connection (`tcp_new`).
    fn begin(&mut self, seg: &Segment<'_>, loose: bool) -> Result<(), Option<What>> {
        let Next::State(next) = table::next(Direction::Original, seg.class, State::None) else {
            return Err(Some(What::Text("invalid new")));
        };
        *self = Self {
            last_index: Class::None,
            ..Self::default()
        };
        let win = u32::from(seg.win).max(1);
        if next == State::SynSent {
            self.seen[0] = Side {
                end: seg.end,
                max_end: seg.end,
                max_win: win,
                ..Side::default()
            };
            self.seen[0].parse_options(seg.options);
        } else if loose {
            // In the middle: nothing is known of the windows, so both sides are treated gently.
            let flags = FLAG_SACK_PERM | FLAG_BE_LIBERAL;
            self.seen[0] = Side {
                end: seg.end,
                max_end: seg.end.wrapping_add(win),
                max_win: win,
                flags,
                ..Side::default()
            };
            self.seen[1].flags = flags;
        } else {
            return Err(None);
        }
        Ok(())
    }

    /// Remembers a segment that is let through without being believed.
    fn remember_ignored(&mut self, seg: &Segment<'_>, dir: Direction, old: State) {
        self.last_index = seg.class;
        self.last_dir = dir as u8;
        self.last_seq = seg.seq;
        self.last_end = seg.end;
        self.last_win = seg.win;
        // If the answer shows that it was right after all, its options will be needed.
        if seg.class == Class::Syn && dir == Direction::Original {
            let mut side = Side::default();
            side.parse_options(seg.options);
            self.last_flags = side.flags & (FLAG_WINDOW_SCALE | FLAG_SACK_PERM);
            self.last_wscale = side.scale;
            if old == State::LastAck {
                self.last_flags |= FLAG_EXP_CHALLENGE_ACK;
            }
        }
        if old == State::SynSent && seg.class == Class::Ack && dir == Direction::Reply {
            self.last_ack = seg.ack;
        }
    }

    /// The server answered a SYN that was ignored: take that SYN as the connection's beginning.
    fn resync(&mut self, dir: Direction) {
        let other = &mut self.seen[dir.other().index()];
        other.end = self.last_end;
        other.max_end = self.last_end;
        other.max_win = u32::from(self.last_win).max(1);
        other.scale = self.last_wscale;
        self.last_flags &= !FLAG_EXP_CHALLENGE_ACK;
        other.flags = self.last_flags;
        let mine = &mut self.seen[dir.index()];
        *mine = Side {
            flags: mine.flags & FLAG_BE_LIBERAL,
            ..Side::default()
        };
    }

    fn either(&self, flag: u8) -> bool {
        (self.seen[0].flags | self.seen[1].flags) & flag != 0
    }

    fn timeout(&self, cx: &Ctx<'_>, policy: Option<&TimeoutPolicy>, class: Class) -> Jiffies {
        let of_state = state_timeout(cx, policy, self.state);
        let shortened = |s| Some(cx.timeout(policy, s)).filter(|t| of_state.0 > t.0);
        if u32::from(self.retrans) >= cx.knob(Sysctl::TcpMaxRetrans)
            && let Some(t) = shortened(Sysctl::TcpTimeoutMaxRetrans)
        {
            return t;
        }
        if class == Class::Rst {
            return cx.timeout(policy, Sysctl::TcpTimeoutClose);
        }
        if self.either(FLAG_DATA_UNACKNOWLEDGED)
            && let Some(t) = shortened(Sysctl::TcpTimeoutUnacknowledged)
        {
            return t;
        }
        if self.last_win == 0
            && let Some(t) = shortened(Sysctl::TcpTimeoutMaxRetrans)
        {
            return t;
        }
        of_state
    }
}

fn state_timeout(cx: &Ctx<'_>, policy: Option<&TimeoutPolicy>, s: State) -> Jiffies {
    cx.timeout(
        policy,
        match s {
            State::None | State::SynSent => Sysctl::TcpTimeoutSynSent,
            State::SynRecv => Sysctl::TcpTimeoutSynRecv,
            State::Established => Sysctl::TcpTimeoutEstablished,
            State::FinWait => Sysctl::TcpTimeoutFinWait,
            State::CloseWait => Sysctl::TcpTimeoutCloseWait,
            State::LastAck => Sysctl::TcpTimeoutLastAck,
            State::TimeWait => Sysctl::TcpTimeoutTimeWait,
            State::Close => Sysctl::TcpTimeoutClose,
            // Two minutes without a knob.
            State::SynSent2 => return Jiffies::secs(120),
        },
    )
}

/// What the state machine and the special cases say about a segment.
enum Judged {
    /// The window decides; the new state if it fits.
    Check(State),
    /// Believed without a look at the window.
    InWindow(State),
    /// Let through, nothing changes.
    Ignore(What),
    /// Not of this connection.
    Invalid(What),
    /// The connection is over, this is a new one.
    Reopen,
}

pub(super) fn packet<U>(cx: &mut Ctx<'_>, c: &Conn<U>, info: CtInfo) -> Outcome {
    let seg = match segment(cx) {
        Ok(s) => s,
        Err(None) => return Outcome::Invalid,
        Err(Some(w)) => return cx.invalid(w),
    };
    let st = c.status();
    let dir = info.dir();
    let mut guard = c.inner();
    // What few connections have is far from what all of them have.
    let shifts = if c.has(SEQ_ADJUST) {
        guard.seqadj()
    } else {
        Default::default()
    };
    let Inner { proto, policy, .. } = &mut *guard;
    let policy = if c.has_ext(EXT_TIMEOUT) {
        policy.as_deref()
    } else {
        None
    };
    if st & CONFIRMED == 0 {
        let mut t = Tcp::default();
        if let Err(w) = t.begin(&seg, cx.knob(Sysctl::TcpLoose) != 0) {
            if let Some(w) = w {
                cx.log(w);
            }
            return Outcome::Invalid;
        }
        *proto = Proto::Tcp(t);
    }
    let Proto::Tcp(tcp) = proto else {
        return Outcome::Invalid;
    };

    let mut old = tcp.state;
    let new = match judge(tcp, &seg, dir, st, cx, &mut old) {
        Judged::Check(new) => {
            match window::check(tcp, &seg, dir, cx.knob(Sysctl::TcpBeLiberal) != 0, &shifts) {
                Fit::Accept => new,
                Fit::Ignore(w) => {
                    cx.log(w);
                    return Outcome::Accept;
                }
                Fit::Invalid(w) => {
                    cx.log(w);
                    after_invalid(tcp, &seg, dir, st, cx, policy, c);
                    return Outcome::Invalid;
                }
            }
        }
        Judged::InWindow(new) => new,
        Judged::Ignore(w) => {
            cx.log(w);
            return Outcome::Accept;
        }
        Judged::Invalid(w) => return cx.invalid(w),
        Judged::Reopen => return Outcome::Reopen,
    };

    tcp.last_index = seg.class;
    tcp.last_dir = dir as u8;
    tcp.state = new;
    if old != new && new == State::FinWait {
        tcp.seen[dir.index()].flags |= FLAG_CLOSE_INIT;
    }
    let mut timeout = tcp.timeout(cx, policy, seg.class);
    let unacknowledged = cx.timeout(policy, Sysctl::TcpTimeoutUnacknowledged);
    drop(guard);
    if old != new {
        c.note(events::mask::PROTOINFO);
    }

    if st & SEEN_REPLY == 0 {
        if seg.rst {
            // Refused: nobody is interested in this connection any more.
            return Outcome::KillAcct;
        }
        if seg.class == Class::Syn && old == State::SynSent {
            // Somebody who only repeats the SYN must not keep the entry alive.
            return Outcome::Accept;
        }
        if new == State::Established && timeout.0 > unacknowledged.0 {
            timeout = unacknowledged;
        }
    } else if st & ASSURED == 0
        && matches!(old, State::SynRecv | State::Established)
        && new == State::Established
    {
        c.set_status(ASSURED);
        c.note(events::mask::ASSURED);
    }
    cx.refresh(c, info, timeout);
    Outcome::Accept
}

/// State machine and special cases. `old` is changed when the connection's past is corrected.
fn judge(
    tcp: &mut Tcp,
    seg: &Segment<'_>,
    dir: Direction,
    st: u32,
    cx: &Ctx<'_>,
    old: &mut State,
) -> Judged {
    let from_other = tcp.last_dir != dir as u8;
    let mut new = match table::next(dir, seg.class, *old) {
        Next::State(s) => s,
        Next::Ignore => return ignored(tcp, seg, dir, old),
        Next::Invalid => {
            let (index, dir) = (seg.class as u8, dir as u8);
            return Judged::Invalid(What::TcpState {
                index,
                dir,
                ignored: false,
                state: old.name(),
            });
        }
    };
    match new {
        State::SynSent if *old >= State::TimeWait => {
            if tcp.either(FLAG_CLOSE_INIT) || (!from_other && tcp.last_index == Class::Rst) {
                return Judged::Reopen;
            }
            return ignored(tcp, seg, dir, old);
        }
        State::TimeWait
            if *old == State::LastAck
                && seg.class == Class::Ack
                && from_other
                && tcp.last_index == Class::Syn
                && tcp.last_flags & FLAG_EXP_CHALLENGE_ACK != 0 =>
        {
            // The answer to an ignored SYN does not acknowledge the last FIN.
            tcp.last_flags &= !FLAG_EXP_CHALLENGE_ACK;
            return Judged::Ignore(What::Text("challenge-ack ignored"));
        }
        State::SynSent2 => tcp.last_flags |= FLAG_SIMULTANEOUS_OPEN,
        State::SynRecv
            if dir == Direction::Reply
                && seg.class == Class::Ack
                && tcp.last_flags & FLAG_SIMULTANEOUS_OPEN != 0 =>
        {
            new = State::Established;
        }
        State::Close if seg.class == Class::Rst => return reset(tcp, seg, dir, st, cx, *old),
        _ => {}
    }
    Judged::Check(new)
}

/// A segment that fits no state but may be right all the same.
fn ignored(tcp: &mut Tcp, seg: &Segment<'_>, dir: Direction, old: &mut State) -> Judged {
    let answers_ignored_syn = seg.class == Class::SynAck
        && tcp.last_index == Class::Syn
        && tcp.last_dir != dir as u8
        && seg.ack == tcp.last_end;
    if answers_ignored_syn {
        tcp.resync(dir);
        *old = State::SynSent;
        return Judged::Check(State::SynRecv);
    }
    tcp.remember_ignored(seg, dir, *old);
    Judged::Ignore(What::TcpState {
        index: seg.class as u8,
        dir: dir as u8,
        ignored: true,
        state: old.name(),
    })
}

/// A reset: believed only if whoever made it knows the connection.
fn reset(
    tcp: &Tcp,
    seg: &Segment<'_>,
    dir: Direction,
    st: u32,
    cx: &Ctx<'_>,
    old: State,
) -> Judged {
    let mut new = State::Close;
    // The addresses may be in use again already; then all that is remembered is out of date.
    if tcp.is_closing() {
        return Judged::InWindow(new);
    }
    let peer = &tcp.seen[dir.other().index()];
    let mine_was_last = tcp.last_dir == dir as u8;
    if peer.flags & FLAG_MAXACK_SET != 0 && tcp.last_index != Class::Syn {
        let established = old == State::Established && st & ASSURED != 0;
        if seg.seq == 0 && !established {
            return Judged::Check(new);
        }
        if before(seg.seq, peer.max_ack) && cx.knob(Sysctl::TcpIgnoreInvalidRst) == 0 {
            return Judged::Invalid(What::Text("invalid rst"));
        }
        let behind_own_data =
            tcp.last_index == Class::Ack && mine_was_last && seg.seq == tcp.last_end;
        if !established || seg.seq == peer.max_ack || behind_own_data {
            return Judged::Check(new);
        }
        // In the window, but not exact: a challenge will show.
        new = old;
    }
    // Without the direction one side could close the connection all by itself, with a SYN and a wrong reset (fixed in 6.18's stable releases).
    let answers_syn = st & SEEN_REPLY != 0 && tcp.last_index == Class::Syn && !mine_was_last;
    let answers_ours = answers_syn || (st & ASSURED == 0 && tcp.last_index == Class::Ack);
    if answers_ours && seg.ack == tcp.last_end {
        return Judged::InWindow(new);
    }
    let answers_challenge = old == State::SynSent
        && tcp.last_index == Class::Ack
        && tcp.last_dir == Direction::Reply as u8
        && seg.seq == tcp.last_ack;
    if answers_challenge {
        Judged::InWindow(new)
    } else {
        Judged::Check(new)
    }
}

/// Both sides sent a FIN or RST that did not fit: the connection is most likely over (`nf_tcp_handle_invalid`).
fn after_invalid<U>(
    tcp: &mut Tcp,
    seg: &Segment<'_>,
    dir: Direction,
    st: u32,
    cx: &mut Ctx<'_>,
    policy: Option<&TimeoutPolicy>,
    c: &Conn<U>,
) {
    let ends = |class| matches!(class, Class::Rst | Class::Fin);
    if st & ASSURED == 0 || st & FIXED_TIMEOUT != 0 || !ends(seg.class) {
        return;
    }
    if tcp.last_dir != dir as u8 && ends(tcp.last_index) {
        let left = c.deadline().until(cx.now).max(0) as u32;
        let timeout = cx.timeout(policy, Sysctl::TcpTimeoutUnacknowledged);
        if left >= 120 * HZ && left > timeout.0 {
            cx.log(What::LowerTimeout {
                index: seg.class as u8,
                dir: dir as u8,
                last_index: tcp.last_index as u8,
                timeout: timeout.0,
            });
            c.set_deadline(cx.now.plus(timeout));
        }
    } else {
        tcp.last_index = seg.class;
        tcp.last_dir = dir as u8;
    }
}
