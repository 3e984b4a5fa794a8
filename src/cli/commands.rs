//! The table of commands: what each is called, what follows it, what it does, and two command lines that show it. The parser,
//! `-h`, completions and the manual page's test read it.

use crate::model::error::Error;

pub struct Command {
    /// What is typed; empty for a prompt. One of another command's has that one's name before its own.
    pub name: &'static str,
    /// What follows it, for help.
    pub(crate) operands: &'static str,
    /// What it does, in one line.
    pub(crate) help: &'static str,
    /// Command lines, and what each does.
    pub(crate) examples: [(&'static str, &'static str); 2],
    /// The commands that it has itself.
    pub verbs: &'static [Command],
}

impl Command {
    /// Its own word.
    pub fn word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or_default()
    }

    /// The command of its own that this word names.
    pub(crate) fn verb(&self, word: &str) -> Option<&'static Command> {
        self.verbs.iter().find(|verb| verb.word() == word)
    }

    /// What follows it: the operands, or the commands that it has.
    pub(crate) fn usage(&self) -> String {
        if self.verbs.is_empty() {
            return self.operands.to_owned();
        }
        let verbs = self.verbs.iter().map(|verb| match verb.operands {
            "" => verb.word().to_owned(),
            operands => format!("{} {operands}", verb.word()),
        });
        verbs.collect::<Vec<_>>().join("|")
    }
}

/// The command that these words begin with, as far as they name one: the rest are its operands.
pub(crate) fn command_of(name: &str, operands: &[String]) -> &'static Command {
    let command = named(name).unwrap_or(&COMMANDS[0]);
    operands.first().and_then(|word| command.verb(word)).unwrap_or(command)
}

/// The command of that name, which is one word.
pub(crate) fn named(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The command that these words name, with nothing left of them; the prompt where there are none.
pub(crate) fn find(words: &[String]) -> Result<&'static Command, Error> {
    let Some((first, rest)) = words.split_first() else { return Ok(&COMMANDS[0]) };
    let unknown = |given: &str, known: &[Command]| Error::Unknown {
        what: "command",
        given: given.to_owned(),
        known: known.iter().map(|command| command.name.to_owned()).collect(),
    };
    let command = named(first).ok_or_else(|| unknown(first, &COMMANDS[1..]))?;
    match rest {
        [] => Ok(command),
        [verb] if !command.verbs.is_empty() => {
            command.verb(verb).ok_or_else(|| unknown(&format!("{first} {verb}"), command.verbs))
        }
        [.., last] => Err(Error::Invalid(format!("`help` takes no `{last}`: see `clinvk help -h`"))),
    }
}

macro_rules! commands {
    ($($name:literal $operands:literal: $help:expr, $([$line:literal, $does:literal]),+ $(, verbs $verbs:expr)?;)+) => {
        &[$(Command {
            name: $name,
            operands: $operands,
            help: $help,
            examples: [$(($line, $does)),+],
            verbs: { let none: &'static [Command] = &[]; $(let none = { let _ = none; $verbs };)? none },
        }),+]
    };
}

const SERVE: &str = if cfg!(feature = "serve") {
    "serve HTTP: our own API, OpenAI's and Anthropic's"
} else {
    "serve HTTP: not in this build"
};

/// Every command. A prompt is the one without a name.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = commands! {
    "" "[PROMPT]": "run a prompt",
        ["clinvk 'why is the sky blue?'", "ask the default backend"],
        ["git diff | clinvk -b codex 'review this'", "prompt and standard input together, of another backend"];
    "resume" "[ID] [PROMPT]": "continue a session",
        ["clinvk resume 3f2a 'and times six?'", "the session whose id begins so"],
        ["clinvk resume --last --wait 'once more'", "the newest of all, when no other run holds it"];
    "chat" "": "put prompts in one session, a line each",
        ["clinvk chat -b codex", "until Ctrl-D; Ctrl-C stops an answer"],
        ["printf '%s\\n' 'name a prime' 'and a larger one' | clinvk chat", "in a pipe, for scripts"];
    "sessions" "": "look at sessions and look after them",
        ["clinvk sessions list --here", "those of this directory"],
        ["clinvk sessions show 3f2a --turns", "one of them, with prompts and answers"],
        verbs SESSIONS;
    "runs" "": "list what runs on a server",
        ["clinvk runs", "what goes on there, and what can be waited for"],
        ["clinvk runs --server http://127.0.0.1:8080 --json", "all that is told of it, for a program"];
    "wait" "RUN": "wait for a run on a server, and print its answer",
        ["clinvk wait $id", "what `clinvk 'fix the test'` prints, after `id=$(clinvk --no-wait 'fix the test')`"],
        ["clinvk wait 5c1e -o json", "a run whose id begins so, as one object"];
    "cancel" "RUN": "stop a run on a server",
        ["clinvk cancel 5c1e", "a run whose id begins so"],
        ["clinvk cancel 5c1e --json", "and whether it was still there to be stopped"];
    "config" "": "read and change the configuration",
        ["clinvk config set default_backend codex", "change one key in the file"],
        ["clinvk config show --origin", "all that is in force, and why"],
        verbs CONFIG;
    "backends" "": "list who can be asked",
        ["clinvk backends", "those that are here or configured"],
        ["clinvk backends --all", "those that are known as well, and how to get them"];
    "models" "": "list the names of models",
        ["clinvk models", "of the backends that are here or configured"],
        ["clinvk models -b claude --json", "of one of them, for a program"];
    "prompts" "": "list the prompts that are kept under a name",
        ["clinvk prompts", "~/.clinvk/prompts/review.md is what `git diff | clinvk -t review` puts around the diff"],
        ["clinvk prompts --json", "with their files, for a program"];
    "doctor" "": "say whether a prompt can run here, and what stands in its way",
        ["clinvk doctor", "exit status 0 when the default backend can run"],
        ["clinvk doctor --server http://127.0.0.1:8080", "with a look at a running server"];
    "parallel" "[-]": "run the tasks of a file",
        ["clinvk parallel -f tasks.json -P 4 --output-dir out", "four at once, a file a result"],
        ["clinvk parallel -f tasks.json --resume out", "only what has not succeeded there"];
    "map" "[PROMPT]": "run a prompt for each item of a list",
        ["git ls-files '*.py' | clinvk map 'Review {}' -P 4", "a prompt for each line"],
        ["find . -print0 | clinvk map -0 'What is {}?'", "for names with any letters in them"];
    "compare" "[PROMPT]": "put a prompt to several backends",
        ["clinvk compare --backends claude,codex:fast 'Is 2027 prime?'", "one answer beside the other"],
        ["clinvk compare --all-backends --race 'one word for big'", "the first answer of all that are here"];
    "chain" "[-]": "run the steps of a file one after the other",
        ["clinvk chain -f pipeline.json --input 'release notes'", "each step has the answer of the one before"],
        ["clinvk chain -f pipeline.json --output-dir out --from edit", "begin in the middle"];
    "acp" "": "be an agent for an editor: the Agent Client Protocol on standard input",
        ["clinvk acp -b codex", "what an editor starts as its agent"],
        ["clinvk acp --approval auto", "with edits approved, unless the editor chooses another mode"];
    "mcp" "": "be a server of tools for an agent: the Model Context Protocol on standard input",
        ["claude mcp add clinvk -- clinvk mcp --backends codex,gemini", "claude may ask these two"],
        ["clinvk mcp --workdir . --sandbox read-only", "calls reach this directory, and change nothing"];
    "serve" "": SERVE,
        ["clinvk serve", "http://127.0.0.1:8080, for this machine only"],
        ["clinvk serve --socket ~/.clinvk/served", "a Unix socket, for this user only"];
    "completions" "SHELL": "print the script by which a shell completes command lines of clinvk",
        ["clinvk completions bash", "bash, zsh or fish: for its folder of completions, or to be sourced"],
        ["clinvk completions -- sessions show ''", "what may stand in the place of the last word"];
    "version" "": "print the version",
        ["clinvk version", "version and commit"],
        ["clinvk version --json", "with the features of the build"];
    "help" "[COMMAND...]": "print help",
        ["clinvk help map", "what a command does, and its flags"],
        ["clinvk help sessions clean", "the same of a command's command"];
};

#[rustfmt::skip]
const SESSIONS: &[Command] = commands! {
    "sessions list" "": "list sessions, the newest first",
        ["clinvk sessions list --since 7d", "those used in the last seven days"],
        ["clinvk sessions list -n 0 --json", "all of them, for a program"];
    "sessions show" "ID": "show what is known of a session",
        ["clinvk sessions show 3f2a", "its backend, model, times and tokens"],
        ["clinvk sessions show 3f2a --turns", "and its prompts and answers"];
    "sessions delete" "ID...": "delete sessions",
        ["clinvk sessions delete 3f2a9c01", "at least eight characters of the id"],
        ["clinvk sessions delete 3f2a9c01 77b0e4d2 --json", "two, and their whole ids"];
    "sessions clean" "": "delete the sessions that are old, or that the flags choose",
        ["clinvk sessions clean --older-than 30d --dry-run", "say which would go"],
        ["clinvk sessions clean --all --tag ci", "all with this tag, of any age"];
    "sessions fork" "ID": "begin a new session with the turns of another",
        ["clinvk sessions fork 3f2a", "print the id of the new one"],
        ["clinvk resume \"$(clinvk sessions fork 3f2a)\" 'another way?'", "try something, and leave the first as it is"];
    "sessions rename" "ID TITLE": "give a session a title",
        ["clinvk sessions rename 3f2a 'the parser'", "what `sessions list` shows of it"],
        ["clinvk sessions rename 3f2a ''", "take the title away: the first prompt is shown"];
    "sessions tag" "ID TAG...": "give a session tags",
        ["clinvk sessions tag 3f2a review ci", "two at once"],
        ["clinvk sessions tag 3f2a keep --json", "print the session as it is then"];
    "sessions untag" "ID TAG...": "take tags away from a session",
        ["clinvk sessions untag 3f2a ci", "one of them"],
        ["clinvk sessions untag 3f2a ci review", "two at once"];
    "sessions export" "ID": "print a session with its turns, for `import` or for people",
        ["clinvk sessions export 3f2a >session.json", "all of it, as JSON"],
        ["clinvk sessions export 3f2a --markdown >session.md", "as text for people"];
    "sessions import" "FILE|-": "take in a session that was exported",
        ["clinvk sessions import session.json", "print its id here"],
        ["ssh host clinvk sessions export 3f2a | clinvk sessions import -", "from another machine"];
    "sessions fsck" "": "find and repair what a full disk or a kill has left behind",
        ["clinvk sessions fsck", "repair what can be"],
        ["clinvk sessions fsck --dry-run", "only say what is wrong"];
};

#[rustfmt::skip]
const CONFIG: &[Command] = commands! {
    "config show" "": "print every key and its value",
        ["clinvk config show", "what is in force"],
        ["clinvk config show --origin", "and whether file, variable or default says so"];
    "config get" "KEY": "print the value of a key",
        ["clinvk config get default_backend", "text without quotes"],
        ["clinvk config get backends.claude --json", "a whole part, as JSON"];
    "config set" "KEY VALUE": "change a key in the file",
        ["clinvk config set default_backend codex", "text"],
        ["clinvk config set backends.llm.command '[\"llm\"]'", "or JSON"];
    "config unset" "KEY": "take a key out of the file",
        ["clinvk config unset default_backend", "its default holds again"],
        ["clinvk config unset backends.llm", "a whole part"];
    "config path" "": "print which file it is",
        ["clinvk config path", "there or not"],
        ["\"$EDITOR\" \"$(clinvk config path)\"", "edit it by hand"];
    "config validate" "": "check the file",
        ["clinvk config validate", "exit status 3 when it is wrong"],
        ["clinvk config validate --config new.json", "another file, before it is used"];
};

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Command};
    use crate::cli::flags::{Typed, parse};

    /// The words of a line of examples as a shell would have them, each part of a pipeline by itself.
    fn parts(line: &str) -> Vec<Vec<String>> {
        let (mut parts, mut word, mut quote) = (vec![Vec::new()], None::<String>, None);
        for letter in line.chars().chain([' ']) {
            match (quote, letter) {
                (Some(open), _) if letter == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(letter);
                    word.get_or_insert_default();
                }
                (None, ' ') => match word.take() {
                    Some(bar) if bar == "|" => parts.push(Vec::new()),
                    Some(file) if file.starts_with('>') => {}
                    Some(word) => parts.last_mut().expect("there is one").push(word),
                    None => {}
                },
                _ => word.get_or_insert_default().push(letter),
            }
        }
        parts
    }

    fn check(command: &Command) {
        for (line, does) in command.examples {
            assert!(!does.is_empty() && line.len() <= 90, "{line}");
            let ours = parts(line).into_iter().filter_map(|words| {
                let at = words.iter().rposition(|word| word == "clinvk")?;
                Some(parse(words[at + 1..].iter().map(Into::into)))
            });
            let ours: Vec<_> = ours.collect();
            for (_, understood) in &ours {
                assert!(understood.is_ok(), "{line}: {understood:?}");
            }
            let shown = |typed: &Typed| [typed.command, typed.what().name].contains(&command.name);
            let shown = ours.iter().any(|(typed, _)| shown(typed));
            assert!(shown || line.contains(&format!("$(clinvk {}", command.name)), "{line}");
        }
    }

    #[test]
    fn the_examples_are_understood_as_what_they_show() {
        COMMANDS.iter().chain(COMMANDS.iter().flat_map(|command| command.verbs)).for_each(check);
    }
}
