//! Anthropic's `/messages` and `/messages/count_tokens`.

use super::Effect::{Emulated, Honoured};
use super::chat::effort;
use super::fields::Fields;
use super::{
    Chat, Dialect, FieldTable, Finished, Frames, Part, Reply, Role, Stamp, event, parts, structured,
    transcript,
};
use crate::base::json::{self, Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use serde_json::Value;

pub struct Messages;

impl Dialect for Messages {
    fn fields(&self) -> FieldTable {
        &[
            (Honoured, &["messages", "system", "model", "stream", "max_tokens"]),
            (Emulated, &["output_config", "output_format", "tools", "tool_choice"]),
        ]
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let (mut fields, mut chat) = (Fields::of(body, self.fields()), Chat::default());
        if let Some(text) = fields.get("system") {
            chat.system.extend(parts::texts_only(text, "system")?);
        }
        for message in fields.list("messages")? {
            read_message(message, &mut chat)?;
        }
        chat.forced = fields.forced(structured::forced_by_anthropic)?;
        let output = fields.get("output_config").unwrap_or(&Value::Null);
        let older = fields.get("output_format");
        let format = output.get("format").filter(|format| !format.is_null()).or(older);
        chat.model = fields.model()?;
        chat.format = structured::format(format, "output_config.format")?;
        chat.max_tokens = fields.tokens("max_tokens")?;
        chat.effort = effort(output.get("effort"));
        chat.stream = fields.flag("stream")?;
        chat.ignored = fields.ignored();
        transcript::estimated(chat, &body["tools"], "messages")
    }

    fn frames<'a>(&self, chat: &'a Chat, stamp: &Stamp) -> Box<dyn Frames + 'a> {
        Box::new(MessagesStream { chat, stamp: stamp.clone(), block: Block::None })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let (block, reason) = match reply {
            Reply::Text(text) => (ordered!({"type": "text", "text": text}), "end_turn"),
            Reply::Tool { name, arguments } => {
                // It was checked against the tool's schema before it came here.
                let input: Value = json::from_str(arguments).unwrap_or(json!({}));
                (tool_use(stamp, name, &input), "tool_use")
            }
        };
        let reason = finished.reason(reason, TRUNCATED);
        message(chat, stamp, vec![block], Some(reason), tokens(&finished.usage)).text()
    }
}

/// The answer to `/messages/count_tokens`: a local estimate, because clients ask for many at once.
pub fn count_tokens(body: &Value) -> Result<String, Fault> {
    Ok(ordered!({"input_tokens": Messages.read(body)?.estimate}).text())
}

/// One message: to the system's text, which claude puts here too, or to the conversation.
fn read_message(message: &Value, chat: &mut Chat) -> Result<(), Fault> {
    let content = &message["content"];
    let role = match message["role"].as_str() {
        Some("system" | "developer") => {
            chat.system.extend(parts::texts_only(content, "messages")?);
            return Ok(());
        }
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        role => return Err(parts::unknown_role(role, "messages")),
    };
    chat.say(role, None, parts::content_of(content, "messages", read_block)?);
    Ok(())
}

fn read_block(block: &Value, param: &'static str) -> Result<Vec<Part>, Fault> {
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
            let (content, is_error) = (&block["content"], block["is_error"] == true);
            let result = |text| Part::ToolResult { id: words("tool_use_id"), text, is_error };
            match kind {
                "tool_result" | "mcp_tool_result" => parts::joined(content, param, result),
                _ => Ok(vec![result(content.to_string())]),
            }
        }
        _ => parts::part(block, param),
    }
}

/// Why an answer ended that was cut. Some clients take it for a failure.
const TRUNCATED: &str = "max_tokens";

fn message(chat: &Chat, stamp: &Stamp, content: Vec<Json>, reason: Option<&str>, usage: Json) -> Json {
    ordered!({
        "id": stamp.id("msg_", 24),
        "type": "message",
        "role": "assistant",
        "model": &chat.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn tool_use(stamp: &Stamp, name: &str, input: &Value) -> Json {
    ordered!({"type": "tool_use", "id": stamp.id("toolu_", 24), "name": name, "input": input})
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
struct MessagesStream<'a> {
    chat: &'a Chat,
    stamp: Stamp,
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

/// An event with its type before its other members.
fn typed(kind: &str, members: Json) -> String {
    event(kind, ordered!({"type": kind}).and(members))
}

fn ping() -> String {
    typed("ping", ordered!({}))
}

fn delta(delta: Json) -> String {
    typed("content_block_delta", ordered!({"index": 0u64, "delta": delta}))
}

impl MessagesStream<'_> {
    fn begin(&mut self, block: Block, content: Json) -> String {
        self.block = block;
        typed("content_block_start", ordered!({"index": 0u64, "content_block": content})) + &ping()
    }

    fn begin_text(&mut self) -> String {
        match self.block {
            Block::None => self.begin(Block::Text, ordered!({"type": "text", "text": ""})),
            Block::Text | Block::Tool => String::new(),
        }
    }
}

impl Frames for MessagesStream<'_> {
    fn start(&mut self) -> String {
        let usage = tokens(&Usage { input: self.chat.estimate, ..Usage::default() });
        let message = message(self.chat, &self.stamp, Vec::new(), None, usage);
        let start = typed("message_start", ordered!({"message": message}));
        // What a forced call calls is only known with the call.
        if self.chat.forced.is_empty() { start + &self.begin_text() } else { start }
    }

    fn text(&mut self, piece: &str) -> String {
        self.begin_text() + &delta(ordered!({"type": "text_delta", "text": piece}))
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        let content = tool_use(&self.stamp, name, &json!({}));
        self.begin(Block::Tool, content)
            + &delta(ordered!({"type": "input_json_delta", "partial_json": arguments}))
    }

    fn alive(&mut self) -> String {
        match self.block {
            // Claude hears neither comments nor pings: after 300 s without a piece of content it asks all over again.
            Block::Text => delta(ordered!({"type": "text_delta", "text": ""})),
            Block::None | Block::Tool => ping(),
        }
    }

    fn done(&mut self, finished: &Finished) -> String {
        let begin = self.begin_text();
        let usual = if self.block == Block::Tool { "tool_use" } else { "end_turn" };
        let ended = ordered!({"stop_reason": finished.reason(usual, TRUNCATED), "stop_sequence": null});
        begin
            + &typed("content_block_stop", ordered!({"index": 0u64}))
            + &typed("message_delta", ordered!({"delta": ended, "usage": tokens(&finished.usage)}))
            + &typed("message_stop", ordered!({}))
    }

    fn failed(&mut self, fault: &Fault, request_id: &str) -> String {
        event("error", fault.anthropic(request_id))
    }
}
