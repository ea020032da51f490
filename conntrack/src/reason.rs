//! Why a packet was not followed, in the kernel's words (`nf_ct_l4proto_log_invalid`).
//!
//! A [`Reason`] is a few plain numbers; it becomes text when it is displayed.

use std::fmt;

/// What the kernel would log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Protocol number in the message's prefix.
    pub protonum: u8,
    /// The rest.
    pub what: What,
}

/// The message behind the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A fixed text.
    Text(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nf_ct_proto_{}: ", self.protonum)?;
        match self.what {
            What::Text(t) => f.write_str(t),
        }
    }
}
