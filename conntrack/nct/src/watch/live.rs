//! Frames from a network interface (AF_PACKET).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::capture::frame::link;

/// Kind of a frame that this host sends (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;
/// Hardware types (`ARPHRD_*`).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// Longest frame: offloads hand over what a wire would carry in many.
const LONGEST: usize = 1 << 18;
/// Room in the kernel for frames that wait.
const BUFFER: usize = 8 << 20;

/// A frame that was seen.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// Its bytes in [`Interface::data`].
    pub(crate) len: usize,
    /// Its length on the wire.
    pub(crate) wire_len: u32,
}

/// An interface whose frames are seen, those that come in and those that go out.
pub(crate) struct Interface {
    fd: OwnedFd,
    link: u16,
    loopback: bool,
    buffer: Vec<u8>,
}

impl Interface {
    /// Opens `name`. Needs the right to (`CAP_NET_RAW`).
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let place = |e: nix::Error| match e {
            nix::Error::EPERM | nix::Error::EACCES => {
                format!(
                    "{name}: not allowed; this needs root, or the capability CAP_NET_RAW (try sudo)"
                )
            }
            e => format!("{name}: {e}"),
        };
        let address = link_address(name)?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .map_err(place)?;
        // The address has no protocol in it: that of the socket stays.
        bind(fd.as_raw_fd(), &address).map_err(place)?;
        setsockopt(&fd, sockopt::ReceiveTimestampns, &true).map_err(place)?;
        // More than the system's limit is for root only, and only a wish.
        if setsockopt(&fd, sockopt::RcvBufForce, &BUFFER).is_err() {
            let _ = setsockopt(&fd, sockopt::RcvBuf, &BUFFER);
        }
        let link = match address.hatype() {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => link::ETHERNET,
            _ => link::RAW,
        };
        Ok(Self {
            fd,
            link,
            loopback: address.hatype() == ARPHRD_LOOPBACK,
            buffer: vec![0; LONGEST],
        })
    }

    /// The link type of its frames.
    pub(crate) fn link(&self) -> u16 {
        self.link
    }

    /// The bytes of a frame just received.
    pub(crate) fn data(&self, f: &Frame) -> &[u8] {
        &self.buffer[..f.len]
    }

    /// The next frame, or nothing after `wait`.
    pub(crate) fn next(&mut self, wait: Duration) -> io::Result<Option<Frame>> {
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], wait) {
            Ok(0) | Err(nix::Error::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let got =
            match recvmsg::<LinkAddr>(self.fd.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(got) => got,
                // The interface went down and may come back.
                Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => {
                    return Ok(None);
                }
                Err(e) => return Err(e.into()),
            };
        // What this host sends to itself is seen twice on the loopback interface.
        if self.loopback && got.address.is_some_and(|a| a.pkttype() == OUTGOING) {
            return Ok(None);
        }
        let stamp = got.cmsgs()?.find_map(|c| match c {
            ControlMessageOwned::ScmTimestampns(t) => {
                Some(t.tv_sec().saturating_mul(1_000_000_000) + t.tv_nsec())
            }
            _ => None,
        });
        let whole = got.bytes;
        Ok(Some(Frame {
            time: stamp.unwrap_or_else(wall_clock),
            len: whole.min(LONGEST),
            wire_len: u32::try_from(whole).unwrap_or(u32::MAX),
        }))
    }
}

/// Nanoseconds since 1970.
pub(crate) fn wall_clock() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// The address of the link layer, with the interface's number.
fn link_address(name: &str) -> Result<LinkAddr, String> {
    let all = getifaddrs().map_err(|e| format!("cannot list interfaces: {e}"))?;
    let mut others = Vec::new();
    for i in all {
        let Some(address) = i.address.as_ref().and_then(|a| a.as_link_addr()) else {
            continue;
        };
        if i.interface_name == name {
            return Ok(*address);
        }
        others.push(i.interface_name);
    }
    Err(format!(
        "there is no interface {name}; there are: {}",
        others.join(", ")
    ))
}
