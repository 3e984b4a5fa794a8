//! The runs in an agent's process and the sessions that are open in it: which run each is of, and what is still to become of those
//! that no run has.

use super::RunRequest;
use crate::backend::Seat;
use crate::base::json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Sessions {
    /// The runs, each with the session that it has.
    pub(super) runs: BTreeMap<Seat, Option<String>>,
    pub(super) open: BTreeMap<String, Session>,
    /// Those that are being closed, and the requests that wait for that.
    pub(super) closing: BTreeMap<String, Vec<RunRequest>>,
    /// Those that were closed or removed: what the agent still says of them is for no run.
    gone: BTreeSet<String>,
}

/// A session that is open in the agent.
pub(super) struct Session {
    seat: Option<Seat>,
    /// The agent's answer when it was opened, without what was chosen in it then; none before that.
    opened: Option<Value>,
    /// The agent works on a prompt in it.
    pub(super) is_busy: bool,
    /// It is as a good turn has left it: in the mode in which its run had put it.
    pub(super) is_good: bool,
}

impl Sessions {
    /// A run begins; whether it goes on in that session.
    pub(super) fn enter(&mut self, seat: Seat, id: Option<&str>) -> bool {
        let session = id.and_then(|id| Some((id, self.open.get_mut(id)?)));
        let goes_on = session.map(|(id, session)| {
            session.seat = Some(seat);
            id.to_owned()
        });
        self.runs.insert(seat, goes_on.clone());
        goes_on.is_some()
    }

    /// A run has a session, which is open with that answer of the agent's or about to be opened.
    pub(super) fn seat(&mut self, seat: Seat, id: String, opened: Option<&Value>) {
        let opened = opened.cloned().map(without_current);
        let session = Session { seat: Some(seat), opened, is_busy: false, is_good: false };
        self.open.insert(id.clone(), session);
        self.runs.entry(seat).and_modify(|session| *session = Some(id));
    }

    pub(super) fn of_run(&mut self, seat: Seat) -> Option<&mut Session> {
        self.open.get_mut(self.runs.get(&seat)?.as_ref()?)
    }

    /// What the agent answered when it opened that session, where it is the run's.
    pub(super) fn opened(&self, seat: Seat, id: &str) -> Option<Value> {
        self.open.get(id).filter(|session| session.seat == Some(seat))?.opened.clone()
    }

    /// Whether a run can go on with it.
    pub(super) fn is_free(&self, id: &str) -> bool {
        self.open.get(id).is_some_and(|session| session.seat.is_none() && session.is_good)
    }

    /// No run is in it any more. Whether it is to be closed, which the agent can or not.
    pub(super) fn let_go(&mut self, id: &str, can_close: bool) -> bool {
        match self.open.get_mut(id) {
            // It will be let go once it is there.
            Some(session) if session.opened.is_none() => false,
            Some(session) if !can_close => {
                session.seat = None;
                false
            }
            Some(_) => {
                self.removed(id);
                self.closing.insert(id.to_owned(), Vec::new());
                true
            }
            None => false,
        }
    }

    pub(super) fn removed(&mut self, id: &str) {
        self.open.remove(id);
        self.gone.insert(id.to_owned());
    }

    /// The run that a session is of: one of an id that no run has is begun just now, or belongs to the only run there is. What
    /// an agent tells of a session before it has named it changes nothing.
    pub(super) fn listener(&self, id: &str, beginning: &[Seat]) -> Option<Seat> {
        let seat = match (self.open.get(id), beginning) {
            (Some(session), _) => session.seat,
            (None, _) if self.gone.contains(id) => None,
            (None, [seat]) => Some(*seat),
            (None, []) if self.runs.len() == 1 => self.runs.keys().copied().next(),
            (None, _) => None,
        };
        seat.filter(|seat| self.runs.contains_key(seat))
    }
}

/// What lists the choices that there are in a session, without which of them are made.
fn without_current(mut opened: Value) -> Value {
    for (list, current) in [("models", "currentModelId"), ("modes", "currentModeId")] {
        opened.get_mut(list).and_then(Value::as_object_mut).map(|list| list.remove(current));
    }
    let options = opened.get_mut("configOptions").and_then(Value::as_array_mut);
    for option in options.into_iter().flatten().filter_map(Value::as_object_mut) {
        option.remove("currentValue");
    }
    opened
}
