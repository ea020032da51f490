//! Writing under two keys: both buckets locked, in one order for all, and never waiting for the second.

use super::{InsertError, Line, Probe, Slot, Stale, Table, Written, nulls, ticket};

impl Probe<'_> {
    /// Where this probe's bucket stands in the order in which two buckets are locked.
    fn rank(&self) -> (u64, usize) {
        (self.array.age, self.array.number_of(self.head))
    }
}

/// Locks the buckets of two probes, in the global order. Once taken, the other is taken or both are left: a second lock
/// is never waited for.
fn take_both(p: &Probe<'_>, q: &Probe<'_>) -> Result<(), Stale> {
    let (first, second) = if p.rank() <= q.rank() { (p, q) } else { (q, p) };
    if core::ptr::eq(p.head, q.head) {
        return if p.ticket == q.ticket && p.take() {
            Ok(())
        } else {
            Err(Stale)
        };
    }
    if !first.take() {
        return Err(Stale);
    }
    if !second.take() {
        ticket::abandon(first.head, first.ticket);
        return Err(Stale);
    }
    Ok(())
}

fn leave_both(p: &Probe<'_>, q: &Probe<'_>) {
    q.leave();
    if !core::ptr::eq(p.head, q.head) {
        p.leave();
    }
}

impl Table {
    /// Inserts `x` at `p` and `y` at `q`, both or neither, with both buckets locked: one entry under two keys.
    ///
    /// Each handle's store linearizes that key's insertion; between the two a reader may find one and not the other.
    /// (An entry that must appear at once gets a flag that is set afterwards, as conntrack's CONFIRMED.)
    ///
    /// # Errors
    /// [`Stale`](InsertError::Stale): probe both again. [`Full`](InsertError::Full), [`Alloc`](InsertError::Alloc).
    ///
    /// # Panics
    /// If a handle is 0 or a probe had a hit or belongs to another table.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let (p, q) = (table.probe(&guard, hash(2), |_| false, &hash), table.probe(&guard, hash(3), |_| false, &hash));
    /// table.insert2(p, 2, q, 3).unwrap().assist(&guard, &hash);
    /// assert_eq!(table.len(), 2);
    /// ```
    pub fn insert2<'g>(
        &'g self,
        p: Probe<'g>,
        x: u32,
        q: Probe<'g>,
        y: u32,
    ) -> Result<Written<'g>, InsertError> {
        self.check_own(&p, &q);
        assert!(
            x != 0 && y != 0 && p.hit == 0 && q.hit == 0,
            "insert2 after a hit or of the null handle"
        );
        let same = core::ptr::eq(p.head, q.head);
        let p_line = match p.slot {
            Some(_) => None,
            None => Some(self.lines.alloc().map_err(InsertError::Alloc)?),
        };
        // In one bucket the second entry goes beside the first: into its new line, or needs a second free slot.
        let q_needs = if same {
            p_line.is_none() && p.free_slots < 2
        } else {
            q.slot.is_none()
        };
        let q_line = match q_needs.then(|| self.lines.alloc()).transpose() {
            Ok(line) => line,
            Err(e) => {
                self.lines.free_unused(p_line);
                return Err(InsertError::Alloc(e));
            }
        };
        let undo = |e| {
            self.lines.free_unused(p_line);
            self.lines.free_unused(q_line);
            Err(e)
        };
        if take_both(&p, &q).is_err() {
            return undo(InsertError::Stale);
        }
        let Some(tick) = self.count.try_add(p.stripe, 2) else {
            ticket::abandon(q.head, q.ticket);
            if !same {
                ticket::abandon(p.head, p.ticket);
            }
            return undo(InsertError::Full);
        };
        p.place(p.slot, p_line, x);
        let q_slot = if same && q_line.is_none() {
            free_slot(q.head)
        } else {
            q.slot
        };
        q.place(q_slot, q_line, y);
        leave_both(&p, &q);
        Ok(p.written(tick || p_line.is_some() || q_line.is_some()))
    }

    /// Removes the hits of both probes, both or neither, with both buckets locked. Returns the handles. Two probes that hit the same
    /// slot remove one handle, which is returned twice.
    ///
    /// # Errors
    /// [`Stale`]: probe both again.
    ///
    /// # Panics
    /// If a probe missed or belongs to another table.
    ///
    /// ```
    /// use nulls::{raw::Table, rcu};
    /// let hash = |x: u32| u64::from(x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    /// let table = Table::new();
    /// let guard = rcu::pin();
    /// let probe = |x| table.probe(&guard, hash(x), |y| x == y, &hash);
    /// table.insert2(probe(2), 2, probe(3), 3).unwrap().assist(&guard, &hash);
    /// let (handles, written) = table.remove2(probe(2), probe(3)).unwrap();
    /// written.assist(&guard, &hash);
    /// assert_eq!((handles, table.len()), ((2, 3), 0));
    /// ```
    pub fn remove2<'g>(
        &'g self,
        p: Probe<'g>,
        q: Probe<'g>,
    ) -> Result<((u32, u32), Written<'g>), Stale> {
        self.check_own(&p, &q);
        let ((ps, x), (qs, y)) = (p.found(), q.found());
        take_both(&p, &q)?;
        ps.line.clear(ps.index);
        qs.line.clear(qs.index);
        // Both may have found the same slot: then it is one handle.
        let same = core::ptr::eq(ps.line, qs.line) && ps.index == qs.index;
        let tick = self.count.sub(p.stripe, if same { 1 } else { 2 });
        let one = p.unlink_if_empty(ps.line);
        // One line that held both is unlinked once.
        let two = if core::ptr::eq(ps.line, qs.line) {
            None
        } else {
            q.unlink_if_empty(qs.line)
        };
        leave_both(&p, &q);
        self.lines.free_unused(one);
        self.lines.free_unused(two);
        Ok(((x, y), p.written(tick)))
    }

    fn check_own(&self, p: &Probe<'_>, q: &Probe<'_>) {
        assert!(
            core::ptr::eq(self, p.table) && core::ptr::eq(self, q.table),
            "a probe of another table"
        );
    }
}

/// A free slot of a locked bucket.
fn free_slot(head: &Line) -> Option<Slot<'_>> {
    let mut line = head;
    loop {
        if let Some(index) = line.tags_locked().empty().next() {
            return Some(Slot { line, index });
        }
        let link = line.link_locked();
        if nulls::is_end(link) {
            return None;
        }
        // SAFETY: a link that is no marker points to a line of the slab, alive as long as the table.
        line = unsafe { &*link };
    }
}
