//! The fragments of one datagram (`inet_frag_queue_insert`, `ip_frag_queue`, `nf_ct_frag6_queue`).
//!
//! Invariant: runs are disjoint and sorted by offset; a run is what came in order without a gap, as the kernel keeps it. So a fragment that lies
//! within one run is a repetition, one that overlaps anything else is a contradiction.

use crate::clock::Nanos;

/// Why a fragment was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// All of it is here already; nothing has changed.
    Duplicate,
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
    fragments: usize,
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
            fragments: 0,
            ecn: 0,
            header: None,
        }
    }

    pub(super) fn deadline(&self) -> (Nanos, u64) {
        self.deadline
    }

    /// Bytes used, with `overhead` for each fragment.
    pub(super) fn cost(&self, overhead: usize) -> usize {
        self.got as usize + self.fragments * overhead
    }

    /// Adds a fragment; true when the datagram is complete.
    pub(super) fn add(
        &mut self,
        offset: u32,
        data: &[u8],
        more: bool,
        ecn: u8,
        header: Vec<u8>,
    ) -> Result<bool, Wrong> {
        let mut data = data;
        if more {
            // All but the last must end at a multiple of eight; what sticks out is cut off.
            data = &data[..data.len() & !7];
        }
        let end = offset + data.len() as u32;
        if more {
            if end > self.len {
                if self.have_last {
                    return Err(Wrong::Contradiction);
                }
                self.len = end;
            }
        } else {
            if end < self.len || (self.have_last && end != self.len) {
                return Err(Wrong::Contradiction);
            }
            self.have_last = true;
            self.len = end;
        }
        if data.is_empty() {
            return Err(Wrong::Contradiction);
        }
        self.insert(offset, end, data)?;
        self.got += data.len() as u32;
        self.fragments += 1;
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

    /// The first fragment's header, the payload, and the combined congestion mark; `None` when it cannot be put together.
    pub(super) fn finish(self) -> Option<(Vec<u8>, Vec<u8>, u8)> {
        let ecn = super::ecn(self.ecn)?;
        let mut payload = Vec::with_capacity(self.len as usize);
        for run in &self.runs {
            payload.extend_from_slice(&run.data);
        }
        Some((self.header?, payload, ecn))
    }
}
