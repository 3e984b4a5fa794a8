//! The command line: the only part that prints. One file a command; the flag table feeds them all.

mod batch;
mod chain;
mod compare;
mod config;
mod exit;
mod flags;
mod help;
mod input;
mod map;
mod parallel;
mod print;
mod progress;
mod prompt;
mod resume;
mod serve;
mod sessions;
mod signals;
mod spinner;
mod table;
mod version;

use crate::backend::echo;
use crate::base::world::{self, World};
use crate::config::Config;
use crate::model::error::Error;
use flags::Typed;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

pub use flags::{COMMANDS, FLAGS};
pub use table::{safe, safe_lines};

/// Runs the process' own command line.
#[allow(clippy::disallowed_methods)] // the arguments are the one thing that the command line reads itself
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    // The other half of the echo backend: no flags, no configuration, nothing that could fail before it starts.
    if words.next_if(|word| word == echo::COMMAND).is_some() {
        let options: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return end(echo::repeat(&options, &mut io::stdin().lock(), &mut io::stdout().lock()));
    }
    end(flags::parse(words).and_then(|typed| dispatch(&typed)))
}

/// Prints the error there is, and turns it into an exit status.
fn end(result: Result<u8, Error>) -> ExitCode {
    let status = result.unwrap_or_else(|error| {
        crate::base::logging::line(&format!("clinvk: {error}"));
        exit::status(error.kind(), 0)
    });
    signals::pass_on(status);
    ExitCode::from(status)
}

fn dispatch(typed: &Typed) -> Result<u8, Error> {
    if typed.has("help") {
        return say(&help::of(typed.command)?);
    }
    let most = match typed.command {
        "help" => 1,
        "version" => 0,
        _ => usize::MAX,
    };
    if let Some(word) = typed.operands.get(most) {
        return Err(Error::Invalid(format!("`{}` takes no `{word}`: see `clinvk {0} -h`", typed.command)));
    }
    match typed.command {
        "help" => say(&help::of(typed.operands.first().map_or("", String::as_str))?),
        "version" => say(&version::text(typed.has("json"))),
        "" if typed.operands.is_empty() && world::stdin_is_terminal() && !typed.has("file") => {
            say(help::SHORT).map(|_| 0)
        }
        command => {
            let world = World::read()?;
            let debug =
                world.env.get("CLINVK_DEBUG").is_some_and(|debug| !matches!(&**debug, "" | "0" | "false"));
            crate::base::logging::to_stderr(typed.has("verbose") || debug, typed.has("quiet"));
            let explicit = typed.value("config").or(world.env.get("CLINVK_CONFIG").map(String::as_str));
            let explicit = explicit.filter(|path| !path.is_empty()).map(PathBuf::from);
            if command == "config" {
                return say(&config::run(typed, &world, explicit.as_deref())?);
            }
            let loaded = Config::load(&world.home, explicit.as_deref(), &world.env)?;
            if loaded.config.unified_flags.verbose && !typed.has("quiet") {
                crate::base::logging::to_stderr(true, false);
            }
            loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            match command {
                "sessions" => sessions::run(typed, &world, &loaded.config),
                "parallel" => parallel::run(typed, world, &loaded.config),
                "map" => map::run(typed, world, &loaded.config),
                "compare" => compare::run(typed, world, &loaded.config),
                "chain" => chain::run(typed, world, &loaded.config),
                "serve" => serve::run(typed, world, &loaded.config),
                _ => prompt::run(typed, world, &loaded.config),
            }
        }
    }
}

/// Prints JSON for people and programs alike.
fn say_json(value: &serde_json::Value) -> Result<u8, Error> {
    say(&table::safe_json(format!("{value:#}\n")))
}

/// Prints a whole text on standard output. A reader that left early is no error.
fn say(text: &str) -> Result<u8, Error> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::File { verb: "write", path: "standard output".into(), error })
        }
        _ => Ok(0),
    }
}
