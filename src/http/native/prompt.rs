//! `POST /prompt` and `POST /sessions/{id}/resume`: one run.

use super::deliver::{Failed, Feed, Format, Job, Key, deliver, key};
use super::sessions;
use crate::backend::Trust;
use crate::base::json::{self, json};
use crate::base::world;
use crate::batch::place::tidied;
use crate::engine::answer::Collector;
use crate::engine::caller::{Caller, Setup};
use crate::engine::dry_run::{self, Reader};
use crate::engine::fallback::Attempts;
use crate::engine::request::{OfSession, Request, Span};
use crate::engine::{Engine, Prepared};
use crate::exec::Control;
use crate::http::front::errors::Fault;
use crate::http::state::admission::Claimant;
use crate::http::state::call::{Call, Work, read_object};
use crate::model::error::Kind;
use crate::model::event::{Event, Listener};
use crate::model::fields::{Word, fields};
use crate::model::outcome::Outcome;
use crate::model::task::OutputFormat;
use crate::model::unified::{self, Answer, Events};
use crate::session::{Session, Status};
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::time::Duration;

fields! {
    /// What a request has besides the options of a prompt and its session.
    pub struct Extra {
        detach: bool, "answer at once; the run goes on alone";
        attach: bool, "answer at once with a stream, which begins with what is run and has all that goes wrong";
        tidy: bool, "leave no session behind where the backend can do without one";
        hidden: bool, "no list has the session that is begun";
        depth: u32, "how many runs the client is inside of";
        caller: Caller, "what a command line was given, whose own server this is: its environment, directory and configuration";
    }
}

/// `POST /prompt`
pub(crate) fn prompt(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = call.whole_body()?;
    let (key, asked) = (key(call, &body)?, read_object(&body)?);
    drop(body);
    run(call, key, asked)
}

/// `POST /sessions/{id}/resume`
pub(crate) fn resume(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = call.whole_body()?;
    let (key, (request, (of_session, extra))): (_, Asked) = (key(call, &body)?, read_object(&body)?);
    drop(body);
    if of_session.session_id.is_some() {
        return Err(Fault::invalid("session_id", "the session is named in the path: leave `session_id` out"));
    }
    let of_session = OfSession { session_id: Some(call.params[0].clone()), ..of_session };
    run(call, key, (request, (of_session, extra)))
}

/// All that a request may have.
type Asked = (Request, (OfSession, Extra));

fn run(call: &mut Call<'_, '_>, key: Option<Key>, asked: Asked) -> Result<(), Fault> {
    let (request, (of_session, extra)) = asked;
    let wants_stream = request.output_format == Some(Word(OutputFormat::StreamJson));
    let (detach, attach) = (extra.detach.unwrap_or(false), extra.attach.unwrap_or(false));
    let format = Format::of(call).or_stream(wants_stream || attach);
    let session = match (&of_session.session_id, of_session.needs_one()) {
        (Some(id), _) => Some(sessions::find(call, id)?),
        (None, Some(problem)) => return Err(Fault::invalid("session_id", problem)),
        (None, None) => None,
    };
    let setup = extra.caller.as_ref().map(|caller| setup(call, caller)).transpose()?;
    let (config, engine) = match &setup {
        None => (&call.server.config, &call.server.engine),
        Some(setup) => (&setup.config, &setup.engine),
    };
    let mut tasks = match &setup {
        None => call.server.tasks(&call.who, &request, session.as_ref())?,
        Some(_) => {
            let defaults = engine.defaults(config, session.as_ref());
            request.tasks(&defaults, || request.text(&defaults))?
        }
    };
    let lines = extra.caller.as_ref().is_some_and(|caller| caller.lines);
    if lines {
        // As where it runs by itself.
        tasks.truncate(1);
    }
    let wait_secs = of_session.wait_secs.or(call.wait_limit()?.map(Span));
    let of_session = OfSession { wait_secs, ..of_session };
    for task in &mut tasks {
        task.session = session.as_ref().map(|session| of_session.continued(session));
    }
    let mut warnings = Vec::new();
    for task in &mut tasks {
        task.hidden = extra.hidden.unwrap_or(false);
        task.outer_runs = extra.depth.unwrap_or(0);
        if extra.tidy.unwrap_or(false) {
            warnings.extend(tidied(task, &engine.registry));
        }
    }
    let mut attempts = Attempts::checked(engine, tasks, session.as_ref())?;
    attempts.warn(warnings);
    if request.dry_run.unwrap_or(config.unified_flags.dry_run) {
        return dry(call, attempts.first(), attach);
    }
    let job: Job = Box::new(move |work, feed| {
        let cancel = work.cancel.clone();
        let (engine, control) = match &setup {
            None => (&work.server.engine, work.server.control(work.who, &request, cancel, work.streamed)),
            Some(setup) => (&setup.engine, Control { lines, ..request.control(&setup.config, cancel) }),
        };
        drop(request);
        answer(work, feed, engine, &control, attempts, attach)
    });
    deliver(call, key, format, detach, job)
}

/// What the runs of a command line of this user's are made of.
fn setup(call: &Call<'_, '_>, caller: &Caller) -> Result<Setup, Fault> {
    if !call.server.lasting.has_callers {
        let sentence = "`caller`: this server was not started by `--server auto`: stop it, or name it, as by \
             `--server unix:PATH`";
        return Err(Fault::of(Kind::Policy, sentence));
    }
    Ok(caller.setup(&call.server.engine)?)
}

/// Says what would be executed. Like clinvk 0.2, it begins a session all the same, unless it is to leave none or the client is
/// attached to the run.
fn dry(call: &mut Call<'_, '_>, prepared: &Prepared, attach: bool) -> Result<(), Fault> {
    let (engine, task) = (&call.server.engine, &prepared.task);
    let program = engine.locate(&*prepared.backend, Trust::All);
    let session = match (&task.session, task.ephemeral || attach) {
        (Some(session), _) => Some(session.id.clone()),
        (None, true) => None,
        (None, false) => {
            let new = Session::new(world::random_id()?, &task.backend, task.dir.clone(), &task.prompt);
            let (owner, tags) = (task.owner.clone(), task.tags.clone());
            let session = Session { status: Status::Completed, owner, tags, ..new };
            Some(engine.store.add(session, &[])?)
        }
    };
    let reader = Reader::Other(call.server.config.backend(&task.backend));
    let text = dry_run::text(prepared, program.as_deref(), reader);
    let sent = RunJson::with(
        Answer {
            model: task.model.as_deref(),
            content: Some(&text),
            session_id: session.as_deref(),
            exit_code: Some(0),
            warnings: &prepared.warnings,
            ..Answer::unrun(Some(&task.backend))
        },
        Duration::ZERO,
    );
    let mut answer = json!(sent);
    answer["dry_run"] = json!(true);
    answer["command"] = dry_run::data(prepared, program.as_deref(), reader);
    call.json(answer)
}

/// The run itself.
fn answer(
    work: &Work<'_>,
    feed: &mut dyn Feed,
    engine: &Engine,
    control: &Control,
    attempts: Attempts,
    attach: bool,
) -> Result<String, Failed> {
    let task = &attempts.first().task;
    let events = Events::new(Some(&task.backend), &task.dir);
    if attach {
        // A client that left has its run stopped by its connection.
        let _ = feed.event(&opening(work, attempts.first()), true);
    }
    let answer = Collector::default();
    let mut listener = PromptListener { work, feed: &mut *feed, events, answer, known: json!({}) };
    let result = work.server.run(work, engine, attempts, control, &mut listener, Claimant::Request);
    let known = listener.known;
    if let (true, Err(error)) = (attach, &result) {
        let _ = feed.event(&unified::refusal(error), true);
    }
    let fault = match result {
        Ok(outcome) => match &outcome.failure {
            // The client had it when it was known.
            None => return Ok(String::new()),
            Some(failure) => Fault::of_failure(failure, world::now().0),
        },
        Err(error) => Fault::from(error),
    };
    Err(Failed { fault, known })
}

/// What is run, as the first line of a stream that is attached to it.
fn opening(work: &Work<'_>, prepared: &Prepared) -> Value {
    json!({
        "type": "run",
        "run_id": work.run.id,
        "backend": prepared.task.backend,
        "content": {"working_dir": json::path(&prepared.task.dir), "warnings": prepared.warnings},
    })
}

/// An answer with the names that clinvk 0.2 had for it here, too.
#[derive(Serialize)]
struct RunJson<'a> {
    output: Option<&'a str>,
    token_usage: Value,
    duration_ms: Value,
    #[serde(flatten)]
    answer: Answer<'a>,
}

impl<'a> RunJson<'a> {
    fn of(outcome: &'a Outcome, output: &'a str) -> RunJson<'a> {
        RunJson::with(Answer::of(outcome, Some(output)), outcome.duration)
    }

    fn with(answer: Answer<'a>, duration: Duration) -> RunJson<'a> {
        let (output, token_usage) = (answer.content, answer.usage.clone());
        RunJson { output, token_usage, duration_ms: unified::millis(duration), answer }
    }

    /// As text at once: an answer may be long, and by way of a `Value` there would be two more of it.
    fn text(&self) -> String {
        serde_json::to_string(self).expect("an object of texts and numbers can be written")
    }
}

/// Tells the events of a run as they come, and keeps the answer.
struct PromptListener<'a> {
    work: &'a Work<'a>,
    feed: &'a mut dyn Feed,
    events: Events,
    answer: Collector,
    /// What the answer has beside a failure, once there is an outcome.
    known: Value,
}

impl PromptListener<'_> {
    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        let (answer, is_answered) = (RunJson::of(outcome, &self.answer.text), outcome.failure.is_none());
        // Before the client has had anything, a failure is its status. An answer whose session could not be saved
        // is one all the same.
        if let Some(failure) = unified::failure(outcome) {
            let line = self.events.error(failure);
            self.feed.event(&line, is_answered || self.feed.is_open())?;
        }
        let line = self.events.done(outcome);
        self.feed.event(&line, is_answered || self.feed.is_open())?;
        if is_answered {
            return self.feed.result(answer.text());
        }
        self.known = json!(answer);
        Ok(())
    }
}

impl Listener for PromptListener<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.events.begin(backend, session);
        self.work.run.begin(backend, session);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Done(outcome) = event {
            return self.done(outcome);
        }
        if self.work.keeps_answer {
            self.answer.add(event)?;
        }
        let is_of_answer = matches!(
            event,
            Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. } | Event::ToolResult { .. }
        );
        let line = self.events.next(event);
        self.feed.event(&line, is_of_answer)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.feed.idle()
    }
}
