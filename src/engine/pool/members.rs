//! The members of a pool: where a run finds a place, and which of them come and go. Starts nothing.

use super::{Recipe, Wanted};
use crate::backend::Keeping;
use crate::base::sync::lock;
use crate::config::PoolConfig;
use crate::exec::{Kept, Standing};
use crate::model::task::Task;
use crate::session::Session;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The states of a kept program.
pub(crate) const STATES: [&str; 4] = ["starting", "idle", "busy", "ending"];

#[derive(Default)]
pub(super) struct State {
    pub(super) members: Vec<Member>,
    pub(super) last_number: u64,
    /// What was asked for last: for spares.
    pub(super) recipes: BTreeMap<Key, Recipe>,
    /// By backend.
    pub(super) counts: BTreeMap<String, Counts>,
    /// Those that take no run any more, until they are gone; of the pools before this one, too.
    pub(super) leaving: Arc<Mutex<Vec<Arc<Kept>>>>,
    pub(super) is_closed: bool,
}

/// One kept program. While it is being started it holds its place without one.
pub(super) struct Member {
    pub(super) number: u64,
    pub(super) backend: String,
    pub(super) key: Key,
    pub(super) owner: Option<String>,
    pub(super) is_shared: bool,
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) since: Instant,
    /// When its last run ended.
    pub(super) last_used: Instant,
    /// The runs in it.
    pub(super) runs: usize,
    pub(super) turns: u64,
    /// What can go on in it, by the ids of our sessions.
    pub(super) conversations: BTreeMap<String, Conversation>,
}

/// What two runs must have in common to share a program, whole and but for the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    whole: String,
    without_model: String,
}

/// A conversation as its last run left it.
pub(super) struct Conversation {
    /// The vendor's id.
    pub(super) id: String,
    /// The turns that our session had then. With another count another program has gone on with it.
    pub(super) turns: u64,
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
    /// None while it is being started.
    pub(crate) pid: Option<i32>,
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

impl Member {
    /// A place for a program that is about to be started.
    fn new(number: u64, backend: &str, key: Key, owner: Option<String>, is_shared: bool) -> Member {
        let now = Instant::now();
        Member {
            number,
            backend: backend.to_owned(),
            key,
            owner,
            is_shared,
            kept: None,
            since: now,
            last_used: now,
            runs: 0,
            turns: 0,
            conversations: BTreeMap::new(),
        }
    }

    pub(super) fn can_take(&self, config: &PoolConfig) -> bool {
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
    pub(super) fn outlived(&self, config: &PoolConfig, memory: u64) -> Option<&'static str> {
        let over = |limit: u64, is: Duration| limit > 0 && is.as_secs() >= limit;
        match () {
            () if config.max_turns > 0 && self.turns >= config.max_turns.into() => Some("turns"),
            () if over(config.max_age_secs, self.since.elapsed()) => Some("age"),
            () if config.max_rss_mb > 0 && memory > config.max_rss_mb << 20 => Some("memory"),
            () if self.runs == 0 && over(config.idle_secs, self.last_used.elapsed()) => Some("idle"),
            () => None,
        }
    }

    pub(super) fn tell(&self) -> Child {
        let standing = self.kept.as_ref().map(|kept| kept.standing());
        let state = match standing {
            None => "starting",
            Some(Standing::Good) if self.runs == 0 => "idle",
            Some(Standing::Good | Standing::Unsettled) => "busy",
            Some(Standing::Spoilt(_) | Standing::Ended) => "ending",
        };
        Child {
            backend: self.backend.clone(),
            pid: self.kept.as_ref().map(|kept| kept.pid()),
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
    pub(super) fn count(&mut self, backend: &str) -> &mut Counts {
        self.counts.entry(backend.to_owned()).or_default()
    }

    pub(super) fn member(&mut self, number: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.number == number)
    }

    /// Lets go of those that take no run any more. They end with the last run in them.
    pub(super) fn forget_ended(&mut self) {
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
    pub(super) fn find(
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
    pub(super) fn is_starting(&self, key: &Key, config: &PoolConfig) -> bool {
        self.members.iter().any(|member| {
            member.key == *key && member.is_shared && member.kept.is_none() && config.per_process > 1
        })
    }

    /// A run takes a place in a member. One that holds a single conversation loses those that do not go on.
    pub(super) fn enter(&mut self, number: u64, conversation: Option<&str>) -> Option<Arc<Kept>> {
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
    pub(super) fn make_room(&mut self, backend: &str, max: usize) {
        if self.count_of(backend) < max {
            return;
        }
        let idle = |member: &&Member| member.backend == backend && member.runs == 0 && member.kept.is_some();
        let longest = self.members.iter().filter(idle).min_by_key(|member| member.last_used);
        if let Some(number) = longest.map(|member| member.number) {
            self.end(number, "replaced");
        }
    }

    pub(super) fn count_of(&self, backend: &str) -> usize {
        self.members.iter().filter(|member| member.backend == backend).count()
    }

    /// A free place for a program that is about to be started.
    pub(super) fn reserve(
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
        self.members.push(Member::new(self.last_number, backend, key, owner, keeping.is_shared));
        Some(self.last_number)
    }

    /// Asks a program to end with the last run in it.
    pub(super) fn end(&mut self, number: u64, reason: &'static str) {
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
    pub(super) fn close(&mut self, reason: &'static str) {
        self.is_closed = true;
        while let Some(number) = self.members.last().map(|member| member.number) {
            self.end(number, reason);
        }
    }

    /// A key whose backend has fewer that wait than it should: the one that was asked for last. None while the machine is busy
    /// with runs.
    pub(super) fn missing_spare(&mut self, pools: &BTreeMap<String, PoolConfig>) -> Option<Key> {
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
    pub(super) fn of(wanted: &Wanted<'_>, keeping: &Keeping) -> Option<Key> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_being_started_has_no_pid() {
        let key = Key { whole: String::new(), without_model: String::new() };
        let told = Member::new(1, "fake", key, None, false).tell();
        assert_eq!((told.state, told.pid), ("starting", None));
    }
}
