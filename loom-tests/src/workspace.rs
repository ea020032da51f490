//! Finds loom's source, corrects a copy of it, and builds the checking programs in a workspace of their own.
//!
//! Everything generated lies in `loom/` below the target directory. The generated workspaces take their versions from
//! this workspace's lock file, which is only read.

use crate::correction::{self, EDITS};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a checking program is linked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// loom with the correction.
    Corrected,
    /// loom as published.
    Stock,
    /// No loom: real threads.
    Threads,
    /// shuttle: random schedules.
    Shuttle,
}

impl Flavour {
    /// The name of the workspace and of the program in it.
    fn program(self) -> &'static str {
        match self {
            Flavour::Corrected => "models-corrected",
            Flavour::Stock => "models-stock",
            Flavour::Threads => "stress",
            Flavour::Shuttle => "schedules",
        }
    }

    /// The flags that configure the table for checking.
    fn cfgs(self) -> &'static [&'static str] {
        match self {
            Flavour::Corrected | Flavour::Stock => &["nulls_loom"],
            Flavour::Threads => &["nulls_check"],
            // The small sizes of the models, on another checker's atomics.
            Flavour::Shuttle => &["nulls_loom", "nulls_shuttle"],
        }
    }
}

/// One of the compiler's sanitizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sanitizer {
    /// Data races.
    Thread,
    /// Accesses outside of what is allocated; leaks at the end too.
    Address,
    /// Leaks alone, at nearly full speed.
    Leak,
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Address => "address",
            Self::Leak => "leak",
        }
    }
}

/// The platform that sanitizers are asked for. Named, so that build scripts and macros are not sanitized.
const SANITIZED_TARGET: &str = "x86_64-unknown-linux-gnu";

/// A built checking program.
#[derive(Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// What it is linked against.
    pub flavour: Flavour,
    /// One line for the reader, naming the checker.
    pub checker: String,
    /// Why the correction could not be applied, if it was wanted.
    pub refused: Option<String>,
}

impl Program {
    /// Puts a copy of the executable aside, so that all runs are of this build even if another is made meanwhile. The copy
    /// goes with the value.
    ///
    /// # Errors
    ///
    /// It cannot be copied.
    pub fn keep(mut self) -> Result<Kept> {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("-{}", std::process::id()));
        fs::copy(&self.path, &name).context("putting the program aside")?;
        self.path = name.into();
        Ok(Kept(self))
    }
}

/// A program that no build replaces.
#[derive(Debug)]
pub struct Kept(Program);

impl std::ops::Deref for Kept {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // One that stays costs a few megabytes of the target directory.
        let _ = fs::remove_file(&self.0.path);
    }
}

/// This workspace, as cargo describes it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    /// `loom/` below the target directory.
    out: PathBuf,
    loom: PathBuf,
    loom_version: String,
    shuttle_version: String,
}

impl Workspace {
    /// Asks cargo for this workspace's target directory and for the place of loom's source, which is fetched if need be.
    ///
    /// # Errors
    ///
    /// Cargo fails (no network, and loom was never fetched), or answers something unexpected.
    pub fn locate() -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = package.join("Cargo.toml");
        let metadata = |offline: bool| -> Result<Value> {
            let mut c = cargo();
            c.args([
                "metadata",
                "--format-version=1",
                "--locked",
                "--manifest-path",
            ])
            .arg(&manifest);
            if offline {
                c.arg("--offline");
            }
            let out = c.output().context("running cargo metadata")?;
            ensure!(
                out.status.success(),
                "cargo metadata failed:\n{}",
                String::from_utf8_lossy(&out.stderr)
            );
            serde_json::from_slice(&out.stdout).context("reading cargo metadata")
        };
        let m = metadata(true).or_else(|_| metadata(false))?;
        let text = |v: &Value| {
            v.as_str()
                .map(str::to_owned)
                .context("cargo metadata lacks a field")
        };
        let packages = m["packages"]
            .as_array()
            .context("cargo metadata has no packages")?;
        let loom = packages
            .iter()
            .find(|p| p["name"] == "loom")
            .context("the table does not depend on loom")?;
        let shuttle = packages
            .iter()
            .find(|p| p["name"] == "shuttle")
            .context("the table does not depend on shuttle")?;
        let manifest = PathBuf::from(text(&loom["manifest_path"])?);
        Ok(Self {
            root: text(&m["workspace_root"])?.into(),
            out: Path::new(&text(&m["target_directory"])?).join("loom"),
            loom: manifest
                .parent()
                .context("loom's manifest has no folder")?
                .into(),
            loom_version: text(&loom["version"])?,
            shuttle_version: text(&shuttle["version"])?,
        })
    }

    /// Where the sources under test lie: the table's, and the connection tracker's.
    #[must_use]
    pub fn sources(&self) -> [PathBuf; 2] {
        ["table/src", "conntrack/src"].map(|p| self.root.join(p))
    }

    /// The folder of this package.
    #[must_use]
    pub fn package(&self) -> PathBuf {
        self.root.join("loom-tests")
    }

    /// Builds the program of `flavour`. Where loom cannot be corrected, builds it with stock loom and says why in
    /// [`Program::refused`].
    ///
    /// # Errors
    ///
    /// The program does not build, or files cannot be written.
    pub fn build(&self, flavour: Flavour) -> Result<Program> {
        let (flavour, refused) = self.prepare(flavour)?;
        let name = flavour.program();
        let target = self.target(flavour);
        let mut c = self.cargo_for(flavour, "build");
        c.args(["--release", "--offline"]);
        let status = c
            .stdout(Stdio::null())
            .status()
            .context("running cargo build")?;
        ensure!(status.success(), "{name} does not build");
        Ok(Program {
            path: target
                .join("release")
                .join(format!("{name}{}", std::env::consts::EXE_SUFFIX)),
            flavour,
            checker: match flavour {
                Flavour::Corrected => format!(
                    "loom {}, corrected ({} edits)",
                    self.loom_version,
                    EDITS.len()
                ),
                Flavour::Stock => {
                    format!("STOCK loom {}, which misses executions", self.loom_version)
                }
                Flavour::Threads => "real threads, injected pauses".to_owned(),
                Flavour::Shuttle => {
                    "shuttle: random and priority schedules, sequentially consistent".to_owned()
                }
            },
            refused,
        })
    }

    /// Builds the stress scenarios under a sanitizer of the nightly compiler.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_sanitized(&self, sanitizer: Sanitizer) -> Result<Program> {
        self.prepare(Flavour::Threads)?;
        let manifest = self.out.join("stress/Cargo.toml");
        let status = self
            .sanitized(sanitizer, "build", &manifest)
            .args(["--release", "--offline"])
            .stdout(Stdio::null())
            .status()
            .context("running cargo +nightly build")?;
        let name = sanitizer.name();
        ensure!(
            status.success(),
            "the scenarios do not build under the {name} sanitizer"
        );
        Ok(Program {
            path: self
                .sanitized_target(sanitizer)
                .join(SANITIZED_TARGET)
                .join("release/stress"),
            flavour: Flavour::Threads,
            checker: format!("real threads, injected pauses, {name} sanitizer"),
            refused: None,
        })
    }

    /// Runs one of the table's own tests under a sanitizer. Whether it passes, with no finding at the end.
    ///
    /// # Errors
    ///
    /// Cargo cannot be run.
    pub fn test_sanitized(&self, sanitizer: Sanitizer, test: &str) -> Result<bool> {
        let manifest = self.root.join("table/Cargo.toml");
        let status = self
            .sanitized(sanitizer, "test", &manifest)
            .args(["--locked", "--test", test])
            .stdout(Stdio::null())
            .status()
            .context("running cargo +nightly test")?;
        Ok(status.success())
    }

    fn sanitized_target(&self, sanitizer: Sanitizer) -> PathBuf {
        self.out.join(format!("target-{}", sanitizer.name()))
    }

    fn sanitized(&self, sanitizer: Sanitizer, command: &str, manifest: &Path) -> Command {
        let flags = [
            format!("-Zsanitizer={}", sanitizer.name()),
            "-Cunsafe-allow-abi-mismatch=sanitizer".to_owned(),
            "--cfg".to_owned(),
            "nulls_check".to_owned(),
        ];
        let mut c = Command::new("cargo");
        c.args(["+nightly", command, "--target", SANITIZED_TARGET])
            .arg("--manifest-path")
            .arg(manifest)
            // Set by the toolchain that runs this program, for itself.
            .env_remove("RUSTC")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_DIR", self.sanitized_target(sanitizer))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        c
    }

    /// Formats and lints the sources of `flavour`'s program, which no target of this workspace contains.
    ///
    /// # Errors
    ///
    /// A finding, or cargo cannot be run.
    pub fn lint(&self, flavour: Flavour) -> Result<()> {
        let (flavour, _) = self.prepare(flavour)?;
        let status = self
            .cargo_for(flavour, "clippy")
            .args(["--offline", "--", "-Dwarnings"])
            .status()
            .context("running cargo clippy")?;
        ensure!(
            status.success(),
            "clippy has findings in {}",
            flavour.program()
        );
        let status = cargo()
            .args(["fmt", "--check", "--manifest-path"])
            .arg(self.out.join(flavour.program()).join("Cargo.toml"))
            .status()
            .context("running cargo fmt")?;
        ensure!(status.success(), "{} is not formatted", flavour.program());
        Ok(())
    }

    fn target(&self, flavour: Flavour) -> PathBuf {
        // By configuration flag, so that a change of flavour rebuilds nothing.
        self.out
            .join(format!("target-{}", flavour.cfgs().join("-")))
    }

    fn cargo_for(&self, flavour: Flavour, command: &str) -> Command {
        let mut c = cargo();
        c.arg(command)
            .arg("--manifest-path")
            .arg(self.out.join(flavour.program()).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", self.target(flavour))
            // Overrides every other source of flags, inherited or configured.
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                flavour
                    .cfgs()
                    .iter()
                    .map(|c| format!("--cfg\x1f{c}"))
                    .collect::<Vec<_>>()
                    .join("\x1f"),
            );
        c
    }

    /// Writes the generated workspace and fetches what it needs.
    fn prepare(&self, wanted: Flavour) -> Result<(Flavour, Option<String>)> {
        let mut flavour = wanted;
        let mut refused = None;
        if wanted == Flavour::Corrected
            && let Err(why) = self.copy_loom(Flavour::Corrected)
        {
            refused = Some(format!("{why:#}"));
            flavour = Flavour::Stock;
        }
        if flavour == Flavour::Stock {
            self.copy_loom(Flavour::Stock)?;
        }
        let dir = self.out.join(flavour.program());
        write_if_changed(&dir.join("Cargo.toml"), self.manifest(flavour).as_bytes())?;
        // Only a changed lock file of this workspace replaces the generated one, which cargo has completed meanwhile.
        let lock = fs::read(self.root.join("Cargo.lock")).context("reading Cargo.lock")?;
        if write_if_changed(&dir.join("Cargo.lock.from"), &lock)?
            || !dir.join("Cargo.lock").exists()
        {
            fs::write(dir.join("Cargo.lock"), &lock)?;
        }
        let fetch = |offline: bool| -> Result<()> {
            let mut c = self.cargo_for(flavour, "fetch");
            if offline {
                c.arg("--offline").stderr(Stdio::null());
            }
            let status = c.status().context("running cargo fetch")?;
            if !status.success() {
                bail!("cargo cannot fetch what {} needs", flavour.program());
            }
            Ok(())
        };
        fetch(true).or_else(|_| fetch(false))?;
        Ok((flavour, refused))
    }

    fn manifest(&self, flavour: Flavour) -> String {
        let name = flavour.program();
        let sources = match flavour {
            Flavour::Corrected | Flavour::Stock => "models",
            Flavour::Threads => "stress",
            Flavour::Shuttle => "schedules",
        };
        let main = quote(&self.package().join(sources).join("main.rs"));
        let table = quote(&self.root.join("table"));
        let mut text = format!(
            r#"# Generated by loom-tests.
[workspace]

[package]
name = "{name}"
version = "0.0.0"
edition = "2024"
publish = false

[[bin]]
name = "{name}"
path = {main}

[profile.release]
opt-level = 2
debug = "line-tables-only"
debug-assertions = true
overflow-checks = true

[lints.clippy]
undocumented_unsafe_blocks = "deny"

[dependencies]
bytemuck = {{ version = "1", default-features = false }}
nulls = {{ path = {table} }}
"#
        );
        if flavour == Flavour::Shuttle {
            text += &format!("shuttle = \"={}\"\n", self.shuttle_version);
        }
        if matches!(flavour, Flavour::Corrected | Flavour::Stock) {
            let copy = quote(&self.copy_of_loom(flavour));
            let conntrack = quote(&self.root.join("conntrack"));
            text += &format!(
                r#"nulls-conntrack = {{ path = {conntrack} }}
loom = "={}"
tracing-subscriber = "0.3"

[patch.crates-io]
loom = {{ path = {copy} }}
"#,
                self.loom_version
            );
        }
        text
    }

    fn copy_of_loom(&self, flavour: Flavour) -> PathBuf {
        self.out.join(match flavour {
            Flavour::Corrected => "loom-corrected",
            _ => "loom-stock",
        })
    }

    /// Copies loom's source, with the correction or without.
    fn copy_loom(&self, flavour: Flavour) -> Result<()> {
        let edits: &[_] = match flavour {
            Flavour::Corrected => EDITS,
            _ => &[],
        };
        let mut files = vec![PathBuf::from("Cargo.toml")];
        list_files(&self.loom, Path::new("src"), &mut files)?;
        for e in edits {
            ensure!(
                files.iter().any(|f| f == Path::new(e.file)),
                "loom has no file {}",
                e.file
            );
        }
        // All edits are made before the first file is written: no half-corrected copy.
        let mut texts = Vec::new();
        for f in &files {
            let text = fs::read_to_string(self.loom.join(f))
                .with_context(|| format!("reading loom's {}", f.display()))?;
            let name = f.to_string_lossy().replace('\\', "/");
            let mut text =
                correction::apply(edits, &name, &text).map_err(|m| anyhow::anyhow!("{m}"))?;
            if name == "Cargo.toml" && !text.contains("[lints") {
                // As a path dependency it would show warnings that a registry dependency does not.
                text.push_str("\n[lints.rust]\nwarnings = \"allow\"\n");
            }
            texts.push(text);
        }
        let to = self.copy_of_loom(flavour);
        for (f, text) in files.iter().zip(texts) {
            write_if_changed(&to.join(f), text.as_bytes())?;
        }
        Ok(())
    }
}

/// The cargo that runs us, free of what an outer build has put into the environment.
fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for k in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_RUSTFLAGS",
    ] {
        c.env_remove(k);
    }
    c
}

fn list_files(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let dir = root.join(below);
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list_files(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Replaces a file unless it has the content already, so that cargo rebuilds only what changed. Says whether it wrote.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let dir = path.parent().context("a file has a folder")?;
    fs::create_dir_all(dir)?;
    // By renaming: another driver at the same time sees the old file or the new one.
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    fs::write(&part, content).with_context(|| format!("writing {}", path.display()))?;
    fs::rename(&part, path).with_context(|| format!("writing {}", path.display()))?;
    Ok(true)
}

/// A path as a TOML string.
fn quote(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}
