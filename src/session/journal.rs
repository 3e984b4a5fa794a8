//! The index of the sessions: a journal, one JSON line per change, newest last. Read from its end, so that listing the
//! newest is as fast with a hundred thousand sessions as with ten. It is a cache: the session files are the truth.
//!
//! A reader needs no lock: lines are appended whole, a half one at the end is not read, and compaction puts a new file
//! in place of the old one. Order is by place in the journal and not by time, so a clock that went back does no harm.
//! Its first line has its length: one that was cut off, by hand or by a power failure, is seen to be of no use. It also
//! has when the directory last changed (ctime, which no user can set): an older index that was put in its place, a restored
//! backup, files that were put beside it are seen by that, without a look at the files.

use super::bounds;
use super::model::{INITIAL_PROMPT, Session, Status, is_false, shorten};
use super::store::{fail, is_id};
use crate::base::{disk, json};
use crate::model::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the index knows of a session: enough for filters, so that only the files of what is shown are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    pub(crate) id: String,
    /// This change was a use of the session: it decides the order. Renaming is none.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) used: bool,
    /// The session is gone.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
    pub(crate) backend: String,
    pub(crate) backend_session_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) working_dir: PathBuf,
    pub(crate) last_used_at: String,
    pub(crate) status: Status,
    pub(crate) turn_count: u64,
    pub(crate) title: String,
    pub(crate) initial_prompt: String,
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) hidden: bool,
}

impl Entry {
    /// The entry of a session that was used: that decides the order. Whatever its file has, a line is short: all others
    /// read it.
    pub(crate) fn of(session: &Session) -> Entry {
        let short = |text: &str| shorten(text, WORD);
        let (theirs, dir) = (session.backend_session_id.as_ref(), &session.working_dir);
        Entry {
            id: session.id.clone(),
            used: true,
            deleted: false,
            backend: short(&session.backend),
            backend_session_id: theirs.filter(|id| id.len() <= bounds::BACKEND_SESSION).cloned(),
            model: session.model.as_ref().map(|model| shorten(model, bounds::MODEL)),
            working_dir: Some(dir)
                .filter(|dir| dir.as_os_str().len() <= bounds::DIRECTORY)
                .cloned()
                .unwrap_or_default(),
            last_used_at: short(&session.last_used_at),
            status: session.status,
            turn_count: session.turn_count,
            title: shorten(&session.title, bounds::TITLE),
            initial_prompt: session.initial_prompt.chars().take(INITIAL_PROMPT).collect(),
            tags: session.tags.iter().take(bounds::TAGS).map(|tag| shorten(tag, bounds::TAG)).collect(),
            owner: session.owner.as_ref().map(|owner| short(owner)),
            hidden: session.hidden,
        }
    }

    /// The entry of one that was changed otherwise: it stays in its place.
    pub(super) fn of_change(session: &Session) -> Entry {
        Entry { used: false, ..Entry::of(session) }
    }

    /// The entry that says that a session is gone.
    pub(super) fn of_deleted(id: &str) -> Entry {
        Entry { id: id.to_owned(), deleted: true, ..Entry::default() }
    }
}

/// The first line: it makes the file recognisable, and says when it is time to compact. It is always as long, so that it
/// can be written again in its place.
#[derive(Clone, Copy, PartialEq, Deserialize)]
struct Header {
    clinvk_journal: u32,
    /// The file's length after the last compaction.
    compacted_bytes: u64,
    /// The file's length after the last change. A longer file has the half line of a writer that was killed at its end.
    length: u64,
    /// When the directory had last changed when the last change was over, in nanoseconds.
    directory: u64,
}

/// The format that we write. Another one is made anew from the session files.
const VERSION: u32 = 3;
/// Most characters of what names a backend, a key or a time.
const WORD: usize = 128;

impl Header {
    fn line(&self) -> String {
        let Header { clinvk_journal, compacted_bytes, length, directory } = self;
        format!(
            "{{\"clinvk_journal\":{clinvk_journal},\"compacted_bytes\":{compacted_bytes:>20},\
             \"length\":{length:>20},\"directory\":{directory:>20}}}\n"
        )
    }
}

/// How far an index is known to have all that is in its directory.
pub(crate) enum Seen {
    /// There is no index that can be used.
    Nothing,
    /// The directory has changed since.
    Before,
    All,
}

/// Below this size nothing is compacted.
const SMALL: u64 = 256 << 10;
/// How much is read at once from the end. A hundred lines or so.
const BLOCK: usize = 32 << 10;

/// The journal of a store, which need not be there.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(super) path: PathBuf,
}

impl Journal {
    /// Whether the index has all that is in the directory.
    pub(crate) fn seen(&self) -> Seen {
        let Some(header) = self.open().ok().and_then(|file| header(&file)) else { return Seen::Nothing };
        match self.directory_changed() {
            Ok(now) if now == header.directory => Seen::All,
            _ => Seen::Before,
        }
    }

    /// When something in the directory last changed, as the file system counts it.
    pub(super) fn directory_changed(&self) -> io::Result<u64> {
        let meta = fs::metadata(disk::directory(&self.path))?;
        Ok(nanoseconds(meta.ctime(), meta.ctime_nsec()))
    }

    fn open(&self) -> io::Result<File> {
        disk::open(&self.path, OpenOptions::new().read(true))
    }

    /// The journal as it can be changed: none where there is none that can be used. To be called with the store's lock held.
    pub(super) fn open_to_change(&self) -> Option<Open> {
        let file = disk::open(&self.path, OpenOptions::new().read(true).write(true)).ok()?;
        let header = header(&file)?;
        Some(Open { file, header, on_disk: header })
    }

    /// Puts a journal of these entries, newest first, in place of the old one. To be called with the store's lock held.
    pub(super) fn replace(&self, newest_first: &[Entry]) -> Result<(), Error> {
        let mut header = Header { clinvk_journal: VERSION, compacted_bytes: 0, length: 0, directory: 0 };
        let mut write = || -> io::Result<()> {
            let mut lines = header.line().into_bytes();
            for entry in newest_first.iter().rev() {
                lines.extend(json::line(&Entry { used: true, ..entry.clone() })?);
            }
            (header.length, header.compacted_bytes) = (lines.len() as u64, lines.len() as u64);
            let line = header.line();
            lines[..line.len()].copy_from_slice(line.as_bytes());
            if self.path.is_dir() {
                move_aside(&self.path, "corrupt")?;
            }
            disk::replace(&self.path, &lines)
        };
        write().map_err(fail("write", &self.path))
    }

    /// Hands on the newest entry of each session, last used first, until `wanted` says to stop. A session that was only
    /// renamed since its last use comes where that use was, with its new name.
    pub(crate) fn newest_first(&self, wanted: impl FnMut(Entry) -> bool) -> Result<(), Error> {
        self.newest_first_of(|_| true, wanted)
    }

    /// The newest entry of each session, last used first.
    pub(crate) fn all(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        self.newest_first(|entry| {
            all.push(entry);
            true
        })?;
        Ok(all)
    }

    /// Like `newest_first`, of the lines that may be of interest alone, which saves understanding the others: those that have a word
    /// which no change of a session ever changes, or the newest entry may be an older one.
    pub(crate) fn newest_first_of(
        &self,
        may_be: impl Fn(&str) -> bool,
        mut wanted: impl FnMut(Entry) -> bool,
    ) -> Result<(), Error> {
        let mut seen: HashSet<String> = HashSet::new();
        let mut renamed: HashMap<String, Entry> = HashMap::new();
        self.lines_backwards(|line| {
            let Some(line) = std::str::from_utf8(line).ok().filter(|line| may_be(line)) else { return true };
            // Half lines, the header and lines of a later version are none of ours.
            let Ok(entry) = serde_json::from_str::<Entry>(line) else { return true };
            if !is_id(&entry.id) || seen.contains(&entry.id) {
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
        .map_err(fail("read", &self.path))
    }

    /// Lines that make no sense: how many.
    pub(crate) fn unreadable_lines(&self) -> Result<usize, Error> {
        let mut unreadable = 0;
        self.lines_backwards(|line| {
            let entry = serde_json::from_slice::<Entry>(line).is_ok_and(|entry| is_id(&entry.id));
            let known = entry || serde_json::from_slice::<Header>(line).is_ok();
            unreadable += usize::from(!known);
            true
        })
        .map_err(fail("read", &self.path))?;
        Ok(unreadable)
    }

    /// Every whole line from the last to the first, until `heard` says to stop.
    fn lines_backwards(&self, mut heard: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let file = self.open()?;
        let mut position = file.metadata()?.len();
        let mut held: Vec<u8> = Vec::new();
        let mut at_end = true;
        while position > 0 {
            // As much again as there is of a line that is longer than a block: each byte of it is moved twice at most.
            let length = BLOCK.max(held.len()).min(position as usize);
            position -= length as u64;
            let mut longer = vec![0; length];
            file.read_exact_at(&mut longer, position)?;
            longer.append(&mut held);
            held = longer;
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
}

/// A journal that is being changed: the store's lock is held.
pub(super) struct Open {
    file: File,
    header: Header,
    on_disk: Header,
}

impl Open {
    /// Until when it has all that had changed in the directory; none where that was the last time that anything did.
    pub(super) fn lacks_since(&self, directory: u64) -> Option<u64> {
        (self.header.directory != directory).then_some(self.header.directory)
    }

    /// Appends an entry. Returns whether most lines are stale: then it is time to compact.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<bool> {
        let mut line = json::line(entry)?;
        let end = self.file.metadata()?.len();
        // A writer that was killed in the middle of a line left no line end: its half line ends here.
        if end > self.header.length && !ends_with_newline(&self.file)? {
            line.insert(0, b'\n');
        }
        self.file.write_all_at(&line, end).inspect_err(|_| {
            // A full disk must not leave half a line. If this fails too, the next append ends it.
            let _ = self.file.set_len(end);
        })?;
        self.header.length = end + line.len() as u64;
        Ok(self.header.length > SMALL && self.header.length > self.header.compacted_bytes.saturating_mul(2))
    }

    /// Notes what it has now. `directory`: it has all that had changed there until then.
    pub(super) fn close(mut self, directory: Option<u64>) -> io::Result<()> {
        self.header.directory = directory.unwrap_or(self.header.directory);
        if self.header == self.on_disk {
            return Ok(());
        }
        self.file.write_all_at(self.header.line().as_bytes(), 0)
    }
}

/// The header of a journal that is whole.
fn header(file: &File) -> Option<Header> {
    let mut start = [0; 256];
    let length = file.read_at(&mut start, 0).ok()?;
    let line = start[..length].split(|byte| *byte == b'\n').next()?;
    let header: Header = serde_json::from_slice(line).ok()?;
    let whole = header.clinvk_journal == VERSION && file.metadata().ok()?.len() >= header.length;
    whole.then_some(header)
}

/// A time of a file as one number.
pub(super) fn nanoseconds(seconds: i64, nanoseconds: i64) -> u64 {
    u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)).unwrap_or(0)
}

pub(super) fn ends_with_newline(file: &File) -> io::Result<bool> {
    let Some(end) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut last = [0];
    file.read_exact_at(&mut last, end)?;
    Ok(last == *b"\n")
}

/// A name beside a file's own that nothing has yet.
pub(super) fn free_name(path: &Path, why: &str) -> io::Result<PathBuf> {
    let mut free = disk::beside(path, &format!(".{why}"));
    let mut number = 1;
    while free.try_exists()? {
        number += 1;
        free = disk::beside(path, &format!(".{why}.{number}"));
    }
    Ok(free)
}

/// Gives a file such a name: what is wrong is never deleted.
pub(super) fn move_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let free = free_name(path, why)?;
    fs::rename(path, &free).map(|()| free)
}
