//! A disk that fails and a clock that is wrong: a small library before the C library (`tests/fake/faults.c`), for an ordinary
//! user too. It needs `cc`, as Rust does.

use super::run::Run;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// From the call of this number on, whatever needs room fails (ENOSPC).
    Full(usize),
    /// The call of this number fails (EIO): to write, to sync, to rename ...
    Broken(usize),
    /// From the call of this number on, whatever changes the disk fails (EROFS).
    ReadOnly(usize),
    /// The call of this number that reads fails (ESTALE): on NFS, another host has replaced the file.
    Stale(usize),
}

impl Fault {
    /// What a user reads of it.
    pub fn words(self) -> &'static str {
        match self {
            Fault::Full(_) => "No space left on device",
            Fault::Broken(_) => "Input/output error",
            Fault::ReadOnly(_) => "Read-only file system",
            Fault::Stale(_) => "Stale file handle",
        }
    }
}

/// Where the library is, once it is built: a file that has no name, so that it is gone with the tests. The folder where they
/// were built may be another user's.
fn library() -> &'static Path {
    static BUILT: OnceLock<(File, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let named = std::env::temp_dir().join(format!("clinvk-faults-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/faults.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&named)
            .arg(source)
            .arg("-ldl")
            .output();
        let made = made.expect("cc is there: Rust needs it too");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let built = File::open(&named).unwrap();
        fs::remove_file(&named).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), built.as_raw_fd());
        (built, path.into())
    });
    path
}

/// The files below `root` fail so for this run. What failed is in the file `log`.
pub fn on_disk(run: Run, fault: Fault, root: &Path, log: &Path) -> Run {
    let (word, at) = match fault {
        Fault::Full(at) => ("full", at),
        Fault::Broken(at) => ("broken", at),
        Fault::ReadOnly(at) => ("read-only", at),
        Fault::Stale(at) => ("stale", at),
    };
    run.env("LD_PRELOAD", library())
        .env("FAULT", word)
        .env("FAULT_AT", at.to_string())
        .env("FAULT_ROOT", root)
        .env("FAULT_LOG", log)
}

/// The clock of this run goes wrong by as many seconds as the file `shift` says, which may change meanwhile.
pub fn with_clock(run: Run, shift: &Path) -> Run {
    run.env("LD_PRELOAD", library()).env("CLOCK_SHIFT", shift)
}
