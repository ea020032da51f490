//! The library needs nothing but `core` and `alloc`: builds and runs `table/no-std-check`, a program without `std`.
#![cfg(all(target_os = "linux", not(miri)))]

use std::path::Path;
use std::process::Command;

#[test]
fn a_program_without_std_works() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("no-std-check/Cargo.toml");
    if !manifest.exists() {
        eprintln!("skipped: {} is in the repository only", manifest.display());
        return;
    }
    let run = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-std"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("no_std: ok"), "{said}");
}
