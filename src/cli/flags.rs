//! The table of flags, and the parser over it and over that of commands. Parser, `-h` and the manual page's test read the
//! same tables.

use super::commands::{COMMANDS, Command, command_of, named};
use crate::base::text::nearest;
use crate::base::words::Worded;
use crate::model::error::Error;
use lexopt::{Arg, ValueExt};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};

pub struct Flag {
    /// What it is looked up by.
    pub(crate) id: Name,
    /// What it is about, with others.
    pub(crate) group: &'static str,
    /// Its name without the dashes.
    pub name: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called in help; empty for a switch.
    pub(crate) value: &'static str,
    /// The commands that have it; empty for all.
    pub commands: &'static [&'static str],
    /// What it does, in one line.
    help: &'static str,
}

impl Flag {
    /// The command has it, or one of the command's own commands.
    pub fn is_of(&self, command: &str) -> bool {
        self.commands.is_empty() || self.commands.iter().any(|own| is_within(own, command))
    }

    /// What it does with this command.
    pub(crate) fn help(&self, command: &str) -> &'static str {
        let is_here = |(id, commands, _): &&(Name, &[&str], _)| {
            *id == self.id && commands.iter().any(|own| is_within(own, command))
        };
        ELSEWHERE.iter().find(is_here).map_or(self.help, |(_, _, help)| help)
    }
}

/// They are the same command, or one is the other's.
fn is_within(one: &str, other: &str) -> bool {
    let has = |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with(' '));
    one == other || has(one, other) || has(other, one)
}

const PROMPT: &[&str] = &["", "resume"];
/// Whatever runs something.
const RUN: &[&str] = &["", "resume", "chat", "parallel", "map", "compare", "chain"];
/// Those and what runs for a client: what is said here holds unless the client says otherwise.
const ANY: &[&str] = &["", "resume", "chat", "parallel", "map", "compare", "chain", "acp"];
/// Those and what runs for an agent that calls tools: there they are the most that it may ask for.
const EVERY: &[&str] = &["", "resume", "chat", "parallel", "map", "compare", "chain", "acp", "mcp"];
/// Whatever prints an answer.
const ANSWER: &[&str] = &["", "resume", "chat", "wait"];
/// Whatever takes a prompt that may be kept in a file.
const KEPT_PROMPT: &[&str] = &["", "resume", "chat", "map", "compare"];
const BATCH: &[&str] = &["parallel", "map", "compare", "chain"];
/// Those that have results of many tasks to keep.
const KEPT: &[&str] = &["parallel", "map", "chain"];
const LISTS: &[&str] = &["parallel", "map"];
const COMPARE: &[&str] = &["compare"];
const CHAIN: &[&str] = &["chain"];
const MAP: &[&str] = &["map"];
const RESUME: &[&str] = &["resume"];
/// Whatever chooses sessions.
const FOUND: &[&str] = &["sessions list", "sessions clean"];
const CLEAN: &[&str] = &["sessions clean"];
const SERVE: &[&str] = &["serve"];
const MCP: &[&str] = &["mcp"];

macro_rules! flags {
    ($($group:literal: $($id:ident $name:literal, $short:expr, $value:literal, $commands:expr, $help:literal;)+)+) => {
        /// The flags, so that the name of one that is not there does not compile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Name { $($($id),+),+ }

        /// Every flag, in the order in which help lists them.
        pub const FLAGS: &[Flag] = &[$($(Flag {
            id: Name::$id, group: $group, name: $name, short: $short, value: $value, commands: $commands, help: $help
        }),+),+];
    };
}

#[rustfmt::skip]
flags! {
    "backend and model":
    Backend            "backend",               Some('b'), "NAME",         &["", "resume", "chat", "sessions list", "sessions clean", "models", "parallel", "map", "chain", "acp", "mcp"], "who answers";
    Model              "model",                 Some('m'), "MODEL",        &["", "resume", "chat", "sessions list", "sessions clean", "parallel", "map", "compare", "chain", "acp"], "the model: an alias (fast, balanced, best) or the vendor's name";
    Effort             "effort",                None,      "LEVEL",        ANY, "how hard the model thinks: low, medium, high";
    Fallback           "fallback",              None,      "LIST",         &["", "resume", "chat", "parallel", "map", "chain", "acp", "mcp"], "who is asked when the backend cannot answer for now: backend or backend:model";
    Backends           "backends",              None,      "LIST",         &["compare", "mcp"], "who is asked: backend or backend:model";
    AllBackends        "all-backends",          None,      "",             COMPARE, "ask all that are installed";
    Server             "server",                None,      "URL",          &["", "resume", "chat", "sessions", "doctor", "runs", "wait", "cancel", "parallel", "map", "compare", "chain"], "a server to have it done by: http://HOST:PORT, unix:PATH, or auto for one of your own";
    "the prompt":
    Template           "template",              Some('t'), "NAME",         KEPT_PROMPT, "the prompt that is kept under this name; the command prompts lists them";
    PromptFile         "prompt-file",           None,      "FILE",         KEPT_PROMPT, "the prompt is in this file, with {{input}} for what is given besides";
    Var                "var",                   None,      "NAME=VALUE",   KEPT_PROMPT, "what {{NAME}} stands for in a prompt that is kept (may be repeated)";
    File               "file",                  Some('f'), "FILE",         RUN, "a text file that goes with the prompt (may be repeated)";
    Image              "image",                 None,      "FILE",         &["", "resume", "chat", "map", "compare"], "a picture that goes with the prompt (may be repeated)";
    NoStdin            "no-stdin",              Some('n'), "",             &["", "resume", "compare", "chain"], "leave standard input alone: for loops that read their list from it";
    Null               "null",                  Some('0'), "",             MAP,   "items end with NUL, not with the line";
    Replace            "replace",               Some('I'), "TEXT",         MAP,   "what stands for the item in the prompt; {} otherwise";
    Input              "input",                 None,      "TEXT",         CHAIN, "what {{input}} stands for; standard input otherwise";
    SystemPrompt       "system-prompt",         None,      "TEXT",         ANY, "replace the backend's system prompt";
    AppendSystemPrompt "append-system-prompt",  None,      "TEXT",         ANY, "add to the backend's system prompt";
    JsonSchema         "json-schema",           None,      "JSON|@FILE",   RUN, "the schema that the answer follows";
    Interpret          "interpret",             None,      "",             ANY, "let the backend interpret /commands, @files and $skills in the prompt";
    "what the agent may do":
    Workdir            "workdir",               Some('w'), "DIR",          &["", "resume", "chat", "parallel", "map", "compare", "chain", "mcp"], "where the backend works";
    AddDir             "add-dir",               None,      "DIR",          EVERY, "a further directory for the agent (may be repeated)";
    Approval           "approval",              None,      "MODE",         EVERY, "what needs a yes: default, auto (edits), none (never ask), always";
    Sandbox            "sandbox",               None,      "MODE",         EVERY, "what tools reach: default, read-only, workspace, full";
    AllowedTools       "allowed-tools",         None,      "LIST",         ANY, "only these tools exist, and they need no approval";
    DeniedTools        "denied-tools",          None,      "LIST",         ANY, "these tools do not exist";
    Mcp                "mcp",                   None,      "FILE|JSON",    ANY, "MCP servers whose tools the agent has (may be repeated)";
    NoProjectConfig    "no-project-config",     None,      "",             ANY, "ignore project files that run code: hooks, .mcp.json, .env";
    Extra              "extra",                 None,      "FLAG",         ANY, "a flag for the backend's own command line (may be repeated)";
    Lenient            "lenient",               None,      "",             ANY, "go on without an option that the backend cannot honour";
    "limits":
    Timeout            "timeout",               None,      "DURATION",     EVERY, "longest time of the run, such as 90s or 5m";
    StallTimeout       "stall-timeout",         None,      "DURATION",     EVERY, "longest time without any output";
    FirstByteTimeout   "first-byte-timeout",    None,      "DURATION",     EVERY, "longest time until the first of the answer";
    MaxTurns           "max-turns",             None,      "N",            ANY, "most model turns";
    MaxTokens          "max-tokens",            None,      "N",            ANY, "most output tokens of one model answer";
    "sessions":
    Continue           "continue",              Some('c'), "",             &["", "chat"],  "continue the newest session of the working directory";
    Last               "last",                  None,      "",             RESUME, "continue the newest session of all";
    Here               "here",                  None,      "",             &["resume", "sessions list", "sessions clean"], "only sessions of the working directory";
    Interactive        "interactive",           Some('i'), "",             RESUME, "choose the session from a list; without a prompt: chat in it";
    Wait               "wait",                  None,      "[=DURATION]",  PROMPT, "wait for a session that another run holds";
    NoWait             "no-wait",               None,      "",             PROMPT, "print the id of the run, which goes on alone on a server";
    Replay             "replay",                None,      "",             PROMPT, "continue from the stored turns, in a new session of the backend's";
    Tag                "tag",                   None,      "TAG",          &["", "resume", "chat", "sessions list", "sessions clean", "parallel", "map", "compare", "chain", "acp", "mcp"], "tag the new session (may be repeated)";
    Ephemeral          "ephemeral",             None,      "",             &["", "resume", "parallel", "map", "compare", "chain"], "leave no session behind";
    KeepSessions       "keep-sessions",         None,      "",             BATCH, "leave sessions behind";
    "which sessions":
    Status             "status",                None,      "STATUS",       FOUND, "only those that stand so: active, completed, error";
    Since              "since",                 None,      "AGE|DATE",     FOUND, "only those used since: 7d, 12h, 2026-01-31";
    Search             "search",                None,      "TEXT",         FOUND, "only those with this text in title or prompts";
    OlderThan          "older-than",            None,      "AGE",          CLEAN, "those not used for so long: 30d, 12h, 2w";
    All                "all",                   None,      "",             &["sessions clean", "backends"], "those of any age";
    Limit              "limit",                 Some('n'), "N",            &["sessions list"], "at most so many (20); 0 for all";
    Offset             "offset",                None,      "N",            &["sessions list"], "without the first so many";
    "many runs":
    MaxParallel        "max-parallel",          Some('P'), "N",            LISTS, "most runs at once";
    Sequential         "sequential",            None,      "",             COMPARE, "ask one after the other";
    FailFast           "fail-fast",             None,      "",             LISTS, "stop everything after the first failure";
    Retry              "retry",                 None,      "N",            BATCH, "try again, so often, what failed for a reason that passes: quota, overload, a time limit";
    Race               "race",                  None,      "",             COMPARE, "take the first answer, and stop the others";
    Agree              "agree",                 None,      "",             COMPARE, "fail unless all answers agree";
    OutputDir          "output-dir",            None,      "DIR",          KEPT,  "keep the results there: a file each, and summary.json";
    Resume             "resume",                None,      "DIR",          LISTS, "the same, without what has succeeded there already";
    Via                "via",                  None,      "COMMAND",      LISTS, "what starts the backends' programs, here or elsewhere: 'srun -n1', 'ssh host'";
    Shard              "shard",                None,      "I/N",          MAP,   "only every item that falls to the Ith of N machines: 2/4";
    Merge              "merge",                None,      "",             MAP,   "run nothing, and print what is in these folders of results";
    From               "from",                  None,      "STEP",         CHAIN, "begin there, with the answers before it from --output-dir";
    "the server":
    Host               "host",                  None,      "ADDRESS",      SERVE, "the address to listen on (127.0.0.1)";
    Port               "port",                  Some('p'), "PORT",         SERVE, "the port to listen on (8080); 0 takes a free one";
    Socket             "socket",                None,      "PATH",         SERVE, "a Unix socket to listen on instead";
    Auto               "auto",                  None,      "",             SERVE, "be the server that `--server auto` starts: for this user's command lines alone";
    LogFormat          "log-format",            None,      "FORMAT",       SERVE, "text or json";
    LogLevel           "log-level",             None,      "LEVEL",        SERVE, "off, error, warn, info or debug";
    "output":
    OutputFormat       "output-format",         Some('o'), "FORMAT",       &["", "resume", "chat", "parallel", "map", "compare", "chain", "wait"], "text, json or stream-json";
    Raw                "raw",                   None,      "",             PROMPT, "print the backend's own lines";
    Json               "json",                  None,      "",             &[],    "print JSON, errors too";
    Jsonl              "jsonl",                 None,      "",             LISTS, "print each result as it ends, a JSON line each";
    Turns              "turns",                 None,      "",             &["sessions show"], "with prompts and answers";
    Markdown           "markdown",              None,      "",             &["sessions export"], "text for people, not JSON";
    Origin             "origin",                None,      "",             &["config show"], "say where each value comes from";
    ShowTokens         "show-tokens",           None,      "",             ANSWER, "print token counts on standard error";
    ShowTiming         "show-timing",           None,      "",             ANSWER, "print the time it took on standard error";
    DryRun             "dry-run",               None,      "",             &["", "resume", "sessions clean", "sessions fsck", "parallel", "map", "compare", "chain"], "print what would be executed, and run nothing";
    Quiet              "quiet",                 Some('q'), "",             &[],    "print no warnings and no spinner";
    Verbose            "verbose",               Some('v'), "",             &[],    "say on standard error what is done";
    "always":
    Config             "config",                None,      "FILE",         &[],    "the configuration file";
    Version            "version",               Some('V'), "",             &[],    "print the version";
    Help               "help",                  Some('h'), "",             &[],    "print help";
}

/// What a flag does with some commands, where that is not what it does with the others.
#[rustfmt::skip]
const ELSEWHERE: &[(Name, &[&str], &str)] = &[
    (Name::Backend,   RESUME,        "who answers; with --last, --here and -i: only that one's sessions"),
    (Name::Backend,   FOUND,         "only those of this backend"),
    (Name::Backend,   MCP,           "who answers when a call names none"),
    (Name::Model,     FOUND,         "only those of this model"),
    (Name::Backend,   &["models"],   "only that one's models"),
    (Name::Backends,  MCP,           "who may be asked"),
    (Name::File,      &["parallel"], "the tasks: JSON, or one a line; standard input otherwise"),
    (Name::File,      MAP,           "the items, one a line; standard input otherwise"),
    (Name::File,      CHAIN,         "the steps; standard input otherwise"),
    (Name::Workdir,   MCP,           "the directory that calls stay in"),
    (Name::AddDir,    MCP,           "a further directory that calls may use (may be repeated)"),
    (Name::Approval,  MCP,           "the most that a call may ask for: default, auto (edits), none (never ask), always"),
    (Name::Sandbox,   MCP,           "the most that a call may ask for: default, read-only, workspace, full"),
    (Name::Here,      FOUND,         "only those of the working directory"),
    (Name::Tag,       FOUND,         "only those with this tag (may be repeated)"),
    (Name::All,       &["backends"], "also the known agents that are not installed"),
    (Name::DryRun,    CLEAN,         "say what would be deleted, and delete nothing"),
    (Name::DryRun,    &["sessions fsck"], "say what is wrong, and change nothing"),
    (Name::File,      &["chat"],     "a text file that goes with the first prompt (may be repeated)"),
    (Name::Image,     &["chat"],     "a picture that goes with the first prompt (may be repeated)"),
    (Name::Json,      PROMPT,        "print JSON, errors too: the same as -o json"),
];

impl Name {
    /// The flag's line of the table.
    pub fn flag(self) -> &'static Flag {
        &FLAGS[self as usize]
    }
}

/// What is typed behind the dashes.
impl Display for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(self.flag().name)
    }
}

/// A command line as typed.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    /// The command; empty for a prompt.
    pub(crate) command: &'static str,
    /// What stands beside the flags, without the command.
    pub(crate) operands: Vec<String>,
    /// A `--` stood before the operands: they are meant as they are.
    pub(crate) literal: bool,
    flags: Vec<(Name, String)>,
}

impl Typed {
    /// The command, or the one of its own that stands behind it.
    pub(crate) fn what(&self) -> &'static Command {
        command_of(self.command, &self.operands)
    }

    /// The switch was given.
    pub(crate) fn has(&self, name: Name) -> bool {
        self.flags.iter().any(|(given, _)| *given == name)
    }

    /// The names of the flags that were given.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        self.flags.iter().map(|(given, _)| *given)
    }

    /// The flag's value; the last one when it was repeated.
    pub(crate) fn value(&self, name: Name) -> Option<&str> {
        self.values(name).last()
    }

    /// The flag's value, read. The error says what was expected.
    pub(crate) fn read<T>(
        &self,
        name: Name,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(word) = self.value(name) else { return Ok(None) };
        let wrong = || Error::Invalid(format!("`--{name} {word}`: expected {expected}"));
        read(word).map(Some).ok_or_else(wrong)
    }

    /// All values of a flag, in order.
    pub(crate) fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}

/// Parses the words behind the program's name: what could be understood, and the first error. A user who asks for JSON behind
/// a misspelt flag gets the error as JSON.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> (Typed, Result<(), Error>) {
    let mut parser = lexopt::Parser::from_args(words);
    let mut typed = Typed::default();
    let mut understood = Ok(());
    // Only a first word before any `--` can be a command: everything else is a prompt.
    let mut may_be_command = true;
    let mut only_operands = false;
    loop {
        if !only_operands && next_is_separator(&mut parser) {
            (only_operands, may_be_command, typed.literal) = (true, false, typed.operands.is_empty());
        }
        let taken = match parser.next() {
            Ok(None) => break,
            Ok(Some(Arg::Value(word))) => typed.take_word(&word, std::mem::take(&mut may_be_command)),
            Ok(Some(Arg::Long(name))) => by_name(name).and_then(|flag| typed.take_flag(flag, &mut parser)),
            Ok(Some(Arg::Short(letter))) => {
                by_letter(letter, typed.command).and_then(|flag| typed.take_flag(flag, &mut parser))
            }
            Err(error) => Err(bad_word(error)),
        };
        understood = understood.and(taken);
    }
    let understood = understood.and_then(|()| check(&typed));
    (typed, understood)
}

impl Typed {
    fn take_word(&mut self, word: &OsStr, may_be_command: bool) -> Result<(), Error> {
        let word = word.to_str().ok_or_else(|| not_text(word))?;
        match named(word).filter(|_| may_be_command && !word.is_empty()) {
            Some(command) => self.command = command.name,
            None => self.operands.push(word.to_owned()),
        }
        Ok(())
    }

    fn take_flag(&mut self, flag: &'static Flag, parser: &mut lexopt::Parser) -> Result<(), Error> {
        let value = if flag.value.is_empty() {
            String::new()
        } else if flag.value.starts_with('[') {
            parser.optional_value().map_or(Ok(String::new()), ValueExt::string).map_err(bad_word)?
        } else {
            parser.value().map_err(|_| missing(flag))?.string().map_err(bad_word)?
        };
        self.flags.push((flag.id, value));
        Ok(())
    }
}

/// Whether the next word is the `--` that ends the flags: lexopt swallows it, and a prompt behind it is no command.
fn next_is_separator(parser: &mut lexopt::Parser) -> bool {
    parser.try_raw_args().and_then(|words| words.peek().map(|word| word == "--")).unwrap_or(false)
}

/// Flags of which only one has a meaning.
const EXCLUSIVE: &[(Name, Name)] = &[
    (Name::Ephemeral, Name::KeepSessions),
    (Name::Race, Name::Agree),
    (Name::Backends, Name::AllBackends),
    (Name::Markdown, Name::Json),
    (Name::All, Name::OlderThan),
    (Name::NoWait, Name::Raw),
    (Name::Template, Name::PromptFile),
    (Name::Auto, Name::Host),
    (Name::Auto, Name::Port),
    (Name::Auto, Name::Socket),
];

fn check(typed: &Typed) -> Result<(), Error> {
    if typed.has(Name::Help) || typed.has(Name::Version) {
        return Ok(());
    }
    let command = typed.what().name;
    if let Some(other) = typed.names().find(|name| !name.flag().is_of(command)) {
        let (whose, command) = match command {
            "" => ("a prompt".to_owned(), "clinvk".to_owned()),
            name => (format!("`{name}`"), format!("clinvk {name}")),
        };
        return Err(Error::Invalid(format!("`--{other}` is no flag of {whose}: see `{command} -h`")));
    }
    match EXCLUSIVE.iter().find(|(one, other)| typed.has(*one) && typed.has(*other)) {
        Some((one, other)) => Err(Error::Invalid(format!("`--{one}` and `--{other}` exclude each other"))),
        None => Ok(()),
    }
}

/// The value of a word; an error names those that there are.
pub(crate) fn known<T: Worded>(what: &'static str, given: &str) -> Result<T, Error> {
    let known = || T::words().iter().map(|&word| word.to_owned()).collect();
    T::of_word(given).ok_or_else(|| Error::Unknown { what, given: given.to_owned(), known: known() })
}

/// What is wrong with the words behind a command that has commands of its own.
pub(crate) fn bad_verb(typed: &Typed) -> Error {
    let (command, what) = (typed.command, typed.what());
    let known = || what.verbs.iter().map(|verb| verb.word().to_owned()).collect::<Vec<_>>();
    match typed.operands.first() {
        None => Error::Invalid(format!("`{command}` needs one of: {}", known().join(", "))),
        Some(given) if !what.verbs.is_empty() => {
            let what = if command == "sessions" { "sessions command" } else { "config command" };
            Error::Unknown { what, given: given.clone(), known: known() }
        }
        Some(_) => {
            Error::Invalid(format!("wrong number of words behind `{0}`: see `clinvk {0} -h`", what.name))
        }
    }
}

fn by_name(name: &str) -> Result<&'static Flag, Error> {
    let known = || FLAGS.iter().map(|flag| format!("--{}", flag.name)).collect();
    let unknown = || Error::Unknown { what: "flag", given: format!("--{name}"), known: known() };
    FLAGS.iter().find(|flag| flag.name == name).ok_or_else(unknown)
}

/// The flag that a letter stands for with this command; where it has none, with another.
fn by_letter(letter: char, command: &str) -> Result<&'static Flag, Error> {
    let flags = || FLAGS.iter().filter(|flag| flag.short == Some(letter));
    let unknown = || Error::Unknown { what: "flag", given: format!("-{letter}"), known: Vec::new() };
    flags().find(|flag| flag.is_of(command)).or_else(|| flags().next()).ok_or_else(unknown)
}

fn missing(flag: &Flag) -> Error {
    Error::Invalid(format!("`--{}` needs a value: {}", flag.name, flag.value))
}

fn bad_word(error: lexopt::Error) -> Error {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => Error::Invalid(format!("`{option}` takes no value")),
        lexopt::Error::NonUnicodeValue(word) => not_text(&word),
        other => Error::Invalid(other.to_string()),
    }
}

fn not_text(word: &OsStr) -> Error {
    Error::Invalid(format!("`{}` is not valid UTF-8", word.to_string_lossy()))
}

fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name).filter(|name| !name.is_empty())
}

/// Words that are commands of other such programs, and what there is here in their place.
const OF_OTHERS: &[(&[&str], &str)] = &[
    (&["login", "logout", "auth"], "a backend's own program logs in, and `clinvk doctor` says how."),
    (&["list", "ls"], "`clinvk sessions list` lists sessions, `clinvk backends` who can be asked."),
    (&["status", "info", "whoami"], "`clinvk doctor` says how things stand."),
    (&["init", "setup", "install"], "nothing has to be set up, and `clinvk doctor` says what is missing."),
    (&["update", "upgrade", "uninstall"], "what has installed clinvk does that."),
    (&["quit", "exit"], "a prompt ends by itself, and `clinvk chat` with Ctrl-D."),
];

/// Why a word that stands alone is probably no prompt.
pub(crate) fn doubt(word: &str) -> Option<String> {
    let instead = OF_OTHERS.iter().find(|(words, _)| words.contains(&word));
    let of_others = instead.map(|(_, instead)| format!("`{word}` is no command of clinvk's: {instead}"));
    let near = || nearest(word, commands());
    of_others.or_else(|| near().map(|near| format!("unknown command `{word}`: did you mean `{near}`?")))
}

/// The one prompt among the operands of a prompt command. `literal`: it cannot be a misspelt command.
pub(crate) fn prompt_operand(operands: &[String], literal: bool) -> Result<Option<&str>, Error> {
    match operands {
        [] => Ok(None),
        [prompt] => match doubt(prompt) {
            Some(why) if !literal => Err(Error::Invalid(format!("{why} As a prompt: clinvk -- {prompt}"))),
            _ => Ok(Some(prompt)),
        },
        [first, ..] => Err(Error::Invalid(match nearest(first, commands()) {
            Some(command) => format!("unknown command `{first}`: did you mean `{command}`?"),
            None => {
                let (number, all) = (operands.len(), operands.join(" "));
                format!("the prompt has {number} words: put it in quotes: clinvk '{all}'")
            }
        })),
    }
}
