//! Do a segment's numbers fit what both sides sent and promised? (`tcp_in_window`, after van Rooij's "Real Stateful TCP Packet Filtering
//! in IP Filter", which lets no segment pass that either end would refuse, and learns from those that do.)

use super::{
    FLAG_BE_LIBERAL, FLAG_DATA_UNACKNOWLEDGED, FLAG_MAXACK_SET, FLAG_SACK_PERM, FLAG_WINDOW_SCALE,
    Segment, State, Tcp, after, before, options,
};
use crate::proto::tcp::table::Class;
use crate::reason::What;
use crate::seqadj::SeqAdj;
use crate::tuple::Direction;

/// What is known of one sender (`struct ip_ct_tcp_state`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Side {
    /// Highest sequence number + length it sent.
    pub(super) end: u32,
    /// Right edge of what it may send: highest acknowledgement + window of the other.
    pub(super) max_end: u32,
    /// Largest window it advertised.
    pub(super) max_win: u32,
    /// Highest acknowledgement it sent.
    pub(super) max_ack: u32,
    pub(super) scale: u8,
    pub(super) flags: u8,
}

/// The window's verdict.
#[derive(Debug)]
pub(super) enum Fit {
    Accept,
    /// Let it pass, believe nothing.
    Ignore(What),
    Invalid(What),
}

/// Acknowledgements may lag behind by this much at least.
const MIN_ACK_WINDOW: u32 = 66000;

/// (Re)starts a sender with its SYN (`tcp_init_sender`).
fn start(sender: &mut Side, receiver: &mut Side, seg: &Segment<'_>, dir: Direction) {
    sender.end = seg.end;
    sender.max_end = seg.end;
    sender.max_win = u32::from(seg.win).max(1);
    sender.parse_options(seg.options);
    // Scaling needs both.
    if dir == Direction::Reply && sender.flags & receiver.flags & FLAG_WINDOW_SCALE == 0 {
        sender.scale = 0;
        receiver.scale = 0;
    }
}

/// Checks the segment, and learns from it if it fits.
/// `shifts` are those that a helper brought about, original and reply.
pub(super) fn check(
    tcp: &mut Tcp,
    seg: &Segment<'_>,
    dir: Direction,
    all_liberal: bool,
    shifts: &[SeqAdj; 2],
) -> Fit {
    let state = tcp.state;
    let [original, reply] = &mut tcp.seen;
    let (sender, receiver) = match dir {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    };
    let (mut seq, mut end) = (seg.seq, seg.end);
    let mut ack = seg.ack;
    let mut sack = ack;
    let mut win = u32::from(seg.win);
    if receiver.flags & FLAG_SACK_PERM != 0 {
        sack = options::highest_sack(seg.options, sack);
    }
    // What this end acknowledges are the other one's numbers after the shift.
    let shift = shifts[1 - dir.index()].offset(ack.wrapping_sub(1)) as u32;
    ack = ack.wrapping_sub(shift);
    sack = sack.wrapping_sub(shift);

    if sender.max_win == 0 {
        if seg.syn {
            start(sender, receiver, seg, dir);
            if !seg.has_ack {
                return Fit::Accept;
            }
        } else {
            // Its history is lost: begin with what the segment says.
            sender.end = end;
            sender.max_win = (win << sender.scale).max(1);
            sender.max_end = end.wrapping_add(sender.max_win);
            if receiver.max_win == 0 {
                receiver.end = sack;
                receiver.max_end = sack;
            } else if sack == receiver.end.wrapping_add(1) {
                // Probably the answer to a keep-alive.
                receiver.end = sack;
            }
        }
    } else if seg.syn && after(end, sender.end) && matches!(state, State::SynSent | State::SynRecv)
    {
        start(sender, receiver, seg, dir);
        if dir == Direction::Reply && !seg.has_ack {
            return Fit::Accept;
        }
    }

    if !seg.has_ack || (seg.rst && ack == 0) {
        // No acknowledgement, or a broken one: pretend the usual.
        ack = receiver.end;
        sack = ack;
    }
    if seg.rst && seq == 0 && state == State::SynSent {
        seq = sender.end;
        end = seq;
    }

    let liberal = all_liberal || sender.flags & FLAG_BE_LIBERAL != 0;
    let unfit = |verdict: Fit| if liberal { Fit::Accept } else { verdict };
    let lowest_end = sender.end.wrapping_sub(receiver.max_win).wrapping_sub(1);
    let lowest_ack = receiver
        .end
        .wrapping_sub(sender.max_win.max(MIN_ACK_WINDOW))
        .wrapping_sub(1);

    let bound = sender.max_end.wrapping_add(1);
    if !before(seq, bound) {
        let overshot = end.wrapping_sub(sender.max_end).wrapping_add(1);
        let all_else_fits = receiver.max_win != 0
            && after(end, lowest_end)
            && after(sack, lowest_ack)
            && overshot <= receiver.max_win
            && before(sack, receiver.end.wrapping_add(1));
        if !all_else_fits {
            return unfit(Fit::Invalid(What::SeqOver(bound)));
        }
        // Some send more than they may. If the peer takes it, its acknowledgement must not seem absurd.
        sender.end = end;
        sender.flags |= FLAG_DATA_UNACKNOWLEDGED;
        return unfit(Fit::Ignore(What::Overshot(overshot)));
    }
    if !before(sack, receiver.end.wrapping_add(1)) {
        return unfit(Fit::Invalid(What::AckOver(receiver.end.wrapping_add(1))));
    }
    if receiver.max_win != 0 && !after(end, lowest_end) {
        return unfit(Fit::Ignore(What::SeqUnder(lowest_end)));
    }
    if !after(sack, lowest_ack) {
        return unfit(Fit::Ignore(What::AckUnder(lowest_ack)));
    }

    if !seg.syn {
        win <<= sender.scale;
    }
    sender.max_win = sender.max_win.max(win.wrapping_add(sack.wrapping_sub(ack)));
    if after(end, sender.end) {
        sender.end = end;
        sender.flags |= FLAG_DATA_UNACKNOWLEDGED;
    }
    if seg.has_ack && (sender.flags & FLAG_MAXACK_SET == 0 || after(ack, sender.max_ack)) {
        sender.max_ack = ack;
        sender.flags |= FLAG_MAXACK_SET;
    }
    if receiver.max_win != 0 && after(end, sender.max_end) {
        receiver.max_win = receiver
            .max_win
            .wrapping_add(end.wrapping_sub(sender.max_end));
    }
    let edge = sack.wrapping_add(win);
    if after(edge, receiver.max_end.wrapping_sub(1)) {
        receiver.max_end = if win == 0 { edge.wrapping_add(1) } else { edge };
    }
    if ack == receiver.end {
        receiver.flags &= !FLAG_DATA_UNACKNOWLEDGED;
    }
    if seg.class == Class::Ack {
        tcp.count_repeats(dir, seq, ack, end, seg.win);
    }
    Fit::Accept
}

impl Tcp {
    /// Is this the segment before once more?
    fn count_repeats(&mut self, dir: Direction, seq: u32, ack: u32, end: u32, win: u16) {
        let this = (dir as u8, seq, ack, end, win);
        if (
            self.last_dir,
            self.last_seq,
            self.last_ack,
            self.last_end,
            self.last_win,
        ) == this
        {
            self.retrans = self.retrans.wrapping_add(1);
        } else {
            (
                self.last_dir,
                self.last_seq,
                self.last_ack,
                self.last_end,
                self.last_win,
            ) = this;
            self.retrans = 0;
        }
    }
}
