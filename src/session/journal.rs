//! The index of the sessions: a journal, one JSON line per change, newest last. Read from its end, so that listing the
//! newest is as fast with a hundred thousand sessions as with ten. It is a cache: the session files are the truth.
//!
//! A reader needs no lock: lines are appended whole, a half one at the end is not read, and compaction puts a new file
//! in place of the old one. Order is by place in the journal and not by time, so a clock that went back does no harm.

use super::model::{Session, Status, Tokens};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the index knows of a session: enough for filters, so that only the files of what is shown are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The session's id.
    pub id: String,
    /// This change was a use of the session: it decides the order. Renaming is none.
    #[serde(default, skip_serializing_if = "is_false")]
    pub used: bool,
    /// The session is gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
    #[serde(default)]
    /// See `Session`.
    pub backend: String,
    #[serde(default)]
    /// See `Session`.
    pub backend_session_id: Option<String>,
    #[serde(default)]
    /// See `Session`.
    pub model: Option<String>,
    #[serde(default)]
    /// See `Session`.
    pub working_dir: PathBuf,
    #[serde(default)]
    /// See `Session`.
    pub created_at: String,
    #[serde(default)]
    /// See `Session`.
    pub last_used_at: String,
    #[serde(default = "completed")]
    /// See `Session`.
    pub status: Status,
    #[serde(default)]
    /// See `Session`.
    pub turn_count: u64,
    #[serde(default)]
    /// See `Session`.
    pub token_usage: Tokens,
    #[serde(default)]
    /// See `Session`.
    pub title: String,
    #[serde(default)]
    /// See `Session`.
    pub initial_prompt: String,
    #[serde(default)]
    /// See `Session`.
    pub tags: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn completed() -> Status {
    Status::Completed
}

impl Entry {
    /// The entry of a session.
    pub fn of(session: &Session, used: bool) -> Entry {
        let Session { id, backend, backend_session_id, model, working_dir, created_at, last_used_at, .. } = session.clone();
        let Session { status, turn_count, token_usage, title, initial_prompt, tags, .. } = session.clone();
        Entry {
            id,
            used,
            deleted: false,
            backend,
            backend_session_id,
            model,
            working_dir,
            created_at,
            last_used_at,
            status,
            turn_count,
            token_usage,
            title,
            initial_prompt,
            tags,
        }
    }
}

/// The first line: it makes the file recognisable, and says when it is time to compact.
#[derive(Serialize, Deserialize)]
struct Header {
    clinvk_journal: u32,
    /// The file's size after the last compaction.
    compacted_bytes: u64,
}

/// Below this size nothing is compacted.
const SMALL: u64 = 256 << 10;
/// How much is read at once from the end. A hundred lines or so.
const BLOCK: usize = 32 << 10;

/// The journal of a store.
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal at that path, which need not be there.
    pub fn at(path: PathBuf) -> Journal {
        Journal { path }
    }

    /// Whether there is a journal that can be read.
    pub fn is_usable(&self) -> bool {
        File::open(&self.path).is_ok_and(|file| header(&file).is_some())
    }

    /// Appends entries. To be called with the store's lock held. `durable`: they are on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&self, entries: &[Entry], durable: bool) -> Result<(), Error> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).map_err(|error| self.fail("write", error.into()))?;
            lines.push(b'\n');
        }
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().read(true).append(true).open(&self.path)?;
            // A writer that was killed in the middle of a line left no line end: its half line ends here.
            if !ends_with_newline(&file)? {
                lines.insert(0, b'\n');
            }
            file.write_all(&lines)?;
            if durable { file.sync_data() } else { Ok(()) }
        };
        let mut write = write;
        write().map_err(|error| self.fail("write", error))
    }

    /// Mostly stale lines: time to compact. One small read.
    pub fn wants_compaction(&self) -> bool {
        let Ok(file) = File::open(&self.path) else { return false };
        let size = file.metadata().map_or(0, |meta| meta.len());
        header(&file).is_some_and(|header| size > SMALL && size > header.compacted_bytes.saturating_mul(2))
    }

    /// Puts a journal of these entries, newest first, in place of the old one. To be called with the store's lock held.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, newest_first: &[Entry]) -> Result<(), Error> {
        let mut lines = Vec::new();
        for entry in newest_first.iter().rev() {
            let entry = Entry { used: true, ..entry.clone() };
            serde_json::to_writer(&mut lines, &entry).map_err(|error| self.fail("write", error.into()))?;
            lines.push(b'\n');
        }
        let header = Header { clinvk_journal: 1, compacted_bytes: lines.len() as u64 };
        let header = serde_json::to_string(&header).map_err(|error| self.fail("write", error.into()))?;
        let temporary = self.path.with_extension("jsonl.tmp");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(header.as_bytes())?;
            file.write_all(b"\n")?;
            file.write_all(&lines)?;
            file.sync_data()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|error| self.fail("write", error))
    }

    /// Hands on the newest entry of each session, last used first, until `wanted` says to stop. A session that was only
    /// renamed since its last use comes where that use was, with its new name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest_first(&self, mut wanted: impl FnMut(Entry) -> bool) -> Result<(), Error> {
        let mut seen: HashSet<String> = HashSet::new();
        let mut renamed: std::collections::HashMap<String, Entry> = std::collections::HashMap::new();
        self.lines_backwards(|line| {
            // Half lines, the header and lines of a later version are none of ours.
            let Ok(entry) = serde_json::from_slice::<Entry>(line) else { return true };
            if seen.contains(&entry.id) {
                return true;
            }
            if entry.deleted {
                seen.insert(entry.id);
                return true;
            }
            if !entry.used {
                renamed.entry(entry.id.clone()).or_insert(entry);
                return true;
            }
            seen.insert(entry.id.clone());
            wanted(renamed.remove(&entry.id).unwrap_or(entry))
        })
        .map_err(|error| self.fail("read", error))
    }

    /// Lines that make no sense: how many.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn unreadable_lines(&self) -> Result<usize, Error> {
        let mut unreadable = 0;
        self.lines_backwards(|line| {
            let known = serde_json::from_slice::<Entry>(line).is_ok() || serde_json::from_slice::<Header>(line).is_ok();
            unreadable += usize::from(!known);
            true
        })
        .map_err(|error| self.fail("read", error))?;
        Ok(unreadable)
    }

    /// Every whole line from the last to the first, until `heard` says to stop.
    fn lines_backwards(&self, mut heard: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let mut position = file.metadata()?.len();
        let mut held: Vec<u8> = Vec::new();
        let mut block = vec![0; BLOCK];
        let mut at_end = true;
        while position > 0 {
            let length = BLOCK.min(position as usize);
            position -= length as u64;
            file.read_exact_at(&mut block[..length], position)?;
            held.splice(..0, block[..length].iter().copied());
            // Behind the last line end there is nothing, or a line that is not finished.
            if at_end {
                let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else { continue };
                held.truncate(end);
                at_end = false;
            }
            while let Some(start) = held.iter().rposition(|byte| *byte == b'\n') {
                if start + 1 < held.len() && !heard(&held[start + 1..]) {
                    return Ok(());
                }
                held.truncate(start);
            }
        }
        if !at_end && !held.is_empty() {
            heard(&held);
        }
        Ok(())
    }

    fn fail(&self, verb: &'static str, error: io::Error) -> Error {
        Error::Store { verb, path: self.path.clone(), error }
    }
}

fn header(file: &File) -> Option<Header> {
    let mut start = [0; 128];
    let length = file.read_at(&mut start, 0).ok()?;
    let line = start[..length].split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

pub(super) fn ends_with_newline(mut file: &File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The journal's own path, for messages.
impl AsRef<Path> for Journal {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
