//! Who answers when one backend cannot for now: the next one is asked, but only for reasons that another one may not have,
//! and only while nothing was delivered.

use crate::engine::{Engine, Prepared};
use crate::exec::Control;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener, Permission};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::session::Session;
use std::io;

/// What is asked: a task, and those that stand in for it.
pub(crate) struct Attempts {
    first: Prepared,
    stand_ins: Vec<Task>,
}

impl Attempts {
    /// Prepares the first of these tasks; the others are, should it be their turn. `session`: the one that they continue.
    pub(crate) fn of(
        engine: &Engine,
        mut tasks: Vec<Task>,
        session: Option<&Session>,
    ) -> Result<Attempts, Error> {
        if tasks.is_empty() {
            return Err(Error::Internal("no task to run".to_owned()));
        }
        let first = engine.prepare(tasks.remove(0), session)?;
        Ok(Attempts { first, stand_ins: tasks })
    }

    /// The same where none of the others may be one that could not be run.
    pub(crate) fn checked(
        engine: &Engine,
        tasks: Vec<Task>,
        session: Option<&Session>,
    ) -> Result<Attempts, Error> {
        let attempts = Attempts::of(engine, tasks, session)?;
        attempts.stand_ins.iter().try_for_each(|task| engine.prepare(task.clone(), session).map(drop))?;
        Ok(attempts)
    }

    /// Puts warnings before those of the first task.
    pub(crate) fn warn(&mut self, warnings: Vec<String>) {
        self.first.warnings.splice(0..0, warnings);
    }

    pub(crate) fn first(&self) -> &Prepared {
        &self.first
    }

    /// Runs the first task; where its backend cannot answer for now the second, and so on. The listener hears the one run
    /// that counts.
    ///
    /// # Errors
    /// Those of the last run. One that stood in and could not be begun is a failure, which says who was asked before.
    pub(crate) fn run(
        self,
        engine: &Engine,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        if self.stand_ins.is_empty() {
            return engine.run(engine.open(self.first, &control.cancel)?, control, listener);
        }
        let mut tried: Vec<(String, Failure)> = Vec::new();
        let (is_continued, mut backend) = (self.first.continues.is_some(), self.first.task.backend.clone());
        let (mut attempt, mut stand_ins) = (Ok(self.first), self.stand_ins.into_iter());
        loop {
            let next = stand_ins.next();
            let mut held = HeldBack::new(listener, &tried, &passes_on);
            held.delivered = next.is_none();
            let result = attempt
                .and_then(|prepared| engine.open(prepared, &control.cancel))
                .and_then(|opened| engine.run(opened, control, &mut held));
            let failure = match &result {
                Ok(outcome) => outcome.failure.clone(),
                Err(error) => Some(Failure::from(error)),
            };
            let (Some(failure), Some(next)) = (failure.filter(|failure| held.may_pass_on(failure)), next)
            else {
                if !held.over {
                    held.release().map_err(|_| Error::ReaderGone)?;
                }
                return match result {
                    Err(error) if !held.over && is_its_own(&error) && !tried.is_empty() => {
                        held.never_ran(backend, &error).map_err(|_| Error::ReaderGone)
                    }
                    result => result,
                }
                .map(|outcome| Outcome { tried, ..outcome });
            };
            log::warn!("{}", passed_on(&backend, &failure, &next.backend));
            // The client does not know of its session, and there is no answer in it. One that was there before stays.
            if let Some(id) = held.session().filter(|_| !is_continued) {
                let gone = engine.store.load(id).and_then(|session| engine.forget(&session));
                if let Err(error) = gone {
                    log::warn!("{error}");
                }
            }
            tried.push((std::mem::replace(&mut backend, next.backend.clone()), failure));
            let session = next.session.as_ref().map(|session| engine.store.load(&session.id)).transpose();
            attempt = session.and_then(|session| engine.prepare(next, session.as_ref()));
        }
    }
}

/// Says that another backend is asked, and why.
pub(crate) fn passed_on(backend: &str, failure: &Failure, next: &str) -> String {
    format!("{backend}: {}; asking {next}", failure.message)
}

/// Another backend may well answer: this one is used up, busy, not there or not logged in.
pub(crate) fn passes_on(kind: Kind) -> bool {
    matches!(kind, Kind::Quota | Kind::Overloaded | Kind::NotInstalled | Kind::Login)
}

/// It is about the backend that was asked, not about who asks or what the server has room for.
fn is_its_own(error: &Error) -> bool {
    !matches!(error, Error::Cancelled | Error::ReaderGone | Error::Busy(_))
}

/// Keeps to itself what a run says until it says something of the answer.
pub(super) struct HeldBack<'a> {
    listener: &'a mut dyn Listener,
    held: Vec<Held>,
    /// Something reached the listener: from then on there is no way back.
    delivered: bool,
    /// The listener has heard the outcome.
    over: bool,
    tried: &'a [(String, Failure)],
    /// Failures of these kinds are no end.
    passes_on: &'a dyn Fn(Kind) -> bool,
}

enum Held {
    Begin(String, Option<String>),
    Event(Event),
}

impl<'a> HeldBack<'a> {
    pub(super) fn new(
        listener: &'a mut dyn Listener,
        tried: &'a [(String, Failure)],
        passes_on: &'a dyn Fn(Kind) -> bool,
    ) -> HeldBack<'a> {
        HeldBack { listener, held: Vec::new(), delivered: false, over: false, tried, passes_on }
    }

    /// Nothing of the run was delivered, and another one may not fail so.
    fn may_pass_on(&self, failure: &Failure) -> bool {
        !self.delivered && (self.passes_on)(failure.kind)
    }

    /// The listener has heard something of the answer, or its end.
    pub(super) fn is_released(&self) -> bool {
        self.delivered
    }

    /// The session of a run that said nothing.
    fn session(&self) -> Option<&str> {
        self.held.iter().find_map(|held| match held {
            Held::Begin(_, session) => session.as_deref(),
            Held::Event(_) => None,
        })
    }

    /// Tells of a run that could not be begun as of one that has failed.
    fn never_ran(&mut self, backend: String, error: &Error) -> io::Result<Outcome> {
        let failure = Some(Failure::from(error));
        let outcome = Outcome { backend, exit_code: 1, failure, ..Outcome::default() };
        self.begin(&outcome.backend, None)?;
        self.event(&Event::Done(Box::new(outcome.clone())))?;
        Ok(outcome)
    }

    /// Passes on what was held back; from now on everything goes through.
    pub(super) fn release(&mut self) -> io::Result<()> {
        self.delivered = true;
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Begin(backend, session) => self.listener.begin(&backend, session.as_deref())?,
                Held::Event(event) => self.listener.event(&event)?,
            }
        }
        Ok(())
    }
}

impl Listener for HeldBack<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        if self.delivered {
            return self.listener.begin(backend, session);
        }
        self.held.push(Held::Begin(backend.to_owned(), session.map(str::to_owned)));
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let is_delivered = self.delivered
            || match event {
                Event::Done(outcome) => {
                    !outcome.failure.as_ref().is_some_and(|failure| self.may_pass_on(failure))
                }
                event => event.delivers(),
            };
        if !is_delivered {
            self.held.push(Held::Event(event.clone()));
            return self.listener.idle();
        }
        self.release()?;
        let Event::Done(outcome) = event else { return self.listener.event(event) };
        self.over = true;
        let tried = self.tried.to_vec();
        self.listener.event(&Event::Done(Box::new(Outcome { tried, ..(**outcome).clone() })))
    }

    fn permission(&mut self, asked: &Permission) -> io::Result<bool> {
        self.release()?;
        self.listener.permission(asked)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}
