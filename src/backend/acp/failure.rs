//! What the failures of agents mean: errors of the protocol, and what their words say.

use crate::backend::{Ended, kind_in};
use crate::base::json::{self, Value};
use crate::model::error::{Failure, Kind, words_of_stderr};

/// An error of the protocol. Its code says little; what says more stands in one of many members of its data.
pub(super) fn of_error(error: &Value) -> Failure {
    let data = &error["data"];
    let said = [&data["details"], &data["message"], data, &error["message"]];
    let said = said.into_iter().filter_map(Value::as_str).find(|words| !words.trim().is_empty());
    let words = said.unwrap_or_default().trim();
    // Which says nothing.
    let words =
        words.strip_prefix("Internal error").map_or(words, |rest| rest.trim_start_matches(':').trim());
    let words = sentence_in(words).unwrap_or_else(|| words.to_owned());
    let class = [&data["errorKind"], &data["codex_error_info"], &data["errorName"]]
        .into_iter()
        .find_map(Value::as_str);
    let status = status_of(&data["codex_error_info"]);
    // A server that is not reached is one that fails, to some agents' classes.
    let unreachable = kind_of_words(&words).filter(|kind| *kind == Kind::Unreachable);
    let kind = unreachable
        .or_else(|| class.and_then(kind_of_class))
        .or_else(|| kind_of_words(&words))
        .or_else(|| status.or_else(|| status_in(&words)).and_then(kind_of_status))
        .unwrap_or(match error["code"].as_i64() {
            Some(-32000) => Kind::Login,
            _ => Kind::Crash,
        });
    let words = match (words.as_str(), class) {
        ("", Some(class)) => format!("the agent failed: {class}"),
        ("", None) => format!("the agent failed with code {} and did not say why", error["code"]),
        _ => words,
    };
    Failure::new(kind, words)
}

/// What an agent says as its answer and is none.
pub(super) fn of_words(words: &str) -> Failure {
    let words = words.trim();
    let words = sentence_in(words).unwrap_or_else(|| words.to_owned());
    let kind = kind_of_words(&words).or_else(|| status_in(&words).and_then(kind_of_status));
    Failure::new(kind.unwrap_or(Kind::Unreadable), words)
}

/// An agent that ended without an answer.
pub(super) fn of_end(ended: &Ended) -> Failure {
    Failure::new(kind_of_words(&ended.stderr).unwrap_or(Kind::Crash), words_of_stderr(ended))
}

/// What an HTTP status of the vendor's means.
fn kind_of_status(status: i64) -> Option<Kind> {
    Some(match status {
        401 | 403 => Kind::Login,
        404 => Kind::UnknownModel,
        402 | 429 => Kind::Quota,
        413 => Kind::ContextTooLong,
        400..500 => Kind::InvalidRequest,
        500..600 => Kind::Overloaded,
        _ => return None,
    })
}

/// The agents' own words for kinds of failures.
fn kind_of_class(class: &str) -> Option<Kind> {
    const CLASSES: &[(&str, Kind)] = &[
        ("authentication_failed", Kind::Login),
        ("unauthorized", Kind::Login),
        ("billing_error", Kind::Quota),
        ("rate_limit", Kind::Quota),
        ("usage_limit_exceeded", Kind::Quota),
        ("server_error", Kind::Overloaded),
        ("internal_server_error", Kind::Overloaded),
        ("overloaded", Kind::Overloaded),
        ("server_overloaded", Kind::Overloaded),
        ("context_window_exceeded", Kind::ContextTooLong),
        ("model_not_found", Kind::UnknownModel),
        ("invalid_request", Kind::InvalidRequest),
        ("bad_request", Kind::InvalidRequest),
        ("ProviderAuthError", Kind::Login),
        ("ContextOverflowError", Kind::ContextTooLong),
    ];
    CLASSES.iter().find(|(known, _)| *known == class).map(|(_, kind)| *kind)
}

/// `{"response_too_many_failed_attempts": {"http_status_code": 429}}`
fn status_of(class: &Value) -> Option<i64> {
    class.as_object()?.values().find_map(|inner| inner["http_status_code"].as_i64())
}

/// The HTTP status that a sentence names, as a number of its own.
fn status_in(words: &str) -> Option<i64> {
    const STATUSES: &[&str] =
        &["400", "401", "402", "403", "404", "408", "413", "422", "429", "500", "502", "503", "504", "529"];
    let mut numbers = words.split(|c: char| !c.is_alphanumeric());
    numbers.find(|word| STATUSES.contains(word)).and_then(|word| word.parse().ok())
}

/// The sentence in a body that stands, as JSON, where a sentence should; sometimes one in another.
pub(in crate::backend) fn sentence_in(words: &str) -> Option<String> {
    let body: Value =
        json::from_str(words.trim()).ok().filter(|body: &Value| body.is_object() || body.is_array())?;
    let candidates = [&body["error"]["message"], &body[0]["error"]["message"], &body["message"]];
    let inner = candidates.into_iter().find_map(Value::as_str)?;
    Some(sentence_in(inner).unwrap_or_else(|| inner.to_owned()))
}

/// What the agents' and the vendors' own sentences mean, whatever the code beside them.
pub(in crate::backend) fn kind_of_words(words: &str) -> Option<Kind> {
    const PATTERNS: &[(&str, Kind)] = &[
        ("api key not valid", Kind::Login),
        ("invalid api key", Kind::Login),
        ("incorrect api key", Kind::Login),
        ("api key expired", Kind::Login),
        ("api key is missing", Kind::Login),
        ("gemini_api_key", Kind::Login),
        ("authentication required", Kind::Login),
        ("authentication failed", Kind::Login),
        ("failed to authenticate", Kind::Login),
        ("auth method", Kind::Login),
        ("unauthenticated", Kind::Login),
        ("re-authenticate", Kind::Login),
        ("not logged in", Kind::Login),
        ("credential was rejected", Kind::Login),
        ("exceeds the maximum number of tokens", Kind::ContextTooLong),
        ("context window", Kind::ContextTooLong),
        ("maximum context length", Kind::ContextTooLong),
        ("prompt is too long", Kind::ContextTooLong),
        ("is not found for api version", Kind::UnknownModel),
        ("requested entity was not found", Kind::UnknownModel),
        ("is not supported for generatecontent", Kind::UnknownModel),
        ("exceeded your current quota", Kind::Quota),
        ("quota exceeded", Kind::Quota),
        ("exhausted your", Kind::Quota),
        ("resource_exhausted", Kind::Quota),
        ("resource has been exhausted", Kind::Quota),
        ("rate limit", Kind::Quota),
        ("too many requests", Kind::Quota),
        ("overloaded", Kind::Overloaded),
        ("no capacity available", Kind::Overloaded),
        ("experiencing high demand", Kind::Overloaded),
        ("fetch failed", Kind::Unreachable),
        ("connection error", Kind::Unreachable),
        ("stream disconnected", Kind::Unreachable),
        ("error decoding response body", Kind::Unreachable),
        ("ended with empty response", Kind::Unreadable),
        ("econnrefused", Kind::Unreachable),
        ("econnreset", Kind::Unreachable),
        ("etimedout", Kind::Unreachable),
        ("enotfound", Kind::Unreachable),
        ("eai_again", Kind::Unreachable),
        ("directory does not exist", Kind::InvalidRequest),
        ("yolo mode is disabled", Kind::Config),
    ];
    let words = words.trim().to_lowercase();
    if words == "terminated" {
        // A connection that broke in the middle of an answer.
        return Some(Kind::Unreachable);
    }
    kind_in(&words, PATTERNS)
}
