//! Hook points with priorities (netfilter's `nf_hook_entries`), and the two layouts of conntrack's own hooks.

use crate::packet::{Hook, Packet, Verdict};
use crate::store::Store;
use crate::tracker::Tracker;
use crate::tuple::Family;
use std::fmt;

/// Well-known priorities; hooks of one point run from low to high.
pub mod prio {
    /// Before everything.
    pub const FIRST: i32 = i32::MIN;
    /// Raw tables that want to see fragments.
    pub const RAW_BEFORE_DEFRAG: i32 = -450;
    /// Reassembly.
    pub const CONNTRACK_DEFRAG: i32 = -400;
    /// Raw tables: notrack, zones, templates.
    pub const RAW: i32 = -300;
    /// Tracking.
    pub const CONNTRACK: i32 = -200;
    /// Mangling.
    pub const MANGLE: i32 = -150;
    /// Destination translation.
    pub const NAT_DST: i32 = -100;
    /// Filters.
    pub const FILTER: i32 = 0;
    /// Security markings.
    pub const SECURITY: i32 = 50;
    /// Source translation.
    pub const NAT_SRC: i32 = 100;
    /// Helpers, where they have a hook of their own (4.11).
    pub const CONNTRACK_HELPER: i32 = 300;
    /// Confirmation.
    pub const CONNTRACK_CONFIRM: i32 = i32::MAX;
    /// After everything.
    pub const LAST: i32 = i32::MAX;
}

/// Which of conntrack's own hooks are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Linux 6.18: in, local, and two confirms which also run helpers.
    Linux618,
    /// Linux 4.11: six, helpers separately at +300.
    Linux411,
}

/// What somebody needs tracking for (`NFPROTO_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Both.
    Inet,
    /// A bridge: whatever it carries.
    Bridge,
}

impl HookFamily {
    /// The address families that this means.
    #[must_use]
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::Ipv4 => &[Family::Ipv4],
            Self::Ipv6 => &[Family::Ipv6],
            Self::Inet | Self::Bridge => &[Family::Ipv4, Family::Ipv6],
        }
    }
}

/// Something that looks at packets at a hook point.
pub trait HookFn<S: Store>: Send + Sync {
    /// Called for each packet that gets here.
    fn call<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict;
}

impl<S: Store, F> HookFn<S> for F
where
    F: for<'d, 't> Fn(&'t Tracker<S>, &mut Packet<'d, 't, S>, Hook) -> Verdict + Send + Sync,
{
    fn call<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        self(ct, pkt, hook)
    }
}

/// Conntrack's own hook functions.
enum Own {
    Track,
    Help,
    Confirm,
    HelpAndConfirm,
}

impl<S: Store> HookFn<S> for Own {
    fn call<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        if !ct.is_enabled(pkt.family()) {
            return Verdict::Accept;
        }
        match self {
            Self::Track => ct.track(pkt, hook),
            Self::Help => ct.help(pkt, hook),
            Self::Confirm => ct.confirm(pkt, hook),
            Self::HelpAndConfirm => match ct.help(pkt, hook) {
                Verdict::Accept => ct.confirm(pkt, hook),
                other => other,
            },
        }
    }
}

struct Entry<S: Store> {
    priority: i32,
    name: String,
    family: Option<Family>,
    hook: Box<dyn HookFn<S>>,
}

/// Hook functions of five points, ordered by priority, equal priorities in order of registration.
pub struct Pipeline<S: Store> {
    points: [Vec<Entry<S>>; 5],
}

impl<S: Store> Pipeline<S> {
    /// No hooks at all.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            points: Default::default(),
        }
    }

    /// Conntrack's own hooks for both families.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let mut p = Self::empty();
        let mut own = |hook, priority, name, f: Own| {
            p.register_boxed(hook, priority, name, None, Box::new(f))
        };
        own(
            Hook::PreRouting,
            prio::CONNTRACK,
            "conntrack_in",
            Own::Track,
        );
        own(
            Hook::LocalOut,
            prio::CONNTRACK,
            "conntrack_local",
            Own::Track,
        );
        for hook in [Hook::PostRouting, Hook::LocalIn] {
            match layout {
                Layout::Linux618 => own(
                    hook,
                    prio::CONNTRACK_CONFIRM,
                    "confirm",
                    Own::HelpAndConfirm,
                ),
                Layout::Linux411 => {
                    own(hook, prio::CONNTRACK_HELPER, "helper", Own::Help);
                    own(hook, prio::CONNTRACK_CONFIRM, "confirm", Own::Confirm);
                }
            }
        }
        p
    }

    /// Hangs a function at `hook`, for both families.
    pub fn register<F>(&mut self, hook: Hook, priority: i32, name: &str, f: F)
    where
        F: for<'d, 't> Fn(&'t Tracker<S>, &mut Packet<'d, 't, S>, Hook) -> Verdict
            + Send
            + Sync
            + 'static,
    {
        self.register_boxed(hook, priority, name, None, Box::new(f));
    }

    /// Hangs a [`HookFn`] at `hook`, for one family or both.
    pub fn register_boxed(
        &mut self,
        hook: Hook,
        priority: i32,
        name: &str,
        family: Option<Family>,
        f: Box<dyn HookFn<S>>,
    ) {
        let v = &mut self.points[hook as usize];
        let at = v.partition_point(|e| e.priority <= priority);
        v.insert(
            at,
            Entry {
                priority,
                name: name.to_owned(),
                family,
                hook: f,
            },
        );
    }

    /// Takes the functions of that name from `hook`; returns how many there were.
    pub fn unregister(&mut self, hook: Hook, name: &str) -> usize {
        let v = &mut self.points[hook as usize];
        let before = v.len();
        v.retain(|e| e.name != name);
        before - v.len()
    }

    /// Names and priorities of the hooks at `hook`, in order.
    #[must_use]
    pub fn list(&self, hook: Hook) -> Vec<(i32, &str)> {
        self.points[hook as usize]
            .iter()
            .map(|e| (e.priority, e.name.as_str()))
            .collect()
    }

    /// Shows a packet to the hooks of one point (`nf_hook_slow`). `Accept` when all of them accepted, else the verdict of the one that did not.
    pub fn run<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hook: Hook) -> Verdict {
        for e in &self.points[hook as usize] {
            if e.family.is_some_and(|f| f != pkt.family()) {
                continue;
            }
            loop {
                match e.hook.call(ct, pkt, hook) {
                    Verdict::Accept => break,
                    Verdict::Repeat => {}
                    Verdict::Stop => return Verdict::Accept,
                    v => return v,
                }
            }
        }
        Verdict::Accept
    }

    /// A forwarded packet's way: PRE_ROUTING, FORWARD, POST_ROUTING.
    pub fn forward<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>) -> Verdict {
        self.way(
            ct,
            pkt,
            &[Hook::PreRouting, Hook::Forward, Hook::PostRouting],
        )
    }

    /// The way of a packet for this host: PRE_ROUTING, LOCAL_IN.
    pub fn local_in<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>) -> Verdict {
        self.way(ct, pkt, &[Hook::PreRouting, Hook::LocalIn])
    }

    /// The way of a packet that this host makes: LOCAL_OUT, POST_ROUTING.
    pub fn local_out<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>) -> Verdict {
        self.way(ct, pkt, &[Hook::LocalOut, Hook::PostRouting])
    }

    fn way<'t>(&self, ct: &'t Tracker<S>, pkt: &mut Packet<'_, 't, S>, hooks: &[Hook]) -> Verdict {
        hooks
            .iter()
            .map(|&h| self.run(ct, pkt, h))
            .find(|&v| v != Verdict::Accept)
            .unwrap_or(Verdict::Accept)
    }
}

impl<S: Store> fmt::Debug for Pipeline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(Hook::ALL.iter().map(|&h| (h, self.list(h))))
            .finish()
    }
}
