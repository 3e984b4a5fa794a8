//! The store: loads, saves, finds, lists and removes sessions.

use super::journal::{Entry, Journal};
use super::lock::{Lock, Tried};
use super::model::{Session, Status, Turn};
use crate::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// How often somebody who waits for a busy session looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The sessions of one `$CLINVK_HOME`.
pub struct Store {
    pub(super) dir: PathBuf,
    pub(super) journal: Journal,
    /// Before the file lock, so that threads of one process do not hold that while they wait for each other.
    in_process: RwLock<()>,
}

/// Proof that this process may change the store.
pub(super) struct Locked<'a> {
    // Let go in this order: the file's lock first, or a thread of ours would wait for it with the other one held.
    _file: Lock,
    _process: RwLockWriteGuard<'a, ()>,
}

/// Which sessions are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this backend.
    pub backend: Option<String>,
    /// That stand so.
    pub status: Option<Status>,
    /// With this tag.
    pub tag: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// Of this working directory.
    pub dir: Option<PathBuf>,
    /// Used at this time (RFC 3339) or later.
    pub since: Option<String>,
    /// Used before this time (RFC 3339).
    pub before: Option<String>,
    /// With this text in title or first prompt, in any case.
    pub text: Option<String>,
}

impl Filter {
    fn takes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let has = |text: &str| {
            let text = text.to_lowercase();
            entry.title.to_lowercase().contains(&text) || entry.initial_prompt.to_lowercase().contains(&text)
        };
        is(&self.backend, &entry.backend)
            && self.status.is_none_or(|status| status == entry.status)
            && self.tag.as_ref().is_none_or(|tag| entry.tags.contains(tag))
            && is(&self.model, entry.model.as_deref().unwrap_or(""))
            && self.dir.as_ref().is_none_or(|dir| *dir == entry.working_dir)
            && self.since.as_ref().is_none_or(|since| entry.last_used_at >= *since)
            && self.before.as_ref().is_none_or(|before| entry.last_used_at < *before)
            && self.text.as_deref().is_none_or(has)
    }
}

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The sessions, last used first.
    pub sessions: Vec<Session>,
    /// Files that could not be read, with the reason.
    pub problems: Vec<String>,
}

impl Store {
    /// The store below that home. Nothing is made before something is saved.
    pub fn at(home: &Path) -> Store {
        let dir = home.join("sessions");
        let journal = Journal::at(dir.join("index.jsonl"));
        Store { dir, journal, in_process: RwLock::new(()) }
    }

    /// The session of that full id.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn load(&self, id: &str) -> Result<Session, Error> {
        let _reading = self.read();
        self.read_session(id)
    }

    /// The turns of a session, oldest first. A half line at the end, of a writer that was killed, is left out.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn turns(&self, id: &str) -> Result<Vec<Turn>, Error> {
        let path = self.path(id, "turns.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::Store { verb: "read", path, error }),
        };
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The sessions that a filter takes, last used first. `progress` hears of a rebuild of the index.
    ///
    /// # Errors
    /// When the index can be neither read nor rebuilt.
    pub fn list(
        &self,
        filter: &Filter,
        offset: usize,
        limit: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Listing, Error> {
        let entries = self.entries(filter, offset, limit, progress)?;
        let mut listing = Listing::default();
        for entry in entries {
            match self.load(&entry.id) {
                Ok(session) => listing.sessions.push(self.settled(session)),
                // Deleted in this moment, or by hand.
                Err(Error::SessionNotFound { .. }) => {}
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
        Ok(listing)
    }

    /// The same from the index alone: nothing but the index is read.
    ///
    /// # Errors
    /// When the index can be neither read nor rebuilt.
    pub fn entries(
        &self,
        filter: &Filter,
        offset: usize,
        limit: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Entry>, Error> {
        self.make_index(progress)?;
        let (mut found, mut passed) = (Vec::new(), 0);
        if !self.journal.is_usable() {
            return Ok(found);
        }
        self.journal.newest_first(|entry| {
            if filter.takes(&entry) && self.path(&entry.id, "json").exists() {
                if passed >= offset && found.len() < limit {
                    found.push(entry);
                }
                passed += 1;
            }
            found.len() < limit
        })?;
        Ok(found)
    }

    /// The one session that a word means: our id or the backend's, whole or the beginning of it.
    ///
    /// # Errors
    /// When none or more than one is meant.
    pub fn find(&self, word: &str) -> Result<Session, Error> {
        let lower = word.to_ascii_lowercase();
        if is_id(&lower) && self.path(&lower, "json").exists() {
            return self.load(&lower).map(|session| self.settled(session));
        }
        let means = |entry: &Entry| {
            let backends = entry.backend_session_id.as_deref();
            entry.id.starts_with(&lower) || backends.is_some_and(|id| id.starts_with(word))
        };
        let mut meant: Vec<String> = Vec::new();
        if !word.is_empty() {
            self.make_index(&mut |_| {})?;
            if self.journal.is_usable() {
                self.journal.newest_first(|entry| {
                    if means(&entry) && self.path(&entry.id, "json").exists() {
                        meant.push(entry.id);
                    }
                    true
                })?;
            }
        }
        match &meant[..] {
            [] => Err(Error::SessionNotFound { given: super::shorten(word, 80) }),
            [id] => self.load(id).map(|session| self.settled(session)),
            _ => Err(Error::SessionAmbiguous { given: word.to_owned(), meant }),
        }
    }

    /// Changes a session: nobody else changes any in the meantime. `used`: this is a use of it and moves it to the top.
    ///
    /// # Errors
    /// When there is none of that id, or it cannot be read or written.
    pub fn update(&self, id: &str, used: bool, change: impl FnOnce(&mut Session)) -> Result<Session, Error> {
        let locked = self.lock()?;
        let mut session = self.read_session(id)?;
        change(&mut session);
        self.save(&locked, &session, used)?;
        Ok(session)
    }

    /// Saves a session that is new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, session: &Session) -> Result<(), Error> {
        let locked = self.lock()?;
        self.save(&locked, session, true)
    }

    /// Appends a turn. To be called by who holds the session's lock.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append_turns(&self, id: &str, turns: &[Turn]) -> Result<(), Error> {
        let path = self.path(id, "turns.jsonl");
        let write = || -> io::Result<()> {
            let mut lines = Vec::new();
            for turn in turns {
                serde_json::to_writer(&mut lines, turn)?;
                lines.push(b'\n');
            }
            let mut options = OpenOptions::new();
            let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
            if !super::journal::ends_with_newline(&file)? {
                lines.insert(0, b'\n');
            }
            let before = file.metadata()?.len();
            file.write_all(&lines).and_then(|()| file.sync_data()).inspect_err(|_| {
                // A full disk must not leave half a turn. If this fails too, the next append ends the half line.
                let _ = file.set_len(before);
            })
        };
        write().map_err(|error| Error::Store { verb: "write", path: path.clone(), error })
    }

    /// Removes a session and its turns.
    ///
    /// # Errors
    /// When it is busy, is not there, or cannot be removed.
    pub fn delete(&self, id: &str) -> Result<(), Error> {
        let held = self.hold(id, Some(Duration::ZERO))?;
        let locked = self.lock()?;
        self.remove_file(id, "json")?;
        self.remove_file(id, "turns.jsonl")?;
        held.remove()?;
        let gone = Entry { deleted: true, ..Entry::of(&Session::new(id.to_owned(), "", PathBuf::new(), ""), false) };
        self.append(&locked, &gone, false)
    }

    /// Holds a session against other runs. `patience`: none waits for ever, zero not at all.
    ///
    /// # Errors
    /// `SessionBusy` with the pid of the holder, when patience has run out.
    pub(super) fn hold(&self, id: &str, patience: Option<Duration>) -> Result<Lock, Error> {
        self.make_dir()?;
        let path = self.path(id, "lock");
        let since = Instant::now();
        loop {
            match Lock::try_get(&path)? {
                Tried::Held(mut lock) => {
                    lock.sign();
                    return Ok(lock);
                }
                Tried::Busy(pid) if patience.is_some_and(|patience| since.elapsed() >= patience) => {
                    return Err(Error::SessionBusy { id: id.to_owned(), pid });
                }
                Tried::Busy(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// A session as it really stands: one that is called active although nobody holds it was left by a process that died.
    pub fn settled(&self, session: Session) -> Session {
        if session.status != Status::Active {
            return session;
        }
        match Lock::try_get(&self.path(&session.id, "lock")) {
            Ok(Tried::Held(_lock)) => {
                let put_right = self.update(&session.id, false, |session| {
                    if session.status == Status::Active {
                        session.status = Status::Error;
                        session.last_error = Some("the process that ran it was killed".to_owned());
                    }
                });
                put_right.unwrap_or_else(|error| {
                    log::warn!("{error}");
                    session
                })
            }
            _ => session,
        }
    }

    /// Every id that has a file.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::Store { verb: "read", path: self.dir.clone(), error }),
        };
        let id = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".json").filter(|id| is_id(id)).map(str::to_owned);
        Ok(entries.flatten().filter_map(|entry| id(entry.file_name())).collect())
    }

    /// Makes the index from the session files. `progress` hears how many have been read.
    ///
    /// # Errors
    /// When the directory cannot be read or the index cannot be written.
    pub(super) fn rebuild(&self, _held: &Locked<'_>, progress: &mut dyn FnMut(usize)) -> Result<(), Error> {
        let mut entries = Vec::new();
        for (done, id) in self.ids()?.iter().enumerate() {
            progress(done + 1);
            // What cannot be read stays where it is, and is told by `fsck` and by who asks for it.
            entries.extend(self.read_session(id).ok().map(|session| Entry::of(&session, true)));
        }
        entries.sort_by(|a, b| (&b.last_used_at, &b.id).cmp(&(&a.last_used_at, &a.id)));
        self.journal.replace(&entries)
    }

    /// Makes the index when there is none that can be used, and there is something to be in it.
    fn make_index(&self, progress: &mut dyn FnMut(usize)) -> Result<(), Error> {
        if self.journal.is_usable() || !self.dir.exists() {
            return Ok(());
        }
        let locked = self.lock()?;
        // Somebody else may have made it while we waited.
        if self.journal.is_usable() { Ok(()) } else { self.rebuild(&locked, progress) }
    }

    pub(super) fn lock(&self) -> Result<Locked<'_>, Error> {
        self.make_dir()?;
        let process = self.in_process.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let file = Lock::wait(&self.dir.join("store.lock"))?;
        Ok(Locked { _file: file, _process: process })
    }

    fn read(&self) -> RwLockReadGuard<'_, ()> {
        self.in_process.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn make_dir(&self) -> Result<(), Error> {
        if self.dir.is_dir() {
            return Ok(());
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| Error::Store { verb: "create", path: self.dir.clone(), error })
    }

    /// Writes the file in one step: a reader sees the old or the new one. The index first: a file that is not in it
    /// would not be found again, and a line in it without a file is passed over.
    fn save(&self, held: &Locked<'_>, session: &Session, used: bool) -> Result<(), Error> {
        let path = self.path(&session.id, "json");
        self.append(held, &Entry::of(session, used), !path.exists())?;
        let temporary = self.path(&session.id, "json.tmp");
        let write = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(session)?;
            text.push(b'\n');
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            Error::Store { verb: "write", path: path.clone(), error }
        })
    }

    fn append(&self, held: &Locked<'_>, entry: &Entry, durable: bool) -> Result<(), Error> {
        if !self.journal.is_usable() {
            self.rebuild(held, &mut |_| {})?;
        }
        self.journal.append(std::slice::from_ref(entry), durable)?;
        if self.journal.wants_compaction() {
            let mut all = Vec::new();
            self.journal.newest_first(|entry| {
                all.push(entry);
                true
            })?;
            self.journal.replace(&all)?;
        }
        Ok(())
    }

    fn read_session(&self, id: &str) -> Result<Session, Error> {
        let path = self.path(id, "json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::SessionNotFound { given: super::shorten(id, 80) });
            }
            Err(error) => return Err(Error::Store { verb: "read", path, error }),
        };
        serde_json::from_slice(&text).map_err(|error| Error::SessionBroken { path, problem: error.to_string() })
    }

    fn remove_file(&self, id: &str, end: &str) -> Result<(), Error> {
        let path = self.path(id, end);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Store { verb: "remove", path, error }),
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self, id: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{id}.{end}"))
    }
}

/// Whether a word is a whole id of ours, and so may be part of a path.
pub fn is_id(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
