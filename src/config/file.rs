//! `config.json`: reads and checks it, and changes one key of it for `config set` and `config unset`.

use super::json::{Member, members};
use super::path::{self, Place, bad_default, bad_name, misplaced, path, unknown, with_built_in};
use super::table::BUILT_IN;
use super::value::Type;
use super::{Origin, Settings};
use crate::error::{Error, nearest};
use fs2::FileExt;
use serde_json::{Map, Value};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The text of the file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    let refuse = |problem| Error::Config { origin: path.display().to_string(), position: None, problem };
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| refuse("not valid UTF-8".to_owned())),
        // A link to nowhere is a broken file, not a missing one.
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(None),
        Err(error) => Err(refuse(format!("cannot be read: {error}"))),
    }
}

/// Everything that the text of the file says, checked against the table.
pub(super) fn settings(file: &Path, text: &str) -> Result<Settings, Error> {
    let refuse = |position, problem| Error::Config {
        origin: file.display().to_string(),
        position: Some(position),
        problem,
    };
    let members = members(text).map_err(|(position, problem)| refuse(position, problem))?;
    let backends = backends(&members);
    let mut settings = Settings::new();
    for member in &members {
        let value = match Place::of(&member.path) {
            None => return Err(refuse(member.key_at, unknown(&member.path, &backends))),
            Some(place) => checked(member, &place, &backends).map_err(|problem| {
                let at = if misnamed(member, &place) { member.key_at } else { member.value_at };
                refuse(at, problem)
            })?,
        };
        if let Some(value) = value {
            settings.insert(member.path.clone(), (value, Origin::File(file.to_owned())));
        }
    }
    for declared in members.iter().filter(|member| is_declaration(member)) {
        let command = [declared.path.clone(), vec!["command".to_owned()]].concat();
        if !settings.contains_key(&command) {
            return Err(refuse(declared.key_at, no_command(&declared.path[1])));
        }
    }
    Ok(settings)
}
