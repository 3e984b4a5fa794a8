//! Locks between processes: flock(2) through fs2 on files of their own. A lock file is removed only by its holder, and
//! whoever gets a lock makes sure that the file is still the one on disk.

use crate::base::disk;
use crate::model::error::Error;
use fs2::FileExt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How soon whoever waits looks again, at first and at last. flock itself cannot be interrupted: its signal's handler
/// runs on another thread.
const PAUSES: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(2));

/// A held lock. Dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    signed: bool,
}

/// What came of trying to get a lock.
#[derive(Debug)]
pub enum Tried {
    Held(Lock),
    /// Somebody else has it: the pid that they left in the file, where they did.
    Busy(Option<u32>),
}

impl Lock {
    /// Takes the lock if nobody has it.
    pub fn try_get(path: &Path) -> Result<Tried, Error> {
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
                Err(error) => return Err(fail("lock", path, error)),
            }
        }
    }

    /// Whether somebody has it. Changes nothing, and needs no more than to read the file.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = disk::open(path, OpenOptions::new().read(true)) else { return false };
        let held = FileExt::try_lock_shared(&file).is_err();
        let _ = FileExt::unlock(&file);
        held
    }

    /// Leaves our pid for those who find it busy.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sign(&mut self) -> Result<(), Error> {
        self.signed = true;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(|error| fail("write", &self.path, error))
    }

    /// Removes the file while it is held: whoever waits for it finds another file or none, and tries again.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(|error| fail("remove", &self.path, error))
    }
}

/// Attempts something until it succeeds. `keep_waiting` is asked in between.
///
/// # Errors
/// Those of an attempt; what `keep_waiting` says.
pub(super) fn wait_for<T>(
    keep_waiting: &dyn Fn() -> Result<(), Error>,
    attempt: impl Fn() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(got) = attempt()? {
            return Ok(got);
        }
        keep_waiting()?;
        thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The next one who finds it busy must not be told of us.
        if self.signed {
            let _ = self.file.set_len(0);
        }
        // Closing alone would let go only when no child has the descriptor any more: one that is being spawned on
        // another thread has it for a moment.
        let _ = FileExt::unlock(&self.file);
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    disk::open(path, &mut options).map_err(|error| fail("open", path, error))
}

/// The lock, if its file is still what the path names.
fn still_there(file: File, path: &Path) -> Option<Lock> {
    let (ours, named) = (file.metadata().ok()?, fs::metadata(path).ok());
    let same = named.is_some_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
    let lock = Lock { file, path: path.to_owned(), signed: false };
    same.then_some(lock)
}

fn fail(verb: &'static str, path: &Path, error: io::Error) -> Error {
    Error::Store { verb, path: path.to_owned(), error }
}
