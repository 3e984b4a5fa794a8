//! Finds and repairs what went wrong in the store: after a full disk, a kill, or somebody's hands. What is no use is
//! moved aside, never deleted. Others go on meanwhile: what they are busy with is left alone. What cannot be repaired is
//! told like all else, and the rest is looked at all the same.

use super::journal::{Entry, ends_with_newline, free_name, move_aside};
use super::lock::{Lock, Tried};
use super::model::{Session, Status, Turn};
use super::store::{Store, is_id};
use crate::base::disk;
use crate::model::error::Error;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
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
    /// It is as it should be now.
    pub repaired: bool,
}

/// What a look through the whole store found.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which it was found.
    pub findings: Vec<Finding>,
    /// The first thing that could be neither looked at nor repaired.
    pub failure: Option<Error>,
}

/// Looks through the whole store, and unless `dry_run` repairs it. `progress` hears how many files have been read.
pub fn fsck(store: &Store, dry_run: bool, progress: &mut dyn FnMut(usize)) -> Report {
    let mut check =
        Check { store, dry_run, report: Report::default(), sessions: HashMap::new(), stale: Vec::new() };
    let looked = check.all(progress);
    check.report.failure = check.report.failure.or(looked.err());
    check.report
}

struct Check<'a> {
    store: &'a Store,
    dry_run: bool,
    report: Report,
    /// What the index should say of every session.
    sessions: HashMap<String, Entry>,
    /// Sessions that are called active although nobody holds them.
    stale: Vec<Session>,
}

/// What can be done about a finding, as it is said when it was done; in a dry run it would be.
#[derive(Clone, Copy)]
enum Repair {
    Aside,
    Remove,
    SetToError,
    EndLine,
    MakeAnew,
}

impl Repair {
    fn word(self) -> &'static str {
        match self {
            Repair::Aside => "moved aside",
            Repair::Remove => "removed",
            Repair::SetToError => "set to error",
            Repair::EndLine => "ended",
            Repair::MakeAnew => "made anew",
        }
    }
}

impl Check<'_> {
    fn all(&mut self, progress: &mut dyn FnMut(usize)) -> Result<(), Error> {
        if !self.store.exists()? {
            return Ok(());
        }
        for (done, id) in self.store.ids()?.into_iter().enumerate() {
            progress(done + 1);
            self.session(id);
        }
        self.other_files()?;
        self.index()?;
        // Last: who saves a session sees to the index as well.
        std::mem::take(&mut self.stale).into_iter().for_each(|session| self.stale(session));
        Ok(())
    }

    /// Tells what is wrong, and repairs it unless this is a dry run. The repair may say better what it has done.
    fn found(
        &mut self,
        kind: &'static str,
        problem: &str,
        repair: Repair,
        act: impl FnOnce() -> Result<Option<String>, Error>,
    ) {
        let word = repair.word();
        let (end, repaired) = match self.dry_run {
            true => (format!("would be {word}"), false),
            false => match act() {
                Ok(done) => (done.unwrap_or(word.to_owned()), true),
                Err(error) => {
                    let end = format!("could not be {word}: {error}");
                    self.report.failure.get_or_insert(error);
                    (end, false)
                }
            },
        };
        self.report.findings.push(Finding { kind, sentence: format!("{problem}: {end}"), repaired });
    }

    /// Tells what is wrong and only people can repair.
    fn left_alone(&mut self, problem: String) {
        let sentence = format!("{problem}: left alone");
        self.report.findings.push(Finding { kind: "unreadable", sentence, repaired: false });
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

    fn session(&mut self, id: String) {
        match self.store.load(&id) {
            Ok(session) => {
                self.sessions.insert(id, Entry::of(&session));
                if session.status == Status::Active && !self.is_busy(&session.id) {
                    self.stale.push(session);
                }
            }
            // Deleted in this moment.
            Err(Error::SessionNotFound { .. }) => {}
            Err(Error::SessionBroken { path, problem }) => {
                let problem = format!("session file `{}` is broken: {problem}", path.display());
                self.aside("corrupt", &path, &problem);
            }
            // Whoever may not read it, or whose disk fails, would do harm with any repair.
            Err(error) => self.left_alone(error.to_string()),
        }
    }

    fn stale(&mut self, session: Session) {
        // Somebody may have gone on with it, or brought it to its end, since it was read.
        let now = self.store.load(&session.id);
        if !now.is_ok_and(|now| now.status == Status::Active) || self.is_busy(&session.id) {
            return;
        }
        let (store, problem) = (self.store, format!("session {} is active and nobody runs it", session.id));
        self.found("stale", &problem, Repair::SetToError, || {
            store.settled(session);
            Ok(None)
        });
    }

    /// Moves a file aside.
    fn aside(&mut self, kind: &'static str, path: &Path, problem: &str) {
        self.found(kind, problem, Repair::Aside, || {
            let moved = move_aside(path, kind);
            let fail = |error| Error::Store { verb: "move aside", path: path.to_owned(), error };
            moved.map(|moved| Some(format!("moved to `{}`", moved.display()))).map_err(fail)
        });
    }

    /// Everything that is no session: temporary files of writers that died, turns and locks without a session, turns
    /// that end in the middle of a line, and what is no file in a lock's place.
    fn other_files(&mut self) -> Result<(), Error> {
        let dir = &self.store.dir;
        let fail = |error| Error::Store { verb: "read", path: dir.to_owned(), error };
        let mut entries: Vec<_> = fs::read_dir(dir).map_err(fail)?.flatten().collect();
        // Locks first: what is in the place of the store's own would stop everything else.
        entries.sort_by_key(|entry| entry.path().extension().is_none_or(|end| end != "lock"));
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let (id, end) = name.split_once('.').unwrap_or((&name, ""));
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let looked = match end {
                "tmp" | "json.tmp" | "jsonl.tmp" => self.temporary(&path, &name),
                "next" if !self.store.has(id, "json") => self.temporary(&path, &name),
                "turns.jsonl" if is_id(id) => self.turns(id, &path),
                "lock" | "next" if !is_file => {
                    self.aside("corrupt", &path, &format!("`{}` is no regular file", path.display()));
                    Ok(())
                }
                "lock" if is_id(id) && !self.store.has(id, "json") => self.lock_of_nothing(id),
                _ => Ok(()),
            };
            if let Err(error) = looked {
                self.left_alone(error.to_string());
                self.report.failure.get_or_insert(error);
            }
        }
        Ok(())
    }

    fn temporary(&mut self, path: &Path, name: &str) -> Result<(), Error> {
        // Whoever writes one holds the store: then it is soon gone.
        let _locked = if self.dry_run { None } else { Some(self.store.lock_as_it_is(&|| Ok(()))?) };
        if fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        let problem = format!("`{name}` was left by a writer that died");
        self.found("temporary", &problem, Repair::Remove, || {
            let removed = match path.is_dir() && !path.is_symlink() {
                true => move_aside(path, "corrupt").map(drop),
                false => fs::remove_file(path),
            };
            let fail = |error| Error::Store { verb: "remove", path: path.to_owned(), error };
            removed.map(|()| None).map_err(fail)
        });
        Ok(())
    }

    fn lock_of_nothing(&self, id: &str) -> Result<(), Error> {
        // Whoever holds it is about to make the session.
        match self.hold(id)?.filter(|_| !self.store.has(id, "json")) {
            Some(lock) => lock.remove(),
            None => Ok(()),
        }
    }

    fn turns(&mut self, id: &str, path: &Path) -> Result<(), Error> {
        let fail = |verb| move |error| Error::Store { verb, path: path.to_owned(), error };
        let whole = |path: &Path| {
            disk::open(path, OpenOptions::new().read(true)).and_then(|file| ends_with_newline(&file))
        };
        match whole(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if disk::is_no_file(&error) => {
                self.aside("corrupt", path, &format!("`{}` is no regular file", path.display()));
                return Ok(());
            }
            Err(error) => {
                self.left_alone(format!("cannot read `{}`: {error}", path.display()));
                return Ok(());
            }
            Ok(true) if self.store.has(id, "json") => return Ok(()),
            Ok(_) => {}
        }
        // A run that holds the session may be writing right now.
        let held = self.hold(id)?;
        if held.is_none() && (!self.dry_run || self.is_busy(id)) {
            return Ok(());
        }
        // Whoever deleted the session meanwhile held it and took its turns too.
        if !self.store.has(id, "turns.jsonl") {
            return Ok(());
        }
        if !self.store.has(id, "json") {
            self.aside("orphan", path, &format!("the turns of {id} have no session"));
            return Ok(());
        }
        if whole(path).map_err(fail("read"))? {
            return Ok(());
        }
        let text = disk::read(path, u64::MAX).map_err(fail("read"))?;
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let half = &text[start..];
        let open = || disk::open(path, OpenOptions::new().write(true)).map_err(fail("open"));
        // Only its line end is missing: it is a turn.
        if serde_json::from_slice::<Turn>(half).is_ok() {
            self.found("torn", &format!("the last turn of {id} has no line end"), Repair::EndLine, || {
                open()?.write_all_at(b"\n", text.len() as u64).map(|()| None).map_err(fail("write"))
            });
            return Ok(());
        }
        let problem = format!("the turns of {id} end in the middle of a line ({} bytes)", half.len());
        self.found("torn", &problem, Repair::Aside, || {
            let aside = free_name(path, "torn").map_err(fail("write beside"))?;
            let beside = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside);
            beside.and_then(|mut beside| beside.write_all(half)).map_err(fail("write beside"))?;
            open()?.set_len(start as u64).map_err(fail("cut"))?;
            Ok(Some(format!("moved to `{}`", aside.display())))
        });
        Ok(())
    }

    /// The index against the files, while nobody changes either.
    fn index(&mut self) -> Result<(), Error> {
        let (store, journal) = (self.store, &self.store.journal);
        let mut locked = if self.dry_run { None } else { Some(store.lock_as_it_is(&|| Ok(()))?) };
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
                        now => differ += usize::from(now.is_ok_and(|now| Entry::of(&now) != entry)),
                    }
                }
                true
            })?;
            let missing = missing.keys().filter(|id| store.has(id, "json")).count();
            for (count, what) in [
                (orphans, "lines without a session"),
                (missing, "sessions missing"),
                (differ, "lines that are not as their session is"),
                (journal.unreadable_lines()?, "lines that make no sense"),
                (usize::from(journal.is_torn()?), "half line at its end"),
            ] {
                problems.extend((count > 0).then(|| format!("the index has {count} {what}")));
            }
        } else {
            problems.push("there is no usable index".to_owned());
        }
        // Once is enough for all of them.
        let mut is_current = problems.is_empty();
        for problem in problems {
            self.found("index", &problem, Repair::MakeAnew, || {
                if let Some(locked) = locked.as_mut().filter(|_| !is_current) {
                    store.rebuild(locked, &mut |_| {})?;
                    is_current = true;
                }
                Ok(None)
            });
        }
        if let Some(locked) = &mut locked {
            locked.is_current = is_current;
        }
        Ok(())
    }
}
