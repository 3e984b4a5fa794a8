//! The agents that are known by name, so that nobody has to declare them: data, one row an agent, in `agents.json`. What
//! stands under `backend` there is what a file would say under `backends.NAME`, and is read by the same reader.

use super::file;
use super::path::{POOL, Path};
use super::table::{BUILT_IN, BackendConfig, Section};
use super::{Origin, Settings};
use crate::base::collect::inserted;
use crate::base::json::json;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// The command that installs it.
    pub install: String,
    /// How its user logs in.
    pub login: String,
    /// The version that was run against a stand-in of its vendor's model; empty where only its documentation is known.
    pub tested: String,
    /// What is different about it.
    pub note: String,
    /// What a file would have to say to declare it.
    pub config: BackendConfig,
    settings: Vec<(Path, Value)>,
}

/// The agent of that name.
pub fn find(name: &str) -> Option<&'static Agent> {
    if BUILT_IN.contains(&name) { None } else { TABLE.get(name).map(|row| &**row) }
}

/// The names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.keys().map(String::as_str)
}

/// The agent of that name, where this is its configuration: a file may declare another program under the same name.
pub(crate) fn that_is(name: &str, config: &BackendConfig) -> Option<&'static Agent> {
    find(name).filter(|agent| agent.config.declared.command == config.declared.command)
}

/// Puts the rows of the agents that the settings name below what they say themselves, key by key. One that has a command of
/// its own there is another program.
pub(super) fn complete(settings: &mut Settings) {
    for (name, agent) in named(settings).into_iter().filter_map(|name| find(&name).map(|agent| (name, agent)))
    {
        if settings.contains_key(&["backends".to_owned(), name, "command".to_owned()][..]) {
            continue;
        }
        for (path, setting) in agent.settings() {
            settings.entry(path).or_insert(setting);
        }
    }
}

impl Agent {
    fn read(name: &str, row: &RawValue) -> Agent {
        let Written { install, login, tested, note, backend } =
            serde_json::from_str(row.get()).expect("a test reads every row");
        let text = format!("{{\"backends\": {{{}: {backend}}}}}", json!(name));
        let settings = file::settings_of_rows(&text).expect("a test reads every row");
        let mut tree = json!({});
        settings.iter().for_each(|(path, value)| file::put(&mut tree, path, value.clone()));
        let config = BackendConfig::read(&tree["backends"][name]);
        Agent { install, login, tested, note, config, settings }
    }

    /// What a file would say of it.
    pub(super) fn settings(&self) -> impl Iterator<Item = (Path, (Value, Origin))> {
        self.settings.iter().map(|(path, value)| (path.clone(), (value.clone(), Origin::Agents)))
    }
}

/// Every name of a backend in the settings: of the keys, and in the values in which one can stand.
fn named(settings: &Settings) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, (value, _)) in settings {
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["backends" | POOL, name, ..] => _ = names.insert(name.to_owned()),
            ["default_backend"]
            | ["unified_flags", "fallback"]
            | ["server", "allowed_backends"]
            | ["server", "keys", _, "allowed_backends"]
            | ["server", "models", _] => {
                let words = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                // `backend:model` and `backend/model` name one as well.
                let of_word = |word: &str| word.split([':', '/']).next().unwrap_or(word).trim().to_owned();
                names.extend(words.iter().filter_map(Value::as_str).map(of_word));
            }
            _ => {}
        }
    }
    names
}

/// A row as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    install: String,
    login: String,
    tested: String,
    note: String,
    #[serde(borrow)]
    backend: &'a RawValue,
}

/// A row that is not understood yet.
type Row = Box<dyn FnOnce() -> Agent + Send>;

/// The rows by name. Each is understood when it is asked for first: one command needs one of them, or none.
static TABLE: LazyLock<BTreeMap<String, LazyLock<Agent, Row>>> = LazyLock::new(|| {
    let rows: BTreeMap<String, &RawValue> =
        serde_json::from_str(include_str!("agents.json")).expect("a test reads every row");
    inserted(rows.into_iter().map(|(name, row)| {
        let of = name.clone();
        let read: Row = Box::new(move || Agent::read(&of, row));
        (name, LazyLock::new(read))
    }))
});
