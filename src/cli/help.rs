//! `help` and `-h`: from the flag table.

use super::flags::{COMMANDS, Command, FLAGS, Flag};
use crate::base::json::json;
use crate::model::error::Error;
use serde_json::Value;
use std::fmt::Write;

/// What `clinvk` alone prints on a terminal.
pub(crate) const SHORT: &str = "\
clinvk: one interface to AI command-line tools

    clinvk 'why is the sky blue?'            ask the default backend
    clinvk -b codex -w ~/src 'fix the test'  ask another one, in a directory
    git diff | clinvk 'review this'          prompt and standard input together
    clinvk -h                                all commands and flags
";

/// The command of that name; the empty one is the prompt.
pub(crate) fn find(name: &str) -> Result<&'static Command, Error> {
    COMMANDS.iter().find(|command| command.name == name).ok_or_else(|| Error::Unknown {
        what: "command",
        given: name.to_owned(),
        known: COMMANDS.iter().skip(1).map(|command| command.name.to_owned()).collect(),
    })
}

/// The help of a command as data: that of the prompt has all commands.
pub(crate) fn data(command: &Command) -> Value {
    let of = |command: &Command| {
        let flags = flags_of(command).map(|flag| {
            let value = Some(flag.value).filter(|value| !value.is_empty());
            json!({"name": flag.name, "letter": flag.short, "value": value, "help": flag.help})
        });
        json!({
            "command": command.name,
            "operands": command.operands,
            "help": command.help,
            "flags": flags.collect::<Vec<_>>(),
        })
    };
    let mut help = of(command);
    if command.name.is_empty() {
        help["commands"] = COMMANDS.iter().skip(1).map(of).collect();
    }
    help
}

fn flags_of(command: &Command) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(|flag| flag.is_of(command.name))
}

/// The help of a command: that of the prompt lists all commands.
pub(crate) fn text(command: &Command) -> String {
    let name = command.name;
    let words = ["clinvk", command.name, "[FLAGS]", command.operands];
    let line: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let mut text = format!("usage: {}\n\n{}\n", line.join(" "), command.help);
    if name.is_empty() {
        text += "\nThe prompt is the argument, or standard input (`-`), or both: argument, blank line, standard input.\n";
        text += "\ncommands:\n";
        for command in COMMANDS.iter().filter(|command| !command.name.is_empty()) {
            let _ = writeln!(text, "  {:<26} {}", command.name, command.help);
        }
    }
    text += "\nflags:\n";
    for flag in flags_of(command) {
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let gap = if flag.value.starts_with('[') { "" } else { " " };
        let long = format!("--{}{gap}{}", flag.name, flag.value);
        let _ = writeln!(text, "  {short}{long:<28} {}", flag.help);
    }
    if name.is_empty() {
        text += "\nexit status: 0 done, 1 failed, 2 no such backend, 3 configuration, 4 session, 5 remote server, 6 timed out,\n\
                 7 cancelled, 8 and above the backend's own. See clinvk(1) and clinvk-config(5).\n";
    }
    text
}
