//! A kernel to compare with: a router namespace `R` between two veth pairs whose other ends are in a namespace `E` without addresses.
//!
//! Whatever comes in on one side leaves by the other; on the way rules write the packet's connection state into the DSCP field, where the
//! other end reads it. The table is `/proc/net/nf_conntrack` of the router.

use std::fs;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// States in the order of their numbers in the DSCP field; each has room for three directions.
pub(crate) const STATES: [&str; 5] = ["invalid", "new", "established", "related", "untracked"];

/// Seconds that fragments wait, and other things that must not end while packets are compared.
pub(crate) const LONG_TIME: u32 = 3000;

/// A side of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Client, Self::Server];

    fn index(self) -> usize {
        self as usize
    }

    fn router_device(self) -> &'static str {
        ["cl0", "sv0"][self.index()]
    }

    fn end_device(self) -> &'static str {
        ["cl1", "sv1"][self.index()]
    }

    fn mac(self, end: bool) -> [u8; 6] {
        [2, 0, 0, 0, 1 + self as u8, 1 + u8::from(end)]
    }
}

/// Any protocol, and the one of frames that only prove that all before them have been handled.
const ETH_P_ALL: u16 = 3;
const SENTINEL: u16 = 0x88b5;

/// The two namespaces; deleted when dropped.
#[derive(Debug)]
struct Namespaces {
    router: String,
    ends: String,
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in [&self.router, &self.ends] {
            let _ = run("ip", &["netns", "del", name], "");
        }
    }
}

/// A router in a kernel. Belongs to the thread that made it, which is in the router's namespace from then on.
#[derive(Debug)]
pub(crate) struct Kernel {
    ends: [Socket; 2],
    sentinels: [Socket; 2],
    _namespaces: Namespaces,
}

/// Runs a program; its error text when it fails.
fn run(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    let place = |e: io::Error| format!("{program}: {e}");
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(place)?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).map_err(place)?;
    }
    let output = child.wait_with_output().map_err(place)?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {}: {}", args.join(" "), text.trim()))
    }
}

fn enter(namespace: &str) -> Result<(), String> {
    let path = format!("/var/run/netns/{namespace}");
    let file = fs::File::open(&path).map_err(|e| format!("{path}: {e}"))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| format!("setns: {e}"))
}

/// A packet socket on a device of the thread's namespace.
fn packet_socket(device: &str, protocol: u16) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(protocol.to_be()))),
    )?;
    let index = nix::net::if_::if_nametoindex(device)?;
    // SAFETY: `sockaddr_ll` is plain numbers, for which all zeros is a value; it fits in the storage that `try_init` hands out, and the length told is
    // its own.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, len| {
            let mut a: libc::sockaddr_ll = std::mem::zeroed();
            a.sll_family = libc::AF_PACKET as u16;
            a.sll_protocol = protocol.to_be();
            a.sll_ifindex = index as i32;
            storage.cast::<libc::sockaddr_ll>().write(a);
            *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    Ok(socket)
}

fn hex(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Rules that write state and direction into the DSCP field; the router's own packets go nowhere.
fn ruleset() -> String {
    let mut rules = String::new();
    for (n, state) in STATES.iter().enumerate() {
        for (dir, test) in ["", "ct direction original", "ct direction reply"]
            .iter()
            .enumerate()
        {
            // Without an entry there is no direction, and with one there is.
            if matches!(*state, "invalid" | "untracked") != (dir == 0) {
                continue;
            }
            let code = 1 + 3 * n + dir;
            for (family, header) in [("ipv4", "ip"), ("ipv6", "ip6")] {
                rules += &format!(
                    "meta nfproto {family} ct state {state} {test} {header} dscp set {code};\n"
                );
            }
        }
    }
    format!(
        "table inet live {{\n chain f {{ type filter hook forward priority 0;\n{rules}}}\n \
         chain o {{ type filter hook output priority -500; drop;\n}}\n}}\n"
    )
}

impl Kernel {
    /// Makes the namespaces, and takes the thread into the router's. `Err`: why it cannot be.
    pub(crate) fn new(tag: &str) -> Result<Self, String> {
        let namespaces = Namespaces {
            router: format!("nct{}{tag}r", std::process::id()),
            ends: format!("nct{}{tag}e", std::process::id()),
        };
        for name in [&namespaces.router, &namespaces.ends] {
            run("ip", &["netns", "add", name], "")?;
        }
        enter(&namespaces.ends)?;
        for which in ["all", "default"] {
            sysctl(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1")?;
        }
        enter(&namespaces.router)?;
        for (name, value) in [
            ("net/ipv4/conf/all/forwarding", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            ("net/ipv4/ipfrag_time", &LONG_TIME.to_string()),
        ] {
            sysctl(name, value)?;
        }
        let (mut v4, mut v6) = (String::from("link set lo up\n"), String::new());
        for (side, a4, a6) in [
            (Side::Client, "192.0.2", "2001:db8:1"),
            (Side::Server, "198.51.100", "2001:db8:2"),
        ] {
            let (r, e) = (side.router_device(), side.end_device());
            v4 += &format!(
                "link add {r} address {} type veth peer name {e} address {} netns {}\nlink set {r} up\naddr add {a4}.1/24 dev {r}\n",
                hex(side.mac(false)),
                hex(side.mac(true)),
                namespaces.ends
            );
            v6 += &format!("addr add {a6}::1/64 dev {r} nodad\n");
        }
        for (side, other, table, a4, a6) in [
            (
                Side::Client,
                Side::Server,
                101,
                "192.0.2.254",
                "2001:db8:1::fe",
            ),
            (
                Side::Server,
                Side::Client,
                102,
                "198.51.100.254",
                "2001:db8:2::fe",
            ),
        ] {
            let (dev, from, mac) = (
                side.router_device(),
                other.router_device(),
                hex(side.mac(true)),
            );
            for (text, gateway) in [(&mut v4, a4), (&mut v6, a6)] {
                *text += &format!(
                    "neigh add {gateway} lladdr {mac} dev {dev} nud permanent\nroute add default via {gateway} dev {dev} table {table}\n\
                     rule add pref 100 iif {from} lookup {table}\n"
                );
            }
        }
        run("ip", &["-batch", "-"], &v4)?;
        run("ip", &["-6", "-batch", "-"], &v6)?;
        for side in Side::BOTH {
            run(
                "ip",
                &[
                    "-n",
                    &namespaces.ends,
                    "link",
                    "set",
                    side.end_device(),
                    "up",
                    "arp",
                    "off",
                ],
                "",
            )?;
            sysctl(
                &format!("net/ipv4/conf/{}/rp_filter", side.router_device()),
                "0",
            )?;
        }
        run("nft", &["-f", "-"], &ruleset())?;
        sysctl("net/netfilter/nf_conntrack_acct", "1")?;
        fs::read_to_string(TABLE).map_err(|e| format!("{TABLE}: {e}"))?;

        let socket = |device: &str, protocol| {
            packet_socket(device, protocol).map_err(|e| format!("packet socket on {device}: {e}"))
        };
        let sentinels = [socket("cl0", SENTINEL)?, socket("sv0", SENTINEL)?];
        enter(&namespaces.ends)?;
        let ends = [socket("cl1", ETH_P_ALL)?, socket("sv1", ETH_P_ALL)?];
        enter(&namespaces.router)?;
        for s in &sentinels {
            s.set_read_timeout(Some(Duration::from_secs(60)))
                .map_err(|e| e.to_string())?;
        }
        for s in &ends {
            s.set_nonblocking(true).map_err(|e| e.to_string())?;
        }
        Ok(Self {
            ends,
            sentinels,
            _namespaces: namespaces,
        })
    }

    /// Empties the table.
    pub(crate) fn flush(&self) {
        run("conntrack", &["-F"], "").expect("conntrack -F");
    }

    /// Sets `net.netfilter.` + `name`.
    pub(crate) fn set(&self, name: &str, value: u32) {
        sysctl(&format!("net/netfilter/{name}"), &value.to_string()).expect("a setting");
    }

    /// Sends a packet in, and waits until it has been handled. The number that the rules wrote into what came out, if anything did.
    pub(crate) fn send(&self, side: Side, packet: &[u8]) -> Option<u8> {
        let end = &self.ends[side.index()];
        let ethertype: [u8; 2] = if packet[0] >> 4 == 6 {
            [0x86, 0xdd]
        } else {
            [8, 0]
        };
        let frame = |ethertype: [u8; 2], data: &[u8]| {
            [&side.mac(false)[..], &side.mac(true), &ethertype, data].concat()
        };
        end.send(&frame(ethertype, packet))
            .expect("the frame is sent");
        // The first proves that the router has handled everything before, the second that it has handed on what it sent.
        for _ in 0..2 {
            end.send(&frame(SENTINEL.to_be_bytes(), &[0; 46]))
                .expect("the sentinel is sent");
            (&self.sentinels[side.index()])
                .read_exact(&mut [0; 60])
                .expect("the sentinel arrives");
        }
        let mut code = None;
        for end in &self.ends {
            let mut buffer = [MaybeUninit::uninit(); 2048];
            while let Ok(n) = end.recv(&mut buffer) {
                // SAFETY: the first `n` bytes were written by `recv`.
                let frame: Vec<u8> = buffer[..n]
                    .iter()
                    .map(|b| unsafe { b.assume_init() })
                    .collect();
                // Its own frames are seen too: those have the end's address as their source.
                if frame.len() >= 34 && frame[11] == 1 && frame[12..14] != SENTINEL.to_be_bytes() {
                    let class = if frame[14] >> 4 == 6 {
                        frame[14] << 4 | frame[15] >> 4
                    } else {
                        frame[15]
                    };
                    code = Some(class >> 2);
                }
            }
        }
        code
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        fs::read_to_string(TABLE).expect("the table")
    }
}

/// Of this thread, so of the namespace it is in.
const TABLE: &str = "/proc/thread-self/net/nf_conntrack";

fn sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).map_err(|e| format!("{path}: {e}"))
}
