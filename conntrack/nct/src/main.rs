//! The `nct` tool.
mod capture;
fn main() {}
