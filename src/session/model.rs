//! What is kept of a conversation. The JSON is ours: a session file may be read by other programs and is the truth.

use super::bounds;
use crate::base::json::json;
use crate::base::time::timestamp;
use crate::base::words::words;
use crate::base::world;
use crate::model::error::Error;
use crate::model::event::{Usage, dollars};
use crate::model::fields::Text;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

words! {
    /// How a session stands.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    Status {
        /// A run holds it.
        Active = "active",
        /// Its last turn went well. Earlier versions put sessions aside, whatever their last turn had come to.
        #[default]
        #[serde(alias = "paused")]
        Completed = "completed",
        /// Its last turn failed.
        Error = "error",
    }
}

/// Tokens of all turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// All input tokens, cached ones included.
    pub(crate) input_tokens: u64,
    /// All output tokens, reasoning included.
    pub(crate) output_tokens: u64,
    /// Input tokens that came from the vendor's cache.
    pub(crate) cached_tokens: u64,
    /// Output tokens spent on reasoning.
    pub(crate) reasoning_tokens: u64,
    /// US dollars, where the backend tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<f64>,
}

impl Tokens {
    /// Adds what a turn used.
    pub(crate) fn add(&mut self, other: &Tokens) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.cached_tokens, other.cached_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
        self.cost = match (self.cost, other.cost) {
            (None, None) => None,
            (sum, cost) => Some(dollars(sum.unwrap_or(0.0) + cost.unwrap_or(0.0))),
        };
    }

    /// Input and output together.
    pub(crate) fn total(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// The tokens as programs get them: with their total.
    fn to_json(self) -> Value {
        let mut json = json!(self);
        json["total_tokens"] = json!(self.total());
        json
    }
}

impl From<&Usage> for Tokens {
    fn from(usage: &Usage) -> Tokens {
        Tokens {
            input_tokens: usage.input,
            output_tokens: usage.output,
            cached_tokens: usage.cached,
            reasoning_tokens: usage.reasoning,
            cost: usage.cost,
        }
    }
}

/// One conversation. Times are RFC 3339 in UTC, so that they compare as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// 32 hex digits.
    pub id: String,
    /// The backend of its last turn.
    pub backend: String,
    /// That backend's own session id, where it has one that can be continued.
    pub backend_session_id: Option<String>,
    /// The model of its last turn.
    pub model: Option<String>,
    /// The name that was asked for when that model answered, which may be another; empty is none. Sessions of an earlier
    /// version do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_model: Option<String>,
    /// Where it works: absolute, canonical.
    pub working_dir: PathBuf,
    /// When it began.
    pub created_at: String,
    /// When its last turn began or ended.
    pub last_used_at: String,
    /// How it stands.
    pub status: Status,
    /// Turns that went well.
    #[serde(default)]
    pub turn_count: u64,
    /// Tokens of all turns.
    #[serde(default)]
    pub token_usage: Tokens,
    /// The beginning of its first prompt.
    #[serde(default)]
    pub initial_prompt: String,
    /// A name for people.
    #[serde(default)]
    pub title: String,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whatever its makers want to keep with it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The session that it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The API key's name over which it was made: it belongs to that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// No listing shows it: it is kept for a while because a client may go on with it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Why its last turn failed; gone with the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Fields of later versions: kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How much of the first prompt is kept in the session itself, in characters.
pub(super) const INITIAL_PROMPT: usize = 500;
/// How long a title made from a prompt is, in characters.
const TITLE: usize = 60;

impl Session {
    /// A new one, not saved yet.
    pub fn new(id: String, backend: &str, working_dir: PathBuf, prompt: &str) -> Session {
        let now = timestamp(world::now());
        let first_line = prompt.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
        Session {
            id,
            backend: backend.to_owned(),
            backend_session_id: None,
            model: None,
            asked_model: None,
            working_dir,
            created_at: now.clone(),
            last_used_at: now,
            status: Status::Active,
            turn_count: 0,
            token_usage: Tokens::default(),
            initial_prompt: prompt.chars().take(INITIAL_PROMPT).collect(),
            title: shorten(first_line, TITLE),
            tags: Vec::new(),
            metadata: Map::new(),
            parent_id: None,
            owner: None,
            hidden: false,
            last_error: None,
            other: Map::new(),
        }
    }
}

impl Session {
    /// The session as programs get it: its tokens have the name, too, that they have in answers.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!(self);
        json["usage"] = self.token_usage.to_json();
        json
    }
}

/// What clients store in it, each within its bounds.
impl Session {
    /// Gives it another name for people.
    pub(crate) fn set_title(&mut self, title: String) -> Result<(), Error> {
        bounds::title(&title)?;
        self.title = title;
        Ok(())
    }

    /// Gives it these tags, each once, in place of those it has.
    pub(crate) fn set_tags(&mut self, tags: &[String]) -> Result<(), Error> {
        self.tags = bounds::tags(tags)?;
        Ok(())
    }

    /// Adds tags that it does not have yet.
    pub(crate) fn add_tags(&mut self, tags: &[String]) -> Result<(), Error> {
        self.tags = bounds::tags(self.tags.iter().chain(tags))?;
        Ok(())
    }

    /// Keeps these with it, in place of what is there.
    pub(crate) fn set_metadata(&mut self, pairs: Map<String, Value>) -> Result<(), Error> {
        bounds::metadata(&pairs)?;
        self.metadata = pairs;
        Ok(())
    }

    /// Whether all of it is within the bounds: one that comes from elsewhere may have anything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        bounds::title(&self.title)?;
        bounds::tags(&self.tags)?;
        bounds::metadata(&self.metadata)?;
        self.model.as_deref().map_or(Ok(()), bounds::model)?;
        self.asked_model.as_deref().map_or(Ok(()), bounds::model)?;
        bounds::text("the first prompt's beginning", &self.initial_prompt, INITIAL_PROMPT)?;
        bounds::text(
            "the backend's session id",
            self.backend_session_id.as_deref().unwrap_or(""),
            bounds::BACKEND_SESSION,
        )?;
        bounds::text("the last error", self.last_error.as_deref().unwrap_or(""), bounds::LAST_ERROR)?;
        let all = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        match all.len() {
            ..=bounds::FILE => Ok(()),
            length => Err(Error::Invalid(format!(
                "the session has {length} bytes: at most {} are kept",
                bounds::FILE
            ))),
        }
    }
}

/// Cuts between characters, and says so.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// One prompt and its answer, a line in `<id>.turns.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// When it ended.
    pub(crate) time: String,
    /// Who answered.
    pub(crate) backend: String,
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// What was asked.
    pub prompt: Text,
    /// What was answered; a failed turn has what came before the failure.
    pub(crate) answer: String,
    /// The answer was longer than what is kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) truncated: bool,
    /// What it used.
    #[serde(default)]
    pub(crate) usage: Tokens,
    /// From start to end; a turn of an earlier version has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) duration_seconds: Option<f64>,
    /// The kind of failure, by its word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// What went wrong; such a turn is never replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Turn {
    /// The turn as programs get it: with the fields that every answer has.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!(self);
        json["content"] = json!(self.answer);
        json["usage"] = self.usage.to_json();
        json["cost"] = json!(self.usage.cost);
        json["duration_seconds"] = json!(self.duration_seconds);
        json["kind"] = json!(self.kind);
        json["error"] = json!(self.error);
        json
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_between_characters() {
        assert_eq!(shorten("日本語テキスト", 4), "日本語…");
        assert_eq!(shorten("日本語", 3), "日本語");
        assert_eq!(
            Session::new("x".into(), "echo", "/".into(), "\n\n  first line  \nsecond").title,
            "first line"
        );
    }

    #[test]
    fn fields_of_later_versions_survive() {
        let mut session = Session::new("x".into(), "echo", "/".into(), "p");
        session.other.insert("from_the_future".into(), Value::from(7));
        let text = serde_json::to_string(&session).unwrap();
        assert_eq!(serde_json::from_str::<Session>(&text).unwrap(), session);
    }
}
