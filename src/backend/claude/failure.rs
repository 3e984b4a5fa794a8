//! Why a turn of claude's failed: what its results and its words mean.

use crate::backend::kind_in;
use crate::base::json::{string, text};
use crate::model::error::{Failure, Kind};
use serde_json::Value;

/// Why a turn failed: by its subtype, then the vendor's HTTP status, then its words.
pub(super) fn failure(message: &Value) -> Failure {
    let errors =
        message["errors"].as_array().map(|errors| errors.iter().map(text).collect::<Vec<_>>().join("; "));
    let words = string(&message["result"]).filter(|words| !words.is_empty()).or(errors).unwrap_or_default();
    let status = message["api_error_status"].as_u64();
    let kind = match (text(&message["subtype"]), status) {
        ("error_max_turns" | "error_max_budget_usd", _) => Kind::TurnLimit,
        ("error_max_structured_output_retries", _) => Kind::Unreadable,
        _ if text(&message["stop_reason"]) == "refusal" => Kind::Refusal,
        (_, Some(401 | 403)) => Kind::Login,
        (_, Some(404)) => Kind::UnknownModel,
        (_, Some(429)) => Kind::Quota,
        (_, Some(413)) => Kind::ContextTooLong,
        (_, status) => kind_of_words(&words).unwrap_or(match status {
            Some(500..) => Kind::Overloaded,
            Some(400..) => Kind::InvalidRequest,
            _ => Kind::Crash,
        }),
    };
    let words = match (words.as_str(), kind) {
        ("", Kind::TurnLimit) => format!("the limit was used up ({})", text(&message["subtype"])),
        ("", _) => format!("claude ended with {}", text(&message["subtype"])),
        (words, _) => words.to_owned(),
    };
    Failure::new(kind, words)
}

/// What claude's own sentences mean, on standard error and in results alike.
pub(super) fn kind_of_words(words: &str) -> Option<Kind> {
    /// In small letters; the first that is found counts.
    const PATTERNS: &[(&str, Kind)] = &[
        ("no conversation found with session id", Kind::SessionNotFound),
        ("does not match any session title", Kind::SessionNotFound),
        ("not logged in", Kind::Login),
        ("invalid api key", Kind::Login),
        ("/login", Kind::Login),
        ("credit balance is too low", Kind::Quota),
        ("out of usage credits", Kind::Quota),
        // A session, five hours, a week, a month, a model: `You've hit your session limit`, `5-hour limit reached`.
        ("you've hit your", Kind::Quota),
        ("session limit", Kind::Quota),
        ("limit reached", Kind::Quota),
        ("usage limit", Kind::Quota),
        ("spend limit", Kind::Quota),
        ("rejected (429)", Kind::Quota),
        ("overloaded", Kind::Overloaded),
        ("temporarily unavailable", Kind::Overloaded),
        ("unable to connect", Kind::Unreachable),
        ("couldn't connect", Kind::Unreachable),
        ("connection refused", Kind::Unreachable),
        ("connection dropped", Kind::Unreachable),
        ("connection lost", Kind::Unreachable),
        ("connection closed", Kind::Unreachable),
        ("connection error", Kind::Unreachable),
        ("can't reach the api server", Kind::Unreachable),
        ("no internet route", Kind::Unreachable),
        ("no response from api", Kind::Unreachable),
        ("request timed out", Kind::Unreachable),
        ("prompt is too long", Kind::ContextTooLong),
        ("issue with the selected model", Kind::UnknownModel),
        ("unknown option", Kind::VendorFlag),
        ("argument missing", Kind::VendorFlag),
        ("is invalid", Kind::VendorFlag),
    ];
    kind_in(&words.to_lowercase(), PATTERNS)
}
