//! What rules attach before tracking: zones, timeout policies and helpers, bundled in a template.

use crate::sysctl::{Sysctl, SysctlError, Sysctls};
use crate::zone::Zone;
use std::sync::Arc;

/// Timeouts that replace the namespace's for connections made under it (`nfct timeout`, `ct timeout`).
#[derive(Clone, Debug, Default)]
pub struct TimeoutPolicy(Vec<(Sysctl, u32)>);

impl TimeoutPolicy {
    /// A policy that changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one timeout, in seconds, by the knob that it overrides (`nf_conntrack_tcp_timeout_established`, …).
    ///
    /// # Errors
    /// [`SysctlError::Unknown`] when there is no such knob.
    pub fn set(&mut self, name: &str, secs: u32) -> Result<(), SysctlError> {
        let s = Sysctls::by_name(name).ok_or_else(|| SysctlError::Unknown(name.to_owned()))?;
        self.0.retain(|(k, _)| *k != s);
        self.0.push((s, secs));
        Ok(())
    }

    /// The timeout, if this policy says something about it.
    #[must_use]
    pub fn get(&self, s: Sysctl) -> Option<u32> {
        self.0.iter().find(|(k, _)| *k == s).map(|(_, v)| *v)
    }
}

/// What a packet carries into the tracker for the connection that it may start (the kernel's template entries).
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The zone in which to look and to create.
    pub zone: Zone,
    /// Timeouts of the new connection.
    pub timeouts: Option<Arc<TimeoutPolicy>>,
    /// Helper of the new connection.
    pub helper: Option<Arc<str>>,
}
