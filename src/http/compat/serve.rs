//! The endpoints of the compatible surfaces: from a body in a vendor's dialect to a run, and its answer back into the
//! dialect, whole or in frames as it comes.

use super::thread::{self, Thread};
use super::{
    Chat, Dialect, Finished, Format, Frames, KEEPALIVE_BLANK, Reply, Stamp, needs_keepalive, parse,
    structured, transcript,
};
use super::{anthropic, chat, completions, responses};
use crate::backend::Backend;
use crate::base::json::json;
use crate::base::world;
use crate::engine::answer::Collector;
use crate::engine::request::{Picture, Request};
use crate::engine::{self, Listener};
use crate::exec::Control;
use crate::http::front::errors::{Cause, Fault};
use crate::http::state::call::Call;
use crate::http::state::call::Work;
use crate::http::state::runs::Run;
use crate::http::state::streaming::StreamingResponse;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Sink, Usage, seam};
use crate::model::fields::Word;
use crate::model::outcome::Outcome;
use crate::model::task::{Continue, Task, TaskOption};
use serde_json::Value;
use std::io;
use std::time::{Duration, Instant};

/// How often a model may try to answer as it was asked to.
const TRIES: usize = 2;

/// `POST /openai/v1/chat/completions`
pub fn chat(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &chat::Completions)
}

/// `POST /openai/v1/completions`
pub fn completions(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &completions::Completions)
}

/// `POST /openai/v1/responses`
pub fn responses(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &responses::Responses)
}

/// `POST /anthropic/v1/messages`
pub fn messages(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &anthropic::Messages)
}

/// `POST /anthropic/v1/messages/count_tokens`
pub fn count_tokens(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = read(call, &anthropic::Messages)?;
    let counted = anthropic::count_tokens(&body)?;
    call.answer(200, "application/json", counted);
    Ok(())
}

/// `GET /anthropic`: claude asks whether a server is there.
pub fn probe(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(&json!({"status": "ok"}))
}

/// The body, as far as the dialect reads it.
fn read(call: &mut Call<'_, '_>, dialect: &'static dyn Dialect) -> Result<Value, Fault> {
    let body = call.body()?;
    parse(&body, |name| dialect.reads(name), |weight| call.afford(weight))
}

/// Reads, runs and answers.
fn answer(call: &mut Call<'_, '_>, dialect: &'static dyn Dialect) -> Result<(), Fault> {
    if call.exchange.is_draining() {
        return Err(Error::Draining.into());
    }
    let body = read(call, dialect)?;
    let mut chat = dialect.read(&body)?;
    let server = call.server.clone();
    let named = thread::named(call)?;
    let default = named.as_ref().map_or(&server.config.default_backend, |session| &session.backend);
    let (name, model) = server.resolve(&chat.model, default)?;
    if chat.model.is_empty() {
        chat.model.clone_from(&name);
    }
    if server.engine.disabled.contains(&name) {
        return Err(Error::Disabled { backend: name }.into());
    }
    let backend = server.engine.registry.get(&name)?;
    call.headers.push(("x-clinvk-backend".to_owned(), name));
    let lost = ignored_options(&chat, &*backend).into_iter().filter(|field| !body[*field].is_null());
    chat.ignored.extend(lost.map(str::to_owned));
    drop(body);
    if let Some(names) = chat.ignored_header() {
        call.headers.push(("x-clinvk-ignored".to_owned(), names));
    }
    let thread = Thread::of(call, named, &mut chat, &*backend, model.as_deref())?;
    match run(call, dialect, &chat, &*backend, model.clone(), &thread) {
        // It was found by what was said, so all of it is here to be said again.
        Err(fault) if thread.may_begin_anew(&fault) && call.exchange.sent().is_none() => {
            run(call, dialect, &chat, &*backend, model, &thread.anew())
        }
        other => other,
    }
}

/// The fields with wishes that the backend has nothing for, in any dialect.
fn ignored_options(chat: &Chat, backend: &dyn Backend) -> Vec<&'static str> {
    let lacks = |option: TaskOption| backend.honours(option).is_err();
    let mut lost = Vec::new();
    if chat.max_tokens.is_some() && lacks(TaskOption::MaxTokens) {
        lost.extend(["max_tokens", "max_completion_tokens", "max_output_tokens"]);
    }
    if chat.effort.is_some_and(|effort| lacks(effort.option())) {
        lost.extend(["reasoning_effort", "reasoning", "output_config"]);
    }
    lost
}

/// Runs what was read, within a thread.
fn run(
    call: &mut Call<'_, '_>,
    dialect: &'static dyn Dialect,
    chat: &Chat,
    backend: &dyn Backend,
    model: Option<String>,
    thread: &Thread,
) -> Result<(), Fault> {
    let server = call.server.clone();
    let request = request(chat, backend, model, thread);
    let tasks = tasks(call, chat, &request, thread)?;
    let who = call.who.clone();
    server.engine.prepare(&tasks[0])?;
    let cancel = call.cancel()?;
    let run = Run::new(world::random_id()?, who.route, who.client.clone(), who.owner(), cancel.clone());
    let run = server.runs.add(run);
    let control = server.control(&who, &request, cancel, chat.stream);
    let held = call.exchange.held().clone();
    let streamed = chat.stream;
    let (held, run, cancel, keeps_answer) = (&*held, &run, &control.cancel, true);
    let work = Work { server: &server, who: &who, held, run, cancel, streamed, keeps_answer };
    let stamp = Stamp { id: world::random_id()?, created: world::now().0 };
    let asked =
        RunRequest { chat, dialect, stamp: &stamp, work: &work, control: &control, thread, tasks: &tasks };
    if chat.stream { asked.stream(call) } else { asked.whole(call) }
}

/// The tasks of a request: the first is what is asked for, the others stand in for it, each asked in its backend's own way.
fn tasks(call: &Call<'_, '_>, chat: &Chat, request: &Request, thread: &Thread) -> Result<Vec<Task>, Fault> {
    let (server, session) = (call.server, thread.session.as_ref());
    let registry = &server.engine.registry;
    let mut tasks = server.tasks(&call.who, request, session)?;
    for stand_in in tasks.iter_mut().skip(1) {
        let backend = registry.get(&stand_in.backend)?;
        let own = self::request(chat, &*backend, stand_in.model.take(), thread);
        let own = Request { fallback: Some(Vec::new()), ..own };
        *stand_in = server.tasks(&call.who, &own, session)?.swap_remove(0);
    }
    for task in &mut tasks {
        // A chat client does not expect its completion to edit files.
        task.tools = server.config.server.api_tools;
        task.session = session.map(|session| Continue {
            id: session.id.clone(),
            wait_limit: Some(Duration::ZERO),
            replay: false,
        });
        // A user who lists sessions did not begin it.
        task.hidden = session.is_none();
    }
    if let Err(why) = registry.get(&tasks[0].backend)?.honours(TaskOption::Images) {
        if !tasks[0].images.is_empty() {
            return Err(no_pictures(call, &tasks[0].backend, why));
        }
    }
    Ok(tasks)
}

/// A picture for a backend that takes none. Who does is said instead of how to go on without: it is what was asked about.
fn no_pictures(call: &Call<'_, '_>, backend: &str, why: &str) -> Fault {
    let registry = &call.server.engine.registry;
    let takes =
        |name: &String| registry.get(name).is_ok_and(|known| known.honours(TaskOption::Images).is_ok());
    let usable = call.server.backends_of(&call.who).into_iter().map(|(name, ..)| name);
    let others: Vec<String> = usable.filter(takes).collect();
    let message = format!("backend `{backend}` takes no images ({why}); these do: {}", others.join(", "));
    Fault::new(Cause::Unsupported, message)
}

/// What a backend is asked, with what it cannot honour said in another way or left out: these clients cannot know who
/// answers them.
fn request(chat: &Chat, backend: &dyn Backend, model: Option<String>, thread: &Thread) -> Request {
    let honours = |option: TaskOption| backend.honours(option).is_ok();
    let transcript::Rendered { system, prompt, images } = thread.render(chat);
    let schema = structured::schema(chat).filter(|schema| backend.takes_schema(schema));
    let instruction = structured::instruction(chat, schema.is_some());
    let system = [system, instruction].into_iter().flatten().collect::<Vec<String>>().join("\n\n");
    let (system, prompt) = match &*system {
        "" => (None, prompt),
        _ if honours(TaskOption::System) => (Some(system), prompt),
        // In front of the prompt it is still said.
        _ => (None, format!("{system}\n\n{prompt}")),
    };
    Request {
        backend: Some(backend.name().to_owned()),
        model,
        prompt: Some(prompt.into()),
        images: Some(images.into_iter().map(Picture::Data).collect()),
        system_prompt: system,
        json_schema: schema,
        max_tokens: chat.max_tokens.filter(|_| honours(TaskOption::MaxTokens)),
        effort: chat.effort.filter(|effort| honours(effort.option())).map(Word),
        ephemeral: Some(!thread.keeps() && honours(TaskOption::Ephemeral)),
        ..Request::default()
    }
}

/// The header that says how often the agent needed a permission and did not get it.
const DENIALS: &str = "x-clinvk-permission-denials";

/// One request under way.
struct RunRequest<'a> {
    chat: &'a Chat,
    dialect: &'static dyn Dialect,
    stamp: &'a Stamp,
    work: &'a Work<'a>,
    control: &'a Control,
    thread: &'a Thread,
    tasks: &'a [Task],
}

/// What came of it.
struct Answered<'a> {
    reply: Reply,
    finished: Finished,
    outcome: &'a Outcome,
    /// The backend did not say what it used.
    is_estimate: bool,
}

/// The client's side of an answer that comes whole. It has it before the backend's program is gone.
trait Delivery {
    /// Time passes; so long since it began.
    fn wait(&mut self, since: Duration) -> io::Result<()>;

    fn deliver(&mut self, asked: &RunRequest<'_>, answered: &Answered<'_>) -> io::Result<()>;
}

/// As one JSON object.
struct Whole<'o, 'e, 'c> {
    response: &'o mut StreamingResponse<'e, 'c>,
    /// The longest time until it is there.
    limit: Option<Duration>,
}

impl Delivery for Whole<'_, '_, '_> {
    fn wait(&mut self, since: Duration) -> io::Result<()> {
        if needs_keepalive(since, self.limit) {
            self.response.quiet_before_json(KEEPALIVE_BLANK)
        } else {
            Ok(())
        }
    }

    fn deliver(&mut self, asked: &RunRequest<'_>, answered: &Answered<'_>) -> io::Result<()> {
        let text = asked.dialect.answer(asked.chat, asked.stamp, &answered.reply, &answered.finished);
        answered.headers(asked).into_iter().for_each(|(name, value)| self.response.header(name, value));
        self.response.whole(text)
    }
}

/// As frames, all at once: its form matters, and it had to be found right first.
struct Framed<'o, 'e, 'c> {
    response: &'o mut StreamingResponse<'e, 'c>,
    frames: &'o mut dyn Frames,
}

impl Delivery for Framed<'_, '_, '_> {
    fn wait(&mut self, _: Duration) -> io::Result<()> {
        self.response.quiet(|| self.frames.alive())
    }

    fn deliver(&mut self, asked: &RunRequest<'_>, answered: &Answered<'_>) -> io::Result<()> {
        let framed = match &answered.reply {
            Reply::Text(text) => self.frames.text(text),
            Reply::Tool { name, arguments } => self.frames.tool(name, arguments),
        };
        answered.headers(asked).into_iter().for_each(|(name, value)| self.response.header(name, value));
        self.response.send(&(framed + &self.frames.done(&answered.finished)))?;
        self.response.end()
    }
}

impl Answered<'_> {
    /// What is known at the end and fits into headers.
    fn headers(&self, asked: &RunRequest<'_>) -> Vec<(&'static str, String)> {
        let Outcome { backend, model, session, .. } = self.outcome;
        let estimated = self.is_estimate.then(|| ("x-clinvk-usage", "estimated".to_owned()));
        let denials = self.outcome.permission_denials;
        let denied = (denials > 0).then(|| (DENIALS, denials.to_string()));
        let known = asked.headers_of_outcome(backend, model.as_deref(), session.as_deref());
        known.into_iter().chain(estimated).chain(denied).collect()
    }
}

impl RunRequest<'_> {
    /// One JSON object at the end.
    fn whole(&self, call: &mut Call<'_, '_>) -> Result<(), Fault> {
        let mut response = call.response("application/json");
        // Where its form matters there may be more than one run.
        let runs = if self.is_free() { 1 } else { TRIES as u32 };
        let limit = Some(self.control.wall * runs).filter(|limit| !limit.is_zero());
        let result = self.settle(&mut Whole { response: &mut response, limit });
        // Once blanks are out, only a cut says that something is missing.
        if response.is_open() { Ok(()) } else { result }
    }

    /// Frames as the answer comes; where its form matters, once it is known to be right.
    fn stream(&self, call: &mut Call<'_, '_>) -> Result<(), Fault> {
        let mut frames = self.dialect.frames(self.chat, self.stamp);
        let mut response = call.response("text/event-stream; charset=utf-8");
        let start = frames.start();
        response.hold(&start).map_err(|_| Error::ReaderGone)?;
        let result = match self.is_free() {
            true => self.run_free(&mut *frames, &mut response),
            false => self.settle(&mut Framed { response: &mut response, frames: &mut *frames }),
        };
        match result {
            Err(fault) if !response.is_open() && self.thread.may_begin_anew(&fault) => Err(fault),
            Err(fault) if response.is_open() || self.dialect.tells_in_frames(&fault) => {
                let failed = frames.failed(&fault, &self.work.who.request);
                // A client that left has no use for it.
                let _ = response.send(&failed).and_then(|()| response.end());
                Ok(())
            }
            other => other,
        }
    }

    /// Runs it once, and passes the text on.
    fn run_free(
        &self,
        frames: &mut dyn Frames,
        response: &mut StreamingResponse<'_, '_>,
    ) -> Result<(), Fault> {
        let answer = Collector::default();
        let mut pieces =
            Pieces { asked: self, frames, response, bytes: 0, answer, broken: false, denials: 0 };
        let result = self.work.server.run(self.work, self.tasks, self.control, &mut pieces, false);
        let outcome = result?;
        outcome.failure.map_or(Ok(()), |failure| Err(Fault::of_failure(&failure, world::now().0)))
    }

    /// Runs it until the answer is what was asked for, and delivers that.
    fn settle(&self, delivery: &mut dyn Delivery) -> Result<(), Fault> {
        let (mut tasks, since) = (self.tasks.to_vec(), Instant::now());
        let mut problem = Failure::new(Kind::Internal, "nothing was tried");
        for _ in 0..TRIES {
            let answer = Collector::default();
            let mut keeper = Keeper { asked: self, answer, since, delivery, problem: None };
            let result = self.work.server.run(self.work, &tasks, self.control, &mut keeper, false);
            let Keeper { answer: Collector { text, .. }, problem: found, .. } = keeper;
            let failure = match (result?.failure, found) {
                (_, Some(failure)) => failure,
                (Some(failure), None) => return Err(Fault::of_failure(&failure, world::now().0)),
                (None, None) => return Ok(()),
            };
            log::debug!("{}: asked once more", self.work.who.request);
            // A backend that checks the form itself tells nothing of an answer without it but what is wrong.
            let answer = Some(text.trim_end()).filter(|answer| !answer.is_empty());
            let answer = answer.map(|answer| format!("\n\nThe answer was:\n{answer}")).unwrap_or_default();
            for task in &mut tasks {
                let again = format!(
                    "{}{answer}\n\nThat cannot be used: {}. Answer again, as it was asked for.",
                    task.prompt, failure.message
                );
                task.prompt = again.into();
            }
            problem = failure;
        }
        Err(Fault::of_failure(&problem, world::now().0))
    }

    /// Any text will do.
    fn is_free(&self) -> bool {
        self.chat.forced.is_none() && self.chat.format == Format::Text
    }

    /// A run of it begins.
    fn begin(&self, backend: &str, session: Option<&str>) {
        self.work.run.begin(backend, session);
        self.thread.begin(session);
    }

    /// The model that a backend is asked for, by the vendor's name.
    fn model(&self, backend: &str) -> Option<String> {
        let task = self.tasks.iter().find(|task| task.backend == backend)?;
        let known = self.work.server.engine.registry.get(backend).ok()?;
        task.model.as_deref().and_then(|model| engine::resolve_model(known.models(), model))
    }

    /// What the client is told of who answers, in headers.
    fn headers_of_outcome(
        &self,
        backend: &str,
        model: Option<&str>,
        session: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let session = session.filter(|_| self.thread.keeps());
        [("x-clinvk-backend", Some(backend)), ("x-clinvk-model", model), ("x-clinvk-session", session)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_owned())))
            .collect()
    }

    /// Keeps the conversation, before the client has its answer and can go on.
    fn keep(&self, outcome: &Outcome, text: &str) {
        self.thread.keep(outcome, self.chat, text, &self.stamp.id("resp_", 32));
    }

    /// What the run used; an estimate where the backend does not say.
    fn finished(&self, outcome: &Outcome, bytes: usize) -> (Finished, bool) {
        let is_estimate = outcome.usage.total() == 0;
        let usage = match is_estimate {
            // Four letters are about a token.
            true => Usage { input: self.chat.estimate, output: bytes.div_ceil(4) as u64, ..Usage::default() },
            false => outcome.usage,
        };
        (Finished { usage, truncated: outcome.truncated }, is_estimate)
    }
}

/// Passes text on in frames.
struct Pieces<'a, 'o, 'e, 'c> {
    asked: &'a RunRequest<'a>,
    frames: &'a mut dyn Frames,
    response: &'o mut StreamingResponse<'e, 'c>,
    /// How much text there was.
    bytes: usize,
    /// The text itself, where it is needed at the end.
    answer: Collector,
    /// How often the agent needed a permission and did not get it.
    denials: u64,
    /// What was sent last is void.
    broken: bool,
}

impl Sink for Pieces<'_, '_, '_, '_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Text(text) => {
                self.bytes += text.len();
                if self.asked.thread.keeps() || self.asked.dialect.says_answer_again() {
                    self.answer.add(event)?;
                }
                // What is sent is sent: the answer begins anew in a paragraph of its own.
                match std::mem::take(&mut self.broken) {
                    true => self.response.send(&self.frames.text(&(seam(text).to_owned() + text))),
                    false => self.response.send(&self.frames.text(text)),
                }
            }
            Event::Void(_) => {
                self.answer.add(event)?;
                self.broken = true;
                Ok(())
            }
            Event::Started { model: Some(model), .. } | Event::Model { name: model, .. } => {
                self.response.header("x-clinvk-model", model.clone());
                Ok(())
            }
            Event::PermissionDenied { .. } => {
                self.denials += 1;
                self.response.header(DENIALS, self.denials.to_string());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn quiet(&mut self) -> io::Result<()> {
        self.response.quiet(|| self.frames.alive())
    }

    fn raw(&mut self, _line: &str) -> io::Result<()> {
        // It may be one of many that say nothing to the client: for that one it is silent.
        self.quiet()
    }
}

impl Listener for Pieces<'_, '_, '_, '_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.asked.begin(backend, session);
        let model = self.asked.model(backend);
        let known = self.asked.headers_of_outcome(backend, model.as_deref(), session);
        known.into_iter().for_each(|(name, value)| self.response.header(name, value));
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        if outcome.failure.is_some() {
            return Ok(());
        }
        self.asked.keep(outcome, &self.answer.text);
        let (finished, is_estimate) = self.asked.finished(outcome, self.bytes);
        if is_estimate {
            self.response.header("x-clinvk-usage", "estimated".to_owned());
        }
        self.response.send(&self.frames.done(&finished))?;
        self.response.end()
    }
}

/// Keeps the text until its end.
struct Keeper<'a> {
    asked: &'a RunRequest<'a>,
    answer: Collector,
    since: Instant,
    delivery: &'a mut dyn Delivery,
    /// Why the answer is not what was asked for.
    problem: Option<Failure>,
}

impl Sink for Keeper<'_> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.answer.add(event)
    }

    fn quiet(&mut self) -> io::Result<()> {
        self.delivery.wait(self.since.elapsed())
    }

    fn raw(&mut self, _line: &str) -> io::Result<()> {
        self.quiet()
    }
}

impl Listener for Keeper<'_> {
    fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.asked.begin(backend, session);
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        match &outcome.failure {
            None => {}
            // The backend has found out by itself that the answer is not what was asked for.
            Some(failure) if failure.kind == Kind::Unreadable && !self.asked.is_free() => {
                self.problem = Some(failure.clone());
                return Ok(());
            }
            Some(_) => return Ok(()),
        }
        let (finished, is_estimate) = self.asked.finished(outcome, self.answer.text.len());
        let reply = match self.asked.is_free() {
            // Moved, not copied: it may be long.
            true => {
                self.asked.keep(outcome, &self.answer.text);
                self.answer.text.truncate(self.answer.text.trim_end_matches('\n').len());
                Reply::Text(std::mem::take(&mut self.answer.text))
            }
            false => match structured::reply(self.asked.chat, self.answer.text.trim_end_matches('\n')) {
                Ok(reply) => {
                    self.asked.keep(outcome, &self.answer.text);
                    reply
                }
                Err(failure) => {
                    self.problem = Some(failure);
                    return Ok(());
                }
            },
        };
        self.delivery.deliver(self.asked, &Answered { reply, finished, outcome, is_estimate })
    }
}
