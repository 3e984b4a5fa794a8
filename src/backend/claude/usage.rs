//! What a run used, from the results of its turns.

use crate::model::event::{Usage, dollars};
use serde_json::{Map, Value};

/// What the results so far say. Several come when the agent waited for its sub-agents and went on.
#[derive(Default)]
pub(super) struct Used {
    /// The sum of what the results state for themselves.
    sum: Usage,
}

impl Used {
    /// What the run used, with this result.
    ///
    /// `model_usage_since_last_result` is this result's alone. `modelUsage` and `total_cost_usd` are running totals: of the
    /// process, and on the versions that have the other field also of all turns before in a session that is continued
    /// (faults.md A2). Both count all models and are right even after a cut, when `usage` is all zero.
    pub(super) fn with(&mut self, result: &Value) -> Usage {
        if let Some(models) = result["model_usage_since_last_result"].as_object() {
            let since = of_models(models);
            let cost: f64 = models.values().filter_map(|counts| counts["costUSD"].as_f64()).sum();
            let cost = dollars(self.sum.cost.unwrap_or(0.0) + cost);
            self.sum = Usage { cost: Some(cost), ..self.sum.plus(since) };
            return self.sum;
        }
        let cost = result["total_cost_usd"].as_f64();
        match result["modelUsage"].as_object().filter(|models| !models.is_empty()) {
            Some(models) => Usage { cost, ..of_models(models) },
            None => {
                let names = [
                    "input_tokens",
                    "cache_creation_input_tokens",
                    "cache_read_input_tokens",
                    "output_tokens",
                ];
                Usage { cost, ..counted([&result["usage"]], names) }
            }
        }
    }
}

fn of_models(models: &Map<String, Value>) -> Usage {
    let names = ["inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"];
    counted(models.values(), names)
}

/// The sum of such counts, by their names for fresh, written, cached and output tokens.
fn counted<'a>(counts: impl IntoIterator<Item = &'a Value>, names: [&str; 4]) -> Usage {
    let mut usage = Usage::default();
    for counts in counts {
        let [fresh, written, cached, output] = names.map(|name| counts[name].as_u64().unwrap_or(0));
        let input = fresh.saturating_add(written).saturating_add(cached);
        usage = usage.plus(Usage { input, output, cached, ..Usage::default() });
    }
    usage
}
