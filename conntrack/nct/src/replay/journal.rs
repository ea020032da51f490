//! What happens to connections and expectations, written down as it is told.

use std::sync::{Arc, Mutex, PoisonError};

use nulls_conntrack::events::{Event, ExpectEvent, Kind, Listener, mask};
use nulls_conntrack::{ProtoInfo, Snapshot};
use serde::Serialize;

use super::table::Numbers;
use super::trace::Master;

/// An event as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Told {
    Connection(Connection),
    Expectation { ev: &'static str, tuple: Master },
}

/// An event of a connection.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Connection {
    ev: &'static str,
    c: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u32>,
    status: u32,
    #[serde(skip_serializing_if = "is_zero")]
    mark: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<[u64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<[u64; 2]>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Listens and remembers.
#[derive(Debug)]
pub(crate) struct Journal {
    numbers: Arc<Numbers>,
    told: Mutex<Vec<Told>>,
}

impl Journal {
    /// Nothing heard yet. Connections get their numbers here, when they are first told of.
    pub(crate) fn new(numbers: Arc<Numbers>) -> Self {
        Self {
            numbers,
            told: Mutex::default(),
        }
    }

    /// What was told since the last call.
    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, told: Told) {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(told);
    }
}

impl Listener<u32> for Journal {
    fn connection(&self, e: &Event<'_, u32>) -> bool {
        let s = Snapshot::of(e.conn, 0, e.now);
        let kind = e.kind();
        let gone = kind == Kind::Destroy;
        let state = match s.proto {
            ProtoInfo::Tcp { state, .. } | ProtoInfo::Sctp { state, .. } => Some(state),
            ProtoInfo::Gre { .. } | ProtoInfo::None => None,
        };
        let counters = s.counters.filter(|_| gone);
        self.add(Told::Connection(Connection {
            ev: match kind {
                Kind::New => "new",
                Kind::Update => "update",
                Kind::Destroy => "destroy",
            },
            c: self.numbers.of(e.conn),
            state: state.filter(|_| gone || e.mask & mask::PROTOINFO != 0),
            timeout: Some(s.timeout).filter(|t| !gone || *t != 0),
            status: s.status,
            mark: s.mark,
            packets: counters.map(|c| c.map(|d| d.0)),
            bytes: counters.map(|c| c.map(|d| d.1)),
        }));
        true
    }

    fn expectation(&self, e: &ExpectEvent) {
        self.add(Told::Expectation {
            ev: match e.kind {
                Kind::New => "exp_new",
                Kind::Update => "exp_update",
                Kind::Destroy => "exp_destroy",
            },
            tuple: Master::expected(&e.expected.what),
        });
    }
}
