//! Which task comes next: the first whose dependencies are done. Also the answers that others wait for, as long as they
//! do.

use super::plan::Plan;
use crate::base::sync::lock;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The tasks of a plan, given out one after the other.
pub(super) struct Graph<'p> {
    plan: &'p Plan,
    /// Who waits for a task.
    followers: HashMap<usize, Vec<usize>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: BinaryHeap<Reverse<usize>>,
    /// Given out and not ended.
    running: usize,
    waiting: HashMap<usize, Waiting>,
    /// Answers, and how many still wait for each.
    outputs: HashMap<usize, (Arc<str>, usize)>,
}

struct Waiting {
    /// So many dependencies have not ended.
    left: usize,
    /// A dependency that did not complete.
    broken: Option<usize>,
}

/// A task whose turn has come.
pub(super) struct Turn {
    pub(crate) index: usize,
    /// The dependency that did not complete.
    pub(crate) broken: Option<usize>,
    /// The answers of its dependencies.
    pub(crate) outputs: Vec<(usize, Arc<str>)>,
}

impl<'p> Graph<'p> {
    pub(crate) fn of(plan: &'p Plan) -> Graph<'p> {
        let (mut followers, mut waiting) = (HashMap::<usize, Vec<usize>>::new(), HashMap::new());
        let mut ready = BinaryHeap::new();
        for index in 0..plan.len() {
            let after = plan.after(index);
            for dependency in after {
                followers.entry(*dependency).or_default().push(index);
            }
            if after.is_empty() {
                ready.push(Reverse(index));
            } else {
                waiting.insert(index, Waiting { left: after.len(), broken: None });
            }
        }
        let state = Mutex::new(State { ready, running: 0, waiting, outputs: HashMap::new() });
        Graph { plan, followers, state, changed: Condvar::new() }
    }

    /// The next task, once there is one; none when all have been given out.
    pub(crate) fn next(&self) -> Option<Turn> {
        let mut state = lock(&self.state);
        loop {
            if let Some(Reverse(index)) = state.ready.pop() {
                state.running += 1;
                let broken = state.waiting.remove(&index).and_then(|waiting| waiting.broken);
                let mut outputs = Vec::new();
                for dependency in self.plan.after(index) {
                    if let Some((output, users)) = state.outputs.get_mut(dependency) {
                        outputs.push((*dependency, output.clone()));
                        *users -= 1;
                        if *users == 0 {
                            state.outputs.remove(dependency);
                        }
                    }
                }
                return Some(Turn { index, broken, outputs });
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether another step needs its answer.
    pub(crate) fn is_awaited(&self, index: usize) -> bool {
        self.followers.contains_key(&index)
    }

    /// A task has ended. A dry run completes with nothing to hand on.
    pub(crate) fn ended(&self, index: usize, completed: bool, output: Option<Arc<str>>) {
        let mut state = lock(&self.state);
        state.running -= 1;
        let followers = self.followers.get(&index).map_or(&[][..], Vec::as_slice);
        if let Some(output) = output {
            state.outputs.insert(index, (output, followers.len()));
        }
        for follower in followers {
            let Some(waiting) = state.waiting.get_mut(follower) else { continue };
            waiting.left -= 1;
            if !completed {
                waiting.broken.get_or_insert(index);
            }
            if waiting.left == 0 {
                state.ready.push(Reverse(*follower));
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}
