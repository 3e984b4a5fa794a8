//! `clinvk PROMPT`: from the command line and the configuration to a task, and the task to its end.

use super::flags::{Typed, prompt_operand};
use super::print::{self, Printer, Style};
use super::spinner::Spinner;
use super::{dry_run, exit, input, resume, signals};
use crate::backend::Registry;
use crate::config::{BackendConfig, Config};
use crate::engine::{Engine, Prepared};
use crate::error::Error;
use crate::exec::Control;
use crate::session::{Keep, Store};
use crate::task::{Approval, Continue, Effort, OutputFormat, Sandbox, Task};
use crate::world::{self, World};
use std::sync::Arc;
use std::time::Duration;

/// Runs it. Everything is printed; the exit status is returned.
///
/// # Errors
/// What *we* could not do, before a printer was there to say it.
pub fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let format = format(typed, config)?;
    // Which one a session has is not known before it is found.
    let continues = typed.command == "resume" || typed.has("continue");
    let backend = typed.value("backend").or((!continues).then_some(&*config.default_backend));
    let (task, engine, prepared, control) =
        ready(typed, world, config).inspect_err(|error| print::refusal(format, backend, error))?;
    if typed.has("dry-run") || config.unified_flags.dry_run {
        let program = engine.locate(&*prepared.backend, true);
        let text = dry_run::describe(&prepared, program.as_deref(), format);
        super::say(&text)?;
        prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        return Ok(0);
    }
    prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    signals::watch(control.cancel.clone()).map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let verbose = log::log_enabled!(log::Level::Debug);
    let style = Style {
        format,
        raw: typed.has("raw"),
        framing: prepared.launch.framing,
        verbose,
        show_tokens: typed.has("show-tokens") || config.output.show_tokens,
        show_timing: typed.has("show-timing") || config.output.show_timing,
    };
    let watched = world::stderr_is_terminal() && !typed.has("quiet") && !verbose && !style.raw;
    let spinner = watched.then(|| Spinner::new(&task.backend));
    let mut printer = Printer::new(style, &task.backend, &task.dir, spinner, &control);
    let result = engine.run(&task, &control, &mut printer);
    if let Some(error) = printer.take_failure() {
        return Err(Error::File { verb: "write", path: "standard output".into(), error });
    }
    match result {
        Ok(outcome) => {
            let mut status = 0;
            for failure in outcome.session_failure.iter().chain(&outcome.failure) {
                let whose =
                    if Some(failure) == outcome.failure.as_ref() { &outcome.backend } else { "session" };
                crate::log::line(&format!("clinvk: {whose}: {}", failure.message));
                status = exit::status(failure.kind, outcome.exit_code);
            }
            Ok(status)
        }
        // Whoever closed our output has what it wanted.
        Err(Error::ReaderGone) => Ok(0),
        Err(error) => {
            // Whoever does not read that may still read standard error.
            let _ = printer.error(&error);
            drop(printer);
            Err(error)
        }
    }
}

/// All that can be refused before anything is started.
fn ready(typed: &Typed, world: World, config: &Config) -> Result<(Task, Engine, Prepared, Control), Error> {
    let store = Store::at(&world.home);
    let task = task(typed, &world, config, &store)?;
    let (registry, disabled) = Registry::of(config, &world.exe.to_string_lossy());
    let keep = Keep { turns: config.session.store_turns, tokens: config.session.store_token_usage };
    let replay_limit = config.session.replay_limit;
    let engine = Engine { store, keep, replay_limit, registry, disabled, world: Arc::new(world) };
    let prepared = engine.prepare(&task)?;
    let control = control(typed, config)?;
    Ok((task, engine, prepared, control))
}

/// The task: flags, then what the configuration says of the backend, then of all backends.
fn task(typed: &Typed, world: &World, config: &Config, store: &Store) -> Result<Task, Error> {
    let (session, operands) = resume::chosen(typed, world, store, config.session.auto_resume)?;
    let of_session = session.as_ref().map(|session| session.backend.as_str());
    let backend = typed.value("backend").or(of_session).unwrap_or(&config.default_backend).to_owned();
    let of_backend = config.backend(&backend);
    // A session keeps its model as long as it keeps its backend.
    let same = session.as_ref().filter(|session| session.backend == backend);
    let model = typed
        .value("model")
        .or(same.and_then(|session| session.model.as_deref()))
        .unwrap_or(&of_backend.model);
    let general = &config.unified_flags;
    let (argument, waits) = match operands {
        [dash] if dash == "-" && !typed.literal => (None, true),
        [prompt, dash] if dash == "-" && !typed.literal => (Some(prompt.as_str()), true),
        _ => (prompt_operand(operands, typed.literal || session.is_some())?, false),
    };
    let dir = match (&session, typed.value("workdir")) {
        (Some(session), None) if session.working_dir.is_dir() => session.working_dir.clone(),
        (Some(session), None) => {
            let why = format!(
                "its directory `{}` is gone: `-w DIR` uses another one",
                session.working_dir.display()
            );
            return Err(Error::NotResumable { id: session.id.clone(), why });
        }
        (_, given) => input::directory(&world.cwd, given.unwrap_or("."))?,
    };
    let patience = match typed.value("wait") {
        None => Some(Duration::ZERO),
        Some("") => None,
        Some(word) => Some(input::duration("wait", word)?),
    };
    if session.is_none() && (typed.has("wait") || typed.has("replay")) {
        return Err(Error::Invalid("`--wait` and `--replay` are for a session that is continued".to_owned()));
    }
    let replay = typed.has("replay");
    // The configuration's tags are for new ones.
    let of_new: &[String] = if session.is_none() { &config.session.default_tags } else { &[] };
    let tags = of_new.iter().cloned().chain(typed.values("tag").map(str::to_owned)).collect();
    let approval = word(typed, "approval", "approval mode", Approval::parse, Approval::WORDS)?;
    let sandbox = word(typed, "sandbox", "sandbox mode", Sandbox::parse, Sandbox::WORDS)?;
    let effort = word(typed, "effort", "effort", Effort::parse, Effort::WORDS)?;
    let mut task = Task {
        model: Some(model).filter(|model| !model.is_empty()).map(str::to_owned),
        dir,
        session: session.map(|session| Continue { id: session.id, patience, replay }),
        tags,
        approval: approval.or(of_backend.approval_mode).unwrap_or(general.approval_mode),
        sandbox: sandbox.or(of_backend.sandbox_mode).unwrap_or(general.sandbox_mode),
        system: typed.value("system-prompt").map(str::to_owned).or_else(|| system_prompt(of_backend)),
        append_system: typed.value("append-system-prompt").map(str::to_owned),
        max_turns: number(typed, "max-turns")?.or(Some(general.max_turns)).filter(|limit| *limit > 0),
        max_tokens: number(typed, "max-tokens")?.or(Some(general.max_tokens)).filter(|limit| *limit > 0),
        allowed_tools: match typed.value("allowed-tools") {
            Some("all") => None,
            given => given.map(list).or_else(|| of_backend.allowed_tools.clone()),
        },
        denied_tools: typed.values("denied-tools").flat_map(list).collect(),
        add_dirs: typed
            .values("add-dir")
            .map(|dir| input::directory(&world.cwd, dir))
            .collect::<Result<_, _>>()?,
        schema: typed.value("json-schema").map(input::schema).transpose()?,
        images: typed.values("image").map(input::image).collect::<Result<_, _>>()?,
        effort,
        ephemeral: typed.has("ephemeral"),
        extra: of_backend
            .extra_flags
            .iter()
            .map(String::as_str)
            .chain(typed.values("extra"))
            .map(str::to_owned)
            .collect(),
        interpret: typed.has("interpret"),
        no_project_config: typed.has("no-project-config"),
        resume: None,
        lenient: typed.has("lenient") || general.lenient,
        vendor_retries: general.vendor_retries,
        scratch: world.temp.join(format!("clinvk-{}", world::random_id()?)),
        backend,
        prompt: String::new(),
    };
    // Last, because it may wait for somebody to type: everything else has been checked by then.
    let files: Vec<&str> = typed.values("file").collect();
    task.prompt = input::prompt(argument, waits, &files)?;
    Ok(task)
}

fn system_prompt(of_backend: &BackendConfig) -> Option<String> {
    Some(of_backend.system_prompt.clone()).filter(|prompt| !prompt.is_empty())
}

/// The format on standard output.
pub fn format(typed: &Typed, config: &Config) -> Result<OutputFormat, Error> {
    let given = word(typed, "output-format", "output format", OutputFormat::parse, OutputFormat::WORDS)?;
    Ok(given.unwrap_or(config.output.format))
}

fn control(typed: &Typed, config: &Config) -> Result<Control, Error> {
    let limit = |flag: &str, secs: u64| match typed.value(flag) {
        Some(word) => input::duration(flag, word),
        None => Ok(Duration::from_secs(secs)),
    };
    let general = &config.unified_flags;
    let unlimited = Control::unlimited().map_err(|error| Error::Internal(format!("no pipe: {error}")))?;
    Ok(Control {
        wall: limit("timeout", general.command_timeout_secs)?,
        stall: limit("stall-timeout", general.stall_timeout_secs)?,
        first_byte: limit("first-byte-timeout", general.first_byte_timeout_secs)?,
        connect: Duration::from_secs(general.vendor_connect_secs),
        ..unlimited
    })
}

/// A word from a closed list.
fn word<T>(
    typed: &Typed,
    flag: &str,
    what: &'static str,
    parse: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Error> {
    let Some(given) = typed.value(flag) else { return Ok(None) };
    match parse(given) {
        Some(value) => Ok(Some(value)),
        None => {
            let known = words.iter().map(|&word| word.to_owned()).collect();
            Err(Error::Unknown { what, given: given.to_owned(), known })
        }
    }
}

fn number(typed: &Typed, flag: &str) -> Result<Option<u32>, Error> {
    let Some(word) = typed.value(flag) else { return Ok(None) };
    let wrong = |_| Error::Invalid(format!("`--{flag} {word}`: expected a whole number; 0 is no limit"));
    word.parse().map(Some).map_err(wrong)
}

fn list(words: &str) -> Vec<String> {
    words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
