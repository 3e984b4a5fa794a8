//! Why gemini failed: errors of its protocol, and ends without one.

use crate::backend::Ended;
use crate::backend::acp::{kind_of_words, sentence_in};
use crate::base::json::text;
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
