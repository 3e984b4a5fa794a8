//! The models: how `/models` lists them in both dialects, and which backend a name means.

use crate::base::encoding::percent_decoded;
use crate::base::json::{Json, ordered};
use crate::http::front::errors::Fault;
use crate::http::state::call::pairs;
use crate::model::error::Kind;
use std::collections::BTreeMap;

/// A name that clients can ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub id: String,
    pub owned_by: String,
}

/// When a model was made: clients want a date, and backends have none.
const CREATED: u64 = 1_700_000_000;
/// The same moment for Anthropic.
const CREATED_AT: &str = "2023-11-14T22:13:20Z";

pub fn openai_list(models: &[Model]) -> String {
    let models: Vec<Json> = models.iter().map(openai).collect();
    ordered!({"object": "list", "data": models}).text()
}

/// One model for OpenAI; `asked` is the rest of the path as it was sent.
pub fn openai_one(models: &[Model], asked: &str) -> Result<String, Fault> {
    find(models, asked).map(|model| openai(model).text())
}

/// Anthropic's list of models, page by page; `query` is the query as it was sent.
pub fn anthropic_list(models: &[Model], query: &str) -> Result<String, Fault> {
    let (mut limit, mut after, mut before) = (20, None, None);
    for (name, value) in pairs(query) {
        match name.as_str() {
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                limit =
                    number.ok_or_else(|| Fault::invalid("limit", "limit must be a number from 1 to 1000"))?;
            }
            "after_id" => after = Some(value).filter(|value| !value.is_empty()),
            "before_id" => before = Some(value).filter(|value| !value.is_empty()),
            // `beta=true`, and whatever comes.
            _ => {}
        }
    }
    let place = |id: String| models.iter().position(|model| model.id == id);
    // Behind a model that is not there comes nothing, or clients would begin again and again.
    let start = after.map_or(0, |id| place(id).map_or(models.len(), |at| at + 1));
    // A page before a model ends there, others begin where the client says.
    let (window, page) = match before {
        Some(id) => {
            let window = &models[start..place(id).unwrap_or(0).max(start)];
            (window, &window[window.len().saturating_sub(limit)..])
        }
        None => (&models[start..], &models[start..models.len().min(start + limit)]),
    };
    let id = |model: Option<&Model>| model.map(|model| model.id.clone());
    let list = ordered!({
        "data": page.iter().map(anthropic).collect::<Vec<Json>>(),
        "has_more": page.len() < window.len(),
        "first_id": id(page.first()),
        "last_id": id(page.last()),
    });
    Ok(list.text())
}

/// One model for Anthropic; `asked` is the rest of the path as it was sent.
pub fn anthropic_one(models: &[Model], asked: &str) -> Result<String, Fault> {
    find(models, asked).map(|model| anthropic(model).text())
}

fn find<'a>(models: &'a [Model], asked: &str) -> Result<&'a Model, Fault> {
    let id = percent_decoded(asked);
    models.iter().find(|model| model.id == id).ok_or_else(|| Fault::no_model(&id))
}

fn openai(model: &Model) -> Json {
    let Model { id, owned_by } = model;
    ordered!({"id": id, "object": "model", "created": CREATED, "owned_by": owned_by})
}

fn anthropic(model: &Model) -> Json {
    let id = &model.id;
    ordered!({"type": "model", "id": id, "display_name": id, "created_at": CREATED_AT})
}

/// What a server knows of names.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The backends there are, with the beginnings of the models that each answers to.
    pub backends: &'a [(&'a str, &'a [&'a str])],
    /// Names of the configuration: each stands for `backend` or `backend/model`.
    pub aliases: &'a BTreeMap<String, String>,
    /// The backend for names that no backend knows.
    pub default: &'a str,
    /// Such names are errors.
    pub strict: bool,
}

/// Which backend a model's name means, and which model of it; none is the backend's default. Names that only the client's
/// own list knows mean the default backend, because many clients cannot send any other.
pub fn resolve(asked: &str, known: &Known) -> Result<(String, Option<String>), Fault> {
    if let Some(target) = known.aliases.get(asked) {
        return known.named(target).ok_or_else(|| {
            let message = format!("server.models: `{asked}` stands for `{target}`, which names no backend");
            Fault::of(Kind::Config, message)
        });
    }
    if let Some(named) = known.named(asked) {
        return Ok(named);
    }
    let claims = |prefixes: &[&str]| prefixes.iter().any(|prefix| asked.starts_with(prefix));
    match known.backends.iter().find(|(_, prefixes)| claims(prefixes)) {
        Some((backend, _)) => Ok(((*backend).to_owned(), Some(asked.to_owned()))),
        None if asked.is_empty() || !(known.strict || asked.contains('/')) => {
            Ok((known.default.to_owned(), None))
        }
        None => Err(Fault::no_model(asked)),
    }
}

impl Known<'_> {
    /// A name that says its backend: `backend`, `backend/model` or `backend:model`.
    fn named(&self, name: &str) -> Option<(String, Option<String>)> {
        let is_backend = |name: &str| self.backends.iter().any(|(backend, _)| *backend == name);
        if is_backend(name) {
            return Some((name.to_owned(), None));
        }
        let (backend, model) = name.split_once(['/', ':'])?;
        // The name of a backend is no model's.
        let model = Some(model).filter(|model| !model.is_empty() && !is_backend(model));
        is_backend(backend).then(|| (backend.to_owned(), model.map(str::to_owned)))
    }
}
