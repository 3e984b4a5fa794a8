//! What the prompt is made of: the argument, standard input, files, pictures; and the words of flags.

use crate::error::Error;
use crate::task::Image;
use crate::world;
use serde_json::Value;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// How long a pipe may stay silent beside a prompt argument. Many programs start us with a pipe that they never close;
/// who has something slow to say uses `-`.
const SILENT_PIPE: Duration = Duration::from_secs(3);

/// Puts the prompt together: the argument, a blank line, standard input, then the files with their names.
///
/// # Errors
/// No prompt at all, or a file that cannot be read as text.
pub fn prompt(argument: Option<&str>, waits: bool, files: &[&str]) -> Result<String, Error> {
    let mut parts = Vec::new();
    parts.extend(argument.filter(|argument| !argument.is_empty()).map(str::to_owned));
    // A prompt of arguments alone is whole without it.
    let suffices = !waits && (argument.is_some() || !files.is_empty());
    if !suffices || !world::stdin_is_terminal() {
        let piped = standard_input(suffices)?;
        parts.extend(Some(piped).filter(|piped| !piped.is_empty()));
    }
    for name in files {
        let text = fs::read_to_string(name).map_err(|error| Error::File {
            verb: "read",
            path: name.into(),
            error,
        })?;
        let end = if text.ends_with('\n') { "" } else { "\n" };
        parts.push(format!("<file name=\"{name}\">\n{text}{end}</file>"));
    }
    let prompt = parts.join("\n\n");
    if prompt.trim().is_empty() {
        return Err(Error::Invalid(
            "there is no prompt: give one as an argument or on standard input".to_owned(),
        ));
    }
    Ok(prompt)
}

fn standard_input(may_be_silent: bool) -> Result<String, Error> {
    let fail = |error| Error::File { verb: "read", path: "standard input".into(), error };
    let mut input = io::stdin().lock();
    if may_be_silent {
        let mut watch = [crate::sys::Watch::readable(io::stdin().as_fd())];
        crate::sys::poll(&mut watch, SILENT_PIPE).map_err(fail)?;
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
    match String::from_utf8_lossy(&bytes) {
        std::borrow::Cow::Borrowed(text) => Ok(text.to_owned()),
        std::borrow::Cow::Owned(text) => {
            log::warn!("standard input is not valid UTF-8: the bytes that are none became U+FFFD");
            Ok(text)
        }
    }
}

/// Reads a picture.
///
/// # Errors
/// When it cannot be read or is of no format that the vendors take.
pub fn image(name: &str) -> Result<Image, Error> {
    let data = fs::read(name).map_err(|error| Error::File { verb: "read", path: name.into(), error })?;
    Image::recognise(data).ok_or_else(|| {
        Error::Invalid(format!("`{name}` is no picture that backends take: PNG, JPEG, GIF or WebP"))
    })
}

/// A schema: JSON as it stands, or a file behind `@`.
///
/// # Errors
/// When the file cannot be read or it is no JSON object.
pub fn schema(word: &str) -> Result<Value, Error> {
    let (origin, text) = match word.strip_prefix('@') {
        Some(name) => {
            let text = fs::read_to_string(name).map_err(|error| Error::File {
                verb: "read",
                path: name.into(),
                error,
            })?;
            (name, text)
        }
        None => ("--json-schema", word.to_owned()),
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(schema) if schema.is_object() => Ok(schema),
        Ok(_) => Err(Error::Invalid(format!("{origin}: a JSON schema is an object"))),
        Err(error) => Err(Error::Invalid(format!("{origin}: {error}"))),
    }
}

/// A directory as the backends need it: absolute and free of links.
///
/// # Errors
/// When there is no such directory.
pub fn directory(cwd: &Path, name: &str) -> Result<std::path::PathBuf, Error> {
    let path = cwd.join(name);
    let canonical =
        fs::canonicalize(&path).map_err(|error| Error::File { verb: "use directory", path, error })?;
    if canonical.is_dir() {
        Ok(canonical)
    } else {
        Err(Error::Invalid(format!("`{name}` is not a directory")))
    }
}

/// A duration: numbers with units (`ms`, `s`, `m`, `h`), such as `90s`, `5m` or `1h30m`; `0` is none.
///
/// # Errors
/// Anything else, with what is expected.
pub fn duration(flag: &str, word: &str) -> Result<Duration, Error> {
    let wrong = || {
        Error::Invalid(format!(
            "`--{flag} {word}`: expected a duration such as 90s, 5m or 1h30m; 0 is no limit"
        ))
    };
    if word == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (word, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at(letters);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = behind;
    }
    // A year: more would overflow the clock's arithmetic somewhere.
    if word.is_empty() || total > Duration::from_secs(31_536_000) { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_strictly() {
        for (word, millis) in
            [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("250ms", 250), ("0", 0)]
        {
            assert_eq!(duration("timeout", word).unwrap(), Duration::from_millis(millis), "{word}");
        }
        for word in ["", "5", "s", "5 m", "-5s", "5sm", "1.5s", "12d", "99999999999999h", "5s3"] {
            assert!(duration("timeout", word).is_err(), "{word}");
        }
    }
}
