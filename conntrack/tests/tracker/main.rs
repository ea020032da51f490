//! The tracker as its users see it: packets in, states and table out.

mod clash;
mod control;
mod events;
mod hooks;
mod icmp;
mod malformed;
mod nat;
mod parse;
mod proc;
mod sctp;
mod stories;
mod support;
mod table;
mod tcp;
mod tcp_stories;
mod threads;
mod udp;
