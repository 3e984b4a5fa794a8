//! The configuration: plain data, made of the table's defaults, what is known of agents, the file and the environment, in
//! this order; flags come on top in `cli`. Reads and writes no file but `config.json`; the environment is handed in.

pub mod agents;
mod env;
mod file;
mod json;
mod path;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use file::{set, unset};
pub use path::bad_key_name;
pub use table::{
    BUILT_IN, BackendConfig, Client, Config, Declared, Echo, Fields, Input, KEYS, Key, KeyPolicy, Modes, Of,
    Output, Parallel, PoolConfig, Server, Session, UnifiedFlags,
};
pub use value::{AnswerAs, LauncherType, PromptBy, Protocol, StdinUse, SystemBy, Type, UsageOf};

use crate::base::collect::inserted;
use crate::base::json::json;
use crate::model::error::Error;
use path::{Names, POOL, Place, misplaced, path_for, unknown};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use table::Section;

/// The configuration and where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file in use, whether it exists or not.
    pub(crate) path: PathBuf,
    /// Sentences for the user: what was found and has no effect.
    pub(crate) warnings: Vec<String>,
    /// Every key with its value and origin, in the table's order, then name by name.
    pub(crate) rows: Vec<Row>,
}

/// One key of a loaded configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The dotted key, with the name of the backend or API key in it; every entry of a map is a row of its own.
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Where the value comes from.
    pub(crate) origin: Origin,
    path: path::Path,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// Neither the file, the environment nor a flag sets it.
    Default,
    /// What is known of the agent of that name.
    Agents,
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Agents => f.write_str("known agent"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Env(variable) => write!(f, "env {variable}"),
        }
    }
}

/// What file and environment say: the value at each path.
type Settings = BTreeMap<path::Path, (Value, Origin)>;

impl Config {
    /// Loads the explicit file, or `config.json` in the home directory when there is one, and the variables in `env`. Anything
    /// in them that is not understood is an error: a broken configuration stops, it never becomes a weaker one.
    pub fn load(
        home: &Path,
        explicit: Option<&Path>,
        env: &BTreeMap<String, String>,
    ) -> Result<Loaded, Error> {
        let path = file_in_use(home, explicit);
        let mut warnings = Vec::new();
        let settings = match file::read(&path)? {
            Some(text) => file::settings(&path, &text)?,
            None if explicit.is_some() => return Err(file::broken(&path, "there is no such file")),
            None => {
                warnings.extend(old_file(home));
                Settings::new()
            }
        };
        Config::complete(path, settings, warnings, env)
    }

    /// The same where there is no file, and no place for one.
    pub(crate) fn of_variables(env: &BTreeMap<String, String>) -> Result<Loaded, Error> {
        Config::complete(PathBuf::new(), Settings::new(), Vec::new(), env)
    }

    fn complete(
        path: PathBuf,
        mut settings: Settings,
        mut warnings: Vec<String>,
        env: &BTreeMap<String, String>,
    ) -> Result<Loaded, Error> {
        let names = Names::of(settings.keys());
        warnings.extend(env::apply(&mut settings, &names, env)?);
        agents::complete(&mut settings);
        let rows = rows(&settings, &Names::of(settings.keys()));
        Ok(Loaded { config: Config::read(&tree(&rows)), path, warnings, rows })
    }

    /// That backend's part: what is known of an agent where nothing names it, and all defaults for a name that means nothing.
    pub fn backend(&self, name: &str) -> &BackendConfig {
        static DEFAULTS: LazyLock<BackendConfig> = LazyLock::new(BackendConfig::default);
        let known = || agents::find(name).map(|agent| &agent.config);
        self.backends.get(name).or_else(known).unwrap_or(&DEFAULTS)
    }

    /// Which children of that backend are kept.
    pub fn pool(&self, name: &str) -> PoolConfig {
        self.pools.get(name).cloned().unwrap_or_default()
    }
}

impl Loaded {
    /// The value of a key, or a whole section as an object.
    pub(crate) fn get(&self, key: &str) -> Result<Value, Error> {
        let path = path::path(key);
        let is_below = |row: &Row| row.path.starts_with(&path);
        let mut below: Vec<Row> = self.rows.iter().filter(|row| is_below(row)).cloned().collect();
        if let ("backends" | POOL, Some(agent), true) =
            (&*path[0], path.get(1).and_then(|name| agents::find(name)), below.is_empty())
        {
            let settings: Settings = inserted(agent.settings());
            below = rows(&settings, &Names::of(settings.keys()));
            below.retain(is_below);
        }
        if !below.is_empty() {
            return Ok(path.iter().fold(tree(&below), |mut node, name| node[name.as_str()].take()));
        }
        let known: Vec<String> = self.config.backends.keys().cloned().collect();
        match (Place::of(&path), path.get(1)) {
            (None, _) => {
                let names = Names::of(self.rows.iter().map(|row| &row.path));
                Err(Error::Invalid(unknown(&path, &names)))
            }
            (Some(_), Some(given)) if matches!(&*path[0], "backends" | POOL) && !known.contains(given) => {
                Err(Error::UnknownBackend { given: given.clone(), known })
            }
            (Some(place), _) => Err(Error::Invalid(
                misplaced(&path, place.key()).unwrap_or_else(|| format!("`{key}` is not set")),
            )),
        }
    }
}

/// The file that `Config::load` reads, and that `set` and `unset` are to change, even when it does not load.
pub(crate) fn file_in_use(home: &Path, explicit: Option<&Path>) -> PathBuf {
    explicit.map_or_else(|| home.join("config.json"), Path::to_owned)
}

/// A warning about the file of clinvk 0.2, which is not read.
fn old_file(home: &Path) -> Option<String> {
    let old =
        ["config.yaml", "config.yml"].map(|name| home.join(name)).into_iter().find(|path| path.exists())?;
    let new = home.join("config.json");
    Some(format!("`{}` is not read: the configuration has to be in `{}`", old.display(), new.display()))
}

/// A row for every key: those of a section of names for each name that has them, the others once.
fn rows(settings: &Settings, names: &Names) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |key: &Key, path: path::Path| {
        let row = |path: &path::Path, (value, origin): &(Value, Origin)| Row {
            key: path.join("."),
            value: value.clone(),
            origin: origin.clone(),
            path: path.clone(),
        };
        let before = rows.len();
        let said = settings.range(path.clone()..).take_while(|(at, _)| at.starts_with(&path));
        rows.extend(said.map(|(path, setting)| row(path, setting)));
        if rows.len() == before {
            rows.push(row(&path, &(key.default_value(), Origin::Default)));
        }
    };
    for keys in KEYS.chunk_by(|one, next| one.section() == next.section()) {
        if keys[0].section().is_none() {
            keys.iter().for_each(|key| add(key, path_for(key, "")));
        }
        for name in names.with(&keys[0]) {
            keys.iter().filter(|key| key.is_for(name)).for_each(|key| add(key, path_for(key, name)));
        }
    }
    rows
}

/// The rows as one object.
fn tree(rows: &[Row]) -> Value {
    let mut root = json!({});
    for row in rows {
        file::put(&mut root, &row.path, row.value.clone());
    }
    root
}
