//! Finds and repairs what went wrong in the store: after a full disk, a kill, or somebody's hands.

use super::journal::Entry;
use super::lock::{Lock, Tried};
use super::model::{Session, Status};
use super::store::{Store, is_id};
use crate::error::Error;
use std::collections::HashSet;
use std::fs;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// A word for it: `index`, `torn`, `temporary`, `stale`, `corrupt`, `orphan`.
    pub kind: &'static str,
    /// What it is, and what was or would be done.
    pub sentence: String,
}

/// Looks through the whole store, and unless `dry_run` repairs it. A file that does not parse is moved aside, never
/// deleted. `progress` hears how many files have been read.
///
/// # Errors
/// When the store cannot be read, or a repair fails.
pub fn fsck(store: &Store, dry_run: bool, progress: &mut dyn FnMut(usize)) -> Result<Vec<Finding>, Error> {
    if !store.dir.exists() {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    let mut on_disk = HashSet::new();
    for (done, id) in store.ids()?.iter().enumerate() {
        progress(done + 1);
        match store.load(id) {
            Ok(session) => {
                findings.extend(stale(store, &session, dry_run));
                on_disk.insert(id.clone());
            }
            Err(Error::SessionNotFound { .. }) => {}
            Err(error) => findings.push(corrupt(store, id, &error, dry_run)?),
        }
    }
    findings.extend(loose_files(store, &on_disk, dry_run)?);
    findings.extend(index(store, &on_disk, dry_run)?);
    Ok(findings)
}

/// A session that is called active although nobody holds it.
fn stale(store: &Store, session: &Session, dry_run: bool) -> Option<Finding> {
    let held = || matches!(Lock::try_get(&store.path(&session.id, "lock")), Ok(Tried::Busy(_)));
    if session.status != Status::Active || held() {
        return None;
    }
    if !dry_run {
        store.settled(session.clone());
    }
    Some(Finding { kind: "stale", sentence: format!("session {} is active and nobody runs it: set to error", session.id) })
}

fn corrupt(store: &Store, id: &str, error: &Error, dry_run: bool) -> Result<Finding, Error> {
    let path = store.path(id, "json");
    let aside = store.path(id, "json.corrupt");
    if !dry_run && !path.is_dir() {
        let moved = fs::rename(&path, &aside);
        moved.map_err(|error| Error::Store { verb: "move aside", path: path.clone(), error })?;
    }
    Ok(Finding { kind: "corrupt", sentence: format!("{error}: moved to `{}`", aside.display()) })
}

/// Temporary files of writers that died, turns without a session, turn files that end in the middle of a line.
fn loose_files(store: &Store, on_disk: &HashSet<String>, dry_run: bool) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    // Whoever writes a temporary file holds this lock.
    let _locked = store.lock()?;
    let entries = fs::read_dir(&store.dir).map_err(|error| Error::Store { verb: "read", path: store.dir.clone(), error })?;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let id = name.split('.').next().unwrap_or("").to_owned();
        if name.ends_with(".tmp") {
            if !dry_run {
                fs::remove_file(&path).map_err(|error| Error::Store { verb: "remove", path: path.clone(), error })?;
            }
            findings.push(Finding { kind: "temporary", sentence: format!("`{name}` was left by a writer that died: removed") });
        } else if name.ends_with(".turns.jsonl") && is_id(&id) {
            if !on_disk.contains(&id) {
                findings.push(Finding { kind: "orphan", sentence: format!("`{name}` has no session: left alone") });
            }
            findings.extend(torn(store, &id, dry_run)?);
        }
    }
    Ok(findings)
}

fn torn(store: &Store, id: &str, dry_run: bool) -> Result<Option<Finding>, Error> {
    let path = store.path(id, "turns.jsonl");
    let fail = |verb| move |error| Error::Store { verb, path: store.path(id, "turns.jsonl"), error };
    let text = fs::read(&path).map_err(fail("read"))?;
    let half = text.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
    // A run that holds the session may be writing right now.
    if half == 0 || matches!(Lock::try_get(&store.path(id, "lock"))?, Tried::Busy(_)) {
        return Ok(None);
    }
    if !dry_run {
        let aside = store.path(id, "turns.jsonl.torn");
        fs::write(&aside, &text[text.len() - half..]).map_err(fail("write beside"))?;
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(fail("open"))?;
        file.set_len((text.len() - half) as u64).map_err(fail("cut"))?;
    }
    let sentence = format!("the turns of {id} end in the middle of a line ({half} bytes): moved to `{id}.turns.jsonl.torn`");
    Ok(Some(Finding { kind: "torn", sentence }))
}

/// The index against the files.
fn index(store: &Store, on_disk: &HashSet<String>, dry_run: bool) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let mut finding = |sentence: String| findings.push(Finding { kind: "index", sentence });
    if store.journal.is_usable() {
        let mut known = HashSet::new();
        let mut orphans = 0;
        store.journal.newest_first(|entry: Entry| {
            orphans += usize::from(!on_disk.contains(&entry.id));
            known.insert(entry.id);
            true
        })?;
        let missing = on_disk.difference(&known).count();
        let unreadable = store.journal.unreadable_lines()?;
        for (count, what) in
            [(orphans, "lines without a session"), (missing, "sessions that are not in it"), (unreadable, "lines that make no sense")]
        {
            if count > 0 {
                finding(format!("the index has {count} {what}: rebuilt"));
            }
        }
    } else {
        finding("there is no usable index: rebuilt".to_owned());
    }
    if !findings.is_empty() && !dry_run {
        let locked = store.lock()?;
        store.rebuild(&locked, &mut |_| {})?;
    }
    Ok(findings)
}
