//! Conversations that were answered before and may go on: a history that extends one of them resumes the vendor's session
//! and sends the new turn alone. Knows keys and sessions; what becomes of a session is its caller's affair.

use crate::base::sync::lock;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a conversation is recognised by.
pub type Key = [u8; 32];

/// The conversations.
#[derive(Default)]
pub(crate) struct Reuse {
    state: Mutex<ReuseState>,
}

/// Which sessions are removed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Which {
    /// Those that no request came back for in time.
    Over,
    All,
}

#[derive(Default)]
struct ReuseState {
    /// How long a conversation is remembered.
    memory: Duration,
    /// How many are at most.
    most: usize,
    /// By the session that has them.
    kept: HashMap<String, Kept>,
    /// Sessions that have to be removed.
    gone: Vec<String>,
}

struct Kept {
    /// What a history that goes on with it begins with.
    history: Option<Key>,
    /// Its responses, and how many turns it had then.
    responses: Vec<(Key, usize)>,
    turns: usize,
    /// A request goes on with it.
    is_taken: bool,
    at: Instant,
}

/// Where a response leaves its conversation.
#[derive(Debug, PartialEq)]
pub(crate) enum Previous {
    /// At its end: the session is the caller's now.
    End(String),
    /// Behind so many turns of a session that has more by now, or will have.
    Within(String, usize),
}

impl Reuse {
    /// From now on at most so many, each for so long; nothing is kept for no time.
    pub(crate) fn bound(&self, memory: Duration, most: usize) {
        let mut state = self.state();
        (state.memory, state.most) = (memory, most);
        state.leave_most();
    }

    /// Conversations are kept at all.
    pub(crate) fn is_on(&self) -> bool {
        let state = self.state();
        !state.memory.is_zero() && state.most > 0
    }

    /// Takes the session with that history: it goes on for one only.
    pub(crate) fn by_history(&self, key: &Key) -> Option<String> {
        let mut state = self.state();
        let memory = state.memory;
        let (session, kept) = state.kept.iter_mut().find(|(_, kept)| kept.history == Some(*key))?;
        kept.take(memory).then(|| session.clone())
    }

    /// Takes the session with that response, if that is its last one and no request has it; not at all where it is only read.
    pub(crate) fn by_response(&self, key: &Key, only_reads: bool) -> Option<Previous> {
        let mut state = self.state();
        let memory = state.memory;
        let turns_at =
            |kept: &Kept| kept.responses.iter().find(|(known, _)| known == key).map(|(_, turns)| *turns);
        let (session, kept) = state.kept.iter_mut().find(|(_, kept)| turns_at(kept).is_some())?;
        let turns = turns_at(kept)?;
        let is_end = !only_reads && turns == kept.turns && kept.take(memory);
        let session = session.clone();
        Some(if is_end { Previous::End(session) } else { Previous::Within(session, turns) })
    }

    /// Takes a session by its name; false where it is none of ours, or a request has it.
    pub(crate) fn by_name(&self, session: &str) -> bool {
        let mut state = self.state();
        let memory = state.memory;
        state.kept.get_mut(session).is_some_and(|kept| kept.take(memory))
    }

    /// Keeps a session that has one turn more.
    pub(crate) fn keep(&self, session: &str, history: Option<Key>, response: Option<Key>) {
        let mut state = self.state();
        let kept = state.kept.entry(session.to_owned()).or_insert_with(Kept::new);
        kept.turns += 1;
        kept.history = history;
        kept.responses.extend(response.map(|key| (key, kept.turns)));
        (kept.is_taken, kept.at) = (false, Instant::now());
        state.leave_most();
    }

    /// Lets a session go as it was taken: no turn was added.
    pub(crate) fn release(&self, session: &str) {
        if let Some(kept) = self.state().kept.get_mut(session) {
            kept.is_taken = false;
        }
    }

    /// That session is not continued any more.
    pub(crate) fn forget(&self, session: &str) {
        self.state().forget(session.to_owned());
    }

    /// Takes out a session that has to be removed: one of these.
    pub(crate) fn next_gone(&self, which: Which) -> Option<String> {
        let mut state = self.state();
        let memory = state.memory;
        let is_over = |kept: &Kept| which == Which::All || (!kept.is_taken && kept.at.elapsed() >= memory);
        let over = state.kept.iter().find(|(_, kept)| is_over(kept)).map(|(session, _)| session.clone());
        over.into_iter().for_each(|session| state.forget(session));
        state.gone.pop()
    }

    fn state(&self) -> MutexGuard<'_, ReuseState> {
        lock(&self.state)
    }
}

impl ReuseState {
    /// Forgets those that are too many.
    fn leave_most(&mut self) {
        while self.kept.len() > self.most {
            let free = self.kept.iter().filter(|(_, kept)| !kept.is_taken);
            let oldest = free.min_by_key(|(_, kept)| kept.at).map(|(session, _)| session.clone());
            let Some(oldest) = oldest else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, session: String) {
        self.kept.remove(&session);
        self.gone.push(session);
    }
}

impl Kept {
    fn new() -> Kept {
        Kept { history: None, responses: Vec::new(), turns: 0, is_taken: false, at: Instant::now() }
    }

    fn take(&mut self, memory: Duration) -> bool {
        let is_free = !self.is_taken && self.at.elapsed() < memory;
        self.is_taken |= is_free;
        is_free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(memory: Duration, most: usize) -> Reuse {
        let reuse = Reuse::default();
        reuse.bound(memory, most);
        reuse
    }

    fn keys() -> [Key; 4] {
        [0, 1, 2, 3].map(|number| [number; 32])
    }

    #[test]
    fn a_conversation_goes_on_for_one_only_and_the_oldest_goes_first() {
        let (reuse, [a, b, c, d]) = (within(Duration::from_secs(60), 2), keys());
        reuse.keep("one", Some(a), None);
        assert_eq!(
            (reuse.by_history(&b), reuse.by_history(&a), reuse.by_history(&a)),
            (None, Some("one".to_owned()), None)
        );
        reuse.release("one");
        assert!(reuse.by_name("one") && !reuse.by_name("one") && !reuse.by_name("two"));
        reuse.keep("one", Some(b), None);
        assert_eq!(reuse.by_history(&a), None, "it has gone on");
        reuse.keep("two", Some(c), None);
        assert_eq!(reuse.next_gone(Which::Over), None);
        reuse.keep("three", Some(d), None);
        assert_eq!(
            (reuse.next_gone(Which::Over), reuse.next_gone(Which::Over)),
            (Some("one".to_owned()), None)
        );
        assert!(reuse.by_history(&c).is_some(), "what is gone on with does not go");
        reuse.keep("four", None, None);
        assert_eq!(
            (reuse.next_gone(Which::Over), reuse.next_gone(Which::Over)),
            (Some("three".to_owned()), None)
        );
        let mut all = [reuse.next_gone(Which::All), reuse.next_gone(Which::All), reuse.next_gone(Which::All)];
        all.sort();
        assert_eq!(all, [None, Some("four".to_owned()), Some("two".to_owned())]);
        assert!(!within(Duration::ZERO, 2).is_on() && !within(Duration::from_secs(1), 0).is_on());
    }

    #[test]
    fn a_response_can_be_gone_on_with_from_its_end_and_from_before_it() {
        let (reuse, [a, b, c, _]) = (within(Duration::from_secs(60), 2), keys());
        let (end, within) =
            (|| Some(Previous::End("s".to_owned())), |turns| Some(Previous::Within("s".to_owned(), turns)));
        reuse.keep("s", None, Some(a));
        assert_eq!(reuse.by_response(&a, true), within(1), "who only reads takes nothing");
        assert_eq!((reuse.by_response(&c, false), reuse.by_response(&a, false)), (None, end()));
        assert_eq!(reuse.by_response(&a, false), within(1), "a request has it");
        reuse.keep("s", None, Some(b));
        assert_eq!((reuse.by_response(&a, false), reuse.by_response(&b, false)), (within(1), end()));
        reuse.forget("s");
        assert_eq!(reuse.by_response(&a, false), None);
    }

    #[test]
    fn what_nobody_came_back_for_is_over() {
        let (reuse, [a, ..]) = (within(Duration::from_nanos(1), 2), keys());
        reuse.keep("s", Some(a), None);
        assert_eq!((reuse.by_history(&a), reuse.by_name("s")), (None, false));
        assert_eq!(
            (reuse.next_gone(Which::Over), reuse.next_gone(Which::Over)),
            (Some("s".to_owned()), None)
        );
    }
}
