//! The store: loads, saves, holds and removes sessions. They are found in `find`.

use super::bounds;
use super::find::Filter;
use super::journal::{Entry, Journal};
use super::locked::Locked;
use super::model::{Session, Status, Tokens, Turn, shorten};
use crate::base::lock::{Gate, Lock, Tried};
use crate::base::time::timestamp;
use crate::base::{disk, json, world};
use crate::model::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How much a look at the store writes: about what a turn needs, so that a disk is called full before one is lost.
const PROBE: usize = 64 << 10;

/// The files of a session: itself, its turns, while a turn is in progress what becomes of it, its lock.
const PARTS: [&str; 4] = ["json", "turns.jsonl", "next", "lock"];

/// The sessions of one `$CLINVK_HOME`.
#[derive(Clone)]
pub struct Store {
    pub(super) dir: PathBuf,
    /// Why there is no place for sessions.
    nowhere: Option<String>,
    pub(super) journal: Journal,
    /// Before the file lock, so that threads of one process do not hold that while they wait for each other.
    pub(super) in_process: Arc<Gate>,
}

/// An error with a file of the store.
pub(super) fn fail(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Store { verb, path, error }
}

/// A state of a session's file: its inode, its length, when it was written and when it got its name. A new state is a new
/// file, and the times are for the one that has an old one's inode.
#[derive(PartialEq)]
pub(super) struct Version(u64, u64, (i64, i64), (i64, i64));

impl Store {
    /// The store below that home. Nothing is made before something is saved.
    pub fn at(home: &Path) -> Store {
        let dir = home.join("sessions");
        let journal = Journal { path: dir.join("index.jsonl") };
        Store { dir, nowhere: None, journal, in_process: Arc::default() }
    }

    /// A store in which nothing can be kept, and why: `home` is below what can have nothing below it.
    pub(crate) fn nowhere(home: &Path, why: String) -> Store {
        Store { nowhere: Some(why), ..Store::at(home) }
    }

    /// Whether there is a place for sessions.
    pub(crate) fn has_place(&self) -> Result<(), Error> {
        self.nowhere.as_ref().map_or(Ok(()), |why| Err(Error::Invalid(why.clone())))
    }

    /// The session of that full id.
    pub fn load(&self, id: &str) -> Result<Session, Error> {
        let path = self.path(id, "json");
        let broken = |problem| Error::SessionBroken { path: path.clone(), problem };
        let text = disk::read(&path, bounds::READ).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::SessionNotFound { given: shorten(id, 80) },
            io::ErrorKind::FileTooLarge => broken(error.to_string()),
            _ if disk::is_no_file(&error) => broken(error.to_string()),
            _ => fail("read", &path)(error),
        })?;
        let session: Session = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if session.id != id {
            // A copy: what is done with it would be done to the other one.
            return Err(broken(format!("it has the id `{}`", shorten(&session.id, 80))));
        }
        Ok(self.as_begun(session))
    }

    /// A session of whose turn there is no end yet, in progress or killed, is active since that began. Its own file is
    /// written when a turn ends, and says so of the first one only.
    pub(super) fn as_begun(&self, mut session: Session) -> Session {
        if session.status != Status::Active && self.has(&session.id, "next") {
            session.status = Status::Active;
            // It is signed when a turn begins.
            if let Ok(lock) = fs::metadata(self.path(&session.id, "lock")) {
                let seconds = u64::try_from(lock.mtime()).unwrap_or(0);
                session.last_used_at = timestamp((seconds, lock.mtime_nsec() as u32));
            }
        }
        session
    }

    /// The turns of a session, oldest first. A half line at the end, of a writer that was killed, is left out.
    pub fn turns(&self, id: &str) -> Result<Vec<Turn>, Error> {
        let mut turns = Vec::new();
        self.each_turn(id, |turn| turns.push(turn))?;
        Ok(turns)
    }

    /// The same one by one: all of them together may be long.
    pub(crate) fn each_turn(&self, id: &str, mut hear: impl FnMut(Turn)) -> Result<(), Error> {
        let path = self.path(id, "turns.jsonl");
        let mut file = match disk::open(&path, OpenOptions::new().read(true)) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail("read", &path)(error)),
        };
        // As bytes: half a line may end in the middle of a character.
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).map_err(fail("read", &path))? > 0 {
            if let Ok(turn) = serde_json::from_slice(&line) {
                hear(turn);
            }
            line.clear();
        }
        Ok(())
    }

    /// How long the turns of a session are, in bytes on the disk.
    pub(crate) fn size_of_turns(&self, id: &str) -> usize {
        let size = fs::metadata(self.path(id, "turns.jsonl")).map_or(0, |meta| meta.len());
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    /// Changes a session, which a run may have: no other process or thread changes any meanwhile. It stays in its place in
    /// the order.
    pub fn update(
        &self,
        id: &str,
        change: impl FnOnce(&mut Session) -> Result<(), Error>,
    ) -> Result<Session, Error> {
        let mut locked = self.lock(&|| Ok(()))?;
        let mut session = self.load(id)?;
        change(&mut session)?;
        self.save(&mut locked, &session, &Entry::of_change(&session))?;
        Ok(session)
    }

    /// Writes the file in one step: a reader sees the old or the new one. The index follows. Where it does not, after a kill
    /// or a power failure, it is seen to be older than the directory.
    fn save(&self, held: &mut Locked<'_>, session: &Session, entry: &Entry) -> Result<(), Error> {
        let path = self.path(&session.id, "json");
        json::line(session)
            .and_then(|line| disk::replace(&path, &line))
            // The new name has to outlive a power failure as well.
            .and_then(|()| disk::sync_names(&path))
            .map_err(fail("write", &path))?;
        self.append(held, entry)
    }

    /// Saves what a turn has made of a session, once it is on the disk. To be called by who holds the session. It was
    /// `known` when the turn began; where another has changed it since, `change` is made to what it is now.
    ///
    /// The store's lock is in hand for as long as names change, never while the disk is waited for.
    pub(super) fn finish(
        &self,
        (mut session, mut version): (Session, Option<Version>),
        keep_waiting: &dyn Fn() -> Result<(), Error>,
        change: impl Fn(&mut Session),
        entry: fn(&Session) -> Entry,
    ) -> Result<Session, Error> {
        let (path, next) = (self.path(&session.id, "json"), self.path(&session.id, "next"));
        loop {
            change(&mut session);
            let mut options = OpenOptions::new();
            disk::open(&next, options.write(true).create(true).truncate(true).mode(0o600))
                .and_then(|mut file| file.write_all(&json::line(&session)?).and_then(|()| file.sync_data()))
                .map_err(fail("write", &next))?;
            let mut locked = self.lock(keep_waiting)?;
            if version.is_some() && self.version(&session.id) == version {
                fs::rename(&next, &path).map_err(fail("write", &path))?;
                self.append(&mut locked, &entry(&session))?;
                break;
            }
            drop(locked);
            version = self.version(&session.id);
            session = self.load(&session.id)?;
        }
        // The new name has to outlive a power failure as well.
        disk::sync_names(&path).map_err(fail("write", &path))?;
        Ok(session)
    }

    /// What tells the file of a session from an earlier one of its name.
    pub(super) fn version(&self, id: &str) -> Option<Version> {
        let file = fs::symlink_metadata(self.path(id, "json")).ok()?;
        let (written, named) = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        Some(Version(file.ino(), file.len(), written, named))
    }

    /// Saves a session that is new, and comes with its turns, under its own id or, where that is taken, another. Returns
    /// its id.
    pub fn add(&self, mut session: Session, turns: &[Turn]) -> Result<String, Error> {
        let mut locked = self.lock(&|| Ok(()))?;
        if PARTS.iter().any(|end| self.has(&session.id, end)) {
            session.id = world::random_id()?;
            // The backend's own session stays with the one that has it.
            session.backend_session_id = None;
        }
        self.make(&session.id, |_| {
            self.append_turns(&session.id, turns)?;
            self.save(&mut locked, &session, &Entry::of(&session))
        })?;
        Ok(session.id)
    }

    /// The same for one that is older: it takes the place in the order of the sessions that its last use gives it.
    pub(crate) fn insert(&self, session: Session, turns: &[Turn]) -> Result<String, Error> {
        let used = session.last_used_at.clone();
        let id = self.add(session, turns)?;
        let mut locked = self.lock(&|| Ok(()))?;
        let mut all = self.journal.all()?;
        let place = all.iter().position(|entry| entry.id == id).unwrap_or(0);
        let later = all.iter().rposition(|entry| entry.id != id && entry.last_used_at > used);
        if let Some(later) = later.filter(|later| *later > place) {
            all[place..=later].rotate_left(1);
            self.replace_index(&mut locked, &all);
        }
        Ok(id)
    }

    /// A new session with the same past, which belongs to `owner`. The vendor's own session stays with the first one: the
    /// new one's next turn replays. So do the tokens: they were used once. Returns its id.
    pub(crate) fn fork(&self, session: Session, owner: Option<String>) -> Result<String, Error> {
        let turns = self.turns(&session.id)?;
        let now = timestamp(world::now());
        let fork = Session {
            id: world::random_id()?,
            parent_id: Some(session.id),
            backend_session_id: None,
            status: Status::Completed,
            token_usage: Tokens::default(),
            last_error: None,
            created_at: now.clone(),
            last_used_at: now,
            owner,
            hidden: false,
            ..session
        };
        self.add(fork, &turns)
    }

    /// The file of a session's turns, to append to.
    pub(super) fn open_turns(&self, id: &str) -> Result<File, Error> {
        let path = self.path(id, "turns.jsonl");
        let mut options = OpenOptions::new();
        disk::open(&path, options.read(true).append(true).create(true).mode(0o600))
            .map_err(fail("write", &path))
    }

    /// Appends turns. To be called by who holds the session's lock.
    pub(super) fn append_turns(&self, id: &str, turns: &[Turn]) -> Result<(), Error> {
        if turns.is_empty() {
            return Ok(());
        }
        let file = self.open_turns(id)?;
        let write = || -> io::Result<()> {
            let (ends_in_line, before) = (!super::journal::ends_with_newline(&file)?, file.metadata()?.len());
            // A reader sees all of it or, for a moment, some of it at the end, which it leaves out. A turn may be long:
            // there is no copy of it.
            let append = |mut out: BufWriter<&File>| {
                if ends_in_line {
                    out.write_all(b"\n")?;
                }
                for turn in turns {
                    serde_json::to_writer(&mut out, turn)?;
                    out.write_all(b"\n")?;
                }
                out.flush()
            };
            append(BufWriter::new(&file)).and_then(|()| file.sync_data()).inspect_err(|_| {
                // A full disk must not leave half a turn. If this fails too, the next append ends the half line.
                let _ = file.set_len(before);
            })
        };
        write().map_err(fail("write", &self.path(id, "turns.jsonl")))
    }

    /// Removes a session and its turns, if it is one of those: it may have been used since it was chosen. Returns
    /// whether it was.
    pub fn delete(&self, id: &str, only: &Filter) -> Result<bool, Error> {
        self.remove_if(id, Some(only))
    }

    /// Removes a session and its turns, also one whose file makes no sense: a user who gives its whole id means it.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Error> {
        self.remove_if(id, None).map(drop)
    }

    fn remove_if(&self, id: &str, only: Option<&Filter>) -> Result<bool, Error> {
        let held = self.hold(id, Some(Duration::ZERO), &|| Ok(()))?;
        let mut locked = self.lock(&|| Ok(()))?;
        match (self.load(id), only) {
            (Ok(session), Some(only)) if !self.takes(only, &Entry::of(&session)) => return Ok(false),
            (Ok(_), _) | (Err(Error::SessionBroken { .. }), None) => {}
            (Err(error), _) => {
                if let Error::SessionNotFound { .. } = error {
                    held.remove().map_err(fail("remove", &self.path(id, "lock")))?;
                }
                return Err(error);
            }
        }
        self.remove_parts(id)?;
        self.append(&mut locked, &Entry::of_deleted(id)).map(|()| true)
    }

    /// Removes all there is of a session, its lock last: who calls this holds it.
    pub(super) fn remove_parts(&self, id: &str) -> Result<(), Error> {
        PARTS.map(|end| self.path(id, end)).iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fail("remove", path)(error)),
            _ => Ok(()),
        })
    }

    /// A session as it really stands: one that is called active although no process holds it was left by one that died.
    pub(crate) fn settled(&self, mut session: Session) -> Session {
        let path = self.path(&session.id, "lock");
        if session.status != Status::Active || Lock::is_held(&path) {
            return session;
        }
        let put_right = |session: &mut Session| {
            session.status = Status::Error;
            session.last_error = Some("its run was killed, or could not save how it ended".to_owned());
        };
        let lock = Lock::try_get(&path);
        let (version, now) = (self.version(&session.id), self.load(&session.id));
        match (&lock, now) {
            // It has come to its end, or another run has it, in this moment.
            (_, Ok(now)) if now.status != Status::Active => return now,
            (Ok(Tried::Busy(_)), Ok(now)) if Lock::is_held(&path) => return now,
            (Ok(Tried::Held(_)), Ok(now)) => {
                match self.finish((now, version), &|| Ok(()), put_right, Entry::of_change) {
                    Ok(settled) => return settled,
                    Err(error) => log::warn!("{error}"),
                }
            }
            // A user who may not write is shown it all the same.
            _ => {}
        }
        put_right(&mut session);
        session
    }

    /// How many sessions there are, if a new one could be saved. Reads no file.
    pub fn look(&self) -> Result<usize, Error> {
        // Another one who changes something finds out by itself.
        if let Some(_locked) = self.try_lock()? {
            // As much as a turn needs. A nearly full disk takes the name, or a few bytes, and nothing more.
            let path = self.dir.join(format!("probe-{}.tmp", world::random_id()?));
            let written = disk::create(&path).and_then(|mut file| file.write_all(&vec![b'x'; PROBE]));
            let removed = fs::remove_file(&path);
            written.map_err(fail("write", &path))?;
            removed.map_err(fail("remove", &path))?;
        }
        self.ids().map(|ids| ids.len())
    }

    /// Every id that has a file.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail("read", &self.dir)(error)),
        };
        let id = |name: std::ffi::OsString| {
            name.to_str()?.strip_suffix(".json").filter(|id| is_id(id)).map(str::to_owned)
        };
        Ok(entries.flatten().filter_map(|entry| id(entry.file_name())).collect())
    }

    /// Whether anything was ever saved.
    pub(super) fn exists(&self) -> Result<bool, Error> {
        self.has_place()?;
        self.dir.try_exists().map_err(fail("read", &self.dir))
    }

    pub(super) fn append(&self, held: &mut Locked<'_>, entry: &Entry) -> Result<(), Error> {
        if held.journal.is_none() {
            self.rebuild(held, &mut |_| {})?;
        }
        let journal = held.journal.as_mut().ok_or_else(|| io::ErrorKind::InvalidData.into());
        if journal.and_then(|journal| journal.append(entry)).map_err(fail("write", &self.journal.path))? {
            let _ = self.journal.all().map(|all| self.replace_index(held, &all));
        }
        Ok(())
    }

    /// Whether there is anything of that name, a link that leads nowhere too.
    pub(super) fn has(&self, id: &str, end: &str) -> bool {
        fs::symlink_metadata(self.path(id, end)).is_ok()
    }

    pub(super) fn path(&self, id: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{id}.{end}"))
    }
}

/// Whether a word is a whole id of ours, and so may be part of a path.
pub fn is_id(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
