//! What the recorder's router does with a packet between the hooks: deliver it, forward it, or drop it.
//!
//! Two interfaces, one per side; a packet for an address of the router is delivered, anything else goes out of the other
//! side. Only the checks that end a packet's way matter here (`net/ipv4/route.c`, `net/ipv4/ip_forward.c`,
//! `net/ipv6/ip6_output.c`): a first packet that does not get through leaves no entry in the table. Packets are never
//! larger than the interfaces' 1500 bytes except after reassembly, when they leave in fragments again, so the size needs
//! no check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::case::Side;

/// Where a packet goes after the first hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// To the router itself.
    Local,
    /// Out of the other side.
    Forward,
    /// Through all hooks, but then there is no neighbour to send it to.
    Unreachable,
    /// Nowhere.
    Drop,
}

const LOCAL_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1)];
const BROADCAST_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 0, 2, 255),
    Ipv4Addr::new(198, 51, 100, 255),
];

/// Global addresses, addresses made of the interfaces' link-layer addresses, and the subnets' router anycast addresses.
const LOCAL_V6: [Ipv6Addr; 7] = [
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x101),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x201),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
];

/// The router's IPv4 address on a side.
pub(crate) fn address(side: Side) -> Ipv4Addr {
    match side {
        Side::Client => LOCAL_V4[0],
        Side::Server => LOCAL_V4[1],
    }
}

/// Routes a packet with source `src`, destination `dst` and remaining hops `ttl`.
pub(crate) fn route(src: IpAddr, dst: IpAddr, ttl: u8, from: Side) -> Fate {
    let fate = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => route_v4(src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => route_v6(src, dst, from),
        _ => Fate::Drop,
    };
    if fate == Fate::Forward && ttl <= 1 {
        Fate::Drop
    } else {
        fate
    }
}

fn route_v4(src: Ipv4Addr, dst: Ipv4Addr) -> Fate {
    let any = Ipv4Addr::UNSPECIFIED;
    // A source that is no unicast address, or one of ours, is a martian.
    let martian =
        src.is_multicast() || src.is_broadcast() || src.is_loopback() || LOCAL_V4.contains(&src);
    if martian || BROADCAST_V4.contains(&src) {
        return Fate::Drop;
    }
    if dst.is_multicast() {
        // Only the group of all systems is joined.
        return if dst == Ipv4Addr::new(224, 0, 0, 1) {
            Fate::Local
        } else {
            Fate::Drop
        };
    }
    if dst.is_broadcast() || (src == any && dst == any) {
        return Fate::Local;
    }
    if src.octets()[0] == 0 || dst.octets()[0] == 0 || dst.is_loopback() {
        return Fate::Drop;
    }
    if LOCAL_V4.contains(&dst) || BROADCAST_V4.contains(&dst) {
        Fate::Local
    } else {
        Fate::Forward
    }
}

fn route_v6(src: Ipv6Addr, dst: Ipv6Addr, from: Side) -> Fate {
    if dst.is_multicast() {
        return if joined(dst) { Fate::Local } else { Fate::Drop };
    }
    // Link-local addresses belong to one interface.
    let elsewhere = match from {
        Side::Client => LOCAL_V6[5],
        Side::Server => LOCAL_V6[4],
    };
    if LOCAL_V6.contains(&dst) && dst != elsewhere {
        return Fate::Local;
    }
    // A link-local destination is looked for on the link the packet came from, whoever sent it.
    if dst.is_unicast_link_local() {
        return Fate::Unreachable;
    }
    // Nothing is forwarded on behalf of a source that has no meaning beyond its link.
    let narrow = src.is_unspecified()
        || src.is_multicast()
        || src.is_loopback()
        || src.is_unicast_link_local();
    if narrow { Fate::Drop } else { Fate::Forward }
}

/// Groups a router listens to whose interfaces came up as a router's: all nodes and all routers of the link, and the solicited-node groups of its addresses.
fn joined(group: Ipv6Addr) -> bool {
    let s = group.segments();
    let few = |scopes: &[u16], id: u16| scopes.contains(&s[0]) && s[1..7] == [0; 6] && s[7] == id;
    let solicited = |a: &Ipv6Addr| {
        let a = a.segments();
        s == [0xff02, 0, 0, 0, 0, 1, 0xff00 | (a[6] & 0xff), a[7]]
    };
    few(&[0xff02], 1) || few(&[0xff02], 2) || LOCAL_V6.iter().any(solicited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(src: &str, dst: &str, ttl: u8, want: Fate) {
        assert_eq!(
            route(
                src.parse().unwrap(),
                dst.parse().unwrap(),
                ttl,
                Side::Client
            ),
            want,
            "{src} > {dst} ttl {ttl}"
        );
    }

    #[test]
    fn forwards_between_the_sides_while_hops_remain() {
        check("192.0.2.10", "198.51.100.20", 64, Fate::Forward);
        check("192.0.2.10", "198.51.100.20", 1, Fate::Drop);
        check("2001:db8:1::10", "2001:db8:2::20", 2, Fate::Forward);
        check("2001:db8:1::10", "2001:db8:2::20", 1, Fate::Drop);
    }

    #[test]
    fn delivers_to_its_own_addresses_whatever_the_ttl() {
        check("192.0.2.10", "192.0.2.1", 1, Fate::Local);
        check("192.0.2.10", "192.0.2.255", 64, Fate::Local);
        check("0.0.0.0", "255.255.255.255", 64, Fate::Local);
        check("2001:db8:1::10", "2001:db8:1::1", 1, Fate::Local);
        check("fe80::99", "ff02::1:ff00:1", 255, Fate::Local);
    }

    #[test]
    fn drops_martians_and_groups_it_has_not_joined() {
        check("198.51.100.1", "192.0.2.10", 64, Fate::Drop);
        check("127.0.0.1", "198.51.100.20", 64, Fate::Drop);
        check("192.0.2.10", "127.0.0.1", 64, Fate::Drop);
        check("224.0.0.5", "198.51.100.20", 64, Fate::Drop);
        check("192.0.2.10", "224.0.0.251", 64, Fate::Drop);
        check("fe80::10", "2001:db8:2::20", 64, Fate::Drop);
        check("::", "2001:db8:2::20", 64, Fate::Drop);
        check("fe80::10", "fe80::20", 64, Fate::Unreachable);
        check("2001:db8:1::10", "ff02::16", 64, Fate::Drop);
        check("2001:db8:1::10", "ff05::2", 64, Fate::Drop);
        check("fe80::10", "fe80::ff:fe00:101", 64, Fate::Local);
        check("fe80::10", "fe80::ff:fe00:201", 64, Fate::Unreachable);
    }
}
