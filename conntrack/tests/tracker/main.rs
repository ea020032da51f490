//! The tracker as its users see it: packets in, states and table out.

mod clash;
mod control;
mod events;
mod ext;
mod hooks;
mod icmp;
mod invariants;
mod malformed;
mod nat;
mod ovs;
mod parse;
mod proc;
mod sctp;
mod stories;
mod support;
mod table;
mod tcp;
mod tcp_stories;
mod threads;
mod torture;
mod udp;
