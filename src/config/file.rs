//! `config.json`: reads and checks it, and changes one key of it for `config set` and `config unset`.

use super::agents;
use super::json::{Member, Problem, members};
use super::path::{self, Names, Place, bad_name, bad_value, misplaced, named, unknown};
use super::table::BUILT_IN;
use super::value::{Type, found};
use super::{Origin, Settings};
use crate::base::collect::inserted;
use crate::base::json::json;
use crate::base::lock::Lock;
use crate::base::text::nearest;
use crate::base::{disk, json, sys, text};
use crate::model::error::Error;
use serde_json::Value;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The text of the file; `None` when there is no file.
pub(super) fn read(file: &Path) -> Result<Option<String>, Error> {
    match fs::read(file) {
        Ok(bytes) => match text::of(bytes) {
            Ok(text) => Ok(Some(json::mend(&text).into_owned())),
            Err(_) => Err(broken(file, "not valid UTF-8")),
        },
        // The file may be as it should be.
        Err(error) if sys::is_shortage(&error) => {
            Err(Error::File { verb: "read", path: file.to_owned(), error })
        }
        // A link to nowhere is a broken file, not a missing one.
        Err(error) if error.kind() == ErrorKind::NotFound && file.symlink_metadata().is_err() => Ok(None),
        Err(error) => Err(broken(file, &format!("cannot be read: {error}"))),
    }
}

/// An error about the file as a whole.
pub(super) fn broken(file: &Path, problem: &str) -> Error {
    Error::Config { origin: file.display().to_string(), position: None, problem: problem.to_owned() }
}

fn broken_at(file: &Path, (position, problem): Problem) -> Error {
    Error::Config { origin: file.display().to_string(), position: Some(position), problem }
}

/// Everything that the text of the file says, checked against the table.
pub(super) fn settings(file: &Path, text: &str) -> Result<Settings, Error> {
    let found = find_settings(text).map_err(|problem| broken_at(file, problem))?;
    Ok(inserted(found.into_iter().map(|(path, value)| (path, (value, Origin::File(file.to_owned()))))))
}

fn find_settings(text: &str) -> Result<Vec<(path::Path, Value)>, Problem> {
    let members = members(text)?;
    let names = Names::of(members.iter().map(|member| &member.path));
    let mut settings = Vec::new();
    for member in &members {
        let problem = |(section, name)| bad_name(section, name, names.backends());
        if let Some(problem) = declares(member).and_then(problem) {
            return Err((member.key_at, problem));
        }
        settings.extend(setting(member, &names)?);
    }
    for member in members.iter().filter(|member| is_program(member)) {
        let command = [member.path.as_slice(), &["command".to_owned()]].concat();
        if !settings.iter().any(|(path, _)| *path == command) {
            return Err((member.key_at, no_command(&member.path[1])));
        }
    }
    Ok(settings)
}

/// The settings in the text of our own rows, whose names need not follow the rule for those of a file.
pub(super) fn settings_of_rows(text: &str) -> Result<Vec<(path::Path, Value)>, Problem> {
    let members = members(text)?;
    let names = Names::of([]);
    let settings = members.iter().map(|member| setting(member, &names));
    settings.filter_map(Result::transpose).collect()
}

/// Whether this member declares a backend of which nothing is known but what stands there.
fn is_program(member: &Member<'_>) -> bool {
    matches!(declares(member), Some(("backends", name)) if agents::find(name).is_none())
}

/// The section and the name in it, when this member declares one: a backend, the policy of an API key, or a pool.
fn declares<'a>(member: &'a Member<'_>) -> Option<(&'static str, &'a str)> {
    let (section, name) = named(&member.path)?;
    let is_declaration = member.path.len() == section.split('.').count() + 1;
    let is_built_in = section == "backends" && BUILT_IN.contains(&name);
    (is_declaration && !is_built_in).then_some((section, name))
}

/// What this member sets, and to what; `None` for what has its values in members of its own.
fn setting(member: &Member<'_>, names: &Names) -> Result<Option<(path::Path, Value)>, Problem> {
    let Some(place) = Place::of(&member.path) else {
        return Err((member.key_at, unknown(&member.path, names)));
    };
    if let Some(problem) = misplaced(&member.path, place.key()) {
        return Err((member.key_at, problem));
    }
    let refuse = |problem| (member.value_at, format!("`{}`: {problem}", member.path.join(".")));
    let value = member.value();
    let value = match place {
        Place::Section(_) if value.is_object() => return Ok(None),
        Place::Section(_) => return Err(refuse(format!("expected an object, found {}", found(&value)))),
        Place::Key(key) if key.kind == Type::Map && value.is_object() => return Ok(None),
        Place::Key(key) => key.kind.check(&value).map_err(refuse)?,
        Place::Entry(_) => Type::Text.check(&value).map_err(refuse)?,
    };
    match bad_value(&member.path, &value, names.backends()) {
        Some(problem) => Err(refuse(problem)),
        None => Ok(Some((member.path.clone(), value))),
    }
}

fn no_command(name: &str) -> String {
    match nearest(name, BUILT_IN.iter().copied()) {
        Some(near) => format!("backend `{name}` has no `command`: did you mean `{near}`?"),
        None => {
            format!("backend `{name}` is not built in: `backends.{name}.command` has to name its program")
        }
    }
}

/// Sets a key in the file, which is made when missing, and returns the value that the text became. The file stays as it
/// was when the text is not of the key's type or the file would not load with it.
pub fn set(file: &Path, key: &str, text: &str) -> Result<Value, Error> {
    let path = path::path(key);
    let kind = match Place::of(&path) {
        None => return Err(Error::Invalid(unknown(&path, &Names::of([])))),
        Some(Place::Section(_)) => {
            return Err(Error::Invalid(format!("`{key}` is a section: name a key in it")));
        }
        Some(Place::Key(key)) => key.kind,
        Some(Place::Entry(_)) => Type::Text,
    };
    let value = kind.parse(text).map_err(|problem| Error::Invalid(format!("`{key}`: {problem}")))?;
    edit(file, |root| {
        put(root, &path, value.clone());
        true
    })?;
    Ok(value)
}

/// Takes a key or a whole section out of the file; `false` when it was not in it. The file stays as it was when it would not
/// load without the key.
pub fn unset(file: &Path, key: &str) -> Result<bool, Error> {
    let path = path::path(key);
    // What the file has can be taken out of it, known or not.
    if read(file)?.is_some() && edit(file, |root| take(root, &path))? {
        return Ok(true);
    }
    match Place::of(&path) {
        Some(_) => Ok(false),
        None => Err(Error::Invalid(unknown(&path, &Names::of([])))),
    }
}

/// Puts a value at a path. What stands in the way is no valid configuration, and goes.
pub(super) fn put(root: &mut Value, path: &[String], value: Value) {
    let mut node = root;
    for name in path {
        if !node.is_object() {
            *node = json!({});
        }
        node = &mut node[name.as_str()];
    }
    *node = value;
}

/// Takes a value out, and the objects that are empty without it.
fn take(node: &mut Value, path: &[String]) -> bool {
    let (Some(object), Some((name, rest))) = (node.as_object_mut(), path.split_first()) else { return false };
    if rest.is_empty() {
        return object.remove(name).is_some();
    }
    let Some(child) = object.get_mut(name) else { return false };
    let taken = take(child, rest);
    if taken && child.as_object().is_some_and(|child| child.is_empty()) {
        object.remove(name);
    }
    taken
}

/// Changes the file under its lock, so that of two changes none is lost. `change` says whether it changed anything.
fn edit(file: &Path, change: impl FnOnce(&mut Value) -> bool) -> Result<bool, Error> {
    let file = target(file);
    let directory = disk::directory(&file);
    let failed = |verb, path: &Path| {
        let path = path.to_owned();
        move |error| Error::File { verb, path, error }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("create", directory))?;
    // It is never removed: a process that waits for it would hold one that no other process sees.
    let lock_file = disk::beside(&file, ".lock");
    let _lock = Lock::get(&lock_file).map_err(failed("lock", &lock_file))?;

    let mut root = json!({});
    if let Some(text) = read(&file)? {
        members(&text).map_err(|problem| broken_at(&file, problem))?;
        root = serde_json::from_str(&text).map_err(|error| Error::Internal(error.to_string()))?;
    }
    if !change(&mut root) {
        return Ok(false);
    }
    let text = format!("{root:#}\n");
    // A position in a text that the user has not seen would only mislead.
    find_settings(&text).map_err(|(_, problem)| broken(&file, &format!("not changed: {problem}")))?;
    let written = disk::replace(&file, text.as_bytes()).and_then(|()| disk::sync_names(&file));
    written.map_err(failed("write", &file)).map(|()| true)
}

/// The file that is meant where the path is a link, even to a file that is still to be made.
fn target(file: &Path) -> PathBuf {
    /// As many links as Linux follows.
    const LINKS: usize = 40;
    let mut file = file.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&file) {
            Ok(next) => file = disk::directory(&file).join(next),
            Err(_) => break,
        }
    }
    file
}
