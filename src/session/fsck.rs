//! Finds and repairs what went wrong in the store: after a full disk, a kill, or somebody's hands. What is no use is
//! moved aside, never deleted. Others go on meanwhile: what they are busy with is left alone.

use super::journal::{Entry, ends_with_newline, free_name, move_aside};
use super::lock::{Lock, Tried};
use super::model::{Session, Status, Turn};
use super::store::{Store, is_id};
use crate::model::error::Error;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// A word for it: `index`, `torn`, `temporary`, `stale`, `corrupt`, `unreadable`, `orphan`.
    pub kind: &'static str,
    /// What it is, and what was or would be done.
    pub sentence: String,
}

/// Looks through the whole store, and unless `dry_run` repairs it. `progress` hears how many files have been read.
///
/// # Errors
/// When the store cannot be read, or a repair fails.
pub fn fsck(store: &Store, dry_run: bool, progress: &mut dyn FnMut(usize)) -> Result<Vec<Finding>, Error> {
    let mut check = Check { store, dry_run, findings: Vec::new(), sessions: HashMap::new() };
    if !store.exists()? {
        return Ok(check.findings);
    }
    for (done, id) in store.ids()?.into_iter().enumerate() {
        progress(done + 1);
        check.session(id)?;
    }
    check.other_files()?;
    check.index()?;
    Ok(check.findings)
}

struct Check<'a> {
    store: &'a Store,
    dry_run: bool,
    findings: Vec<Finding>,
    /// What the index should say of every session.
    sessions: HashMap<String, Entry>,
}

impl Check<'_> {
    fn found(&mut self, kind: &'static str, sentence: String) {
        self.findings.push(Finding { kind, sentence });
    }

    /// Holds a session, so that nobody else works on it. `None`: somebody does, and that is no finding.
    fn hold(&self, id: &str) -> Result<Option<Lock>, Error> {
        let path = self.store.path(id, "lock");
        // Nothing is held for a dry run: that would make the lock file.
        if self.dry_run {
            return Ok(None);
        }
        match Lock::try_get(&path)? {
            Tried::Held(lock) => Ok(Some(lock)),
            Tried::Busy(_) => Ok(None),
        }
    }

    fn is_busy(&self, id: &str) -> bool {
        Lock::is_held(&self.store.path(id, "lock"))
    }

    fn session(&mut self, id: String) -> Result<(), Error> {
        match self.store.load(&id) {
            Ok(session) => {
                let session = self.stale(session);
                self.sessions.insert(id, Entry::of(&session, true));
            }
            // Deleted in this moment.
            Err(Error::SessionNotFound { .. }) => {}
            // Whoever may not read it, or whose disk fails, would do harm with any repair.
            Err(error @ Error::Store { .. }) if !self.store.path(&id, "json").is_dir() => {
                self.found("unreadable", format!("{error}: left alone"));
            }
            Err(Error::SessionBroken { path, problem }) => {
                self.aside(
                    "corrupt",
                    &id,
                    "json",
                    &format!("session file `{}` is broken: {problem}", path.display()),
                )?;
            }
            Err(error) => self.aside("corrupt", &id, "json", &error.to_string())?,
        }
        Ok(())
    }

    /// A session that is called active although nobody holds it.
    fn stale(&mut self, session: Session) -> Session {
        if session.status != Status::Active || self.is_busy(&session.id) {
            return session;
        }
        self.found("stale", format!("session {} is active and nobody runs it: set to error", session.id));
        if self.dry_run { session } else { self.store.settled(session) }
    }

    /// Moves a file of a session aside.
    fn aside(&mut self, kind: &'static str, id: &str, end: &str, problem: &str) -> Result<(), Error> {
        let path = self.store.path(id, end);
        if self.dry_run {
            self.found(kind, format!("{problem}: would be moved aside"));
            return Ok(());
        }
        let moved =
            move_aside(&path, kind).map_err(|error| Error::Store { verb: "move aside", path, error })?;
        self.found(kind, format!("{problem}: moved to `{}`", moved.display()));
        Ok(())
    }

    /// Everything that is no session: temporary files of writers that died, turns and locks without a session, turns
    /// that end in the middle of a line.
    fn other_files(&mut self) -> Result<(), Error> {
        let dir = &self.store.dir;
        let fail = |verb, path: &Path| {
            let path = path.to_owned();
            move |error| Error::Store { verb, path, error }
        };
        for entry in fs::read_dir(dir).map_err(fail("read", dir))?.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let (id, end) = name.split_once('.').unwrap_or((&name, ""));
            match end {
                "tmp" | "json.tmp" | "jsonl.tmp" => {
                    // Whoever writes one holds the store: then it is soon gone.
                    let _locked = if self.dry_run { None } else { Some(self.store.lock()?) };
                    if !path.exists() {
                        continue;
                    }
                    self.found("temporary", format!("`{name}` was left by a writer that died: removed"));
                    if !self.dry_run {
                        let removed = if path.is_dir() {
                            move_aside(&path, "corrupt").map(drop)
                        } else {
                            fs::remove_file(&path)
                        };
                        removed.map_err(fail("remove", &path))?;
                    }
                }
                "turns.jsonl" if is_id(id) => self.turns(id, &path)?,
                "lock" if is_id(id) && !self.store.path(id, "json").exists() => {
                    // Whoever holds it is about to make the session.
                    if let Some(lock) = self.hold(id)?.filter(|_| !self.store.path(id, "json").exists()) {
                        lock.remove()?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn turns(&mut self, id: &str, path: &Path) -> Result<(), Error> {
        let fail = |verb| move |error| Error::Store { verb, path: path.to_owned(), error };
        let session = self.store.path(id, "json");
        if path.is_dir() {
            return self.aside("corrupt", id, "turns.jsonl", &format!("`{}` is a directory", path.display()));
        }
        let whole = |path: &Path| File::open(path).and_then(|file| ends_with_newline(&file));
        match whole(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.found("unreadable", format!("cannot read `{}`: {error}: left alone", path.display()));
                return Ok(());
            }
            Ok(true) if session.exists() => return Ok(()),
            Ok(_) => {}
        }
        // A run that holds the session may be writing right now.
        let held = self.hold(id)?;
        if held.is_none() && (!self.dry_run || self.is_busy(id)) {
            return Ok(());
        }
        // Whoever deleted the session meanwhile held it and took its turns too.
        if !path.exists() {
            return Ok(());
        }
        if !session.exists() {
            return self.aside("orphan", id, "turns.jsonl", &format!("the turns of {id} have no session"));
        }
        if whole(path).map_err(fail("read"))? {
            return Ok(());
        }
        let text = fs::read(path).map_err(fail("read"))?;
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let half = &text[start..];
        let file = OpenOptions::new().write(true).open(path).map_err(fail("open"));
        // Only its line end is missing: it is a turn.
        if serde_json::from_slice::<Turn>(half).is_ok() {
            self.found("torn", format!("the last turn of {id} has no line end: ended"));
            return if self.dry_run {
                Ok(())
            } else {
                file?.write_all_at(b"\n", text.len() as u64).map_err(fail("write"))
            };
        }
        let sentence = format!("the turns of {id} end in the middle of a line ({} bytes)", half.len());
        if self.dry_run {
            self.found("torn", format!("{sentence}: would be moved aside"));
            return Ok(());
        }
        let aside = free_name(path, "torn").map_err(fail("write beside"))?;
        let beside = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside);
        beside.and_then(|mut beside| beside.write_all(half)).map_err(fail("write beside"))?;
        file?.set_len(start as u64).map_err(fail("cut"))?;
        self.found("torn", format!("{sentence}: moved to `{}`", aside.display()));
        Ok(())
    }

    /// The index against the files, while nobody changes either.
    fn index(&mut self) -> Result<(), Error> {
        let (store, journal) = (self.store, &self.store.journal);
        let locked = if self.dry_run { None } else { Some(store.lock()?) };
        let mut problems = Vec::new();
        if journal.is_usable() {
            let (mut orphans, mut differ) = (0, 0);
            let mut missing = std::mem::take(&mut self.sessions);
            journal.newest_first(|entry| {
                let entry = Entry { used: true, ..entry };
                if missing.remove(&entry.id).as_ref() != Some(&entry) {
                    // It may have changed since it was read.
                    match store.read_session(&entry.id) {
                        Err(Error::SessionNotFound { .. }) => orphans += 1,
                        now => differ += usize::from(now.is_ok_and(|now| Entry::of(&now, true) != entry)),
                    }
                }
                true
            })?;
            let missing = missing.keys().filter(|id| store.path(id, "json").exists()).count();
            for (count, what) in [
                (orphans, "lines without a session"),
                (missing, "sessions missing"),
                (differ, "lines that are not as their session is"),
                (journal.unreadable_lines()?, "lines that make no sense"),
                (usize::from(journal.is_torn()?), "half line at its end"),
            ] {
                problems.extend((count > 0).then(|| format!("the index has {count} {what}: made anew")));
            }
        } else {
            problems.push("there is no usable index: made anew".to_owned());
        }
        if let Some(locked) = locked.filter(|_| !problems.is_empty()) {
            store.rebuild(&locked, &mut |_| {})?;
        }
        problems.into_iter().for_each(|problem| self.found("index", problem));
        Ok(())
    }
}
