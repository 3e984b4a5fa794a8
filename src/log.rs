//! Where `log` goes on the command line: standard error, one line each.

use crate::cli::safe_lines;
use crate::sys::{self, Watch};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a standard error that nobody reads may hold us up, once.
const PATIENCE: Duration = Duration::from_secs(1);
/// It had no room the last time: then nothing is waited for until it has.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Writes to standard error what finds room there: a run's limits and signals do not wait for its reader.
pub fn write(text: &str) {
    for part in text.as_bytes().chunks(sys::PIPE_ROOM) {
        let patience = if STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let mut watch = [Watch::writable(sys::stderr_fd())];
        let has_room = sys::poll(&mut watch, patience).is_ok() && watch[0].woke();
        STUCK.store(!has_room, Ordering::Relaxed);
        if !has_room || std::io::stderr().write_all(part).is_err() {
            return;
        }
    }
}

/// Writes a line, or several, to standard error. What backends say is in them, and must not speak to the terminal.
pub fn line(text: &str) {
    write(&(safe_lines(text) + "\n"));
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mark = if record.level() <= Level::Warn { "clinvk: " } else { "" };
            line(&format!("{mark}{}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Logs warnings, or everything, or with `quiet` nothing, from now on.
pub fn to_stderr(verbose: bool, quiet: bool) {
    log::set_max_level(match (verbose, quiet) {
        (true, _) => LevelFilter::Debug,
        (false, true) => LevelFilter::Off,
        (false, false) => LevelFilter::Warn,
    });
    // Only fails when one is set already, which then is this one.
    let _ = log::set_logger(&Stderr);
}
