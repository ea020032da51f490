//! Protocol trackers.

use crate::snapshot::ProtoInfo;

/// A connection's protocol state, behind the entry's lock.
#[derive(Debug, Default)]
pub(crate) enum Proto {
    /// Nothing to remember.
    #[default]
    None,
}

impl Proto {
    pub(crate) fn info(&self) -> ProtoInfo {
        ProtoInfo::None
    }
}
