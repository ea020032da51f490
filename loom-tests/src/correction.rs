//! The correction of loom's exploration, as edits of its source text.
//!
//! loom explores by dynamic partial-order reduction: when a thread is about to access an atomic, the last access to it
//! that conflicts and is not ordered before decides where another schedule has to be tried. Version 0.7.2 remembers one
//! last access of any kind, so that a thread's own load hides an earlier load by someone else from the store that
//! follows. In the smallest case thread A does `v = x.load(); x.store(v + 1)`, thread B does `x.load()`: B may see 0 or
//! 1, and loom runs one execution. Every CAS loop, reference count and lock word read before it is taken is of that
//! shape (upstream: tokio-rs/loom issues 166 and 392, both open; 0.7.3 still has the same code).
//!
//! Two loads do not conflict, so no total order of them exists in which "the last one" stands for all. The correction
//! keeps the last load *of each thread* and makes a store or read-modify-write conflict with all of these. Stores need no
//! such list: each conflicts with the one before, so the last one is ordered after all others.
//!
//! Each edit names the exact text that it replaces, which must occur exactly once. A source that looks different is
//! refused as a whole rather than corrected in part.

use std::fmt;

/// One replacement in one file.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// Path below the crate's root.
    pub file: &'static str,
    /// What the edit does, for messages.
    pub what: &'static str,
    /// Text that must occur exactly once.
    pub from: &'static str,
    /// Text put in its place.
    pub to: &'static str,
}

/// Why an edit could not be applied.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The file in which the site was looked for.
    pub file: &'static str,
    /// What the edit would have done.
    pub what: &'static str,
    /// How often the site was found; 1 was expected.
    pub found: usize,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: \"{}\" matches {} places instead of one",
            self.file, self.what, self.found
        )
    }
}

/// Applies the edits meant for `file` to its `text`, in order.
///
/// # Errors
///
/// The first edit whose site does not occur exactly once.
pub fn apply(edits: &[Edit], file: &str, text: &str) -> Result<String, Mismatch> {
    let mut text = text.to_owned();
    for e in edits.iter().filter(|e| e.file == file) {
        let found = text.matches(e.from).count();
        if found != 1 {
            return Err(Mismatch {
                file: e.file,
                what: e.what,
                found,
            });
        }
        text = text.replacen(e.from, e.to, 1);
    }
    Ok(text)
}

/// The edits of loom 0.7.2.
pub const EDITS: &[Edit] = &[
    Edit {
        file: "src/rt/atomic.rs",
        what: "a field for the last load of each thread",
        from: "    last_access: Option<Access>,\n",
        to: "    last_loads: [Option<Access>; MAX_THREADS],\n",
    },
    Edit {
        file: "src/rt/atomic.rs",
        what: "no thread has loaded at first",
        from: "            last_access: None,\n",
        to: "            last_loads: Default::default(),\n",
    },
    Edit {
        file: "src/rt/atomic.rs",
        what: "the last store concerns every action, the loads concern stores",
        from: "        match action {
            Action::Load => self.last_non_load_access.as_ref(),
            _ => self.last_access.as_ref(),
        }
    }
",
        to: "        let _ = action;
        self.last_non_load_access.as_ref()
    }

    /// The loads that `action` conflicts with, one slot for each thread.
    pub(super) fn conflicting_loads(&self, action: Action) -> &[Option<Access>] {
        match action {
            Action::Load => &[],
            Action::Store | Action::Rmw => &self.last_loads,
        }
    }
",
    },
    Edit {
        file: "src/rt/atomic.rs",
        what: "recording an access takes the thread",
        from: "    pub(super) fn set_last_access(&mut self, action: Action, path_id: usize, version: &VersionVec) {
        // Always set `last_access`
        Access::set_or_create(&mut self.last_access, path_id, version);

",
        to: "    pub(super) fn set_last_access(
        &mut self,
        action: Action,
        thread: usize,
        path_id: usize,
        version: &VersionVec,
    ) {
",
    },
    Edit {
        file: "src/rt/atomic.rs",
        what: "a load is recorded for its thread",
        from: "            Action::Load => {}
            _ => {
                // Stores / RMWs
",
        to: "            Action::Load => {
                Access::set_or_create(&mut self.last_loads[thread], path_id, version);
            }
            Action::Store | Action::Rmw => {
",
    },
    Edit {
        file: "src/rt/object.rs",
        what: "all accesses that an operation conflicts with",
        from: "    pub(super) fn set_last_access(
        &mut self,
        operation: Operation,
",
        to: "    /// Every last access that `operation` conflicts with.
    pub(super) fn conflicts(&self, operation: Operation) -> impl Iterator<Item = &Access> + '_ {
        let loads = match &self.entries[operation.obj.index] {
            Entry::Atomic(entry) => entry.conflicting_loads(operation.action.into()),
            _ => &[],
        };
        self.last_dependent_access(operation)
            .into_iter()
            .chain(loads.iter().flatten())
    }

    pub(super) fn set_last_access(
        &mut self,
        thread: usize,
        operation: Operation,
",
    },
    Edit {
        file: "src/rt/object.rs",
        what: "atomics are told the thread",
        from: "            Entry::Atomic(entry) => {
                entry.set_last_access(operation.action.into(), path_id, dpor_vv)
            }
",
        to: "            Entry::Atomic(entry) => {
                entry.set_last_access(operation.action.into(), thread, path_id, dpor_vv)
            }
",
    },
    Edit {
        file: "src/rt/execution.rs",
        what: "each unordered conflict is a place to try another schedule",
        from: "            if let Some(access) = self.objects.last_dependent_access(operation) {
                if access.happens_before",
        to: "            for access in self.objects.conflicts(operation) {
                if access.happens_before",
    },
    Edit {
        file: "src/rt/execution.rs",
        what: "an operation is ordered after all that it conflicts with",
        from: "            if let Some(access) = self.objects.last_dependent_access(operation) {
                threads.active_mut()",
        to: "            for access in self.objects.conflicts(operation) {
                threads.active_mut()",
    },
    Edit {
        file: "src/rt/execution.rs",
        what: "the thread is passed on",
        from: "            self.objects
                .set_last_access(operation, path_id, &threads.active().dpor_vv);
",
        to: "            let version = &threads.active().dpor_vv;
            self.objects
                .set_last_access(th_id.as_usize(), operation, path_id, version);
",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Edit] = &[
        Edit {
            file: "a",
            what: "first",
            from: "one",
            to: "two",
        },
        Edit {
            file: "a",
            what: "second",
            from: "two three",
            to: "four",
        },
    ];

    #[test]
    fn edits_apply_in_order() {
        assert_eq!(apply(TWO, "a", "one three").unwrap(), "four");
        assert_eq!(apply(TWO, "b", "untouched").unwrap(), "untouched");
    }

    #[test]
    fn a_missing_or_repeated_site_is_refused() {
        let found = |text| apply(TWO, "a", text).unwrap_err();
        assert_eq!(
            (found("nothing").what, found("nothing").found),
            ("first", 0)
        );
        assert_eq!(
            (found("one one").what, found("one one").found),
            ("first", 2)
        );
        assert_eq!(found("one").what, "second");
    }

    #[test]
    fn every_edit_changes_something() {
        for e in EDITS {
            assert_ne!(e.from, e.to, "{}", e.what);
        }
    }
}
