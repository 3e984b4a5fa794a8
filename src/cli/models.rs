//! `clinvk models`: the names that models have here. A vendor's own names need no list: they are handed on as they are.

use super::backends::Told;
use super::flags::{Name, Typed};
use super::{say_either, table};
use crate::base::json::json;
use crate::base::printable;
use crate::base::world::World;
use crate::config::Config;
use crate::engine::resolve_model;
use crate::model::error::Error;
use serde_json::Value;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let mut all = Told::all(world, config)?;
    match typed.value(Name::Backend) {
        None => all.retain(Told::is_of_interest),
        Some(given) if all.iter().any(|told| told.name() == given) => all.retain(|told| told.name() == given),
        Some(given) => {
            let known = all.iter().map(|told| told.name().to_owned()).collect();
            return Err(Error::UnknownBackend { given: given.to_owned(), known });
        }
    }
    let rows: Vec<Named> = all.iter().flat_map(|told| Named::of(told, config)).collect();
    let head = ["BACKEND", "NAME", "MODEL"].map(str::to_owned);
    let cells: Vec<[String; 3]> = std::iter::once(head).chain(rows.iter().map(Named::cells)).collect();
    let data: Vec<Value> = rows.iter().map(Named::data).collect();
    say_either(typed, json!({"models": data}), &table::aligned(&cells))
}

/// A name for a model of a backend.
struct Named {
    backend: String,
    /// What is given to `--model`; none where that is not given.
    name: Option<String>,
    /// The vendor's name; none for the vendor's own choice.
    model: Option<String>,
    is_default: bool,
}

impl Named {
    fn of(told: &Told, config: &Config) -> Vec<Named> {
        let (backend, aliases) = (told.name(), told.backend.models());
        let default = Some(&config.backend(backend).model).filter(|model| !model.is_empty());
        let named = |name: &String| Named {
            backend: backend.to_owned(),
            name: Some(name.clone()),
            model: resolve_model(aliases, name),
            is_default: Some(name) == default,
        };
        let mut all: Vec<Named> = aliases.iter().map(|(alias, _)| named(alias)).collect();
        match default {
            Some(name) if !aliases.iter().any(|(alias, _)| alias == name) => all.push(named(name)),
            Some(_) => {}
            None => {
                all.push(Named { backend: backend.to_owned(), name: None, model: None, is_default: true })
            }
        }
        all
    }

    fn cells(&self) -> [String; 3] {
        let model = self.model.as_deref().unwrap_or("what the vendor chooses");
        let mark = if self.is_default { ", default" } else { "" };
        [&self.backend, self.name.as_deref().unwrap_or("-"), &format!("{model}{mark}")].map(printable::safe)
    }

    fn data(&self) -> Value {
        json!({"backend": self.backend, "name": self.name, "model": self.model, "default": self.is_default})
    }
}
