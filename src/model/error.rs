//! What can go wrong: facts as data, one sentence for each in one place, and one word for each kind.

use crate::base::sys;
use crate::base::text::nearest;
use crate::base::words::words;
use crate::base::world::Missing;
use crate::model::task::TaskOption;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

words! {
    /// The kinds of failure, decided where the failure happens. Their words are part of every interface.
    Kind {
        /// A bad request, flag or file.
        InvalidRequest = "invalid_request",
        /// There is no backend of that name.
        UnknownBackend = "unknown_backend",
        /// The vendor does not know the model.
        UnknownModel = "unknown_model",
        /// The backend's program is not there, or is too old.
        NotInstalled = "not_installed",
        /// The configuration is broken.
        Config = "config",
        /// No such session.
        SessionNotFound = "session_not_found",
        /// Another run holds the session.
        SessionBusy = "session_busy",
        /// The backend cannot continue this session.
        SessionNotResumable = "session_not_resumable",
        /// The session could not be read or written.
        SessionStore = "session_store",
        /// A remote clinvk failed.
        Remote = "remote",
        /// A time limit passed.
        Timeout = "timeout",
        /// A person or a signal stopped it.
        Cancelled = "cancelled",
        /// Our own key is missing or wrong.
        Unauthorized = "unauthorized",
        /// Our own policy refuses.
        Policy = "policy",
        /// Our own rate limit.
        RateLimited = "rate_limited",
        /// Too many runs at once.
        Busy = "busy",
        /// The server is about to stop.
        Draining = "draining",
        /// The vendor's quota or rate limit.
        Quota = "quota",
        /// The vendor's login is missing or refused.
        Login = "login",
        /// The vendor's program refuses one of its flags or settings.
        VendorFlag = "vendor_flag",
        /// The model or the vendor refuses to answer.
        Refusal = "refusal",
        /// The vendor has too much to do.
        Overloaded = "overloaded",
        /// The vendor cannot be reached.
        Unreachable = "unreachable",
        /// The conversation is longer than the model takes.
        ContextTooLong = "context_too_long",
        /// The turn limit was used up.
        TurnLimit = "turn_limit",
        /// The agent was refused a permission that it could not do without.
        PermissionDenied = "permission_denied",
        /// The backend ended without saying how.
        Crash = "crash",
        /// The backend's output makes no sense.
        Unreadable = "unreadable",
        /// Our own bug.
        Internal = "internal",
    }
}

/// The backend ran and said no, or stopped half-way.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: Kind,
    /// The backend's own words where it had some.
    pub message: String,
}

impl Failure {
    /// A failure of that kind with that sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }
}

/// How a program ended by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The end of what it wrote to standard error, at most 8 KiB.
    pub stderr: String,
}

/// The best sentence for a program that ended badly: the last words of its standard error, else how it ended.
pub(crate) fn words_of_stderr(ended: &Ended) -> String {
    let how = match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    match ended.stderr.trim() {
        "" => format!("the backend ended with {how} and said nothing on standard error"),
        words => format!("the backend ended with {how}: {words}"),
    }
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Error {
        match missing {
            Missing::Setting(sentence) => Error::Invalid(sentence),
            Missing::Random(error) => Error::System { what: "get random bytes", error },
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure::new(error.kind(), error.to_string())
    }
}

/// *We* could not do it. Facts; the sentences are made in `Display` and nowhere else.
#[derive(Debug)]
pub enum Error {
    /// A sentence about bad input that needs no facts of its own.
    Invalid(String),
    /// A word that is not one of the known ones.
    Unknown {
        /// What it should name: `flag`, `command`, `approval mode` ...
        what: &'static str,
        /// The word as typed.
        given: String,
        known: Vec<String>,
    },
    /// There is no backend of that name.
    UnknownBackend {
        /// The name as typed.
        given: String,
        /// The backends there are.
        known: Vec<String>,
    },
    /// The backend is switched off in the configuration.
    Disabled { backend: String },
    /// What starts the backend's program is not on PATH.
    Launcher {
        /// The backend's name.
        backend: String,
        /// The launcher's program.
        program: String,
    },
    /// The backend's program is not on PATH.
    NotInstalled {
        backend: String,
        /// The program that was looked for.
        program: String,
        /// How it is installed, where that is known, and how its user logs in.
        remedy: Option<String>,
    },
    /// The backend cannot honour an option.
    CannotHonour {
        backend: String,
        option: TaskOption,
        /// Why, or what to use instead.
        why: String,
    },
    /// An extra flag that is not on the backend's list.
    ExtraFlag {
        backend: String,
        /// The flag as typed.
        flag: String,
        /// The flags that may be passed on.
        allowed: Vec<String>,
    },
    /// A rule of the server, or of an API key, does not allow it.
    Policy {
        /// The key of the configuration that is the rule.
        rule: String,
        asked: String,
        /// What the rule allows.
        allowed: String,
    },
    /// The configuration cannot be used.
    Config {
        /// The file, environment variable or flag where it stands.
        origin: String,
        /// Line and column, from 1, where they are known.
        position: Option<(usize, usize)>,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file could not be read or written.
    File {
        /// `read`, `write`, `create` ...
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// The program was found and could not be started.
    Start {
        program: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// The server cannot listen there.
    Listen {
        /// The address as it would have been printed, or as it was given.
        address: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A time limit passed.
    TimedOut {
        /// Which limit: its flag's name.
        limit: Limit,
        /// How long it was.
        after: Duration,
    },
    /// The run was stopped from outside.
    Cancelled,
    /// The reader of our output has closed it, for which that is no error.
    ReaderGone,
    /// An answer that is kept until its end got too long.
    AnswerTooLong,
    /// No session is meant.
    SessionNotFound {
        /// The word as typed.
        given: String,
    },
    /// There is no session to continue.
    NoSession {
        /// Only those of this backend were wanted.
        backend: Option<String>,
        /// Only those of this directory were wanted.
        dir: Option<PathBuf>,
    },
    /// More than one session is meant.
    SessionAmbiguous {
        /// The word as typed.
        given: String,
        /// Their ids.
        meant: Vec<String>,
    },
    /// Another run holds the session.
    SessionBusy {
        /// The session.
        id: String,
        /// The process that holds it, where it said so.
        pid: Option<u32>,
    },
    /// The session cannot be continued.
    NotResumable {
        /// The session.
        id: String,
        why: String,
    },
    /// A session's file does not parse. It is left alone.
    SessionBroken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The session store could not be read or written.
    Store {
        /// `read`, `write`, `lock` ...
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// A server of ours could not be reached, or does not answer as one does.
    Remote {
        /// Its address as it was given.
        server: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A server of ours refused it, or failed in it, for a reason of its own.
    Told(Failure),
    /// There is no room for it now: runs, memory, descriptors.
    Busy(String),
    /// The server is about to stop.
    Draining,
    /// The system did not do what this process needs for itself.
    System {
        /// `make a pipe`, `start a thread` ...
        what: &'static str,
        /// The system's word.
        error: std::io::Error,
    },
    /// Something that cannot happen did.
    Internal(String),
}

words! {
    /// The time limits of a run.
    Limit {
        /// The whole run.
        Wall = "timeout",
        /// No output for so long.
        Stall = "stall-timeout",
        /// Nothing of the answer for so long.
        FirstByte = "first-byte-timeout",
    }
}

impl Error {
    /// The kind that exit codes and answers are made of.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Invalid(_) | Error::Unknown { .. } | Error::CannotHonour { .. } => Kind::InvalidRequest,
            Error::UnknownBackend { .. } => Kind::UnknownBackend,
            Error::NotInstalled { .. } | Error::Launcher { .. } => Kind::NotInstalled,
            Error::Start { error, .. } => kind_of_io(error, Kind::NotInstalled),
            Error::Disabled { .. } | Error::ExtraFlag { .. } | Error::Policy { .. } => Kind::Policy,
            Error::Config { .. } | Error::Listen { .. } => Kind::Config,
            Error::File { error, .. } => kind_of_io(error, Kind::InvalidRequest),
            Error::TimedOut { .. } => Kind::Timeout,
            Error::Cancelled | Error::ReaderGone => Kind::Cancelled,
            Error::AnswerTooLong => Kind::Unreadable,
            Error::SessionNotFound { .. } | Error::NoSession { .. } | Error::SessionAmbiguous { .. } => {
                Kind::SessionNotFound
            }
            Error::SessionBusy { .. } => Kind::SessionBusy,
            Error::NotResumable { .. } => Kind::SessionNotResumable,
            Error::SessionBroken { .. } => Kind::SessionStore,
            Error::Store { error, .. } => kind_of_io(error, Kind::SessionStore),
            Error::Remote { .. } => Kind::Remote,
            Error::Told(failure) => failure.kind,
            Error::Busy(_) => Kind::Busy,
            Error::Draining => Kind::Draining,
            Error::System { error, .. } => kind_of_io(error, Kind::Internal),
            Error::Internal(_) => Kind::Internal,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(sentence) => f.write_str(sentence),
            Error::Unknown { what, given, known } => {
                write!(f, "unknown {what} `{given}`")?;
                suggest(f, given, known)
            }
            Error::UnknownBackend { given, known } => {
                write!(f, "unknown backend `{given}`")?;
                suggest(f, given, known)
            }
            Error::Disabled { backend } => write!(
                f,
                "backend `{backend}` is disabled: `clinvk config set backends.{backend}.enabled true` enables it"
            ),
            Error::Launcher { backend, program } => {
                let where_not = where_not(program);
                write!(
                    f,
                    "backend `{backend}` cannot be started: its launcher `{program}` is not {where_not}"
                )?;
                write!(f, " (backends.{backend}.launcher)")
            }
            Error::NotInstalled { backend, program, remedy } => {
                let where_not = where_not(program);
                write!(f, "backend `{backend}` is not installed: `{program}` is not {where_not}")?;
                remedy.as_ref().map_or(Ok(()), |remedy| write!(f, ": {remedy}"))
            }
            Error::CannotHonour { backend, option, why } => write!(
                f,
                "backend `{backend}` cannot honour {}: {why} (`--lenient` goes on without it)",
                option.word()
            ),
            Error::ExtraFlag { backend, flag, allowed } => {
                write!(f, "flag `{flag}` may not be passed to backend `{backend}`")?;
                if allowed.is_empty() {
                    f.write_str(": it takes none")
                } else {
                    write!(f, ": allowed are {}", allowed.join(", "))
                }
            }
            Error::Policy { rule, asked, allowed } => {
                write!(f, "{asked} is not allowed: `{rule}` allows {allowed}")
            }
            Error::Config { origin, position: Some((line, column)), problem } => {
                write!(f, "{origin}:{line}:{column}: {problem}")
            }
            Error::Config { origin, position: None, problem } => write!(f, "{origin}: {problem}"),
            Error::File { verb, path, error } => write!(f, "cannot {verb} `{}`: {error}", path.display()),
            Error::Start { program, error } => write!(f, "`{program}` could not be started: {error}"),
            Error::Listen { address, problem } => write!(f, "cannot listen on `{address}`: {problem}"),
            Error::TimedOut { limit: Limit::Wall, after } => {
                write!(f, "timed out after {after:?} (--timeout)")
            }
            Error::TimedOut { limit: Limit::Stall, after } => {
                write!(f, "timed out: no output for {after:?} (--stall-timeout)")
            }
            Error::TimedOut { limit: Limit::FirstByte, after } => {
                write!(f, "timed out: nothing of the answer after {after:?} (--first-byte-timeout)")
            }
            Error::Cancelled => f.write_str("cancelled"),
            Error::ReaderGone => f.write_str("the reader of the output is gone"),
            Error::AnswerTooLong => f.write_str(
                "the answer has more than 64 MiB, the most that is kept: only a stream may be longer",
            ),
            Error::SessionNotFound { given } => {
                write!(f, "no session `{given}`: `clinvk sessions list` shows what there is")
            }
            Error::NoSession { backend, dir } => {
                f.write_str("there is no session")?;
                if let Some(backend) = backend {
                    write!(f, " of backend `{backend}`")?;
                }
                match dir {
                    Some(dir) => {
                        write!(f, " in `{}`: `clinvk resume --last` takes the newest of all", dir.display())
                    }
                    None => f.write_str(" yet"),
                }
            }
            Error::SessionAmbiguous { given, meant } => {
                let some: Vec<&str> = meant.iter().take(5).map(String::as_str).collect();
                write!(f, "`{given}` means {} sessions: {}", meant.len(), some.join(", "))?;
                if meant.len() > some.len() { f.write_str(" ...") } else { Ok(()) }
            }
            Error::SessionBusy { id, pid: Some(pid) } => {
                write!(f, "session `{id}` is busy: process {pid} runs it (`--wait` waits for it)")
            }
            Error::SessionBusy { id, pid: None } => {
                write!(f, "session `{id}` is busy (`--wait` waits for it)")
            }
            Error::NotResumable { id, why } => write!(f, "session `{id}` cannot be continued: {why}"),
            Error::SessionBroken { path, problem } => {
                write!(
                    f,
                    "session file `{}` is broken: {problem} (`clinvk sessions fsck` moves it aside)",
                    path.display()
                )
            }
            Error::Store { verb, path, error } => write!(f, "cannot {verb} `{}`: {error}", path.display()),
            Error::Remote { server, problem } => write!(f, "server `{server}`: {problem}"),
            Error::Told(failure) => f.write_str(&failure.message),
            Error::Busy(sentence) => f.write_str(sentence),
            Error::Draining => f.write_str("the server is about to stop: try again in a moment"),
            Error::System { what, error } => write!(f, "cannot {what}: {error}"),
            Error::Internal(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The kind of what the system refused: a shortage is no fault of the caller's and passes; else it is what it would be in that place.
pub(crate) fn kind_of_io(error: &std::io::Error, otherwise: Kind) -> Kind {
    if sys::is_shortage(error) { Kind::Busy } else { otherwise }
}

fn where_not(program: &str) -> &'static str {
    if program.contains('/') { "an executable file" } else { "on PATH" }
}

/// Ends a sentence about an unknown word with the nearest known one, or with all of them.
fn suggest(f: &mut fmt::Formatter<'_>, given: &str, known: &[String]) -> fmt::Result {
    match nearest(given, known.iter().map(String::as_str)) {
        Some(near) => write!(f, ": did you mean `{near}`?"),
        None if known.is_empty() || known.len() > 12 => Ok(()),
        None => write!(f, ": known are {}", known.join(", ")),
    }
}
