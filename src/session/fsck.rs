//! Finds and repairs what went wrong in the store: after a full disk, a kill, or a change by hand. What is no use is
//! moved aside, never deleted. Other processes go on meanwhile: what they are busy with is left alone. What cannot be
//! repaired is reported like all else, and the rest is looked at all the same.

use super::journal::{Entry, Seen, ends_with_newline, free_name, move_aside};
use super::model::{Session, Status, Turn};
use super::store::{Store, fail, is_id};
use crate::base::disk;
use crate::base::lock::{Lock, Tried};
use crate::model::error::Error;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// A word for it: `index`, `torn`, `temporary`, `stale`, `corrupt`, `unreadable`, `orphan`.
    pub(crate) kind: &'static str,
    /// What it is, and what was or would be done.
    pub(crate) sentence: String,
    /// It is as it should be now.
    pub(crate) repaired: bool,
}

/// What a look through the whole store found.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which it was found.
    pub findings: Vec<Finding>,
    /// The first thing that could be neither looked at nor repaired.
    pub(crate) failure: Option<Error>,
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
    /// Sessions that are called active although no process holds them.
    stale: Vec<Session>,
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

    /// Tells what is wrong, and repairs it unless this is a dry run. `done`: what has or would have been done then. The
    /// repair may say better what it has done.
    fn found(
        &mut self,
        kind: &'static str,
        problem: &str,
        done: &str,
        repair: impl FnOnce() -> Result<Option<String>, Error>,
    ) {
        let (end, repaired) = match self.dry_run {
            true => (format!("would be {done}"), false),
            false => match repair() {
                Ok(better) => (better.unwrap_or(done.to_owned()), true),
                Err(error) => {
                    let end = format!("could not be {done}: {error}");
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

    /// Moves a file aside.
    fn aside(&mut self, kind: &'static str, path: &Path, problem: &str) {
        self.found(kind, problem, "moved aside", || {
            let moved = move_aside(path, kind).map_err(fail("move aside", path))?;
            Ok(Some(format!("moved to `{}`", moved.display())))
        });
    }

    /// Holds a session, so that no other process works on it. `None`: one does, and that is no finding. Nothing is held
    /// for a dry run: that would make the lock file.
    fn hold(&self, id: &str) -> Result<Option<Lock>, Error> {
        match self.dry_run {
            true => Ok(None),
            false => self.store.try_hold(id).map(|tried| match tried {
                Tried::Held(lock) => Some(lock),
                Tried::Busy(_) => None,
            }),
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
            // A user who may not read it, or whose disk fails, would do harm with any repair.
            Err(error) => self.left_alone(error.to_string()),
        }
    }

    fn stale(&mut self, session: Session) {
        // Another run may have gone on with it, or its own have come to its end, since it was read.
        let now = self.store.load(&session.id);
        if !now.is_ok_and(|now| now.status == Status::Active) || self.is_busy(&session.id) {
            return;
        }
        let (store, problem) = (self.store, format!("session {} is active and nobody runs it", session.id));
        self.found("stale", &problem, "set to error", || {
            store.settled(session);
            Ok(None)
        });
    }

    /// Everything that is no session: temporary files of writers that died, turns and locks without a session, turns
    /// that end in the middle of a line, and what is no file in a lock's place.
    fn other_files(&mut self) -> Result<(), Error> {
        let dir = &self.store.dir;
        let mut entries: Vec<_> = fs::read_dir(dir).map_err(fail("read", dir))?.flatten().collect();
        // Locks first: what is in the place of the store's own would stop everything else.
        entries.sort_unstable_by_key(|entry| entry.path().extension().is_none_or(|end| end != "lock"));
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let (id, end) = name.split_once('.').unwrap_or((&name, ""));
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let looked = match end {
                "lock" | "next" if !is_file => {
                    self.aside("corrupt", &path, &format!("`{}` is no regular file", path.display()));
                    Ok(())
                }
                "tmp" | "json.tmp" | "jsonl.tmp" | "next" => self.temporary(&path, &name),
                "turns.jsonl" if is_id(id) => self.turns(id, &path),
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
        // A process that writes one holds the store: then it is soon gone.
        let _locked = if self.dry_run { None } else { Some(self.store.lock_as_it_is(&|| Ok(()))?) };
        let is_of_session = name.strip_suffix(".next").is_some_and(|id| self.store.has(id, "json"));
        if is_of_session || fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        self.found("temporary", &format!("`{name}` was left by a writer that died"), "removed", || {
            let removed = match path.is_dir() && !path.is_symlink() {
                true => move_aside(path, "corrupt").map(drop),
                false => fs::remove_file(path),
            };
            removed.map(|()| None).map_err(fail("remove", path))
        });
        Ok(())
    }

    fn lock_of_nothing(&self, id: &str) -> Result<(), Error> {
        // A process that holds it is about to make the session.
        match self.hold(id)?.filter(|_| !self.store.has(id, "json")) {
            Some(lock) => lock.remove().map_err(fail("remove", &self.store.path(id, "lock"))),
            None => Ok(()),
        }
    }

    fn turns(&mut self, id: &str, path: &Path) -> Result<(), Error> {
        match is_whole(path) {
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
        // A process that deleted the session meanwhile held it and took its turns too.
        if (held.is_none() && (!self.dry_run || self.is_busy(id))) || !self.store.has(id, "turns.jsonl") {
            return Ok(());
        }
        if !self.store.has(id, "json") {
            self.aside("orphan", path, &format!("the turns of {id} have no session"));
            return Ok(());
        }
        let text = disk::read(path, u64::MAX).map_err(fail("read", path))?;
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let half = &text[start..];
        let open = || disk::open(path, OpenOptions::new().write(true));
        if half.is_empty() {
            return Ok(());
        }
        // Only its line end is missing: it is a turn.
        if serde_json::from_slice::<Turn>(half).is_ok() {
            self.found("torn", &format!("the last turn of {id} has no line end"), "ended", || {
                let ended = open().and_then(|file| file.write_all_at(b"\n", text.len() as u64));
                ended.map(|()| None).map_err(fail("write", path))
            });
            return Ok(());
        }
        let problem = format!("the turns of {id} end in the middle of a line ({} bytes)", half.len());
        self.found("torn", &problem, "moved aside", || {
            let aside = free_name(path, "torn").map_err(fail("write beside", path))?;
            let beside = disk::create(&aside).and_then(|mut beside| beside.write_all(half));
            beside.map_err(fail("write beside", path))?;
            open().and_then(|file| file.set_len(start as u64)).map_err(fail("cut", path))?;
            Ok(Some(format!("moved to `{}`", aside.display())))
        });
        Ok(())
    }

    /// The index against the files, while no other process changes either.
    fn index(&mut self) -> Result<(), Error> {
        let (store, journal) = (self.store, &self.store.journal);
        let mut locked = if self.dry_run { None } else { Some(store.lock_as_it_is(&|| Ok(()))?) };
        let mut problems = Vec::new();
        if let Seen::Nothing = journal.seen() {
            problems.push("there is no usable index".to_owned());
        } else {
            let (mut orphans, mut differ) = (0, 0);
            let mut missing = std::mem::take(&mut self.sessions);
            journal.newest_first(|entry| {
                let entry = Entry { used: true, ..entry };
                if missing.remove(&entry.id).as_ref() != Some(&entry) {
                    // It may have changed since it was read.
                    match store.load(&entry.id) {
                        Err(Error::SessionNotFound { .. }) => orphans += 1,
                        now => differ += usize::from(now.is_ok_and(|now| Entry::of(&now) != entry)),
                    }
                }
                true
            })?;
            let torn = !is_whole(&journal.path).map_err(fail("read", &journal.path))?;
            let missing = missing.keys().filter(|id| store.has(id, "json")).count();
            for (count, what) in [
                (orphans, "lines without a session"),
                (missing, "sessions missing"),
                (differ, "lines that are not as their session is"),
                (journal.unreadable_lines()?, "lines that make no sense"),
                (usize::from(torn), "half line at its end"),
            ] {
                problems.extend((count > 0).then(|| format!("the index has {count} {what}")));
            }
        }
        // Once is enough for all of them.
        let mut is_current = problems.is_empty();
        for problem in problems {
            self.found("index", &problem, "made anew", || {
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

/// Whether a file's last line has its end.
fn is_whole(path: &Path) -> io::Result<bool> {
    disk::open(path, OpenOptions::new().read(true)).and_then(|file| ends_with_newline(&file))
}
