//! The fragments of one datagram (`inet_frag_queue_insert`, `ip_frag_queue`, `nf_ct_frag6_queue`).
//!
//! Invariant: runs are disjoint and sorted by offset; a run is what came in order without a gap, as the kernel keeps it. So a fragment that lies
//! within one run is a repetition, one that overlaps anything else is a contradiction.

use super::{Fragment, Join, Origin};
use crate::clock::Nanos;
use std::collections::BTreeMap;

/// Why a fragment was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// All of it is here already; nothing has changed.
    Duplicate,
    /// The fragment is to be forgotten, the others stay.
    Refused,
    /// The datagram is to be given up.
    Contradiction,
}

#[derive(Debug)]
struct Run {
    offset: u32,
    data: Vec<u8>,
}

impl Run {
    fn end(&self) -> u32 {
        self.offset + self.data.len() as u32
    }
}

/// What has come of a datagram.
#[derive(Debug)]
pub(super) struct Pieces {
    deadline: (Nanos, u64),
    runs: Vec<Run>,
    /// Highest end seen, the datagram's length once the last fragment is here.
    len: u32,
    have_last: bool,
    got: u32,
    /// Length of each fragment's data, by offset.
    fragments: BTreeMap<u32, u32>,
    /// Longest fragment, headers included; and the longest with DF.
    max_size: usize,
    max_df_size: usize,
    ecn: u8,
    header: Option<Vec<u8>>,
}

impl Pieces {
    pub(super) fn new(deadline: (Nanos, u64)) -> Self {
        Self {
            deadline,
            runs: Vec::new(),
            len: 0,
            have_last: false,
            got: 0,
            fragments: BTreeMap::new(),
            max_size: 0,
            max_df_size: 0,
            ecn: 0,
            header: None,
        }
    }

    pub(super) fn deadline(&self) -> (Nanos, u64) {
        self.deadline
    }

    /// Bytes used, with `overhead` for each fragment.
    pub(super) fn cost(&self, overhead: usize) -> usize {
        self.got as usize + self.fragments.len() * overhead
    }

    /// Adds a fragment; true when the datagram is complete.
    /// Lengths that contradict each other are `lengths`.
    pub(super) fn add(&mut self, fragment: Fragment<'_>, lengths: Wrong) -> Result<bool, Wrong> {
        let Fragment {
            offset,
            mut data,
            more,
            ecn,
            header,
            ..
        } = fragment;
        if more {
            // All but the last must end at a multiple of eight; what sticks out is cut off.
            data = &data[..data.len() & !7];
        }
        let end = offset + data.len() as u32;
        if more {
            if end > self.len {
                if self.have_last {
                    return Err(lengths);
                }
                self.len = end;
            }
        } else {
            if end < self.len || (self.have_last && end != self.len) {
                return Err(lengths);
            }
            self.have_last = true;
            self.len = end;
        }
        if data.is_empty() {
            return Err(lengths);
        }
        self.insert(offset, end, data)?;
        self.got += data.len() as u32;
        self.fragments.insert(offset, data.len() as u32);
        self.max_size = self.max_size.max(fragment.size);
        if fragment.dont {
            self.max_df_size = self.max_df_size.max(fragment.size);
        }
        self.ecn |= 1 << ecn;
        if offset == 0 {
            self.header = Some(header);
        }
        Ok(self.header.is_some() && self.have_last && self.got == self.len)
    }

    fn insert(&mut self, offset: u32, end: u32, data: &[u8]) -> Result<(), Wrong> {
        let new = || Run {
            offset,
            data: data.to_vec(),
        };
        match self.runs.last_mut() {
            None => self.runs.push(new()),
            Some(tail) if tail.end() < end => {
                if offset < tail.end() {
                    return Err(Wrong::Contradiction);
                }
                if offset == tail.end() {
                    tail.data.extend_from_slice(data);
                } else {
                    self.runs.push(new());
                }
            }
            Some(_) => {
                let at = self.runs.partition_point(|r| r.end() <= offset);
                let next = &self.runs[at];
                if end > next.offset {
                    let within = offset >= next.offset && end <= next.end();
                    return Err(if within {
                        Wrong::Duplicate
                    } else {
                        Wrong::Contradiction
                    });
                }
                self.runs.insert(at, new());
            }
        }
        Ok(())
    }

    /// The datagram and how it came; `None` when it cannot be put together.
    pub(super) fn finish<F: Join>(self) -> Option<(Vec<u8>, Origin)> {
        let ecn = super::ecn(self.ecn)?;
        let mut payload = Vec::with_capacity(self.len as usize);
        for run in &self.runs {
            payload.extend_from_slice(&run.data);
        }
        let dont = self.max_df_size == self.max_size;
        let header = self.header?;
        let origin = Origin {
            max_size: self.max_size,
            dont,
            header: header.len(),
            lengths: self.fragments.into_values().collect(),
        };
        Some((F::join(header, &payload, ecn, dont)?, origin))
    }
}
