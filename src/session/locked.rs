//! Who may change what: the store's lock, with the index that is brought up to date under it, and the locks of sessions.

use super::journal::{Entry, Open, Seen, nanoseconds};
use super::model::shorten;
use super::store::{Store, fail};
use crate::base::lock::{Inside, Lock, Tried, wait_for};
use crate::base::sys;
use crate::model::error::Error;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::time::{Duration, Instant};

/// How often a run that waits for a busy session looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a session may be held by no process that is known before it counts as busy: a process that looks after it
/// (deletes it, imports it, finds that its run has died) holds it for a moment, and does not sign for that. A process of
/// another host or container is not known either.
const MOMENT: Duration = Duration::from_secs(1);
/// How long the store's lock is waited for at most. No process has it for longer than a change takes, or a new index.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Proof that this process may change the store. Whatever makes or removes a name in the directory does it with this in
/// hand: when it is let go, the index notes that it knows the directory as it is then.
pub(super) struct Locked<'a> {
    store: &'a Store,
    /// The index; none where there is none that can be used.
    pub(super) journal: Option<Open>,
    /// The index has all that was in the directory when the lock was got.
    pub(super) is_current: bool,
    // Let go in this order: the file's lock first, or a thread of ours would wait for it with the other one held.
    _file: Lock,
    _process: Inside,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let directory = self.store.journal.directory_changed().ok().filter(|_| self.is_current);
        // Not noted, it is looked at once more.
        let _ = self.journal.take().map(|journal| journal.close(directory));
    }
}

impl Store {
    /// Makes the place for sessions, where there is none yet.
    pub(crate) fn make_place(&self) -> Result<(), Error> {
        self.has_place()?;
        if !self.dir.is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
            made.map_err(fail("create", &self.dir))?;
        }
        Ok(())
    }

    /// Waits until no other process or thread changes the store, and sees to it that the index can be changed too. `keep_waiting` is
    /// asked whether to wait any longer.
    pub(super) fn lock(&self, keep_waiting: &dyn Fn() -> Result<(), Error>) -> Result<Locked<'_>, Error> {
        let mut locked = self.lock_as_it_is(keep_waiting)?;
        match self.bring_up_to_date(&mut locked) {
            Ok(()) => locked.is_current = true,
            // What is to be changed counts more, above all what makes room.
            Err(error) => log::debug!("the index was not brought up to date: {error}"),
        }
        Ok(locked)
    }

    /// The same for who looks after the index.
    pub(super) fn lock_as_it_is(
        &self,
        keep_waiting: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Locked<'_>, Error> {
        self.make_place()?;
        let (path, since) = (self.dir.join("store.lock"), Instant::now());
        let keep_waiting = || match keep_waiting() {
            Ok(()) if since.elapsed() >= LONGEST_WAIT => {
                let sentence = format!("another process has had it for {LONGEST_WAIT:?}");
                Err(fail("lock", &path)(io::Error::new(io::ErrorKind::TimedOut, sentence)))
            }
            said => said,
        };
        let process = self.in_process.enter(&keep_waiting)?;
        let file = wait_for(&path, &keep_waiting, |error| fail("open", &path)(error))?;
        let journal = self.journal.open_to_change();
        Ok(Locked { store: self, journal, is_current: false, _file: file, _process: process })
    }

    /// The same without waiting; none when another process or thread has it.
    pub(super) fn try_lock(&self) -> Result<Option<Locked<'_>>, Error> {
        match self.lock(&|| Err(Error::Cancelled)) {
            Ok(locked) => Ok(Some(locked)),
            Err(Error::Cancelled) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the index anew where the directory has changed behind its back: it lacks a session, or one has been written
    /// since.
    fn bring_up_to_date(&self, held: &mut Locked<'_>) -> Result<(), Error> {
        let directory = self.journal.directory_changed().unwrap_or(0);
        let Some(sealed) = held.journal.as_ref().and_then(|journal| journal.lacks_since(directory)) else {
            return Ok(());
        };
        let mut unknown: HashSet<String> = self.ids()?.into_iter().collect();
        let is_newer = |id: &String| {
            // Of a turn that had been written before the index was sealed, and was killed as soon as its file had its name, the
            // index says that it is active: that is looked at anyway.
            let changed = fs::symlink_metadata(self.path(id, "json"));
            changed.is_ok_and(|meta| nanoseconds(meta.mtime(), meta.mtime_nsec()) > sealed)
        };
        let mut is_stale = unknown.iter().any(is_newer);
        if !is_stale {
            self.journal.newest_first(|entry| {
                unknown.remove(&entry.id);
                !unknown.is_empty()
            })?;
            is_stale = unknown.iter().any(|id| self.load(id).is_ok());
        }
        if is_stale { self.rebuild(held, &mut |_| {}) } else { Ok(()) }
    }

    /// Holds a session if it is free.
    pub(super) fn try_hold(&self, id: &str) -> Result<Tried, Error> {
        let path = self.path(id, "lock");
        Lock::try_get(&path).map_err(fail("open", &path))
    }

    /// Makes a session, and holds it; where it cannot be made, nothing of it is left. Another holder is not waited for: it
    /// may need the store, which is in hand.
    pub(super) fn make(
        &self,
        id: &str,
        make: impl FnOnce(&mut Lock) -> Result<(), Error>,
    ) -> Result<Lock, Error> {
        let mut held = match self.try_hold(id)? {
            Tried::Held(held) => held,
            Tried::Busy(pid) => return Err(Error::SessionBusy { id: id.to_owned(), pid }),
        };
        match make(&mut held) {
            Ok(()) => Ok(held),
            Err(error) => {
                let _ = self.remove_parts(id);
                Err(error)
            }
        }
    }

    /// Holds a session that is there against other runs. `wait_limit`: none waits for ever, zero not at all. `keep_waiting`
    /// is asked whether to wait any longer. No lock's file is made for a session that is not there.
    pub(super) fn hold(
        &self,
        id: &str,
        wait_limit: Option<Duration>,
        keep_waiting: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Lock, Error> {
        let since = Instant::now();
        loop {
            if !self.has(id, "json") {
                return Err(Error::SessionNotFound { given: shorten(id, 80) });
            }
            let pid = match self.try_hold(id)? {
                Tried::Held(lock) => return Ok(lock),
                Tried::Busy(pid) => pid.filter(|pid| sys::is_alive(*pid)),
            };
            let moment = if pid.is_some() { Duration::ZERO } else { MOMENT };
            if wait_limit.is_some_and(|limit| since.elapsed() >= limit.max(moment)) {
                return Err(Error::SessionBusy { id: id.to_owned(), pid });
            }
            keep_waiting()?;
            std::thread::sleep(if pid.is_some() { LOOK_AGAIN } else { LOOK_AGAIN / 10 });
        }
    }

    /// Makes the index from the session files. `progress` hears how many have been read.
    pub(super) fn rebuild(
        &self,
        held: &mut Locked<'_>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), Error> {
        let mut entries = Vec::new();
        for (done, id) in self.ids()?.iter().enumerate() {
            progress(done + 1);
            // What cannot be read stays where it is, and is reported by `fsck`, and to a user who asks for it.
            entries.extend(self.load(id).ok().map(|session| Entry::of(&session)));
        }
        entries.sort_unstable_by(|a, b| (&b.last_used_at, &b.id).cmp(&(&a.last_used_at, &a.id)));
        self.journal.replace(&entries)?;
        held.journal = self.journal.open_to_change();
        Ok(())
    }

    /// Puts an index of these entries, newest first, in place of the one there is. It can wait: nothing is lost but time.
    pub(super) fn replace_index(&self, held: &mut Locked<'_>, entries: &[Entry]) {
        match self.journal.replace(entries) {
            Ok(()) => held.journal = self.journal.open_to_change(),
            Err(error) => log::debug!("the index was not replaced: {error}"),
        }
    }

    /// Makes the index when there is none that can be used. Returns whether there is a store at all.
    pub(super) fn make_index(&self, progress: &mut dyn FnMut(usize)) -> Result<bool, Error> {
        match self.journal.seen() {
            Seen::All => return Ok(true),
            Seen::Before => {
                // A process that has the lock is changing something right now, and has looked before. A user who may not
                // write reads what there is.
                if let Err(error) = self.try_lock().map(drop) {
                    log::debug!("the index was not looked at: {error}");
                }
                return Ok(true);
            }
            Seen::Nothing => {}
        }
        if !self.exists()? {
            return Ok(false);
        }
        let mut locked = self.lock(&|| Ok(()))?;
        // Another process may have made it while this one waited.
        if locked.journal.is_none() {
            self.rebuild(&mut locked, progress)?;
        }
        Ok(true)
    }
}
