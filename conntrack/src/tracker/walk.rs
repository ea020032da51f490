//! Walks over all entries: dumps, flushes, deletions by predicate.

use super::Tracker;
use crate::clock::Nanos;
use crate::conn::Conn;
use crate::proc_fs;
use crate::snapshot::Snapshot;
use crate::status::{CONFIRMED, DYING};
use crate::store::{Peek, Store};
use crate::tuple::{Direction, Family};
use std::sync::Arc;

impl<S: Store> Tracker<S> {
    /// Calls `f` for each live connection of this namespace, in table order; deletes expired ones that it meets (as every dump does).
    pub fn for_each(&self, now: Nanos, mut f: impl FnMut(&S::Ref<'_>)) {
        let mut cursor = Some(0);
        while let Some(c) = cursor {
            cursor = self.for_each_slice(now, c, &mut f);
        }
    }

    /// As [`Tracker::for_each`], but one slice of the table, beginning at `cursor` (0 at first). Returns where the next slice begins; `None` at the
    /// end. Connections that stay for the whole walk are shown exactly once.
    pub fn for_each_slice(
        &self,
        now: Nanos,
        cursor: u64,
        mut f: impl FnMut(&S::Ref<'_>),
    ) -> Option<u64> {
        let mut found = Vec::new();
        let next = self.core.store.step(
            cursor,
            &mut |p, d| d == Direction::Original && self.is_ours(p),
            &mut found,
        );
        for (entry, _) in &found {
            if !self.delete_expired(entry, now)
                && !entry.has(DYING)
                && entry.net_id() == self.net.id
            {
                f(entry);
            }
        }
        next
    }

    pub(super) fn is_ours(&self, p: Peek) -> bool {
        p.net == self.net.id.0 && p.status & (CONFIRMED | DYING) == CONFIRMED
    }

    /// Deletes all connections of this namespace that `pred` wants; returns how many (`nf_ct_iterate_cleanup`: `conntrack -F`, `-D`). Visits
    /// reply links, because after a clash there is no other.
    pub fn delete_if(&self, now: Nanos, mut pred: impl FnMut(&Conn<S::User>) -> bool) -> usize {
        let mut deleted = 0;
        let mut cursor = Some(0);
        let mut found = Vec::new();
        while let Some(c) = cursor {
            cursor = self.core.store.step(
                c,
                &mut |p, d| d == Direction::Reply && self.is_ours(p),
                &mut found,
            );
            for (entry, _) in found.drain(..) {
                if entry.net_id() == self.net.id && pred(&entry) && self.delete(&entry, now) {
                    deleted += 1;
                }
            }
        }
        deleted
    }

    /// Copies of all live connections of this namespace, in table order.
    #[must_use]
    pub fn dump(&self, now: Nanos) -> Vec<Snapshot> {
        let mut out = Vec::new();
        self.for_each(now, |r| out.push(Snapshot::of(r, S::count(r), now)));
        out
    }

    /// Registers what [`Tracker::proc_net_nf_conntrack`] writes before `use=` for a connection, if anything: the application's own data.
    pub fn set_formatter(
        &self,
        f: impl Fn(&Conn<S::User>) -> Option<String> + Send + Sync + 'static,
    ) {
        *self.formatter.write() = Some(Arc::new(f));
    }

    /// `/proc/net/nf_conntrack`: one line for each connection.
    #[must_use]
    pub fn proc_net_nf_conntrack(&self, now: Nanos) -> String {
        let formatter = self.formatter.read().clone();
        let mut out = String::new();
        self.for_each(now, |r| {
            let extra = formatter.as_ref().and_then(|f| f(r));
            // Writing to a string cannot fail.
            let _ = proc_fs::write_line(
                &mut out,
                &Snapshot::of(r, S::count(r), now),
                extra.as_deref(),
                now,
            );
        });
        out
    }

    /// `/proc/net/stat/nf_conntrack`: the kernel has a line for each processor, this one for each group of threads that has counted something (at
    /// least one). Readers sum them up.
    #[must_use]
    pub fn proc_net_stat_nf_conntrack(&self) -> String {
        let mut out = String::from(proc_fs::STAT_HEADER);
        // Writing to a string cannot fail.
        let mut groups = self.net.stats.groups();
        if groups.is_empty() {
            groups.push(self.stats());
        }
        for group in &groups {
            let _ = proc_fs::write_stat_line(&mut out, self.net.count(), group);
        }
        out
    }

    /// Tracking was off and is on again: windows of established connections have moved meanwhile, so they are learnt anew.
    pub(super) fn forget_tcp_windows(&self, family: Family) {
        let mut cursor = Some(0);
        let mut found = Vec::new();
        while let Some(c) = cursor {
            cursor = self.core.store.step(
                c,
                &mut |p, d| d == Direction::Original && self.is_ours(p),
                &mut found,
            );
            for (entry, _) in found.drain(..) {
                if entry.tuple(Direction::Original).family() == family {
                    entry.inner().proto.forget_windows();
                }
            }
        }
    }
}
