//! The server of this user's command lines as the place where runs happen. It has the same sessions, files, rights and
//! configuration as this process: all that can be found out here is, in the same words, and the run alone is over there.

use super::batch::Ordered;
use super::request::body;
use super::run::{Opened, continue_session, open};
use super::site::Server;
use crate::base::json::json;
use crate::batch::compare::Candidate;
use crate::batch::place::{self, Order, Place, Ready};
use crate::engine::caller::Caller;
use crate::engine::request::{Defaults, Request};
use crate::engine::site::{Asked, Checked, Facts, Here, Prompt, Site};
use crate::exec::Control;
use crate::model::error::Error;
use crate::model::event::Listener;
use crate::model::outcome::Outcome;
use crate::model::task::OutputFormat;
use crate::session::{Session, Sessions};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// That server, and what is done here.
pub(crate) struct Auto<H> {
    pub(crate) server: Arc<Server>,
    pub(crate) caller: Caller,
    pub(crate) here: H,
}

impl<H> Auto<H> {
    /// A request for a run, but for its prompt.
    fn order(&self, asked: &Asked<'_>, defaults: &Defaults<'_>) -> Result<Map<String, Value>, Error> {
        let request = asked.request.carried(defaults)?;
        // They are a part of the prompt.
        let mut order = body(&Request { files: None, ..request });
        order.insert("caller".to_owned(), json!(self.caller.hearing(asked.lines)));
        continue_session(&mut order, asked);
        Ok(order)
    }
}

impl Site for Auto<Here<'_>> {
    fn sessions(&self) -> &dyn Sessions {
        self.here.sessions()
    }

    fn default_backend(&self) -> Option<&str> {
        self.here.default_backend()
    }

    fn installed(&self) -> Vec<String> {
        self.here.installed()
    }

    fn directory(&self, name: &Path) -> Result<PathBuf, Error> {
        self.here.directory(name)
    }

    fn check<'a>(&'a self, asked: Asked<'_>, prompt: Prompt<'_>) -> Result<Box<dyn Checked + 'a>, Error> {
        let said: Rc<RefCell<Option<Arc<str>>>> = Rc::default();
        let kept = said.clone();
        let prompt: Prompt<'_> =
            Box::new(move || prompt().inspect(|prompt| *kept.borrow_mut() = Some(prompt.clone())));
        let checked = self.here.check(asked.clone(), prompt)?;
        if checked.facts().dry_run {
            return Ok(checked);
        }
        let mut order = self.order(&asked, &self.here.defaults)?;
        order.insert("prompt".to_owned(), json!(said.take().as_deref()));
        Ok(Box::new(CheckedHere { server: &self.server, order: Value::Object(order), checked }))
    }
}

/// A run that was checked here and is to begin over there.
struct CheckedHere<'a> {
    server: &'a Server,
    order: Value,
    checked: Box<dyn Checked + 'a>,
}

impl Checked for CheckedHere<'_> {
    fn facts(&self) -> &Facts {
        self.checked.facts()
    }

    fn describe(&self, format: OutputFormat) -> String {
        self.checked.describe(format)
    }

    fn run(self: Box<Self>, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        match self.open()? {
            Opened::Begun(mut begun) => begun.follow(listener),
            _ => Err(self.server.address.failed("it does not run what it was to run")),
        }
    }

    fn leave(self: Box<Self>) -> Result<String, Error> {
        match self.open()? {
            Opened::Alone(alone) => Ok(alone.id),
            _ => Err(self.server.address.failed("it does not run what it was to run")),
        }
    }
}

impl CheckedHere<'_> {
    fn open(&self) -> Result<Opened<'_>, Error> {
        open(self.server, &self.order, self.facts().control.clone())
    }
}

impl Place for Auto<place::Here<'_>> {
    fn ready<'a>(&'a self, order: Order<'a>) -> Result<Box<dyn Ready + 'a>, Error> {
        let Order { request, defaults, session, hidden, tidy, ref cancel } = order;
        let (wait_limit, replay, lines, alone) = (Some(Duration::ZERO), false, false, false);
        let (cancel, control) = (cancel.clone(), Control::with(cancel.clone()));
        let mut sent =
            self.order(&Asked { request, session, wait_limit, replay, lines, alone, cancel }, &defaults)?;
        sent.insert("prompt".to_owned(), json!(request.text(&defaults)?.as_ref()));
        sent.insert("hidden".to_owned(), json!(hidden));
        sent.insert("tidy".to_owned(), json!(tidy));
        let ordered = Ordered { there: &self.server, order: Value::Object(sent), control };
        Ok(Box::new(ReadyHere { ready: self.here.ready(order)?, ordered }))
    }

    fn all(&self) -> (Vec<Candidate>, Vec<String>) {
        self.here.all()
    }

    fn not_installed(&self, backend: &str) -> Error {
        self.here.not_installed(backend)
    }

    fn session(&self, id: &str) -> Result<Session, Error> {
        self.here.session(id)
    }

    fn forget(&self, id: &str) -> Result<(), Error> {
        self.here.forget(id)
    }
}

/// A run of a batch that was checked here and is to happen over there.
struct ReadyHere<'a> {
    ready: Box<dyn Ready + 'a>,
    ordered: Ordered<'a>,
}

impl Ready for ReadyHere<'_> {
    fn digest(&self) -> String {
        self.ready.digest()
    }

    fn rehearsal(&self) -> Result<Option<String>, Error> {
        self.ready.rehearsal()
    }

    fn warnings(&self) -> Vec<String> {
        // They are in its outcome.
        Vec::new()
    }

    fn run(&self, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        self.ordered.run(listener)
    }
}
