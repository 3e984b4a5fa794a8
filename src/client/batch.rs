//! The runs of a batch on a server. The batch itself is here: its order, its progress, its files; each of its runs is a
//! request.

use super::run::{Opened, open, order};
use super::site::{Server, There};
use crate::base::json::json;
use crate::base::sha256;
use crate::batch::compare::Candidate;
use crate::batch::place::{Order, Place, Ready};
use crate::engine::site::{Asked, Checked};
use crate::exec::Control;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::Listener;
use crate::model::outcome::Outcome;
use crate::model::task::OutputFormat;
use crate::session::{Session, Sessions};
use serde_json::{Map, Value};
use std::time::Duration;

/// How long to wait before a server is asked again that has no room for a run.
const PAUSE: Duration = Duration::from_millis(500);
/// What is no part of the question.
const NOT_ASKED: &[&str] =
    &["ephemeral", "tidy", "hidden", "depth", "lenient", "tags", "metadata", "dry_run"];

impl Place for There<'_> {
    fn ready<'a>(&'a self, of_batch: Order<'a>) -> Result<Box<dyn Ready + 'a>, Error> {
        let Order { request, defaults, session, hidden, tidy, cancel } = of_batch;
        let (wait_limit, replay, lines, alone) = (Some(Duration::ZERO), false, false, false);
        let prompt = request.text(&defaults)?;
        let control = Control::with(cancel.clone());
        let mut order = order(self, &Asked { request, session, wait_limit, replay, lines, alone, cancel })?;
        order.insert("prompt".to_owned(), json!(prompt.as_ref()));
        order.insert("hidden".to_owned(), json!(hidden));
        order.insert("tidy".to_owned(), json!(tidy));
        Ok(Box::new(Ordered { there: &self.server, order: Value::Object(order), control }))
    }

    fn all(&self) -> (Vec<Candidate>, Vec<String>) {
        let backends = self.backends["backends"].as_array().into_iter().flatten();
        let answering = backends.filter(|backend| backend["answers"] == true);
        let (there, missing): (Vec<&Value>, Vec<&Value>) =
            answering.partition(|backend| backend["available"] == true);
        let name = |backend: &Value| backend["name"].as_str().unwrap_or_default().to_owned();
        let candidate = |backend: &&Value| Candidate { backend: name(backend), model: None };
        (there.iter().map(candidate).collect(), missing.into_iter().map(name).collect())
    }

    fn not_installed(&self, backend: &str) -> Error {
        let message = match backend {
            "" => "no backend can be asked there".to_owned(),
            backend => format!("backend `{backend}` is not installed there, nor is any other"),
        };
        Error::Told(Failure::new(Kind::NotInstalled, message))
    }

    fn session(&self, id: &str) -> Result<Session, Error> {
        self.find(id)
    }

    fn forget(&self, id: &str) -> Result<(), Error> {
        self.remove(id)
    }
}

/// A run that is ordered.
pub(super) struct Ordered<'a> {
    pub(super) there: &'a Server,
    pub(super) order: Value,
    pub(super) control: Control,
}

impl Ordered<'_> {
    /// Has it begin, and follows it to its end. Says whether the listener has heard of it.
    fn once(&self, listener: &mut dyn Listener) -> (Result<Outcome, Error>, bool) {
        match open(self.there, &self.order, self.control.clone()) {
            Ok(Opened::Begun(mut begun)) => (begun.follow(listener), begun.is_heard()),
            Ok(Opened::Rehearsed(_) | Opened::Alone(_)) => {
                (Err(self.there.address.failed("it runs nothing: its configuration says `dry_run`")), false)
            }
            Err(error) => (Err(error), false),
        }
    }
}

/// The server will have room later: a run of a batch has its turn then.
fn has_no_room(error: &Error) -> bool {
    matches!(error, Error::Told(Failure { kind: Kind::Busy | Kind::RateLimited, .. }))
}

impl Ready for Ordered<'_> {
    fn digest(&self) -> String {
        let is_asked = |(name, _): &(&String, &Value)| !NOT_ASKED.contains(&name.as_str());
        let order = self.order.as_object().into_iter().flatten().filter(is_asked);
        let asked: Map<String, Value> = order.map(|(name, value)| (name.clone(), value.clone())).collect();
        sha256::hex(Value::Object(asked).to_string().as_bytes())
    }

    fn rehearsal(&self) -> Result<Option<String>, Error> {
        if self.order["dry_run"] != true {
            return Ok(None);
        }
        match open(self.there, &self.order, self.control.clone())? {
            Opened::Rehearsed(rehearsed) => Ok(Some(rehearsed.describe(OutputFormat::Text))),
            Opened::Begun(_) | Opened::Alone(_) => {
                Err(self.there.address.failed("it runs what was to be a dry run"))
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        // They are in its outcome.
        Vec::new()
    }

    fn run(&self, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        loop {
            match self.once(listener) {
                (Err(error), false) if has_no_room(&error) => {
                    if self.control.cancel.wait(PAUSE) {
                        return Err(Error::Cancelled);
                    }
                    listener.idle().map_err(|_| Error::ReaderGone)?;
                }
                (result, _) => return result,
            }
        }
    }
}
