//! `clinvk backends`: who can be asked here, and with `--all` who else is known.

use super::flags::{Name, Typed};
use super::{say_either, table};
use crate::backend::{Agents, Backend, Trust};
use crate::base::json::{self, json};
use crate::base::printable;
use crate::base::world::World;
use crate::config::agents::Agent;
use crate::config::{BUILT_IN, Config, Protocol};
use crate::engine::Engine;
use crate::model::error::Error;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn run(typed: &Typed, world: World, config: &Config) -> Result<u8, Error> {
    let mut rows = Told::all(world, config)?;
    rows.retain(|row| typed.has(Name::All) || row.is_of_interest());
    let data: Vec<Value> = rows.iter().map(Told::data).collect();
    let head = ["NAME", "PROTOCOL", "STATE", "VERSION", "PROGRAM"].map(str::to_owned);
    let cells: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(|row| row.cells())).collect();
    say_either(typed, json!({"backends": data, "default": config.default_backend}), &table::aligned(&cells))
}

/// What is told of one backend.
pub(super) struct Told {
    pub(super) backend: Arc<dyn Backend>,
    /// Its program, where that is installed.
    pub(super) path: Option<PathBuf>,
    /// None of one that is built in: it is talked to in its vendor's own way.
    protocol: Option<Protocol>,
    source: &'static str,
    pub(super) enabled: bool,
    /// A prompt goes to it when none is named.
    pub(super) is_default: bool,
    /// The configuration has a part for it.
    is_configured: bool,
    agent: Option<&'static Agent>,
    /// How it is installed, and how its user logs in, where that is known.
    pub(super) remedy: Option<(&'static str, &'static str)>,
}

impl Told {
    /// All that can be asked and all that are known, by name: those that are switched off, too.
    pub(super) fn all(world: World, config: &Config) -> Result<Vec<Told>, Error> {
        let mut all = config.clone();
        all.backends.values_mut().for_each(|part| part.enabled = true);
        let engine = Engine::of(world, &all, Agents::Known);
        let names = engine.registry.names_for_user();
        names.iter().map(|name| Told::of(name, &engine, config)).collect()
    }

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
            is_default: config.default_backend == name,
            is_configured: config.backends.contains_key(name),
            agent: engine.registry.agent(name),
            remedy: engine.registry.remedy(&*backend),
            backend,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.backend.name()
    }

    /// It is there, or was meant to be.
    pub(super) fn is_of_interest(&self) -> bool {
        self.path.is_some() || self.is_configured
    }

    /// The version of the package that its program is of, without starting it.
    pub(super) fn version(&self) -> Option<String> {
        self.path.as_deref().and_then(version_of_package)
    }

    /// Why no prompt can go to it, where none can.
    pub(super) fn why_not(&self) -> Option<String> {
        let name = self.name();
        match (self.enabled, &self.path) {
            (false, _) => Some(Error::Disabled { backend: name.to_owned() }.to_string()),
            (true, Some(_)) => None,
            (true, None) => Some(format!("`{}` is not {}", self.backend.program(), self.where_not())),
        }
    }

    /// The newest version that was tried.
    pub(super) fn tested(&self) -> Option<&'static str> {
        self.backend.vendor().map(|vendor| vendor.newest).or(self.of_agent(|agent| &agent.tested))
    }

    /// Who says what its program is and can do.
    pub(super) fn known_by(&self) -> &'static str {
        match (self.agent, self.protocol) {
            (Some(_), _) => "from the table, not tested",
            (None, Some(_)) => "as declared",
            (None, None) => "built in",
        }
    }

    fn of_agent(&self, fact: fn(&'static Agent) -> &'static String) -> Option<&'static str> {
        self.agent.map(fact).map(String::as_str).filter(|fact| !fact.is_empty())
    }

    /// What starts its program.
    pub(super) fn launched(&self) -> Option<String> {
        self.backend.launcher().map(|launcher| format!("started by `{}`", launcher.shown()))
    }

    fn where_not(&self) -> &'static str {
        if self.backend.program().contains('/') { "an executable file" } else { "on PATH" }
    }

    fn cells(&self) -> [String; 5] {
        let state = match (self.enabled, &self.path) {
            (false, _) => "disabled",
            (true, Some(_)) => "installed",
            (true, None) => "missing",
        };
        let program = match (self.launched(), &self.path, self.remedy) {
            (Some(launched), ..) => launched,
            (None, Some(path), _) => path.display().to_string(),
            (None, None, Some((install, login))) => format!("`{install}`; log in: {login}"),
            (None, None, None) => self.backend.program().to_owned(),
        };
        [
            self.name().to_owned(),
            self.protocol.map_or(self.source, Protocol::word).to_owned(),
            format!("{state}{}", if self.is_default { ", default" } else { "" }),
            self.version().unwrap_or_default(),
            program,
        ]
        .map(|cell| printable::safe(&cell))
    }

    fn data(&self) -> Value {
        let vendor = self.backend.vendor();
        json!({
            "name": self.name(),
            "source": self.source,
            "protocol": self.protocol.map(Protocol::word),
            "program": self.backend.program(),
            "launcher": self.backend.launcher().map(|launcher| &launcher.words),
            "path": self.path.as_deref().map(json::path),
            "version": self.version(),
            "enabled": self.enabled,
            "available": self.path.is_some(),
            "default": self.is_default,
            "reason": self.why_not(),
            "install": self.remedy.map(|(install, _)| install),
            "login": self.remedy.map(|(_, login)| login),
            "oldest": vendor.map(|vendor| vendor.oldest),
            "tested": self.tested(),
            "note": self.of_agent(|agent| &agent.note),
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
