//! Connection tracking as Linux does it.
//!
//! A [`Tracker`] follows connections through the packets it is shown, as `nf_conntrack` of Linux 6.18 does: the same entries, states, timeouts
//! and verdicts. Two calls make the life of a packet, [`Tracker::track`] where it comes in and [`Tracker::confirm`] where it leaves; a
//! [`hooks::Pipeline`] makes them at the right places among the application's own hooks.
//!
//! ```
//! use nulls_conntrack::{Config, Family, Layout, NullsStore, Packet, PacketState, Pipeline, Tracker, Verdict};
//! // Up to 100 000 connections in a table that begins with 1024 buckets.
//! let ct = Tracker::new(NullsStore::<()>::new(100_000, 1024)?, Config::default());
//! let pipeline = Pipeline::new(Layout::Linux618);
//!
//! // A datagram from 10.0.0.1 port 9 to 10.0.0.2 port 53, without a checksum, a second after the epoch.
//! let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! packet.extend([0, 9, 0, 53, 0, 8, 0, 0]);
//! let now = 1_000_000_000;
//! let mut packet = Packet::new(&packet, Family::Ipv4, now);
//! assert_eq!(pipeline.forward(&ct, &mut packet), Verdict::Accept);
//! assert_eq!(packet.state(), PacketState::New);
//! drop(packet);
//! assert_eq!(
//!     ct.proc_net_nf_conntrack(now),
//!     "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=9 dport=53 [UNREPLIED] \
//!      src=10.0.0.2 dst=10.0.0.1 sport=53 dport=9 mark=0 zone=0 use=2\n"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! * Where entries live is a [`Store`]'s business: [`NullsStore`] is the lock-free default. Who knows how many connections to expect should
//!   [say so](NullsStore::with_capacity): no packet waits for memory then, and memory is in huge pages.
//! * Time comes with the packets ([`clock`]); [`Tracker::gc`] is called by the application, or by a [`tracker::GcWorker`].
//! * Each entry has a slot for data of the application ([`Conn::user`]), which can be shown in dumps ([`Tracker::set_formatter`]).
//! * Settings have their kernel names ([`Tracker::set_sysctl`]), and so do statistics ([`stats`]) and reasons ([`reason`]).

pub mod checksum;
pub mod clock;
pub mod conn;
pub mod ctnetlink;
pub mod defrag;
pub mod event_queue;
pub mod events;
pub mod expect;
pub mod ext;
pub mod filter;
pub mod format;
pub mod hash;
pub mod helper;
pub mod hooks;
pub mod input;
pub mod l3proto;
pub mod nat;
pub mod net;
pub mod ovs;
pub mod packet;
mod parse;
pub mod policy;
pub mod proc_fs;
mod proto;
pub mod reason;
pub mod seqadj;
pub mod slot;
pub mod snapshot;
pub mod stats;
pub mod status;
pub mod store;
mod sync;
pub mod sysctl;
pub mod tracker;
pub mod tuple;
pub mod zone;

pub use clock::Nanos;
pub use conn::Conn;
pub use event_queue::{EventQueue, EventReader};
pub use filter::Filter;
pub use hooks::{Layout, Pipeline};
pub use packet::{Hook, Packet, SkbNfct, Verdict};
pub use policy::{Template, TimeoutPolicy};
pub use snapshot::{ProtoInfo, Snapshot};
pub use status::{CtInfo, PacketState};
pub use store::{LockedStore, NullsStore, Store};
pub use tracker::{Config, Tracker};
pub use tuple::{Direction, Family, Tuple};
pub use zone::{Key, Link, NetId, Zone};
