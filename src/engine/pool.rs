//! The programs that are kept for further runs: which one a run goes on in, which are started and which are ended. A run that
//! finds no place in them has a program of its own.

use super::converse::completed;
use crate::backend::{Backend, Keeping, Launch};
use crate::base::sync::{lock, wait};
use crate::base::world::{self, World};
use crate::config::{Config, PoolConfig};
use crate::exec::{self, Kept, Left, Standing, Start};
use crate::model::error::Error;
use crate::model::task::Task;
use crate::session::Session;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The states of a kept program.
pub(crate) const STATES: [&str; 4] = ["starting", "idle", "busy", "ending"];

/// How long a program that has to end may take to do it by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The kept programs of an engine.
pub(crate) struct Pool {
    pools: BTreeMap<String, PoolConfig>,
    state: Mutex<State>,
    /// A program was started, or could not be.
    started: Condvar,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    last_number: u64,
    /// What was asked for last: for spares.
    recipes: BTreeMap<Key, Recipe>,
    /// By backend.
    counts: BTreeMap<String, Counts>,
    /// Those that take no run any more, until they are gone; of the pools before this one, too.
    leaving: Arc<Mutex<Vec<Arc<Kept>>>>,
    is_closed: bool,
}

/// One kept program. While it is being started it holds its place without one.
struct Member {
    number: u64,
    backend: String,
    key: Key,
    owner: Option<String>,
    is_shared: bool,
    kept: Option<Arc<Kept>>,
    since: Instant,
    /// When its last run ended.
    last_used: Instant,
    /// The runs in it.
    runs: usize,
    turns: u64,
    /// What can go on in it, by the ids of our sessions.
    conversations: BTreeMap<String, Conversation>,
}

/// What two runs must have in common to share a program, whole and but for the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    whole: String,
    without_model: String,
}

/// A conversation as its last run left it.
struct Conversation {
    /// The vendor's id.
    id: String,
    /// The turns that our session had then. With another count another program has gone on with it.
    turns: u64,
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

/// What the pool has done for a backend.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Runs that went on with a conversation in the program that holds it.
    pub(crate) continued: u64,
    /// Runs that began a conversation in a program that was there.
    pub(crate) warm: u64,
    /// Runs whose program was started and then kept.
    pub(crate) started: u64,
    /// Runs that had to have a program of their own.
    pub(crate) cold: u64,
    /// Runs that were tried once more, because a kept program failed.
    pub(crate) retried: u64,
    /// Spares that were started.
    pub(crate) spares: u64,
    /// Programs that were ended, by reason.
    pub(crate) ended: BTreeMap<&'static str, u64>,
}

/// A kept program as it is told of.
pub(crate) struct Child {
    pub(crate) backend: String,
    pub(crate) pid: i32,
    /// The API key whose runs it takes.
    pub(crate) owner: Option<String>,
    /// One of `STATES`.
    pub(crate) state: &'static str,
    /// Runs in it now.
    pub(crate) runs: usize,
    /// Conversations that can go on in it.
    pub(crate) conversations: usize,
    pub(crate) turns: u64,
    pub(crate) age: Duration,
    pub(crate) idle: Duration,
    kept: Option<Arc<Kept>>,
}

impl Child {
    /// The memory that it has in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.memory())
    }
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

impl Member {
    fn can_take(&self, config: &PoolConfig) -> bool {
        let most = if self.is_shared { config.per_process } else { 1 };
        let is_good = self.kept.as_ref().is_some_and(|kept| match kept.standing() {
            Standing::Good => true,
            // What still ends there is looked for only when no run is in it.
            Standing::Unsettled => self.is_shared,
            Standing::Spoilt(_) | Standing::Ended => false,
        });
        self.runs < most && (config.max_turns == 0 || self.turns < config.max_turns.into()) && is_good
    }

    /// Why it is ended now, where it is: only a wait can be too long for one with runs in it, and that has none.
    fn outlived(&self, config: &PoolConfig, memory: u64) -> Option<&'static str> {
        let over = |limit: u64, is: Duration| limit > 0 && is.as_secs() >= limit;
        match () {
            () if config.max_turns > 0 && self.turns >= config.max_turns.into() => Some("turns"),
            () if over(config.max_age_secs, self.since.elapsed()) => Some("age"),
            () if config.max_rss_mb > 0 && memory > config.max_rss_mb << 20 => Some("memory"),
            () if self.runs == 0 && over(config.idle_secs, self.last_used.elapsed()) => Some("idle"),
            () => None,
        }
    }

    fn tell(&self) -> Child {
        let standing = self.kept.as_ref().map(|kept| kept.standing());
        let state = match standing {
            None => "starting",
            Some(Standing::Good) if self.runs == 0 => "idle",
            Some(Standing::Good | Standing::Unsettled) => "busy",
            Some(Standing::Spoilt(_) | Standing::Ended) => "ending",
        };
        Child {
            backend: self.backend.clone(),
            pid: self.kept.as_ref().map_or(0, |kept| kept.pid()),
            owner: self.owner.clone(),
            state,
            runs: self.runs,
            conversations: self.conversations.len(),
            turns: self.turns,
            age: self.since.elapsed(),
            idle: if self.runs == 0 { self.last_used.elapsed() } else { Duration::ZERO },
            kept: self.kept.clone(),
        }
    }
}

impl State {
    fn count(&mut self, backend: &str) -> &mut Counts {
        self.counts.entry(backend.to_owned()).or_default()
    }

    fn member(&mut self, number: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.number == number)
    }

    /// Lets go of those that take no run any more. They end with the last run in them.
    fn forget_ended(&mut self) {
        let (counts, mut leaving) = (&mut self.counts, lock(&self.leaving));
        leaving.retain(|kept| !kept.is_gone());
        self.members.retain(|member| {
            let Some(kept) = &member.kept else { return true };
            let (reason, why) = match kept.standing() {
                Standing::Ended => ("died", "it has ended".to_owned()),
                Standing::Spoilt(why) if member.runs == 0 => ("spoilt", why),
                _ => return true,
            };
            log::info!("{} (pid {}) is not kept: {why}", member.backend, kept.pid());
            *counts.entry(member.backend.clone()).or_default().ended.entry(reason).or_default() += 1;
            leaving.push(kept.clone());
            false
        });
    }

    /// A program with room for the run: the one that holds its conversation, else the one of its key that is missed least.
    fn find(
        &self,
        key: &Key,
        wanted: &Wanted<'_>,
        session: Option<&Session>,
        config: &PoolConfig,
    ) -> Option<(u64, Option<String>)> {
        let may_go_on = !wanted.task.session.as_ref().is_some_and(|session| session.replay);
        // A last turn that failed is not counted, and where another server had it no program of ours has heard of it.
        let can_go_on = |session: &&Session| may_go_on && session.last_error.is_none();
        let continued = session.filter(|session| can_go_on(session) && !wanted.task.ephemeral);
        if let Some(session) = continued {
            // It goes on with the model that has led it, whether that was asked for or is the program's own choice.
            let is_led = wanted.task.model.is_none() || session.model == wanted.task.model;
            let fits = |member: &&Member| match is_led {
                true => member.key.without_model == key.without_model,
                false => member.key == *key,
            };
            for member in self.members.iter().filter(fits).filter(|member| member.can_take(config)) {
                let conversation = member.conversations.get(&session.id);
                let conversation = conversation.filter(|held| held.turns == session.turn_count);
                let (Some(held), Some(kept)) = (conversation, &member.kept) else { continue };
                if kept.holds(&held.id) {
                    return Some((member.number, Some(held.id.clone())));
                }
            }
        }
        let resume = wanted.task.resume.as_deref();
        let can_begin = |member: &&Member| match (member.is_shared, resume) {
            // Only at its start can a program that holds one conversation at a time take up one that it has not.
            (false, _) => resume.is_none() && wanted.task.mcp.is_empty(),
            (true, Some(session)) => member.kept.as_ref().is_some_and(|kept| kept.can_load(session)),
            (true, None) => true,
        };
        let fits = |member: &&Member| member.key == *key && member.can_take(config);
        let member = self.members.iter().filter(fits).filter(can_begin);
        // Those that share one fill it up, so that the others may end.
        let missed =
            |member: &&Member| (!member.is_shared && !member.conversations.is_empty(), member.last_used);
        member.min_by_key(missed).map(|member| (member.number, None))
    }

    /// A program that this run could share is being started.
    fn is_starting(&self, key: &Key, config: &PoolConfig) -> bool {
        self.members.iter().any(|member| {
            member.key == *key && member.is_shared && member.kept.is_none() && config.per_process > 1
        })
    }

    /// A run takes a place in a member. One that holds a single conversation loses those that do not go on.
    fn enter(&mut self, number: u64, conversation: Option<&str>) -> Option<Arc<Kept>> {
        let member = self.member(number)?;
        (member.runs, member.turns) = (member.runs + 1, member.turns + 1);
        match (member.is_shared, conversation) {
            (false, _) => member.conversations.clear(),
            // It is as this run leaves it.
            (true, Some(id)) => member.conversations.retain(|_, held| held.id != id),
            (true, None) => {}
        }
        member.kept.clone()
    }

    /// Has one that has waited longest end, where there are as many as there may be.
    fn make_room(&mut self, backend: &str, max: usize) {
        if self.count_of(backend) < max {
            return;
        }
        let idle = |member: &&Member| member.backend == backend && member.runs == 0 && member.kept.is_some();
        let longest = self.members.iter().filter(idle).min_by_key(|member| member.last_used);
        if let Some(number) = longest.map(|member| member.number) {
            self.end(number, "replaced");
        }
    }

    fn count_of(&self, backend: &str) -> usize {
        self.members.iter().filter(|member| member.backend == backend).count()
    }

    /// A free place for a program that is about to be started.
    fn reserve(
        &mut self,
        backend: &str,
        key: Key,
        owner: Option<String>,
        keeping: &Keeping,
        max: usize,
    ) -> Option<u64> {
        if self.is_closed || self.count_of(backend) >= max {
            return None;
        }
        self.last_number += 1;
        let now = Instant::now();
        self.members.push(Member {
            number: self.last_number,
            backend: backend.to_owned(),
            key,
            owner,
            is_shared: keeping.is_shared,
            kept: None,
            since: now,
            last_used: now,
            runs: 0,
            turns: 0,
            conversations: BTreeMap::new(),
        });
        Some(self.last_number)
    }

    /// Asks a program to end with the last run in it.
    fn end(&mut self, number: u64, reason: &'static str) {
        let Some(index) = self.members.iter().position(|member| member.number == number) else { return };
        let member = self.members.swap_remove(index);
        if let Some(kept) = member.kept {
            kept.end();
            *self.count(&member.backend).ended.entry(reason).or_default() += 1;
            log::debug!("{} (pid {}) is not kept: {reason}", member.backend, kept.pid());
            lock(&self.leaving).push(kept);
        }
    }

    /// Asks all programs to end, and takes no further run.
    fn close(&mut self, reason: &'static str) {
        self.is_closed = true;
        while let Some(number) = self.members.last().map(|member| member.number) {
            self.end(number, reason);
        }
    }

    /// A key whose backend has fewer that wait than it should: the one that was asked for last. None while the machine is busy
    /// with runs.
    fn missing_spare(&mut self, pools: &BTreeMap<String, PoolConfig>) -> Option<Key> {
        let runs: usize = self.members.iter().map(|member| member.runs).sum();
        if self.is_closed || runs >= std::thread::available_parallelism().map_or(1, usize::from) {
            return None;
        }
        self.recipes.retain(|_, recipe| {
            let idle = pools.get(recipe.backend.name()).map_or(0, |config| config.idle_secs);
            idle == 0 || recipe.used.elapsed().as_secs() < idle
        });
        let is_missing = |(key, recipe): &(&Key, &Recipe)| {
            let least = pools.get(recipe.backend.name()).map_or(0, |config| config.min_idle);
            let waits = |member: &&Member| {
                member.key == **key
                    && member.runs == 0
                    && (member.is_shared || member.conversations.is_empty())
            };
            self.members.iter().filter(waits).count() < least
        };
        let last = self.recipes.iter().filter(is_missing).max_by_key(|(_, recipe)| recipe.used);
        last.map(|(key, _)| key.clone())
    }
}

impl Key {
    fn of(wanted: &Wanted<'_>, keeping: &Keeping) -> Option<Key> {
        let Wanted { backend, world, task, program, depth, .. } = wanted;
        let environment = world.environment_digest();
        let with = |shape: &str| {
            let Task { backend, owner, env, unset, mcp, .. } = task;
            format!("{backend} {owner:?} {depth} {env:?} {unset:?} {program:?} {environment} {mcp:?} {shape}")
        };
        let without_model = match task.model {
            None => with(&keeping.shape),
            Some(_) => with(&backend.keeps(&Task { model: None, ..(*task).clone() })?.shape),
        };
        Some(Key { whole: with(&keeping.shape), without_model })
    }
}
