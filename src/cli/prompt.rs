//! `clinvk PROMPT`: from the command line and the configuration to a task, and the task to its end.

use super::flags::{Name, Typed, known};
use super::input::Parts;
use super::print::{self, Out, Printer, Style};
use super::spinner::Spinner;
use super::{complain, exit, input, resume, signals};
use crate::backend::{Agents, Registry, Trust};
use crate::base::words::Worded;
use crate::base::world::{self, World};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::dry_run;
use crate::engine::fallback::Attempts;
use crate::engine::request::{AllDirectories, Defaults, Picture, Request, Servers, Span, Tools, list};
use crate::exec::{Cancel, Control};
use crate::model::error::Error;
use crate::model::fields::Word;
use crate::model::mcp::McpSource;
use crate::model::task::{Continue, OutputFormat};
use crate::session::{Keep, Session, Store};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let format = output_format(typed)?.unwrap_or(config.output.format);
    // Which one a session has is not known before it is found.
    let continues = typed.command == "resume" || typed.has(Name::Continue);
    let backend = typed.value(Name::Backend).or((!continues).then_some(&*config.default_backend));
    let Prompted { attempts, engine, control } = match ready(typed, world, config) {
        Ok(ready) => ready,
        Err(error) => {
            // The configuration may ask for JSON, too.
            print::refusal(format, backend, &error);
            return Ok(complain(&error));
        }
    };
    let prepared = attempts.first();
    if typed.has(Name::DryRun) || config.unified_flags.dry_run {
        let program = engine.locate(&*prepared.backend, Trust::Found);
        super::say(&dry_run::describe(prepared, program.as_deref(), format))?;
        prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        return Ok(0);
    }
    prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    signals::watch(control.cancel.clone())?;
    let verbose = log::log_enabled!(log::Level::Debug);
    let style = Style {
        format,
        raw: typed.has(Name::Raw),
        framing: prepared.launch.framing,
        verbose,
        show_tokens: typed.has(Name::ShowTokens) || config.output.show_tokens,
        show_timing: typed.has(Name::ShowTiming) || config.output.show_timing,
    };
    let watched = world::stderr_can_be_drawn_on() && !typed.has(Name::Quiet) && !verbose && !style.raw;
    let spinner = watched.then(|| Spinner::new(&prepared.task.backend));
    let out = Out::new(control.clone(), super::cleaner(&engine.world.env, config));
    let mut printer = Printer::new(style, &prepared.task.backend, &prepared.task.dir, spinner, out);
    let result = attempts.run(&engine, &control, &mut printer);
    printer.check()?;
    match result {
        Ok(outcome) => {
            let mut status = 0;
            for failure in outcome.session_failure.iter().chain(&outcome.failure) {
                let whose =
                    if Some(failure) == outcome.failure.as_ref() { &outcome.backend } else { "session" };
                crate::base::logging::line(&format!("clinvk: {whose}: {}", failure.message));
                status = exit::status(failure.kind, outcome.exit_code);
            }
            Ok(status)
        }
        // A reader that closed our output has what it wanted.
        Err(Error::ReaderGone) => Ok(0),
        Err(error) => {
            // A user whose output is closed may still read standard error.
            let _ = printer.error(&error);
            drop(printer);
            Ok(complain(&error))
        }
    }
}

/// What is run, and by what.
struct Prompted {
    attempts: Attempts,
    engine: Engine,
    control: Control,
}

/// All that can be refused before anything is started.
fn ready(typed: &Typed, world: World, config: &Config) -> Result<Prompted, Error> {
    let engine = engine(world, config, Agents::Known);
    let (session, operands) =
        resume::chosen(typed, &engine.world, &engine.store, config.session.auto_resume)?;
    let parts = Parts::of(typed, operands, session.as_ref(), config)?;
    let wait_limit = match typed.value(Name::Wait) {
        None => Some(Duration::ZERO),
        Some("") => None,
        Some(_) => input::duration(typed, Name::Wait)?,
    };
    let replay = typed.has(Name::Replay);
    if session.is_none() && (typed.has(Name::Wait) || replay) {
        return Err(Error::Invalid("`--wait` and `--replay` are for a session that is continued".to_owned()));
    }
    let request = request(typed)?;
    let defaults = defaults(&engine, config, session.as_ref());
    let mut tasks = request.tasks(&defaults, || parts.prompt(request.files.as_deref(), &defaults))?;
    for task in &mut tasks {
        task.session =
            session.as_ref().map(|session| Continue { id: session.id.clone(), wait_limit, replay });
    }
    if typed.has(Name::Raw) {
        // Lines of two backends in one output would mean nothing.
        tasks.truncate(1);
    }
    let attempts = Attempts::checked(&engine, tasks, session.as_ref())?;
    let cancel = Cancel::new().map_err(|error| Error::System { what: "make a pipe", error })?;
    let control = Control { lines: typed.has(Name::Raw), ..request.control(config, Arc::new(cancel)) };
    Ok(Prompted { attempts, engine, control })
}

/// What requests are completed from; with a session that is continued.
pub(crate) fn defaults<'a>(
    engine: &'a Engine,
    config: &'a Config,
    session: Option<&'a Session>,
) -> Defaults<'a> {
    Defaults {
        config,
        registry: &engine.registry,
        base: &engine.world.cwd,
        temp: &engine.world.temp,
        home: &engine.world.home,
        session,
        directories: &AllDirectories,
        reads_files: true,
    }
}

/// The engine of this configuration.
pub(crate) fn engine(world: World, config: &Config, agents: Agents) -> Engine {
    let (registry, disabled) = Registry::of(config, &world.exe.to_string_lossy(), agents);
    let keep = Keep { turns: config.session.store_turns, tokens: config.session.store_token_usage };
    let store = match &world.no_home {
        None => Store::at(&world.home),
        Some(why) => Store::nowhere(&world.home, why.clone()),
    };
    let replay_limit = config.session.replay_limit;
    Engine { store, keep, replay_limit, registry, disabled, world: Arc::new(world) }
}

/// What the flags ask for.
pub(crate) fn request(typed: &Typed) -> Result<Request, Error> {
    let text = |flag| typed.value(flag).map(str::to_owned);
    let texts = |flag| typed.has(flag).then(|| typed.values(flag).map(str::to_owned).collect::<Vec<_>>());
    let switch = |flag| typed.has(flag).then_some(true);
    let span = |flag| input::duration(typed, flag).map(|limit| limit.map(Span));
    Ok(Request {
        backend: text(Name::Backend),
        prompt: None,
        model: text(Name::Model),
        workdir: text(Name::Workdir),
        approval_mode: word(typed, Name::Approval, "approval mode")?,
        sandbox_mode: word(typed, Name::Sandbox, "sandbox mode")?,
        output_format: output_format(typed)?.map(Word),
        system_prompt: text(Name::SystemPrompt),
        append_system_prompt: text(Name::AppendSystemPrompt),
        max_turns: number(typed, Name::MaxTurns)?,
        max_tokens: number(typed, Name::MaxTokens)?,
        allowed_tools: typed.value(Name::AllowedTools).map(Tools::of_words),
        denied_tools: texts(Name::DeniedTools)
            .map(|words| words.iter().flat_map(|words| list(words)).collect()),
        add_dirs: texts(Name::AddDir),
        json_schema: text(Name::JsonSchema).map(Value::String),
        images: texts(Name::Image).map(|names| names.into_iter().map(Picture::File).collect()),
        files: texts(Name::File),
        effort: word(typed, Name::Effort, "effort")?,
        ephemeral: switch(Name::Ephemeral),
        extra: texts(Name::Extra),
        lenient: switch(Name::Lenient),
        interpret: switch(Name::Interpret),
        no_project_config: switch(Name::NoProjectConfig),
        mcp: servers(typed)?,
        timeout_secs: span(Name::Timeout)?,
        stall_secs: span(Name::StallTimeout)?,
        first_byte_secs: span(Name::FirstByteTimeout)?,
        fallback: text(Name::Fallback).map(|words| list(&words)),
        tags: texts(Name::Tag),
        metadata: None,
        verbose: None,
        dry_run: switch(Name::DryRun),
    })
}

fn servers(typed: &Typed) -> Result<Option<Servers>, Error> {
    let read = |word| McpSource::of_word(word).map_err(|why| Error::Invalid(format!("`--mcp`: {why}")));
    let sources = typed.values(Name::Mcp).map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(typed.has(Name::Mcp).then_some(Servers(sources)))
}

/// The format that is asked for: `--json` is `-o json`.
pub(crate) fn output_format(typed: &Typed) -> Result<Option<OutputFormat>, Error> {
    let given = word(typed, Name::OutputFormat, "output format")?;
    match given.map(|Word(format)| format) {
        Some(other @ (OutputFormat::Text | OutputFormat::StreamJson)) if typed.has(Name::Json) => {
            let sentence = format!("`--json` and `-o {}` exclude each other", other.word());
            Err(Error::Invalid(sentence))
        }
        None if typed.has(Name::Json) => Ok(Some(OutputFormat::Json)),
        given => Ok(given),
    }
}

/// A word from a closed list.
fn word<T: Worded>(typed: &Typed, flag: Name, what: &'static str) -> Result<Option<Word<T>>, Error> {
    typed.value(flag).map(|given| known(what, given).map(Word)).transpose()
}

fn number(typed: &Typed, flag: Name) -> Result<Option<u32>, Error> {
    typed.read(flag, "a whole number; 0 is no limit", |word| word.parse().ok())
}
