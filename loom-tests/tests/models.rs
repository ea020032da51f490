//! `cargo test` includes the models: the driver runs them as anyone would.

use std::process::{Command, Output};

fn driver(args: &[&str]) -> Output {
    let out = Command::new(env!("CARGO_BIN_EXE_loom-tests"))
        .args(args)
        .output()
        .expect("the driver runs");
    println!("{}", String::from_utf8_lossy(&out.stdout));
    eprintln!("{}", String::from_utf8_lossy(&out.stderr));
    out
}

/// Every model passes at two preemptions, after a self-test that shows that the checker sees.
#[test]
fn the_models_pass() {
    // Test machines may be slow and busy: a limit that is reached is a failure.
    let out = driver(&["fast", "--patience", "5"]);
    assert!(out.status.success(), "some model fails");
}

/// The self-test has power: on loom as published it fails.
#[test]
fn stock_loom_is_found_blind() {
    let out = driver(&["selftest", "--stock"]);
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("STOCK loom") && text.contains("THE CHECKER IS BLIND"));
}
