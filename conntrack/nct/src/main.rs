//! The `nct` tool.
mod workload;
fn main() {}
