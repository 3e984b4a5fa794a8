//! What a prompt is made of on the command line: the argument and standard input; and the durations of flags.

use super::flags::{Name, Typed};
use crate::base::sys::{self, Watch};
use crate::base::text;
use crate::base::world;
use crate::config::{Config, StdinUse};
use crate::engine::request;
use crate::model::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a pipe may stay silent beside a prompt argument. Many programs start us with a pipe that they never close;
/// who has something slow to say uses `-`.
const SILENT_PIPE: Duration = Duration::from_secs(3);

/// What standard input is to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piped {
    /// A part of it, waited for: `-` says so.
    Named,
    /// A part of it, where something is piped in.
    Taken,
    /// Nothing.
    Left,
}

impl Piped {
    /// From what was typed and configured. `is_named`: by `-`.
    pub fn of(typed: &Typed, is_named: bool, config: &Config) -> Result<Piped, Error> {
        match (is_named, typed.has(Name::NoStdin)) {
            (true, true) => Err(Error::Invalid("`-` and `--no-stdin` exclude each other".to_owned())),
            (true, false) => Ok(Piped::Named),
            (false, false) if config.input.stdin == StdinUse::Auto => Ok(Piped::Taken),
            (false, _) => Ok(Piped::Left),
        }
    }
}

/// The prompt before its files: the argument, a blank line, standard input. None where the files have to do.
pub fn prompt(argument: Option<&str>, piped: Piped, has_files: bool) -> Result<Option<String>, Error> {
    let mut parts = Vec::new();
    parts.extend(argument.filter(|argument| !argument.is_empty()).map(str::to_owned));
    // A prompt of arguments alone is whole without it.
    let suffices = argument.is_some() || has_files;
    let more = match piped {
        Piped::Named => read(io::stdin().lock())?,
        Piped::Taken if !suffices => read(io::stdin().lock())?,
        Piped::Taken if !world::stdin_is_terminal() => beside_an_argument()?,
        Piped::Taken | Piped::Left => String::new(),
    };
    parts.extend(Some(more).filter(|more| !more.is_empty()));
    let prompt = text::paragraphs(parts);
    if prompt.trim().is_empty() && !has_files {
        return Err(Error::Invalid(match piped {
            Piped::Left => {
                "there is no prompt: give one as an argument, or `-` to read standard input".to_owned()
            }
            _ => "there is no prompt: give one as an argument or on standard input".to_owned(),
        }));
    }
    Ok(Some(prompt).filter(|prompt| !prompt.is_empty()))
}

/// What is piped in beside an argument, unless it was not meant for us.
fn beside_an_argument() -> Result<String, Error> {
    let input = io::stdin().lock();
    if is_begun(&input).map_err(unreadable)? {
        log::warn!(
            "another program has begun to read standard input, such as the loop around this one: it is left alone (`-` \
             beside the prompt takes the rest, `--no-stdin` ends this warning)"
        );
        return Ok(String::new());
    }
    let mut watch = [Watch::readable(input.as_fd())];
    sys::poll(&mut watch, SILENT_PIPE).map_err(unreadable)?;
    if !watch[0].woke() {
        log::warn!(
            "nothing came on standard input for {SILENT_PIPE:?}: going on without it (`-` beside the prompt waits, \
             `--no-stdin` ends this warning)"
        );
        return Ok(String::new());
    }
    read(input)
}

/// A file of which a part was read before: `while read line; do clinvk ...; done <list`. What is left belongs to the program that
/// reads it. Of a pipe that cannot be known.
fn is_begun(input: &impl AsFd) -> io::Result<bool> {
    let mut file = File::from(input.as_fd().try_clone_to_owned()?);
    let known = file.metadata()?;
    let at = if known.is_file() { file.stream_position()? } else { 0 };
    Ok(0 < at && at < known.len())
}

fn read(input: impl Read + AsFd) -> Result<String, Error> {
    let mut bytes = Vec::new();
    sys::Waiting(input).read_to_end(&mut bytes).map_err(unreadable)?;
    text::of(bytes).or_else(|error| {
        log::warn!("standard input is not valid UTF-8: the bytes that are none became U+FFFD");
        Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
    })
}

fn unreadable(error: io::Error) -> Error {
    Error::File { verb: "read", path: "standard input".into(), error }
}

/// A flag's time limit: `90s`, `5m`, `1d`, or a number of seconds; `0` is none.
pub fn duration(typed: &Typed, flag: Name) -> Result<Option<Duration>, Error> {
    typed.read(flag, "seconds or a duration such as 90s, 5m or 1h30m; 0 is no limit", request::limit)
}
