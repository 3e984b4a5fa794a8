//! Where `log` goes on the command line: standard error, one line each; and on a terminal, below these, lines that are
//! drawn over and over.

use crate::cli::safe_lines;
use crate::exec::lock;
use crate::sys::{self, Watch};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::Mutex;
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
    let live = lock(&LIVE);
    write(&format!("{}{}\n{}", live.erasing(), safe_lines(text), live.text));
}

/// What is drawn at the bottom of the terminal.
static LIVE: Mutex<Live> = Mutex::new(Live { text: String::new(), widths: Vec::new() });

struct Live {
    text: String,
    /// How many columns each of its lines takes.
    widths: Vec<usize>,
}

impl Live {
    /// Back to the beginning of what is drawn, and nothing behind it.
    fn erasing(&self) -> String {
        let up = self.back();
        if self.widths.is_empty() { up } else { up + "\x1b[J" }
    }

    /// Back to the beginning of what is drawn. In a terminal that has become narrower since, a line is several rows.
    fn back(&self) -> String {
        let (_, columns) = sys::terminal_size();
        match self.widths.iter().map(|width| width.div_ceil(columns).max(1)).sum::<usize>() {
            0 => String::new(),
            rows => format!("\r\x1b[{rows}A"),
        }
    }
}

/// Draws lines at the bottom of the terminal, in the place of those that are drawn there: text, and the columns that it
/// takes. One write, and nothing is erased that stays, so that nothing flickers.
pub fn draw(lines: &[(String, usize)]) {
    let mut live = lock(&LIVE);
    let text: String = lines.iter().map(|(line, _)| format!("{line}\x1b[K\n")).collect();
    let rest = if live.widths.is_empty() { "" } else { "\x1b[J" };
    if text != live.text {
        write(&format!("{}{text}{rest}", live.back()));
    }
    live.widths = lines.iter().map(|(_, width)| *width).collect();
    live.text = text;
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
