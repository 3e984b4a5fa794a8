//! Many runs at once: tasks in parallel, a prompt for each item of a list, one prompt for several backends, a chain of
//! steps. What the command line and the server share. Reads plans, checks them before anything runs, runs them on a
//! bounded number of threads. Prints nothing: an `Observer` hears what happens.

mod chain;
pub mod compare;
mod folder;
mod graph;
pub mod map;
pub(crate) mod merge;
mod once;
mod parallel;
pub(crate) mod place;
mod plan;
pub(crate) mod prompt_file;
mod result;
mod retry;
pub mod template;

pub use chain::{Chain, OfStep, Steps};
pub use folder::Folder;
pub use plan::{OfTask, Plan, Settings, Workers};
pub use result::{Entry, Finished, InOrder, Label, ResultJson, State, StepJson, Totals};

use crate::base::json::json;
use crate::base::sync::lock;
use crate::engine::request::{Defaults, Request};
use crate::exec::{Cancel, Control};
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::model::unified;
use crate::session::{Session, shorten};
use place::Place;
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Does a single run: `Attempts::run`, and around it whatever its surface has to say in the matter. Called on the
/// batch's own threads, for several runs at once.
pub(crate) trait Runner: Sync {
    /// What the surface has to say to a task before it is used; `request` is what it was made from.
    fn admit(&self, _request: &Request, _task: &mut Task) -> Result<(), Error> {
        Ok(())
    }

    /// Runs the first task, or where its backend cannot answer for now the next one.
    fn run(
        &self,
        tasks: Vec<Task>,
        session: Option<&Session>,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error>;

    /// Says what a task would execute. Starts nothing.
    fn rehearse(&self, task: Task, session: Option<&Session>) -> Result<String, Error>;
}

/// Hears what happens in a batch, on its threads. An `Err` means that the caller has left: everything is stopped.
pub(crate) trait Observer: Sync {
    /// A run begins.
    fn started(&self, _label: &Label) {}

    /// A backend begins with it, in this session of ours where it has one: once for each try.
    fn begun(&self, _index: usize, _backend: &str, _session: Option<&str>) {}

    /// Something happened in it.
    fn event(&self, _index: usize, _event: &Event) -> io::Result<()> {
        Ok(())
    }

    /// A moment has passed in which nothing happened in it.
    fn idle(&self, _index: usize) -> io::Result<()> {
        Ok(())
    }

    /// A run has ended, or will not be started. Heard once for each, in the order in which that turned out.
    fn finished(&self, finished: Finished) -> io::Result<()>;
}

/// What all runs of a batch share.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// What requests are completed from. Its session is left alone.
    pub(crate) defaults: Defaults<'a>,
    /// What is asked of every run that does not say otherwise itself.
    pub(crate) given: &'a Request,
    /// Where results are kept.
    pub(crate) folder: Option<&'a Folder>,
    /// Runs leave sessions behind unless they say otherwise themselves. Else the other way round.
    pub(crate) keep_sessions: bool,
    /// How often a run is tried again that failed for a reason that passes.
    pub(crate) retries: u32,
    /// Where runs happen.
    pub(crate) place: &'a dyn Place,
    /// Hears what happens.
    pub(crate) observer: &'a dyn Observer,
    /// Stops everything.
    pub(crate) cancel: &'a Arc<Cancel>,
}

/// How a batch went.
#[derive(Debug)]
pub struct Report {
    /// How many ended how.
    pub(crate) totals: Totals,
    /// From start to end.
    pub(crate) duration: Duration,
    /// A person or a signal stopped it before all was done.
    pub(crate) cancelled: bool,
    /// Results could not be kept, or the caller left, or a list could not be read: what is there is not all.
    pub(crate) broken: Option<Error>,
}

impl Report {
    /// How many ended how, and how long it took.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "completed": self.totals.completed,
            "failed": self.totals.failed,
            "cancelled": self.totals.cancelled,
            "skipped": self.totals.skipped,
            "total_duration_ms": unified::millis(self.duration),
            "total_duration_seconds": self.duration.as_secs_f64(),
        })
    }
}

/// Why a batch stops before all is done.
enum Halt {
    /// A run failed, and the others were to end with it.
    Failed(String),
    /// One answered, and one was enough.
    Won(String),
    /// Results cannot be handed on or kept any more.
    Broken(Error),
}

/// A batch under way.
struct Course<'a> {
    batch: &'a Batch<'a>,
    /// A run that failed stops the others.
    fail_fast: bool,
    /// How many runs there will be, where that is known.
    planned: Option<usize>,
    /// Stops the runs of this batch: thrown with the batch's own switch, or for a reason in `halt`.
    branch: Arc<Cancel>,
    halt: Mutex<Option<Halt>>,
    totals: Mutex<Totals>,
    since: Instant,
}

impl<'a> Course<'a> {
    /// Fails where the folder cannot be written: then nothing runs.
    fn begin(batch: &'a Batch<'a>, planned: Option<usize>) -> Result<Course<'a>, Error> {
        batch.folder.map_or(Ok(()), |folder| folder.begin(planned))?;
        let branch = batch.cancel.branch()?;
        let (halt, totals) = (Mutex::default(), Mutex::default());
        Ok(Course { batch, fail_fast: false, planned, branch, halt, totals, since: Instant::now() })
    }

    /// Stops what runs, and starts nothing more. The first reason counts, unless a result could not be kept.
    fn stop(&self, why: Halt) {
        let mut halt = lock(&self.halt);
        let is_first = !self.branch.is_thrown();
        let is_grave = matches!(&why, Halt::Broken(error) if !matches!(error, Error::ReaderGone));
        if is_first || (is_grave && !matches!(*halt, Some(Halt::Broken(_)))) {
            *halt = Some(why);
        }
        if is_first {
            self.branch.throw();
        }
    }

    /// Why a run was stopped or not started, and its state: `state` unless the caller stopped all of them. None while
    /// nothing stops.
    fn stopped(&self, state: State) -> Option<(State, Failure)> {
        if !self.branch.is_thrown() {
            return None;
        }
        let (state, why) = match &*lock(&self.halt) {
            None => (State::Cancelled, "cancelled".to_owned()),
            Some(Halt::Failed(title)) => (state, format!("stopped because `{title}` failed")),
            Some(Halt::Won(backend)) => (state, format!("stopped because {backend} answered first")),
            Some(Halt::Broken(_)) => (state, "stopped".to_owned()),
        };
        Some((state, Failure::new(Kind::Cancelled, why)))
    }

    /// Counts a result, keeps it and hands it on.
    fn conclude(&self, finished: Finished) {
        if self.fail_fast && finished.state == State::Failed {
            self.stop(Halt::Failed(finished.label.title().to_owned()));
        }
        lock(&self.totals).count(&finished);
        if let Some(Err(error)) = self.batch.folder.map(|folder| folder.keep(&finished)) {
            self.stop(Halt::Broken(error));
        }
        if let Err(error) = self.batch.observer.finished(finished) {
            log::debug!("the caller has left: {error}");
            self.stop(Halt::Broken(Error::ReaderGone));
        }
    }

    fn end(self) -> Report {
        let totals = *lock(&self.totals);
        let is_all_done = self.planned == Some(totals.completed);
        let cancelled = self.batch.cancel.is_thrown() && !is_all_done;
        // Of a list that was not read to its end it is not known what is missing.
        let is_broken_off = self.planned.is_none() && self.branch.is_thrown();
        if let Some(Err(error)) = self.batch.folder.map(|folder| folder.close(cancelled || is_broken_off)) {
            self.stop(Halt::Broken(error));
        }
        let broken = match lock(&self.halt).take() {
            Some(Halt::Broken(error)) => Some(error),
            _ => None,
        };
        Report { totals, duration: self.since.elapsed(), cancelled, broken }
    }
}

/// Lets so many workers do one thing after the other, until there is none left: `one` is none. This thread is the first of
/// them, so that there is always one.
fn work(workers: usize, one: &(dyn Fn() -> Option<()> + Sync)) {
    let work = || while one().is_some() {};
    thread::scope(|scope| {
        for number in 1..workers {
            let worker = thread::Builder::new().name(format!("batch-{number}"));
            if let Err(error) = worker.spawn_scoped(scope, work) {
                log::warn!("only {number} runs at once: no further thread can be had: {error}");
                break;
            }
        }
        work();
    });
}

/// The beginning of a prompt in one line, to call a run by.
fn beginning(prompt: &str) -> String {
    // No more of it is looked at than is needed: it may be long.
    let words: Vec<&str> = prompt.split_whitespace().take(20).collect();
    let words: Vec<String> = words.iter().map(|word| word.chars().take(60).collect()).collect();
    shorten(&words.join(" "), 60)
}
