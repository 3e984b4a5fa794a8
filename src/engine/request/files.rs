//! The files and directories that a request names.

use super::Defaults;
use crate::base::{json, text};
use crate::config::Config;
use crate::model::error::Error;
use crate::model::mcp::{self, McpServer, McpSource};
use crate::model::task::Image;
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A prompt with the files behind it, each under its name.
pub(crate) fn prompt_with_files(
    prompt: Option<String>,
    files: &[String],
    defaults: &Defaults<'_>,
) -> Result<String, Error> {
    let mut parts: Vec<String> = prompt.into_iter().collect();
    for name in files {
        refuse_files(defaults, name)?;
        let text = read_text(defaults.base, name)?;
        let end = if text.ends_with('\n') { "" } else { "\n" };
        parts.push(format!("<file name=\"{name}\">\n{text}{end}</file>"));
    }
    let text = text::paragraphs(parts);
    if text.trim().is_empty() { Err(Error::Invalid("there is no prompt".to_owned())) } else { Ok(text) }
}

pub(super) fn refuse_files(defaults: &Defaults<'_>, name: &str) -> Result<(), Error> {
    if defaults.reads_files {
        return Ok(());
    }
    let sentence = format!("`{name}` is a file's name: over the network only what is in it can be sent");
    Err(Error::Invalid(sentence))
}

/// Reads a file as text; a relative name starts at `base`.
pub(crate) fn read_text(base: &Path, name: &str) -> Result<String, Error> {
    let bytes = fs::read(base.join(name)).map_err(|error| unreadable(name, error))?;
    let invalid = |_| unreadable(name, io::Error::new(io::ErrorKind::InvalidData, "not valid UTF-8"));
    text::of(bytes).map_err(invalid)
}

fn unreadable(name: &str, error: io::Error) -> Error {
    Error::File { verb: "read", path: name.into(), error }
}

pub(super) fn read_image(base: &Path, name: &str) -> Result<Image, Error> {
    let data = fs::read(base.join(name)).map_err(|error| unreadable(name, error))?;
    let wrong =
        || Error::Invalid(format!("`{name}` is no picture that backends take: PNG, JPEG, GIF or WebP"));
    Image::recognise(data).ok_or_else(wrong)
}

/// A schema as it stands, or in a file behind `@`.
pub(super) fn read_schema(given: &Value, defaults: &Defaults<'_>) -> Result<Value, Error> {
    let (origin, schema) = match given {
        Value::String(text) => {
            let (origin, text) = match text.strip_prefix('@') {
                Some(name) => {
                    refuse_files(defaults, name)?;
                    (name, read_text(defaults.base, name)?)
                }
                None => ("json_schema", text.clone()),
            };
            let invalid = |error| Error::Invalid(format!("{origin}: {error}"));
            (origin, json::from_str(&text).map_err(invalid)?)
        }
        other => ("json_schema", other.clone()),
    };
    if schema.is_object() {
        Ok(schema)
    } else {
        Err(Error::Invalid(format!("{origin}: a JSON schema is an object")))
    }
}

/// The servers of all sources. Each has its name alone, or it would not be known whose tools are meant.
pub(super) fn read_servers(sources: &[McpSource], defaults: &Defaults<'_>) -> Result<Vec<McpServer>, Error> {
    let mut servers: Vec<McpServer> = Vec::new();
    for source in sources {
        let more = match source {
            McpSource::Servers(servers) => servers.clone(),
            McpSource::File(name) => {
                refuse_files(defaults, name)?;
                let invalid = |problem| Error::Invalid(format!("{name}: {problem}"));
                mcp::read(&read_text(defaults.base, name)?).map_err(invalid)?
            }
        };
        for server in more {
            if servers.iter().any(|known| known.name == server.name) {
                return Err(Error::Invalid(format!("two MCP servers are named `{}`", server.name)));
            }
            servers.push(server);
        }
    }
    Ok(servers)
}

/// The servers that are configured for a backend; a relative path starts at clinvk's home, as that of the API keys does.
pub(super) fn configured_servers(
    backend: &str,
    config: &Config,
    defaults: &Defaults<'_>,
) -> Result<Vec<McpServer>, Error> {
    let given = &config.backend(backend).mcp;
    let wrong =
        |problem| Error::Config { origin: format!("backends.{backend}.mcp"), position: None, problem };
    let text = match given.trim_start().starts_with('{') {
        _ if given.is_empty() => return Ok(Vec::new()),
        true => given.clone(),
        false => {
            let path = defaults.home.join(given);
            read_text(defaults.base, &path.to_string_lossy()).map_err(|error| wrong(error.to_string()))?
        }
    };
    mcp::read(&text).map_err(wrong)
}

/// A directory as the backends need it: absolute and free of links.
pub(crate) fn directory(base: &Path, name: &Path) -> Result<PathBuf, Error> {
    let path = base.join(name);
    if path.is_relative() {
        let sentence = "the working directory is gone: change to another one, or give one (`-w DIR`)";
        return Err(Error::Invalid(sentence.to_owned()));
    }
    let canonical =
        fs::canonicalize(&path).map_err(|error| Error::File { verb: "use directory", path, error })?;
    if canonical.is_dir() {
        Ok(canonical)
    } else {
        Err(Error::Invalid(format!("`{}` is not a directory", name.display())))
    }
}
