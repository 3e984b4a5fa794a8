//! The endpoints of the compatible surfaces that run something: from a body in a vendor's dialect to tasks. How the answer
//! comes back is `asked`'s business.

use super::asked::{Asked, BACKEND};
use super::thread::Thread;
use super::{Chat, Dialect, Part, Stamp, parse, structured, transcript};
use super::{anthropic, chat, completions, responses};
use crate::backend::Backend;
use crate::error::Error;
use crate::fields::Word;
use crate::http::call::Call;
use crate::http::faults::{Cause, Fault};
use crate::http::native::deliver::Work;
use crate::http::runs::Run;
use crate::http::server::Server;
use crate::request::{Picture, Request, backend_and_model};
use crate::task::{Continue, Opt};
use crate::world;
use std::sync::Arc;
use std::time::Duration;

/// `POST /openai/v1/chat/completions`
///
/// # Errors
/// What the client is told.
pub fn chat(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &chat::Completions)
}

/// `POST /openai/v1/completions`
///
/// # Errors
/// What the client is told.
pub fn completions(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &completions::Completions)
}

/// `POST /openai/v1/responses`
///
/// # Errors
/// What the client is told.
pub fn responses(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &responses::Responses)
}

/// `POST /anthropic/v1/messages`
///
/// # Errors
/// What the client is told.
pub fn messages(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    answer(call, &anthropic::Messages)
}

/// `POST /anthropic/v1/messages/count_tokens`
///
/// # Errors
/// What the client is told.
pub fn count_tokens(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    let body = parse(&call.body()?)?;
    let counted = anthropic::count_tokens(&body)?;
    call.answer(200, "application/json", counted);
    Ok(())
}

/// `GET /anthropic`: claude asks whether anybody is there.
///
/// # Errors
/// Never.
pub fn probe(call: &mut Call<'_, '_>) -> Result<(), Fault> {
    call.json(&serde_json::json!({"status": "ok"}))
}

/// Reads, runs and answers.
fn answer(call: &mut Call<'_, '_>, dialect: &'static dyn Dialect) -> Result<(), Fault> {
    if call.exchange.is_draining() {
        return Err(Error::Draining.into());
    }
    let body = parse(&call.body()?)?;
    let mut chat = dialect.read(&body)?;
    let server = call.server.clone();
    let (name, model) = server.resolve(&chat.model)?;
    if chat.model.is_empty() {
        chat.model.clone_from(&name);
    }
    call.headers.push((BACKEND.to_owned(), name.clone()));
    if server.engine.disabled.contains(&name) {
        return Err(Error::Disabled { backend: name }.into());
    }
    let backend = server.engine.registry.get(&name)?;
    refuse_pictures(&server, &chat, &*backend)?;
    let lost = lost_wishes(&chat, &*backend);
    chat.ignored
        .extend(lost.iter().filter(|field| !body[**field].is_null()).map(|field| (*field).to_owned()));
    drop(body);
    if let Some(names) = chat.ignored_header() {
        call.headers.push(("x-clinvk-ignored".to_owned(), names));
    }
    let thread = Thread::of(call, &mut chat, &*backend, model.as_deref())?;
    let result = run(call, dialect, &chat, (&*backend, model.as_deref()), &thread);
    let fails = |fault: &Fault| thread.may_begin_anew(fault) && call.exchange.sent().is_none();
    if !result.as_ref().is_err_and(fails) {
        return result;
    }
    // It was found by what was said, so all of it is here to be said again.
    let anew = thread.anew();
    drop(thread);
    run(call, dialect, &chat, (&*backend, model.as_deref()), &anew)
}

/// Pictures are never left out, not even where other options may be.
fn refuse_pictures(server: &Server, chat: &Chat, backend: &dyn Backend) -> Result<(), Fault> {
    let has_eyes = |backend: &dyn Backend| backend.honours(Opt::Images).is_ok();
    let pictures =
        || chat.turns.iter().flat_map(|turn| &turn.parts).any(|part| matches!(part, Part::Image(_)));
    if has_eyes(backend) || !pictures() {
        return Ok(());
    }
    let registry = &server.engine.registry;
    let names = registry.names().into_iter();
    let others: Vec<String> =
        names.filter(|name| registry.get(name).is_ok_and(|backend| has_eyes(&*backend))).collect();
    let message = format!("backend `{}` takes no images: {} can", backend.name(), others.join(", "));
    Err(Fault::new(Cause::Unsupported, message))
}

/// The fields with wishes that the backend has nothing for, in any dialect.
fn lost_wishes(chat: &Chat, backend: &dyn Backend) -> Vec<&'static str> {
    let is_lost = |is_said: bool, option: Opt| is_said && backend.honours(option).is_err();
    let mut lost = Vec::new();
    if is_lost(chat.max_tokens.is_some(), Opt::MaxTokens) {
        lost.extend(["max_tokens", "max_completion_tokens", "max_output_tokens"]);
    }
    if is_lost(chat.effort.is_some(), Opt::Effort) {
        lost.extend(["reasoning_effort", "reasoning", "output_config"]);
    }
    lost
}

/// Runs what was read, within a thread.
fn run(
    call: &mut Call<'_, '_>,
    dialect: &'static dyn Dialect,
    chat: &Chat,
    (backend, model): (&dyn Backend, Option<&str>),
    thread: &Thread,
) -> Result<(), Fault> {
    let server = call.server.clone();
    let first = request(chat, backend, model, thread);
    let mut tasks = server.tasks(&call.who, &first, thread.session.as_ref())?;
    for (backend, model) in stand_ins(&server, chat, backend, model)? {
        let request = request(chat, &*backend, model.as_deref(), thread);
        tasks.extend(server.tasks(&call.who, &request, thread.session.as_ref())?);
    }
    for task in &mut tasks {
        // A chat client does not expect its completion to edit files.
        task.tools = server.config.server.api_tools;
        task.session = thread.session.as_ref().map(|session| Continue {
            id: session.id.clone(),
            patience: Some(Duration::ZERO),
            replay: false,
        });
        task.hidden = thread.session.is_none();
    }
    server.engine.prepare(&tasks[0])?;
    let (who, cancel) = (call.who.clone(), call.cancel()?);
    let run = Run::new(world::random_id()?, who.route, who.client.clone(), who.owner(), cancel.clone());
    let run = server.runs.add(run);
    let control = server.control(&who, &first, cancel, chat.stream);
    let work = Work { server: &server, who: &who, run: &run, streamed: chat.stream, keeps_answer: true };
    let stamp = Stamp { id: world::random_id()?, created: world::now().0 };
    let asked = Asked { chat, dialect, stamp: &stamp, work: &work, control: &control, thread };
    if chat.stream { asked.stream(call, tasks) } else { asked.whole(call, tasks) }
}

/// Who is asked when the backend cannot answer for now, by the configuration. A model's name means something there only
/// when it is an alias.
fn stand_ins(
    server: &Server,
    chat: &Chat,
    first: &dyn Backend,
    model: Option<&str>,
) -> Result<Vec<Asking>, Fault> {
    let mut all = Vec::new();
    for word in &server.config.unified_flags.fallback {
        let (name, own_model) = backend_and_model(word);
        let backend = server.engine.registry.get(name)?;
        let is_alias = |model: &&str| backend.models().iter().any(|(alias, _)| alias == model);
        let model = own_model.or(model.filter(is_alias)).map(str::to_owned);
        if name != first.name() && refuse_pictures(server, chat, &*backend).is_ok() {
            all.push((backend, model));
        }
    }
    Ok(all)
}

/// A backend and the model that it is asked for.
type Asking = (Arc<dyn Backend>, Option<String>);

/// What a backend is asked, with what it cannot honour said in another way or left out: these clients cannot know who
/// answers them.
fn request(chat: &Chat, backend: &dyn Backend, model: Option<&str>, thread: &Thread) -> Request {
    let honours = |option: Opt| backend.honours(option).is_ok();
    let transcript::Rendered { system, prompt, images } = thread.render(chat);
    let schema = structured::schema(chat).filter(|schema| backend.takes_schema(schema));
    let instruction = structured::instruction(chat, schema.is_some());
    let system = [system, instruction].into_iter().flatten().collect::<Vec<String>>().join("\n\n");
    let (system, prompt) = match &*system {
        "" => (None, prompt),
        _ if honours(Opt::System) => (Some(system), prompt),
        // In front of the prompt it is still said.
        _ => (None, format!("{system}\n\n{prompt}")),
    };
    Request {
        backend: Some(backend.name().to_owned()),
        model: model.map(str::to_owned),
        prompt: Some(prompt),
        images: Some(images.into_iter().map(Picture::Data).collect()),
        system_prompt: system,
        json_schema: schema,
        max_tokens: chat.max_tokens.filter(|_| honours(Opt::MaxTokens)),
        effort: chat.effort.filter(|_| honours(Opt::Effort)).map(Word),
        ephemeral: Some(!thread.keeps() && honours(Opt::Ephemeral)),
        // Each stand-in has a request of its own.
        fallback: Some(Vec::new()),
        ..Request::default()
    }
}
