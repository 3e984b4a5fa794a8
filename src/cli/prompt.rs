//! `clinvk PROMPT`: from the command line and the configuration to a task, and the task to its end.

use super::flags::{Name, Typed, known};
use super::input::Parts;
use super::print::{self, Out, Printer, Style};
use super::spinner::Spinner;
use super::{complain, exit, input, prompts, resume, signals};
use crate::backend::Agents;
use crate::base::logging;
use crate::base::words::Worded;
use crate::base::world::{self, World};
use crate::batch::prompt_file::PromptFile;
use crate::client::{self, Auto, Server, There};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::caller::Caller;
use crate::engine::request::{self, Picture, Request, Servers, Span, Tools, list};
use crate::engine::site::{Asked, Checked, Facts, Here, NO_SERVER, Site};
use crate::exec::{self, Cancel};
use crate::model::error::{Error, Kind};
use crate::model::fields::{Fields, Word};
use crate::model::mcp::McpSource;
use crate::model::task::OutputFormat;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    // The configuration may ask for JSON, too.
    let refuse = |format: OutputFormat, backend: Option<&str>, error: &Error| {
        print::refusal(format, backend, error);
        Ok(complain(error))
    };
    let engine = Engine::of(world, config, Agents::Known);
    let format = output_format(typed)?.unwrap_or(config.output.format);
    let (request, file) = match asked(typed, &engine.world) {
        Ok(asked) => asked,
        Err(error) => return refuse(format, typed.value(Name::Backend), &error),
    };
    let format = request.output_format.map_or(format, |Word(format)| format);
    let site = match site(typed, &engine, config) {
        Ok(site) => site,
        Err(error) => return refuse(format, request.backend.as_deref(), &error),
    };
    let checked = match check(typed, &request, file.as_ref(), &*site, &engine, config) {
        Ok(checked) => checked,
        Err(error) => {
            // Which one a session has is not known before it is found.
            let continues = typed.command == "resume" || typed.has(Name::Continue);
            let default = site.default_backend().filter(|_| !continues);
            return refuse(format, request.backend.as_deref().or(default), &error);
        }
    };
    let Facts { warnings, dry_run, .. } = checked.facts();
    if *dry_run {
        super::say(&checked.describe(format))?;
        warn(warnings);
        return Ok(0);
    }
    warn(warnings);
    if typed.has(Name::NoWait) {
        return match checked.leave() {
            Ok(id) => super::say_id(format, &id),
            Err(error) => refuse(format, request.backend.as_deref(), &error),
        };
    }
    let printed = print(typed, &engine.world.env, config, format, checked)?;
    Ok(printed.status_with(|| site.installed()))
}

pub(super) fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
}

/// A run that was printed.
pub(crate) struct Printed {
    /// The exit status that it means.
    pub(crate) status: u8,
    /// What kept *us* from it.
    pub(crate) error: Option<Error>,
    /// The session that it belongs to.
    pub(crate) session: Option<String>,
}

impl Printed {
    /// Names those who can be asked instead of one that is not installed.
    pub(crate) fn status_with(&self, installed: impl FnOnce() -> Vec<String>) -> u8 {
        // One that is there and does not start is not missing.
        let is_missing =
            |error: &Error| error.kind() == Kind::NotInstalled && !matches!(error, Error::Start { .. });
        if self.error.as_ref().is_some_and(is_missing) {
            let installed = installed();
            if !installed.is_empty() {
                logging::line(&format!("clinvk: installed are: {}", installed.join(", ")));
            }
        }
        self.status
    }
}

/// Runs what was checked, and prints it as it comes.
pub(crate) fn print(
    typed: &Typed,
    env: &BTreeMap<String, String>,
    config: &Config,
    format: OutputFormat,
    checked: Box<dyn Checked + '_>,
) -> Result<Printed, Error> {
    let Facts { backend, dir, framing, control, .. } = checked.facts();
    let verbose = log::log_enabled!(log::Level::Debug);
    let style = Style {
        format,
        raw: typed.has(Name::Raw),
        framing: *framing,
        verbose,
        show_tokens: typed.has(Name::ShowTokens) || config.output.show_tokens,
        show_timing: typed.has(Name::ShowTiming) || config.output.show_timing,
    };
    let watched = world::stderr_can_be_drawn_on() && !typed.has(Name::Quiet) && !verbose && !style.raw;
    let spinner = watched.then(|| Spinner::new(backend));
    let out = Out::new(control.clone(), super::cleaner(env, config));
    let mut printer = Printer::new(style, backend, dir, spinner, out);
    let result = checked.run(&mut printer);
    printer.check()?;
    let session = printer.session().map(str::to_owned);
    match result {
        Ok(outcome) => {
            let mut status = 0;
            for failure in outcome.session_failure.iter().chain(&outcome.failure) {
                let whose =
                    if Some(failure) == outcome.failure.as_ref() { &outcome.backend } else { "session" };
                logging::line(&format!("clinvk: {whose}: {}", failure.message));
                status = exit::status(failure.kind, outcome.exit_code);
            }
            Ok(Printed { status, error: None, session })
        }
        // A reader that closed our output has what it wanted.
        Err(Error::ReaderGone) => Ok(Printed { status: 0, error: None, session }),
        Err(error) => {
            // A user whose output is closed may still read standard error.
            let _ = printer.error(&error);
            drop(printer);
            Ok(Printed { status: complain(&error), error: Some(error), session })
        }
    }
}

/// Where what is typed is to happen.
pub(crate) enum Where<'a> {
    /// In this process.
    Here,
    /// On the server of this user's command lines.
    Auto,
    /// On the server at that address.
    At(&'a str),
}

/// Where that is, by the flag, the variable or the file. Inside of a run it is never the user's own server: whoever stops the
/// outer run would leave the inner one running.
pub(crate) fn place<'a>(typed: &'a Typed, world: &World, config: &'a Config) -> Result<Where<'a>, Error> {
    Ok(match typed.value(Name::Server).unwrap_or(&config.client.server) {
        "" => Where::Here,
        client::AUTO if exec::depth_of_run(world, 0)? > 1 => Where::Here,
        client::AUTO => Where::Auto,
        server => Where::At(server),
    })
}

/// The place where it is.
pub(crate) fn site<'a>(
    typed: &Typed,
    engine: &'a Engine,
    config: &'a Config,
) -> Result<Box<dyn Site + 'a>, Error> {
    let defaults = engine.defaults(config, None);
    let here = Here { engine, defaults };
    Ok(match place(typed, &engine.world, config)? {
        Where::Here => Box::new(here),
        Where::Auto => {
            let (server, caller) = own(typed, &engine.world)?;
            Box::new(Auto { server, caller, here })
        }
        Where::At(server) => {
            Box::new(There { server: Arc::new(Server::at(server, &engine.world)?), defaults })
        }
    })
}

/// The server of this user's command lines, and what it is told of this one.
pub(crate) fn own(typed: &Typed, world: &Arc<World>) -> Result<(Arc<Server>, Caller), Error> {
    let file = super::named_config(typed, world);
    let server = Server::own(world, file.as_deref())?;
    Ok((Arc::new(server), Caller::of(world, file.as_deref())))
}

/// All that can be refused before anything is started.
fn check<'a>(
    typed: &Typed,
    request: &Request,
    file: Option<&PromptFile>,
    site: &'a dyn Site,
    engine: &Engine,
    config: &Config,
) -> Result<Box<dyn Checked + 'a>, Error> {
    let (session, operands) = resume::chosen(typed, request, site, config.session.auto_resume)?;
    let session = session.as_ref();
    let parts = Parts::of(typed, operands, file, session, config)?;
    let wait_limit = match typed.value(Name::Wait) {
        None => Some(Duration::ZERO),
        Some("") => None,
        Some(_) => {
            let expected = "seconds or a duration such as 90s, 5m or 1h30m; 0 is not at all";
            typed.read(Name::Wait, expected, request::limit)?
        }
    };
    if typed.has(Name::NoWait) && matches!(place(typed, &engine.world, config)?, Where::Here) {
        return Err(Error::Invalid(format!("`--no-wait`: {NO_SERVER}")));
    }
    let replay = typed.has(Name::Replay);
    if session.is_none() && (typed.has(Name::Wait) || replay) {
        return Err(Error::Invalid("`--wait` and `--replay` are for a session that is continued".to_owned()));
    }
    let cancel = Cancel::new()?;
    let (lines, alone, cancel) = (typed.has(Name::Raw), typed.has(Name::NoWait), Arc::new(cancel));
    let stopped = cancel.clone();
    let asked = Asked { request, session, wait_limit, replay, lines, alone, cancel };
    let prompt = || {
        let text = parts.prompt(request.files.as_deref(), &engine.defaults(config, None))?;
        // From here on there is something to stop, wherever it is.
        signals::watch(stopped)?;
        Ok(Arc::from(text))
    };
    site.check(asked, Box::new(prompt))
}

/// What the flags ask for and, where they say nothing, the prompt file that they name.
pub(crate) fn asked(typed: &Typed, world: &World) -> Result<(Request, Option<PromptFile>), Error> {
    let (request, file) = (request(typed)?, prompts::given(typed, world)?);
    Ok(match file {
        Some(file) => (request.or(&file.options), Some(file)),
        None => (request, None),
    })
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
