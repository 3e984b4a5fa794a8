//! What a client hears of a call while it is under way, where it asked for that: some wait longer for what moves.

use crate::base::json::{Value, json};
use crate::base::sync::lock;
use crate::batch::{Finished, Label, Observer};
use crate::engine::answer::Collector;
use crate::model::event::{Event, Listener};
use crate::stdio::Client;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// No more than one notification in this time, but for those of results.
const PACE: Duration = Duration::from_secs(1);
/// After so much silence it is said that the call is still under way.
const SILENCE: Duration = Duration::from_secs(10);

/// Tells a client how far a call is.
pub(super) struct Progress<'a> {
    client: &'a Client,
    /// By which the client knows the call; null where it does not want to hear of it.
    token: Value,
    told: Mutex<Told>,
}

struct Told {
    /// How often: the number has to grow.
    times: u64,
    last: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn of(client: &'a Client, token: &Value) -> Progress<'a> {
        // No other value can be one.
        let token = if token.is_string() || token.is_number() { token.clone() } else { Value::Null };
        Progress { client, token, told: Mutex::new(Told { times: 0, last: Instant::now() }) }
    }

    /// Says something, unless something was said within that time. An error means that the client is gone.
    fn say(&self, pace: Duration, message: impl FnOnce() -> String) -> io::Result<()> {
        let mut told = lock(&self.told);
        let is_first = told.times == 0 && pace == PACE;
        if self.token.is_null() || !(is_first || told.last.elapsed() >= pace) {
            return Ok(());
        }
        (told.times, told.last) = (told.times + 1, Instant::now());
        let params = json!({"progressToken": self.token, "progress": told.times, "message": message()});
        self.client.notify("notifications/progress", params)
    }

    fn event(&self, who: &str, event: &Event) -> io::Result<()> {
        let what = match event {
            Event::Thinking(_) => "thinks".to_owned(),
            Event::Text(_) => "answers".to_owned(),
            Event::ToolUse { name, .. } => format!("uses {name}"),
            Event::Progress { message, .. } => message.clone(),
            _ => return Ok(()),
        };
        self.say(PACE, || format!("{who}: {what}"))
    }

    fn idle(&self, who: &str) -> io::Result<()> {
        self.say(SILENCE, || format!("{who}: at work"))
    }
}

/// Hears one run: keeps its answer, and says how far it is.
pub(super) struct RunListener<'a> {
    progress: &'a Progress<'a>,
    backend: String,
    pub(super) answer: Collector,
}

impl<'a> RunListener<'a> {
    pub(super) fn of(progress: &'a Progress<'a>) -> RunListener<'a> {
        RunListener { progress, backend: String::new(), answer: Collector::default() }
    }
}

impl Listener for RunListener<'_> {
    fn begin(&mut self, backend: &str, _: Option<&str>) -> io::Result<()> {
        backend.clone_into(&mut self.backend);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.answer.add(event)?;
        self.progress.event(&self.backend, event)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.progress.idle(&self.backend)
    }
}

/// Hears a batch: keeps its results, and says how many there are.
pub(super) struct BatchObserver<'a> {
    progress: &'a Progress<'a>,
    planned: usize,
    results: Mutex<Vec<Finished>>,
}

impl<'a> BatchObserver<'a> {
    pub(super) fn of(progress: &'a Progress<'a>, planned: usize) -> BatchObserver<'a> {
        BatchObserver { progress, planned, results: Mutex::default() }
    }

    /// In the order in which they were asked for.
    pub(super) fn results(self) -> Vec<Finished> {
        let mut results = std::mem::take(&mut *lock(&self.results));
        results.sort_unstable_by_key(|finished| finished.label.index);
        results
    }

    fn done(&self) -> String {
        format!("{} of {} are done", lock(&self.results).len(), self.planned)
    }
}

impl Observer for BatchObserver<'_> {
    fn started(&self, label: &Label) {
        // A client that is gone is noticed with the next event.
        let _ = self.progress.say(PACE, || format!("{} begins", label.backend));
    }

    fn event(&self, _: usize, event: &Event) -> io::Result<()> {
        self.progress.event(&self.done(), event)
    }

    fn idle(&self, _: usize) -> io::Result<()> {
        self.progress.idle(&self.done())
    }

    fn finished(&self, finished: Finished) -> io::Result<()> {
        let ended = format!("{} {}", finished.label.backend, finished.state.word());
        lock(&self.results).push(finished);
        self.progress.say(Duration::ZERO, || format!("{}: {ended}", self.done()))
    }
}
