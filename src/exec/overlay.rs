//! A home for one run: links to all that the user has in theirs, except what the run must have to itself. For programs
//! that keep settings, sessions and logins in one place and take them from nowhere else.

use crate::backend::Overlay;
use crate::error::Error;
use crate::world::World;
use serde_json::Value;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Makes the home. What is in it already, the files of the launch, takes the place of the user's.
///
/// # Errors
/// When the user's settings cannot be used, or something cannot be read or written.
pub(super) fn make(overlay: &Overlay, world: &World) -> Result<(), Error> {
    let given = world.env.get(overlay.variable).filter(|given| !given.is_empty());
    let users = given.map_or(world.user_home.clone(), |given| world.cwd.join(given));
    let (name, ours) = &overlay.settings;
    let origin = users.join(name);
    let mut settings = read_settings(&origin)?.unwrap_or(Value::Object(Default::default()));
    check(overlay, world, &settings, &origin)?;
    merge(&mut settings, ours);
    let target = overlay.home.join(name);
    for dir in [&overlay.home, &overlay.temp].into_iter().map(PathBuf::as_path).chain(target.parent()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| Error::File { verb: "create", path: dir.to_owned(), error })?;
    }
    write(&target, settings.to_string().as_bytes())?;
    link(&users, Path::new(""), overlay)?;
    // A file that is not there yet: writing through the link makes it in the user's home.
    for name in overlay.written {
        let (theirs, mine) = (users.join(name), overlay.home.join(name));
        if theirs.parent().is_some_and(Path::is_dir) && mine.symlink_metadata().is_err() {
            symlink(&theirs, &mine).map_err(|error| Error::File { verb: "create", path: mine, error })?;
        }
    }
    Ok(())
}

/// Removes the home, links and all: never what they point to, because `remove_dir_all` follows none.
pub(super) fn remove(overlay: &Overlay) {
    for dir in [&overlay.home, &overlay.temp] {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove `{}`: {error}", dir.display());
            }
            _ => {}
        }
    }
    // The directory of the run, when nothing else is in it.
    let _ = overlay.home.parent().map(fs::remove_dir);
}

/// Links what is in `users`/`inside`, and looks into directories that the run has too.
fn link(users: &Path, inside: &Path, overlay: &Overlay) -> Result<(), Error> {
    let from = users.join(inside);
    let entries = match fs::read_dir(&from) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries.map_err(|error| Error::File { verb: "read", path: from.clone(), error })?,
    };
    let is_copied = overlay.copied.iter().any(|dir| Path::new(dir) == inside);
    for entry in entries.flatten() {
        let path = inside.join(entry.file_name());
        let (theirs, mine) = (entry.path(), overlay.home.join(&path));
        if overlay.private.iter().any(|private| Path::new(private) == path) {
            continue;
        }
        let done = match fs::symlink_metadata(&mine) {
            Ok(meta) if meta.is_dir() => {
                link(users, &path, overlay)?;
                continue;
            }
            Ok(_) => continue,
            Err(_) if is_copied && entry.file_type().is_ok_and(|kind| kind.is_file()) => {
                fs::copy(&theirs, &mine).map(|_| ())
            }
            Err(_) => symlink(&theirs, &mine),
        };
        done.map_err(|error| Error::File { verb: "create", path: mine, error })?;
    }
    Ok(())
}

/// Refuses settings under which the run would not be the one that was asked for.
fn check(overlay: &Overlay, world: &World, settings: &Value, origin: &Path) -> Result<(), Error> {
    let refuse = |origin: String, problem: String| Err(Error::Config { origin, position: None, problem });
    if let Some(unusable) = &overlay.unusable {
        let set = settings.pointer(unusable.setting).filter(|value| !matches!(value, Value::Null | Value::Bool(false)));
        match world.env.get(unusable.variable).map(String::as_str) {
            Some("" | "0" | "false") => {}
            Some(_) => return refuse(unusable.variable.to_owned(), unusable.why.to_owned()),
            None if set.is_some() => {
                let problem = format!("`{}`: {}", dotted(unusable.setting), unusable.why);
                return refuse(origin.display().to_string(), problem);
            }
            None => {}
        }
    }
    // One that cannot be read is the program's to complain about: whether it reads it at all is its own affair.
    let outranking = read_settings(&overlay.outranked_by).ok().flatten().unwrap_or(Value::Null);
    match overlay.firm.iter().find(|pointer| outranking.pointer(pointer).is_some()) {
        Some(pointer) => refuse(
            overlay.outranked_by.display().to_string(),
            format!("`{}` outranks what was asked for: `--no-project-config` leaves it out", dotted(pointer)),
        ),
        None => Ok(()),
    }
}

fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// The settings in a file: an object in JSON, in which comments are allowed. None when there is no such file.
fn read_settings(path: &Path) -> Result<Option<Value>, Error> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| Error::File { verb: "read", path: path.to_owned(), error })?,
    };
    let broken = |position, problem: String| Error::Config { origin: path.display().to_string(), position, problem };
    let value: Value = serde_json::from_str(&without_comments(&text)).map_err(|error| {
        let sentence = error.to_string();
        let reason = sentence.rsplit_once(" at line ").map_or(sentence.as_str(), |(reason, _)| reason);
        broken(Some((error.line(), error.column())), format!("not valid JSON: {reason}"))
    })?;
    if value.is_object() { Ok(Some(value)) } else { Err(broken(None, "expected an object: `{ ... }`".to_owned())) }
}

/// The text with blanks in place of comments, so that every character stays where it is.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let comment = match (first, rest.as_bytes().get(1)) {
            ('/', Some(b'/')) => rest.find('\n').unwrap_or(rest.len()),
            ('/', Some(b'*')) => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ => 0,
        };
        if comment > 0 {
            out.extend(rest[..comment].chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = &rest[comment..];
            continue;
        }
        let kept = if first == '"' { length_of_string(rest) } else { first.len_utf8() };
        out.push_str(&rest[..kept]);
        rest = &rest[kept..];
    }
    out
}

/// The length of the JSON string that the text begins with, quotes included.
fn length_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Lays `ours` over `theirs`: objects are merged, lists appended, all else replaced.
fn merge(theirs: &mut Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in ours {
                merge(theirs.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => theirs.extend(ours.iter().cloned()),
        (theirs, ours) => *theirs = ours.clone(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut open = fs::OpenOptions::new();
    let opened = open.write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| io::Write::write_all(&mut file, bytes))
        .map_err(|error| Error::File { verb: "write", path: path.to_owned(), error })
}
