//! PPTP: a TCP connection to port 1723 negotiates calls, whose data are GRE packets (`nf_conntrack_pptp.c`, `nf_nat_pptp.c`).
//!
//! A packet of a call names only its receiver's call id. So the helper announces the call in both directions, with both ids, and notes in the
//! namespace's [key map](crate::net) which id the other side has: with it a packet's tuple is whole. A client behind a translated source has its
//! call id replaced by the port of its control connection, which no other client has.
//!
//! As in the kernel one call for each control connection is known, clients call servers, and the call's entry has the timeouts of any GRE entry.

use super::{refuse, settled, tcp_payload};
use crate::conn::Conn;
use crate::expect::{Expectation, Follow, Policy};
use crate::packet::{Packet, Verdict};
use crate::parse::{be16, be32};
use crate::seqadj;
use crate::status;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Tuple, ipproto};
use crate::{Nanos, tuple};

const POLICY: Policy = Policy {
    class: 0,
    max: 2,
    timeout: 300,
};
const CONTROL_PACKET: u16 = 1;
const MAGIC: u32 = 0x1a2b_3c4d;
/// Bytes before a message's own fields.
const HEADERS: usize = 12;
/// Result of a session's or a call's beginning and end when all is well.
const GOOD: u8 = 1;

/// Kinds of messages, by number, and how many bytes they have at least.
mod message {
    pub(super) const START_REQUEST: u16 = 1;
    pub(super) const START_REPLY: u16 = 2;
    pub(super) const STOP_REQUEST: u16 = 3;
    pub(super) const STOP_REPLY: u16 = 4;
    pub(super) const ECHO_REQUEST: u16 = 5;
    pub(super) const ECHO_REPLY: u16 = 6;
    pub(super) const OUT_CALL_REQUEST: u16 = 7;
    pub(super) const OUT_CALL_REPLY: u16 = 8;
    pub(super) const IN_CALL_REQUEST: u16 = 9;
    pub(super) const IN_CALL_REPLY: u16 = 10;
    pub(super) const IN_CALL_CONNECT: u16 = 11;
    pub(super) const CLEAR_REQUEST: u16 = 12;
    pub(super) const DISCONNECT: u16 = 13;
    pub(super) const WAN_ERROR: u16 = 14;
    pub(super) const SET_LINK: u16 = 15;
    pub(super) const SIZES: [usize; 16] = [
        0, 144, 144, 4, 4, 4, 8, 156, 20, 208, 12, 16, 4, 136, 28, 12,
    ];
}

/// The control session, in the kernel's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Session {
    #[default]
    None,
    Error,
    StopRequested,
    Requested,
    Confirmed,
}

/// The call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    None,
    OutRequested,
    OutConfirmed,
    InRequested,
    InReplied,
    InConfirmed,
    ClearRequested,
}

/// Call ids of client (`pns`) and server (`pac`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ids {
    pns: u16,
    pac: u16,
}

/// What the helper remembers of a control connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    session: Session,
    call: Call,
    /// As the server knows them.
    ids: Ids,
    /// As the client does, if it is translated.
    inside: Ids,
    /// What was put into the key map, for each direction.
    keys: [Option<Tuple>; 2],
}

/// What a message asks for, beyond a change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It does not fit: nothing is done about it, translation included.
    Ignore,
    Nothing,
    /// The call's packets are to be expected.
    Expect,
    /// The call ends.
    End,
}

impl Control {
    /// A message of the client.
    fn outbound(&mut self, kind: u16, body: &[u8]) -> Next {
        let id = be16(body, 0).unwrap_or(0);
        match kind {
            message::START_REQUEST if self.session == Session::None => {
                self.session = Session::Requested;
            }
            message::STOP_REQUEST => self.session = Session::StopRequested,
            message::OUT_CALL_REQUEST if self.session == Session::Confirmed => {
                self.call = Call::OutRequested;
                self.ids.pns = id;
            }
            message::IN_CALL_REPLY
                if matches!(self.call, Call::InRequested | Call::InReplied)
                    && be16(body, 2) == Some(self.ids.pac) =>
            {
                if body.get(4) == Some(&GOOD) {
                    self.call = Call::InReplied;
                    self.ids.pns = id;
                } else {
                    self.call = Call::None;
                }
            }
            message::CLEAR_REQUEST if self.session == Session::Confirmed => {
                self.call = Call::ClearRequested;
            }
            message::SET_LINK | message::ECHO_REQUEST | message::ECHO_REPLY => {}
            _ => return Next::Ignore,
        }
        Next::Nothing
    }

    /// A message of the server.
    fn inbound(&mut self, kind: u16, body: &[u8]) -> Next {
        let id = be16(body, 0).unwrap_or(0);
        match kind {
            message::START_REPLY if self.session >= Session::Requested => {
                self.session = match body.get(2) {
                    Some(&GOOD) => Session::Confirmed,
                    _ => Session::Error,
                };
            }
            message::STOP_REPLY if self.session <= Session::StopRequested => {
                self.session = match body.first() {
                    Some(&GOOD) => Session::None,
                    _ => Session::Error,
                };
            }
            message::OUT_CALL_REPLY
                if self.session == Session::Confirmed
                    && matches!(self.call, Call::OutRequested | Call::OutConfirmed)
                    && be16(body, 2) == Some(self.ids.pns) =>
            {
                if body.get(4) != Some(&GOOD) {
                    self.call = Call::None;
                    return Next::Nothing;
                }
                self.call = Call::OutConfirmed;
                self.ids.pac = id;
                return Next::Expect;
            }
            message::IN_CALL_REQUEST if self.session == Session::Confirmed => {
                self.call = Call::InRequested;
                self.ids.pac = id;
            }
            message::IN_CALL_CONNECT
                if self.session == Session::Confirmed
                    && matches!(self.call, Call::InReplied | Call::InConfirmed)
                    && id == self.ids.pns =>
            {
                self.call = Call::InConfirmed;
                return Next::Expect;
            }
            message::DISCONNECT => return Next::End,
            message::WAN_ERROR
            | message::SET_LINK
            | message::ECHO_REQUEST
            | message::ECHO_REPLY => {}
            _ => return Next::Ignore,
        }
        Next::Nothing
    }

    /// Which two bytes of a message are to be replaced on a translated connection, and by what.
    fn translate(&mut self, kind: u16, dir: Direction, port: u16) -> Option<(usize, u16)> {
        if dir == Direction::Original {
            if kind == message::OUT_CALL_REQUEST {
                self.inside.pns = self.ids.pns;
                self.ids.pns = port;
            }
            return matches!(
                kind,
                message::OUT_CALL_REQUEST | message::IN_CALL_REPLY | message::CLEAR_REQUEST
            )
            .then_some((0, self.ids.pns));
        }
        match kind {
            message::OUT_CALL_REPLY => Some((2, self.inside.pns)),
            message::IN_CALL_CONNECT
            | message::WAN_ERROR
            | message::DISCONNECT
            | message::SET_LINK => Some((0, self.inside.pns)),
            _ => None,
        }
    }
}

pub(super) fn help<S: Store>(ct: &Tracker<S>, pkt: &mut Packet<'_, '_, S>) -> Verdict {
    let (Some(dir), Some((_, payload)), Some(conn)) = (settled(pkt), tcp_payload(pkt), pkt.conn())
    else {
        return Verdict::Accept;
    };
    let Some((kind, body)) = read(payload) else {
        return Verdict::Accept;
    };
    let now = pkt.now();
    let at = pkt.data().len() - body.len();
    let translated = conn.has(status::SRC_NAT | status::DST_NAT);
    // The lock is not held while anything is looked up.
    let next = {
        let mut inner = conn.inner();
        let control = inner.kin().pptp();
        match dir {
            Direction::Original => control.outbound(kind, body),
            Direction::Reply => control.inbound(kind, body),
        }
    };
    match next {
        Next::Ignore => return Verdict::Accept,
        Next::Nothing => {}
        Next::Expect => expect(ct, conn, translated, now),
        Next::End => end(ct, conn, now),
    }
    if !translated {
        return Verdict::Accept;
    }
    let port = conn.tuple(Direction::Reply).dst_l4();
    let change = conn.inner().kin().pptp().translate(kind, dir, port);
    if let Some((offset, id)) = change
        && seqadj::mangle(pkt, at + offset, 2, &id.to_be_bytes()).is_none()
    {
        refuse(pkt, "pptp", "cannot mangle packet");
        return Verdict::Drop;
    }
    Verdict::Accept
}

/// Kind and own fields of a control message, if there is a whole one.
fn read(payload: &[u8]) -> Option<(u16, &[u8])> {
    let control = be16(payload, 2)? == CONTROL_PACKET && be32(payload, 4)? == MAGIC;
    let kind = be16(payload, 8).filter(|_| control)?;
    let body = payload.get(HEADERS..)?;
    let least = message::SIZES.get(usize::from(kind)).copied().unwrap_or(0);
    (body.len() >= least).then_some((kind, body))
}

/// The tuple of a call's packets in the direction of one of the control connection.
fn call_tuple(control: &Tuple, from: u16, to: u16) -> Option<Tuple> {
    Tuple::new(control.src(), control.dst(), ipproto::GRE, from, to)
}

fn announcement(t: &Tuple, twin: Option<Tuple>, follow: Option<Follow>) -> Expectation {
    Expectation {
        sport: Some(t.src_l4()),
        follow,
        twin,
        ..Expectation::new(Some(t.src()), t.dst(), ipproto::GRE, t.dst_l4())
    }
}

/// Announces the call in both directions (`exp_gre`). What cannot be announced is not: the packet passes all the same.
fn expect<S: Store>(ct: &Tracker<S>, conn: &Conn<S::User>, translated: bool, now: Nanos) {
    let (mine, answers) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    let (ids, inside) = {
        let mut inner = conn.inner();
        let control = inner.kin().pptp();
        if translated {
            control.inside.pac = control.ids.pac;
        } else {
            control.inside = control.ids;
        }
        (control.ids, control.inside)
    };
    let (Some(there), Some(back)) = (
        call_tuple(&mine, inside.pns, ids.pac),
        call_tuple(&answers, inside.pac, ids.pns),
    ) else {
        return;
    };
    let follow = |src, dst| translated.then_some(Follow { src, dst });
    let out = announcement(
        &there,
        Some(back),
        follow((answers.dst(), Some(ids.pns)), (answers.src(), None)),
    );
    let home = announcement(
        &back,
        // The kernel looks for it in vain when the connection is translated.
        (!translated).then_some(there),
        follow((mine.dst(), None), (mine.src(), Some(inside.pns))),
    );
    if ct.expect(conn, out, POLICY, now).is_err() {
        return;
    }
    let mut whole = ct.expect(conn, home, POLICY, now).is_ok();
    if whole {
        whole = note_key(ct, conn, Direction::Original, &there);
        if whole && !note_key(ct, conn, Direction::Reply, &back) {
            forget_keys(ct, conn);
            whole = false;
        }
        if !whole {
            ct.unexpect(&back, conn.zone(), now);
        }
    }
    if !whole {
        ct.unexpect(&there, conn.zone(), now);
    }
}

/// Puts a direction of the call into the key map (`nf_ct_gre_keymap_add`). False: another call is there.
fn note_key<S: Store>(
    ct: &Tracker<S>,
    conn: &Conn<S::User>,
    dir: Direction,
    call: &tuple::Tuple,
) -> bool {
    let mut inner = conn.inner();
    let slot = &mut inner.kin().pptp().keys[dir.index()];
    match slot {
        // A repetition.
        Some(there) => there.dst_l4() == call.dst_l4(),
        None => {
            *slot = Some(*call);
            ct.net().keymap.add(call);
            true
        }
    }
}

/// `nf_ct_gre_keymap_destroy`.
fn forget_keys<S: Store>(ct: &Tracker<S>, conn: &Conn<S::User>) {
    let keys = conn.inner().pptp().map(|c| std::mem::take(&mut c.keys));
    for call in keys.into_iter().flatten().flatten() {
        ct.net().keymap.remove(&call);
    }
}

/// The call ends, and what there is of it goes (`pptp_destroy_siblings`).
fn end<S: Store>(ct: &Tracker<S>, conn: &Conn<S::User>, now: Nanos) {
    forget_keys(ct, conn);
    let Some(ids) = conn.inner().pptp().map(|c| c.ids) else {
        return;
    };
    let (mine, answers) = (
        conn.tuple(Direction::Original),
        conn.tuple(Direction::Reply),
    );
    for call in [
        call_tuple(&mine, ids.pns, ids.pac),
        call_tuple(&answers, ids.pac, ids.pns),
    ] {
        let Some(call) = call else { continue };
        if let Some((sibling, _)) = ct.find(&call, conn.zone(), now) {
            ct.delete(&sibling, now);
        } else {
            ct.unexpect(&call, conn.zone(), now);
        }
    }
}

/// A connection goes: a control connection takes its call with it, and a call its control connection's keys.
pub(crate) fn gone<S: Store>(ct: &Tracker<S>, conn: &Conn<S::User>, now: Nanos) {
    if !ct.net().keymap.any() && conn.inner().pptp().is_none() {
        return;
    }
    let original = conn.tuple(Direction::Original);
    if original.protonum() != ipproto::GRE {
        if conn.inner().pptp().is_some() {
            end(ct, conn, now);
        }
        return;
    }
    let master = conn.inner().master();
    if let Some((master, _)) = master.and_then(|m| ct.find(&m, conn.zone(), now)) {
        forget_keys(ct, &master);
    }
}

/// Reads any bytes as several messages of one connection.
#[cfg(test)]
pub(super) fn survives(bytes: &[u8], reply: bool) {
    let mut control = Control::default();
    let dir = if reply {
        Direction::Reply
    } else {
        Direction::Original
    };
    for kind in bytes.iter().map(|b| u16::from(b % 17)) {
        let least = message::SIZES.get(usize::from(kind)).copied().unwrap_or(0);
        let mut text = vec![0, 0, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d];
        text.extend(kind.to_be_bytes());
        text.extend([0, 0]);
        text.extend(bytes.iter().cycle().take(least));
        assert!(
            least == 0 || read(&text[..HEADERS + least - 1]).is_none(),
            "{kind} is not whole"
        );
        let Some((kind, body)) = read(&text) else {
            panic!("{kind} is whole")
        };
        let next = if reply {
            control.inbound(kind, body)
        } else {
            control.outbound(kind, body)
        };
        let change = control.translate(kind, dir, 7);
        // What is replaced is there.
        assert!(change.is_none_or(|(at, _)| at + 2 <= body.len()), "{kind}");
        assert!(
            next != Next::Expect || control.session == Session::Confirmed,
            "a call without a session"
        );
    }
    let _ = read(bytes);
}
