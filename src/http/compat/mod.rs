//! What the clients of other vendors say and need to hear, without sockets and without a clock: JSON in, a neutral
//! `Chat` out; what a run says in, frames or JSON out. What each of them needs was measured (client-contract.md).

pub mod anthropic; // /anthropic/v1/messages
pub mod catalogue; // /models, and who is meant by a model's name
pub mod chat; // /openai/v1/chat/completions
pub mod completions; // /openai/v1/completions
mod fields; // reading JSON fields, and naming those that are not read
pub mod models; // /models on both, and which backend a model means
mod parts; // images and documents in messages
pub mod responses; // /openai/v1/responses
mod history; // what a conversation is recognised by
mod run; // a request under way
pub mod serve; // the endpoints
mod thread; // which conversation a request goes on with
pub mod structured; // answers that have to be JSON, and tools that have to be called
pub mod transcript; // a conversation as one prompt

use crate::base::json::{self, Json, Member};
use crate::base::text::without_mark;
use crate::http::front::errors::Fault;
use crate::model::error::Kind;
use crate::model::event::Usage;
use crate::model::fields::Text;
use crate::model::task::{Effort, Image};
use serde_json::Value;
use serde_json::value::RawValue;

/// What is asked, in no vendor's dialect.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// The model as the client named it; empty where it named none. It is repeated to the client as it stands here.
    pub model: String,
    /// What the system and the developer say, in their order.
    pub system: Vec<String>,
    /// Who said what. Neighbours are never by the same speaker.
    pub turns: Vec<Turn>,
    /// What the answer has to be.
    pub format: Format,
    /// The tools of which the answer has to call one.
    pub forced: Option<Forced>,
    /// Most output tokens. A wish: every client of Anthropic has to send one.
    pub max_tokens: Option<u32>,
    /// How hard the model thinks. A wish, too.
    pub effort: Option<Effort>,
    /// The answer is wanted piece by piece.
    pub stream: bool,
    /// A stream of `/chat/completions` ends with the usage.
    pub include_usage: bool,
    /// The id of the response that this one continues.
    pub previous: Option<String>,
    /// The response may be continued by its id later.
    pub store: bool,
    /// The fields of the request without effect, by name.
    pub ignored: Vec<String>,
    /// The fields of the request that `/responses` repeats; null elsewhere.
    pub echo: Value,
    /// About how many tokens the request has.
    pub estimate: u64,
}

/// What one speaker says until the other does.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// The name that the client gave the speaker.
    pub name: Option<String>,
    /// What is said, in its order.
    pub parts: Vec<Part>,
}

/// Who speaks. What tools answer is on the user's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    /// The model.
    Assistant,
}

/// A piece of what is said.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(Text),
    /// A picture.
    Image(Image),
    /// A document that is text.
    Document {
        /// Its name or title.
        name: String,
        text: String,
    },
    /// The model calls a tool of the client's.
    ToolCall {
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, as the model wrote them.
        arguments: String,
    },
    /// The tool's answer.
    ToolResult {
        /// The call's id.
        id: String,
        /// What it answered.
        text: String,
        /// It failed.
        is_error: bool,
    },
}

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Format {
    #[default]
    Text,
    JsonObject,
    /// JSON that follows a schema.
    Schema {
        /// The schema's name, where it has one.
        name: String,
        schema: Value,
    },
}

/// Tools of which one has to be called: no vendor's program can, so that the answer is asked for as JSON and told as a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Forced {
    /// The candidates: at least one.
    pub tools: Vec<Tool>,
}

/// A tool of the client's.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// The JSON schema of its arguments.
    pub schema: Value,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Text, or the JSON that was asked for.
    Text(String),
    /// A call of a tool that was forced.
    Tool {
        /// The tool.
        name: String,
        /// Its arguments as JSON.
        arguments: String,
    },
}

/// What is known of an answer at its end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Finished {
    /// What it used.
    pub usage: Usage,
    /// The answer really was cut at the limit of tokens. Some clients take that for a failure.
    pub truncated: bool,
}

/// What makes an answer unlike all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// 32 random hex digits.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
}

impl Stamp {
    /// An id with that prefix and as many digits of the stamp's.
    fn id(&self, prefix: &str, digits: usize) -> String {
        format!("{prefix}{}", self.id.get(..digits).unwrap_or(&self.id))
    }
}

/// What becomes of a field of a request. One that has none of these is ignored, and named in `x-clinvk-ignored`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what the vendor says, where the backend can.
    Honoured,
    /// The backend cannot, so that it is asked for in words, and the answer is checked.
    Emulated,
    /// A value that asks for what we have nothing for is a failure.
    Refused,
}

/// One endpoint's way of asking and answering.
pub trait Dialect: Sync {
    /// The fields of a request that have an effect.
    fn fields(&self) -> &'static [(&'static str, Effect)];

    /// The fields that are read for another reason, such as to repeat them.
    fn repeats(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether anything is made of a field of that name.
    fn reads(&self, name: &str) -> bool {
        self.fields().iter().any(|(known, _)| *known == name) || self.repeats().contains(&name)
    }

    /// What a body asks for.
    ///
    /// # Errors
    /// When it makes no sense, or asks for what no backend can do. Fields that we have nothing for are no error.
    fn read(&self, body: &Value) -> Result<Chat, Fault>;

    /// How the answer is streamed.
    fn frames(&self, chat: &Chat, stamp: &Stamp) -> Box<dyn Frames>;

    /// Whether a stream says the whole answer once more at its end.
    fn says_answer_again(&self) -> bool {
        false
    }

    /// The whole answer as JSON.
    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String;

    /// Whether a stream tells of this failure in its frames even where nothing was said before, and the status still could.
    fn tells_in_frames(&self, _fault: &Fault) -> bool {
        false
    }
}

/// An answer as server-sent events: each method returns what is to be written then, perhaps nothing. Call `start` once,
/// then `text` or `tool`, then `done` or `failed`; `alive` at any time between.
pub trait Frames: Send {
    /// The answer begins.
    fn start(&mut self) -> String;

    fn text(&mut self, piece: &str) -> String;

    /// The call of a tool that was forced.
    fn tool(&mut self, name: &str, arguments: &str) -> String;

    /// A sign of life in a long silence: one that every client of this endpoint takes for one.
    fn alive(&mut self) -> String;

    /// The answer is complete.
    fn done(&mut self, finished: &Finished) -> String;

    /// There will be no more of the answer.
    fn failed(&mut self, fault: &Fault, request_id: &str) -> String;
}

/// The JSON of a request's body. Of a field that is not read there is only
/// its name, with `true` in place of its value. `afford` is told how much memory the others will take, before they do.
///
/// # Errors
/// When it is no JSON object, and what `afford` says.
pub fn parse(
    body: &[u8],
    is_known: impl Fn(&str) -> bool,
    afford: impl FnOnce(usize) -> Result<(), Fault>,
) -> Result<Value, Fault> {
    let body = json::mended(without_mark(body));
    let wrong = |error: serde_json::Error| {
        let message = match error.is_data() {
            true => "the body must be a JSON object".to_owned(),
            false => format!("the body is not valid JSON: {error}"),
        };
        Fault::of(Kind::InvalidRequest, message)
    };
    let texts = json::members::<&RawValue>(&body, &is_known).map_err(wrong)?;
    let weigh = |member: &Member<&RawValue>| match member {
        Member::Known(text) => json::weight(text.get().as_bytes()),
        Member::Skipped => 0,
    };
    afford(texts.iter().map(|(_, member)| weigh(member)).sum())?;
    drop(texts);
    let values = json::members::<Value>(&body, &is_known).map_err(wrong)?;
    let value = |member| match member {
        Member::Known(value) => value,
        Member::Skipped => Value::Bool(true),
    };
    Ok(values.into_iter().map(|(name, member)| (name, value(member))).collect())
}

impl Chat {
    /// The value of the `x-clinvk-ignored` header; none where nothing was ignored. Names that no header can carry are left out.
    pub fn ignored_header(&self) -> Option<String> {
        /// A header has to stay small, whatever a client sends.
        const MOST: usize = 32;
        let is_plain = |name: &&String| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let names: Vec<&str> = self.ignored.iter().filter(is_plain).take(MOST).map(String::as_str).collect();
        Some(names.join(", ")).filter(|names| !names.is_empty())
    }
}

/// A frame without a name.
fn data(json: Json) -> String {
    format!("data: {}\n\n", json.text())
}

/// A frame with its name.
fn event(name: &str, json: Json) -> String {
    format!("event: {name}\ndata: {}\n\n", json.text())
}
