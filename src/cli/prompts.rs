//! Prompts that are kept in files: the one that a command line names, and `clinvk prompts`, which lists those that have a
//! name.

use super::flags::{Name, Typed};
use super::{say_either, table};
use crate::base::disk;
use crate::base::json::{self, json};
use crate::base::printable;
use crate::base::sys;
use crate::base::text::{self, nearest};
use crate::base::world::World;
use crate::batch::map;
use crate::batch::prompt_file::{INPUT, PromptFile};
use crate::model::error::Error;
use crate::session::shorten;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where those are that have a name, in clinvk's home.
const FOLDER: &str = "prompts";
/// What follows the name.
const END: &str = ".md";
/// A longer file is no prompt: no model takes as much.
const LONGEST: u64 = 16 << 20;
/// What names our own standard input as a file.
const STANDARD_INPUT: [&str; 3] = ["-", "/dev/stdin", "/dev/fd/0"];

/// Lists those that have a name.
pub(crate) fn run(typed: &Typed, world: &World) -> Result<u8, Error> {
    let folder = world.home()?.join(FOLDER);
    let all: Vec<Listed> = names(&folder)?.into_iter().map(|name| Listed::of(name, &folder)).collect();
    if all.is_empty() {
        log::warn!("there are none: `{}/NAME{END}` is what `-t NAME` uses", folder.display());
    }
    let data: Vec<Value> = all.iter().map(Listed::data).collect();
    let head = ["NAME", "VARIABLES", "BACKEND", "MODEL", "FIRST LINE"].map(str::to_owned);
    let cells: Vec<[String; 5]> = std::iter::once(head).chain(all.iter().map(Listed::cells)).collect();
    say_either(typed, json!({"prompts": data, "directory": json::path(&folder)}), &table::aligned(&cells))
}

/// The names, and the first line of each.
pub(super) fn offered(world: &World) -> Vec<(String, String)> {
    let Ok(home) = world.home() else { return Vec::new() };
    let folder = home.join(FOLDER);
    let line = |name: String| {
        let file = Listed::of(name, &folder);
        (file.name, file.read.map(|read| read.first_line).unwrap_or_default())
    };
    names(&folder).unwrap_or_default().into_iter().map(line).collect()
}

/// One with a name: what is in it, or what is wrong with it.
struct Listed {
    name: String,
    path: PathBuf,
    read: Result<PromptFile, Error>,
}

impl Listed {
    fn of(name: String, folder: &Path) -> Listed {
        let path = path_of(&name, folder);
        Listed { read: read_named(&path), name, path }
    }

    fn cells(&self) -> [String; 5] {
        let cells = match &self.read {
            Ok(PromptFile { options, first_line, .. }) => [
                self.name.clone(),
                self.variables().join(", "),
                options.backend.clone().unwrap_or_default(),
                options.model.clone().unwrap_or_default(),
                shorten(first_line, 60),
            ],
            Err(error) => [&self.name, "", "", "", &format!("it cannot be used: {error}")].map(str::to_owned),
        };
        cells.map(|cell| printable::safe(&cell))
    }

    fn variables(&self) -> Vec<&str> {
        self.read.as_ref().map(PromptFile::variables).unwrap_or_default()
    }

    fn data(&self) -> Value {
        let read = self.read.as_ref().ok();
        json!({
            "name": self.name,
            "path": json::path(&self.path),
            "variables": (self.variables()),
            "backend": (read.and_then(|read| read.options.backend.as_ref())),
            "model": (read.and_then(|read| read.options.model.as_ref())),
            "first_line": (read.map(|read| &read.first_line)),
            "error": (self.read.as_ref().err().map(ToString::to_string)),
        })
    }
}

fn path_of(name: &str, folder: &Path) -> PathBuf {
    folder.join(format!("{name}{END}"))
}

/// A name is that of a file in the folder. It leads nowhere else, and is not hidden.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// The names that there are, in order.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let fail = |error| Error::File { verb: "read", path: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(fail)?.file_name();
        names
            .extend(file.to_string_lossy().strip_suffix(END).filter(|name| is_name(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The prompt file that is named, with the values of its variables.
pub(crate) fn given(typed: &Typed, world: &World) -> Result<Option<PromptFile>, Error> {
    let file = match (typed.value(Name::Template), typed.value(Name::PromptFile)) {
        (Some(name), _) => named(name, world)?,
        (None, Some(file)) if takes_stdin(typed) => {
            may_take_stdin(typed, file)?;
            read(sys::Waiting(io::stdin().lock()), "standard input".into())?
        }
        (None, Some(file)) => {
            let opened = File::open(world.cwd.join(file)).map_err(|error| unreadable(file.into(), error))?;
            read(opened, file.into())?
        }
        (None, None) if typed.has(Name::Var) => {
            let sentence = "`--var` is for the variables of a prompt file: `-t NAME` or `--prompt-file FILE`";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        (None, None) => return Ok(None),
    };
    let values = typed.values(Name::Var).map(pair).collect::<Result<Vec<_>, _>>()?;
    let own: &[&str] = if typed.command == "map" { &map::VARIABLES } else { &[] };
    let is_own = |name: &str| name == INPUT || own.contains(&name);
    check(&file, &values, is_own)?;
    Ok(Some(values.into_iter().fold(file, |file, (name, value)| file.with(name, value))))
}

fn named(name: &str, world: &World) -> Result<PromptFile, Error> {
    let folder = world.home()?.join(FOLDER);
    if !is_name(name) {
        let sentence = format!(
            "`--template {name}`: a name is that of a file in `{}`, without its `{END}`: `--prompt-file` takes any other",
            folder.display()
        );
        return Err(Error::Invalid(sentence));
    }
    let path = path_of(name, &folder);
    match read_named(&path) {
        Err(Error::File { error, .. }) if error.kind() == ErrorKind::NotFound => {
            let known = names(&folder)?;
            Err(match known.is_empty() {
                true => Error::Invalid(format!("unknown prompt `{name}`: `{}` is not there", path.display())),
                false => Error::Unknown { what: "prompt", given: name.to_owned(), known },
            })
        }
        read => read,
    }
}

/// One with a name is a regular file: to list them all is to wait for none.
fn read_named(path: &Path) -> Result<PromptFile, Error> {
    read(disk::open_linked(path).map_err(|error| unreadable(path.to_owned(), error))?, path.to_owned())
}

fn read(from: impl io::Read, path: PathBuf) -> Result<PromptFile, Error> {
    let mut bytes = Vec::new();
    let read = disk::read_into(&mut bytes, from, LONGEST);
    let invalid = |_| io::Error::new(ErrorKind::InvalidData, "it is not valid UTF-8");
    let text = read.and_then(|()| text::of(bytes).map_err(invalid));
    PromptFile::read(&text.map_err(|error| unreadable(path.clone(), error))?, path.display().to_string())
}

fn unreadable(path: PathBuf, error: io::Error) -> Error {
    Error::File { verb: "read", path, error }
}

/// The command line names a prompt file.
pub(super) fn is_named(typed: &Typed) -> bool {
    typed.has(Name::Template) || typed.has(Name::PromptFile)
}

/// The prompt file is standard input, which is no input of its own then.
pub(super) fn takes_stdin(typed: &Typed) -> bool {
    typed.value(Name::PromptFile).is_some_and(|file| STANDARD_INPUT.contains(&file))
}

/// Only one thing can be read from there.
fn may_take_stdin(typed: &Typed, file: &str) -> Result<(), Error> {
    let list_is_elsewhere = typed.value(Name::File).is_some_and(|list| list != "-");
    let other = match typed.command {
        "chat" => "the lines of a chat are",
        "map" if !list_is_elsewhere => "the list is",
        _ if typed.has(Name::NoStdin) => {
            return Err(Error::Invalid(format!(
                "`--prompt-file {file}` and `--no-stdin` exclude each other"
            )));
        }
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!("`--prompt-file {file}`: {other} read from standard input")))
}

fn pair(word: &str) -> Result<(&str, &str), Error> {
    let pair = word.split_once('=').map(|(name, value)| (name.trim(), value));
    let wrong = || Error::Invalid(format!("`--var {word}`: expected NAME=VALUE"));
    pair.filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)
}

/// Each variable has one value, and each value a variable.
fn check(file: &PromptFile, values: &[(&str, &str)], is_own: impl Fn(&str) -> bool) -> Result<(), Error> {
    let (name, variables) = (&file.name, file.variables());
    for (index, (variable, _)) in values.iter().enumerate() {
        let why = if is_own(variable) {
            "it has its value from what is asked".to_owned()
        } else if values[..index].iter().any(|(earlier, _)| earlier == variable) {
            "it is given twice".to_owned()
        } else if variables.contains(variable) {
            continue;
        } else {
            let others: Vec<&str> = variables.iter().copied().filter(|name| !is_own(name)).collect();
            let near = nearest(variable, others.iter().copied());
            let hint = match (near, others.is_empty()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, true) => "it has no variables for `--var`".to_owned(),
                (None, false) => format!("it has {}", others.join(", ")),
            };
            format!("it is not in `{name}`: {hint}")
        };
        return Err(Error::Invalid(format!("`--var {variable}`: {why}")));
    }
    let has_value = |variable: &str| is_own(variable) || values.iter().any(|(name, _)| *name == variable);
    let missing: Vec<&str> = variables.into_iter().filter(|variable| !has_value(variable)).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let all: Vec<String> = missing.iter().map(|variable| format!("`{{{{{variable}}}}}`")).collect();
    Err(Error::Invalid(format!(
        "`{name}` has no value for {}: give `--var {first}=VALUE` (a literal `{{{{` is `{{{{{{{{`)",
        all.join(", ")
    )))
}
