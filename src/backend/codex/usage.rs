//! What a turn used. Codex counts each thread's whole life, and agents have threads of their own.

use crate::model::event::Usage;
use serde_json::Value;
use std::collections::BTreeMap;

/// By thread: what it had used before this turn, and what by now.
#[derive(Default)]
pub(super) struct ThreadUsage(BTreeMap<String, (Usage, Usage)>);

impl ThreadUsage {
    /// What this turn used by now, with what codex says of a thread. `total` counts the thread's whole life, so what it was
    /// before is taken off; a sum of `last` would count one twice that codex repeats.
    pub(super) fn update(&mut self, thread: String, counts: &Value) -> Usage {
        let (total, last) = (figures(&counts["total"]), figures(&counts["last"]));
        self.0.entry(thread).or_insert((total.minus(last), total)).1 = total;
        self.0.values().fold(Usage::default(), |sum, (before, now)| sum.plus(now.minus(*before)))
    }
}

/// Cached input and reasoning are parts of input and output already.
fn figures(value: &Value) -> Usage {
    let tokens = |key: &str| value[key].as_u64().unwrap_or(0);
    Usage {
        input: tokens("inputTokens"),
        output: tokens("outputTokens"),
        cached: tokens("cachedInputTokens"),
        reasoning: tokens("reasoningOutputTokens"),
        cost: None,
    }
}
