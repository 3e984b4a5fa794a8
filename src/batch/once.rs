//! One run of a batch: from a request to its result, with the tries that it takes.

use super::place::{Order, Ready};
use super::{Course, Finished, Halt, Label, Observer, State, retry};
use crate::base::{sha256, world};
use crate::engine::answer::Collector;
use crate::engine::request::Request;
use crate::model::error::Error;
use crate::model::event::{Event, Listener};
use crate::model::fields::Fields;
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::session::Session;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a thread that waits for the next try looks around.
const LOOK: Duration = Duration::from_millis(100);

/// What is to be run. Its prompt is whole, but for the files behind it.
#[derive(Default)]
pub(super) struct Job {
    pub(crate) request: Request,
    /// The session that it continues.
    pub(crate) session: Option<Session>,
    /// The session that it begins is for the batch alone.
    pub(crate) hidden: bool,
}

impl Course<'_> {
    /// Runs one job to its end, unless the batch stops or an earlier one has done it.
    pub(super) fn run(&self, label: Label, job: impl FnOnce() -> Result<Job, Error>) -> Finished {
        if let Some((state, failure)) = self.stopped(State::Skipped) {
            return Finished::without_run(label, state, failure);
        }
        match job().and_then(|job| self.do_job(&label, job)) {
            Ok(finished) => finished,
            Err(error) => Finished::refused(label, &error),
        }
    }

    fn do_job(&self, label: &Label, job: Job) -> Result<Finished, Error> {
        let batch = self.batch;
        let tidy = job.request.ephemeral.or(batch.given.ephemeral).is_none();
        let mut request = job.request.or(batch.given);
        request.ephemeral.get_or_insert(!batch.keep_sessions);
        let ready = batch.place.ready(Order {
            request: &request,
            defaults: batch.defaults,
            session: job.session.as_ref(),
            hidden: job.hidden,
            tidy,
            cancel: self.branch.clone(),
        })?;
        let digest = batch.folder.map(|_| ready.digest());
        let earlier = batch.folder.zip(digest.as_ref());
        if let Some(done) = earlier.and_then(|(folder, digest)| folder.find(label, digest)) {
            return Ok(done);
        }
        if let Some(output) = ready.rehearsal()? {
            let mut unrun = Finished::without_run(label.clone(), State::Completed, None);
            unrun.outcome.warnings = ready.warnings();
            return Ok(Finished { output, dry_run: true, ..unrun });
        }
        batch.observer.started(label);
        let mut finished = self.tries(label, &*ready, job.session.is_some());
        finished.digest = digest;
        Ok(finished)
    }

    /// Runs it until it has a result, or a failure that does not pass.
    fn tries(&self, label: &Label, ready: &dyn Ready, is_continued: bool) -> Finished {
        let (batch, mut warnings) = (self.batch, ready.warnings());
        let since = Instant::now();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut listener = JobListener {
                observer: batch.observer,
                index: label.index,
                answer: Collector::default(),
                session: None,
                outcome: None,
            };
            let run = AssertUnwindSafe(|| ready.run(&mut listener));
            // One run's bug is that run's failure: the others, and those that wait for it, go on.
            let result = catch_unwind(run).unwrap_or(Err(Error::Internal("the run panicked".to_owned())));
            if matches!(result, Err(Error::ReaderGone)) {
                self.stop(Halt::Broken(Error::ReaderGone));
            }
            let session = listener.session.take();
            let mut finished = listener.result(label.clone(), result);
            if let Some(pause) = self.pause(&finished, attempt) {
                let failure = finished.outcome.failure.as_ref().map_or("", |failure| &failure.message);
                let message = format!("try {attempt}: {failure}; the next one in {pause:.1?}");
                let _ = batch.observer.event(
                    label.index,
                    &Event::Progress { stage: "retry".to_owned(), message: message.clone() },
                );
                if self.wait(label.index, pause) {
                    warnings.push(message);
                    // No reader knows of its session. One that was there before stays.
                    if let Some(id) = session.filter(|_| !is_continued) {
                        self.forget(&id);
                    }
                    continue;
                }
            }
            if finished.state == State::Cancelled {
                let stopped = self.stopped(State::Cancelled).map(|(_, failure)| failure);
                finished.outcome.failure = stopped.or(finished.outcome.failure);
            }
            warnings.append(&mut finished.outcome.warnings);
            finished.outcome = Outcome { duration: since.elapsed(), warnings, ..finished.outcome };
            return Finished { attempts: attempt, ..finished };
        }
    }

    /// How long to wait for another try; none is not worth one.
    fn pause(&self, finished: &Finished, attempt: u32) -> Option<Duration> {
        let failure = retry::worth(&finished.outcome)?;
        if attempt > self.batch.retries || self.branch.is_thrown() {
            return None;
        }
        let chance = world::random_id().ok().and_then(|id| u16::from_str_radix(&id[..4], 16).ok());
        retry::pause(attempt, &failure.message, chance.unwrap_or(0))
    }

    /// Waits so long; says no when the batch stops meanwhile.
    fn wait(&self, index: usize, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if self.branch.wait(left.min(LOOK)) {
                return false;
            }
            if self.batch.observer.idle(index).is_err() {
                self.stop(Halt::Broken(Error::ReaderGone));
            }
        }
    }

    /// Removes a session that was for the batch alone.
    pub(super) fn forget(&self, id: &str) {
        if let Err(error) = self.batch.place.forget(id) {
            log::warn!("{error}");
        }
    }
}

/// What a task asks: the same for two that are the same question to the same backend. How long it may take, and what is
/// kept of it, is no part of it.
pub(super) fn digest(task: &Task) -> String {
    let asked = Task {
        scratch: PathBuf::new(),
        ephemeral: false,
        outer_runs: 0,
        hidden: false,
        lenient: false,
        vendor_retries: 0,
        tags: Vec::new(),
        metadata: Default::default(),
        env: Vec::new(),
        owner: None,
        ..task.clone()
    };
    sha256::hex(format!("{asked:?}").as_bytes())
}

/// Hears one run: gathers its answer, and passes the rest on.
struct JobListener<'a> {
    observer: &'a dyn Observer,
    index: usize,
    answer: Collector,
    session: Option<String>,
    outcome: Option<Outcome>,
}

impl JobListener<'_> {
    fn result(self, label: Label, result: Result<Outcome, Error>) -> Finished {
        match result {
            Ok(outcome) => Finished::ran(label, outcome, self.answer.text),
            Err(error) => {
                let refused = Finished::refused(label, &error);
                match self.outcome {
                    // It was under way: what there was of it is worth something.
                    Some(outcome) => {
                        let mut finished = Finished::ran(refused.label, outcome, self.answer.text);
                        (finished.state, finished.outcome.failure) = (refused.state, refused.outcome.failure);
                        finished
                    }
                    None => Finished { output: self.answer.text, ..refused },
                }
            }
        }
    }
}

impl Listener for JobListener<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.session = session.map(str::to_owned);
        self.observer.begun(self.index, backend, session);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Done(outcome) = event {
            self.outcome = Some((**outcome).clone());
            return Ok(());
        }
        self.answer.add(event)?;
        self.observer.event(self.index, event)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.observer.idle(self.index)
    }
}
