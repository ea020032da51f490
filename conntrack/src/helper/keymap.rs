//! Which call id the other side of a PPTP call has (`nf_conntrack_proto_gre.c`).

use crate::tuple::{Tuple, ipproto};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The key map of one namespace: at most two tuples for each PPTP connection.
#[derive(Debug, Default)]
pub(crate) struct Keymap {
    /// Number of tuples, so that nobody takes the lock when there are none.
    count: AtomicUsize,
    /// Source keys, oldest first, by the tuple without one.
    calls: Mutex<HashMap<Tuple, Vec<u16>>>,
}

/// The tuple with another source key.
fn with_source(t: &Tuple, key: u16) -> Tuple {
    Tuple::new(t.src(), t.dst(), ipproto::GRE, key, t.dst_l4()).unwrap_or(*t)
}

impl Keymap {
    /// Are there any?
    pub(crate) fn any(&self) -> bool {
        // Relaxed: a packet that comes while a call is noted may or may not be known as the call's.
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Notes the source key of packets like this.
    pub(crate) fn add(&self, call: &Tuple) {
        let mut calls = self.calls.lock();
        let keys = calls.entry(with_source(call, 0)).or_default();
        keys.push(call.src_l4());
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The reverse.
    pub(crate) fn remove(&self, call: &Tuple) {
        let mut calls = self.calls.lock();
        let key = with_source(call, 0);
        let Some(keys) = calls.get_mut(&key) else {
            return;
        };
        if let Some(at) = keys.iter().position(|k| *k == call.src_l4()) {
            keys.remove(at);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if keys.is_empty() {
            calls.remove(&key);
        }
    }

    /// The whole tuple of a GRE packet. Packets without a call id have no source key either.
    #[cold]
    pub(crate) fn complete(&self, t: Tuple) -> Tuple {
        if !self.any() || t.dst_l4() == 0 {
            return t;
        }
        let calls = self.calls.lock();
        let key = calls.get(&t).and_then(|keys| keys.first());
        key.map_or(t, |key| with_source(&t, *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_counts_until_it_goes() {
        let map = Keymap::default();
        let call = |key, id| Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], ipproto::GRE, key, id);
        assert_eq!(map.complete(call(0, 7)), call(0, 7));
        map.add(&call(5, 7));
        map.add(&call(6, 7));
        assert_eq!(map.complete(call(0, 7)), call(5, 7));
        assert_eq!(map.complete(call(0, 8)), call(0, 8));
        map.remove(&call(5, 7));
        assert_eq!(map.complete(call(0, 7)), call(6, 7));
        map.remove(&call(5, 7));
        assert!(map.any());
        map.remove(&call(6, 7));
        assert!(!map.any());
        assert_eq!(map.complete(call(0, 7)), call(0, 7));
    }
}
