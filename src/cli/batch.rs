//! What `parallel`, `map`, `compare` and `chain` have in common: what they are given, how their runs are shown and
//! printed, and the exit status that they come to.

use super::flags::{Name, Typed};
use super::print::Out;
use super::progress::{Progress, Show};
use super::{asks_json, complain, exit, prompt, signals};
use crate::base::sync::lock;
use crate::base::sys;
use crate::base::text;
use crate::base::world::{self, World};
use crate::batch::{Batch, Finished, Folder, Label, Observer, Report, Runner, State, Workers};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::dry_run::{self, Reader};
use crate::engine::fallback::Attempts;
use crate::engine::request::{AllDirectories, Defaults, Request};
use crate::exec::{Cancel, Control};
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener};
use crate::model::outcome::Outcome;
use crate::model::task::{OutputFormat, Task};
use crate::session::Session;
use std::fs;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

/// What a batch needs, before it is known what is to be run.
pub struct Ready<'a> {
    pub engine: Engine,
    pub config: &'a Config,
    /// What the flags ask of every run.
    pub given: Request,
    pub cancel: Arc<Cancel>,
    pub keep_sessions: bool,
    pub retries: u32,
}

impl<'a> Ready<'a> {
    /// From the flags that all four commands have.
    pub fn new(typed: &Typed, world: World, config: &'a Config) -> Result<Ready<'a>, Error> {
        let given = Request { files: None, output_format: None, ..prompt::request(typed)? };
        if typed.has(Name::Ephemeral) && typed.has(Name::KeepSessions) {
            let sentence = "`--ephemeral` and `--keep-sessions` exclude each other";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let cancel = Cancel::new().map_err(|error| Error::System { what: "make a pipe", error })?;
        let retries = typed.value(Name::Retry).map_or(Ok(0), |word| {
            let wrong = |_| Error::Invalid(format!("`--retry {word}`: expected a whole number"));
            word.parse::<u32>().map_err(wrong)
        })?;
        let (engine, cancel) = (prompt::engine(world, config), Arc::new(cancel));
        Ok(Ready { engine, config, given, cancel, keep_sessions: typed.has(Name::KeepSessions), retries })
    }

    /// What requests are completed from.
    pub fn defaults(&self) -> Defaults<'_> {
        Defaults {
            config: self.config,
            registry: &self.engine.registry,
            base: &self.engine.world.cwd,
            temp: &self.engine.world.temp,
            session: None,
            directories: &AllDirectories,
            reads_files: true,
        }
    }

    /// Everything is ready: from now on signals stop the runs, and each may have the descriptors that it needs.
    pub fn begin(&self) -> Result<(), Error> {
        if let Err(error) = sys::raise_open_files() {
            log::debug!("the limit of open files stays as it is: {error}");
        }
        signals::watch(self.cancel.clone())
            .map_err(|error| Error::System { what: "listen for signals", error })
    }

    /// Standard output, as long as the batch is not stopped.
    pub fn out(&self) -> Out {
        let cleaner = super::cleaner(&self.engine.world.env, self.config);
        Out::new(Control::with(self.cancel.clone()), cleaner)
    }

    /// The batch, heard by this observer.
    pub fn batch<'b>(&'b self, observer: &'b dyn Observer) -> Batch<'b> {
        Batch {
            defaults: self.defaults(),
            given: &self.given,
            store: &self.engine.store,
            keep_sessions: self.keep_sessions,
            retries: self.retries,
            runner: self,
            observer,
            cancel: &self.cancel,
        }
    }

    /// Where results are kept: `--resume`, `--output-dir`, or what the plan says. A dry run keeps nothing.
    pub fn folder(
        &self,
        typed: &Typed,
        planned: Option<&str>,
        prefix: &'static str,
    ) -> Result<Option<Folder>, Error> {
        let (resume, output) = (typed.value(Name::Resume), typed.value(Name::OutputDir));
        if resume.is_some() && output.is_some() && resume != output {
            let sentence =
                "`--resume` and `--output-dir` name two directories: results are kept where they were";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let given = self.given.dry_run.unwrap_or(self.config.unified_flags.dry_run);
        match resume.or(output).or(planned) {
            Some(dir) if !given => {
                let path = self.engine.world.cwd.join(dir);
                Folder::open(&path, prefix, resume.is_some()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How many at once: the flag, what the plan says, the configuration.
    pub fn workers(&self, typed: &Typed, planned: Option<Workers>) -> Result<Workers, Error> {
        if let Some(word) = typed.value(Name::MaxParallel) {
            let wrong = |why: String| Error::Invalid(format!("`--max-parallel {word}`: {why}"));
            let number = word.parse::<i128>();
            let number = number.map_err(|_| wrong("expected a whole number from 1 to 1024".to_owned()))?;
            return Workers::of(number).map_err(wrong);
        }
        Ok(planned.unwrap_or(Workers(self.config.parallel.max_workers)))
    }

    /// How progress is shown. A program that asked for JSON may read both outputs as one: it gets no lines between.
    pub fn show(&self, typed: &Typed) -> Show {
        if typed.has(Name::Quiet) {
            Show::Nothing
        } else if world::stderr_can_be_drawn_on() && !log::log_enabled!(log::Level::Debug) {
            Show::Live(self.has_colours())
        } else if asks_json(typed) {
            Show::Nothing
        } else {
            Show::Lines
        }
    }

    /// Colours are wanted, where there is a terminal.
    pub fn has_colours(&self) -> bool {
        super::has_colours(&self.engine.world.env, self.config)
    }
}

impl Runner for Ready<'_> {
    fn run(
        &self,
        tasks: Vec<Task>,
        session: Option<&Session>,
        control: &Control,
        listener: &mut dyn Listener,
    ) -> Result<Outcome, Error> {
        Attempts::of(&self.engine, tasks, session)?.run(&self.engine, control, listener)
    }

    fn forget(&self, session: &Session) -> Result<(), Error> {
        self.engine.forget(session)
    }

    fn rehearse(&self, task: Task, session: Option<&Session>) -> Result<String, Error> {
        let prepared = self.engine.prepare(task, session)?;
        let program = self.engine.locate(&*prepared.backend, true);
        Ok(dry_run::text(&prepared, program.as_deref(), Reader::Owner))
    }
}

/// What standard input is called in messages.
pub const STANDARD_INPUT: &str = "standard input";

/// The text of `--file`, of `-`, or of what is piped in; and what to call it in messages.
pub fn plan_text(typed: &Typed, world: &World, what: &str) -> Result<(String, String), Error> {
    let file = match (&typed.operands[..], typed.value(Name::File)) {
        ([], file) => file.filter(|file| *file != "-"),
        ([dash], None) if dash == "-" => None,
        ([word, ..], _) => {
            let sentence = format!("`{}` takes no `{word}`: its {what} are in `--file FILE`", typed.command);
            return Err(Error::Invalid(sentence));
        }
    };
    let named = typed.has(Name::File) || !typed.operands.is_empty();
    if !named && world::stdin_is_terminal() {
        let sentence = format!("where are the {what}? give `--file FILE`, or pipe them in");
        return Err(Error::Invalid(sentence));
    }
    let name = file.unwrap_or(STANDARD_INPUT);
    let fail = |error| Error::File { verb: "read", path: name.into(), error };
    let mut bytes = Vec::new();
    match file {
        Some(file) => bytes = fs::read(world.cwd.join(file)).map_err(fail)?,
        None => _ = sys::Waiting(io::stdin().lock()).read_to_end(&mut bytes).map_err(fail)?,
    }
    let text = text::of(bytes).map_err(|_| Error::Invalid(format!("{name} is not valid UTF-8")))?;
    Ok((text, name.to_owned()))
}

/// Shows progress, and hands the results on to be printed.
pub struct Screen<F> {
    progress: Progress,
    /// Where results are printed. The thread that holds it is the only one that writes to the terminal.
    out: Mutex<(Out, F)>,
    shares_terminal: bool,
}

impl<F: FnMut(&mut Out, Finished) -> io::Result<()> + Send> Screen<F> {
    /// `print` prints a result.
    pub fn new(show: Show, planned: Option<usize>, out: Out, print: F) -> Screen<F> {
        let (progress, out) = (Progress::new(show, planned), Mutex::new((out, print)));
        Screen { progress, out, shares_terminal: world::stdout_is_terminal() }
    }

    /// Nothing is shown any more. What is left can be printed there.
    pub fn end(self) -> Out {
        self.progress.clear();
        self.out.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }
}

impl<F: FnMut(&mut Out, Finished) -> io::Result<()> + Send> Observer for Screen<F> {
    fn started(&self, label: &Label) {
        self.progress.started(label);
    }

    fn begun(&self, index: usize, backend: &str, _session: Option<&str>) {
        self.progress.begun(index, backend);
    }

    fn event(&self, index: usize, event: &Event) -> io::Result<()> {
        self.progress.event(index, event);
        if let Some(warning) = event.warning() {
            log::warn!("[{}] {warning}", index + 1);
        }
        if self.out.try_lock().is_ok() {
            self.progress.draw();
        }
        Ok(())
    }

    fn idle(&self, _index: usize) -> io::Result<()> {
        // The thread that prints notices a reader that left, too.
        let Ok(out) = self.out.try_lock() else { return Ok(()) };
        self.progress.draw();
        out.0.look()
    }

    fn finished(&self, finished: Finished) -> io::Result<()> {
        self.progress.finished(&finished);
        let mut out = lock(&self.out);
        if self.shares_terminal {
            self.progress.clear();
        }
        let (out, print) = &mut *out;
        print(out, finished)
    }
}

/// What a batch comes to: the exit status, or what broke it.
pub fn status(report: Report, out: &mut Out) -> Result<u8, Error> {
    let totals = report.totals;
    if let Some(error) = out.take_failure() {
        return Err(Error::File { verb: "write", path: "standard output".into(), error });
    }
    match report.broken {
        // A reader that closed our output has what it wanted.
        Some(Error::ReaderGone) => return Ok(0),
        Some(error) => return Ok(complain(&error)),
        None => {}
    }
    Ok(if report.cancelled {
        exit::status(Kind::Cancelled, 0)
    } else if totals.completed == totals.all() {
        0
    } else if totals.completed == 0 && totals.failed > 0 && totals.unavailable == totals.failed {
        exit::status(Kind::NotInstalled, 0)
    } else {
        1
    })
}

/// How a result that is no success is called: `failed: the reason`.
pub fn problem(finished: &Finished) -> Option<String> {
    let Failure { message, .. } = finished.failure.as_ref()?;
    Some(match finished.state {
        State::Cancelled if message == "cancelled" => message.clone(),
        state => format!("{}: {message}", state.word()),
    })
}

/// Results are JSON: `--json`, or `-o json`. Other formats have no meaning for several runs.
pub fn wants_json(typed: &Typed) -> Result<bool, Error> {
    match prompt::output_format(typed)? {
        Some(OutputFormat::Json) if typed.has(Name::Jsonl) => {
            Err(Error::Invalid("`--json` and `--jsonl` exclude each other".to_owned()))
        }
        Some(OutputFormat::StreamJson) => {
            let sentence =
                format!("`{}` prints no unified events: `--json` prints its results", typed.command);
            Err(Error::Invalid(sentence))
        }
        format => Ok(format == Some(OutputFormat::Json)),
    }
}
