//! A run on a server: its request is sent when it is checked, and its events are heard as they come.

use super::events;
use super::http::{Ask, Next, Reply};
use super::request::{body, span};
use super::site::{Server, There};
use crate::backend::Framing;
use crate::base::json::json;
use crate::engine::fallback::passed_on;
use crate::engine::site::{Asked, Checked, Facts, Prompt};
use crate::exec::Control;
use crate::model::error::Error;
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use crate::model::task::OutputFormat;
use serde_json::{Map, Value};
use std::io;
use std::time::{Duration, Instant};

/// Where runs are begun.
const PROMPT: &str = "/api/v1/prompt";
/// What runs, and what was detached.
pub(super) const RUNS: &str = "/api/v1/runs";
/// A line for each event.
const LINES: &str = "application/x-ndjson";
/// Longer than this no session is waited for.
const FOR_EVER: Duration = Duration::from_secs(31_536_000);
/// How long to wait before a server is asked once more.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// How long a run that was stopped may take to say how it ended, beyond its grace.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Has a run begun, and learns what it is.
pub(super) fn begin<'a>(
    there: &'a There<'_>,
    asked: Asked<'_>,
    prompt: Prompt<'_>,
) -> Result<Box<dyn Checked + 'a>, Error> {
    if asked.lines {
        let sentence = "`--raw` prints the lines of a program that runs here: a server tells events";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let mut order = order(there, &asked)?;
    order.insert("prompt".to_owned(), json!(prompt()?.as_ref()));
    Ok(match open(there, &Value::Object(order), Control::with(asked.cancel))? {
        Opened::Begun(begun) => begun,
        Opened::Rehearsed(rehearsed) => Box::new(rehearsed),
        Opened::Alone(alone) => Box::new(alone),
    })
}

/// What has become of a request.
pub(super) enum Opened<'a> {
    Begun(Box<Begun<'a>>),
    Rehearsed(Rehearsed),
    Alone(Alone),
}

/// Sends a request for a run, and hears how it begins.
pub(super) fn open<'a>(there: &'a Server, order: &Value, control: Control) -> Result<Opened<'a>, Error> {
    let (text, cancel) = (order.to_string(), control.cancel.clone());
    let (body, cancel) = (Some(text.as_bytes()), Some(&*cancel));
    let mut reply =
        there.send(&Ask { method: "POST", path: PROMPT, accept: LINES, body, cancel, ..Ask::default() })?;
    // A dry run has no events, and one that goes on alone has none yet.
    if reply.is_json {
        let answer = there.value(reply)?;
        if !answer["run_id"].is_null() {
            let (id, facts) = (there.id(&answer["run_id"])?, facts(&answer, &answer, control, false));
            return Ok(Opened::Alone(Alone { id, facts }));
        }
        let facts = facts(&answer, &answer, control, true);
        return Ok(Opened::Rehearsed(Rehearsed { answer, facts }));
    }
    let opening = loop {
        match reply.line(&control.cancel, false)? {
            Next::Line(line) => break there.line(&line)?,
            Next::Nothing if control.cancel.is_thrown() => return Err(Error::Cancelled),
            Next::Nothing => {}
            Next::End => return Err(there.broke_off()),
        }
    };
    let facts = facts(&opening, &opening["content"], control, false);
    let (id, hold, first) = (there.id(&opening["run_id"])?, Hold::Attached, None);
    Ok(Opened::Begun(Box::new(Begun {
        there,
        reply,
        id,
        facts,
        hold,
        first,
        begun: None,
        sequence: None,
        is_cut: false,
        told: 0,
    })))
}

/// Joins a run that goes on alone, or is over.
pub(super) fn join<'a>(there: &'a Server, run: &Value, control: Control) -> Result<Box<Begun<'a>>, Error> {
    let id = there.id(&run["id"])?;
    let (path, cancel) = (format!("{RUNS}/{id}/events"), control.cancel.clone());
    let (method, cancel) = ("GET", Some(&*cancel));
    let mut reply = there.send(&Ask { method, path: &path, accept: LINES, cancel, ..Ask::default() })?;
    let first = loop {
        match reply.line(&control.cancel, true)? {
            Next::Line(line) => break Some(there.line(&line)?),
            Next::Nothing if control.cancel.is_thrown() => return Err(Error::Cancelled),
            Next::Nothing => {}
            Next::End => break None,
        }
    };
    let (facts, first) = match first {
        Some(opening) if opening["type"] == "run" => {
            (facts(&opening, &opening["content"], control, false), None)
        }
        // It was not begun by a command line.
        first => (facts(run, run, control, false), first),
    };
    let is_cut = first.as_ref().is_some_and(|first| first["sequence"].as_u64() > Some(0));
    let (hold, begun) = (Hold::Joined, None);
    Ok(Box::new(Begun { there, reply, id, facts, hold, first, begun, sequence: None, is_cut, told: 0 }))
}

fn facts(run: &Value, more: &Value, control: Control, dry_run: bool) -> Facts {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let warnings = more["warnings"].as_array().into_iter().flatten().map(text).collect();
    let (backend, dir) = (text(&run["backend"]), text(&more["working_dir"]).into());
    Facts { backend, dir, framing: Framing::Lines, warnings, control, dry_run }
}

/// The request, but for its prompt.
pub(super) fn order(there: &There<'_>, asked: &Asked<'_>) -> Result<Map<String, Value>, Error> {
    let mut request = asked.request.carried(&there.defaults)?;
    // They are a part of the prompt.
    request.files = None;
    request.workdir = match (request.workdir, asked.session) {
        (None, None) if there.address.is_local() => Some(there.path("")),
        (given, _) => given.map(|given| there.path(&given)),
    };
    request.add_dirs = request.add_dirs.map(|dirs| dirs.iter().map(|dir| there.path(dir)).collect());
    // A user who has configured it wants nothing to be executed, wherever that is.
    request.dry_run = request.dry_run.or(there.defaults.config.unified_flags.dry_run.then_some(true));
    let mut order = body(&request);
    order.insert("depth".to_owned(), json!(there.depth));
    continue_session(&mut order, asked);
    Ok(order)
}

/// How the run is attached to its client, and the session that it continues.
pub(super) fn continue_session(order: &mut Map<String, Value>, asked: &Asked<'_>) {
    order.insert("attach".to_owned(), json!(true));
    if asked.alone {
        order.insert("detach".to_owned(), json!(true));
    }
    if let Some(session) = asked.session {
        order.insert("session_id".to_owned(), json!(session.id));
        order.insert("replay".to_owned(), json!(asked.replay));
        order.insert("wait_secs".to_owned(), json!(span(asked.wait_limit.unwrap_or(FOR_EVER))));
    }
}

impl Server {
    fn broke_off(&self) -> Error {
        self.address.failed("its answer ended before the run did")
    }

    /// A line of a stream.
    fn line(&self, line: &str) -> Result<Value, Error> {
        serde_json::from_str(line).map_err(|_| self.no_event())
    }

    /// The id of a run: it becomes a part of requests.
    pub(super) fn id(&self, told: &Value) -> Result<String, Error> {
        let is_id = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        told.as_str().filter(is_id).map(str::to_owned).ok_or_else(|| self.no_event())
    }

    fn no_event(&self) -> Error {
        self.address.failed("it sent a line that is no event")
    }
}

/// A run that is not run.
pub(super) struct Rehearsed {
    answer: Value,
    facts: Facts,
}

impl Checked for Rehearsed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn describe(&self, format: OutputFormat) -> String {
        match format {
            OutputFormat::Text => self.answer["content"].as_str().unwrap_or_default().to_owned(),
            OutputFormat::Json | OutputFormat::StreamJson => format!("{}\n", self.answer["command"]),
        }
    }

    fn run(self: Box<Self>, _: &mut dyn Listener) -> Result<Outcome, Error> {
        Err(Error::Internal("a dry run was to be run".to_owned()))
    }

    fn leave(self: Box<Self>) -> Result<String, Error> {
        Err(Error::Internal("a dry run was to be left".to_owned()))
    }
}

/// A run that goes on alone.
pub(super) struct Alone {
    pub(super) id: String,
    facts: Facts,
}

impl Checked for Alone {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn describe(&self, _: OutputFormat) -> String {
        String::new()
    }

    fn run(self: Box<Self>, _: &mut dyn Listener) -> Result<Outcome, Error> {
        Err(Error::Internal("a run that goes on alone was to be followed".to_owned()))
    }

    fn leave(self: Box<Self>) -> Result<String, Error> {
        Ok(self.id)
    }
}

/// Whose a run is.
#[derive(PartialEq)]
enum Hold {
    /// Ours: it ends with us.
    Attached,
    /// It goes on without us.
    Joined,
}

/// A run that goes on over there.
pub(super) struct Begun<'a> {
    there: &'a Server,
    reply: Reply,
    /// By which the server knows it.
    id: String,
    facts: Facts,
    hold: Hold,
    /// An event that was read already.
    first: Option<Value>,
    /// The number that the next event has, where none is missing.
    sequence: Option<u64>,
    /// Events were not there any more: what is missing of the answer is told at its end.
    is_cut: bool,
    /// How many characters of the answer the listener has heard.
    told: usize,
    /// The backend and the session that the listener has heard of.
    begun: Option<(String, Option<String>)>,
}

impl Checked for Begun<'_> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn describe(&self, _: OutputFormat) -> String {
        String::new()
    }

    fn run(mut self: Box<Self>, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        self.follow(listener)
    }

    fn leave(self: Box<Self>) -> Result<String, Error> {
        Err(Error::Internal("a run that is attached was to be left".to_owned()))
    }
}

impl Begun<'_> {
    /// The listener has heard something of it.
    pub(super) fn is_heard(&self) -> bool {
        self.begun.is_some()
    }

    /// Follows it to its end: as `Checked::run`.
    pub(super) fn follow(&mut self, listener: &mut dyn Listener) -> Result<Outcome, Error> {
        let (mut outcome, mut refusal, mut stop) = (None, None, Stop::default());
        loop {
            if stop.is_over(self) {
                if self.hold == Hold::Joined {
                    log::warn!("the run goes on: `clinvk wait {}` hears the rest of it", self.id);
                }
                return Err(Error::Cancelled);
            }
            let cancel = &self.facts.control.cancel;
            let next = match self.first.take() {
                Some(first) => Ok(Told::Event(first)),
                // Until it begins it may wait for its session or for its turn, of which nothing is said.
                None => self.reply.line(cancel, self.begun.is_none()).and_then(|next| match next {
                    Next::Line(line) => self.there.line(&line).map(Told::Event),
                    Next::Nothing => Ok(Told::Nothing),
                    Next::End => Ok(Told::End),
                }),
            };
            let heard = match next {
                Ok(Told::Nothing) => listener.idle(),
                Ok(Told::End) => break,
                Ok(Told::Event(told)) => {
                    refusal = self.there.refusal(&told["error"]).or(refusal);
                    // What a run has said is kept up to a bound: who comes late, or reads slowly, finds the rest.
                    if let Some(sequence) = told["sequence"].as_u64() {
                        self.is_cut |= self.sequence.is_some_and(|expected| sequence > expected);
                        self.sequence = Some(sequence + 1);
                    }
                    let event = events::event(&told);
                    if let Some(Event::Done(done)) = &event {
                        warn_of_tried(done);
                        outcome = Some(Outcome::clone(done));
                        self.tell_whole(&told, listener)?;
                    }
                    match event {
                        Some(Event::Text(_) | Event::Void(_)) if self.is_cut => Ok(()),
                        event => self.hear(&told, event, listener),
                    }
                }
                // It was to stop, and the server may have stopped before it.
                Err(_) if self.facts.control.cancel.is_thrown() => return Err(Error::Cancelled),
                Err(error) => return Err(error),
            };
            // Leaving ends the run over there.
            heard.map_err(|error| error.downcast().unwrap_or(Error::ReaderGone))?;
        }
        match (outcome, refusal) {
            (_, Some(refusal)) => Err(refusal),
            (Some(outcome), None) => Ok(outcome),
            (None, None) => Err(self.there.broke_off()),
        }
    }

    /// Has the listener hear what it has not of an answer of which a part is not among the events any more.
    fn tell_whole(&mut self, done: &Value, listener: &mut dyn Listener) -> Result<(), Error> {
        if !self.is_cut {
            return Ok(());
        }
        let path = format!("{RUNS}/{}", self.id);
        // It is known a moment later than its last event.
        let run = loop {
            let run = self.there.ask("GET", &path, None)?;
            if run["state"] != "running" {
                break run;
            }
            std::thread::sleep(PAUSE);
        };
        let text = run["content"].as_str().unwrap_or_default();
        let rest = text.char_indices().nth(self.told).map_or("", |(at, _)| &text[at..]);
        let text = rest.to_owned();
        self.hear(done, Some(Event::Text(text)), listener).map_err(|_| Error::ReaderGone)
    }

    /// Has the listener hear an event, and before that whose it is.
    fn hear(&mut self, told: &Value, event: Option<Event>, listener: &mut dyn Listener) -> io::Result<()> {
        let Some(event) = event else { return Ok(()) };
        let backend = told["backend"].as_str().unwrap_or(&self.facts.backend).to_owned();
        let now = (backend, told["session_id"].as_str().map(str::to_owned));
        if self.begun.as_ref() != Some(&now) {
            listener.begin(&now.0, now.1.as_deref())?;
            self.begun = Some(now);
        }
        match &event {
            Event::Text(text) => self.told += text.chars().count(),
            Event::Void(characters) => self.told = self.told.saturating_sub(*characters),
            _ => {}
        }
        listener.event(&event)
    }

    /// Has the server stop it, where it is ours.
    fn stop(&self) {
        if self.hold == Hold::Joined {
            return;
        }
        let path = format!("{RUNS}/{}", self.id);
        let (method, accept, silence) = ("DELETE", "application/json", Some(LAST_WORDS));
        if let Err(error) = self.there.send(&Ask { method, path: &path, accept, silence, ..Ask::default() }) {
            log::debug!("the run could not be stopped: {error}");
        }
    }
}

/// Says who could not answer. The server has told it when it was so, and only to its log.
fn warn_of_tried(outcome: &Outcome) {
    let next = outcome.tried.iter().skip(1).map(|(backend, _)| backend).chain([&outcome.backend]);
    for ((backend, failure), next) in outcome.tried.iter().zip(next) {
        log::warn!("{}", passed_on(backend, failure, next));
    }
}

/// What comes of a run.
enum Told {
    Event(Value),
    Nothing,
    End,
}

/// How far a run is on its way to stop.
#[derive(Default)]
struct Stop {
    since: Option<Instant>,
    is_urgent: bool,
}

impl Stop {
    /// Passes on that the switch was thrown, once and once more. Says whether the run has had its time since.
    fn is_over(&mut self, run: &Begun<'_>) -> bool {
        let Control { cancel, grace, .. } = &run.facts.control;
        if cancel.is_thrown() && self.since.is_none() {
            self.since = Some(Instant::now());
            run.stop();
        }
        if cancel.is_urgent() && !self.is_urgent {
            self.is_urgent = true;
            run.stop();
        }
        let most = match run.hold {
            Hold::Attached => *grace + LAST_WORDS,
            Hold::Joined => Duration::ZERO,
        };
        self.since.is_some_and(|since| since.elapsed() >= most)
    }
}
