//! The command line: the only part that prints. One file a command, whose `run` prints everything and returns the exit
//! status; the flag table feeds them all.

mod backends;
mod batch;
mod chain;
mod chat;
mod commands;
mod completions;
mod compare;
mod config;
mod doctor;
mod exit;
mod flags;
mod help;
mod input;
mod leftovers;
mod locks;
mod map;
mod merge;
mod models;
mod parallel;
mod print;
mod progress;
mod prompt;
mod prompts;
mod resume;
mod runs;
#[cfg(feature = "serve")]
mod serve;
mod sessions;
mod signals;
mod spinner;
mod stdio;
mod table;
mod version;

use crate::backend::echo;
use crate::base::escapes::{Cleaner, Colours};
use crate::base::json::json;
use crate::base::logging;
use crate::base::printable;
use crate::base::sys;
use crate::base::world::{self, World};
use crate::config::Config;
use crate::model::error::Error;
use crate::model::task::OutputFormat;
use crate::model::unified;
use flags::Typed;
use log::LevelFilter;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub use commands::COMMANDS;
use commands::Command;
pub use flags::FLAGS;
use flags::Name;

/// Behind a command that took so long, we look for what is left of others.
const LONG: Duration = Duration::from_secs(1);

/// Runs the process' own command line.
#[allow(clippy::disallowed_methods)] // the arguments are the one thing that the command line reads itself
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    // The other half of the echo backend: no flags, no configuration, nothing that could fail before it starts.
    if words.next_if(|word| word == echo::COMMAND).is_some() {
        let options: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return end(echo::repeat(&options, &mut io::stdin().lock(), &mut io::stdout().lock()));
    }
    if words.next_if(|word| word == locks::COMMAND).is_some() {
        let name = words.next().unwrap_or_default();
        return end(locks::try_once(&name.to_string_lossy(), &mut io::stdout().lock()));
    }
    let (typed, understood) = flags::parse(words);
    end(understood.and_then(|()| dispatch(&typed)).inspect_err(|error| refuse(&typed, error)))
}

/// Says what went wrong, if anything did, and ends as the signal has it that ended the runs.
fn end(result: Result<u8, Error>) -> ExitCode {
    let status = result.unwrap_or_else(|error| complain(&error));
    signals::pass_on(status);
    ExitCode::from(status)
}

/// Says on standard error what went wrong. Returns the exit status for it.
fn complain(error: &Error) -> u8 {
    logging::line(&format!("clinvk: {error}"));
    exit::status(error.kind(), 0)
}

/// Where JSON was asked for, an error that came before anything was printed is JSON too.
fn refuse(typed: &Typed, error: &Error) {
    if !asks_json(typed) {
        return;
    }
    match typed.command {
        "" | "resume" | "chat" | "wait" => {
            let format = prompt::output_format(typed).ok().flatten().unwrap_or(OutputFormat::Json);
            print::refusal(format, typed.value(Name::Backend), error);
        }
        // A user whose output is closed may still read standard error.
        _ => _ = say(&printable::safe_json(format!("{}\n", unified::refusal(error)))),
    }
}

/// Some kind of JSON is asked for by a flag.
fn asks_json(typed: &Typed) -> bool {
    typed.has(Name::Json)
        || typed.has(Name::Jsonl)
        || matches!(prompt::output_format(typed), Ok(Some(OutputFormat::Json | OutputFormat::StreamJson)))
}

fn dispatch(typed: &Typed) -> Result<u8, Error> {
    if typed.has(Name::Help) {
        return say_help(typed, typed.what());
    }
    if typed.has(Name::Version) {
        return say_version(typed);
    }
    let most = match typed.command {
        "help" => 2,
        "version" | "chat" | "backends" | "models" | "prompts" | "doctor" | "serve" | "acp" | "mcp"
        | "runs" => 0,
        "wait" | "cancel" => 1,
        _ => usize::MAX,
    };
    if let Some(word) = typed.operands.get(most) {
        return Err(Error::Invalid(format!("`{}` takes no `{word}`: see `clinvk {0} -h`", typed.command)));
    }
    match typed.command {
        "completions" => completions::run(typed),
        "help" => say_help(typed, commands::find(&typed.operands)?),
        "version" => say_version(typed),
        "" if typed.operands.is_empty()
            && world::stdin_is_terminal()
            && !typed.has(Name::File)
            && !prompts::is_named(typed) =>
        {
            say_either(typed, help::data(typed.what()), help::SHORT)
        }
        command => {
            let world = World::read()?;
            let debug =
                world.env.get("CLINVK_DEBUG").is_some_and(|debug| !matches!(&**debug, "" | "0" | "false"));
            logging::to_stderr(match (typed.has(Name::Verbose) || debug, typed.has(Name::Quiet)) {
                (true, _) => LevelFilter::Debug,
                (false, true) => LevelFilter::Off,
                (false, false) => LevelFilter::Warn,
            });
            let explicit = named_config(typed, &world);
            // They are also for a configuration that cannot be used.
            match command {
                "config" => return config::run(typed, &world, explicit.as_deref()),
                "doctor" => return doctor::run(typed, world, explicit.as_deref()),
                _ => {}
            }
            let loaded = match (&world.no_home, &explicit) {
                (Some(_), None) => Config::of_variables(&world.env)?,
                _ => Config::load(&world.home, explicit.as_deref(), &world.env)?,
            };
            if loaded.config.unified_flags.verbose && !typed.has(Name::Quiet) {
                logging::to_stderr(LevelFilter::Debug);
            }
            loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            if !matches!(command, "sessions" | "serve") && sys::stdout_was_closed() {
                // Before it costs anything.
                return Err(closed_output());
            }
            let (since, outside) = (Instant::now(), world.clone());
            let result = match command {
                "backends" => backends::run(typed, world, &loaded.config),
                "models" => models::run(typed, world, &loaded.config),
                "prompts" => prompts::run(typed, &world),
                "sessions" => sessions::run(typed, world, &loaded.config),
                "runs" | "wait" | "cancel" => runs::run(typed, world, &loaded.config),
                "parallel" => parallel::run(typed, world, &loaded.config),
                "map" => map::run(typed, world, &loaded.config),
                "compare" => compare::run(typed, world, &loaded.config),
                "chain" => chain::run(typed, world, &loaded.config),
                "acp" => stdio::acp(typed, world, &loaded.config),
                "mcp" => stdio::mcp(typed, world, &loaded.config),
                #[cfg(feature = "serve")]
                "serve" => serve::run(typed, world, explicit.as_deref(), loaded.config),
                #[cfg(not(feature = "serve"))]
                "serve" => Err(Error::Invalid(
                    "this build has no server: it was made without the feature `serve`".to_owned(),
                )),
                "chat" => chat::run(typed, world, &loaded.config),
                "resume"
                    if typed.has(Name::Interactive)
                        && typed.operands.is_empty()
                        && !prompts::is_named(typed) =>
                {
                    chat::run(typed, world, &loaded.config)
                }
                _ => prompt::run(typed, world, &loaded.config),
            };
            // It takes some milliseconds: what was quick stays quick.
            if since.elapsed() >= LONG {
                leftovers::warn(&outside);
            }
            result
        }
    }
}

/// The configuration file that is named, by the flag or the variable.
fn named_config(typed: &Typed, world: &World) -> Option<PathBuf> {
    let named = typed.value(Name::Config).or(world.env.get("CLINVK_CONFIG").map(String::as_str));
    named.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn say_help(typed: &Typed, command: &Command) -> Result<u8, Error> {
    say_either(typed, help::data(command), &help::text(command))
}

fn say_version(typed: &Typed) -> Result<u8, Error> {
    say(&if typed.has(Name::Json) { format!("{}\n", version::data()) } else { version::text() })
}

/// Prints the data where JSON is asked for, else the text.
fn say_either(typed: &Typed, data: serde_json::Value, text: &str) -> Result<u8, Error> {
    if typed.has(Name::Json) { say_json(&data) } else { say(text) }
}

/// What keeps answers from speaking to the terminal, where they are printed on one.
fn cleaner(env: &BTreeMap<String, String>, config: &Config) -> Option<Cleaner> {
    let colours = if has_colours(env, config) { Colours::LeftIn } else { Colours::LeftOut };
    world::stdout_is_terminal().then(|| Cleaner::new(colours))
}

/// Colours are wanted, where there is a terminal, and it knows them.
fn has_colours(env: &BTreeMap<String, String>, config: &Config) -> bool {
    let forbidden = env.get("NO_COLOR").is_some_and(|word| !word.is_empty());
    config.output.color && !forbidden && world::has_escapes()
}

/// Prints JSON for people and programs alike.
fn say_json(value: &serde_json::Value) -> Result<u8, Error> {
    say(&printable::safe_json(format!("{value:#}\n")))
}

/// Prints the id of a run, for people and programs.
fn say_id(format: OutputFormat, id: &str) -> Result<u8, Error> {
    match format {
        OutputFormat::Text => say(&format!("{id}\n")),
        OutputFormat::Json | OutputFormat::StreamJson => say(&format!("{}\n", json!({"run_id": id}))),
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::File { verb: "write", path: "standard output".into(), error }
}

/// The error of writing to a standard output that was closed from the beginning.
fn closed_output() -> Error {
    unwritable(io::Error::other("it is closed"))
}

/// Prints a whole text on standard output. A reader that left early is no error; a terminal hears nothing but letters.
fn say(text: &str) -> Result<u8, Error> {
    if sys::stdout_was_closed() && !text.is_empty() {
        return Err(closed_output());
    }
    let text = match world::stdout_is_terminal() {
        true => Cow::Owned(Cleaner::new(Colours::LeftOut).piece(text)),
        false => Cow::Borrowed(text),
    };
    match sys::Waiting(sys::Stdout).write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(error)),
        _ => Ok(0),
    }
}
