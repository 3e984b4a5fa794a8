//! The table of commands and flags, and the parser over it. Parser, `-h` and the manual page's test read the same table.

use crate::base::text::nearest;
use crate::model::error::Error;
use lexopt::{Arg, ValueExt};
use std::ffi::{OsStr, OsString};

pub struct Command {
    /// What is typed; empty for a prompt.
    pub name: &'static str,
    /// What follows it, for help.
    pub operands: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// Every command. A prompt is the one without a name.
pub const COMMANDS: &[Command] = &[
    Command { name: "", operands: "[PROMPT]", help: "run a prompt" },
    Command { name: "resume", operands: "[ID] [PROMPT]", help: "continue a session" },
    Command {
        name: "sessions",
        operands: "list|show|delete|clean|fork|rename|tag|untag|export|import|fsck",
        help: "look at sessions and look after them",
    },
    Command {
        name: "config",
        operands: "show|get KEY|set KEY VALUE|unset KEY|path|validate",
        help: "read and change the configuration",
    },
    Command { name: "parallel", operands: "[-]", help: "run the tasks of a file" },
    Command { name: "map", operands: "PROMPT", help: "run a prompt for each item of a list" },
    Command { name: "compare", operands: "[PROMPT]", help: "put a prompt to several backends" },
    Command { name: "chain", operands: "[-]", help: "run the steps of a file one after the other" },
    Command { name: "serve", operands: "", help: "serve HTTP: our own API, OpenAI's and Anthropic's" },
    Command { name: "version", operands: "", help: "print the version" },
    Command { name: "help", operands: "[COMMAND]", help: "print help" },
];

pub struct Flag {
    /// Its name without the dashes.
    pub name: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called in help; empty for a switch.
    pub value: &'static str,
    /// The commands that have it; empty for all.
    pub commands: &'static [&'static str],
    /// What it does, in one line.
    pub help: &'static str,
}

const PROMPT: &[&str] = &["", "resume"];
/// Whatever runs something.
const RUN: &[&str] = &["", "resume", "parallel", "map", "compare", "chain"];
const BATCH: &[&str] = &["parallel", "map", "compare", "chain"];
/// Those that have results of many tasks to keep.
const KEPT: &[&str] = &["parallel", "map", "chain"];
const LISTS: &[&str] = &["parallel", "map"];
const COMPARE: &[&str] = &["compare"];
const CHAIN: &[&str] = &["chain"];
const MAP: &[&str] = &["map"];
const RESUME: &[&str] = &["resume"];
const SESSIONS: &[&str] = &["sessions"];
const CONFIG: &[&str] = &["config"];
const SERVE: &[&str] = &["serve"];

/// A line of the table.
const fn flag(
    name: &'static str,
    short: Option<char>,
    value: &'static str,
    commands: &'static [&'static str],
    help: &'static str,
) -> Flag {
    Flag { name, short, value, commands, help }
}

/// Every flag, in the order in which help lists them.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    flag("backend",            Some('b'), "NAME",     &["", "resume", "sessions", "parallel", "map", "chain"], "who answers; with --last, --here and sessions: only that one's"),
    flag("model",              Some('m'), "MODEL",    &["", "resume", "sessions", "parallel", "map", "compare", "chain"], "the model: an alias (fast, balanced, best) or the vendor's name"),
    flag("workdir",            Some('w'), "DIR",      RUN, "where the backend works"),
    flag("output-format",      Some('o'), "FORMAT",   RUN, "text, json or stream-json"),
    flag("raw",                None,      "",         PROMPT, "print the backend's own lines"),
    flag("approval",           None,      "MODE",     RUN, "what needs a yes: default, auto (edits), none (never ask), always"),
    flag("sandbox",            None,      "MODE",     RUN, "what tools reach: default, read-only, workspace, full"),
    flag("system-prompt",      None,      "TEXT",     RUN, "replace the backend's system prompt"),
    flag("append-system-prompt", None,    "TEXT",     RUN, "add to the backend's system prompt"),
    flag("max-turns",          None,      "N",        RUN, "most model turns"),
    flag("max-tokens",         None,      "N",        RUN, "most output tokens of one model answer"),
    flag("allowed-tools",      None,      "LIST",     RUN, "only these tools exist, and they need no approval"),
    flag("denied-tools",       None,      "LIST",     RUN, "these tools do not exist"),
    flag("add-dir",            None,      "DIR",      RUN, "a further directory for the agent (may be repeated)"),
    flag("json-schema",        None,      "JSON|@FILE", RUN, "the schema that the answer follows"),
    flag("image",              None,      "FILE",     &["", "resume", "map", "compare"], "a picture that goes with the prompt (may be repeated)"),
    flag("file",               Some('f'), "FILE",     RUN, "a text file that goes with the prompt (may be repeated); with parallel, map and chain: the tasks, items or steps"),
    flag("no-stdin",           Some('n'), "",         &["", "resume", "compare", "chain"], "leave standard input alone: for loops that read their list from it"),
    flag("effort",             None,      "LEVEL",    RUN, "how hard the model thinks: low, medium, high"),
    flag("ephemeral",          None,      "",         RUN, "leave no session behind"),
    flag("extra",              None,      "FLAG",     RUN, "a flag for the backend's own command line (may be repeated)"),
    flag("lenient",            None,      "",         RUN, "go on without an option that the backend cannot honour"),
    flag("interpret",          None,      "",         RUN, "let the backend interpret /commands, @files and $skills in the prompt"),
    flag("no-project-config",  None,      "",         RUN, "ignore project files that run code: hooks, .mcp.json, .env"),
    flag("timeout",            None,      "DURATION", RUN, "longest time of the run, such as 90s or 5m"),
    flag("stall-timeout",      None,      "DURATION", RUN, "longest time without any output"),
    flag("first-byte-timeout", None,      "DURATION", RUN, "longest time until the first of the answer"),
    flag("fallback",           None,      "LIST",     &["", "resume", "parallel", "map", "chain"], "who is asked when the backend cannot answer for now: backend or backend:model"),
    flag("max-parallel",       Some('P'), "N",        LISTS, "most runs at once"),
    flag("fail-fast",          None,      "",         LISTS, "stop everything after the first failure"),
    flag("retry",              None,      "N",        BATCH, "try again, so often, what failed for a reason that passes: quota, overload, a time limit"),
    flag("keep-sessions",      None,      "",         BATCH, "leave sessions behind"),
    flag("output-dir",         None,      "DIR",      KEPT,  "keep the results there: a file each, and summary.json"),
    flag("resume",             None,      "DIR",      LISTS, "the same, without what has succeeded there already"),
    flag("jsonl",              None,      "",         LISTS, "print each result as it ends, a JSON line each"),
    flag("null",               Some('0'), "",         MAP,   "items end with NUL, not with the line"),
    flag("replace",            Some('I'), "TEXT",     MAP,   "what stands for the item in the prompt; {} otherwise"),
    flag("backends",           None,      "LIST",     COMPARE, "who is asked: backend or backend:model"),
    flag("all-backends",       None,      "",         COMPARE, "ask all that are installed"),
    flag("sequential",         None,      "",         COMPARE, "ask one after the other"),
    flag("race",               None,      "",         COMPARE, "take the first answer, and stop the others"),
    flag("agree",              None,      "",         COMPARE, "fail unless all answers agree"),
    flag("input",              None,      "TEXT",     CHAIN, "what {{input}} stands for; standard input otherwise"),
    flag("from",               None,      "STEP",     CHAIN, "begin there, with the answers before it from --output-dir"),
    flag("show-tokens",        None,      "",         PROMPT, "print token counts on standard error"),
    flag("show-timing",        None,      "",         PROMPT, "print the time it took on standard error"),
    flag("continue",           Some('c'), "",         &[""],  "continue the newest session of the working directory"),
    flag("last",               None,      "",         RESUME, "continue the newest session of all"),
    flag("here",               None,      "",         &["resume", "sessions"], "only sessions of the working directory"),
    flag("interactive",        Some('i'), "",         RESUME, "choose the session from a list"),
    flag("wait",               None,      "[=DURATION]", PROMPT, "wait for a session that another run holds"),
    flag("replay",             None,      "",         PROMPT, "continue from the stored turns, in a new session of the backend's"),
    flag("tag",                None,      "TAG",      &["", "resume", "sessions", "parallel", "map", "compare", "chain"], "tag the new session; with sessions: only those with it (may be repeated)"),
    flag("status",             None,      "STATUS",   SESSIONS, "only those that stand so: active, completed, error"),
    flag("since",              None,      "AGE|DATE", SESSIONS, "only those used since: 7d, 12h, 2026-01-31"),
    flag("search",             None,      "TEXT",     SESSIONS, "only those with this text in title or prompts"),
    flag("limit",              Some('n'), "N",        SESSIONS, "at most so many"),
    flag("offset",             None,      "N",        SESSIONS, "without the first so many"),
    flag("turns",              None,      "",         SESSIONS, "with prompts and answers"),
    flag("markdown",           None,      "",         SESSIONS, "export as text for people"),
    flag("older-than",         None,      "AGE",      SESSIONS, "clean those not used for so long: 30d, 12h, 2w"),
    flag("all",                None,      "",         SESSIONS, "clean all"),
    flag("dry-run",            None,      "",         &["", "resume", "sessions", "parallel", "map", "compare", "chain"], "print what would be done, and do nothing"),
    flag("host",               None,      "ADDRESS",  SERVE, "the address to listen on (127.0.0.1)"),
    flag("port",               Some('p'), "PORT",     SERVE, "the port to listen on (8080); 0 takes a free one"),
    flag("socket",             None,      "PATH",     SERVE, "a Unix socket to listen on instead"),
    flag("log-format",         None,      "FORMAT",   SERVE, "text or json"),
    flag("log-level",          None,      "LEVEL",    SERVE, "off, error, warn, info or debug"),
    flag("origin",             None,      "",         CONFIG, "say where each value comes from"),
    flag("json",               None,      "",         &[],    "print JSON, errors too; of a prompt: the same as -o json"),
    flag("config",             None,      "FILE",     &[],    "the configuration file"),
    flag("quiet",              Some('q'), "",         &[],    "print no warnings and no spinner"),
    flag("verbose",            Some('v'), "",         &[],    "say on standard error what is done"),
    flag("version",            Some('V'), "",         &[],    "print the version"),
    flag("help",               Some('h'), "",         &[],    "print help"),
];

/// A command line as typed.
#[derive(Debug, Default)]
pub struct Typed {
    /// The command; empty for a prompt.
    pub command: &'static str,
    /// What stands beside the flags, without the command.
    pub operands: Vec<String>,
    /// A `--` stood before the operands: they are meant as they are.
    pub literal: bool,
    flags: Vec<(&'static str, String)>,
}

impl Typed {
    /// The switch was given.
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(given, _)| *given == name)
    }

    /// The names of the flags that were given.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.flags.iter().map(|(given, _)| *given)
    }

    /// The flag's value; the last one when it was repeated.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// All values of a flag, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }
}

/// Parses the words behind the program's name: what could be understood, and the first error. A user who asks for JSON behind
/// a misspelt flag gets the error as JSON.
///
/// # Errors
/// Unknown flags and commands, with the nearest known ones; flags of other commands; values that are missing or not text.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> (Typed, Result<(), Error>) {
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
        match COMMANDS.iter().find(|command| may_be_command && !word.is_empty() && command.name == word) {
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
        self.flags.push((flag.name, value));
        Ok(())
    }
}

/// Whether the next word is the `--` that ends the flags: lexopt swallows it, and a prompt behind it is no command.
fn next_is_separator(parser: &mut lexopt::Parser) -> bool {
    parser.try_raw_args().and_then(|words| words.peek().map(|word| word == "--")).unwrap_or(false)
}

fn check(typed: &Typed) -> Result<(), Error> {
    if typed.has("help") || typed.has("version") {
        return Ok(());
    }
    for (name, _) in &typed.flags {
        let flag = by_name(name)?;
        if !flag.commands.is_empty() && !flag.commands.contains(&typed.command) {
            let (whose, command) = match typed.command {
                "" => ("a prompt".to_owned(), "clinvk".to_owned()),
                name => (format!("`{name}`"), format!("clinvk {name}")),
            };
            return Err(Error::Invalid(format!("`--{name}` is no flag of {whose}: see `{command} -h`")));
        }
    }
    Ok(())
}

fn by_name(name: &str) -> Result<&'static Flag, Error> {
    FLAGS.iter().find(|flag| flag.name == name).ok_or_else(|| Error::Unknown {
        what: "flag",
        given: format!("--{name}"),
        known: FLAGS.iter().map(|flag| format!("--{}", flag.name)).collect(),
    })
}

/// The flag that a letter stands for with this command; where it has none, with another.
fn by_letter(letter: char, command: &str) -> Result<&'static Flag, Error> {
    let flags = || FLAGS.iter().filter(|flag| flag.short == Some(letter));
    let own = flags().find(|flag| flag.commands.is_empty() || flag.commands.contains(&command));
    own.or_else(|| flags().next()).ok_or_else(|| Error::Unknown {
        what: "flag",
        given: format!("-{letter}"),
        known: Vec::new(),
    })
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

/// The one prompt among the operands of a prompt command.
///
/// # Errors
/// More than one word, and a lone word that looks like a misspelt command.
pub fn prompt_operand(operands: &[String], literal: bool) -> Result<Option<&str>, Error> {
    let commands = || COMMANDS.iter().map(|command| command.name).filter(|name| !name.is_empty());
    match operands {
        [] => Ok(None),
        [prompt] => match nearest(prompt, commands()) {
            Some(command) if !literal => Err(Error::Invalid(format!(
                "unknown command `{prompt}`: did you mean `{command}`? As a prompt: clinvk -- {prompt}"
            ))),
            _ => Ok(Some(prompt)),
        },
        [first, ..] => Err(Error::Invalid(match nearest(first, commands()) {
            Some(command) => format!("unknown command `{first}`: did you mean `{command}`?"),
            None => format!(
                "the prompt has {} words: put it in quotes: clinvk '{}'",
                operands.len(),
                operands.join(" ")
            ),
        })),
    }
}
