//! Where the runs of a batch happen: by the engine of this process, as its surface has it, or on a server (`client`).

use super::Runner;
use super::compare::{self, Candidate};
use super::once::digest;
use crate::backend::Registry;
use crate::engine::Engine;
use crate::engine::request::{Defaults, Request};
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use crate::model::event::Listener;
use crate::model::outcome::Outcome;
use crate::model::task::{Continue, Task, TaskOption};
use crate::session::Session;
use std::sync::Arc;
use std::time::Duration;

/// A run of a batch as it is asked for.
pub(crate) struct Order<'a> {
    /// What is asked, with what is asked of all.
    pub(crate) request: &'a Request,
    pub(crate) defaults: Defaults<'a>,
    /// The session that it continues.
    pub(crate) session: Option<&'a Session>,
    /// The session that it begins is for the batch alone.
    pub(crate) hidden: bool,
    /// It leaves no session behind where its backend can do without.
    pub(crate) tidy: bool,
    /// Stops it.
    pub(crate) cancel: Arc<Cancel>,
}

/// Where runs happen, and the sessions that they leave.
pub(crate) trait Place: Sync {
    /// Checks a run, as far as that can be done before it begins.
    fn ready<'a>(&'a self, order: Order<'a>) -> Result<Box<dyn Ready + 'a>, Error>;

    /// All backends that have an answer of their own and are installed, and those that are not installed.
    fn all(&self) -> (Vec<Candidate>, Vec<String>);

    /// The error that a backend is not installed, or that there is none of that name.
    fn not_installed(&self, backend: &str) -> Error;

    /// The session of that id.
    fn session(&self, id: &str) -> Result<Session, Error>;

    /// Removes a session, and what a vendor keeps of it.
    fn forget(&self, id: &str) -> Result<(), Error>;
}

/// A run that was checked.
pub(crate) trait Ready {
    /// What it asks: the same for two that are the same question to the same backend.
    fn digest(&self) -> String;

    /// What would be executed, where it is not to be run.
    fn rehearsal(&self) -> Result<Option<String>, Error>;

    /// What is worth knowing of it, besides what its outcome has.
    fn warnings(&self) -> Vec<String>;

    /// Runs it to its end: once, or again where that failed.
    fn run(&self, listener: &mut dyn Listener) -> Result<Outcome, Error>;
}

/// This process.
pub(crate) struct Here<'a> {
    pub(crate) engine: &'a Engine,
    /// Does each single run.
    pub(crate) runner: &'a dyn Runner,
}

impl Place for Here<'_> {
    fn ready<'a>(&'a self, order: Order<'a>) -> Result<Box<dyn Ready + 'a>, Error> {
        let Order { request, defaults, session, hidden, tidy, cancel } = order;
        let defaults = Defaults { session, ..defaults };
        let mut tasks = request.tasks(&defaults, || request.text(&defaults))?;
        let mut warnings = Vec::new();
        for task in &mut tasks {
            task.hidden |= hidden;
            let wait_limit = Some(Duration::ZERO);
            task.session =
                session.map(|session| Continue { id: session.id.clone(), wait_limit, replay: false });
            if tidy {
                warnings.extend(tidied(task, defaults.registry));
            }
        }
        tasks.iter_mut().try_for_each(|task| self.runner.admit(request, task))?;
        let control = request.control(defaults.config, cancel);
        let dry_run = request.dry_run.unwrap_or(defaults.config.unified_flags.dry_run);
        Ok(Box::new(ReadyHere { runner: self.runner, tasks, session, warnings, control, dry_run }))
    }

    fn all(&self) -> (Vec<Candidate>, Vec<String>) {
        compare::all(self.engine)
    }

    fn not_installed(&self, backend: &str) -> Error {
        match self.engine.registry.get(backend) {
            Ok(backend) => self.engine.not_installed(&*backend),
            Err(error) => error,
        }
    }

    fn session(&self, id: &str) -> Result<Session, Error> {
        self.engine.store.load(id)
    }

    fn forget(&self, id: &str) -> Result<(), Error> {
        self.engine.store.load(id).and_then(|session| self.engine.forget(&session))
    }
}

/// Has a task leave a session behind where its backend cannot do without; says so.
pub(crate) fn tidied(task: &mut Task, registry: &Registry) -> Option<String> {
    let why = registry.get(&task.backend).ok()?.honours(TaskOption::Ephemeral).err()?;
    if !std::mem::take(&mut task.ephemeral) {
        return None;
    }
    Some(format!("backend `{}` leaves a session behind: {why}", task.backend))
}

struct ReadyHere<'a> {
    runner: &'a dyn Runner,
    /// The first is what is asked for, the others stand in for it.
    tasks: Vec<Task>,
    session: Option<&'a Session>,
    warnings: Vec<String>,
    control: Control,
    dry_run: bool,
}

impl Ready for ReadyHere<'_> {
    fn digest(&self) -> String {
        digest(&self.tasks[0])
    }

    fn rehearsal(&self) -> Result<Option<String>, Error> {
        let rehearse = || self.runner.rehearse(self.tasks[0].clone(), self.session);
        self.dry_run.then(rehearse).transpose()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn run(&self, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        self.runner.run(self.tasks.clone(), self.session, &self.control, listener)
    }
}
