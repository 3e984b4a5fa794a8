//! Anthropic's `/messages` and `/messages/count_tokens`.

use super::chat::effort;
use super::fields::{Fields, OF_MESSAGES};
use super::{
    Chat, Dialect, Effect, Finished, Frames, Part, Reply, Role, Stamp, Turn, event, parts, structured,
    transcript,
};
use crate::base::json::{self, Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use serde_json::Value;

/// The endpoint.
pub struct Messages;

impl Dialect for Messages {
    fn fields(&self) -> &'static [(&'static str, Effect)] {
        OF_MESSAGES
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let mut fields = Fields::of(body, OF_MESSAGES);
        let (mut system, mut turns) = (Vec::new(), Vec::new());
        if let Some(text) = fields.get("system") {
            system.extend(parts::texts_only(text, "system")?);
        }
        match fields.get("messages").and_then(Value::as_array) {
            Some(messages) if !messages.is_empty() => {
                for message in messages {
                    read_message(message, &mut system, &mut turns)?;
                }
            }
            _ => return Err(Fault::invalid("messages", "messages must be a non-empty array")),
        }
        let forced = structured::forced_by_anthropic(&body["tool_choice"], &body["tools"])?;
        if forced.is_some() {
            let _ = (fields.get("tool_choice"), fields.get("tools"));
        }
        let output = fields.get("output_config").unwrap_or(&Value::Null);
        let older = fields.get("output_format");
        let format = output.get("format").filter(|format| !format.is_null()).or(older);
        let chat = Chat {
            model: fields.text("model")?.unwrap_or_default().to_owned(),
            system,
            turns,
            format: structured::format(format, "output_config.format")?,
            forced,
            max_tokens: fields.tokens("max_tokens")?,
            effort: effort(output.get("effort")),
            stream: fields.flag("stream")?,
            include_usage: true,
            previous: None,
            store: false,
            ignored: fields.ignored(),
            echo: Value::Null,
            estimate: 0,
        };
        transcript::estimated(chat, &body["tools"], "messages")
    }

    fn frames(&self, chat: &Chat, stamp: &Stamp) -> Box<dyn Frames> {
        Box::new(MessagesStream {
            model: chat.model.clone(),
            id: stamp.id("msg_", 24),
            call: stamp.id("toolu_", 24),
            estimate: chat.estimate,
            is_forced: chat.forced.is_some(),
            block: Block::None,
        })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let (block, reason) = match reply {
            Reply::Text(text) => (ordered!({"type": "text", "text": text}), "end_turn"),
            Reply::Tool { name, arguments } => {
                // It was checked against the tool's schema before it came here.
                let input: Value = json::from_str(arguments).unwrap_or(json!({}));
                (tool_use(&stamp.id("toolu_", 24), name, &input), "tool_use")
            }
        };
        let (id, reason) = (stamp.id("msg_", 24), stop_reason(reason, finished));
        message(&id, &chat.model, vec![block], Some(reason), tokens(&finished.usage)).text()
    }
}

/// The answer to `/messages/count_tokens`: a local estimate, because clients ask for many at once.
///
/// # Errors
/// When the body is none that `/messages` would take.
pub fn count_tokens(body: &Value) -> Result<String, Fault> {
    let chat = Messages.read(body)?;
    Ok(ordered!({"input_tokens": chat.estimate}).text())
}

/// One message: to the system's text, which claude puts here too, or to the conversation.
fn read_message(message: &Value, system: &mut Vec<String>, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let content = &message["content"];
    let role = match message["role"].as_str() {
        Some("system" | "developer") => {
            system.extend(parts::texts_only(content, "messages")?);
            return Ok(());
        }
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some(other) => {
            return Err(Fault::invalid("messages", format!("messages: role `{other}` is not known")));
        }
        None => return Err(Fault::invalid("messages", "messages: a message has no role")),
    };
    let mut said = Vec::new();
    match content {
        Value::Array(blocks) => {
            for block in blocks {
                said.extend(self::block(block)?);
            }
        }
        other => said.extend(parts::content(other, "messages")?),
    }
    transcript::say(turns, role, None, said);
    Ok(())
}

/// One block of a content.
fn block(block: &Value) -> Result<Vec<Part>, Fault> {
    let words = |name: &str| json::text(&block[name]).to_owned();
    match words("type").as_str() {
        // Another model's thoughts.
        "thinking" | "redacted_thinking" => Ok(Vec::new()),
        // `server_tool_use` and `mcp_tool_use` too.
        kind if kind.ends_with("tool_use") => {
            let arguments = block["input"].to_string();
            Ok(vec![Part::ToolCall { id: words("id"), name: words("name"), arguments }])
        }
        // `web_search_tool_result` and its kin have structures of their own.
        kind if kind.ends_with("tool_result") => {
            let content = &block["content"];
            let (text, rest) = match kind {
                "tool_result" | "mcp_tool_result" => parts::text_and_rest(content, "messages")?,
                _ => (content.to_string(), Vec::new()),
            };
            let is_error = block["is_error"] == true;
            let result = Part::ToolResult { id: words("tool_use_id"), text, is_error };
            Ok([result].into_iter().chain(rest).collect())
        }
        _ => parts::content(&json!([block]), "messages"),
    }
}

/// Some clients take `max_tokens` for a failure.
fn stop_reason(usual: &'static str, finished: &Finished) -> &'static str {
    if finished.truncated { "max_tokens" } else { usual }
}

fn message(id: &str, model: &str, content: Vec<Json>, reason: Option<&str>, usage: Json) -> Json {
    ordered!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn tool_use(id: &str, name: &str, input: &Value) -> Json {
    ordered!({"type": "tool_use", "id": id, "name": name, "input": input})
}

/// Anthropic counts what came from the cache apart, we count it in.
fn tokens(usage: &Usage) -> Json {
    ordered!({
        "input_tokens": usage.input.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0u64,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    })
}

/// The events of a stream.
struct MessagesStream {
    model: String,
    id: String,
    /// The id of a call.
    call: String,
    /// The input's tokens, before they are known.
    estimate: u64,
    is_forced: bool,
    block: Block,
}

/// The one block of the content.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// Not begun.
    None,
    Text,
    Tool,
}

impl MessagesStream {
    fn event(kind: &str, members: Json) -> String {
        event(kind, ordered!({"type": kind}).and(members))
    }

    fn begin(&mut self, block: Block, content: Json) -> String {
        self.block = block;
        Self::event("content_block_start", ordered!({"index": 0u64, "content_block": content})) + &ping()
    }

    fn begin_text(&mut self) -> String {
        match self.block {
            Block::None => self.begin(Block::Text, ordered!({"type": "text", "text": ""})),
            Block::Text | Block::Tool => String::new(),
        }
    }

    fn delta(delta: Json) -> String {
        Self::event("content_block_delta", ordered!({"index": 0u64, "delta": delta}))
    }
}

fn ping() -> String {
    MessagesStream::event("ping", ordered!({}))
}

impl Frames for MessagesStream {
    fn start(&mut self) -> String {
        let usage = tokens(&Usage { input: self.estimate, ..Usage::default() });
        let message = message(&self.id, &self.model, Vec::new(), None, usage);
        let start = Self::event("message_start", ordered!({"message": message}));
        // What a forced call calls is only known with the call.
        if self.is_forced { start } else { start + &self.begin_text() }
    }

    fn text(&mut self, piece: &str) -> String {
        self.begin_text() + &Self::delta(ordered!({"type": "text_delta", "text": piece}))
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        let content = tool_use(&self.call, name, &json!({}));
        let delta = ordered!({"type": "input_json_delta", "partial_json": arguments});
        self.begin(Block::Tool, content) + &Self::delta(delta)
    }

    fn alive(&mut self) -> String {
        match self.block {
            // Claude hears neither comments nor pings: after 300 s without a piece of content it asks all over again.
            Block::Text => Self::delta(ordered!({"type": "text_delta", "text": ""})),
            Block::None | Block::Tool => ping(),
        }
    }

    fn done(&mut self, finished: &Finished) -> String {
        let begin = self.begin_text();
        let usual = if self.block == Block::Tool { "tool_use" } else { "end_turn" };
        let delta = ordered!({"stop_reason": stop_reason(usual, finished), "stop_sequence": null});
        begin
            + &Self::event("content_block_stop", ordered!({"index": 0u64}))
            + &Self::event("message_delta", ordered!({"delta": delta, "usage": tokens(&finished.usage)}))
            + &Self::event("message_stop", ordered!({}))
    }

    fn failed(&mut self, fault: &Fault, request_id: &str) -> String {
        event("error", fault.anthropic(request_id))
    }
}
