//! The `nct` tool.
fn main() {}
