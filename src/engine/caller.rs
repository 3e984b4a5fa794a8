//! A command line whose runs happen in another process of the same user (`--server auto`): what it was given when it was
//! started goes along, so that they happen there as they would in it.

use super::Engine;
use super::request::{AllDirectories, Defaults};
use crate::backend::{Agents, DEPTH};
use crate::base::world::World;
use crate::config::Config;
use crate::exec::NEVER_INHERITED;
use crate::model::error::Error;
use crate::session::Session;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a command line was given.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// Environment and working directory: `World::carried`.
    world: String,
    /// The configuration file that it names.
    config: Option<PathBuf>,
    /// It wants the program's own lines.
    pub(crate) lines: bool,
}

impl fmt::Debug for Caller {
    /// Keys are in the environment.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Caller")
    }
}

/// What runs are made of: a configuration, and the engine of it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
}

impl Caller {
    /// That of this process. `config`: the configuration file that is named.
    pub(crate) fn of(world: &World, config: Option<&Path>) -> Caller {
        let world_carried = world.carried(NEVER_INHERITED.iter().copied());
        Caller { world: world_carried, config: config.map(|file| world.cwd.join(file)), lines: false }
    }

    /// The same where the program's own lines are wanted, or not.
    pub(crate) fn hearing(&self, lines: bool) -> Caller {
        Caller { lines, ..self.clone() }
    }

    /// What its runs are made of, in the process of `engine`, whose sessions are its own.
    ///
    /// # Errors
    /// When it makes no sense, or its configuration is broken.
    pub(crate) fn setup(&self, engine: &Engine) -> Result<Setup, Error> {
        let none = || Error::Invalid("`caller` has no environment as clinvk sends it".to_owned());
        let mut world = World::of_carried(&self.world, &engine.world.exe).ok_or_else(none)??;
        // It is inside of no run, whatever this process is inside of.
        world.env.entry(DEPTH.to_owned()).or_insert_with(|| "0".to_owned());
        let config = Config::load(&world.home, self.config.as_deref(), &world.env)?.config;
        let (store, pool) = (engine.store.clone(), engine.pool.clone());
        let engine = Engine { store, pool, ..Engine::of(world, &config, Agents::Known) };
        Ok(Setup { config, engine })
    }
}

impl Engine {
    /// What requests are completed from that have the rights of this process; with a session that is continued.
    pub(crate) fn defaults<'a>(&'a self, config: &'a Config, session: Option<&'a Session>) -> Defaults<'a> {
        Defaults {
            config,
            registry: &self.registry,
            base: &self.world.cwd,
            temp: &self.world.temp,
            home: &self.world.home,
            session,
            directories: &AllDirectories,
            reads_files: true,
        }
    }
}
