//! A turn in progress: it holds its session from start to end, and puts it right whatever happens.

use super::bounds;
use super::journal::Entry;
use super::model::{Session, Status, Tokens, Turn, shorten};
use super::store::{Store, Version, fail};
use crate::base::lock::Lock;
use crate::base::time::timestamp;
use crate::base::{disk, json, world};
use crate::model::error::Error;
use crate::model::event::Event;
use crate::model::fields::Text;
use crate::model::outcome::Outcome;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much of an answer is kept. More than any conversation that can be replayed; a flood is not kept in memory.
const KEPT_ANSWER: usize = 4 << 20;

/// How long the store is waited for to save how a turn ended, when the run was called off.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What is kept of a turn: from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Prompts and answers.
    pub turns: bool,
    /// Token counts.
    pub tokens: bool,
}

/// Asked while another run has what this one waits for: an error says that the wait is over.
pub type KeepWaiting = Arc<dyn Fn() -> Result<(), Error> + Send + Sync>;

/// A turn in progress.
pub struct Run {
    store: Store,
    keep: Keep,
    /// As it was when the turn began, and which state of its file that was.
    session: Session,
    version: Option<Version>,
    prompt: Arc<str>,
    /// The name of a model that this turn asks for; empty is none.
    asked_model: String,
    answer: String,
    truncated: bool,
    ended: bool,
    keep_waiting: KeepWaiting,
    // Last: it is let go after everything has been saved.
    _lock: Lock,
}

impl Store {
    /// Begins a new session with its first turn. `keep_waiting` is asked while others change the store, here and when the
    /// turn has ended.
    pub fn begin(
        &self,
        session: Session,
        keep_waiting: KeepWaiting,
        prompt: impl Into<Arc<str>>,
        keep: Keep,
    ) -> Result<Run, Error> {
        let mut locked = self.lock(&*keep_waiting)?;
        let lock = self.make(&session.id, |lock| {
            let [path, next] = ["json", "next"].map(|end| self.path(&session.id, end));
            // Nothing of it is to outlive a power failure yet: the turn would not either.
            lock.sign()
                .and_then(|()| disk::create(&next)?.write_all(&json::line(&session)?))
                .and_then(|()| fs::rename(&next, &path))
                .and_then(|()| disk::create(&next))
                .map_err(fail("write", &path))?;
            if keep.turns {
                self.open_turns(&session.id)?;
            }
            self.append(&mut locked, &Entry::of(&session))
        })?;
        let version = self.version(&session.id);
        drop(locked);
        Ok(Run::new(self.clone(), (session, version), lock, keep_waiting, prompt.into(), keep))
    }

    /// Takes up a session for another turn. `wait_limit`: how long a busy one is waited for; none is for ever. `keep_waiting`
    /// is asked while it is waited for, and while others change the store.
    pub fn resume(
        &self,
        id: &str,
        wait_limit: Option<Duration>,
        keep_waiting: KeepWaiting,
        prompt: impl Into<Arc<str>>,
        keep: Keep,
    ) -> Result<Run, Error> {
        let mut lock = self.hold(id, wait_limit, &*keep_waiting)?;
        let mut begin = || {
            lock.sign().map_err(fail("write", &self.path(id, "lock")))?;
            let (version, session, next) = (self.version(id), self.load(id)?, self.path(id, "next"));
            let mut locked = self.lock(&*keep_waiting)?;
            disk::create(&next).map_err(fail("write", &next))?;
            let session = self.as_begun(session);
            self.append(&mut locked, &Entry::of(&session)).inspect_err(|_| {
                let _ = fs::remove_file(&next);
            })?;
            Ok((session, version))
        };
        match begin() {
            Ok(known) => Ok(Run::new(self.clone(), known, lock, keep_waiting, prompt.into(), keep)),
            Err(error) => {
                // Deleted while it was waited for: the lock was made for nothing.
                if matches!(error, Error::SessionNotFound { .. }) {
                    let _ = lock.remove();
                }
                Err(error)
            }
        }
    }
}

impl Run {
    fn new(
        store: Store,
        (session, version): (Session, Option<Version>),
        lock: Lock,
        keep_waiting: KeepWaiting,
        prompt: Arc<str>,
        keep: Keep,
    ) -> Run {
        let prompt = if keep.turns { prompt } else { Arc::default() };
        Run {
            store,
            keep,
            session,
            version,
            prompt,
            asked_model: String::new(),
            answer: String::new(),
            truncated: false,
            ended: false,
            keep_waiting,
            _lock: lock,
        }
    }

    /// The session as it was when the turn began.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The name of a model that the turn asks for.
    pub(crate) fn asks_for(&mut self, model: Option<&str>) {
        self.asked_model = model.unwrap_or_default().to_owned();
    }

    /// Something happened: of it the answer is kept.
    pub fn hear(&mut self, event: &Event) {
        // Of an answer that is not kept whole the end is not known, so nothing of it could be void.
        if !self.keep.turns || self.truncated {
            return;
        }
        match event {
            Event::Text(text) if self.answer.len() + text.len() > KEPT_ANSWER => self.truncated = true,
            _ => event.add_to(&mut self.answer),
        }
    }

    /// Saves how the turn ended.
    ///
    /// # Errors
    /// When it cannot be saved. Then the session is not called active for ever: the next reader puts it right.
    pub fn end(&mut self, end: &Outcome) -> Result<(), Error> {
        self.ended = true;
        let now = timestamp(world::now());
        let usage = if self.keep.tokens { Tokens::from(&end.usage) } else { Tokens::default() };
        let turn = Turn {
            time: now.clone(),
            backend: end.backend.clone(),
            model: end.model.clone(),
            prompt: Text(self.prompt.clone()),
            answer: std::mem::take(&mut self.answer).trim_end_matches('\n').to_owned(),
            truncated: self.truncated,
            usage,
            duration_seconds: Some(end.duration.as_secs_f64()),
            kind: end.failure.as_ref().map(|failure| failure.kind.word().to_owned()),
            error: end.failure.as_ref().map(|failure| failure.message.clone()),
        };
        let asked_model = std::mem::take(&mut self.asked_model);
        let kept = if self.keep.turns { self.store.append_turns(&self.session.id, &[turn]) } else { Ok(()) };
        let saved = self.finish(|session| {
            let failed = end.failure.is_some();
            let same = session.backend == end.backend;
            session.last_used_at.clone_from(&now);
            session.status = if failed { Status::Error } else { Status::Completed };
            session.turn_count = session.turn_count.saturating_add(u64::from(!failed));
            session.last_error =
                end.failure.as_ref().map(|failure| shorten(&failure.message, bounds::LAST_ERROR));
            session.token_usage.add(&usage);
            // A turn that failed with another backend is no part of the conversation: that stays where it was. One that
            // failed with the same may never have reached the vendor: what could be continued before still can.
            if same || !failed {
                let theirs = end.backend_session.clone().filter(|id| id.len() <= bounds::BACKEND_SESSION);
                session.backend_session_id = theirs.or(session.backend_session_id.take().filter(|_| same));
                let model = end.model.as_ref().map(|model| shorten(model, bounds::MODEL));
                if model.is_some() || !same {
                    session.asked_model = Some(asked_model.clone());
                }
                session.model = model.or(session.model.take().filter(|_| same));
                session.backend.clone_from(&end.backend);
            }
        });
        kept.and(saved)
    }

    fn finish(&mut self, change: impl Fn(&mut Session)) -> Result<(), Error> {
        let (known, since) = ((self.session.clone(), self.version.take()), Instant::now());
        self.store.finish(known, &|| self.keep_saving(since), change, Entry::of).map(drop)
    }

    /// Saving what there is of a turn is worth a moment, also of one that was called off.
    fn keep_saving(&self, since: Instant) -> Result<(), Error> {
        (self.keep_waiting)().or_else(|error| if since.elapsed() < LAST_WAIT { Ok(()) } else { Err(error) })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let interrupted = self.finish(|session| {
            session.status = Status::Error;
            session.last_error = Some("the run was interrupted".to_owned());
        });
        if let Err(error) = interrupted {
            log::warn!("{error}");
        }
    }
}
