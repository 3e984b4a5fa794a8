//! Who answers when one backend cannot for now: the next one is asked, but only for reasons that another one may not have,
//! and only while nothing was delivered.

use crate::engine::Engine;
use crate::exec::Control;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use std::io;

/// Runs the first task; where its backend cannot answer for now the second, and so on. The listener hears the one run
/// that counts.
pub fn run(
    engine: &Engine,
    tasks: &[Task],
    control: &Control,
    listener: &mut dyn Listener,
) -> Result<Outcome, Error> {
    if let [task] = tasks {
        return engine.run(task, control, listener);
    }
    let mut tried: Vec<(String, Failure)> = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        let next = tasks.get(index + 1);
        let mut held =
            HeldBack { listener, held: Vec::new(), delivered: next.is_none(), over: false, tried: &tried };
        let result = engine.run(task, control, &mut held);
        let failure = match &result {
            Ok(outcome) => outcome.failure.clone(),
            Err(error) => Some(Failure::from(error)),
        };
        match (failure, next) {
            (Some(failure), Some(next)) if !held.delivered && passes_on(failure.kind) => {
                log::warn!("{}: {}; asking {}", task.backend, failure.message, next.backend);
                // Nobody was told of its session, and there is no answer in it. One that was there before stays.
                if let Some(id) = held.session().filter(|_| task.session.is_none()) {
                    let gone = engine.store.load(id).and_then(|session| engine.forget(&session));
                    if let Err(error) = gone {
                        log::warn!("{error}");
                    }
                }
                tried.push((task.backend.clone(), failure));
            }
            _ => {
                if !held.over {
                    held.release().map_err(|_| Error::ReaderGone)?;
                }
                return result.map(|outcome| Outcome { tried, ..outcome });
            }
        }
    }
    Err(Error::Internal("no task to run".to_owned()))
}

/// Another backend may well answer: this one is used up, busy, not there or not logged in.
pub fn passes_on(kind: Kind) -> bool {
    matches!(kind, Kind::Quota | Kind::Overloaded | Kind::NotInstalled | Kind::Login)
}

/// Keeps to itself what a run says until it says something of the answer.
struct HeldBack<'a> {
    listener: &'a mut dyn Listener,
    held: Vec<Held>,
    /// Something reached the listener: from then on there is no way back.
    delivered: bool,
    /// The listener has heard the outcome.
    over: bool,
    tried: &'a [(String, Failure)],
}

enum Held {
    Begin(String, Option<String>),
    Event(Event),
}

impl HeldBack<'_> {
    /// The session of a run that said nothing.
    fn session(&self) -> Option<&str> {
        self.held.iter().find_map(|held| match held {
            Held::Begin(_, session) => session.as_deref(),
            Held::Event(_) => None,
        })
    }

    /// Passes on what was held back; from now on everything goes through.
    fn release(&mut self) -> io::Result<()> {
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
                Event::Text(_)
                | Event::Void(_)
                | Event::Thinking(_)
                | Event::ToolUse { .. }
                | Event::ToolResult { .. } => true,
                Event::Done(outcome) => {
                    !outcome.failure.as_ref().is_some_and(|failure| passes_on(failure.kind))
                }
                Event::Started { .. }
                | Event::Model { .. }
                | Event::PermissionDenied { .. }
                | Event::Progress { .. }
                | Event::Usage(_)
                | Event::Line(_) => false,
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

    fn idle(&mut self) -> io::Result<()> {
        self.listener.idle()
    }
}
