//! `clinvk config`: shows and changes the configuration.

use super::flags::Typed;
use crate::base::world::World;
use crate::config::{self, Config, Loaded};
use crate::model::error::Error;
use serde_json::{Value, json};
use std::path::Path;

const SUBCOMMANDS: &[&str] = &["show", "get", "set", "unset", "path", "validate"];

/// What is to be printed.
///
/// # Errors
/// Everything that the configuration module says no to.
pub fn run(typed: &Typed, world: &World, explicit: Option<&Path>) -> Result<String, Error> {
    let operands: Vec<&str> = typed.operands.iter().map(String::as_str).collect();
    let file = config::file_in_use(&world.home, explicit);
    let load = || -> Result<Loaded, Error> {
        let loaded = Config::load(&world.home, explicit, &world.env)?;
        loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        Ok(loaded)
    };
    match operands[..] {
        ["path"] => Ok(format!("{}\n", file.display())),
        ["validate"] => load().map(|loaded| format!("{} is valid\n", loaded.path.display())),
        ["show"] if typed.has("json") => Ok(show_json(&load()?, typed.has("origin"))),
        ["show"] => Ok(show(&load()?, typed.has("origin"))),
        ["get", key] => load()?.get(key).map(|value| plain(&value, typed.has("json")) + "\n"),
        ["set", key, value] => {
            let value = config::set(&file, key, value)?;
            Ok(format!("{key} = {value} in {}\n", file.display()))
        }
        ["unset", key] => Ok(match config::unset(&file, key)? {
            true => format!("{key} taken out of {}\n", file.display()),
            false => format!("{key} is not in {}\n", file.display()),
        }),
        [] => Err(Error::Invalid(format!("`config` needs one of: {}", SUBCOMMANDS.join(", ")))),
        [given, ..] if !SUBCOMMANDS.contains(&given) => Err(Error::Unknown {
            what: "config command",
            given: given.to_owned(),
            known: SUBCOMMANDS.iter().map(|&name| name.to_owned()).collect(),
        }),
        [name, ..] => Err(Error::Invalid(format!(
            "wrong number of words behind `config {name}`: see `clinvk config -h`"
        ))),
    }
}

fn show(loaded: &Loaded, with_origin: bool) -> String {
    let line = |row: &config::Row| {
        let origin = if with_origin { format!("  ({})", row.origin) } else { String::new() };
        format!("{} = {}{origin}\n", row.key, row.value)
    };
    loaded.show().iter().map(line).collect()
}

fn show_json(loaded: &Loaded, with_origin: bool) -> String {
    let entry = |row: &config::Row| {
        let value = if with_origin {
            json!({"value": row.value, "origin": row.origin.to_string()})
        } else {
            row.value.clone()
        };
        (row.key.clone(), value)
    };
    let all: serde_json::Map<String, Value> = loaded.show().iter().map(entry).collect();
    format!("{:#}\n", Value::Object(all))
}

/// A value for a shell: text without quotes.
fn plain(value: &Value, as_json: bool) -> String {
    match value {
        Value::String(text) if !as_json => text.clone(),
        other => other.to_string(),
    }
}
