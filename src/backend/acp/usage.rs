//! What a turn used, wherever an agent says it: with its answer, with pieces of it, or in updates of their own.

use crate::base::json::Value;
use crate::config::UsageOf;
use crate::model::event::{Usage, dollars};

/// Adds up what an agent tells.
pub(super) struct Meter {
    of: UsageOf,
    /// Sums of pieces of the answer, one for each call of the model.
    pieces: Usage,
    /// What the session had used before this turn, by the first update in it, and by the last one.
    before: Option<Usage>,
    latest: Usage,
    /// What the session had cost before this turn, and by now.
    cost_before: f64,
    cost: Option<f64>,
}

impl Meter {
    pub(super) fn new(of: UsageOf) -> Meter {
        let none = Usage::default();
        Meter { of, pieces: none, before: None, latest: none, cost_before: 0.0, cost: None }
    }

    /// The counts beside a piece of the answer. True where there are some.
    pub(super) fn piece(&mut self, counts: &Value) -> bool {
        let Some(more) = counted(counts) else { return false };
        self.pieces = self.pieces.plus(more);
        true
    }

    /// An update of the session's before the prompt.
    pub(super) fn update_before(&mut self, update: &Value) {
        self.cost_before = cost(update).unwrap_or(self.cost_before);
    }

    /// An update of the session's: `used` is how full the context is, which is no use of this turn. `answers`: the model has
    /// said something.
    pub(super) fn update(&mut self, update: &Value, answers: bool) {
        if let Some(counts) = of_session(update) {
            self.latest = counts;
            self.before.get_or_insert(if answers { Usage::default() } else { counts });
        }
        self.cost = cost(update).map(|cost| dollars(cost - self.cost_before).max(0.0)).or(self.cost);
    }

    /// What the turn used, with the agent's answer; none where it says nothing of use.
    pub(super) fn sum(&self, result: &Value) -> Option<Usage> {
        let of_result = counted(&result["usage"]).or_else(|| of_quota(&result["_meta"]["quota"]));
        let before = self.before.unwrap_or_default();
        let counted = match (self.of, of_result) {
            (UsageOf::None, _) => Usage::default(),
            (UsageOf::Total, Some(all)) => all.minus(before),
            // What it counts is what the session's updates count: then it is the session's, too.
            (UsageOf::Turn, Some(all)) if all.total() == self.latest.total() => all.minus(before),
            (UsageOf::Turn, Some(turn)) => turn,
            (_, None) => self.pieces,
        };
        let usage = Usage { cost: self.cost, ..counted };
        (usage.total() > 0 || usage.cost.is_some()).then_some(usage)
    }
}

/// Whether an answer says that no model has taken part in it: its counts are there and are none.
pub(super) fn is_of_no_model(result: &Value) -> bool {
    let has_null = result.get("usage").is_some_and(Value::is_null);
    has_null || result["_meta"]["quota"]["model_usage"].as_array().is_some_and(Vec::is_empty)
}

/// Whether an answer counts, and counts nothing.
pub(super) fn is_zero(result: &Value) -> bool {
    counted(&result["usage"]).is_some_and(|usage| usage.total() == 0)
}

/// Counts in the protocol's words. It leaves open whether cached input is a part of the input, and thinking one of the
/// output; their sum tells.
fn counted(counts: &Value) -> Option<Usage> {
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    counts.as_object()?;
    let (input, output) = (count("inputTokens"), count("outputTokens"));
    let (read, thought) = (count("cachedReadTokens"), count("thoughtTokens"));
    let sum = u64::saturating_add;
    let cached = sum(read, count("cachedWriteTokens"));
    let (cached_beside, thought_beside) = match count("totalTokens").saturating_sub(sum(input, output)) {
        0 => (cached > input, thought > output),
        beside if beside == cached => (true, false),
        beside if beside == thought => (false, true),
        beside => (beside == sum(cached, thought), beside == sum(cached, thought)),
    };
    Some(Usage {
        input: if cached_beside { sum(input, cached) } else { input },
        output: if thought_beside { sum(output, thought) } else { output },
        cached: read,
        reasoning: thought,
        cost: None,
    })
}

/// Counts as gemini has them.
fn of_quota(quota: &Value) -> Option<Usage> {
    let count = |name: &str| quota["token_count"][name].as_u64();
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    (input.is_some() || output.is_some()).then(|| Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        ..Usage::default()
    })
}

/// What a session has used, by an update of it.
fn of_session(update: &Value) -> Option<Usage> {
    let count = |name: &str| update["_meta"][name].as_u64();
    Some(Usage {
        input: count("promptTokens")?,
        output: count("completionTokens")?,
        cached: count("cachedTokens").unwrap_or(0),
        ..Usage::default()
    })
}

/// What a session has cost, by an update of it.
fn cost(update: &Value) -> Option<f64> {
    update["cost"]["amount"].as_f64().filter(|_| update["cost"]["currency"] == "USD")
}
