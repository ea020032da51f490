//! Connection tracking as Linux does it.
//!
//! A [`Tracker`] follows connections through the packets it is shown, as `nf_conntrack` of Linux 6.18 does: the same entries, states, timeouts
//! and verdicts. Two calls make the life of a packet, [`Tracker::track`] where it comes in and [`Tracker::confirm`] where it leaves; a
//! [`hooks::Pipeline`] makes them at the right places among the application's own hooks.

pub mod checksum;
pub mod clock;
pub mod conn;
pub mod defrag;
pub mod expect;
pub mod hash;
pub mod helper;
pub mod hooks;
pub mod input;
pub mod nat;
pub mod net;
pub mod packet;
mod parse;
pub mod policy;
pub mod proc_fs;
mod proto;
pub mod reason;
pub mod slot;
pub mod snapshot;
pub mod stats;
pub mod status;
pub mod store;
pub mod sysctl;
pub mod tracker;
pub mod tuple;
pub mod zone;

pub use clock::Nanos;
pub use conn::Conn;
pub use hooks::{Layout, Pipeline};
pub use packet::{Hook, Packet, SkbNfct, Verdict};
pub use policy::{Template, TimeoutPolicy};
pub use snapshot::{ProtoInfo, Snapshot};
pub use status::{CtInfo, PacketState};
pub use store::{LockedStore, NullsStore, Store};
pub use tracker::{Config, Tracker};
pub use tuple::{Direction, Family, Tuple};
pub use zone::{Key, Link, NetId, Zone};
