//! Where runs happen and sessions are kept, as the command line sees it: in this process, which is here, or on a server
//! (`client`). Whatever is printed comes from the same events either way.

use super::Engine;
use super::dry_run;
use super::fallback::Attempts;
use super::request::{self, Defaults, Request};
use crate::backend::{Framing, Trust};
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use crate::model::event::Listener;
use crate::model::outcome::Outcome;
use crate::model::task::{Continue, OutputFormat};
use crate::session::{Session, Sessions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A run as it is asked for, but for its prompt.
#[derive(Clone)]
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// The session that it continues, and how.
    pub(crate) session: Option<&'a Session>,
    /// How long that is waited for: zero not at all, none for ever.
    pub(crate) wait_limit: Option<Duration>,
    pub(crate) replay: bool,
    /// The program's own lines are wanted.
    pub(crate) lines: bool,
    /// It goes on alone: nothing but its id is wanted.
    pub(crate) alone: bool,
    /// Stops it.
    pub(crate) cancel: Arc<Cancel>,
}

/// Why no run of this process goes on alone.
pub(crate) const NO_SERVER: &str = "there is no server here in which a run could go on: name one (`--server URL`, CLINVK_SERVER or client.server), \
     or `--server auto` for one of your own";

/// Says what is asked. Called last: it may have to wait for a user to type.
pub(crate) type Prompt<'a> = Box<dyn FnOnce() -> Result<Arc<str>, Error> + 'a>;

/// What is known of a run before it begins.
pub(crate) struct Facts {
    pub(crate) backend: String,
    /// Where it works.
    pub(crate) dir: PathBuf,
    /// How its program's own lines are cut.
    pub(crate) framing: Framing,
    pub(crate) warnings: Vec<String>,
    /// Its limits, and what stops it.
    pub(crate) control: Control,
    /// It is not to be run: `describe` says what would be executed.
    pub(crate) dry_run: bool,
}

/// Where runs happen.
pub(crate) trait Site {
    /// The sessions that are kept there.
    fn sessions(&self) -> &dyn Sessions;

    /// Who is asked when no backend is named, where that is known.
    fn default_backend(&self) -> Option<&str>;

    /// The names of the backends that are installed there and have answers of their own.
    fn installed(&self) -> Vec<String>;

    /// A directory of that place, as its sessions have it.
    fn directory(&self, name: &Path) -> Result<PathBuf, Error>;

    /// Finds all that can be refused before anything is printed.
    fn check<'a>(&'a self, asked: Asked<'_>, prompt: Prompt<'_>) -> Result<Box<dyn Checked + 'a>, Error>;
}

/// A run that can begin.
pub(crate) trait Checked {
    fn facts(&self) -> &Facts;

    /// What would be executed.
    fn describe(&self, format: OutputFormat) -> String;

    /// Runs it to its end: as `Engine::run`.
    fn run(self: Box<Self>, listener: &mut dyn Listener) -> Result<Outcome, Error>;

    /// Leaves it to itself, where it was asked for so. Returns the id by which it is known.
    fn leave(self: Box<Self>) -> Result<String, Error>;
}

/// This process.
pub(crate) struct Here<'a> {
    pub(crate) engine: &'a Engine,
    /// What requests are completed from.
    pub(crate) defaults: Defaults<'a>,
}

impl Site for Here<'_> {
    fn sessions(&self) -> &dyn Sessions {
        &self.engine.store
    }

    fn default_backend(&self) -> Option<&str> {
        Some(&self.defaults.config.default_backend)
    }

    fn installed(&self) -> Vec<String> {
        self.engine.installed()
    }

    fn directory(&self, name: &Path) -> Result<PathBuf, Error> {
        request::directory(self.defaults.base, name)
    }

    fn check<'a>(&'a self, asked: Asked<'_>, prompt: Prompt<'_>) -> Result<Box<dyn Checked + 'a>, Error> {
        let Asked { request, session, wait_limit, replay, lines, alone: _, cancel } = asked;
        let mut tasks = request.tasks(&Defaults { session, ..self.defaults }, prompt)?;
        for task in &mut tasks {
            task.session = session.map(|session| Continue { id: session.id.clone(), wait_limit, replay });
        }
        if lines {
            // Lines of two backends in one output would mean nothing.
            tasks.truncate(1);
        }
        let attempts = Attempts::checked(self.engine, tasks, session)?;
        let (config, prepared) = (self.defaults.config, attempts.first());
        let facts = Facts {
            backend: prepared.task.backend.clone(),
            dir: prepared.task.dir.clone(),
            framing: prepared.launch.framing,
            warnings: prepared.warnings.clone(),
            control: Control { lines, ..request.control(config, cancel) },
            dry_run: request.dry_run.unwrap_or(config.unified_flags.dry_run),
        };
        Ok(Box::new(CheckedHere { engine: self.engine, attempts, facts }))
    }
}

/// A run of this process.
struct CheckedHere<'a> {
    engine: &'a Engine,
    attempts: Attempts,
    facts: Facts,
}

impl Checked for CheckedHere<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn describe(&self, format: OutputFormat) -> String {
        let prepared = self.attempts.first();
        let program = self.engine.locate(&*prepared.backend, Trust::Found);
        dry_run::describe(prepared, program.as_deref(), format)
    }

    fn run(self: Box<Self>, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        self.attempts.run(self.engine, &self.facts.control, listener)
    }

    fn leave(self: Box<Self>) -> Result<String, Error> {
        Err(Error::Invalid(NO_SERVER.to_owned()))
    }
}
