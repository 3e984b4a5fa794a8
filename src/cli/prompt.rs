//! `clinvk PROMPT`: from the command line and the configuration to a task, and the task to its end.

use super::flags::{Typed, prompt_operand};
use super::print::{Printer, Style};
use super::spinner::Spinner;
use super::{dry_run, exit, input, signals};
use crate::backend::Registry;
use crate::config::{BackendConfig, Config};
use crate::engine::Engine;
use crate::error::Error;
use crate::exec::Control;
use crate::task::{Approval, Effort, OutputFormat, Sandbox, Task};
use crate::world::{self, World};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Runs it. Everything is printed; the exit status is returned.
///
/// # Errors
/// What *we* could not do, before a printer was there to say it.
pub fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let task = task(typed, &world, config)?;
    let (registry, disabled) = Registry::of(config, &world.exe.to_string_lossy());
    let engine = Engine { registry, disabled, world: Arc::new(world) };
    let prepared = engine.prepare(&task)?;
    let format = format(typed, config)?;
    if typed.has("dry-run") || config.unified_flags.dry_run {
        let program = engine.locate(&*prepared.backend, true);
        let text = dry_run::describe(&prepared, program.as_deref(), format);
        super::say(&text)?;
        prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        return Ok(0);
    }
    prepared.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    let control = control(typed, config)?;
    signals::watch(control.cancel.clone()).map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let verbose = super::is_verbose(typed);
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
    let mut printer = Printer::new(style, &task.backend, spinner);
    match engine.run(&task, &control, &mut printer) {
        Ok(outcome) => {
            let Some(failure) = &outcome.failure else { return Ok(0) };
            let _ = writeln!(std::io::stderr(), "clinvk: {}: {}", outcome.backend, failure.message);
            Ok(exit::status(failure.kind, outcome.exit_code))
        }
        // Whoever closed our output has what it wanted.
        Err(Error::ReaderGone) => Ok(0),
        Err(error) => {
            let told = printer.error(&error);
            drop(printer);
            match told {
                Ok(()) => Err(error),
                Err(_) => Ok(exit::status(error.kind(), 0)),
            }
        }
    }
}

/// The task: flags, then what the configuration says of the backend, then of all backends.
fn task(typed: &Typed, world: &World, config: &Config) -> Result<Task, Error> {
    let backend = typed.value("backend").unwrap_or(&config.default_backend).to_owned();
    let of_backend = config.backend(&backend);
    let general = &config.unified_flags;
    let (argument, waits) = match &typed.operands[..] {
        [dash] if dash == "-" => (None, true),
        [prompt, dash] if dash == "-" => (Some(prompt.as_str()), true),
        _ => (prompt_operand(typed)?, false),
    };
    let approval = word(typed, "approval", "approval mode", Approval::parse, Approval::WORDS)?;
    let sandbox = word(typed, "sandbox", "sandbox mode", Sandbox::parse, Sandbox::WORDS)?;
    let effort = word(typed, "effort", "effort", Effort::parse, Effort::WORDS)?;
    let mut task = Task {
        model: typed.value("model").or(Some(&of_backend.model)).filter(|model| !model.is_empty()).map(str::to_owned),
        dir: input::directory(&world.cwd, typed.value("workdir").unwrap_or("."))?,
        approval: approval.or(of_backend.approval_mode).unwrap_or(general.approval_mode),
        sandbox: sandbox.or(of_backend.sandbox_mode).unwrap_or(general.sandbox_mode),
        system: typed.value("system-prompt").map(str::to_owned).or_else(|| system_prompt(of_backend)),
        append_system: typed.value("append-system-prompt").map(str::to_owned),
        max_turns: number(typed, "max-turns")?.or(Some(general.max_turns)).filter(|limit| *limit > 0),
        max_tokens: number(typed, "max-tokens")?.or(Some(general.max_tokens)).filter(|limit| *limit > 0),
        allowed_tools: typed.value("allowed-tools").map(list).or_else(|| of_backend.allowed_tools.clone()),
        denied_tools: typed.values("denied-tools").flat_map(list).collect(),
        add_dirs: typed.values("add-dir").map(|dir| input::directory(&world.cwd, dir)).collect::<Result<_, _>>()?,
        schema: typed.value("json-schema").map(input::schema).transpose()?,
        images: typed.values("image").map(input::image).collect::<Result<_, _>>()?,
        effort,
        ephemeral: typed.has("ephemeral"),
        extra: of_backend.extra_flags.iter().map(String::as_str).chain(typed.values("extra")).map(str::to_owned).collect(),
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
    task.prompt = input::prompt(argument, waits, typed.values("file"))?;
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
