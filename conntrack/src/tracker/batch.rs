//! Tracking for those who poll: a burst of packets at once.
//!
//! First the tuples of all packets are formed and hashed, then all of them are looked up, so that their cache misses overlap, and then one packet after
//! the other is tracked as [`Tracker::track`] would, with the entry that was found. The result is the same as without batches: an entry that was not
//! found, or is being deleted, is looked up again, since an earlier packet of the burst may have changed that.

use super::Tracker;
use crate::packet::{Hook, Packet, SkbNfct, Verdict};
use crate::parse;
use crate::store::Store;
use crate::tuple::Direction;
use crate::zone::{Key, Link};

/// What was found for a packet before its turn.
pub(super) struct Hint<'h, 't, S: Store> {
    pub(super) link: &'h Link,
    /// As [`Tracker::found`] packs it.
    pub(super) found: SkbNfct<'t, S>,
}

/// Packets that are looked up together: more do not fit in a processor's buffers, and their entries must stay near until it is their turn.
const BURST: usize = 32;

impl<S: Store> Tracker<S> {
    /// Tracks packets in their order; `each` gets every one with its verdict when it was tracked and before the next one is, and is the place to
    /// confirm it or to run other hooks.
    ///
    /// ```
    /// # use nulls_conntrack::*;
    /// # let ct = Tracker::new(NullsStore::<()>::new(1000, 64)?, Config::default());
    /// # let bytes = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 99, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    /// let mut burst: Vec<_> = (0..40).map(|_| Packet::new(&bytes, Family::Ipv4, 0)).collect();
    /// ct.track_batch(&mut burst, Hook::PreRouting, |ct, packet, verdict| {
    ///     if verdict == Verdict::Accept {
    ///         ct.confirm(packet, Hook::PostRouting);
    ///     }
    /// });
    /// assert_eq!(ct.net().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn track_batch<'d, 't>(
        &'t self,
        packets: &mut [Packet<'d, 't, S>],
        hook: Hook,
        mut each: impl FnMut(&'t Self, &mut Packet<'d, 't, S>, Verdict),
    ) {
        let mut links = Vec::with_capacity(BURST.min(packets.len()));
        for burst in packets.chunks_mut(BURST) {
            let mut hits: [SkbNfct<'t, S>; BURST] = [const { SkbNfct::NONE }; BURST];
            // Which of the links is the packet's, if any.
            let mut which = [None; BURST];
            links.clear();
            for (i, pkt) in burst.iter().enumerate() {
                if let Some(key) = self.foresee(pkt) {
                    which[i] = Some(links.len());
                    links.push(Link { hash: 0, key });
                }
            }
            self.core.hasher.hash_all(&mut links);
            self.core.store.find_many(&links, &mut |n, found| {
                if let Some((entry, dir)) = found {
                    hits[n] = self.found(entry, dir);
                }
            });
            for (pkt, which) in burst.iter_mut().zip(which) {
                let hint = which.map(|n| Hint {
                    link: &links[n],
                    found: std::mem::replace(&mut hits[n], SkbNfct::NONE),
                });
                let verdict = self.track_found(pkt, hook, hint);
                each(self, pkt, verdict);
            }
        }
    }

    /// The key under which a packet will be looked up, if it will be.
    #[inline]
    fn foresee(&self, pkt: &Packet<'_, '_, S>) -> Option<Key> {
        if pkt.nfct().info().is_some() {
            return None;
        }
        let (protonum, l4) = parse::l4proto(pkt.data(), 0, pkt.family())?;
        let tuple = parse::tuple(pkt.data(), 0, l4, pkt.family(), protonum)?;
        let zone = super::ingress::zone_of(pkt.template.as_deref(), pkt.mark);
        let tuple = self.net.complete(tuple);
        Some(Key::new(tuple, zone, Direction::Original, self.net.id))
    }
}
