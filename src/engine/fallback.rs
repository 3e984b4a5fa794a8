//! Who answers when one backend cannot for now: the next one is asked, but only for reasons that another one may not have,
//! and only while nothing was delivered.

use crate::engine::{Engine, Listener};
use crate::exec::Control;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Sink};
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
    let (last, others) = tasks.split_last().ok_or_else(|| Error::Internal("no task to run".to_owned()))?;
    if others.is_empty() {
        return engine.run(last, control, listener);
    }
    let mut tried: Vec<(String, Failure)> = Vec::new();
    for (task, next) in others.iter().zip(&tasks[1..]) {
        let mut trial = Trial { listener, held: Vec::new(), delivered: false, over: false, tried: &tried };
        let result = engine.run(task, control, &mut trial);
        let failure = match &result {
            Ok(outcome) => outcome.failure.clone(),
            Err(error) => Some(Failure::from(error)),
        };
        match failure {
            Some(failure) if !trial.delivered && passes_on(failure.kind) => {
                log::warn!("{}: {}; asking {}", task.backend, failure.message, next.backend);
                // Nobody was told of its session, and there is no answer in it. One that was there before stays.
                if let Some(id) = trial.session().filter(|_| task.session.is_none()) {
                    let gone = engine.store.load(id).and_then(|session| engine.forget(&session));
                    if let Err(error) = gone {
                        log::warn!("{error}");
                    }
                }
                tried.push((task.backend.clone(), failure));
            }
            _ => {
                if !trial.over {
                    trial.release().map_err(|_| Error::ReaderGone)?;
                }
                return result.map(|outcome| Outcome { tried, ..outcome });
            }
        }
    }
    let mut last_one = Trial { listener, held: Vec::new(), delivered: true, over: false, tried: &tried };
    let outcome = engine.run(last, control, &mut last_one)?;
    Ok(Outcome { tried, ..outcome })
}

/// Another backend may well answer: this one is used up, busy, not there or not logged in.
pub fn passes_on(kind: Kind) -> bool {
    matches!(kind, Kind::Quota | Kind::Overloaded | Kind::NotInstalled | Kind::Login)
}

/// Keeps to itself what a run says until it says something of the answer.
struct Trial<'a> {
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
    Raw(String),
}

impl Trial<'_> {
    /// The session of a run that said nothing.
    fn session(&self) -> Option<&str> {
        self.held.iter().find_map(|held| match held {
            Held::Begin(_, session) => session.as_deref(),
            _ => None,
        })
    }

    /// Passes on what was held back; from now on everything goes through.
    fn release(&mut self) -> io::Result<()> {
        self.delivered = true;
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Begin(backend, session) => self.listener.begin(&backend, session.as_deref()),
                Held::Event(event) => self.listener.event(&event)?,
                Held::Raw(line) => self.listener.raw(&line)?,
            }
        }
        Ok(())
    }
}

impl Sink for Trial<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let is_of_answer = match event {
            Event::Text(_)
            | Event::Void(_)
            | Event::Thinking(_)
            | Event::ToolUse { .. }
            | Event::ToolResult { .. } => true,
            Event::Started { .. }
            | Event::Model { .. }
            | Event::PermissionDenied { .. }
            | Event::Progress { .. }
            | Event::Usage(_) => false,
        };
        if is_of_answer && !self.delivered {
            self.release()?;
        }
        if self.delivered {
            return self.listener.event(event);
        }
        self.held.push(Held::Event(event.clone()));
        Ok(())
    }

    fn quiet(&mut self) -> io::Result<()> {
        self.listener.quiet()
    }

    fn raw(&mut self, line: &str) -> io::Result<()> {
        if self.delivered {
            return self.listener.raw(line);
        }
        self.held.push(Held::Raw(line.to_owned()));
        Ok(())
    }
}

impl Listener for Trial<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) {
        if self.delivered {
            self.listener.begin(backend, session);
        } else {
            self.held.push(Held::Begin(backend.to_owned(), session.map(str::to_owned)));
        }
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        let goes_on = outcome.failure.as_ref().is_some_and(|failure| passes_on(failure.kind));
        if goes_on && !self.delivered {
            return Ok(());
        }
        self.release()?;
        self.over = true;
        self.listener.done(&Outcome { tried: self.tried.to_vec(), ..outcome.clone() })
    }
}
