//! Helpers: they read in a connection which other connections it announces (`nf_conntrack_ftp.c`, `_tftp.c`, `_irc.c`, `_amanda.c`, `_pptp.c`).
//!
//! A connection has the helper that a rule gave it ([`Template::helper`](crate::policy::Template), [`Conn::set_helper`](crate::conn::Conn)), by name;
//! [`register`] says what those names mean. On a translated connection the announcement is rewritten to what the other side knows; TFTP needs no
//! rewriting, its answers are translated as the question was.
//!
//! # A helper of one's own
//!
//! A helper is a [`HookFn`] that is registered under a name. It sees every packet of connections with that name as the packet leaves, before
//! the connection is confirmed; it may note expectations ([`Tracker::expect`]), and drop the packet. Here a server answers `PORT 5001` (in
//! binary) to a client that will connect there:
//!
//! ```
//! use nulls_conntrack::expect::{Expectation, Policy};
//! use nulls_conntrack::{Config, Family, Hook, Layout, NullsStore, Packet, PacketState, Pipeline, Template, Tracker, Verdict};
//! use nulls_conntrack::Direction::Original;
//! use std::sync::Arc;
//!
//! type Table = NullsStore<()>;
//!
//! fn help(ct: &Tracker<Table>, pkt: &mut Packet<'_, '_, Table>, _: Hook) -> Verdict {
//!     // Behind the headers of IPv4 and UDP; only answers are of interest.
//!     let (Some(conn), Some([hi, lo])) = (pkt.conn(), pkt.data().get(28..30)) else { return Verdict::Accept };
//!     if pkt.direction() == Some(Original) {
//!         return Verdict::Accept;
//!     }
//!     let client = conn.tuple(Original);
//!     let what = Expectation::new(Some(client.src()), client.dst(), 6, u16::from_be_bytes([*hi, *lo]));
//!     match ct.expect(conn, what, Policy { class: 0, max: 1, timeout: 60 }, pkt.now()) {
//!         Ok(()) => Verdict::Accept,
//!         Err(_) => Verdict::Drop,
//!     }
//! }
//!
//! let ct = Tracker::new(Table::new(1000, 512)?, Config::default());
//! ct.register_helper("toy", Arc::new(help));
//! let pipeline = Pipeline::new(Layout::Linux618);
//! let packet = |src: u8, dst: u8, proto: u8, l4: &[u8]| {
//!     let mut p = vec![0x45, 0, 0, 20 + l4.len() as u8, 0, 0, 0, 0, 64, proto, 0, 0, 10, 0, 0, src, 10, 0, 0, dst];
//!     p.extend(l4);
//!     p
//! };
//! let send = |p: &[u8]| {
//!     let mut pkt = Packet::new(p, Family::Ipv4, 1_000_000_000);
//!     pkt.checksum_ok = true;
//!     // A rule would do this for the protocol's port only.
//!     pkt.template = Some(Arc::new(Template { helper: Some("toy".into()), ..Template::default() }));
//!     assert_eq!(pipeline.forward(&ct, &mut pkt), Verdict::Accept);
//!     pkt.state()
//! };
//! assert_eq!(send(&packet(1, 2, 17, &[0, 9, 0, 99, 0, 8, 0, 0])), PacketState::New);
//! assert_eq!(send(&packet(2, 1, 17, &[0, 99, 0, 9, 0, 10, 0, 0, 0x13, 0x89])), PacketState::Established);
//! assert_eq!(ct.expectations(1_000_000_000).len(), 1);
//! let syn = [3, 3, 0x13, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 1, 0, 0, 0, 0];
//! assert_eq!(send(&packet(1, 2, 6, &syn)), PacketState::Related);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod amanda;
pub(crate) mod ftp;
mod irc;
pub(crate) mod keymap;
pub(crate) mod pptp;
mod rewrite;
mod tftp;

#[cfg(test)]
mod tests;

use crate::expect::{Expectation, Policy};
use crate::hooks::HookFn;
use crate::packet::{Hook, Packet, Verdict};
use crate::parse;
use crate::reason::What;
use crate::status::CtInfo;
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::{Direction, Family};
use std::sync::Arc;

/// Registers the helpers `ftp`, `tftp`, `irc`, `amanda` and `pptp`.
pub fn register<S: Store>(ct: &Tracker<S>) {
    for (name, run) in [
        ("ftp", Kind::Ftp),
        ("tftp", Kind::Tftp),
        ("irc", Kind::Irc),
        ("amanda", Kind::Amanda),
        ("pptp", Kind::Pptp),
    ] {
        ct.register_helper(name, Arc::new(run));
    }
}

/// Does the helper `name` follow connections of `family`? Unknown names are the application's own and may.
#[must_use]
pub fn follows(name: &str, family: Family) -> bool {
    !matches!(name, "irc" | "pptp") || family == Family::Ipv4
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ftp,
    Tftp,
    Irc,
    Amanda,
    Pptp,
}

impl<S: Store> HookFn<S> for Kind {
    fn call<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, _: Hook) -> Verdict {
        match self {
            Self::Ftp => ftp::help(ct, pkt),
            Self::Tftp => tftp::help(ct, pkt),
            Self::Irc => irc::help(ct, pkt),
            Self::Amanda => amanda::help(ct, pkt),
            Self::Pptp => pptp::help(ct, pkt),
        }
    }
}

/// Offset of the transport header.
fn l4<S: Store>(pkt: &Packet<'_, '_, S>) -> Option<usize> {
    parse::l4proto(pkt.data(), 0, pkt.family()).map(|(_, at)| at)
}

/// Sequence number and payload of a TCP packet; `None` without payload.
fn tcp_payload<'a, S: Store>(pkt: &'a Packet<'_, '_, S>) -> Option<(u32, &'a [u8])> {
    let header = pkt.data().get(l4(pkt)?..)?;
    let offset = usize::from(header.get(12)? >> 4) * 4;
    let payload = header
        .get(offset..)
        .filter(|p| header.len() >= 20 && !p.is_empty())?;
    Some((parse::be32(header, 4)?, payload))
}

/// Payload of a UDP packet.
fn udp_payload<'a, S: Store>(pkt: &'a Packet<'_, '_, S>) -> Option<&'a [u8]> {
    pkt.data().get(l4(pkt)? + 8..)
}

/// The direction, once there has been traffic both ways.
fn settled<S: Store>(pkt: &Packet<'_, '_, S>) -> Option<Direction> {
    match pkt.nfct().info()? {
        info @ (CtInfo::Established | CtInfo::EstablishedReply) => Some(info.dir()),
        _ => None,
    }
}

/// Notes an expectation; a packet whose announcement cannot be noted must not pass.
fn announce<S: Store>(
    ct: &Tracker<S>,
    pkt: &mut Packet<'_, '_, S>,
    what: Expectation,
    policy: Policy,
    helper: &'static str,
) -> Verdict {
    let now = pkt.now();
    let noted = pkt.conn().map(|c| ct.expect(c, what, policy, now));
    if matches!(noted, Some(Err(_))) {
        refuse(pkt, helper, "cannot add expectation");
        return Verdict::Drop;
    }
    Verdict::Accept
}

fn refuse<S: Store>(pkt: &mut Packet<'_, '_, S>, helper: &'static str, why: &'static str) {
    pkt.explain(What::Helper(helper, why));
}

/// Decimal number at the start of `text` (`simple_strtoul`) and its length; too large ones wrap around.
fn number(text: &[u8]) -> (u64, usize) {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0u64, |n, d| {
        n.wrapping_mul(10).wrapping_add(u64::from(d - b'0'))
    });
    (value, digits)
}

/// Where `needle` begins.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}
