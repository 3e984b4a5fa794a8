//! `clinvk config`: shows and changes the configuration.

use super::flags::{Name, Typed, bad_verb};
use super::{say, say_either};
use crate::base::collect::inserted;
use crate::base::json::json;
use crate::base::world::World;
use crate::config::{self, Config, Loaded};
use crate::model::error::Error;
use serde_json::Value;
use std::path::Path;

pub(crate) fn run(typed: &Typed, world: &World, explicit: Option<&Path>) -> Result<u8, Error> {
    let operands: Vec<&str> = typed.operands.iter().map(String::as_str).collect();
    let home = if explicit.is_some() { &world.home } else { world.home()? };
    let file = config::file_in_use(home, explicit);
    let load = || -> Result<Loaded, Error> {
        let loaded = Config::load(home, explicit, &world.env)?;
        loaded.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        Ok(loaded)
    };
    let path = file.display().to_string();
    match operands[..] {
        ["path"] => say_either(typed, json!({"path": path}), &format!("{path}\n")),
        ["validate"] => {
            let path = load()?.path.display().to_string();
            say_either(typed, json!({"path": path, "valid": true}), &format!("{path} is valid\n"))
        }
        ["show"] => {
            let (loaded, with_origin) = (load()?, typed.has(Name::Origin));
            say_either(typed, show_json(&loaded, with_origin), &show(&loaded, with_origin))
        }
        ["get", key] => match load()?.get(key)? {
            // Text for a shell: without quotes.
            Value::String(text) if !typed.has(Name::Json) => say(&format!("{text}\n")),
            value => say(&format!("{value}\n")),
        },
        ["set", key, value] => {
            let value = config::set(&file, key, value)?;
            let text = format!("{key} = {value} in {path}\n");
            say_either(typed, json!({"key": key, "value": value, "path": path}), &text)
        }
        ["unset", key] => {
            let removed = config::unset(&file, key)?;
            let how = if removed { "taken out of" } else { "is not in" };
            let data = json!({"key": key, "removed": removed, "path": path});
            say_either(typed, data, &format!("{key} {how} {path}\n"))
        }
        _ => Err(bad_verb(typed)),
    }
}

fn show(loaded: &Loaded, with_origin: bool) -> String {
    let line = |row: &config::Row| {
        let origin = if with_origin { format!("  ({})", row.origin) } else { String::new() };
        format!("{} = {}{origin}\n", row.key, row.value)
    };
    loaded.rows.iter().map(line).collect()
}

fn show_json(loaded: &Loaded, with_origin: bool) -> Value {
    let entry = |row: &config::Row| {
        let value = if with_origin {
            json!({"value": row.value, "origin": row.origin.to_string()})
        } else {
            row.value.clone()
        };
        (row.key.clone(), value)
    };
    Value::Object(inserted(loaded.rows.iter().map(entry)))
}
