//! Paths of keys: what stands at a path, and what was probably meant by one at which nothing stands.

use super::agents;
use super::table::{BUILT_IN, KEYS, Key, Of};
use super::value::Type;
use crate::base::collect::inserted;
use crate::base::text::nearest;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The section in which every backend has a pool of its own, whether it is named there or not.
pub(super) const POOL: &str = "pool";

/// The names on the way to a value; a name may contain dots (`models` has the vendors' names in it).
pub(super) type Path = Vec<String>;

/// What stands at a path.
pub(super) enum Place {
    /// More keys: of these the first.
    Section(&'static Key),
    Key(&'static Key),
    /// One name in a key that is a map.
    Entry(&'static Key),
}

impl Place {
    pub(super) fn of(path: &[String]) -> Option<Place> {
        KEYS.iter().filter(|key| leads_to(path, key)).find_map(|key| {
            let length = key.name.split('.').count();
            match path.len() {
                deep if deep < length => Some(Place::Section(key)),
                deep if deep == length => Some(Place::Key(key)),
                deep if deep == length + 1 && key.kind == Type::Map => Some(Place::Entry(key)),
                _ => None,
            }
        })
    }

    pub(super) fn key(&self) -> &'static Key {
        match self {
            Place::Section(key) | Place::Key(key) | Place::Entry(key) => key,
        }
    }
}

/// Whether the path and the key's name are the same as far as both go.
fn leads_to(path: &[String], key: &Key) -> bool {
    key.name.split('.').zip(path).all(|(word, given)| word == "<name>" || word == given)
}

/// Cuts a dotted key into its path.
pub(super) fn path(dotted: &str) -> Path {
    let names: Path = dotted.split('.').map(str::to_owned).collect();
    // What follows a map is one name: backends.codex.models.gpt-5.1
    let map = (1..names.len()).find(
        |&length| matches!(Place::of(&names[..length]), Some(Place::Key(key)) if key.kind == Type::Map),
    );
    match map {
        Some(length) => [&names[..length], &[names[length..].join(".")]].concat(),
        None => names,
    }
}

pub(super) fn path_for(key: &Key, name: &str) -> Path {
    key.name.split('.').map(|word| if word == "<name>" { name } else { word }.to_owned()).collect()
}

/// The names that stand for `<name>`, by section.
#[derive(Debug, Clone)]
pub(super) struct Names(BTreeMap<&'static str, Vec<String>>);

impl Names {
    /// The built-in backends, and those that these paths lead to.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Names {
        let built_in = BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
        let mut names: BTreeMap<_, _> = inserted([("backends", built_in)]);
        // A pool makes no backend.
        let declared =
            paths.into_iter().filter_map(|path| named(path)).filter(|(section, _)| *section != POOL);
        for (section, name) in declared {
            let known: &mut Vec<String> = names.entry(section).or_default();
            if !known.iter().any(|known| known == name) {
                known.push(name.to_owned());
            }
        }
        Names(names)
    }

    /// The names that have this key.
    pub(super) fn with<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a String> {
        let declaring = |section| if section == POOL { "backends" } else { section };
        let all = key.section().and_then(|section| self.0.get(declaring(section)));
        all.into_iter().flatten().filter(|name| key.is_for(name))
    }

    /// These, and all agents: what is declared comes last.
    pub(super) fn with_agents(&self) -> Names {
        let mut names = self.clone();
        let backends = names.0.entry("backends").or_default();
        let declared = std::mem::take(backends);
        backends.extend(agents::names().map(str::to_owned).filter(|name| !declared.contains(name)));
        backends.extend(declared);
        names
    }

    pub(super) fn backends(&self) -> &[String] {
        &self.0["backends"]
    }
}

/// The section whose names are free that this path leads into, and the name in it.
pub(super) fn named(path: &[String]) -> Option<(&'static str, &str)> {
    KEYS.iter().find_map(|key| {
        let section = key
            .section()
            .filter(|section| section.split('.').zip(path).all(|(word, given)| word == given))?;
        let name = path.get(section.split('.').count())?;
        Some((section, name.as_str()))
    })
}

/// What is wrong with using the key at this path, if anything is: not every backend has every key.
pub(super) fn misplaced(path: &[String], key: &Key) -> Option<String> {
    let backend = path.get(1).filter(|name| path.len() > 2 && !key.is_for(name))?;
    let dotted = path.join(".");
    match key.of {
        Of::All => None,
        Of::Declared => {
            Some(format!("`{dotted}`: `{backend}` is built in, only declared backends have this key"))
        }
        Of::Echo => Some(format!("`{dotted}`: only backend `echo` has this key")),
    }
}

/// The sentence about a path at which nothing stands.
pub(super) fn unknown(path: &[String], names: &Names) -> String {
    let known =
        (1..path.len()).take_while(|&length| Place::of(&path[..length]).is_some()).last().unwrap_or(0);
    let (parent, word) = (&path[..known], path[known].as_str());
    let full = |child: &str| [parent, &[child.to_owned()]].concat().join(".");
    let here = children(parent, names);
    let elsewhere = || KEYS.iter().map(|key| key.name).find(|name| name.rsplit('.').next() == Some(word));
    let hint = match nearest(word, here.iter().map(String::as_str)) {
        _ if parent.is_empty() && word.contains('.') => {
            "each part of a key's name is an object of its own in the file".to_owned()
        }
        Some(near) => format!("did you mean `{}`?", full(near)),
        None => match elsewhere() {
            Some(name) => format!("did you mean `{name}`?"),
            None if here.is_empty() => format!("`{}` has no keys in it", parent.join(".")),
            None if here.len() <= 12 => format!("known here are {}", here.join(", ")),
            None => "`man clinvk-config` lists the keys".to_owned(),
        },
    };
    format!("unknown key `{}`: {hint}", path.join("."))
}

/// The names that may follow this path.
fn children(parent: &[String], names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    for key in KEYS.iter().filter(|key| leads_to(parent, key)) {
        if parent.get(1).is_some_and(|backend| !key.is_for(backend)) {
            continue;
        }
        match key.name.split('.').nth(parent.len()) {
            Some("<name>") => found.extend(names.with(key).cloned()),
            Some(word) => found.push(word.to_owned()),
            None => {}
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|name| seen.insert(name.clone()));
    found
}

/// What is wrong with the name of a backend, an API key or a pool, if anything is.
pub(super) fn bad_name(section: &str, name: &str, backends: &[String]) -> Option<String> {
    match section {
        "backends" => bad_backend_name(name),
        POOL => unknown_backend(name, backends),
        _ => bad_key_name(name),
    }
}

/// The sentence about a name that is no backend's.
fn unknown_backend(name: &str, backends: &[String]) -> Option<String> {
    if backends.iter().any(|backend| backend == name) || agents::find(name).is_some() {
        return None;
    }
    let hint = nearest(name, backends.iter().map(String::as_str)).map_or_else(
        || format!("known are {}", backends.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Some(format!("unknown backend `{name}`: {hint}"))
}

/// A small letter, then small letters, digits and `_`: what can stand in a variable's name.
fn is_plain(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What is wrong with the name of an API key, if anything is.
pub fn bad_key_name(name: &str) -> Option<String> {
    // What is meant by it would change with the next line in the file.
    let is_ours = name.strip_prefix("key").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    bad("an API key", name, is_ours.then_some("those without a name are numbered so"))
}

fn bad_backend_name(name: &str) -> Option<String> {
    if agents::find(name).is_some() {
        return None;
    }
    let mut sections = KEYS.iter().filter_map(|key| key.name.split_once('.')).map(|(section, _)| section);
    let is_section = sections.any(|section| section == name);
    bad("a backend", name, is_section.then_some("that is the name of a section"))
}

/// `taken`: why it means something else.
fn bad(what: &str, name: &str, taken: Option<&str>) -> Option<String> {
    let plain = "small letters, digits and `_`, with a letter first";
    let why = if is_plain(name) { taken? } else { plain };
    Some(format!("{what} cannot be named `{name}`: {why}"))
}

/// What is wrong with a value that its type does not know of, if anything is.
pub(super) fn bad_value(path: &[String], value: &Value, backends: &[String]) -> Option<String> {
    match value {
        Value::String(name) if path == ["default_backend"] => unknown_backend(name, backends),
        Value::Array(words)
            if path.len() == 3
                && path[2] == "command"
                && words.first().is_none_or(|program| program == "") =>
        {
            Some("expected a program and its arguments, found no program".to_owned())
        }
        _ => None,
    }
}
