//! The variables of the environment that are configuration: `CLINVK_<SECTION>_<KEY>`, and a few short names.

use super::path::{Names, Path, bad_value, path_for};
use super::table::{KEYS, Key};
use super::value::Type;
use super::{Origin, Settings};
use crate::base::text::nearest;
use crate::model::error::Error;
use serde_json::Value;
use std::cell::LazyCell;
use std::collections::BTreeMap;

/// Variables that are ours and no configuration.
const OTHERS: &[&str] = &[
    "CLINVK_CONFIG",
    "CLINVK_HOME",
    "CLINVK_API_KEY",
    "CLINVK_API_KEYS",
    "CLINVK_DEBUG",
    "CLINVK_DEPTH",
    "CLINVK_LOG",
    "CLINVK_RUN",
];

/// Puts what the variables say over the settings. Hands back a warning for each of our variables that means nothing.
pub(super) fn apply(
    settings: &mut Settings,
    names: &Names,
    env: &BTreeMap<String, String>,
) -> Result<Vec<String>, Error> {
    // Most environments have none of them.
    let known = LazyCell::new(|| variables(names));
    let mut given = Vec::new();
    let mut warnings = Vec::new();
    let is_setting = |name: &str| name.starts_with("CLINVK_") && !OTHERS.contains(&name);
    for (variable, text) in env.iter().filter(|(variable, _)| is_setting(variable)) {
        match find(variable, &known) {
            // An empty variable is as good as none: an empty list would be a way to lose a limit by accident.
            Some(_) if text.is_empty() => {}
            Some((path, kind)) => given.push((variable, text, path, kind)),
            None => warnings.push(unknown(variable, &known)),
        }
    }
    // Short names first: the full one wins.
    given.sort_unstable_by_key(|(variable, _, path, _)| (**variable == full_name(path), *variable));

    for (variable, text, path, kind) in given {
        let refuse = |problem| Error::Config { origin: variable.clone(), position: None, problem };
        let value = kind.parse(text).map_err(refuse)?;
        if let Some(problem) = bad_value(&path, &value, names.backends()) {
            return Err(refuse(problem));
        }
        let origin = Origin::Env(variable.clone());
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    settings.insert([path.clone(), vec![name]].concat(), (value, origin.clone()));
                }
            }
            value => _ = settings.insert(path, (value, origin)),
        }
    }
    Ok(warnings)
}

type Variables = BTreeMap<String, (Path, Type)>;

/// Every variable that stands for a key.
fn variables(names: &Names) -> Variables {
    let names = &names.with_agents();
    let mut known = Variables::new();
    let short = |known: &mut Variables, name: String, path: &[&str]| {
        known.insert(name, (path.iter().map(|word| (*word).to_owned()).collect(), Type::Text));
    };
    short(&mut known, "CLINVK_BACKEND".to_owned(), &["default_backend"]);
    short(&mut known, "CLINVK_SERVER".to_owned(), &["client", "server"]);
    short(&mut known, "CLINVK_API_KEYS_GOPASS_PATH".to_owned(), &["server", "api_keys_gopass_path"]);
    for name in names.backends() {
        short(&mut known, full_name(&[name.clone(), "model".to_owned()]), &["backends", name, "model"]);
    }
    // The longest name is put in last: CLINVK_BACKENDS_A_FIELDS_MODEL means backend `a_fields` where there is one.
    let once = KEYS.iter().filter(|key| key.section().is_none()).map(|key| ("", key));
    let named = KEYS.iter().flat_map(|key| names.with(key).map(move |name| (name.as_str(), key)));
    let mut all: Vec<(&str, &Key)> = once.chain(named).collect();
    all.sort_by_key(|(name, _)| name.len());
    for (name, key) in all {
        let path = path_for(key, name);
        known.insert(full_name(&path), (path, key.kind));
    }
    known
}

fn full_name(path: &[String]) -> String {
    // The names of some agents have a hyphen, which those of variables cannot have.
    format!("CLINVK_{}", path.join("_").to_uppercase().replace('-', "_"))
}

/// The key that a variable stands for, or the one entry of a map.
fn find(variable: &str, known: &Variables) -> Option<(Path, Type)> {
    if let Some(found) = known.get(variable) {
        return Some(found.clone());
    }
    let entry_of = |(name, (path, kind)): (&String, &(Path, Type))| {
        let entry = variable.strip_prefix(name.as_str())?.strip_prefix('_')?;
        (*kind == Type::Map && !entry.is_empty()).then(|| (name.len(), path.clone(), entry.to_owned()))
    };
    let (_, mut path, entry) = known.iter().filter_map(entry_of).max_by_key(|(length, ..)| *length)?;
    // The names in `env` are variables themselves; those in `models` are words that people type.
    path.push(if path.ends_with(&["env".to_owned()]) { entry } else { entry.to_lowercase() });
    Some((path, Type::Text))
}

fn unknown(variable: &str, known: &Variables) -> String {
    let bare = |name: &str| name.trim_start_matches("CLINVK_").to_owned();
    let names: Vec<String> =
        known.keys().map(String::as_str).chain(OTHERS.iter().copied()).map(bare).collect();
    match nearest(&bare(variable), names.iter().map(String::as_str)) {
        Some(near) => format!("unknown variable `{variable}`: did you mean `CLINVK_{near}`?"),
        None => format!("unknown variable `{variable}`: `man clinvk-config` lists the variables"),
    }
}
