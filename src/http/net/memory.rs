//! The one bound of the memory that clients choose: bodies on their way, what is made of them, and answers that are kept
//! until their end. A request that finds no room waits before its body is read.

use crate::base::sync::{lock, wait_timeout};
use crate::base::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What each byte of a body or of an answer may cost while it is worked on: the text itself, the one that it becomes, and
/// the one that is written of it.
pub(crate) const COPIES: usize = 3;
/// A claim of at most so much is a small one: one part of the room is for those alone, so that a few large requests never
/// keep out the many others.
const SMALL: usize = 1 << 20;
/// From so much on, what was freed is given back to the system at once.
const LARGE: usize = 8 << 20;
/// How often a request that waits looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(50);
/// A request that has its answer gives back its memory a moment later: the client's next one may be here by then.
pub(crate) const MOMENT: Duration = Duration::from_secs(1);

/// All the memory that there is for requests.
#[derive(Debug)]
pub struct Memory {
    most: AtomicUsize,
    state: Mutex<MemoryState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct MemoryState {
    used: usize,
    /// The claims that wait, in the order in which they came.
    waiting: BTreeMap<u64, usize>,
    /// The requests that have some, in the order in which they came.
    holders: BTreeSet<u64>,
    next: u64,
}

impl MemoryState {
    /// Whether this claim has its turn. A large one that waits keeps other large ones behind it, and no small ones.
    fn is_turn_of(&self, place: u64, bytes: usize, most: usize) -> bool {
        let is_of_same_size = |other: &usize| (*other <= SMALL) == (bytes <= SMALL);
        let mut earlier = self.waiting.range(..place);
        self.used.saturating_add(bytes) <= room(bytes, most)
            && !earlier.any(|(_, other)| is_of_same_size(other))
    }
}

/// How much may be in use with a claim of this size.
fn room(bytes: usize, most: usize) -> usize {
    if bytes <= SMALL { most } else { most - most / 8 }
}

impl Memory {
    /// So many bytes.
    pub fn new(most: usize) -> Arc<Memory> {
        Arc::new(Memory { most: AtomicUsize::new(most), state: Mutex::default(), freed: Condvar::new() })
    }

    /// How much there is.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// From now on, so many bytes. What has more already keeps it.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.freed.notify_all();
    }

    /// The longest body that can ever find room.
    pub(crate) fn longest_body(&self) -> usize {
        room(usize::MAX, self.most()).max(SMALL.min(self.most())) / COPIES
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        lock(&self.state).used
    }

    /// Others wait for room.
    pub(crate) fn is_wanted(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// Nothing yet, for one request.
    pub(crate) fn hold(self: &Arc<Memory>) -> Arc<Held> {
        let mut state = lock(&self.state);
        let place = state.next;
        state.next += 1;
        Arc::new(Held { memory: self.clone(), place, bytes: AtomicUsize::new(0) })
    }
}

/// What one request has of the memory, until it is dropped.
pub(crate) struct Held {
    memory: Arc<Memory>,
    place: u64,
    bytes: AtomicUsize,
}

impl Held {
    /// Of which it is a part.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes so much, and waits for it at most so long, as long as `goes_on` says so. False: there was no room.
    pub(crate) fn claim(&self, bytes: usize, wait_limit: Duration, goes_on: impl Fn() -> bool) -> bool {
        let (memory, place) = (&*self.memory, self.place);
        let mut state = lock(&memory.state);
        state.waiting.insert(place, bytes);
        let since = Instant::now();
        let is_granted = loop {
            if state.is_turn_of(place, bytes, memory.most()) {
                break true;
            }
            let left = wait_limit.saturating_sub(since.elapsed());
            if left.is_zero() || !goes_on() {
                break false;
            }
            state = wait_timeout(&memory.freed, state, left.min(LOOK));
        };
        state.waiting.remove(&place);
        if is_granted {
            self.add(&mut state, bytes);
        }
        drop(state);
        // It may be the turn of the one behind.
        memory.freed.notify_all();
        is_granted
    }

    /// Takes so much more. Where that is not there the request that came first waits for the others, as long as `goes_on`
    /// says so; they wait for a moment only, or two would wait for each other. False: there was no room.
    #[must_use]
    pub(crate) fn grow(&self, bytes: usize, goes_on: impl Fn() -> bool) -> bool {
        let (mut state, since) = (lock(&self.memory.state), Instant::now());
        while state.used.saturating_add(bytes) > self.memory.most() {
            let is_first = state.holders.first() == Some(&self.place);
            let has_others = state.holders.iter().any(|place| *place != self.place);
            if !has_others || !(is_first || since.elapsed() < MOMENT) || !goes_on() {
                return false;
            }
            state = wait_timeout(&self.memory.freed, state, LOOK);
        }
        self.add(&mut state, bytes);
        true
    }

    /// Only so much is left of what was taken, and it is a result that waits for its client: no request waits for it to end.
    pub(crate) fn settle(&self, bytes: usize) {
        let mut state = lock(&self.memory.state);
        state.used = state.used - self.bytes.swap(bytes, Ordering::Relaxed) + bytes;
        state.holders.remove(&self.place);
        drop(state);
        self.memory.freed.notify_all();
    }

    fn add(&self, state: &mut MemoryState, bytes: usize) {
        state.holders.insert(self.place);
        state.used += bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return;
        }
        if bytes >= LARGE {
            sys::give_back_memory();
        }
        let mut state = lock(&self.memory.state);
        state.used -= bytes;
        state.holders.remove(&self.place);
        drop(state);
        self.memory.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MIB: usize = 1 << 20;
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn claims_wait_for_room_in_their_order_and_small_ones_have_some_of_their_own() {
        let memory = Memory::new(16 * MIB);
        let take = |bytes, wait_limit| {
            let held = memory.hold();
            held.claim(bytes, wait_limit, || true).then_some(held)
        };
        let first = take(14 * MIB, Duration::ZERO).unwrap();
        assert!(take(2 * MIB, Duration::ZERO).is_none(), "the rest is for small ones");
        let small: Vec<_> = (0..2).map(|_| take(MIB, Duration::ZERO).unwrap()).collect();
        assert!(take(1, Duration::ZERO).is_none(), "it is a bound for all");
        drop(small);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (number, bytes) in [13 * MIB, 3 * MIB].into_iter().enumerate() {
                let (take, order) = (&take, &order);
                scope.spawn(move || {
                    let held = take(bytes, LONG);
                    lock(order).push(number);
                    drop(held);
                });
                while lock(&memory.state).waiting.len() <= number {
                    thread::yield_now();
                }
            }
            assert!(memory.is_wanted() && take(MIB, Duration::ZERO).is_some(), "small ones do not queue");
            drop(first);
        });
        assert_eq!((lock(&order).as_slice(), memory.used()), (&[0, 1][..], 0));
    }

    #[test]
    fn what_grows_waits_only_for_those_that_came_after_it() {
        let memory = Memory::new(2 * MIB);
        let (first, second) = (memory.hold(), memory.hold());
        assert!(first.grow(MIB, || true) && !first.grow(2 * MIB, || true), "it would wait for itself");
        assert!(second.grow(MIB, || true) && !second.grow(1, || true), "the first may wait for it");
        assert!(
            !first.grow(1, || false) && !first.claim(1, LONG, || false),
            "a client that leaves waits no more"
        );
        thread::scope(|scope| {
            let grows = scope.spawn(|| first.grow(MIB, || true));
            drop(second);
            assert!(grows.join().unwrap());
        });
        assert_eq!(memory.used(), 2 * MIB);
    }
}
