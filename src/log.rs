//! Where `log` goes on the command line: standard error, one line each.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mark = if record.level() <= Level::Warn { "clinvk: " } else { "" };
            // A standard error that nobody reads is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{mark}{}", record.args());
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
