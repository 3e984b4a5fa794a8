//! A session that a client has opened: where it works, what was chosen for it, what a person has allowed once and for all,
//! and its prompts, one after the other.

use super::options::Chosen;
use crate::base::json::Value;
use crate::base::sync::{lock, wait_timeout};
use crate::exec::Cancel;
use crate::model::error::Error;
use crate::model::mcp::McpServer;
use crate::stdio::Refusal;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// So many prompts of a session wait at most for the one before them.
const MOST_WAITING: usize = 16;
/// How often a prompt that waits looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// What a client that opens a session does to the system prompt.
#[derive(Default)]
pub(super) struct SystemPrompt {
    pub(super) replaced: Option<String>,
    pub(super) appended: Option<String>,
}

pub(super) struct Open {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    pub(super) add_dirs: Vec<PathBuf>,
    pub(super) servers: Vec<McpServer>,
    pub(super) system: SystemPrompt,
    pub(super) chosen: Mutex<Chosen>,
    /// The tools, by name, that a person has allowed or forbidden for the whole session.
    pub(super) settled: Mutex<BTreeMap<String, bool>>,
    /// Ends all there is.
    pub(super) root: Arc<Cancel>,
    pub(super) queue: Arc<Queue>,
}

/// The prompts of a session, each with the id of its request: the first one runs.
#[derive(Default)]
pub(super) struct Queue {
    prompts: Mutex<VecDeque<(Value, Arc<Cancel>)>>,
    moved: Condvar,
}

/// A prompt's place in the queue of its session, until it is dropped.
pub(super) struct Place {
    pub(super) cancel: Arc<Cancel>,
    queue: Arc<Queue>,
}

impl Open {
    pub(super) fn chosen(&self) -> Chosen {
        lock(&self.chosen).clone()
    }

    /// A place behind the prompts that there are, for the request of that id.
    pub(super) fn queue(&self, id: &Value) -> Result<Place, Refusal> {
        let cancel = self.root.branch()?;
        let mut prompts = lock(&self.queue.prompts);
        if prompts.len() > MOST_WAITING {
            let sentence = format!("{MOST_WAITING} prompts of session `{}` wait already", self.id);
            return Err(Error::Busy(sentence).into());
        }
        prompts.push_back((id.clone(), cancel.clone()));
        Ok(Place { cancel, queue: self.queue.clone() })
    }

    /// Cancels every prompt that there is.
    pub(super) fn cancel(&self) {
        lock(&self.queue.prompts).iter().for_each(|(_, prompt)| prompt.throw());
    }

    /// Cancels the prompt that is the request of that id.
    pub(super) fn cancel_request(&self, id: &Value) {
        let prompts = lock(&self.queue.prompts);
        prompts.iter().filter(|(request, _)| request == id).for_each(|(_, prompt)| prompt.throw());
    }
}

impl Place {
    /// Waits for the prompts before it.
    pub(super) fn wait(&self) -> Result<(), Error> {
        let mut prompts = lock(&self.queue.prompts);
        loop {
            if self.cancel.is_thrown() {
                return Err(Error::Cancelled);
            }
            if prompts.front().is_some_and(|(_, first)| Arc::ptr_eq(first, &self.cancel)) {
                return Ok(());
            }
            prompts = wait_timeout(&self.queue.moved, prompts, LOOK);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.queue.prompts).retain(|(_, prompt)| !Arc::ptr_eq(prompt, &self.cancel));
        self.queue.moved.notify_all();
    }
}
