//! Locks between processes: flock(2) through fs2 on files of their own. A lock file is removed only by its holder, and
//! a process that gets a lock makes sure that the file is still the one on disk. Before them, among threads of one
//! process, a gate. A wait for either can be called off.

use super::disk;
use super::sync::{lock, wait_timeout};
use fs2::FileExt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How soon a waiting thread looks again, at first and at last. flock itself cannot be interrupted: its signal's handler
/// runs on another thread.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(2));

/// A held lock. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    signed: bool,
}

/// What came of trying to get a lock.
#[derive(Debug)]
pub(crate) enum Tried {
    Held(Lock),
    /// Another process or thread has it: the pid that it left in the file, where it did.
    Busy(Option<u32>),
}

impl Lock {
    /// Takes the lock, as soon as it is free.
    pub(crate) fn get(path: &Path) -> io::Result<Lock> {
        loop {
            let file = open(path)?;
            file.lock_exclusive()?;
            if let Some(lock) = still_there(file, path) {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_get(path: &Path) -> io::Result<Tried> {
        loop {
            let mut file = open(path)?;
            match file.try_lock_exclusive() {
                Ok(()) => {
                    if let Some(lock) = still_there(file, path) {
                        return Ok(Tried::Held(lock));
                    }
                }
                Err(error) if error.kind() == fs2::lock_contended_error().kind() => {
                    let mut pid = String::new();
                    // A hint for people: without it they still learn that it is busy.
                    let _ = file.read_to_string(&mut pid);
                    return Ok(Tried::Busy(pid.trim().parse().ok()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it is held. Changes nothing, and needs no more than to read the file.
    pub(crate) fn is_held(path: &Path) -> bool {
        let Ok(file) = disk::open(path, OpenOptions::new().read(true)) else { return false };
        let held = FileExt::try_lock_shared(&file).is_err();
        let _ = FileExt::unlock(&file);
        held
    }

    /// Leaves our pid for those who find it busy.
    pub(crate) fn sign(&mut self) -> io::Result<()> {
        self.signed = true;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(format!("{}\n", std::process::id()).as_bytes())
    }

    /// Removes the file while it is held: a process that waits for it finds another file or none, and tries again.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The next process that finds it busy must not learn our pid.
        if self.signed {
            let _ = self.file.set_len(0);
        }
        // Closing alone would let go only when no child has the descriptor any more: one that is being spawned on
        // another thread has it for a moment.
        let _ = FileExt::unlock(&self.file);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    disk::open(path, options.read(true).write(true).create(true).truncate(false).mode(0o600))
}

/// The lock, if its file is still what the path names.
fn still_there(file: File, path: &Path) -> Option<Lock> {
    let (ours, named) = (file.metadata().ok()?, fs::metadata(path).ok()?);
    let lock = Lock { file, path: path.to_owned(), signed: false };
    ((named.dev(), named.ino()) == (ours.dev(), ours.ino())).then_some(lock)
}

/// Takes the lock as soon as it is free. `keep_waiting` is asked in between.
pub(crate) fn wait_for<E>(
    path: &Path,
    keep_waiting: &dyn Fn() -> Result<(), E>,
    fail: impl Fn(io::Error) -> E,
) -> Result<Lock, E> {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Tried::Held(lock) = Lock::try_get(path).map_err(&fail)? {
            return Ok(lock);
        }
        keep_waiting()?;
        thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

/// Lets one thread in at a time.
#[derive(Default)]
pub(crate) struct Gate {
    taken: Mutex<bool>,
    left: Condvar,
}

/// A thread is in until it drops this.
pub(crate) struct Inside(Arc<Gate>);

impl Gate {
    /// Lets this thread in, as soon as no other one is. `keep_waiting` is asked in between.
    pub(crate) fn enter<E>(self: &Arc<Gate>, keep_waiting: &dyn Fn() -> Result<(), E>) -> Result<Inside, E> {
        let mut taken = lock(&self.taken);
        while *taken {
            keep_waiting()?;
            taken = wait_timeout(&self.left, taken, PAUSES.1);
        }
        *taken = true;
        Ok(Inside(Arc::clone(self)))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *lock(&self.0.taken) = false;
        self.0.left.notify_one();
    }
}
