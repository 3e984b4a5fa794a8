//! Every run of every surface goes through the engine, in three steps. A task is prepared (`prepare`): it is
//! checked, and it is said how its program is launched. It is opened (`open`): its program is found, and it holds the
//! session that it continues. It is run (`run`).

pub mod answer; // one that is kept whole
pub(crate) mod caller; // a command line whose runs happen in another process
mod converse; // the conversation of a run with its program
pub mod dry_run; // what would be executed
pub mod fallback; // who is asked when one cannot answer for now
mod forget; // sessions and what vendors keep of them
pub(crate) mod pool; // programs that are kept for further runs
pub mod policy; // what a client may ask for
mod prepare; // a task that is checked
pub mod request; // what is asked for, before defaults
mod run; // a task that is run
pub(crate) mod site; // where runs happen

pub use prepare::Prepared;
pub use run::Opened;

use crate::backend::{Agents, Backend, Registry, Trust};
use crate::base::world::World;
use crate::config::Config;
use crate::model::error::Error;
use crate::session::{Keep, Store};
use pool::Pool;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Runs tasks.
pub(crate) struct Engine {
    /// The sessions.
    pub(crate) store: Store,
    /// What is kept of a turn.
    pub(crate) keep: Keep,
    /// Most characters of a conversation that is replayed.
    pub(crate) replay_limit: usize,
    /// The backends there are.
    pub(crate) registry: Registry,
    /// Backends that the configuration switches off.
    pub(crate) disabled: BTreeSet<String>,
    /// Programs that are kept for further runs, where this process lives long enough for that.
    pub(crate) pool: Option<Arc<Pool>>,
    /// Where programs and scratch files are found.
    pub(crate) world: Arc<World>,
}

impl Engine {
    /// The engine of this configuration.
    pub(crate) fn of(world: World, config: &Config, agents: Agents) -> Engine {
        let (registry, disabled) = Registry::of(config, &world.exe.to_string_lossy(), agents);
        let keep = Keep { turns: config.session.store_turns, tokens: config.session.store_token_usage };
        let store = match &world.no_home {
            None => Store::at(&world.home),
            Some(why) => Store::nowhere(&world.home, why.clone()),
        };
        let replay_limit = config.session.replay_limit;
        Engine { store, keep, replay_limit, registry, disabled, pool: None, world: Arc::new(world) }
    }

    /// Where the program of a backend is.
    pub(crate) fn locate(&self, backend: &dyn Backend, trust: Trust) -> Option<PathBuf> {
        let find = |program: &str| self.world.find_program(program);
        self.registry.locate(backend.program(), Instant::now(), trust, find)
    }

    /// The names of the backends that are there and have answers of their own, for a user of this machine.
    fn installed(&self) -> Vec<String> {
        let is_there =
            |backend: &Arc<dyn Backend>| backend.answers() && self.locate(&**backend, Trust::Found).is_some();
        let all = self.registry.names_for_user().into_iter().filter_map(|name| self.registry.get(&name).ok());
        all.filter(is_there).map(|backend| backend.name().to_owned()).collect()
    }

    /// The error of a backend whose program is not there.
    pub(crate) fn not_installed(&self, backend: &dyn Backend) -> Error {
        let remedy = |(install, login)| format!("`{install}` installs it; log in: {login}");
        if let Some(launcher) = backend.launcher() {
            return Error::Launcher {
                backend: backend.name().to_owned(),
                program: launcher.words[0].clone(),
            };
        }
        Error::NotInstalled {
            backend: backend.name().to_owned(),
            program: backend.program().to_owned(),
            remedy: self.registry.remedy(backend).map(remedy),
        }
    }
}

/// The vendor's name for an alias; any other name as it is; none for the backend's default.
pub(crate) fn resolve_model(models: &[(String, String)], asked: &str) -> Option<String> {
    let model = models.iter().find(|(alias, _)| alias == asked).map_or(asked, |(_, model)| model);
    Some(model.to_owned()).filter(|model| !model.is_empty())
}
