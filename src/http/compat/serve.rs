//! The endpoints of the compatible surfaces: from a body in a vendor's dialect to a run, and its answer back into the
//! dialect, whole or in frames as it comes.

use super::run::RunRequest;
use super::thread::{self, Thread};
use super::{Chat, Dialect, Stamp, parse, structured, transcript};
use super::{anthropic, chat, completions, responses};
use crate::backend::Backend;
use crate::base::json::json;
use crate::base::world;
use crate::engine::fallback::Attempts;
use crate::engine::request::{Picture, Request};
use crate::http::front::errors::{Cause, Fault};
use crate::http::state::call::{Call, Work};
use crate::http::state::runs::Run;
use crate::model::error::Error;
use crate::model::fields::Word;
use crate::model::task::{Continue, Task, TaskOption};
use serde_json::Value;

/// `POST /openai/v1/chat/completions`
pub(crate) fn chat(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &chat::ChatCompletions)
}

/// `POST /openai/v1/completions`
pub(crate) fn completions(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &completions::Completions)
}

/// `POST /openai/v1/responses`
pub(crate) fn responses(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &responses::Responses)
}

/// `POST /anthropic/v1/messages`
pub(crate) fn messages(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &anthropic::Messages)
}

/// `POST /anthropic/v1/messages/count_tokens`
pub(crate) fn count_tokens(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = read(call, &anthropic::Messages)?;
    call.json(anthropic::count_tokens(&body)?)
}

/// `GET /anthropic`: claude asks whether a server is there.
pub(crate) fn probe(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(json!({"status": "ok"}))
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
    let cancel = call.cancel()?;
    let thread = Thread::of(call, named, &mut chat, &*backend, model.as_deref(), &cancel)?;
    match run(call, dialect, &chat, &*backend, model.clone(), &thread) {
        // It was found by what was said, so all of it is here to be said again.
        Err(fault) if thread.may_begin_anew(&fault) && call.exchange.sent().is_none() => {
            run(call, dialect, &chat, &*backend, model, &thread.anew())
        }
        other => other,
    }
}

/// The fields that the backend has nothing for, in any dialect.
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
    let attempts = Attempts::of(&server.engine, tasks.clone(), thread.session.as_ref())?;
    let cancel = call.cancel()?;
    let run = Run::new(world::random_id()?, who.route, who.client.clone(), who.owner(), cancel.clone());
    let run = server.lasting.runs.add(run);
    let control = server.control(&who, &request, cancel, chat.stream);
    let held = call.exchange.held().clone();
    let streamed = chat.stream;
    let (held, run, cancel, keeps_answer) = (&*held, &run, &control.cancel, true);
    let work = Work { server: &server, who: &who, held, run, cancel, streamed, keeps_answer };
    let stamp = Stamp { id: world::random_id()?, created: world::now().0 };
    let asked =
        RunRequest { chat, dialect, stamp: &stamp, work: &work, control: &control, thread, tasks: &tasks };
    if chat.stream { asked.stream(call, attempts) } else { asked.whole(call, attempts) }
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
    let wait_limit = call.wait_limit()?.unwrap_or_default();
    for task in &mut tasks {
        // A chat client does not expect its completion to edit files.
        task.tools = server.config.server.api_tools;
        task.session = session.map(|session| Continue {
            id: session.id.clone(),
            wait_limit: Some(wait_limit),
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
    let (schema, in_words) = match structured::schema(chat) {
        Some(schema) if backend.takes_schema(&schema) => (Some(schema), None),
        other => (None, other),
    };
    let instruction = structured::instruction(chat, in_words.as_ref());
    let system = [system, instruction].into_iter().flatten().collect::<Vec<String>>().join("\n\n");
    let (system, prompt) = match &*system {
        "" => (None, prompt),
        _ if honours(TaskOption::System) => (Some(system), prompt),
        // In front of the prompt it is still said.
        _ => (None, format!("{system}\n\n{prompt}").into()),
    };
    Request {
        backend: Some(backend.name().to_owned()),
        model,
        prompt: Some(prompt),
        images: Some(images.into_iter().map(Picture::Data).collect()),
        system_prompt: system,
        json_schema: schema,
        max_tokens: chat.max_tokens.filter(|_| honours(TaskOption::MaxTokens)),
        effort: chat.effort.filter(|effort| honours(effort.option())).map(Word),
        ephemeral: Some(!thread.keeps() && honours(TaskOption::Ephemeral)),
        ..Request::default()
    }
}
