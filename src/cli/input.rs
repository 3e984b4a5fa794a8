//! What a prompt is made of on the command line: the argument and standard input; and the durations of flags.

use super::flags::{Name, Typed, doubt, prompt_operand};
use super::prompts::takes_stdin;
use super::resume::typed_line;
use crate::base::logging;
use crate::base::printable;
use crate::base::sys::{self, Watch};
use crate::base::text;
use crate::base::world;
use crate::batch::prompt_file::PromptFile;
use crate::config::{Config, StdinUse};
use crate::engine::request::{self, Defaults, prompt_with_files};
use crate::model::error::Error;
use crate::session::Session;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a pipe may stay silent beside a prompt argument. Many programs start us with a pipe that they never close;
/// who has something slow to say uses `-`.
const SILENT_PIPE: Duration = Duration::from_secs(3);

/// What a prompt is made of.
pub(crate) struct Parts<'a> {
    argument: Option<&'a str>,
    stdin: Stdin,
    /// What they are the input of.
    file: Option<&'a PromptFile>,
}

/// What standard input is to a prompt.
#[derive(Clone, Copy)]
enum Stdin {
    /// A part of it, waited for: `-` says so.
    Named,
    /// A part of it, where something is piped in.
    Taken,
    /// Nothing.
    Left,
}

impl<'a> Parts<'a> {
    /// From what was typed and configured. Behind a command, and to a session that is continued, a word is a prompt, whatever
    /// command it looks like.
    pub(crate) fn of(
        typed: &Typed,
        operands: &'a [String],
        file: Option<&'a PromptFile>,
        session: Option<&Session>,
        config: &Config,
    ) -> Result<Parts<'a>, Error> {
        let (argument, is_named) = match operands {
            [dash] if dash == "-" && !typed.literal => (None, true),
            [prompt, dash] if dash == "-" && !typed.literal => (Some(prompt.as_str()), true),
            _ => {
                let literal =
                    typed.literal || !typed.command.is_empty() || session.is_some() || file.is_some();
                (prompt_operand(operands, literal || is_meant(operands)?)?, false)
            }
        };
        let stdin = match (is_named, typed.has(Name::NoStdin)) {
            (true, true) => {
                return Err(Error::Invalid("`-` and `--no-stdin` exclude each other".to_owned()));
            }
            (true, false) if takes_stdin(typed) => {
                return Err(Error::Invalid("`-` is the prompt file already".to_owned()));
            }
            (true, false) => Stdin::Named,
            (false, false) if takes_stdin(typed) => Stdin::Left,
            (false, false) if config.input.stdin == StdinUse::Auto => Stdin::Taken,
            (false, _) => Stdin::Left,
        };
        Ok(Parts { argument, stdin, file })
    }

    /// The prompt: the argument, a blank line, standard input, and the files behind them; all of it as the input of the prompt
    /// file, where there is one.
    pub(crate) fn prompt(&self, files: Option<&[String]>, defaults: &Defaults<'_>) -> Result<String, Error> {
        let files = files.unwrap_or_default();
        let needs_more = files.is_empty() && self.file.is_none_or(PromptFile::needs_input);
        let text = self.before_files(needs_more)?;
        let Some(file) = self.file else { return prompt_with_files(text, files, defaults) };
        let has_input = !files.is_empty() || text.as_ref().is_some_and(|text| !text.trim().is_empty());
        Ok(file.fill(&if has_input { prompt_with_files(text, files, defaults)? } else { String::new() }))
    }

    /// None where the files have to do, or the prompt file.
    fn before_files(&self, needs_more: bool) -> Result<Option<String>, Error> {
        // A prompt of arguments alone is whole without it.
        let suffices = self.argument.is_some() || !needs_more;
        let more = match self.stdin {
            Stdin::Named => read(io::stdin().lock())?,
            Stdin::Taken if !suffices => read(io::stdin().lock())?,
            Stdin::Taken if !world::stdin_is_terminal() => beside_an_argument()?,
            Stdin::Taken | Stdin::Left => String::new(),
        };
        let argument = self.argument.unwrap_or_default().to_owned();
        let prompt = text::paragraphs([argument, more].into_iter().filter(|part| !part.is_empty()).collect());
        if !needs_more || !prompt.trim().is_empty() {
            return Ok(Some(prompt).filter(|prompt| !prompt.is_empty()));
        }
        let what = match self.file {
            Some(file) => format!("`{}` needs an input", file.name),
            None => "there is no prompt".to_owned(),
        };
        let where_from = match self.stdin {
            Stdin::Left => "as an argument, or `-` to read standard input",
            Stdin::Named | Stdin::Taken => "as an argument or on standard input",
        };
        Err(Error::Invalid(format!("{what}: give one {where_from}")))
    }
}

/// Asks a user on a terminal about a word that is probably no prompt. Where there is none to ask, it is none.
fn is_meant(operands: &[String]) -> Result<bool, Error> {
    let [word] = operands else { return Ok(false) };
    let Some(why) = doubt(word).filter(|_| world::stdin_is_terminal() && world::stderr_is_terminal()) else {
        return Ok(false);
    };
    logging::write(&format!("{}\nsend it as a prompt all the same? [y/N] ", printable::safe(&why)));
    match typed_line().map_err(unreadable)?.as_deref().map(str::trim) {
        Some("y" | "Y" | "yes") => Ok(true),
        _ => Err(Error::Cancelled),
    }
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

pub(super) fn unreadable(error: io::Error) -> Error {
    Error::File { verb: "read", path: "standard input".into(), error }
}

/// A flag's time limit: `90s`, `5m`, `1d`, or a number of seconds; `0` is none.
pub(crate) fn duration(typed: &Typed, flag: Name) -> Result<Option<Duration>, Error> {
    typed.read(flag, "seconds or a duration such as 90s, 5m or 1h30m; 0 is no limit", request::limit)
}
