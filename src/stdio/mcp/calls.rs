//! The calls that are under way: how many there are, and how each is withdrawn.

use crate::base::json::Value;
use crate::base::sync::lock;
use crate::exec::Cancel;
use crate::model::error::Error;
use crate::stdio::Refusal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// More calls than that at once are refused: each has a program of its own.
const MOST_CALLS: usize = 16;

/// The calls, by the texts of their requests' ids.
#[derive(Default)]
pub(super) struct Calls(Mutex<BTreeMap<String, Arc<Switch>>>);

struct Switch {
    cancel: Arc<Cancel>,
    is_withdrawn: AtomicBool,
}

impl Calls {
    /// Begins a call. `all` ends it with all others.
    pub(super) fn begin(&self, id: &Value, all: &Arc<Cancel>) -> Result<Call<'_>, Refusal> {
        let mut calls = lock(&self.0);
        let id = id.to_string();
        if calls.contains_key(&id) {
            return Err(Refusal::no_request(format!("the request of id {id} is under way")));
        }
        if calls.len() >= MOST_CALLS {
            return Err(Refusal::of(&Error::Busy(format!(
                "{MOST_CALLS} calls are under way: no more are taken"
            ))));
        }
        let cancel = all.branch()?;
        let switch = Arc::new(Switch { cancel, is_withdrawn: AtomicBool::new(false) });
        calls.insert(id.clone(), switch.clone());
        Ok(Call { calls: self, id, switch })
    }

    /// The client does not want that request's answer any more. One that is not under way has been answered.
    pub(super) fn withdraw(&self, id: &Value) {
        if let Some(switch) = lock(&self.0).get(&id.to_string()) {
            // Once: the second time would take away the grace.
            if !switch.is_withdrawn.swap(true, Ordering::SeqCst) {
                switch.cancel.throw();
            }
        }
    }
}

/// A call that is under way, until it is dropped.
pub(super) struct Call<'a> {
    calls: &'a Calls,
    id: String,
    switch: Arc<Switch>,
}

impl Call<'_> {
    pub(super) fn cancel(&self) -> &Arc<Cancel> {
        &self.switch.cancel
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.switch.is_withdrawn.load(Ordering::SeqCst)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        lock(&self.calls.0).remove(&self.id);
    }
}
