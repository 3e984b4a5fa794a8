//! The backends there are: built-in ones, those of the configuration, and known agents that are asked for by name.

use super::launcher::{Launched, Launcher};
use super::{Backend, acp, claude, codex, command, echo, gemini};
use crate::base::sync::{read, write};
use crate::base::text::nearest;
use crate::config::agents::{self, Agent};
use crate::config::{BackendConfig, Config, Protocol};
use crate::model::error::Error;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// Backends can come and go at run time; whether a program is there is looked up at most every 30 s.
pub struct Registry {
    backends: RwLock<BTreeMap<String, Arc<dyn Backend>>>,
    /// Program -> where it is and when that was found out.
    found: RwLock<HashMap<String, (Option<PathBuf>, Instant)>>,
    agents: Agents,
    /// The names of the configuration, those that it switches off too, with the agent that each is.
    configured: BTreeMap<String, Option<&'static Agent>>,
    /// This very program.
    exe: String,
}

/// Which of the known agents can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agents {
    /// All: by a user, who could start each of them as well.
    Known,
    /// Those that the configuration names: what happens to be installed is nothing that a server offers.
    Configured,
}

/// What of the answers that still hold is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    All,
    /// A program that was found: for a run, one that was just installed is there at once.
    Found,
}

/// How long an answer to "is it installed?" holds.
const AVAILABILITY_HOLDS: Duration = Duration::from_secs(30);

impl Registry {
    /// The backends of a configuration, built-in and declared, and the names of those that it switches off. `exe` is this
    /// very program.
    pub fn of(config: &Config, exe: &str, agents: Agents) -> (Registry, BTreeSet<String>) {
        let mut disabled = BTreeSet::new();
        let agent_of = |(name, part): (&String, &BackendConfig)| (name.clone(), agents::that_is(name, part));
        let registry = Registry {
            backends: RwLock::default(),
            found: RwLock::default(),
            agents,
            configured: config.backends.iter().map(agent_of).collect(),
            exe: exe.to_owned(),
        };
        for (name, part) in &config.backends {
            if part.enabled {
                registry.register(registry.backend(name, part));
            } else {
                disabled.insert(name.clone());
            }
        }
        (registry, disabled)
    }

    fn backend(&self, name: &str, part: &BackendConfig) -> Arc<dyn Backend> {
        let backend = self.without_launcher(name, part);
        match Launcher::of(name, part) {
            Some(launcher) => Arc::new(Launched { inner: backend, launcher }),
            None => backend,
        }
    }

    /// The one list that a new backend is added to.
    fn without_launcher(&self, name: &str, part: &BackendConfig) -> Arc<dyn Backend> {
        let program = Some(part.program.clone()).filter(|program| !program.is_empty());
        let models: Vec<(String, String)> = part.models.clone().into_iter().collect();
        match name {
            "claude" => Arc::new(claude::Claude::new(program, &models)),
            "codex" => Arc::new(codex::Codex::new(program, &models)),
            "gemini" => Arc::new(gemini::Gemini::new(program, &models)),
            "echo" => Arc::new(echo::Echo::new(program.unwrap_or(self.exe.clone()), &part.echo, models)),
            _ => {
                let spec = command::Spec::new(name, program, &part.declared, models);
                match part.declared.protocol {
                    Protocol::Command => Arc::new(command::Command(spec)),
                    Protocol::Acp => Arc::new(acp::Acp(spec)),
                }
            }
        }
    }

    /// Adds a backend, or replaces the one of that name.
    pub fn register(&self, backend: Arc<dyn Backend>) {
        write(&self.backends).insert(backend.name().to_owned(), backend);
    }

    /// Takes a backend out; false when there was none of that name. Runs that are under way go on.
    pub fn remove(&self, name: &str) -> bool {
        write(&self.backends).remove(name).is_some()
    }

    /// The names, sorted. Agents that nothing but their own table names are not among them.
    pub fn names(&self) -> Vec<String> {
        read(&self.backends).keys().cloned().collect()
    }

    /// The names of all that a user of this machine can ask for, sorted; none where others ask.
    pub(crate) fn names_for_user(&self) -> Vec<String> {
        match self.agents {
            Agents::Known => {
                let unnamed = agents::names().filter(|name| !self.configured.contains_key(*name));
                let mut names: Vec<String> = self.names();
                names.extend(unnamed.map(str::to_owned));
                names.sort();
                names
            }
            Agents::Configured => Vec::new(),
        }
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// `UnknownBackend` with the names there are.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Backend>, Error> {
        if let Some(backend) = read(&self.backends).get(name) {
            return Ok(backend.clone());
        }
        match (self.unconfigured(name), self.agents) {
            (Some(agent), Agents::Known) => Ok(self.backend(name, &agent.config)),
            (Some(_), Agents::Configured) => Err(Error::Disabled { backend: name.to_owned() }),
            (None, _) => {
                let near = nearest(name, agents::names()).filter(|_| self.agents == Agents::Known);
                let known = self.names().into_iter().chain(near.map(str::to_owned)).collect();
                Err(Error::UnknownBackend { given: name.to_owned(), known })
            }
        }
    }

    /// The agent that the backend of that name is.
    pub(crate) fn agent(&self, name: &str) -> Option<&'static Agent> {
        self.configured.get(name).copied().flatten().or_else(|| self.unconfigured(name))
    }

    /// How the program of a backend is installed, and how its user logs in, where that is known.
    pub(crate) fn remedy(&self, backend: &dyn Backend) -> Option<(&'static str, &'static str)> {
        // What is to be installed is the launcher.
        if backend.launcher().is_some() {
            return None;
        }
        let of_vendor = backend.vendor().map(|vendor| (vendor.install, vendor.login));
        of_vendor.or_else(|| self.agent(backend.name()).map(|agent| (&*agent.install, &*agent.login)))
    }

    fn unconfigured(&self, name: &str) -> Option<&'static Agent> {
        if self.configured.contains_key(name) { None } else { agents::find(name) }
    }

    /// Where a program is, by the cache or else by `find`, which looks on PATH.
    pub fn locate(
        &self,
        program: &str,
        now: Instant,
        trust: Trust,
        find: impl FnOnce(&str) -> Option<PathBuf>,
    ) -> Option<PathBuf> {
        let held = read(&self.found).get(program).cloned();
        if let Some((path, since)) = held {
            let holds = now.saturating_duration_since(since) < AVAILABILITY_HOLDS;
            if holds && (path.is_some() || trust == Trust::All) {
                return path;
            }
        }
        let path = find(program);
        let mut found = write(&self.found);
        found.insert(program.to_owned(), (path.clone(), now));
        path
    }

    pub(crate) fn looked_for(&self, program: &str) -> Option<Instant> {
        let found = read(&self.found);
        found.get(program).map(|(_, at)| *at)
    }
}
