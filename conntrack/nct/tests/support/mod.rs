//! Shared by the integration tests: running the program and scoring a trace against a recording of the kernel.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) mod packets;
pub(crate) mod score;

/// Runs `nct` with arguments, optionally with bytes on standard input.
pub(crate) fn nct(args: &[&str], stdin: Option<&[u8]>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nct"));
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("nct starts");
    let mut pipe = child.stdin.take().expect("stdin is piped");
    let bytes = stdin.unwrap_or_default().to_vec();
    // The program may exit before it has read everything; a broken pipe is its good right.
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut pipe, &bytes)));
    let output = child.wait_with_output().expect("nct ends");
    writer.join().expect("the writer ends");
    output
}

/// Standard output as text, after a successful run.
#[track_caller]
pub(crate) fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Unpacks all recordings of the kernel into `dir`.
pub(crate) fn unpack_recordings(dir: &Path) {
    let archives = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    for archive in fs::read_dir(&archives).expect("recordings are there") {
        let path = archive.expect("readable").path();
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        tar::Archive::new(flate2::read::GzDecoder::new(file))
            .unpack(dir)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// A directory of the test's own, emptied.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a temporary directory");
    dir
}
