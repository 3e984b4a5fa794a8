//! How many runs may go on at once: in all, of one backend, of one key. A short queue in front; connections are cheap,
//! runs are not.

use crate::base::sync::{lock, wait_timeout};
use crate::exec::Cancel;
use crate::model::error::Error;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often a request that waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// Nothing may run as long as there are none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// Most runs at once.
    pub(crate) runs: usize,
    /// Most runs of one backend at once; 0 is no bound of its own.
    pub(crate) per_backend: usize,
    /// How many may wait.
    pub(crate) queue: usize,
    /// How long one may wait.
    pub(crate) wait_limit: Duration,
}

/// The slots of the server.
#[derive(Default)]
pub(crate) struct Slots {
    state: Mutex<AdmissionState>,
    freed: Condvar,
}

#[derive(Default)]
struct AdmissionState {
    bounds: Bounds,
    used: usize,
    by_backend: HashMap<String, usize>,
    by_key: HashMap<String, usize>,
    /// Who waits, by the order in which they came.
    line: BTreeMap<u64, Claim>,
    next: u64,
}

/// Who wants a slot.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// The backend that will run.
    pub(crate) backend: String,
    /// The key's name and how many runs it may have at once.
    pub(crate) key: Option<(String, usize)>,
    pub(crate) claimant: Claimant,
}

/// For whom a slot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimant {
    /// A request: it waits in the queue.
    Request,
    /// One of many runs of a request that was let in: it waits as long as it takes, and counts for no queue.
    Batch,
}

/// A slot that is taken, until it is dropped.
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    claim: Claim,
}

impl Slots {
    /// From now on these bounds hold, for what waits, too. What runs goes on.
    pub(crate) fn bound(&self, bounds: Bounds) {
        self.state().bounds = bounds;
        self.freed.notify_all();
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.state().bounds
    }

    /// How many runs go on, and how many wait in the queue.
    pub(crate) fn used(&self) -> (usize, usize) {
        let state = self.state();
        (state.used, state.queued())
    }

    /// Takes a slot, or waits for one. The first to come is the first to have one, or a batch would leave nothing to others.
    ///
    /// # Errors
    /// `busy` when the queue is full or the wait was too long, `cancelled` when the client left meanwhile.
    pub(crate) fn take(&self, claim: Claim, cancel: &Cancel) -> Result<Slot<'_>, Error> {
        let mut state = self.state();
        let (place, is_full) = (state.next, state.queued() >= state.bounds.queue);
        state.next += 1;
        state.line.insert(place, claim.clone());
        let since = Instant::now();
        let refused = loop {
            if cancel.is_thrown() {
                break Some(Error::Cancelled);
            }
            if state.whose_turn() == Some(place) {
                break None;
            }
            if claim.claimant == Claimant::Request && is_full {
                let (used, queued) = (state.used, state.queued() - 1);
                break Some(Error::Busy(format!(
                    "too many runs at once: {used} runs go on and {queued} wait: try again later"
                )));
            }
            if claim.claimant == Claimant::Request && since.elapsed() >= state.bounds.wait_limit {
                let sentence = format!(
                    "too many runs at once: no run ended within {:?}: try again later",
                    state.bounds.wait_limit
                );
                break Some(Error::Busy(sentence));
            }
            state = wait_timeout(&self.freed, state, LOOK);
        };
        state.line.remove(&place);
        // It may be the turn of one behind.
        self.freed.notify_all();
        if let Some(error) = refused {
            return Err(error);
        }
        state.used += 1;
        *state.by_backend.entry(claim.backend.clone()).or_default() += 1;
        if let Some((name, _)) = &claim.key {
            *state.by_key.entry(name.clone()).or_default() += 1;
        }
        drop(state);
        Ok(Slot { slots: self, claim })
    }

    fn state(&self) -> MutexGuard<'_, AdmissionState> {
        lock(&self.state)
    }
}

impl AdmissionState {
    /// The place of the first one for whom there is a slot. One that waits for a bound of its own keeps no other.
    fn whose_turn(&self) -> Option<u64> {
        self.line.iter().find(|(_, claim)| self.is_free(claim)).map(|(place, _)| *place)
    }

    fn is_free(&self, claim: &Claim) -> bool {
        let count = |counts: &HashMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
        let Bounds { runs, per_backend, .. } = self.bounds;
        self.used < runs
            && (per_backend == 0 || count(&self.by_backend, &claim.backend) < per_backend)
            && claim.key.as_ref().is_none_or(|(name, most)| *most == 0 || count(&self.by_key, name) < *most)
    }

    fn queued(&self) -> usize {
        self.line.values().filter(|claim| claim.claimant == Claimant::Request).count()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.used -= 1;
        release(&mut state.by_backend, &self.claim.backend);
        if let Some((name, _)) = &self.claim.key {
            release(&mut state.by_key, name);
        }
        drop(state);
        self.slots.freed.notify_all();
    }
}

/// Counts one less, and forgets a name that has none.
fn release(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(backend: &str, key: Option<(&str, usize)>) -> Claim {
        let key = key.map(|(name, most)| (name.to_owned(), most));
        Claim { backend: backend.to_owned(), key, claimant: Claimant::Request }
    }

    fn within(bounds: Bounds) -> Slots {
        let slots = Slots::default();
        slots.bound(bounds);
        slots
    }

    #[test]
    fn the_bounds_hold_in_all_by_backend_and_by_key() {
        let bounds = Bounds { runs: 3, per_backend: 2, queue: 0, wait_limit: Duration::ZERO };
        let (slots, cancel) = (within(bounds), Cancel::new().unwrap());
        let take = |claim| slots.take(claim, &cancel).map_err(|error| error.to_string());
        let first = take(claim("a", Some(("k", 1)))).ok().unwrap();
        assert!(take(claim("b", Some(("k", 1)))).is_err(), "the key has its run");
        let second = take(claim("a", None)).ok().unwrap();
        assert!(take(claim("a", None)).is_err(), "the backend has its runs");
        let third = take(claim("b", None)).ok().unwrap();
        assert!(take(claim("c", None)).is_err(), "all are taken");
        assert_eq!(slots.used(), (3, 0));
        drop((first, second, third));
        assert_eq!(slots.used(), (0, 0));
        assert!(take(claim("b", Some(("k", 1)))).is_ok(), "what was taken is free again");
    }

    #[test]
    fn whoever_waits_gets_the_slot_that_is_freed_and_leaves_when_its_client_does() {
        let bounds = Bounds { runs: 1, per_backend: 0, queue: 1, wait_limit: Duration::from_secs(60) };
        let slots = within(bounds);
        let (here, gone) = (Cancel::new().unwrap(), Cancel::new().unwrap());
        let held = slots.take(claim("a", None), &here).ok().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| slots.take(claim("a", None), &here).is_ok());
            while slots.used().1 == 0 {
                std::thread::yield_now();
            }
            let full = slots.take(claim("a", None), &here).err().unwrap();
            assert!(full.to_string().contains("1 wait"), "{full}");
            drop(held);
            assert!(waits.join().unwrap());
            let held = slots.take(claim("a", None), &here).ok().unwrap();
            let leaves = scope.spawn(|| slots.take(claim("a", None), &gone).is_err());
            gone.throw();
            assert!(leaves.join().unwrap());
            drop(held);
        });
    }
    #[test]
    fn runs_of_a_batch_count_for_no_queue_and_leave_their_turn_to_others() {
        let bounds = Bounds { runs: 1, per_backend: 0, queue: 1, wait_limit: Duration::from_secs(60) };
        let (slots, cancel) = (within(bounds), Cancel::new().unwrap());
        let of_batch = || Claim { claimant: Claimant::Batch, ..claim("a", None) };
        let waiting = || slots.state().line.len();
        let mut held = slots.take(of_batch(), &cancel).ok().unwrap();
        let (queued, let_in, behind) = std::thread::scope(|scope| {
            let batch = scope.spawn(|| slots.take(of_batch(), &cancel).ok().unwrap());
            while waiting() < 1 {
                std::thread::yield_now();
            }
            let single = scope.spawn(|| slots.take(claim("a", None), &cancel).ok());
            let is_there = |others| waiting() > others || single.is_finished();
            while !is_there(1) {
                std::thread::yield_now();
            }
            let queued = slots.used().1;
            // The batch goes on at once where it was, and still every request has a turn.
            drop(held);
            held = batch.join().unwrap();
            scope.spawn(|| drop(slots.take(of_batch(), &cancel)));
            while !is_there(1) {
                std::thread::yield_now();
            }
            drop(held);
            let single = single.join().unwrap();
            (queued, single.is_some(), waiting())
        });
        assert_eq!((queued, let_in, behind), (1, true, 1), "queued, let in, behind it");
    }

    #[test]
    fn whoever_is_cancelled_takes_no_slot() {
        let bounds = Bounds { runs: 1, per_backend: 0, queue: 1, wait_limit: Duration::ZERO };
        let (slots, cancel) = (within(bounds), Cancel::new().unwrap());
        cancel.throw();
        assert!(slots.take(claim("a", None), &cancel).is_err() && slots.used() == (0, 0));
    }
}
