//! A task that is run: its session is held, exec holds the conversation with its program, and the events of that are folded
//! into an `Outcome`, in one pass.

use super::answer::{self, Collector};
use super::{Engine, Prepared};
use crate::backend::Trust;
use crate::base::world;
use crate::exec::{self, Cancel, Control, Stop};
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener, Permission, TRUNCATED};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::model::unified::NOT_SAVED;
use crate::session::{KeepWaiting, Run, Session};
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// As many denied permissions have a warning each; the rest are counted.
const MOST_DENIALS_TOLD: u64 = 10;

/// A task that can be run at once: its program is there, and the session that it continues is its own until its end.
pub struct Opened {
    prepared: Prepared,
    program: PathBuf,
    /// How many runs it is inside of, itself among them.
    depth: u32,
    run: Option<Run>,
    /// The prompt as it was asked, without the turns that it may be put behind.
    asked: Arc<str>,
}

impl Engine {
    /// Finds the program of a task, and takes the session that it continues.
    ///
    /// # Errors
    /// When the program is not installed, there is no place to work or to keep a session, or too many runs are inside each
    /// other; when the session is busy or gone, or cannot be continued as it is now.
    pub(crate) fn open(&self, mut prepared: Prepared, cancel: &Arc<Cancel>) -> Result<Opened, Error> {
        let depth = exec::depth_of_run(&self.world, prepared.task.outer_runs)?;
        let (backend, task) = (&prepared.backend, &mut prepared.task);
        let program = self.locate(&**backend, Trust::Found).ok_or_else(|| self.not_installed(&**backend))?;
        if !task.dir.is_dir() {
            let dir = task.dir.display();
            return Err(Error::Invalid(format!("working directory `{dir}` is not a directory")));
        }
        match self.store.has_place() {
            // What costs something is not done where it is known before that it cannot be kept.
            Err(error) if !task.ephemeral && backend.answers() => {
                return Err(Error::Invalid(format!("{error} (`--ephemeral` keeps no session)")));
            }
            Err(error) if !task.ephemeral => {
                let warning = format!("{NOT_SAVED}{error}");
                log::warn!("{warning}");
                prepared.warnings.push(warning);
                task.ephemeral = true;
            }
            _ => {}
        }
        let Some((asked, before)) = prepared.continues.take().filter(|_| !prepared.task.ephemeral) else {
            let asked = prepared.task.prompt.clone();
            return Ok(Opened { prepared, program, depth, run: None, asked });
        };
        let prompt = asked.prompt.clone();
        let wait_limit = asked.session.as_ref().and_then(|session| session.wait_limit);
        let keep_waiting = keep_waiting(cancel);
        let mut run =
            self.store.resume(&before.id, wait_limit, keep_waiting, asked.prompt.clone(), self.keep)?;
        run.asks_for(asked.asked_model.as_deref().or(prepared.task.model.as_deref()));
        if !asked.tags.is_empty() {
            self.store.update(&before.id, |session| session.add_tags(&asked.tags))?;
        }
        // Another run may have gone on with it until this one had it.
        if conversation(run.session()) != conversation(&before) {
            let (backend, fresh) = (asked.backend.clone(), self.prepare(asked, Some(run.session())));
            prepared = fresh.inspect_err(|error| {
                // What is wrong is more than that it could not be saved.
                let failure = Some(Failure::from(error));
                let _ = run.end(&Outcome { backend, failure, ..Outcome::default() });
            })?;
        }
        Ok(Opened { prepared, program, depth, run: Some(run), asked: prompt })
    }

    /// Runs a task to its end. The listener hears everything; the outcome is also returned, once no process is left.
    ///
    /// # Errors
    /// When *we* could not do it: a program that does not start, a time limit, a cancel. A backend that ran and said no is
    /// an `Outcome` with a failure in it.
    pub(crate) fn run(
        &self,
        opened: Opened,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        let Opened { prepared, program, depth, run, asked } = opened;
        let (run, session_failure) = match run {
            Some(run) => (Some(run), None),
            None if prepared.task.ephemeral => (None, None),
            None => match self.begin(&prepared.task, keep_waiting(&control.cancel)) {
                Ok(run) => (Some(run), None),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // The answer matters more than its record.
                Err(error) => (None, Some(Failure::from(&error))),
            },
        };
        let Prepared { backend, task, launch, warnings, .. } = prepared;
        let name = backend.name();
        listener.begin(name, run.as_ref().map(|run| &*run.session().id)).map_err(|_| Error::ReaderGone)?;
        let mut fold = Fold {
            since: Instant::now(),
            outcome: Outcome {
                backend: name.to_owned(),
                model: task.model.clone(),
                session: run.as_ref().map(|run| run.session().id.clone()),
                session_failure,
                warnings,
                ..Outcome::default()
            },
            run,
            login: self.registry.agent(name).map(|agent| &*agent.login),
            formed: task.schema.clone().map(|schema| (schema, Collector::default())),
            refusal: None,
            is_over: false,
            listener,
        };
        let stop = self.converse(&backend, (task, launch), &program, (depth, asked), control, &mut fold);
        let finished = match stop.and_then(|stop| stopped(&stop)) {
            Err(Error::ReaderGone) => Err(fold.refusal.take().unwrap_or(Error::ReaderGone)),
            finished => finished,
        };
        if let Err(error) = &finished {
            fold.stop(error);
        }
        let outcome = &fold.outcome;
        if let (true, Some(session)) =
            (outcome.failure.is_some() || outcome.session_failure.is_some(), &outcome.session)
        {
            // A turn that the program has and our session has not: their numbers would agree again once another program has
            // gone on with the session.
            self.pool.iter().for_each(|pool| pool.forget(session));
        }
        finished.map(|()| fold.outcome)
    }

    /// Begins the session of a run.
    fn begin(&self, task: &Task, keep_waiting: KeepWaiting) -> Result<Run, Error> {
        let id = task.begins.clone().map_or_else(world::random_id, Ok)?;
        let mut session = Session::new(id, &task.backend, task.dir.clone(), &task.prompt);
        session.model = task.model.clone();
        session.set_tags(&task.tags)?;
        session.set_metadata(task.metadata.clone())?;
        (session.owner, session.hidden) = (task.owner.clone(), task.hidden);
        if session.hidden {
            // It is not looked for by its words, and the index would keep them for longer than it lives.
            (session.title, session.initial_prompt) = Default::default();
        }
        let mut run = self.store.begin(session, keep_waiting, task.prompt.clone(), self.keep)?;
        run.asks_for(task.model.as_deref());
        Ok(run)
    }
}

/// What of a session decides how it is continued.
fn conversation(session: &Session) -> (&str, Option<&str>, u64) {
    (&session.backend, session.backend_session_id.as_deref(), session.turn_count)
}

fn keep_waiting(cancel: &Arc<Cancel>) -> KeepWaiting {
    let cancel = cancel.clone();
    Arc::new(move || if cancel.is_thrown() { Err(Error::Cancelled) } else { Ok(()) })
}

/// A stop that is no result, as the error that it is.
fn stopped(stop: &Stop) -> Result<(), Error> {
    match *stop {
        Stop::Finished(_) => Ok(()),
        Stop::TimedOut(limit, after) => Err(Error::TimedOut { limit, after }),
        Stop::Cancelled => Err(Error::Cancelled),
        Stop::ReaderGone => Err(Error::ReaderGone),
    }
}

/// Folds the events of a run into its outcome while they pass to the listener.
pub(super) struct Fold<'a> {
    since: Instant,
    outcome: Outcome,
    pub(super) run: Option<Run>,
    /// How a user of the backend logs in, where that is known.
    login: Option<&'static str>,
    /// The schema that the answer has to follow, and what there is of it: the listener hears of none that does not.
    formed: Option<(Value, Collector)>,
    /// Why the listener stopped the run, where that is more than a reader that left.
    refusal: Option<Error>,
    /// The listener has the outcome.
    is_over: bool,
    listener: &'a mut dyn Listener,
}

impl Listener for Fold<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let heard = match event {
            Event::Done(done) => self.finish(done),
            event => self.hear(event),
        };
        heard.map_err(|error| self.refused(error))
    }

    fn permission(&mut self, asked: &Permission) -> io::Result<bool> {
        self.listener.permission(asked).map_err(|error| self.refused(error))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}

impl Fold<'_> {
    /// Notes why the listener stops the run.
    fn refused(&mut self, error: io::Error) -> io::Error {
        match error.downcast() {
            Ok(refusal) => {
                self.refusal = Some(refusal);
                io::ErrorKind::Other.into()
            }
            Err(error) => error,
        }
    }

    /// Takes into the outcome what is for it, and passes the event on.
    fn hear(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Started { model, session } => {
                self.outcome.model = model.clone().or(self.outcome.model.take());
                self.outcome.backend_session = session.clone().or(self.outcome.backend_session.take());
            }
            Event::Usage(usage) => self.outcome.usage = *usage,
            Event::Progress { stage, .. } => self.outcome.truncated |= stage == TRUNCATED,
            Event::PermissionDenied { .. } => self.outcome.permission_denials += 1,
            Event::Text(_) | Event::Void(_) => {
                if let Some((_, answer)) = &mut self.formed {
                    answer.add(event)?;
                    return self.listener.idle();
                }
                if let Some(run) = &mut self.run {
                    run.hear(event);
                }
            }
            Event::Model { name, .. } => self.outcome.model = Some(name.clone()),
            _ => {}
        }
        let is_one_more = matches!(event, Event::PermissionDenied { .. })
            && self.outcome.permission_denials > MOST_DENIALS_TOLD;
        self.outcome.warnings.extend(event.warning().filter(|_| !is_one_more));
        self.listener.event(event)
    }

    /// The program has finished. An answer that was kept back until it was whole is told where it follows its schema, else
    /// the run has failed.
    fn finish(&mut self, done: &Outcome) -> io::Result<()> {
        let (mut failure, mut exit_code, mut told) = (done.failure.clone(), done.exit_code, Ok(()));
        if let (Some((schema, answer)), None) = (self.formed.take(), &failure) {
            match answer::formed(&schema, &answer.text) {
                Ok((text, _)) => told = self.hear(&Event::Text(text.to_owned())),
                Err(wrong) => (failure, exit_code) = (Some(wrong), 1),
            }
        }
        self.conclude(failure, exit_code);
        told.and_then(|()| self.tell_outcome())
    }

    /// The run ended without a result: what there was of it is saved, and the listener hears it unless it left.
    fn stop(&mut self, error: &Error) {
        if self.is_over {
            return;
        }
        self.conclude(Some(Failure::from(error)), 1);
        // A client that left has no use for an error either; a server without memory for the answer has none for a part of
        // it.
        if !matches!(error, Error::ReaderGone | Error::Busy(_)) {
            let _ = self.tell_outcome();
        }
    }

    /// Completes the outcome, and saves it.
    fn conclude(&mut self, failure: Option<Failure>, exit_code: i32) {
        (self.outcome.failure, self.outcome.exit_code) = (failure, exit_code);
        self.outcome.duration = self.since.elapsed();
        if let Some(failure) = &mut self.outcome.failure {
            match (failure.kind, self.login) {
                (Kind::SessionNotFound, _) => {
                    failure.message += " (`--replay` starts a new one from the stored turns)";
                }
                (Kind::Login, Some(login)) => failure.message += &format!(" (log in: {login})"),
                _ => {}
            }
        }
        // Those without a warning of their own.
        let more = self.outcome.permission_denials.saturating_sub(MOST_DENIALS_TOLD);
        if more > 0 {
            self.outcome.warnings.push(format!("{more} more permissions were denied"));
        }
        self.save();
        if let Some(failure) = &self.outcome.session_failure {
            self.outcome.warnings.push(format!("{NOT_SAVED}{}", failure.message));
        }
    }

    fn tell_outcome(&mut self) -> io::Result<()> {
        self.is_over = true;
        self.listener.event(&Event::Done(Box::new(self.outcome.clone())))
    }

    /// Saves the session's turn, and lets the session go.
    fn save(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        let saved = run.end(&self.outcome);
        self.outcome.session_failure = saved.err().as_ref().map(Failure::from);
    }
}
