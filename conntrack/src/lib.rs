//! Connection tracking as Linux does it.
