//! What codex's errors mean: one table of its words for them, one of HTTP statuses, one of patterns.

use crate::backend::{Ended, kind_in};
use crate::base::json;
use crate::model::error::{Failure, Kind, words_of_stderr};
use serde_json::Value;

/// The names in `codexErrorInfo` (`codex app-server generate-json-schema`) that say enough by themselves.
const NAMES: &[(&str, Kind)] = &[
    ("contextWindowExceeded", Kind::ContextTooLong),
    ("sessionBudgetExceeded", Kind::Quota),
    ("usageLimitExceeded", Kind::Quota),
    ("rateLimitExceeded", Kind::Quota),
    ("flexUnavailable", Kind::Overloaded),
    ("serverOverloaded", Kind::Overloaded),
    ("policyCapacityUnavailable", Kind::Overloaded),
    ("internalServerError", Kind::Overloaded),
    ("modelNotFound", Kind::UnknownModel),
    ("cyberPolicy", Kind::Refusal),
    ("bioPolicy", Kind::Refusal),
    ("misalignmentPolicyViolation", Kind::Refusal),
    ("inferenceHookDenied", Kind::Refusal),
    ("tooManyDenials", Kind::PermissionDenied),
    ("unauthorized", Kind::Login),
];

/// Words in its messages, in lower case, the more telling ones first. They decide where neither name nor status does.
const PATTERNS: &[(&str, Kind)] = &[
    ("context length", Kind::ContextTooLong),
    ("context window", Kind::ContextTooLong),
    ("context_length_exceeded", Kind::ContextTooLong),
    ("reason: max_output_tokens", Kind::TurnLimit),
    ("missing environment variable", Kind::Login),
    ("api key", Kind::Login),
    ("api_key", Kind::Login),
    ("not logged in", Kind::Login),
    ("quota", Kind::Quota),
    ("rate limit", Kind::Quota),
    ("usage limit", Kind::Quota),
    ("model_not_found", Kind::UnknownModel),
    ("does not exist", Kind::UnknownModel),
    ("model is not supported", Kind::UnknownModel),
    ("high demand", Kind::Overloaded),
    ("at capacity", Kind::Overloaded),
    ("overloaded", Kind::Overloaded),
    ("content_policy", Kind::Refusal),
    // The code `invalid_prompt` has no name of codex's.
    ("invalid prompt", Kind::Refusal),
    ("usage policy", Kind::Refusal),
    ("usage policies", Kind::Refusal),
    ("connection failed", Kind::Unreachable),
    ("error sending request", Kind::Unreachable),
    ("stream disconnected", Kind::Unreachable),
    ("idle timeout", Kind::Unreachable),
];

/// What codex says of a session that is not there, or that another process writes to.
const SESSIONS: &[(&str, Kind)] = &[
    ("no rollout found", Kind::SessionNotFound),
    ("invalid session id", Kind::SessionNotFound),
    ("thread not found", Kind::SessionNotFound),
    ("active writer", Kind::SessionBusy),
];

/// How it ends when it does not like its flags or its `config.toml`.
const STARTING: &[&str] =
    &["unknown feature flag", "unexpected argument", "config.toml", "codex_home", "unknown configuration"];

/// Whether it is none: the model's answer was cut at its limit of tokens.
pub(super) fn is_cut(error: &Value) -> bool {
    words(error).contains("reason: max_output_tokens")
}

/// Whether an attempt to talk over a web socket has failed.
pub(super) fn is_of_web_socket(error: &Value) -> bool {
    let words = words(error);
    words.contains("url: ws://") || words.contains("url: wss://")
}

pub(super) fn of_turn(error: &Value) -> Failure {
    let sentence = sentence(error);
    let info = &error["codexErrorInfo"];
    let (name, detail) = match info.as_object().and_then(|object| object.iter().next()) {
        Some((name, detail)) => (name.as_str(), detail),
        None => (info.as_str().unwrap_or_default(), &Value::Null),
    };
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    let status = detail["httpStatusCode"].as_u64();
    // The body of a 400 comes raw, as "other".
    let is_refused_request = name == "badRequest" || body(error).is_some();
    let raw = words(error).to_lowercase();
    let kind = named.or_else(|| status.and_then(of_status)).or_else(|| kind_in(&raw, PATTERNS));
    Failure::new(
        kind.unwrap_or(if is_refused_request { Kind::InvalidRequest } else { Kind::Crash }),
        sentence,
    )
}

/// The failure in the answer to one of our requests.
pub(super) fn of_request(error: &Value) -> Failure {
    let message = error["message"].as_str().unwrap_or("codex refused a request without a word");
    let lower = message.to_lowercase();
    let kind = if error["data"]["input_error_code"] == "input_too_large" {
        Kind::InvalidRequest
    } else if let Some(kind) = kind_in(&lower, SESSIONS) {
        kind
    } else {
        // "Invalid request: ...", "failed to load configuration: ...".
        Kind::VendorFlag
    };
    Failure::new(kind, message)
}

/// The failure of a program that ended in the middle.
pub(super) fn of_end(ended: &Ended) -> Failure {
    let words = words_of_stderr(ended);
    let lower = words.to_lowercase();
    let before_start =
        ended.code.is_some_and(|code| code != 0) && STARTING.iter().any(|word| lower.contains(word));
    Failure::new(if before_start { Kind::VendorFlag } else { Kind::Crash }, words)
}

/// What went wrong, for people: out of the JSON of an HTTP body where it is in one.
pub(super) fn sentence(error: &Value) -> String {
    let said = body(error).and_then(|body| {
        let places = [&body["error"]["message"], &body["message"], &body["detail"], &body["error"]];
        places.into_iter().find_map(|place| place.as_str().map(str::to_owned))
    });
    said.unwrap_or_else(|| words(error).to_owned())
}

/// The message, or what stands behind a mere "Reconnecting... 2/5".
fn words(error: &Value) -> &str {
    let details = error["additionalDetails"].as_str().filter(|details| !details.is_empty());
    let message = error["message"].as_str().filter(|message| !message.is_empty());
    match (message, details) {
        (Some(message), Some(details)) if message.starts_with("Reconnecting") => details,
        (Some(words), _) | (None, Some(words)) => words,
        (None, None) => "codex failed without a word",
    }
}

fn body(error: &Value) -> Option<Value> {
    json::from_str(words(error)).ok().filter(Value::is_object)
}

fn of_status(status: u64) -> Option<Kind> {
    match status {
        401 | 403 => Some(Kind::Login),
        402 | 429 => Some(Kind::Quota),
        404 => Some(Kind::UnknownModel),
        413 => Some(Kind::ContextTooLong),
        408 | 500..=599 => Some(Kind::Overloaded),
        _ => None,
    }
}
