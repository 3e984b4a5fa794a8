//! `POST /parallel`, `/compare` and `/chain`: many runs of one request, as many at once as there are slots.

use super::deliver::{Failed, Feed, Format, Job, deliver, key};
use crate::base::json::json;
use crate::base::text::without_mark;
use crate::batch::compare::OfCompare;
use crate::batch::place::Here;
use crate::batch::{Batch, Chain, Finished, Observer, Plan, Report, Runner, State, Workers, compare};
use crate::engine::dry_run;
use crate::engine::fallback::Attempts;
use crate::engine::request::Request;
use crate::exec::Control;
use crate::http::front::errors::Fault;
use crate::http::state::admission::Claimant;
use crate::http::state::call::{Call, Work, read_object};
use crate::model::error::{Error, Kind};
use crate::model::event::Listener;
use crate::model::fields::{Word, fields};
use crate::model::outcome::Outcome;
use crate::model::task::{OutputFormat, Task};
use crate::model::unified;
use crate::session::Session;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How long nothing may end before the client is looked after.
const LOOK: Duration = Duration::from_millis(100);

/// `POST /parallel`
pub(crate) fn parallel(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = call.whole_body()?;
    let plan = Plan::read(text(&body)?, "the body", &call.server.defaults(&call.who, None))?;
    check_number(call, "tasks", plan.len())?;
    let key = key(call, &body)?;
    drop(body);
    let of_config = &call.server.config.parallel;
    let (workers, fail_fast) = (
        plan.settings.max_parallel.unwrap_or(Workers(of_config.max_workers)),
        plan.settings.fail_fast.unwrap_or(of_config.fail_fast),
    );
    let (format, detach) = (Format::of(call), plan.settings.detach.unwrap_or(false));
    let job: Job = Box::new(move |work, feed| {
        let given = Request::default();
        let (report, results) =
            run(work, feed, entry, &given, |batch| batch.parallel(&plan, within(work, workers), fail_fast))?;
        let mut body = report.to_json();
        body["total_tasks"] = json!(results.len());
        Ok(whole(feed, body, results.iter().map(entry)))
    });
    deliver(call, key, format, detach, job)
}

fields! {
    /// What a comparison has besides its prompt and options, over HTTP alone.
    pub struct Extra {
        detach: bool, "answer at once; the runs go on alone";
    }
}

/// `POST /compare`
pub(crate) fn compare(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = call.whole_body()?;
    let (key, (given, (of, extra))): (_, (Request, (OfCompare, Extra))) =
        (key(call, &body)?, read_object(&body)?);
    drop(body);
    let prompt = given.text(&call.server.defaults(&call.who, None))?;
    let (mut candidates, mut missing) = match (&of.backends, of.all_backends) {
        (Some(words), None | Some(false)) => (compare::candidates(words)?, Vec::new()),
        (None, Some(true)) => compare::all(&call.server.engine),
        _ => {
            return Err(Fault::invalid(
                "backends",
                "either `backends` names who is asked, or `all_backends` is true",
            ));
        }
    };
    if of.backends.is_none() {
        let policy = call.server.policy(&call.who);
        candidates.retain(|candidate| policy.backend(&candidate.backend).is_ok());
        missing.retain(|name| policy.backend(name).is_ok());
    }
    if candidates.is_empty() && missing.is_empty() {
        let sentence =
            "there is no backend with an answer of its own that may be used here: see `allowed_backends`";
        return Err(Fault::of(Kind::Policy, sentence));
    }
    if candidates.is_empty() {
        let sentence = format!("no backend is installed that could be asked: {}", missing.join(", "));
        return Err(Fault::of(Kind::NotInstalled, sentence));
    }
    check_number(call, "backends", candidates.len())?;
    let warnings: Vec<String> =
        missing.iter().map(|name| format!("backend `{name}` is not installed: it is not asked")).collect();
    let workers = Workers(if of.sequential.unwrap_or(false) { 1 } else { candidates.len().max(1) });
    let wants_stream = given.output_format == Some(Word(OutputFormat::StreamJson));
    let (format, detach) = (Format::of(call).or_stream(wants_stream), extra.detach.unwrap_or(false));
    let given = Request { prompt: None, files: None, ..given };
    let job: Job = Box::new(move |work, feed| {
        let race = of.race.unwrap_or(false);
        let (report, results) = run(work, feed, entry, &given, |batch| {
            batch.compare(&prompt, &candidates, within(work, workers), race)
        })?;
        let mut body = report.to_json();
        let answered: Vec<&Finished> =
            results.iter().filter(|finished| finished.state == State::Completed).collect();
        let answers: Vec<&str> = answered.iter().map(|finished| &*finished.output).collect();
        let differ: Vec<String> =
            compare::dissenters(&answers).into_iter().map(|index| compare::title(answered[index])).collect();
        body["prompt"] = json!(&*prompt);
        body["backends"] = results.iter().map(|finished| json!(compare::title(finished))).collect();
        body["agree"] = json!(differ.is_empty() && answered.len() == results.len());
        body["dissenters"] = json!(differ);
        body["warnings"] = json!(warnings);
        Ok(whole(feed, body, results.iter().map(entry)))
    });
    deliver(call, key, format, detach, job)
}

/// One request is not more work than the server takes at once.
fn check_number(call: &Call<'_, '_>, what: &'static str, number: usize) -> Result<(), Fault> {
    match call.server.config.server.max_tasks {
        most if number > most => {
            let sentence =
                format!("`{what}` has {number} entries: at most {most} are taken (server.max_tasks)");
            Err(Fault::invalid(what, sentence))
        }
        _ => Ok(()),
    }
}

/// `POST /chain`
pub(crate) fn chain(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = call.whole_body()?;
    let chain = Chain::read(text(&body)?, "the body", &call.server.defaults(&call.who, None))?;
    check_number(call, "steps", chain.len())?;
    let key = key(call, &body)?;
    drop(body);
    if chain.wants_input() && chain.settings.input.is_none() {
        return Err(Fault::invalid("input", "`{{input}}` is used, and there is no `input`"));
    }
    let (format, detach) = (Format::of(call), chain.settings.detach.unwrap_or(false));
    let job: Job = Box::new(move |work, feed| {
        let given = Request::default();
        // As in clinvk 0.2, a chain over HTTP goes on after a failure unless it says otherwise.
        let stop = chain.settings.stop_on_failure.unwrap_or(false);
        let (report, results) = run(work, feed, step, &given, |batch| batch.chain(&chain, None, stop, 0))?;
        let mut body = report.to_json();
        let failed = results.iter().find(|finished| finished.state == State::Failed);
        body["total_steps"] = json!(chain.len());
        body["completed_steps"] = json!(report.totals.completed);
        body["failed_step"] = json!(failed.map_or(0, |finished| finished.label.index + 1));
        Ok(whole(feed, body, results.iter().map(step)))
    });
    deliver(call, key, format, detach, job)
}

fn text(body: &[u8]) -> Result<&str, Fault> {
    let wrong = |_| Fault::of(Kind::InvalidRequest, "the body is not valid UTF-8");
    std::str::from_utf8(without_mark(body)).map_err(wrong)
}

/// More at once than there are slots would only wait in them.
fn within(work: &Work<'_>, workers: Workers) -> Workers {
    Workers(workers.0.min(work.server.lasting.slots.bounds().runs))
}

/// A task's result.
fn entry(finished: &Finished) -> Value {
    timed(json!(finished.entry()), finished)
}

/// A step's result.
fn step(finished: &Finished) -> Value {
    timed(json!(finished.step()), finished)
}

/// With its time as clinvk 0.2 counts it here.
fn timed(mut body: Value, finished: &Finished) -> Value {
    body["duration_ms"] = unified::millis(finished.outcome.duration);
    body
}

/// The whole answer. In a stream its results were told, and what they come to is the last line.
fn whole(feed: &mut dyn Feed, mut body: Value, results: impl Iterator<Item = Value>) -> String {
    if feed.is_open() {
        let mut last = body.clone();
        last["type"] = json!("summary");
        // Who does not listen any more does not miss it.
        let _ = feed.event(&last, true);
    }
    body["results"] = results.collect();
    body.to_string()
}

/// Runs a batch on its own threads, while this one tells what ended.
fn run(
    work: &Work<'_>,
    feed: &mut dyn Feed,
    shape: fn(&Finished) -> Value,
    given: &Request,
    begin: impl FnOnce(&Batch<'_>) -> Result<Report, Error> + Send,
) -> Result<(Report, Vec<Finished>), Failed> {
    let (tell, ended) = mpsc::channel();
    let batch = move || {
        // The watcher goes with the batch: that is how its end is heard.
        let (observer, runner) = (Watcher { work, tell: Mutex::new(tell) }, Admitted(work));
        let place = Here { engine: &work.server.engine, runner: &runner };
        begin(&Batch {
            defaults: work.server.defaults(work.who, None),
            given,
            folder: None,
            keep_sessions: false,
            retries: 0,
            place: &place,
            observer: &observer,
            cancel: work.cancel,
        })
    };
    let mut results = Vec::new();
    let report = thread::scope(|scope| {
        let running = thread::Builder::new().name("batch".to_owned()).spawn_scoped(scope, batch);
        let running = running.map_err(|error| Error::System { what: "start a thread", error })?;
        loop {
            let heard = match ended.recv_timeout(LOOK) {
                Ok(finished) => {
                    let finished: Finished = finished;
                    let mut body = shape(&finished);
                    body["type"] = json!("result");
                    results.push(finished);
                    feed.event(&body, true)
                }
                Err(RecvTimeoutError::Timeout) => feed.idle(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // Once: the second time would take away the grace of the runs.
            if heard.is_err() && !work.cancel.is_thrown() {
                work.cancel.throw();
            }
        }
        running.join().unwrap_or_else(|_| Err(Error::Internal("the batch panicked".to_owned())))
    });
    let report = report?;
    if report.cancelled {
        return Err(Error::Cancelled.into());
    }
    results.sort_unstable_by_key(|finished| finished.label.index);
    Ok((report, results))
}

/// Passes results on from the batch's threads.
struct Watcher<'a> {
    work: &'a Work<'a>,
    tell: Mutex<Sender<Finished>>,
}

impl Observer for Watcher<'_> {
    fn begun(&self, _: usize, backend: &str, session: Option<&str>) {
        self.work.run.begin(backend, session);
    }

    fn finished(&self, finished: Finished) -> std::io::Result<()> {
        let tell = crate::base::sync::lock(&self.tell);
        tell.send(finished).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

/// The server's way to run anything, for each run of a batch.
struct Admitted<'a>(&'a Work<'a>);

impl Runner for Admitted<'_> {
    fn admit(&self, request: &Request, task: &mut Task) -> Result<(), Error> {
        self.0.server.admit(self.0.who, request, task)
    }

    fn run(
        &self,
        tasks: Vec<Task>,
        session: Option<&Session>,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        let control = self.0.who.limits.over(control.clone(), self.0.streamed);
        let attempts = Attempts::of(&self.0.server.engine, tasks, session)?;
        self.0.server.run(self.0, &self.0.server.engine, attempts, &control, listener, Claimant::Batch)
    }

    fn rehearse(&self, task: Task, session: Option<&Session>) -> Result<String, Error> {
        dry_run::for_client(&self.0.server.engine, &self.0.server.config, task, session)
    }
}
