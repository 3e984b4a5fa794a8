//! What a prompt is made of on the command line: the argument and standard input; and the durations of flags.

use crate::base::text::without_mark;
use crate::base::world;
use crate::engine::request;
use crate::model::error::Error;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a pipe may stay silent beside a prompt argument. Many programs start us with a pipe that they never close;
/// who has something slow to say uses `-`.
const SILENT_PIPE: Duration = Duration::from_secs(3);

/// The prompt before its files: the argument, a blank line, standard input. None where the files have to do.
///
/// # Errors
/// No prompt at all, or standard input cannot be read.
pub fn prompt(argument: Option<&str>, waits: bool, has_files: bool) -> Result<Option<String>, Error> {
    let mut parts = Vec::new();
    parts.extend(argument.filter(|argument| !argument.is_empty()).map(str::to_owned));
    // A prompt of arguments alone is whole without it.
    let suffices = !waits && (argument.is_some() || has_files);
    if !suffices || !world::stdin_is_terminal() {
        let piped = standard_input(suffices)?;
        parts.extend(Some(piped).filter(|piped| !piped.is_empty()));
    }
    let prompt = parts.join("\n\n");
    if prompt.trim().is_empty() && !has_files {
        return Err(Error::Invalid(
            "there is no prompt: give one as an argument or on standard input".to_owned(),
        ));
    }
    Ok(Some(prompt).filter(|prompt| !prompt.is_empty()))
}

fn standard_input(may_be_silent: bool) -> Result<String, Error> {
    let fail = |error| Error::File { verb: "read", path: "standard input".into(), error };
    let mut input = io::stdin().lock();
    if may_be_silent {
        let mut watch = [crate::base::sys::Watch::readable(io::stdin().as_fd())];
        crate::base::sys::poll(&mut watch, SILENT_PIPE).map_err(fail)?;
        if !watch[0].woke() {
            log::warn!(
                "nothing came on standard input for {SILENT_PIPE:?}: going on without it (`-` beside the prompt waits, \
                 `</dev/null` ends this warning)"
            );
            return Ok(String::new());
        }
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(fail)?;
    match String::from_utf8_lossy(without_mark(&bytes)) {
        std::borrow::Cow::Borrowed(text) => Ok(text.to_owned()),
        std::borrow::Cow::Owned(text) => {
            log::warn!("standard input is not valid UTF-8: the bytes that are none became U+FFFD");
            Ok(text)
        }
    }
}

/// A flag's time limit: `90s`, `5m`, `1d`, or a number of seconds; `0` is none.
///
/// # Errors
/// Anything else, with what is expected.
pub fn duration(flag: &str, word: &str) -> Result<Duration, Error> {
    request::limit(word).ok_or_else(|| {
        Error::Invalid(format!(
            "`--{flag} {word}`: expected seconds or a duration such as 90s, 5m or 1h30m; 0 is no limit"
        ))
    })
}
