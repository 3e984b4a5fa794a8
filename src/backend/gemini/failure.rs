//! Why gemini failed: errors of its protocol, and ends without one.

use crate::backend::Ended;
use crate::base::json::{self, text};
use crate::model::error::{Failure, Kind, words_of_stderr};
use serde_json::Value;

/// An error of the protocol: its code is the vendor's HTTP status, or 500 for whatever gemini knows no status of.
pub(super) fn of_error(error: &Value) -> Failure {
    let details = error["data"]["details"].as_str().or(error["data"].as_str());
    let details_text = details.filter(|words| !words.is_empty()).unwrap_or(text(&error["message"]));
    let (words, is_body) = match sentence_in(details_text) {
        Some(sentence) => (sentence, true),
        None => (details_text.to_owned(), false),
    };
    // Of an answer without a body gemini makes one, whose code is the status; its own code is 500 then.
    let status = status_in(details_text).or(error["code"].as_i64());
    let kind = kind_of_words(details_text).unwrap_or(match status {
        Some(-32000 | 401 | 403) => Kind::Login,
        Some(404) => Kind::UnknownModel,
        Some(429) => Kind::Quota,
        Some(413) => Kind::ContextTooLong,
        Some(400..500) => Kind::InvalidRequest,
        // What a server says that has no models, or not this one: its words are all that gemini passes on.
        Some(500) if details_text.to_lowercase().contains("not found") => Kind::UnknownModel,
        // A whole body says that it really was the vendor's.
        Some(500) if !is_body => Kind::Crash,
        Some(500..600) => Kind::Overloaded,
        _ => Kind::Crash,
    });
    let words = match (words.as_str(), status) {
        ("", Some(status @ 400..600)) => format!("the server answers with status {status} and says no more"),
        ("", _) => "gemini failed and did not say why".to_owned(),
        _ => words,
    };
    Failure::new(kind, words)
}

/// The HTTP status in a body that stands where a sentence should.
fn status_in(details_text: &str) -> Option<i64> {
    let body: Value = serde_json::from_str(details_text.trim()).ok()?;
    body["error"]["code"].as_i64()
}

/// The sentence in a body that stands, as JSON, where a sentence should; sometimes one in another.
fn sentence_in(details_text: &str) -> Option<String> {
    let body: Value = json::from_str(details_text.trim())
        .ok()
        .filter(|body: &Value| body.is_object() || body.is_array())?;
    let candidates = [&body["error"]["message"], &body[0]["error"]["message"], &body["message"]];
    let inner = candidates.into_iter().find_map(Value::as_str)?;
    Some(sentence_in(inner).unwrap_or_else(|| inner.to_owned()))
}

/// What gemini's and the vendor's own sentences mean, whatever the code beside them.
fn kind_of_words(words: &str) -> Option<Kind> {
    const PATTERNS: &[(&str, Kind)] = &[
        ("api key not valid", Kind::Login),
        ("api key expired", Kind::Login),
        ("api key is missing", Kind::Login),
        ("gemini_api_key", Kind::Login),
        ("authentication required", Kind::Login),
        ("auth method", Kind::Login),
        ("unauthenticated", Kind::Login),
        ("re-authenticate", Kind::Login),
        ("exceeds the maximum number of tokens", Kind::ContextTooLong),
        ("context window", Kind::ContextTooLong),
        ("is not found for api version", Kind::UnknownModel),
        ("requested entity was not found", Kind::UnknownModel),
        ("is not supported for generatecontent", Kind::UnknownModel),
        ("exceeded your current quota", Kind::Quota),
        ("quota exceeded", Kind::Quota),
        ("exhausted your", Kind::Quota),
        ("resource_exhausted", Kind::Quota),
        ("resource has been exhausted", Kind::Quota),
        ("rate limit", Kind::Quota),
        ("overloaded", Kind::Overloaded),
        ("no capacity available", Kind::Overloaded),
        ("fetch failed", Kind::Unreachable),
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
    PATTERNS.iter().find(|(pattern, _)| words.contains(pattern)).map(|(_, kind)| *kind)
}

/// A child that ended without a result: gemini's own exit statuses (`FatalError` in its source), else its last words.
pub(super) fn of_end(ended: &Ended) -> Failure {
    let lines = ended.stderr.lines().map(without_colours).filter(|line| !is_noise(line));
    let words = lines.collect::<Vec<_>>().join("\n");
    let kind = match ended.code {
        Some(41) => Kind::Login,
        Some(42) => Kind::InvalidRequest,
        Some(44 | 52 | 55) => Kind::Config,
        Some(53) => Kind::TurnLimit,
        Some(1) if words.contains("Unknown argument") || words.contains("Invalid values") => Kind::VendorFlag,
        _ => kind_of_words(&words).unwrap_or(Kind::Crash),
    };
    Failure::new(kind, words_of_stderr(&Ended { stderr: words, ..ended.clone() }))
}

/// A line without what makes it red in a terminal.
fn without_colours(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

/// What gemini writes to standard error in good runs too.
fn is_noise(line: &str) -> bool {
    const NOISE: &[&str] = &[
        "Ripgrep is not available",
        "Warning: 256-color support",
        "[STARTUP]",
        "YOLO mode is enabled",
        "Approval mode overridden",
        "Skipping project agents",
        "Project hooks disabled",
        "Loaded cached credentials",
        "MCP issues detected",
    ];
    NOISE.iter().any(|noise| line.starts_with(noise))
}
