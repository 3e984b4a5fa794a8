//! A directory with the results of a batch: one file a task, written when it ends, and `summary.json`. From it a batch
//! that was broken off is taken up again. Only one clinvk uses it at a time.

use super::map::Shard;
use super::{Finished, Label, State, Totals};
use crate::base::lock::{Lock, Tried};
use crate::base::sync::lock;
use crate::base::{disk, json, sha256};
use crate::model::error::{Error, Kind};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How old the summary may be while the batch is under way.
const REFRESH: Duration = Duration::from_secs(1);
/// How a batch went, beside its results.
pub(super) const SUMMARY: &str = "summary.json";
/// More letters of an id do not fit into a file's name together with the rest.
const LONGEST_NAME: usize = 100;

/// A directory with the results of a batch.
pub struct Folder {
    path: PathBuf,
    /// What those with an id are called: `task-ID.json`.
    prefix: &'static str,
    /// What is done already is not done again.
    resumes: bool,
    /// The part of a list that the results are of.
    shard: Option<Shard>,
    state: Mutex<Progress>,
    _lock: Lock,
}

/// What the summary is made of.
struct Progress {
    /// How many there will be, where that is known.
    planned: Option<usize>,
    totals: Totals,
    rows: BTreeMap<usize, Row>,
    since: Instant,
    written: Instant,
}

struct Row {
    /// The file's name, where it is more than the number.
    file: Option<Box<str>>,
    /// There is such a file, and it is of this batch.
    is_kept: bool,
    state: State,
    kind: Option<Kind>,
}

impl Folder {
    /// Opens a directory, or makes it. `prefix`: what the files of those with an id are called.
    pub(crate) fn open(path: &Path, prefix: &'static str) -> Result<Folder, Error> {
        let fail = |error| Error::File { verb: "create", path: path.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
        let file = path.join(".lock");
        let lock =
            match Lock::try_get(&file).map_err(|error| Error::File { verb: "open", path: file, error })? {
                Tried::Held(mut lock) => {
                    // A hint for people: without it another clinvk still learns that the folder is in use.
                    let _ = lock.sign();
                    lock
                }
                Tried::Busy(pid) => {
                    let whom = pid.map_or("another clinvk".to_owned(), |pid| format!("process {pid}"));
                    return Err(Error::Invalid(format!("`{}` is in use by {whom}", path.display())));
                }
            };
        let (planned, totals, rows, since) = (None, Totals::default(), BTreeMap::new(), Instant::now());
        let state = Mutex::new(Progress { planned, totals, rows, since, written: since });
        Ok(Folder { path: path.to_owned(), prefix, resumes: false, shard: None, state, _lock: lock })
    }

    /// The same, in which what is done already is not done again.
    pub(crate) fn resumed(self) -> Folder {
        Folder { resumes: true, ..self }
    }

    /// The same, for a part of a list.
    pub(crate) fn of_shard(self, shard: Option<Shard>) -> Folder {
        Folder { shard, ..self }
    }

    /// A batch begins.
    pub(super) fn begin(&self, planned: Option<usize>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.planned = planned;
        self.write_summary(&mut state, "running")
    }

    /// The result of an earlier batch, if it was a success and asked the same.
    pub(super) fn find(&self, label: &Label, digest: &str) -> Option<Finished> {
        let value = self.read(label).filter(|_| self.resumes)?;
        let finished = Finished { resumed: true, ..Finished::read(label.clone(), &value)? };
        (finished.state == State::Completed && value["digest"] == digest).then_some(finished)
    }

    /// The result of an earlier batch, if it was a success, whatever it asked.
    pub(super) fn answer(&self, label: &Label) -> Option<Finished> {
        let finished = Finished { resumed: true, ..Finished::read(label.clone(), &self.read(label)?)? };
        (finished.state == State::Completed).then_some(finished)
    }

    fn read(&self, label: &Label) -> Option<Value> {
        // What cannot be read is not there: it is done again.
        serde_json::from_slice(&disk::read(&self.path.join(self.file_name(label)), u64::MAX).ok()?).ok()
    }

    /// Keeps a result. One that was never begun is in the summary alone.
    pub(super) fn keep(&self, finished: &Finished) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Kept<'a> {
            digest: &'a str,
            #[serde(flatten)]
            entry: super::Entry<'a>,
        }
        let name = self.file_name(&finished.label);
        let mut is_kept = finished.resumed;
        if let Some(digest) = finished.digest.as_deref().filter(|_| finished.state != State::Cancelled) {
            self.write(&name, &Kept { digest, entry: finished.entry() })?;
            is_kept = true;
        }
        let mut state = lock(&self.state);
        state.totals.count(finished);
        let kind = finished.outcome.failure.as_ref().map(|failure| failure.kind);
        let file = finished.label.id.is_some().then(|| name.into_boxed_str());
        state.rows.insert(finished.label.index, Row { file, is_kept, state: finished.state, kind });
        if state.written.elapsed() < REFRESH { Ok(()) } else { self.write_summary(&mut state, "running") }
    }

    /// The batch is over: its results outlive a power failure.
    pub(super) fn close(&self, cancelled: bool) -> Result<(), Error> {
        let status = if cancelled { "cancelled" } else { "finished" };
        self.write_summary(&mut lock(&self.state), status)?;
        let fail = |error| Error::File { verb: "write", path: self.path.clone(), error };
        disk::sync_names(&self.path.join(SUMMARY)).map_err(fail)
    }

    fn write_summary(&self, state: &mut Progress, status: &str) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Summary<'a> {
            status: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            shard: Option<String>,
            total_tasks: usize,
            #[serde(flatten)]
            totals: Totals,
            total_duration_seconds: f64,
            results: Vec<Line>,
        }
        #[derive(Serialize)]
        struct Line {
            index: usize,
            status: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            kind: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            file: Option<String>,
        }
        let line = |(&index, row): (&usize, &Row)| {
            let name = || row.file.as_ref().map_or_else(|| numbered(index), |file| file.to_string());
            let file = row.is_kept.then(name);
            Line { index, status: row.state.word(), kind: row.kind.map(Kind::word), file }
        };
        let summary = Summary {
            status,
            shard: self.shard.map(|shard| shard.to_string()),
            total_tasks: state.planned.unwrap_or(state.totals.all()),
            totals: state.totals,
            total_duration_seconds: state.since.elapsed().as_secs_f64(),
            results: state.rows.iter().map(line).collect(),
        };
        self.write(SUMMARY, &summary)?;
        state.written = Instant::now();
        Ok(())
    }

    /// Writes a file in one step: a reader, and a clinvk after a kill, sees the old one or the new one.
    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), Error> {
        let path = self.path.join(name);
        let written = json::line(content).and_then(|line| disk::replace(&path, &line));
        written.map_err(|error| Error::File { verb: "write", path, error })
    }

    fn file_name(&self, label: &Label) -> String {
        let Some(id) = &label.id else { return numbered(label.index) };
        let escaped = |byte: u8| match byte {
            b'-' | b'_' | b'.' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let mut name: String = id.bytes().map(escaped).collect();
        if name.len() > LONGEST_NAME {
            // Two that begin alike must not share a file.
            name.truncate(LONGEST_NAME);
            name = format!("{name}-{}", sha256::hex(id.as_bytes()));
        }
        format!("{}-{name}.json", self.prefix)
    }
}

/// The file of one without an id.
pub(super) fn numbered(index: usize) -> String {
    format!("{:05}.json", index + 1)
}
