//! `help` and `-h`: a page for each command, from the tables of commands and flags.

use super::commands::{COMMANDS, Command};
use super::flags::{FLAGS, Flag};
use crate::base::json::json;
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

/// The commands that a page lists: that of the prompt has all.
fn listed(command: &Command) -> &'static [Command] {
    if command.name.is_empty() { &COMMANDS[1..] } else { command.verbs }
}

/// The help of a command as data.
pub(crate) fn data(command: &Command) -> Value {
    let flags = flags_of(command).map(|flag| {
        let value = Some(flag.value).filter(|value| !value.is_empty());
        let help = flag.help(command.name);
        json!({"name": flag.name, "letter": flag.short, "value": value, "help": help, "group": flag.group})
    });
    let examples = command.examples.iter().map(|(line, does)| json!({"line": line, "help": does}));
    let mut help = json!({
        "command": command.name,
        "operands": command.usage(),
        "help": command.help,
        "flags": flags.collect::<Vec<_>>(),
        "examples": examples.collect::<Vec<_>>(),
    });
    if !listed(command).is_empty() {
        help["commands"] = listed(command).iter().map(data).collect();
    }
    help
}

fn flags_of(command: &Command) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(|flag| flag.is_of(command.name))
}

/// The help of a command as a page.
pub(crate) fn text(command: &Command) -> String {
    let usage = command.usage();
    let line = ["clinvk", command.name, "[FLAGS]", &usage].into_iter().filter(|word| !word.is_empty());
    let mut text = format!("usage: {}\n\n{}\n", line.collect::<Vec<_>>().join(" "), command.help);
    if command.name.is_empty() {
        text += "\nThe prompt is the argument, or standard input (`-`), or both: argument, blank line, standard input.\n\
                 In a loop that reads its list from a pipe, the first run takes the rest of the list for its own: -n leaves it.\n";
    }
    if !listed(command).is_empty() {
        text += "\ncommands:\n";
    }
    for command in listed(command) {
        let _ = writeln!(text, "  {:<26} {}", command.name, command.help);
    }
    let mut group = "";
    for flag in flags_of(command) {
        if group != flag.group {
            group = flag.group;
            let _ = writeln!(text, "\n{group}:");
        }
        let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let gap = if flag.value.starts_with('[') { "" } else { " " };
        let long = format!("--{}{gap}{}", flag.name, flag.value);
        let _ = writeln!(text, "  {short}{long:<28} {}", flag.help(command.name));
    }
    text += "\nexamples:\n";
    for (line, does) in command.examples {
        let _ = writeln!(text, "  {line}\n      {does}");
    }
    if command.name.is_empty() {
        text += "\n`clinvk help COMMAND` has more of each.\n\
                 exit status: 0 done, 1 failed, 2 no such backend, 3 configuration, 4 session, 5 remote server, 6 timed out,\n\
                 7 cancelled, 8 and above the backend's own. See clinvk(1) and clinvk-config(5).\n";
    }
    text
}
