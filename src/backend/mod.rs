//! What a backend is: how its program is launched and what is said to it. Pure: no process, clock, environment or
//! file, so that every backend is tested by tables.

pub(crate) mod acp;
pub mod claude;
mod client_tool; // what an agent may ask its client to do
pub mod codex;
pub mod command;
pub mod echo;
pub mod gemini;
pub(crate) mod jsonrpc; // one framing for all who speak it
mod launcher; // programs that start those of backends
mod mux; // runs that share a program
mod reader; // lines of JSON, none of them lost
mod registry; // the backends there are
mod vendor; // what is known of a program

pub use crate::model::error::Ended;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::{Event, Permission, TRUNCATED};
use crate::model::task::{Approval, Sandbox, Task, TaskOption, ToolUse};
pub use client_tool::{ClientTool, ToolError, ToolReply};
pub use launcher::{Launcher, Start};
pub use mux::{Keeping, Mux, Route, Routes, Seat};
pub use registry::{Agents, Registry, Trust};
use serde_json::Value;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub use vendor::{Traces, Vendor};

/// The variable that every process of a run inherits. A clinvk inside a clinvk appends its own, so both find theirs.
pub(crate) const MARKER: &str = "CLINVK_RUN";

/// The variable that says to a run's program how many runs it is inside of.
pub(crate) const DEPTH: &str = "CLINVK_DEPTH";

/// Everything that differs from one backend to the next.
pub trait Backend: Send + Sync {
    /// The name that users type.
    fn name(&self) -> &str;

    /// What has to be installed here.
    fn program(&self) -> &str;

    /// What starts its program, where we do not.
    fn launcher(&self) -> Option<&Launcher> {
        None
    }

    /// Whether an option can be honoured; where not, why, or what to use instead.
    fn honours(&self, option: TaskOption) -> Result<(), &'static str>;

    /// The model aliases (`fast`, `balanced`, `best`) and what they stand for here; an empty name is the backend's default.
    fn models(&self) -> &[(String, String)];

    /// The beginnings of the vendor's names for its models: a request for one of these means this backend.
    fn claims(&self) -> &'static [&'static str] {
        &[]
    }

    /// It has an answer of its own. One that only repeats the prompt is left out where all backends are asked.
    fn answers(&self) -> bool {
        true
    }

    /// Whether the backend sees to it that an answer follows this schema. Vendors know less of schemas than their clients do.
    fn takes_schema(&self, _schema: &Value) -> bool {
        self.honours(TaskOption::Schema).is_ok()
    }

    /// What is known of the vendor's program; of an agent that is known by name, its row says it.
    fn vendor(&self) -> Option<&'static Vendor> {
        None
    }

    /// The variable by which the program is led to another server than its vendor's.
    fn base_url(&self) -> Option<&'static str> {
        None
    }

    /// Where the program keeps its sessions, when one that was continued can be removed again; none where there is none.
    fn vendor_sessions(&self) -> Option<VendorSessions> {
        None
    }

    /// Flags of the program's own that a task's `extra` may carry: `--name` alone, or `--name=` where a value follows
    /// (in the same word or the next).
    fn extra_flags(&self) -> &[&'static str] {
        &[]
    }

    /// What the agent's tools can reach in this task: more than its sandbox mode says, where its approval mode takes the
    /// sandbox away.
    fn reach(&self, task: &Task) -> Sandbox {
        task.sandbox
    }

    /// The arguments with which the program says its version; none where it may not be started for that.
    fn version_args(&self) -> Option<&'static [&'static str]> {
        Some(&["--version"])
    }

    /// How the program is started for this task. `task.model` is the vendor's own name here, aliases are resolved.
    ///
    /// # Errors
    /// When this task cannot be put to this backend, e.g. a prompt that is too long for it.
    fn launch(&self, task: &Task) -> Result<Launch, Error>;

    /// What is said to the program and what its lines mean.
    fn dialogue(&self, task: &Task) -> Box<dyn Dialogue>;

    /// How the program of this task is kept for further runs; none where it has to end with the run. The task is one that was
    /// launched, `task.resume` and its prompt among it.
    fn keeps(&self, _task: &Task) -> Option<Keeping> {
        None
    }

    /// Lines that a dry run puts in the child's mouth, so that the dialogue goes on to its end:
    /// `<threadId>` or `<sessionId>` stands where the child's answer goes.
    fn rehearsal(&self, _task: &Task) -> Vec<String> {
        Vec::new()
    }
}

/// Where a program keeps its sessions: files somewhere below a folder, whose names end with the session's id and `.jsonl`;
/// and its own way to remove one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VendorSessions {
    /// The program's arguments that remove a session, its id behind them; empty where the file is all there is of it.
    pub(crate) delete: &'static [&'static str],
    /// The variable that names its home.
    pub(crate) variable: &'static str,
    /// The home in the user's, where that is not set.
    pub(crate) home: &'static str,
    pub(crate) folder: &'static str,
}

/// How a program is started: plain data, compared in tests, printed by `--dry-run`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Launch {
    /// The program: a path, or a name to be found on PATH.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables that are set besides the inherited ones.
    pub env: Vec<(String, String)>,
    /// Environment variables that are not inherited.
    pub unset: Vec<String>,
    /// The directory it starts in: absolute and free of links, as `Task::dir`.
    pub dir: PathBuf,
    /// Further directories that it is told of by name, free of links like `dir`: the engine's, from the task.
    pub reach: Vec<PathBuf>,
    /// Small files that are written before and removed after the run: they live in `Task::scratch`.
    pub files: Vec<File>,
    /// The home of its own that it gets, where it needs one.
    pub overlay: Option<Overlay>,
    /// What the program, which is a launcher then, starts in its turn, and how.
    pub start: Option<Start>,
    /// How its output is cut.
    pub framing: Framing,
    /// What it is told first when it has to stop.
    pub stop: StopSignal,
    /// The vendor's model has to give a sign of life within `vendor_connect_secs`.
    pub model_is_remote: bool,
}

/// A small file that a program needs for one run. It is written with mode 0600.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Below `Task::scratch`.
    pub path: PathBuf,
    pub text: String,
}

/// A home for one run, for a program that keeps settings, sessions and logins in the user's and takes them from nowhere
/// else: it has links to all that is in the user's, except what the run must have to itself. `Launch::files` in it take
/// the place of the user's. It is made before and removed after the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    /// The home, below `Task::scratch`.
    pub home: PathBuf,
    /// An empty directory for short-lived files, below `Task::scratch` too.
    pub temp: PathBuf,
    /// The variable by which the program finds a home. When the user has set it, that one is meant, else `HOME`.
    pub(crate) variable: &'static str,
    /// Paths in the home that are the run's own: no links to the user's.
    pub(crate) private: &'static [&'static str],
    /// Files that the program writes in place, e.g. a refreshed login: linked before there is one, to arrive at the user's.
    pub(crate) written: &'static [&'static str],
    /// Directories in which the program overlooks links: when the run has a file in one, the user's are copied.
    pub(crate) copied: &'static [&'static str],
    /// The settings in the home, JSON with comments: the user's with these laid over them.
    pub settings: (&'static str, Value),
    /// The variable that names a file of settings which outrank the user's, where the two cannot be merged.
    pub(crate) settings_variable: &'static str,
    /// Settings that the program may rank above those in the home ...
    pub outranked_by: PathBuf,
    /// ... and pointers (RFC 6901) to what must not be set there, because the task asked for it.
    pub firm: Vec<&'static str>,
    /// What the user may have configured and the run could not work with.
    pub unusable: Option<Unusable>,
}

/// A setting that makes a run impossible when it is set, be it to what it may; a variable of that name comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Unusable {
    /// The variable: set to anything but `false`.
    pub(crate) variable: &'static str,
    /// A pointer (RFC 6901) into the user's settings.
    pub(crate) setting: &'static str,
    /// What the person is told.
    pub(crate) why: &'static str,
}

/// How the output of a program is cut before the dialogue hears it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// Line by line, without the line's end.
    #[default]
    Lines,
    /// As it comes, cut only between characters: for programs that print plain text token by token.
    Pieces,
}

/// The first signal of a stop; SIGKILL follows after the grace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    #[default]
    Terminate,
}

/// The variables by which the vendors mark an outer session of theirs, in which their programs refuse to start or behave
/// differently. No backend sees any: what it starts may be one of these programs.
pub(crate) fn marks_of_outer_sessions() -> impl Iterator<Item = &'static &'static str> {
    claude::OUTER_SESSION.iter().chain(codex::OUTER_SESSION).chain(gemini::OUTER_SESSION)
}

/// A task with the bounds of its `tools` in the words of its other options.
fn narrowed(task: &Task) -> Cow<'_, Task> {
    // What a server's tools do is in no bounds.
    let narrow = |task: &Task| Task {
        sandbox: Sandbox::ReadOnly,
        approval: Approval::Always,
        mcp: Vec::new(),
        ..task.clone()
    };
    match task.tools {
        ToolUse::AsConfigured => Cow::Borrowed(task),
        ToolUse::ReadOnly => Cow::Owned(narrow(task)),
        ToolUse::None => Cow::Owned(Task { allowed_tools: Some(Vec::new()), ..narrow(task) }),
    }
}

/// The model aliases of a backend, with those of the configuration in place of, or behind, its own.
fn aliases(ours: &[(&str, &str)], configured: &[(String, String)]) -> Vec<(String, String)> {
    let kept = ours.iter().filter(|(alias, _)| configured.iter().all(|(name, _)| name != alias));
    kept.map(|(alias, model)| ((*alias).to_owned(), (*model).to_owned()))
        .chain(configured.iter().cloned())
        .collect()
}

/// The kind of failure that the first of these patterns says which stands in those words, both in small letters.
fn kind_in(words: &str, patterns: &[(&str, Kind)]) -> Option<Kind> {
    patterns.iter().find(|(pattern, _)| words.contains(pattern)).map(|(_, kind)| *kind)
}

/// The failure of a program that has to be newer, where it is not.
fn too_old(name: &str, version: &str, oldest: &str) -> Option<Failure> {
    let sentence = || format!("{name} {version} is too old: clinvk needs {oldest} or newer");
    older(version, oldest).then(|| Failure::new(Kind::NotInstalled, sentence()))
}

/// Whether a version like `2.1.197` is older than another. One that cannot be read is not older: what it really
/// can do shows in the dialogue.
pub(crate) fn older(version: &str, than: &str) -> bool {
    let numbers = |version: &str| -> Option<Vec<u64>> {
        // A pre-release counts as its release.
        let release = version.split(['-', '+', ' ']).next()?;
        release.split('.').map(|part| part.parse().ok()).collect()
    };
    matches!((numbers(version), numbers(than)), (Some(version), Some(than)) if version < than)
}

/// A conversation with one program as a state machine without I/O: lines in, steps out.
pub trait Dialogue: Send {
    /// Before the program has said anything.
    fn start(&mut self, steps: &mut Steps);

    /// One line of its standard output (or one piece: `Framing`).
    fn line(&mut self, line: &str, steps: &mut Steps);

    /// Asks the program to stop, in its own words where it has some.
    fn interrupt(&mut self, _steps: &mut Steps) {}

    /// A person has answered the question of that `Permission::id`.
    fn permitted(&mut self, _id: &str, _allowed: bool, _steps: &mut Steps) {}

    /// What came of a `Step::Use` of that id.
    fn used(&mut self, _id: &str, _came: Result<ToolReply, ToolError>, _steps: &mut Steps) {}

    /// The time of the last `Step::Alarm` is up.
    fn alarm(&mut self, _steps: &mut Steps) {}

    /// The program closed its output without a `Finished` step. `ended` says how it exited.
    fn eof(&mut self, ended: &Ended, steps: &mut Steps);
}

/// What a dialogue wants done, in order.
pub type Steps = Vec<Step>;

/// One thing that a dialogue wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Write this line to the program; the line's end is added.
    Send(String),
    /// Write this to the program as it is.
    SendRaw(Arc<str>),
    /// The program gets no more input.
    CloseStdin,
    /// The prompt is with the model now: `vendor_connect_secs` counts from here, and the last alarm is off.
    Asked,
    /// The model has given a sign of life.
    Answering,
    /// Say when so much time has passed, in the place of any earlier alarm. Before the prompt is with the model that bounds
    /// the time in the place of `vendor_connect_secs`.
    Alarm(Duration),
    /// Tell the listener.
    Event(Event),
    /// Ask a person, and hand the answer to `Dialogue::permitted`: only in a task that is `attended`.
    Ask(Permission),
    /// Do this for the program, and hand what comes of it to `Dialogue::used`, at once or later.
    Use { id: String, tool: ClientTool },
    /// The run is over: success, or what kind of failure.
    Finished(Result<(), Failure>),
}

impl Step {
    /// Says a line that may have secrets in it, the variables and headers of MCP servers: what is sent raw is in no log.
    fn unlogged(line: String) -> Step {
        Step::SendRaw((line + "\n").into())
    }

    /// Tells something that is no part of the answer.
    fn progress(stage: &str, message: impl Into<String>) -> Step {
        Step::Event(Event::Progress { stage: stage.to_owned(), message: message.into() })
    }

    fn warning(message: impl Into<String>) -> Step {
        Step::progress("warning", message)
    }

    /// The answer was cut at a limit of tokens: it is one all the same.
    fn truncated(limit: Option<u32>) -> Step {
        let limit = limit.map_or("the model's limit of tokens".to_owned(), |limit| format!("{limit} tokens"));
        Step::progress(TRUNCATED, format!("the answer was cut at {limit}"))
    }

    /// Another model answers than the one that was asked.
    fn other_model(from: &str, to: &str, why: &str) -> Step {
        let why = format!("`{to}` answers instead of `{from}`: {why}");
        Step::Event(Event::Model { name: to.to_owned(), why })
    }

    fn failed(kind: Kind, message: impl Into<String>) -> Step {
        Step::Finished(Err(Failure::new(kind, message)))
    }
}
