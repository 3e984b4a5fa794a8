//! A dry run: what would be executed, as a script that a shell runs, or as data. Of MCP servers it shows no secrets.

use crate::backend::{Launch, MARKER, Step, Steps, Trust};
use crate::base::collect::inserted;
use crate::base::json::{self, json};
use crate::base::text::quote;
use crate::config::{BackendConfig, Config};
use crate::engine::{Engine, Prepared};
use crate::model::error::Error;
use crate::model::mcp::McpServer;
use crate::model::task::{OutputFormat, Task};
use crate::session::Session;
use serde_json::{Map, Value};
use std::path::Path;

/// Who reads it.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'a> {
    /// A user who can read the configuration too.
    Owner,
    /// A client, or a log. Of what is configured for the backend it sees the names of variables and flags, and no values:
    /// there may be keys among them.
    Other(&'a BackendConfig),
}

impl Reader<'_> {
    /// The launch as this reader sees it, in its words.
    fn words(self, launch: &Launch) -> Vec<String> {
        let mut launch = launch.clone();
        launch.args = self.args(&launch);
        if let (Some(start), Reader::Other(_)) = (&mut launch.start, self) {
            start.words.iter_mut().for_each(|word| *word = hidden(word));
        }
        launch.words(RUN)
    }

    /// The program's own arguments as this reader sees them.
    pub(crate) fn args(self, launch: &Launch) -> Vec<String> {
        let Reader::Other(config) = self else { return launch.args.clone() };
        let is_configured = |word: &String| {
            config.declared.command.iter().skip(1).chain(&config.extra_flags).any(|own| own == word)
        };
        let shown = |word: &String| if is_configured(word) { hidden(word) } else { word.clone() };
        launch.args.iter().map(shown).collect()
    }
}

/// A configured word without what may be a value.
fn hidden(word: &str) -> String {
    match word.split_once('=') {
        Some((flag, _)) if flag.starts_with('-') => format!("{flag}={HIDDEN}"),
        None if word.starts_with('-') => word.to_owned(),
        _ => HIDDEN.to_owned(),
    }
}

/// Stands for the name of the run.
const RUN: &str = "<run>";

/// Stands in the place of what a reader may not see.
const HIDDEN: &str = "...";

/// What would be executed, for its owner.
pub(crate) fn describe(prepared: &Prepared, program: Option<&Path>, format: OutputFormat) -> String {
    match format {
        OutputFormat::Text => text(prepared, program, Reader::Owner),
        OutputFormat::Json | OutputFormat::StreamJson => {
            data(prepared, program, Reader::Owner).to_string() + "\n"
        }
    }
}

/// What would be executed of a task of a client's, for that client.
pub(crate) fn for_client(
    engine: &Engine,
    config: &Config,
    task: Task,
    session: Option<&Session>,
) -> Result<String, Error> {
    let prepared = engine.prepare(task, session)?;
    let program = engine.locate(&*prepared.backend, Trust::All);
    let reader = Reader::Other(config.backend(&prepared.task.backend));
    Ok(text(&prepared, program.as_deref(), reader))
}

fn name(prepared: &Prepared, program: Option<&Path>) -> String {
    program.map_or(prepared.launch.program.clone(), |path| path.to_string_lossy().into_owned())
}

/// The same as data.
pub(crate) fn data(prepared: &Prepared, program: Option<&Path>, reader: Reader<'_>) -> Value {
    let prepared = &shown(prepared, reader);
    let (launch, said, program) = (&prepared.launch, rehearse(prepared), name(prepared, program));
    let files: Vec<_> = launch
        .files
        .iter()
        .map(|file| json!({"path": json::path(&file.path), "content": file.text}))
        .collect();
    let value = |value: &String| match reader {
        Reader::Owner => Value::from(value.as_str()),
        Reader::Other(_) => Value::Null,
    };
    let visible = |value: &'_ String| match reader {
        Reader::Owner => value.clone(),
        Reader::Other(_) => HIDDEN.to_owned(),
    };
    let set: Vec<_> = launch.env.iter().map(|(name, set)| (&**name, visible(set))).collect();
    let by_name = launch.start.iter().flat_map(|start| start.env.iter().map(|name| (&**name, HIDDEN)));
    let first = launch.opening(set.iter().map(|(name, value)| (*name, &**value)).chain(by_name));
    let env: Map<_, _> = inserted(launch.env.iter().map(|(name, set)| (name.clone(), value(set))));
    json!({
        "dry_run": true,
        "backend": prepared.backend.name(),
        "model": prepared.task.model,
        "program": program,
        "args": reader.words(launch),
        "env": env,
        "unset": launch.unset,
        "dir": json::path(&launch.dir),
        "files": files,
        "overlay": launch.overlay.as_ref().map(|overlay| {
            let (name, ours) = &overlay.settings;
            json!({"home": json::path(&overlay.home), "settings": name, "merged": ours})
        }),
        "stdin": first + &said.concat(),
        "warnings": prepared.warnings,
    })
}

/// The same as a script: what is no command in it is a comment.
pub(crate) fn text(prepared: &Prepared, program: Option<&Path>, reader: Reader<'_>) -> String {
    let prepared = &shown(prepared, reader);
    let (launch, said, program) = (&prepared.launch, rehearse(prepared), name(prepared, program));
    let mut text = String::new();
    if let Some(overlay) = &launch.overlay {
        let (name, ours) = &overlay.settings;
        let home = overlay.home.display();
        text += &comment(&format!("Would make: {home}, with links to what is in the user's"));
        text += &comment(&format!("Would merge: the user's {name} with the one below"));
        text += &format!("mkdir -p {}\n", quote(&overlay.temp.to_string_lossy()));
        text += &writing(&overlay.home.join(name), &ours.to_string());
    }
    text.extend(launch.files.iter().map(|file| writing(&file.path, &file.text)));
    let opening = opening(launch, reader);
    let mut words = vec!["env".to_owned()];
    words.extend(launch.unset.iter().flat_map(|name| ["-u".to_owned(), quote(name)]));
    let set = launch.env.iter().filter(|_| opening.is_empty());
    words.extend(set.map(|(name, value)| match reader {
        Reader::Owner => format!("{name}={}", quote(value)),
        // As the environment of the reader who pastes it has it.
        Reader::Other(_) => format!("{name}=\"${name}\""),
    }));
    if launch.start.is_some() && opening.is_empty() {
        words.push(format!("{MARKER}={}", quote(RUN)));
    }
    if words.len() == 1 {
        words.pop();
    }
    words.push(quote(&program));
    words.extend(reader.words(launch).iter().map(|arg| quote(arg)));
    let (dir, command, said) = (quote(&launch.dir.to_string_lossy()), words.join(" "), said.concat());
    let first = match opening.join(" ") {
        lines if lines.is_empty() => String::new(),
        lines => format!("printf '%s\\n' {lines}; "),
    };
    text += &comment("Would execute:");
    text + &match &*said {
        "" if first.is_empty() => format!("cd {dir} && {command} </dev/null\n"),
        "" => format!("cd {dir} && {{ {first}}} | {command}\n"),
        // Two-way programs end at the end of their input, whether they have answered or not.
        lines if !prepared.backend.rehearsal(&prepared.task).is_empty() => {
            format!("cd {dir} && {{ {first}cat; sleep 5; }} <<'{END}' | {command}\n{lines}{END}\n")
        }
        // Lines are easier to read as they are; a text without a last line's end can only be a word.
        lines if first.is_empty() && lines.ends_with('\n') && !lines.lines().any(|line| line == END) => {
            format!("cd {dir} && {command} <<'{END}'\n{lines}{END}\n")
        }
        word if first.is_empty() => format!("cd {dir} && printf %s {} | {command}\n", quote(word)),
        word => format!("cd {dir} && {{ {first}printf %s {}; }} | {command}\n", quote(word)),
    }
}

/// The lines that a launcher's shell is told first, as words of a shell; none where it has all in another way. What is not
/// known here, or not for this reader, is as the environment of who pastes it has it.
fn opening(launch: &Launch, reader: Reader<'_>) -> Vec<String> {
    let by_name = |name: &str| format!("\"{name}=${name}\"");
    let known = match reader {
        Reader::Owner => launch.opening(launch.env.iter().map(|(name, value)| (&**name, &**value))),
        Reader::Other(_) => launch.opening([]),
    };
    let mut lines: Vec<String> = match reader {
        Reader::Owner => Vec::new(),
        Reader::Other(_) if known.is_empty() => Vec::new(),
        Reader::Other(_) => launch.env.iter().map(|(name, _)| by_name(name)).collect(),
    };
    if !known.is_empty() {
        lines.extend(launch.start.iter().flat_map(|start| start.env.iter().map(|name| by_name(name))));
    }
    lines.extend(known.lines().map(quote));
    lines
}

/// The same with its MCP servers as this reader sees them.
fn shown(prepared: &Prepared, reader: Reader<'_>) -> Prepared {
    let as_seen = |server: &McpServer| match reader {
        Reader::Owner => server.without_secrets(HIDDEN),
        Reader::Other(_) => server.without_values(HIDDEN),
    };
    let task = Task { mcp: prepared.task.mcp.iter().map(as_seen).collect(), ..prepared.task.clone() };
    let launch = prepared.backend.launch(&task).expect("it was launched with other values");
    Prepared {
        backend: prepared.backend.clone(),
        task,
        launch,
        warnings: prepared.warnings.clone(),
        continues: None,
    }
}

/// What the dialogue would say, line by line, if the child answered as its backend rehearses it.
fn rehearse(prepared: &Prepared) -> Vec<String> {
    let mut dialogue = prepared.backend.dialogue(&prepared.task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    for line in prepared.backend.rehearsal(&prepared.task) {
        dialogue.line(&line, &mut steps);
    }
    let said = steps.into_iter().filter_map(|step| match step {
        Step::Send(line) => Some(line + "\n"),
        Step::SendRaw(text) => Some(text.to_string()),
        _ => None,
    });
    said.collect()
}

/// A file that would be written, as a shell does it.
fn writing(path: &Path, text: &str) -> String {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let (dir, path) = (quote(&dir.to_string_lossy()), quote(&path.to_string_lossy()));
    comment("Would write:") + &format!("mkdir -p {dir} && printf %s {} >{path}\n", quote(text))
}

/// Words for people, which a shell passes over: no line of them is a command.
fn comment(words: &str) -> String {
    words.lines().map(|line| format!("# {line}\n")).collect()
}

/// The line that ends what is said on standard input.
const END: &str = "END_OF_CLINVK_INPUT";
