//! The surfaces of other vendors. A dialect has neither sockets nor a clock: JSON in, a neutral `Chat` out; what a run says
//! in, frames or JSON out. `serve`, `run`, `thread` and `catalogue` join the dialects to the server. What each client needs
//! was measured (client-contract.md).

pub mod anthropic; // /anthropic/v1/messages
pub mod catalogue; // the endpoints of /models
pub mod chat; // /openai/v1/chat/completions
pub mod completions; // /openai/v1/completions
mod fields; // reading the fields of a body, and naming those that are not read
pub mod models; // lists of models, and which backend a name means
mod parts; // images and documents in messages
pub mod responses; // /openai/v1/responses
mod history; // what a conversation is recognised by
mod run; // a request under way
pub mod serve; // the endpoints that answer a conversation
mod thread; // which conversation a request goes on with
pub mod structured; // answers that have to be JSON, and tools that have to be called
pub mod transcript; // a conversation as one prompt

use crate::base::collect::inserted;
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
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// The model as the client named it; empty where it named none. It is repeated to the client as it stands here.
    pub model: String,
    /// What the system and the developer say, in their order.
    pub system: Vec<String>,
    /// Who said what. Neighbours are never by the same speaker.
    pub turns: Vec<Turn>,
    pub format: Format,
    /// The tools of which the answer has to call one, none where it has not: no vendor's program calls a client's tools, so
    /// that the answer is asked for as JSON, and becomes a call.
    pub forced: Vec<Tool>,
    /// Most output tokens. A hint, as the effort is: every client of Anthropic has to send one.
    pub max_tokens: Option<u32>,
    pub effort: Option<Effort>,
    /// The answer is wanted piece by piece.
    pub stream: bool,
    /// A stream of `/chat/completions` ends with the usage.
    pub(crate) include_usage: bool,
    /// The id of the response that this one continues.
    pub previous: Option<String>,
    /// The response may be continued by its id later.
    pub store: bool,
    /// The fields of the request without effect, by name.
    pub ignored: Vec<String>,
    /// The fields of the request that `/responses` repeats; null elsewhere.
    pub(crate) echo: Value,
    /// About how many tokens the request has.
    pub estimate: u64,
}

/// What one speaker says until the other does.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: Role,
    /// The name that the client gave the speaker.
    pub(crate) name: Option<String>,
    pub parts: Vec<Part>,
}

/// Who speaks. What tools answer is on the user's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    /// The model.
    Assistant,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(Text),
    Image(Image),
    /// A document that is text.
    Document {
        /// Its name or title.
        name: String,
        text: String,
    },
    /// The model calls a tool of the client's.
    ToolCall {
        id: String,
        name: String,
        /// The arguments, as the model wrote them.
        arguments: String,
    },
    /// The answer of a tool, or why it failed.
    ToolResult {
        /// The call's id.
        id: String,
        text: String,
        is_error: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub enum Format {
    #[default]
    Text,
    JsonObject,
    /// JSON that follows this schema.
    Schema(Value),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub(crate) description: String,
    /// The JSON schema of its arguments.
    pub(crate) schema: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Text, or the JSON that was asked for.
    Text(String),
    /// A call of a tool that was forced, with its arguments as JSON.
    Tool { name: String, arguments: String },
}

/// What is known of an answer at its end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Finished {
    pub usage: Usage,
    /// The answer really was cut at the limit of tokens. Some clients take that for a failure.
    pub truncated: bool,
}

impl Finished {
    /// Why the answer ended, in the dialect's words: the usual one, and that for an answer that was cut.
    fn reason(&self, usual: &'static str, truncated: &'static str) -> &'static str {
        if self.truncated { truncated } else { usual }
    }
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

/// What becomes of a field of a request. One that is in no table is ignored, and named in `x-clinvk-ignored`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what the vendor says, where the backend can.
    Honoured,
    /// The backend cannot, so that it is asked for in words, and the answer is checked.
    Emulated,
    /// A value that asks for what we have nothing for is a failure.
    Refused,
    /// The same as in no table, but the answer repeats its value.
    Ignored,
}

/// The fields of a request that are read.
pub(crate) type FieldTable = &'static [(Effect, &'static [&'static str])];

/// One endpoint's way of asking and answering.
pub trait Dialect: Sync {
    fn fields(&self) -> FieldTable;

    /// Whether anything is made of a field of that name.
    fn reads(&self, name: &str) -> bool {
        self.fields().iter().any(|(_, names)| names.contains(&name))
    }

    /// Fails when the body makes no sense, or asks for what no backend can do. Fields that we have nothing for are no failure.
    fn read(&self, body: &Value) -> Result<Chat, Fault>;

    fn frames<'a>(&self, chat: &'a Chat, stamp: &Stamp) -> Box<dyn Frames + 'a>;

    /// Whether a stream says the whole answer once more at its end.
    fn says_answer_again(&self) -> bool {
        false
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String;

    /// Whether a stream writes this failure in its frames even where nothing was sent before, and the status still could say it.
    fn tells_in_frames(&self, _fault: &Fault) -> bool {
        false
    }
}

/// An answer as server-sent events: each method returns what is to be written then, perhaps nothing. Call `start` once,
/// then `text` or `tool`, then `done` or `failed`; `alive` at any time between.
pub trait Frames: Send {
    fn start(&mut self) -> String;

    fn text(&mut self, piece: &str) -> String;

    fn tool(&mut self, name: &str, arguments: &str) -> String;

    /// A sign of life in a long silence: one that every client of this endpoint takes for one.
    fn alive(&mut self) -> String {
        ": keep-alive\n\n".to_owned()
    }

    fn done(&mut self, finished: &Finished) -> String;

    /// There will be no more of the answer.
    fn failed(&mut self, fault: &Fault, request_id: &str) -> String;
}

/// The JSON object of a request's body. Of a field that is not read there is only its name, with `true` in place of its
/// value. `afford` gets how much memory the others will take, before they do.
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
    Ok(Value::Object(inserted(values.into_iter().map(|(name, member)| (name, value(member))))))
}

impl Chat {
    /// Any text will do as the answer.
    pub(crate) fn is_free(&self) -> bool {
        self.forced.is_empty() && self.format == Format::Text
    }

    /// Adds what is said to the conversation: to the last turn where it is the same speaker's.
    fn say(&mut self, role: Role, name: Option<&str>, parts: Vec<Part>) {
        match self.turns.last_mut() {
            _ if parts.is_empty() => {}
            Some(last) if last.role == role && last.name.as_deref() == name => last.parts.extend(parts),
            _ => self.turns.push(Turn { role, name: name.map(str::to_owned), parts }),
        }
    }

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
