//! The programs that are kept for further runs: which one a run goes on in, which are started and which are ended. A run that
//! finds no place in them has a program of its own.

mod members; // where a run finds a place

#[cfg(feature = "serve")]
pub(crate) use members::STATES;
pub(crate) use members::{Child, Counts};

use super::converse::completed;
use crate::backend::{Backend, Keeping, Launch};
use crate::base::sync::{lock, wait};
use crate::base::world::{self, World};
use crate::config::{Config, PoolConfig};
use crate::exec::{self, Kept, Left, Start};
use crate::model::error::Error;
use crate::model::task::Task;
use crate::session::Session;
use members::{Conversation, Key, Member, State};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a program that has to end may take to do it by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The kept programs of an engine.
pub(crate) struct Pool {
    pools: BTreeMap<String, PoolConfig>,
    state: Mutex<State>,
    /// A program was started, or could not be.
    started: Condvar,
}

/// How a program of a key is started.
#[derive(Clone)]
struct Recipe {
    world: Arc<World>,
    backend: Arc<dyn Backend>,
    task: Task,
    program: PathBuf,
    depth: u32,
    used: Instant,
}

/// For what a program is started.
enum First {
    /// A run, which is the first in it.
    Run,
    Spare,
}

/// What a run asks of the pool.
pub(super) struct Wanted<'a> {
    /// Whose environment the program gets.
    pub(super) world: &'a Arc<World>,
    pub(super) backend: &'a Arc<dyn Backend>,
    pub(super) task: &'a Task,
    /// With all that a run's program gets.
    pub(super) launch: &'a Launch,
    pub(super) program: &'a Path,
    pub(super) depth: u32,
}

/// A run has a place in a kept program, until this is dropped.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    number: u64,
    pub(super) kept: Arc<Kept>,
    /// The vendor's id of the conversation that goes on in it.
    pub(super) conversation: Option<String>,
    /// The program was there before the run.
    pub(super) is_warm: bool,
}

impl Pool {
    /// The pool of a configuration, with no program yet.
    pub(crate) fn of(config: &Config) -> Pool {
        let pools = config.backends.keys().map(|name| (name.clone(), config.pool(name))).collect();
        Pool { pools, state: Mutex::default(), started: Condvar::new() }
    }

    /// Finds a place for a run, or makes one; none where its program cannot be kept, or there are as many as there may be.
    /// `session`: the one that the run continues or begins, as it is now.
    ///
    /// # Errors
    /// When a program cannot be started.
    pub(super) fn lease(
        &self,
        wanted: &Wanted<'_>,
        session: Option<&Session>,
    ) -> Result<Option<Lease<'_>>, Error> {
        let name = wanted.backend.name();
        let config = self.pools.get(name).cloned().unwrap_or_default();
        if config.max == 0 {
            return Ok(None);
        }
        let Some(mut keeping) = wanted.backend.keeps(wanted.task) else { return Ok(None) };
        // A server that the task brings is the program's, and remembers what it likes of a conversation.
        keeping.is_shared &= wanted.task.mcp.is_empty();
        let Some(key) = Key::of(wanted, &keeping) else { return Ok(None) };
        let mut state = lock(&self.state);
        if config.min_idle > 0 {
            state.recipes.insert(key.clone(), Recipe::of(wanted));
        }
        loop {
            if state.is_closed {
                return Ok(None);
            }
            state.forget_ended();
            if let Some((number, conversation)) = state.find(&key, wanted, session, &config) {
                match &conversation {
                    Some(_) => state.count(name).continued += 1,
                    None => state.count(name).warm += 1,
                }
                let Some(kept) = state.enter(number, conversation.as_deref()) else { return Ok(None) };
                return Ok(Some(Lease { pool: self, number, kept, conversation, is_warm: true }));
            }
            // One that several can share is there in a moment, and takes this run before it is ready.
            if !state.is_starting(&key, &config) {
                break;
            }
            state = wait(&self.started, state);
        }
        state.make_room(name, config.max);
        let Some(number) = state.reserve(name, key, wanted.task.owner.clone(), &keeping, config.max) else {
            state.count(name).cold += 1;
            return Ok(None);
        };
        drop(state);
        let kept =
            self.start(number, wanted.world, wanted.program, wanted.launch.clone(), keeping, First::Run)?;
        lock(&self.state).count(name).started += 1;
        Ok(Some(Lease { pool: self, number, kept, conversation: None, is_warm: false }))
    }

    /// A run meets a failure of a kept program, and is tried once more.
    pub(super) fn count_retry(&self, backend: &str) {
        lock(&self.state).count(backend).retried += 1;
    }

    /// Starts the program of a member that was reserved.
    fn start(
        &self,
        number: u64,
        world: &Arc<World>,
        program: &Path,
        launch: Launch,
        keeping: Keeping,
        first: First,
    ) -> Result<Arc<Kept>, Error> {
        let started = exec::marker(world).and_then(|marker| {
            Kept::start(Start {
                program: program.to_owned(),
                launch,
                marker,
                world: world.clone(),
                mux: keeping.mux,
                grace: GRACE,
            })
        });
        let mut state = lock(&self.state);
        self.started.notify_all();
        match started {
            Ok(kept) => {
                let kept = Arc::new(kept);
                match state.member(number) {
                    Some(member) => member.kept = Some(kept.clone()),
                    // The pool was closed meanwhile.
                    None => lock(&state.leaving).push(kept.clone()),
                }
                match first {
                    First::Run => _ = state.enter(number, None),
                    First::Spare if state.is_closed => kept.end(),
                    First::Spare => {}
                }
                Ok(kept)
            }
            Err(error) => {
                state.members.retain(|member| member.number != number);
                Err(error)
            }
        }
    }

    /// Ends what has waited too long, is too old, has done too much or grown too large, and starts a spare where one is
    /// missing. To be called every few seconds.
    pub(crate) fn look_after(&self) {
        let measured: Vec<(u64, Arc<Kept>)> = {
            let mut state = lock(&self.state);
            state.forget_ended();
            let started = |member: &Member| Some((member.number, member.kept.clone()?));
            state.members.iter().filter_map(started).collect()
        };
        let memory: BTreeMap<u64, u64> =
            measured.iter().map(|(number, kept)| (*number, kept.memory())).collect();
        let mut state = lock(&self.state);
        let reasons: Vec<(u64, &'static str)> = (state.members.iter())
            .filter_map(|member| {
                let config = self.pools.get(&member.backend)?;
                let memory = memory.get(&member.number).copied().unwrap_or_default();
                Some((member.number, member.outlived(config, memory)?))
            })
            .collect();
        for (number, reason) in reasons {
            state.end(number, reason);
        }
        let missing = state.missing_spare(&self.pools);
        drop(state);
        if let Some(key) = missing {
            if let Err(error) = self.start_spare(&key) {
                log::warn!("no spare could be started: {error}");
                lock(&self.state).recipes.remove(&key);
            }
        }
    }

    /// Starts a program before a run asks for it.
    fn start_spare(&self, key: &Key) -> Result<(), Error> {
        let Some(recipe) = lock(&self.state).recipes.get(key).cloned() else { return Ok(()) };
        let Recipe { world, backend, task, program, depth, .. } = recipe;
        let scratch = world.temp.join(format!("clinvk-{}", world::random_id()?));
        let task = Task { scratch, ..task };
        let launch = completed(backend.launch(&task)?, &task, depth);
        let Some(keeping) = backend.keeps(&task) else { return Ok(()) };
        let max = self.pools.get(backend.name()).map_or(0, |config| config.max);
        let reserved = lock(&self.state).reserve(backend.name(), key.clone(), task.owner, &keeping, max);
        let Some(number) = reserved else { return Ok(()) };
        self.start(number, &world, &program, launch, keeping, First::Spare)?;
        lock(&self.state).count(backend.name()).spares += 1;
        Ok(())
    }

    /// What there is, and what was done, by backend.
    pub(crate) fn look(&self) -> (Vec<Child>, BTreeMap<String, Counts>) {
        let mut state = lock(&self.state);
        state.forget_ended();
        (state.members.iter().map(Member::tell).collect(), state.counts.clone())
    }

    /// A session is removed: no program holds a conversation for it any more.
    pub(crate) fn forget(&self, session: &str) {
        for member in &mut lock(&self.state).members {
            member.conversations.remove(session);
        }
    }

    /// Takes the place of a pool of another configuration. What is kept there ends when the runs in it are over.
    pub(crate) fn succeed(&self, other: &Pool) {
        let mut theirs = lock(&other.state);
        theirs.close("reload");
        let mut state = lock(&self.state);
        (state.counts, state.leaving) = (theirs.counts.clone(), theirs.leaving.clone());
    }

    /// Ends all programs, and waits until they are gone. Those that hang are killed.
    pub(crate) fn end(&self) {
        let leaving = {
            let mut state = lock(&self.state);
            state.close("stop");
            std::mem::take(&mut *lock(&state.leaving))
        };
        leaving.iter().for_each(|kept| kept.await_end());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.state).close("stop");
    }
}

impl Lease<'_> {
    /// The run is over. `session`: the one that it belongs to, and its turns where this one was good. Where it was not they do
    /// not agree, and the conversation is not found.
    pub(super) fn leave(self, left: Left, session: Option<(String, u64)>) {
        let mut state = lock(&self.pool.state);
        let Some(member) = state.member(self.number) else { return };
        if let (Some(id), Some((session, turns))) = (left.conversation, session) {
            member.conversations.insert(session, Conversation { id, turns });
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.pool.state);
        match state.member(self.number) {
            Some(member) => (member.runs, member.last_used) = (member.runs - 1, Instant::now()),
            None => self.kept.end(),
        }
    }
}

impl Recipe {
    fn of(wanted: &Wanted<'_>) -> Recipe {
        let mut task = wanted.task.clone();
        // What is one turn's.
        (task.prompt, task.images, task.resume, task.session, task.begins) = Default::default();
        Recipe {
            world: wanted.world.clone(),
            backend: wanted.backend.clone(),
            task,
            program: wanted.program.to_owned(),
            depth: wanted.depth,
            used: Instant::now(),
        }
    }
}
