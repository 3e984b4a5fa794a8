//! What the tools do: runs and batches of the engine, within the policy, as the other surfaces have them.

use super::Offer;
use super::answers::{Came, bounded, refusal, result, sections};
use super::progress::{BatchObserver, Progress, RunListener};
use super::tools::Tool;
use crate::base::json::{self, Value, json};
use crate::batch::compare::{OfCompare, all, candidates, dissenters, title};
use crate::batch::place::Here;
use crate::batch::{Batch, Finished, Plan, Report, Runner, State, Workers};
use crate::engine::dry_run;
use crate::engine::fallback::Attempts;
use crate::engine::request::{Defaults, Directories, OfSession, Request};
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use crate::model::event::Listener;
use crate::model::fields::{Fields, Object, Word, fields};
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::model::unified::Answer;
use crate::session::{Filter, Page, Session, Status, Turn};
use std::sync::Arc;

/// The most runs of one call.
const MOST_RUNS: usize = 100;
/// How many sessions are listed when nothing is said.
const LISTED: usize = 20;
const MOST_LISTED: usize = 100;

/// Does what a tool is for; the arguments are JSON.
pub(super) type Run = fn(&Work<'_>, &str) -> Result<Value, Error>;

/// A call, and what it has to work with.
pub(super) struct Work<'a> {
    offer: &'a Offer<'a>,
    progress: &'a Progress<'a>,
    cancel: &'a Arc<Cancel>,
}

pub(super) fn run(
    tool: &Tool,
    offer: &Offer<'_>,
    arguments: &Value,
    progress: &Progress<'_>,
    cancel: &Arc<Cancel>,
) -> Value {
    let arguments = if arguments.is_null() { "{}".to_owned() } else { arguments.to_string() };
    (tool.run)(&Work { offer, progress, cancel }, &arguments).unwrap_or_else(|error| refusal(&error))
}

fn read<T: Fields>(arguments: &str) -> Result<T, Error> {
    let wrong = |error| Error::Invalid(format!("the arguments are not as expected: {error}"));
    json::from_str(arguments).map(|Object(fields)| fields).map_err(wrong)
}

impl Work<'_> {
    fn defaults<'a>(&'a self, session: Option<&'a Session>) -> Defaults<'a> {
        let Offer { engine, config, dir, policy, .. } = self.offer;
        Defaults {
            config,
            registry: &engine.registry,
            base: dir,
            temp: &engine.world.temp,
            home: &engine.world.home,
            session,
            directories: *policy,
            reads_files: false,
        }
    }

    /// The session of that id, if it is one of the directories that calls may use.
    fn session(&self, id: &str) -> Result<Session, Error> {
        let session = self.offer.engine.store.find(id)?;
        self.offer.policy.resolve(self.offer.dir, &session.working_dir)?;
        Ok(session)
    }

    /// Runs a batch of so many runs.
    fn batch(
        &self,
        planned: usize,
        given: &Request,
        begin: impl FnOnce(&Batch<'_>) -> Result<Report, Error>,
    ) -> Result<(Report, Vec<Finished>), Error> {
        if planned > MOST_RUNS {
            return Err(Error::Invalid(format!(
                "{planned} runs are too many for one call: at most {MOST_RUNS}"
            )));
        }
        let observer = BatchObserver::of(self.progress, planned);
        let place = Here { engine: self.offer.engine, runner: self };
        let report = begin(&Batch {
            defaults: self.defaults(None),
            given,
            folder: None,
            keep_sessions: false,
            retries: 0,
            place: &place,
            observer: &observer,
            cancel: self.cancel,
        })?;
        if report.cancelled {
            return Err(Error::Cancelled);
        }
        Ok((report, observer.results()))
    }
}

impl Runner for Work<'_> {
    fn admit(&self, request: &Request, task: &mut Task) -> Result<(), Error> {
        let Offer { engine, policy, .. } = self.offer;
        // Who may not ask all does not learn what there is.
        policy.backend(&task.backend)?;
        policy.admit(request, task, &*engine.registry.get(&task.backend)?)
    }

    fn run(
        &self,
        tasks: Vec<Task>,
        session: Option<&Session>,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        Attempts::of(self.offer.engine, tasks, session)?.run(self.offer.engine, control, listener)
    }

    fn rehearse(&self, task: Task, session: Option<&Session>) -> Result<String, Error> {
        dry_run::for_client(self.offer.engine, self.offer.config, task, session)
    }
}

pub(super) fn prompt(work: &Work<'_>, arguments: &str) -> Result<Value, Error> {
    let (asked, of): (Request, OfSession) = read(arguments)?;
    let Offer { engine, config, given, .. } = work.offer;
    let session = of.session_id.as_deref().map(|id| work.session(id)).transpose()?;
    if let Some(problem) = of.needs_one().filter(|_| session.is_none()) {
        return Err(Error::Invalid(problem.to_owned()));
    }
    let mut request = asked.clone().or(given);
    if session.is_some() {
        // It has a backend.
        request.backend.clone_from(&asked.backend);
    }
    let defaults = work.defaults(session.as_ref());
    let mut tasks = request.tasks(&defaults, || request.text(&defaults))?;
    for task in &mut tasks {
        work.admit(&asked, task)?;
        task.session = session.as_ref().map(|session| of.continued(session));
    }
    if request.dry_run.unwrap_or(config.unified_flags.dry_run) {
        let text = work.rehearse(tasks.swap_remove(0), session.as_ref())?;
        return Ok(result(&text, &json!({"dry_run": true, "content": text}), Came::Well));
    }
    let attempts = Attempts::checked(engine, tasks, session.as_ref())?;
    let mut listener = RunListener::of(work.progress);
    let outcome = attempts.run(engine, &request.control(config, work.cancel.clone()), &mut listener)?;
    let answer = bounded(&listener.answer.text, 1, outcome.session.as_deref());
    let data = json!(Answer::of(&outcome, Some(&answer)));
    Ok(match &outcome.failure {
        None => result(&answer, &data, Came::Well),
        Some(failure) => {
            let why = format!("{}: {} ({})", outcome.backend, failure.message, failure.kind.word());
            let said = if answer.is_empty() { why } else { format!("{answer}\n\n{why}") };
            result(&said, &data, Came::Badly)
        }
    })
}

pub(super) fn compare(work: &Work<'_>, arguments: &str) -> Result<Value, Error> {
    let (asked, of): (Request, OfCompare) = read(arguments)?;
    let prompt = asked.text(&work.defaults(None))?;
    let candidates = match (&of.backends, of.all_backends) {
        (Some(words), None | Some(false)) => candidates(words)?,
        (None, Some(true)) => {
            let (mut candidates, _) = all(work.offer.engine);
            candidates.retain(|candidate| work.offer.policy.backend(&candidate.backend).is_ok());
            candidates
        }
        _ => {
            let sentence = "either `backends` names who is asked, or `all_backends` is true";
            return Err(Error::Invalid(sentence.to_owned()));
        }
    };
    if candidates.is_empty() {
        return Err(Error::Invalid("no backend is installed that may be asked here".to_owned()));
    }
    let given = Request { prompt: None, files: None, ..asked.or(work.offer.given) };
    let workers = Workers(if of.sequential.unwrap_or(false) { 1 } else { candidates.len() });
    let race = of.race.unwrap_or(false);
    let (report, results) =
        work.batch(candidates.len(), &given, |batch| batch.compare(&prompt, &candidates, workers, race))?;
    let answered: Vec<&Finished> =
        results.iter().filter(|finished| finished.state == State::Completed).collect();
    let answers: Vec<&str> = answered.iter().map(|finished| &*finished.output).collect();
    let differ: Vec<String> = dissenters(&answers).into_iter().map(|index| title(answered[index])).collect();
    let agree = differ.is_empty() && answered.len() == results.len();
    let (mut text, entries) = sections(&results);
    text += match agree {
        true => "All answers agree.\n",
        false => "The answers are not all the same.\n",
    };
    let mut data = report.to_json();
    data["agree"] = json!(agree);
    data["dissenters"] = json!(differ);
    data["results"] = entries.into();
    Ok(result(&text, &data, came(&report)))
}

pub(super) fn parallel(work: &Work<'_>, arguments: &str) -> Result<Value, Error> {
    let plan = Plan::read(arguments, "the arguments", &work.defaults(None))?;
    if plan.settings.detach.is_some() {
        return Err(Error::Invalid("`detach` is for the server alone".to_owned()));
    }
    let of_config = &work.offer.config.parallel;
    let most = Workers(of_config.max_workers);
    let workers = Workers(plan.settings.max_parallel.unwrap_or(most).0.min(most.0));
    let fail_fast = plan.settings.fail_fast.unwrap_or(of_config.fail_fast);
    let (report, results) =
        work.batch(plan.len(), work.offer.given, |batch| batch.parallel(&plan, workers, fail_fast))?;
    let (text, entries) = sections(&results);
    let mut data = report.to_json();
    data["results"] = entries.into();
    Ok(result(&text, &data, came(&report)))
}

/// A batch of which something is done is no failure: what is not done is told.
fn came(report: &Report) -> Came {
    if report.totals.completed > 0 { Came::Well } else { Came::Badly }
}

fields! {
    /// Which sessions are wanted.
    pub(super) struct Wanted {
        id: String, "one session, with what was said in it: its id, or the beginning of that";
        search: String, "only those with this text in title or prompts";
        backend: String, "only those of this backend";
        tag: String, "only those with this tag";
        status: Word<Status>, "only those that stand so: active, completed, error";
        limit: usize, "at most so many";
    }
}

pub(super) fn sessions(work: &Work<'_>, arguments: &str) -> Result<Value, Error> {
    let wanted: Wanted = read(arguments)?;
    let store = &work.offer.engine.store;
    if let Some(id) = &wanted.id {
        let session = work.session(id)?;
        let turns = store.turns(&session.id)?;
        let mut text = String::new();
        let mut data = session.to_json();
        let told = |turn: &Turn| {
            let [prompt, answer] =
                [&*turn.prompt, &*turn.answer].map(|said| bounded(said, 2 * turns.len(), Some(&session.id)));
            text += &format!("== prompt\n{prompt}\n== {}\n{answer}\n", turn.backend);
            json!({"prompt": prompt, "content": answer, "backend": turn.backend})
        };
        data["turns"] = turns.iter().map(told).collect();
        return Ok(result(&text, &data, Came::Well));
    }
    let filter = Filter {
        dir: Some(work.offer.dir.to_owned()),
        text: wanted.search,
        backend: wanted.backend,
        tags: wanted.tag.into_iter().collect(),
        status: wanted.status.map(|Word(status)| status),
        ..Filter::default()
    };
    let limit = wanted.limit.unwrap_or(LISTED).min(MOST_LISTED);
    let listing = store.list(&filter, Page { offset: 0, limit, counted: usize::MAX }, &mut |_| {})?;
    let line = |session: &Session| {
        format!("{} {} {} {}\n", session.id, session.backend, session.last_used_at, session.title)
    };
    let text: String = listing.sessions.iter().map(line).collect();
    let sessions: Vec<Value> = listing.sessions.iter().map(Session::to_json).collect();
    let data = json!({"sessions": sessions, "total": listing.total});
    Ok(result(if text.is_empty() { "There are none." } else { &text }, &data, Came::Well))
}
