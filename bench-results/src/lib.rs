//! The comparison harness: the same work for every map, measured the same way.
//!
//! [`contender`] has the maps behind one interface, [`workload`] the keys and what must come out, [`measure`] one
//! measurement in one process. The binary's subcommands put them together; the criterion benches and the instruction
//! counts use the same three.

pub mod contender;
pub mod environment;
pub mod key;
pub mod measure;
pub mod work;
pub mod workload;
