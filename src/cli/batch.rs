//! What `parallel`, `map`, `compare` and `chain` have in common: what they are given, how their runs are shown and
//! printed, and the exit status that they come to.

use super::flags::{Name, Typed};
use super::print::Out;
use super::progress::{Progress, Show};
use super::prompt::{self, Where};
use super::{asks_json, complain, exit, signals};
use crate::backend::{Agents, Trust};
use crate::base::sync::lock;
use crate::base::sys;
use crate::base::text;
use crate::base::world::{self, World};
use crate::batch::place::{Here, Place};
use crate::batch::prompt_file::PromptFile;
use crate::batch::{Batch, Finished, Folder, Label, Observer, Report, Runner, State, Workers};
use crate::client::{Auto, Server, There};
use crate::config::{Config, agents};
use crate::engine::Engine;
use crate::engine::caller::Caller;
use crate::engine::dry_run::{self, Reader};
use crate::engine::fallback::Attempts;
use crate::engine::request::{Defaults, Request};
use crate::exec::{Cancel, Control};
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Listener};
use crate::model::fields::Word;
use crate::model::outcome::Outcome;
use crate::model::task::{OutputFormat, Task};
use crate::model::unified::NOT_SAVED;
use crate::session::Session;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// What a batch needs, before it is known what is to be run.
pub(crate) struct Ready<'a> {
    pub(crate) engine: Engine,
    typed: &'a Typed,
    /// With the server's default backend, where runs happen there.
    config: Cow<'a, Config>,
    /// The server where runs happen, and what it is told of this process where it is the user's own.
    server: Option<(Arc<Server>, Option<Caller>)>,
    /// The prompt file that the command line names.
    pub(crate) file: Option<PromptFile>,
    /// Text files that go with every prompt. Where the flag is a list's or a plan's, only those of the prompt file.
    pub(crate) files: Vec<String>,
    /// What the flags ask of every run, and the prompt file.
    given: Request,
    format: Option<OutputFormat>,
    cancel: Arc<Cancel>,
    retries: u32,
}

impl<'a> Ready<'a> {
    /// From the flags that all four commands have.
    pub(crate) fn new(typed: &'a Typed, world: World, config: &'a Config) -> Result<Ready<'a>, Error> {
        let (mut given, file) = prompt::asked(typed, &world)?;
        if typed.command != "compare" {
            given.files = file.as_ref().and_then(|file| file.options.files.clone());
        }
        if typed.has(Name::KeepSessions) {
            given.ephemeral = None;
        }
        let files = given.files.take().unwrap_or_default();
        let format = given.output_format.take().map(|Word(format)| format);
        let cancel = Cancel::new()?;
        let via = typed.value(Name::Via).map(|via| through(via, config)).transpose()?;
        let config = via.map_or(Cow::Borrowed(config), Cow::Owned);
        let retries = typed.read(Name::Retry, "a whole number", |word| word.parse().ok())?.unwrap_or(0);
        let engine = Engine::of(world, &config, Agents::Known);
        let place = prompt::place(typed, &engine.world, &config)?;
        if typed.has(Name::Via) && !matches!(place, Where::Here) {
            let sentence =
                "`--via` is for runs that this command starts: those of a server have its launchers";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let server = match place {
            Where::Here => None,
            Where::Auto => Some(prompt::own(typed, &engine.world))
                .transpose()?
                .map(|(server, caller)| (server, Some(caller))),
            Where::At(server) => Some((Arc::new(Server::at(server, &engine.world)?), None)),
        };
        let config = match server.as_ref().and_then(|(server, _)| server.default_backend()) {
            Some(default) => {
                Cow::Owned(Config { default_backend: default.to_owned(), ..config.into_owned() })
            }
            None => config,
        };
        let cancel = Arc::new(cancel);
        Ok(Ready { engine, typed, config, server, file, files, given, format, cancel, retries })
    }

    /// What requests are completed from.
    pub(crate) fn defaults(&self) -> Defaults<'_> {
        self.engine.defaults(&self.config, None)
    }

    /// Where runs happen.
    pub(crate) fn place(&self) -> Box<dyn Place + '_> {
        let here = Here { engine: &self.engine, runner: self };
        match self.server.clone() {
            None => Box::new(here),
            Some((server, Some(caller))) => Box::new(Auto { server, caller, here }),
            Some((server, None)) => Box::new(There { server, defaults: self.defaults() }),
        }
    }

    /// Everything is ready: from now on signals stop the runs, and each may have the descriptors that it needs. Returns
    /// standard output, as long as the batch is not stopped.
    pub(crate) fn begin(&self) -> Result<Out, Error> {
        if let Err(error) = sys::raise_open_files() {
            log::debug!("the limit of open files stays as it is: {error}");
        }
        signals::watch(self.cancel.clone())?;
        let cleaner = super::cleaner(&self.engine.world.env, &self.config);
        Ok(Out::new(Control::with(self.cancel.clone()), cleaner))
    }

    /// Runs a batch: its results are printed by `print`, its progress is shown. `planned`: how many runs there will be.
    pub(crate) fn run<'b>(
        &'b self,
        out: Out,
        planned: Option<usize>,
        folder: Option<&'b Folder>,
        print: &'b mut Print<'b>,
        run: impl FnOnce(&Batch<'_>) -> Result<Report, Error>,
    ) -> Result<(Report, Out), Error> {
        let progress = Progress::new(self.show(), planned);
        let shares_terminal = world::stdout_is_terminal();
        let screen = Screen { progress, out: Mutex::new((out, print)), shares_terminal };
        let place = self.place();
        let report = run(&Batch {
            defaults: self.defaults(),
            given: &self.given,
            folder,
            keep_sessions: self.typed.has(Name::KeepSessions),
            retries: self.retries,
            place: &*place,
            observer: &screen,
            cancel: &self.cancel,
        });
        screen.progress.clear();
        let (out, _) = screen.out.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((report?, out))
    }

    /// Where results are kept: `--resume`, `--output-dir`, or what the plan says. A dry run keeps nothing.
    pub(crate) fn folder(
        &self,
        planned: Option<&str>,
        prefix: &'static str,
    ) -> Result<Option<Folder>, Error> {
        let (resume, output) = (self.typed.value(Name::Resume), self.typed.value(Name::OutputDir));
        if resume.is_some() && output.is_some() && resume != output {
            let sentence =
                "`--resume` and `--output-dir` name two directories: results are kept where they were";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        let is_dry_run = self.given.dry_run.unwrap_or(self.config.unified_flags.dry_run);
        let Some(dir) = resume.or(output).or(planned).filter(|_| !is_dry_run) else { return Ok(None) };
        let folder = Folder::open(&self.engine.world.cwd.join(dir), prefix)?;
        Ok(Some(if resume.is_some() { folder.resumed() } else { folder }))
    }

    /// How many at once: the flag, what the plan says, the configuration.
    pub(crate) fn workers(&self, planned: Option<Workers>) -> Result<Workers, Error> {
        let Some(word) = self.typed.value(Name::MaxParallel) else {
            return Ok(planned.unwrap_or(Workers(self.config.parallel.max_workers)));
        };
        let number = word.parse().map_err(|_| "expected a whole number from 1 to 1024".to_owned());
        number.and_then(Workers::of).map_err(|why| Error::Invalid(format!("`--max-parallel {word}`: {why}")))
    }

    /// How progress is shown. A program that asked for JSON may read both outputs as one: it gets no lines between.
    pub(crate) fn show(&self) -> Show {
        if self.typed.has(Name::Quiet) {
            Show::Nothing
        } else if world::stderr_can_be_drawn_on() && !log::log_enabled!(log::Level::Debug) {
            Show::Live(self.has_colours())
        } else if asks_json(self.typed) || self.format == Some(OutputFormat::Json) {
            Show::Nothing
        } else {
            Show::Lines
        }
    }

    /// Results are JSON.
    pub(crate) fn wants_json(&self) -> Result<bool, Error> {
        wants_json(self.typed, self.format)
    }

    /// Colours are wanted, where there is a terminal.
    pub(crate) fn has_colours(&self) -> bool {
        super::has_colours(&self.engine.world.env, &self.config)
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

    fn rehearse(&self, task: Task, session: Option<&Session>) -> Result<String, Error> {
        let prepared = self.engine.prepare(task, session)?;
        let program = self.engine.locate(&*prepared.backend, Trust::Found);
        Ok(dry_run::text(&prepared, program.as_deref(), Reader::Owner))
    }
}

/// The configuration with this command, whose words stand between blanks, as the launcher of every backend.
fn through(command: &str, config: &Config) -> Result<Config, Error> {
    let launcher: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if launcher.is_empty() {
        return Err(Error::Invalid("`--via` is empty: what is to start the backends' programs?".to_owned()));
    }
    let mut config = config.clone();
    for agent in agents::names() {
        let known = || agents::find(agent).map(|agent| agent.config.clone()).unwrap_or_default();
        config.backends.entry(agent.to_owned()).or_insert_with(known);
    }
    for part in config.backends.values_mut() {
        // A type that is configured is that of the launcher that is configured.
        (part.launcher, part.launcher_type) = (launcher.clone(), None);
    }
    Ok(config)
}

/// What standard input is called in messages.
pub(crate) const STANDARD_INPUT: &str = "standard input";

/// The text of `--file`, of `-`, or of what is piped in; and what to call it in messages.
pub(crate) fn plan_text(typed: &Typed, world: &World, what: &str) -> Result<(String, String), Error> {
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
    let mut bytes = Vec::new();
    match file {
        Some(file) => File::open(world.cwd.join(file)).and_then(|mut file| file.read_to_end(&mut bytes)),
        None => sys::Waiting(io::stdin().lock()).read_to_end(&mut bytes),
    }
    .map_err(|error| Error::File { verb: "read", path: name.into(), error })?;
    let text = text::of(bytes).map_err(|_| Error::Invalid(format!("{name} is not valid UTF-8")))?;
    Ok((text, name.to_owned()))
}

/// Prints a result.
type Print<'a> = dyn FnMut(&mut Out, Finished) -> io::Result<()> + Send + 'a;

/// Shows progress, and hands the results on to be printed.
struct Screen<'a> {
    progress: Progress,
    /// Where results are printed. The thread that holds it is the only one that writes to the terminal.
    out: Mutex<(Out, &'a mut Print<'a>)>,
    shares_terminal: bool,
}

impl Observer for Screen<'_> {
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
        // All other warnings were events, and told when they came.
        let unsaved = finished.outcome.warnings.iter().filter(|warning| warning.starts_with(NOT_SAVED));
        unsaved.for_each(|warning| log::warn!("[{}] {warning}", finished.label.index + 1));
        let mut out = lock(&self.out);
        if self.shares_terminal {
            self.progress.clear();
        }
        let (out, print) = &mut *out;
        print(out, finished)
    }
}

/// What a batch comes to: the exit status, or what broke it.
pub(crate) fn status(report: Report, out: &mut Out) -> Result<u8, Error> {
    let totals = report.totals;
    out.check()?;
    Ok(match report.broken {
        // A reader that closed our output has what it wanted.
        Some(Error::ReaderGone) => 0,
        Some(error) => complain(&error),
        None if report.cancelled => exit::status(Kind::Cancelled, 0),
        None if totals.completed == totals.all() => 0,
        None if totals.completed == 0 && totals.failed > 0 && totals.unavailable == totals.failed => {
            exit::status(Kind::NotInstalled, 0)
        }
        None => 1,
    })
}

/// How a result that is no success is called: `failed: the reason`.
pub(crate) fn problem(finished: &Finished) -> Option<String> {
    let Failure { message, .. } = finished.outcome.failure.as_ref()?;
    Some(match finished.state {
        State::Cancelled if message == "cancelled" => message.clone(),
        state => format!("{}: {message}", state.word()),
    })
}

/// Results are JSON: `--json`, or `-o json`. Other formats have no meaning for several runs.
pub(crate) fn wants_json(typed: &Typed, format: Option<OutputFormat>) -> Result<bool, Error> {
    let command = typed.command;
    match format {
        Some(OutputFormat::Json) if typed.has(Name::Jsonl) => {
            Err(Error::Invalid("`--json` and `--jsonl` exclude each other".to_owned()))
        }
        Some(OutputFormat::StreamJson) => {
            Err(Error::Invalid(format!("`{command}` prints no unified events: `--json` prints its results")))
        }
        Some(OutputFormat::Text) if command == "map" => {
            Err(Error::Invalid("`map` prints JSON, a line for each item".to_owned()))
        }
        format => Ok(format == Some(OutputFormat::Json)),
    }
}
