//! How a run is printed: text as it comes, one JSON object, unified events, or the backend's own lines. All are folds
//! of the same events.

use super::spinner::Spinner;
use crate::backend::Framing;
use crate::engine::{Listener, Outcome};
use crate::error::{Error, Failure};
use crate::event::{Event, Sink, Usage};
use crate::exec::{Clock, Control};
use crate::sys::{self, Watch};
use crate::task::OutputFormat;
use crate::world;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is printed where.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The format on standard output.
    pub format: OutputFormat,
    /// The backend's own lines instead.
    pub raw: bool,
    /// How those lines were cut.
    pub framing: Framing,
    /// Events on standard error too.
    pub verbose: bool,
    /// Token counts on standard error.
    pub show_tokens: bool,
    /// The time it took on standard error.
    pub show_timing: bool,
}

/// Prints a run.
pub struct Printer {
    out: Out,
    style: Style,
    spinner: Option<Spinner>,
    /// The answer so far: only JSON needs it whole.
    content: String,
    /// What the answer printed so far ends with.
    ends_with_newline: bool,
    events: Events,
    /// Whether anything is left to say to whoever reads the JSON or the events.
    finished: bool,
}

impl Printer {
    /// A printer for a run of that backend; the spinner only where somebody watches.
    pub fn new(
        style: Style,
        backend: &str,
        dir: &Path,
        spinner: Option<Spinner>,
        control: &Control,
    ) -> Printer {
        let events = Events::new(Some(backend), dir);
        let (content, ends_with_newline, finished) = (String::new(), true, false);
        let out = Out { control: control.clone(), clock: Clock::start(), failed: None };
        Printer { out, style, spinner, content, ends_with_newline, events, finished }
    }

    /// Why standard output could not be written, where that is more than a reader that left.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.out.failed.take()
    }

    /// Says what *we* could not do, in the format that was asked for. The sentence for people is not printed here.
    ///
    /// # Errors
    /// When nobody reads.
    pub fn error(&mut self, error: &Error) -> io::Result<()> {
        self.spinner = None;
        // What was under way has told it as its outcome.
        if self.finished || self.style.raw {
            return Ok(());
        }
        let line = refused(self.style.format, &mut self.events, error);
        line.map_or(Ok(()), |line| self.out.put_line(&line))
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        match self.style.format {
            OutputFormat::Text => {
                self.ends_with_newline = text.ends_with('\n');
                self.out.put(text)
            }
            OutputFormat::Json => {
                self.content.push_str(text);
                Ok(())
            }
            OutputFormat::StreamJson => Ok(()),
        }
    }
}

/// Says, in the format that was asked for, what was refused before there was anything to run.
pub fn refusal(format: OutputFormat, backend: Option<&str>, error: &Error) {
    if let Some(line) = refused(format, &mut Events::new(backend, Path::new("")), error) {
        // Whoever does not read that may still read standard error.
        let _ = writeln!(io::stdout(), "{}", super::table::safe_json(line.to_string()));
    }
}

/// What a format has for a refusal: text has nothing but the sentence on standard error.
fn refused(format: OutputFormat, events: &mut Events, error: &Error) -> Option<Value> {
    match format {
        OutputFormat::Text => None,
        OutputFormat::Json => Some(cut_answer(events.backend.as_deref(), error)),
        OutputFormat::StreamJson => Some(events.error(&Failure::from(error))),
    }
}

/// The object of `-o json` where nothing was run: the same keys.
fn cut_answer(backend: Option<&str>, error: &Error) -> Value {
    json!({
        "backend": backend,
        "model": null,
        "content": "",
        "session_id": null,
        "backend_session_id": null,
        "usage": usage(&Usage::default()),
        "cost": null,
        "duration_seconds": 0.0,
        "exit_code": null,
        "kind": error.kind().word(),
        "error": error.to_string(),
        "warnings": [],
    })
}

impl Sink for Printer {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.style.verbose {
            log::debug!("event {}", self.events.line(event));
        } else if let Event::Progress { stage, message } = event {
            if stage == "warning" {
                if let Some(spinner) = &mut self.spinner {
                    spinner.clear();
                }
                log::warn!("{message}");
            }
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
        if self.style.format == OutputFormat::StreamJson {
            let line = self.events.next(event);
            return self.out.put_line(&line);
        }
        match event {
            Event::Text(text) => self.text(text),
            _ => Ok(()),
        }
    }

    fn quiet(&mut self) -> io::Result<()> {
        if let Some(spinner) = &mut self.spinner {
            spinner.turn();
        }
        // A reader that left is noticed before the next write, too.
        let mut watch = [Watch::reader_gone(sys::stdout_fd())];
        sys::poll(&mut watch, Duration::ZERO)?;
        if watch[0].woke() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn raw(&mut self, line: &str) -> io::Result<()> {
        match (self.style.raw, self.style.framing) {
            (false, _) => Ok(()),
            (true, Framing::Pieces) => self.out.put(line),
            (true, Framing::Lines) => self.out.put(&format!("{line}\n")),
        }
    }
}

impl Listener for Printer {
    fn session(&mut self, id: &str) {
        self.events.session = Some(id.to_owned());
    }

    fn done(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.spinner = None;
        self.finished = true;
        if self.style.raw {
            return Ok(());
        }
        match self.style.format {
            OutputFormat::Text if self.ends_with_newline => Ok(()),
            OutputFormat::Text => self.out.put("\n"),
            OutputFormat::Json => self.out.put_line(&Answer::of(outcome, &self.content)),
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
            crate::log::line(&line);
        }
        if self.style.show_timing {
            crate::log::line(&format!("time: {:.2} s", outcome.duration.as_secs_f64()));
        }
        Ok(())
    }
}

/// Standard output, without a buffer: a token is seen when it is there. A reader that does not read holds up the run, but
/// not its end.
struct Out {
    control: Control,
    clock: Clock,
    failed: Option<io::Error>,
}

/// How often a writer that is held up looks around.
const LOOK: Duration = Duration::from_millis(100);

impl Out {
    fn put(&mut self, text: &str) -> io::Result<()> {
        let result = self.write(text.as_bytes());
        if let Err(error) = &result {
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed = Some(io::Error::new(error.kind(), error.to_string()));
            }
        }
        result
    }

    fn put_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = super::table::safe_json(serde_json::to_string(value)?) + "\n";
        self.put(&line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut out = File::from(sys::stdout_fd().try_clone_to_owned()?);
        for part in bytes.chunks(sys::PIPE_ROOM) {
            self.wait_for_room()?;
            out.write_all(part)?;
        }
        Ok(())
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
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

/// The object of `-o json`. The names are those of clinvk 0.2, and ours behind them.
#[derive(Serialize)]
struct Answer<'a> {
    backend: &'a str,
    model: &'a Option<String>,
    content: &'a str,
    session_id: Option<&'a str>,
    backend_session_id: &'a Option<String>,
    usage: Value,
    cost: Option<f64>,
    duration_seconds: f64,
    exit_code: i32,
    kind: Option<&'static str>,
    error: Option<&'a str>,
    warnings: &'a [String],
}

impl<'a> Answer<'a> {
    fn of(outcome: &'a Outcome, content: &'a str) -> Answer<'a> {
        Answer {
            backend: &outcome.backend,
            model: &outcome.model,
            content: content.trim_end_matches('\n'),
            session_id: outcome.session.as_deref(),
            backend_session_id: &outcome.backend_session,
            usage: usage(&outcome.usage),
            cost: outcome.usage.cost,
            duration_seconds: outcome.duration.as_secs_f64(),
            exit_code: outcome.exit_code,
            kind: failure(outcome).map(|failure| failure.kind.word()),
            error: failure(outcome).map(|failure| failure.message.as_str()),
            warnings: &outcome.warnings,
        }
    }
}

/// What went wrong: the run, or else the saving of its session.
fn failure(outcome: &Outcome) -> Option<&Failure> {
    outcome.failure.as_ref().or(outcome.session_failure.as_ref())
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.total(),
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    })
}

/// Makes the unified events: names and shape of clinvk 0.2.
struct Events {
    backend: Option<String>,
    working_dir: PathBuf,
    /// How often the model was asked, as far as events tell: once, and once more after each round of tools.
    turns: u64,
    /// Tools have answered, and the model has not yet.
    after_tools: bool,
    session: Option<String>,
    sequence: u64,
}

impl Events {
    fn new(backend: Option<&str>, working_dir: &Path) -> Events {
        let (backend, working_dir) = (backend.map(str::to_owned), working_dir.to_owned());
        Events { backend, working_dir, turns: 1, after_tools: false, session: None, sequence: 0 }
    }

    /// The next event, numbered.
    fn next(&mut self, event: &Event) -> Value {
        match event {
            Event::ToolResult { .. } => self.after_tools = true,
            Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. } => {
                self.turns += u64::from(std::mem::take(&mut self.after_tools));
            }
            _ => {}
        }
        let line = self.line(event);
        self.sequence += 1;
        line
    }

    fn line(&self, event: &Event) -> Value {
        match event {
            Event::Started { model, session } => self.envelope(
                "init",
                json!({"model": model, "backend_session_id": session, "working_dir": self.working_dir}),
            ),
            Event::Text(text) => {
                self.envelope("message", json!({"text": text, "role": "assistant", "is_partial": true}))
            }
            Event::Thinking(text) => self.envelope("thinking", json!({"text": text, "is_partial": true})),
            Event::ToolUse { id, name, input } => {
                self.envelope("tool_use", json!({"tool_id": id, "tool_name": name, "input": input}))
            }
            Event::ToolResult { id, name, output, is_error } => self.envelope(
                "tool_result",
                json!({"tool_id": id, "tool_name": name, "output": output, "is_error": is_error}),
            ),
            Event::Progress { stage, message } => {
                self.envelope("progress", json!({"stage": stage, "message": message}))
            }
            Event::Usage(used) => self.envelope("token_usage", usage(used)),
        }
    }

    fn error(&mut self, failure: &Failure) -> Value {
        let line = self.envelope("error", json!({"code": failure.kind.word(), "message": failure.message}));
        self.sequence += 1;
        line
    }

    fn done(&mut self, outcome: &Outcome) -> Value {
        let content = json!({
            "token_usage": usage(&outcome.usage),
            "cost": outcome.usage.cost,
            "duration": outcome.duration.as_secs_f64(),
            "turn_count": self.turns,
            "exit_code": outcome.exit_code,
            "kind": failure(outcome).map(|failure| failure.kind.word()),
            "warnings": outcome.warnings,
        });
        self.envelope("done", content)
    }

    fn envelope(&self, kind: &str, content: Value) -> Value {
        json!({
            "type": kind,
            "backend": self.backend,
            "session_id": self.session,
            "timestamp": world::timestamp(world::now()),
            "sequence": self.sequence,
            "content": content,
        })
    }
}
