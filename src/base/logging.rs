//! Where `log` goes: standard error, one line each. For people as it is; of a server with the time, or as JSON.

use crate::base::json::json;
use crate::base::printable::{safe, safe_lines};
use crate::base::sys::{self, Watch};
use crate::base::terminal;
use crate::base::time::timestamp;
use crate::base::words::words;
use crate::base::world;
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Map, Value};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a standard error that is not read may hold us up, once.
const WAIT_LIMIT: Duration = Duration::from_secs(1);
/// It had no room the last time: then nothing is waited for until it has.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Writes to standard error what finds room there: a run's limits and signals do not wait for its reader.
pub(crate) fn write(text: &str) {
    for part in text.as_bytes().chunks(sys::PIPE_ROOM) {
        let wait_limit = if STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { WAIT_LIMIT };
        let mut watch = [Watch::writable(sys::stderr_fd())];
        let has_room = sys::poll(&mut watch, wait_limit).is_ok() && watch[0].woke();
        STUCK.store(!has_room, Ordering::Relaxed);
        if !has_room || std::io::stderr().write_all(part).is_err() {
            return;
        }
    }
}

/// Writes a line, or several, to standard error. What backends say is in them, and must not speak to the terminal.
pub(crate) fn line(text: &str) {
    terminal::above(&(safe_lines(text) + "\n"));
}

words! {
    /// The lines of a server's log.
    LogFormat {
        /// Time, level, words and `name=value`.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// What a server's log has in it.
    LogLevel {
        /// Nothing.
        Off = "off",
        /// What went wrong in the server itself.
        Error = "error",
        /// And what the user should look at.
        Warn = "warn",
        /// And a line for each request and each run.
        Info = "info",
        /// And what is done.
        Debug = "debug",
    }
}

/// What is said in dialogues with backends is logged under this target: prompts are in it, and no server's log has them.
pub(crate) const DIALOGUE: &str = "dialogue";

/// The format of a server's log; none is the command line's.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if FORMAT.get().is_some() {
            if record.target() != DIALOGUE {
                entry(record.level(), &record.args().to_string(), Map::new());
            }
        } else {
            let mark = if record.level() <= Level::Warn { "clinvk: " } else { "" };
            line(&format!("{mark}{}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Logs for a server from now on: in that format, at that level.
pub(crate) fn of_server(format: LogFormat, level: LogLevel) {
    let _ = FORMAT.set(format);
    log::set_max_level(match level {
        LogLevel::Off => LevelFilter::Off,
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    });
    let _ = log::set_logger(&Stderr);
}

/// One line about something that a server did, with these facts.
pub(crate) fn record(what: &str, facts: Value) {
    if log::log_enabled!(Level::Info) {
        let Value::Object(facts) = facts else { return };
        entry(Level::Info, what, facts);
    }
}

/// One line of a server's log.
fn entry(level: Level, what: &str, facts: Map<String, Value>) {
    let time = timestamp(world::now());
    let text = match FORMAT.get() {
        Some(LogFormat::Json) => {
            let mut all = Map::from_iter([
                ("time".to_owned(), json!(time)),
                ("level".to_owned(), json!(level.as_str().to_lowercase())),
                ("message".to_owned(), json!(what)),
            ]);
            all.extend(facts);
            Value::Object(all).to_string()
        }
        Some(LogFormat::Text) | None => {
            let word = |value: &Value| match value {
                Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=', '\n']) => {
                    text.clone()
                }
                other => other.to_string(),
            };
            let facts: String =
                facts.iter().map(|(name, value)| format!(" {name}={}", word(value))).collect();
            format!("{time} {level} {what}{facts}")
        }
    };
    // What a backend says may have several lines, and none of them is one of ours.
    line(&safe(&text));
}

/// Logs for people from now on, up to that level.
pub(crate) fn to_stderr(most: LevelFilter) {
    log::set_max_level(most);
    // Only fails when one is set already, which then is this one.
    let _ = log::set_logger(&Stderr);
}
