//! How many runs may go on at once: in all, of one backend, of one key. A short queue in front; connections are cheap,
//! runs are not.

use crate::error::Error;
use crate::exec::Cancel;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often whoever waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most runs at once.
    pub runs: usize,
    /// Most runs of one backend at once; 0 is no bound of its own.
    pub per_backend: usize,
    /// How many may wait.
    pub queue: usize,
    /// How long one may wait.
    pub patience: Duration,
}

/// The slots of the server.
pub struct Slots {
    bounds: Bounds,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    used: usize,
    waiting: usize,
    by_backend: HashMap<String, usize>,
    by_key: HashMap<String, usize>,
}

/// Who wants a slot.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The backend that will run.
    pub backend: &'a str,
    /// The key's name and how many runs it may have at once.
    pub key: Option<(&'a str, usize)>,
    /// One of many runs of a request that was let in: it waits as long as it takes, and counts for no queue.
    pub of_batch: bool,
}

/// A slot that is taken, until it is dropped.
pub struct Slot<'a> {
    slots: &'a Slots,
    backend: String,
    key: Option<String>,
}

impl Slots {
    /// Slots within these bounds.
    pub fn new(bounds: Bounds) -> Slots {
        Slots { bounds, state: Mutex::default(), freed: Condvar::new() }
    }

    /// The bounds.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How many runs go on, and how many wait.
    pub fn used(&self) -> (usize, usize) {
        let state = self.state();
        (state.used, state.waiting)
    }

    /// Takes a slot, or waits for one in the queue.
    ///
    /// # Errors
    /// `busy` when the queue is full or the wait was too long, `cancelled` when the client left meanwhile.
    pub fn take(&self, claim: Claim<'_>, cancel: &Cancel) -> Result<Slot<'_>, Error> {
        let mut state = self.state();
        if !self.is_free(&state, claim) {
            if !claim.of_batch && state.waiting >= self.bounds.queue {
                let sentence =
                    format!("{} runs go on and {} wait: try again later", state.used, state.waiting);
                return Err(Error::Busy(sentence));
            }
            state.waiting += 1;
            let since = Instant::now();
            let refused = loop {
                (state, _) =
                    self.freed.wait_timeout(state, LOOK).unwrap_or_else(|poisoned| poisoned.into_inner());
                if self.is_free(&state, claim) {
                    break None;
                }
                if cancel.is_thrown() {
                    break Some(Error::Cancelled);
                }
                if !claim.of_batch && since.elapsed() >= self.bounds.patience {
                    let sentence = format!("no run ended within {:?}: try again later", self.bounds.patience);
                    break Some(Error::Busy(sentence));
                }
            };
            state.waiting -= 1;
            if let Some(error) = refused {
                return Err(error);
            }
        }
        state.used += 1;
        *state.by_backend.entry(claim.backend.to_owned()).or_default() += 1;
        let key = claim.key.map(|(name, _)| name.to_owned());
        if let Some(name) = &key {
            *state.by_key.entry(name.clone()).or_default() += 1;
        }
        Ok(Slot { slots: self, backend: claim.backend.to_owned(), key })
    }

    fn is_free(&self, state: &State, claim: Claim<'_>) -> bool {
        let count = |counts: &HashMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or(0);
        let Bounds { runs, per_backend, .. } = self.bounds;
        state.used < runs
            && (per_backend == 0 || count(&state.by_backend, claim.backend) < per_backend)
            && claim.key.is_none_or(|(name, most)| most == 0 || count(&state.by_key, name) < most)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.used -= 1;
        release(&mut state.by_backend, &self.backend);
        if let Some(key) = &self.key {
            release(&mut state.by_key, key);
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

    fn claim<'a>(backend: &'a str, key: Option<(&'a str, usize)>) -> Claim<'a> {
        Claim { backend, key, of_batch: false }
    }

    #[test]
    fn the_bounds_hold_in_all_by_backend_and_by_key() {
        let bounds = Bounds { runs: 3, per_backend: 2, queue: 0, patience: Duration::ZERO };
        let (slots, cancel) = (Slots::new(bounds), Cancel::new().unwrap());
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
        let bounds = Bounds { runs: 1, per_backend: 0, queue: 1, patience: Duration::from_secs(60) };
        let slots = Slots::new(bounds);
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
}
