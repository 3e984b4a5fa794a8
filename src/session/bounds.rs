//! How long a text may be that one client stores and all others read: the one table. A title of 30 MB would make every
//! listing of every client take minutes. A client that gives more is refused; what a backend says is cut.

use super::model::shorten;
use crate::model::error::Error;
use serde_json::{Map, Value};
use std::fmt;

/// Most characters of a title.
pub const TITLE: usize = 512;
/// Most tags of a session ...
pub const TAGS: usize = 64;
/// ... and characters of each.
pub const TAG: usize = 128;
/// Most pairs of metadata, as OpenAI has it ...
pub const PAIRS: usize = 16;
/// ... characters of a pair's name ...
pub const PAIR_NAME: usize = 64;
/// ... and of its value: a text's own, or those of any other value as JSON.
pub const PAIR_VALUE: usize = 512;
/// Most characters of a model's name.
pub const MODEL: usize = 256;
/// Most characters that are kept of a backend's own session id. A longer one is not kept: half of it names nothing.
pub(crate) const BACKEND_SESSION: usize = 512;
/// Most characters that are kept of why a turn failed.
pub const LAST_ERROR: usize = 4096;
/// Most bytes of a directory's path: what Linux takes (PATH_MAX).
pub(crate) const DIRECTORY: usize = 4096;
/// Most bytes of a session's file. One that is imported may have so much besides the above.
pub const FILE: usize = 256 << 10;
/// Most bytes of a session's file that are read: earlier versions stored what fits into a request's body.
pub(super) const READ: u64 = 32 << 20;

/// Whether a title is short enough.
pub(crate) fn title(title: &str) -> Result<(), Error> {
    text("the title", title, TITLE)
}

/// These tags, each once, if they are few and short enough to be all that a session has.
pub(crate) fn tags<'a>(tags: impl IntoIterator<Item = &'a String>) -> Result<Vec<String>, Error> {
    let mut once: Vec<String> = Vec::new();
    for tag in tags {
        text(&format!("the tag `{}`", shorten(tag, 20)), tag, TAG)?;
        if once.contains(tag) {
            continue;
        }
        if once.len() == TAGS {
            return Err(Error::Invalid(format!("too many tags: a session has at most {TAGS}")));
        }
        once.push(tag.clone());
    }
    Ok(once)
}

/// Whether metadata is small enough.
pub(crate) fn metadata(pairs: &Map<String, Value>) -> Result<(), Error> {
    if pairs.len() > PAIRS {
        return Err(too_long("metadata", format!("has {} pairs", pairs.len()), PAIRS));
    }
    for (name, value) in pairs {
        let shown = shorten(name, 20);
        text(&format!("metadata's name `{shown}`"), name, PAIR_NAME)?;
        let what = format!("metadata's value of `{shown}`");
        match value {
            Value::String(value) => text(&what, value, PAIR_VALUE)?,
            // Nothing of it is copied that is longer.
            other if serde_json::to_writer(&mut [0; PAIR_VALUE][..], other).is_err() => {
                return Err(too_long(&what, "is longer as JSON than may be".to_owned(), PAIR_VALUE));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a model's name is short enough.
pub(crate) fn model(name: &str) -> Result<(), Error> {
    text("the model's name", name, MODEL)
}

/// Whether a text has at most so many characters.
pub(super) fn text(what: &str, text: &str, most: usize) -> Result<(), Error> {
    // Most are short in bytes already.
    if text.len() <= most {
        return Ok(());
    }
    match text.chars().count() {
        length if length > most => Err(too_long(what, format!("has {length} characters"), most)),
        _ => Ok(()),
    }
}

fn too_long(what: impl fmt::Display, has: String, most: usize) -> Error {
    Error::Invalid(format!("{what} {has}: at most {most} are kept"))
}
