//! The spinner: on a terminal, until the first word of the answer comes; gone without a trace.

use super::progress::doing;
use crate::base::printable::safe;
use crate::model::event::Event;
use std::time::{Duration, Instant};

/// How often it turns.
const TURN: Duration = Duration::from_millis(200);
/// Back to the line's start, and nothing behind it.
const CLEAR: &str = "\r\x1b[K";

/// A line on standard error that says what is going on, and for how long.
pub(crate) struct Spinner {
    backend: String,
    state: String,
    since: Instant,
    turned: Option<Instant>,
    turns: usize,
}

impl Spinner {
    /// Nothing is shown before the first turn.
    pub(crate) fn new(backend: &str) -> Spinner {
        Spinner {
            backend: backend.to_owned(),
            state: "starting".to_owned(),
            since: Instant::now(),
            turned: None,
            turns: 0,
        }
    }

    /// Takes the state from an event.
    pub(crate) fn hear(&mut self, event: &Event) {
        match (event, doing(event)) {
            // A tool's name is the vendor's or the model's.
            (Event::ToolUse { name, .. }, _) => self.state = safe(name).chars().take(40).collect(),
            (_, Some(state)) => state.clone_into(&mut self.state),
            (_, None) => {}
        }
    }

    /// Shows it, if it is time.
    pub(crate) fn turn(&mut self) {
        if self.turned.is_some_and(|turned| turned.elapsed() < TURN) {
            return;
        }
        let sign = ["|", "/", "-", "\\"][self.turns % 4];
        let line =
            format!("\r{sign} {}: {} {} s\x1b[K", self.backend, self.state, self.since.elapsed().as_secs());
        crate::base::logging::write(&line);
        (self.turned, self.turns) = (Some(Instant::now()), self.turns + 1);
    }

    /// Makes room for another line; the next turn shows it again.
    pub(crate) fn clear(&mut self) {
        if self.turned.take().is_some() {
            crate::base::logging::write(CLEAR);
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.clear();
    }
}
