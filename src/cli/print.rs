//! How a run is printed: text as it comes, one JSON object, unified events, or the backend's own lines. All are folds
//! of the same events.

use super::spinner::Spinner;
use crate::backend::Framing;
use crate::base::escapes::{Cleaner, PLAIN};
use crate::base::sys::{self, Watch};
use crate::base::terminal;
use crate::base::world;
use crate::engine::answer::Collector;
use crate::exec::{Clock, Control};
use crate::model::error::{Error, Failure};
use crate::model::event::{Event, Listener, Usage, seam};
use crate::model::outcome::Outcome;
use crate::model::task::OutputFormat;
use crate::model::unified::{Answer, Events, failure};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// What is printed where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// The format on standard output.
    pub(crate) format: OutputFormat,
    /// The backend's own lines instead.
    pub(crate) raw: bool,
    /// How those lines were cut.
    pub(crate) framing: Framing,
    /// Events on standard error too.
    pub(crate) verbose: bool,
    /// Token counts on standard error.
    pub(crate) show_tokens: bool,
    /// The time it took on standard error.
    pub(crate) show_timing: bool,
}

/// Prints a run.
pub(crate) struct Printer {
    out: Out,
    style: Style,
    spinner: Option<Spinner>,
    /// The answer so far: only JSON needs it whole.
    content: Collector,
    /// What was printed last is void.
    broken: bool,
    events: Events,
    /// Whether anything is left to say to the reader of the JSON or the events.
    finished: bool,
}

impl Printer {
    /// A printer for a run of that backend; the spinner only on a terminal.
    pub(crate) fn new(
        style: Style,
        backend: &str,
        dir: &Path,
        spinner: Option<Spinner>,
        out: Out,
    ) -> Printer {
        let events = Events::new(Some(backend), dir);
        let (content, broken, finished) = (Collector::default(), false, false);
        Printer { out, style, spinner, content, broken, events, finished }
    }

    /// Fails where standard output could not be written, and not because a reader left.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.out.check()
    }

    /// The session of ours that the run belongs to.
    pub(crate) fn session(&self) -> Option<&str> {
        self.events.session()
    }

    /// Says what *we* could not do, in the format that was asked for. The sentence for people is not printed here.
    pub(crate) fn error(&mut self, error: &Error) -> io::Result<()> {
        self.spinner = None;
        // What was under way has told it as its outcome.
        if self.finished || self.style.raw {
            return Ok(());
        }
        let line = refused(self.style.format, &mut self.events, error);
        line.map_or(Ok(()), |line| self.out.put(&(crate::base::printable::safe_json(line) + "\n")))
    }

    /// What a user at the terminal has to see at once.
    fn warning(&self, event: &Event) -> Option<String> {
        match event {
            Event::Void(characters) if self.style.format == OutputFormat::Text => {
                Some(format!("the answer broke off: the last {characters} characters above are void"))
            }
            _ => event.warning(),
        }
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.spinner = None;
        self.finished = true;
        if self.style.raw {
            return Ok(());
        }
        match self.style.format {
            OutputFormat::Text => {
                let end = if self.out.is_in_line() { "\n" } else { "" };
                self.out.put(end)
            }
            OutputFormat::Json => self.out.put_line(&Answer::of(outcome, Some(&self.content.text))),
            OutputFormat::StreamJson => {
                if let Some(failure) = failure(outcome) {
                    self.out.put_line(&self.events.error(failure))?;
                }
                let line = self.events.done(outcome);
                self.out.put_line(&line)
            }
        }?;
        if self.style.show_tokens {
            let Usage { input, output, cached, reasoning, .. } = outcome.usage;
            let line = format!("tokens: {input} in ({cached} cached), {output} out ({reasoning} reasoning)");
            crate::base::logging::line(&line);
        }
        if self.style.show_timing {
            crate::base::logging::line(&format!("time: {:.2} s", outcome.duration.as_secs_f64()));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        if std::mem::take(&mut self.broken) {
            self.out.piece(seam(text))?;
        }
        self.out.piece(text)
    }
}

/// Says, in the format that was asked for, what was refused before there was anything to run.
pub(crate) fn refusal(format: OutputFormat, backend: Option<&str>, error: &Error) {
    if let Some(line) = refused(format, &mut Events::new(backend, Path::new("")), error) {
        // A user whose output is closed may still read standard error.
        let _ = super::say(&(crate::base::printable::safe_json(line) + "\n"));
    }
}

/// What a format has for a refusal: text has nothing but the sentence on standard error.
fn refused(format: OutputFormat, events: &mut Events, error: &Error) -> Option<String> {
    match format {
        OutputFormat::Text => None,
        OutputFormat::Json => serde_json::to_string(&Answer::refused(events.backend(), error)).ok(),
        OutputFormat::StreamJson => Some(events.error(&Failure::from(error)).to_string()),
    }
}

impl Listener for Printer {
    fn begin(&mut self, backend: &str, session: Option<&str>) -> io::Result<()> {
        self.events.begin(backend, session);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match (event, self.style.framing) {
            (Event::Line(line), Framing::Pieces) => return self.out.raw(line),
            (Event::Line(line), Framing::Lines) => return self.out.raw(&format!("{line}\n")),
            (Event::Done(outcome), _) => return self.done(outcome),
            _ => {}
        }
        let streams = self.style.format == OutputFormat::StreamJson && !self.style.raw;
        let line = (self.style.verbose || streams).then(|| self.events.next(event));
        if let (Some(line), true) = (&line, self.style.verbose) {
            log::debug!("event {line}");
        } else if let Some(warning) = self.warning(event) {
            if let Some(spinner) = &mut self.spinner {
                spinner.clear();
            }
            log::warn!("{warning}");
        }
        if let Some(spinner) = &mut self.spinner {
            spinner.hear(event);
        }
        if matches!(event, Event::Text(_)) {
            self.spinner = None;
        }
        if self.style.raw {
            return Ok(());
        }
        match (line, event) {
            (Some(line), _) if streams => self.out.put_line(&line),
            _ if self.style.format == OutputFormat::Json => self.content.add(event),
            (_, Event::Text(text)) => self.text(text),
            (_, Event::Void(_)) => {
                self.broken = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn idle(&mut self) -> io::Result<()> {
        if let Some(spinner) = &mut self.spinner {
            spinner.turn();
        }
        self.out.look()
    }
}

/// Standard output, without a buffer: a token is seen when it is there. A reader that does not read holds up the run, but
/// not its end.
pub(crate) struct Out {
    control: Control,
    /// Where it is a terminal.
    cleaner: Option<Cleaner>,
    clock: Clock,
    failed: Option<io::Error>,
    /// What was written last has no line's end.
    in_line: bool,
    /// Standard error is written to the same terminal.
    shares_terminal: bool,
}

/// How often a writer that is held up looks around.
const LOOK: Duration = Duration::from_millis(100);

impl Out {
    /// For runs with these limits.
    pub(crate) fn new(control: Control, cleaner: Option<Cleaner>) -> Out {
        let shares_terminal = world::stdout_is_terminal() && world::stderr_is_terminal();
        Out { control, cleaner, clock: Clock::start(), failed: None, in_line: false, shares_terminal }
    }

    /// Whether the last line has no end yet. What is said on standard error ends it on a terminal.
    pub(crate) fn is_in_line(&self) -> bool {
        if self.shares_terminal { terminal::is_in_line() } else { self.in_line }
    }

    /// Fails where standard output could not be written, and not because a reader left.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), |error| Err(super::unwritable(error)))
    }

    /// A reader that left is noticed before the next write, too.
    pub(crate) fn look(&self) -> io::Result<()> {
        let mut watch = [Watch::other_side_gone(sys::stdout_fd())];
        sys::poll(&mut watch, Duration::ZERO)?;
        if watch[0].woke() { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Writes a text, or its last piece.
    pub(crate) fn put(&mut self, text: &str) -> io::Result<()> {
        match &mut self.cleaner {
            Some(cleaner) => {
                let text = cleaner.piece(text) + &cleaner.end();
                self.raw(&text)
            }
            None => self.raw(text),
        }
    }

    /// Writes a piece of a text that goes on.
    pub(crate) fn piece(&mut self, text: &str) -> io::Result<()> {
        match &mut self.cleaner {
            Some(cleaner) => {
                let text = cleaner.piece(text);
                self.raw(&text)
            }
            None => self.raw(text),
        }
    }

    /// Writes a text as it is, to a terminal too.
    pub(crate) fn raw(&mut self, text: &str) -> io::Result<()> {
        let result = self.write_all(text.as_bytes());
        // The end of a colour moves nothing.
        let seen = text.trim_end_matches(PLAIN);
        if !seen.is_empty() {
            self.in_line = !seen.ends_with('\n');
        }
        if self.shares_terminal {
            terminal::printed(seen);
        }
        if let Err(error) = &result {
            if error.kind() != ErrorKind::BrokenPipe {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        }
        result
    }

    /// Writes a value as a line of JSON.
    pub(crate) fn put_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = crate::base::printable::safe_json(serde_json::to_string(value)?) + "\n";
        self.put(&line)
    }

    /// Waits for the reader, but no longer than the run may take and a grace.
    fn wait_for_room(&self) -> io::Result<()> {
        let mut over_since = None;
        loop {
            let mut watch = [Watch::writable(sys::stdout_fd())];
            sys::poll(&mut watch, LOOK)?;
            if watch[0].woke() {
                return Ok(());
            }
            let Control { wall, grace, cancel, .. } = &self.control;
            let now = self.clock.ran();
            let is_over = cancel.is_thrown() || (!wall.is_zero() && now >= *wall);
            if is_over && (cancel.is_urgent() || now >= *over_since.get_or_insert(now) + *grace) {
                return Err(ErrorKind::BrokenPipe.into());
            }
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(sys::PIPE_ROOM)];
        loop {
            self.wait_for_room()?;
            match sys::Stdout.write(part) {
                // Another program has set it to O_NONBLOCK, and was faster.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
