//! `clinvk backends`: who can be asked here, and with `--all` who else is known.

use super::flags::{Name, Typed};
use super::{say_either, table};
use crate::backend::{Agents, Backend, Trust};
use crate::base::json::json;
use crate::base::printable;
use crate::base::world::World;
use crate::config::agents::{self, Agent};
use crate::config::{BUILT_IN, Config, Protocol};
use crate::engine::Engine;
use crate::model::error::Error;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    // Those that are switched off are told of as well.
    let mut all = config.clone();
    all.backends.values_mut().for_each(|part| part.enabled = true);
    let engine = Engine::of(world, &all, Agents::Known);
    let mut names: Vec<String> = config.backends.keys().cloned().collect();
    names.extend(agents::names().map(str::to_owned).filter(|name| !config.backends.contains_key(name)));
    names.sort();
    let rows: Vec<Told> =
        names.iter().map(|name| Told::of(name, &engine, config)).collect::<Result<_, Error>>()?;
    let is_shown =
        |row: &&Told| typed.has(Name::All) || row.path.is_some() || config.backends.contains_key(row.name());
    let rows: Vec<&Told> = rows.iter().filter(is_shown).collect();
    let data: Vec<Value> = rows.iter().map(|row| row.data()).collect();
    let head = ["NAME", "PROTOCOL", "STATE", "VERSION", "PROGRAM"].map(str::to_owned);
    let cells: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(|row| row.cells())).collect();
    say_either(typed, json!({"backends": data, "default": config.default_backend}), &table::aligned(&cells))
}

/// What is told of one backend.
struct Told {
    backend: Arc<dyn Backend>,
    /// Its program, where that is installed.
    path: Option<PathBuf>,
    /// None of one that is built in: it is talked to in its vendor's own way.
    protocol: Option<Protocol>,
    source: &'static str,
    enabled: bool,
    agent: Option<&'static Agent>,
}

impl Told {
    fn of(name: &str, engine: &Engine, config: &Config) -> Result<Told, Error> {
        let backend = engine.registry.get(name)?;
        let is_built_in = BUILT_IN.contains(&name);
        let part = config.backend(name);
        Ok(Told {
            path: engine.locate(&*backend, Trust::All),
            protocol: (!is_built_in).then_some(part.declared.protocol),
            source: match (is_built_in, config.backends.contains_key(name)) {
                (true, _) => "built in",
                (false, true) => "configuration",
                (false, false) => "known agent",
            },
            enabled: part.enabled,
            agent: engine.registry.agent(name),
            backend,
        })
    }

    fn name(&self) -> &str {
        self.backend.name()
    }

    fn version(&self) -> Option<String> {
        self.path.as_deref().and_then(version_of_package)
    }

    fn cells(&self) -> [String; 5] {
        let state = match (self.enabled, &self.path) {
            (false, _) => "disabled",
            (true, Some(_)) => "installed",
            (true, None) => "missing",
        };
        let program = match (&self.path, self.agent) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(agent)) => format!("`{}`; log in: {}", agent.install, agent.login),
            (None, None) => self.backend.program().to_owned(),
        };
        [
            self.name().to_owned(),
            self.protocol.map_or(self.source, Protocol::word).to_owned(),
            state.to_owned(),
            self.version().unwrap_or_default(),
            program,
        ]
        .map(|cell| printable::safe(&cell))
    }

    fn data(&self) -> Value {
        let of_agent = |fact: fn(&Agent) -> &String| self.agent.map(fact).filter(|fact| !fact.is_empty());
        json!({
            "name": self.name(),
            "source": self.source,
            "protocol": self.protocol.map(Protocol::word),
            "program": self.backend.program(),
            "path": self.path,
            "version": self.version(),
            "enabled": self.enabled,
            "available": self.path.is_some(),
            "install": of_agent(|agent| &agent.install),
            "login": of_agent(|agent| &agent.login),
            "tested": of_agent(|agent| &agent.tested),
            "note": of_agent(|agent| &agent.note),
        })
    }
}

/// The version of the npm package that a program is of. Other programs would have to be started to say theirs.
fn version_of_package(program: &Path) -> Option<String> {
    let file = fs::canonicalize(program).ok()?;
    let is_package = |dir: &&Path| {
        let mut outside = dir.ancestors().skip(1);
        let is_modules = |dir: Option<&Path>| dir.is_some_and(|dir| dir.ends_with("node_modules"));
        let parent = outside.next();
        let is_scope =
            parent.and_then(Path::file_name).is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"));
        is_modules(parent) || (is_scope && is_modules(outside.next()))
    };
    let package = file.ancestors().skip(1).find(is_package)?.join("package.json");
    let facts: Value = serde_json::from_slice(&fs::read(package).ok()?).ok()?;
    facts["version"].as_str().map(str::to_owned)
}
