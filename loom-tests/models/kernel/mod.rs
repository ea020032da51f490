//! The kernel's historic bugs, each as a small model of the *algorithm*, in its buggy and in its fixed form.
//!
//! Nothing here runs the table's code. The names are those of the reference's list (G1 and so on); for each,
//! `kernel/gN-…-bug` must be caught and `kernel/gN-…` must pass. Bugs of memory order and interleaving run on loom; the last
//! file has those that one thread shows, as bounded searches.

pub mod chain;
pub mod life;
pub mod owners;
pub mod resize;
pub mod sequential;

/// Two models of one algorithm: the first wrong on purpose, the second right.
macro_rules! pair {
    ($name:literal, $proves:literal, threads: $threads:literal, outcomes: $outcomes:expr, $body:path) => {
        [
            $crate::harness::Model {
                name: concat!("kernel/", $name, "-bug"),
                proves: concat!("as it was: caught. To hold: ", $proves),
                threads: $threads,
                expect: $crate::verdict::Expect::Caught,
                body: || $body(false),
                ..$crate::harness::Model::DEFAULT
            },
            $crate::harness::Model {
                name: concat!("kernel/", $name),
                proves: $proves,
                threads: $threads,
                floor: if $threads > 1 { 2 } else { 1 },
                outcomes: $outcomes,
                body: || $body(true),
                ..$crate::harness::Model::DEFAULT
            },
        ]
    };
}
pub(crate) use pair;

/// A list's end marker: the number of the bucket it belongs to.
pub const fn nulls(bucket: usize) -> usize {
    bucket << 1 | 1
}

/// A link to node `i`.
pub const fn node(i: usize) -> usize {
    (i + 1) << 1
}

/// What a link means.
pub enum Link {
    Node(usize),
    End(usize),
}

/// Takes a link apart.
///
/// # Panics
/// On a null link, which no list of this kind contains.
pub fn follow(link: usize) -> Link {
    assert_ne!(link, 0, "a walk leaves the list through a null link");
    if link & 1 == 1 {
        Link::End(link >> 1)
    } else {
        Link::Node((link >> 1) - 1)
    }
}
