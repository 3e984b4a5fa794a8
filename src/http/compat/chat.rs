//! OpenAI's `/chat/completions`.

use super::fields::{Fields, OF_CHAT};
use super::{
    Chat, Dialect, Effect, Finished, Frames, Part, Reply, Role, Stamp, Turn, data, parts, structured,
    transcript,
};
use crate::base::json::{self, Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use crate::model::task::Effort;
use serde_json::Value;

/// The endpoint.
pub struct ChatCompletions;

impl Dialect for ChatCompletions {
    fn fields(&self) -> &'static [(&'static str, Effect)] {
        OF_CHAT
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let mut fields = Fields::of(body, OF_CHAT);
        let (mut system, mut turns) = (Vec::new(), Vec::new());
        match fields.get("messages").and_then(Value::as_array) {
            Some(messages) if !messages.is_empty() => {
                for message in messages {
                    read_message(message, &mut system, &mut turns)?;
                }
            }
            _ => return Err(Fault::invalid("messages", "messages must be a non-empty array")),
        }
        fields.only_one("n")?;
        if body["function_call"].is_object() {
            let message = "function_call is not supported: use tools and tool_choice";
            return Err(Fault::unsupported("function_call", message));
        }
        let forced = structured::forced_by_openai(&body["tool_choice"], &body["tools"])?;
        if forced.is_some() {
            let _ = (fields.get("tool_choice"), fields.get("tools"));
        }
        let effort = effort(fields.get("reasoning_effort"));
        let newer_limit = fields.tokens("max_completion_tokens")?;
        let max_tokens = newer_limit.or(fields.tokens("max_tokens")?);
        let chat = Chat {
            model: fields.text("model")?.unwrap_or_default().to_owned(),
            system,
            turns,
            format: structured::format(fields.get("response_format"), "response_format")?,
            forced,
            max_tokens,
            effort,
            stream: fields.flag("stream")?,
            include_usage: fields
                .get("stream_options")
                .is_some_and(|options| options["include_usage"] == true),
            previous: None,
            store: false,
            ignored: fields.ignored(),
            echo: Value::Null,
            estimate: 0,
        };
        transcript::estimated(chat, &body["tools"], "messages")
    }

    fn frames(&self, chat: &Chat, stamp: &Stamp) -> Box<dyn Frames> {
        Box::new(ChatStream {
            model: chat.model.clone(),
            stamp: stamp.clone(),
            include_usage: chat.include_usage,
            is_forced: chat.forced.is_some(),
            has_role: false,
            reason: "stop",
        })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let (content, calls, reason) = match reply {
            Reply::Text(text) => (Some(text), None, reason("stop", finished)),
            Reply::Tool { name, arguments } => {
                let call = call(stamp, name, arguments);
                (None, Some(ordered!([call])), reason("tool_calls", finished))
            }
        };
        let message = ordered!({"role": "assistant", "content": content, "refusal": null});
        let message = match calls {
            Some(calls) => message.with("tool_calls", calls),
            None => message,
        };
        let choice = ordered!({"index": 0u64, "message": message, "logprobs": null, "finish_reason": reason});
        let usage = with_details(usage(&finished.usage), &finished.usage);
        let answer = ordered!({
            "id": stamp.id("chatcmpl-", 24),
            "object": "chat.completion",
            "created": stamp.created,
            "model": &chat.model,
            "choices": [choice],
            "usage": usage,
        });
        answer.text()
    }
}

/// One message: to the system's text, or to the conversation.
fn read_message(message: &Value, system: &mut Vec<String>, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let words = |name: &str| json::text(&message[name]);
    let content = &message["content"];
    let name = message["name"].as_str();
    match message["role"].as_str() {
        Some("system" | "developer") => system.extend(parts::texts_only(content, "messages")?),
        Some("user") => transcript::say(turns, Role::User, name, parts::content(content, "messages")?),
        Some("assistant") => {
            if !message["audio"].is_null() {
                return Err(Fault::unsupported("messages", "messages: no backend takes audio"));
            }
            let mut said = parts::content(content, "messages")?;
            said.extend(message["refusal"].as_str().map(|text| Part::Text(text.into())));
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            said.extend(calls.map(tool_call));
            if message["function_call"].is_object() {
                said.push(tool_call(&json!({"function": message["function_call"]})));
            }
            transcript::say(turns, Role::Assistant, name, said);
        }
        Some("tool" | "function") => {
            let (text, rest) = parts::text_and_rest(content, "messages")?;
            let id = if words("tool_call_id").is_empty() { words("name") } else { words("tool_call_id") };
            let result = Part::ToolResult { id: id.to_owned(), text, is_error: false };
            transcript::say(turns, Role::User, None, [result].into_iter().chain(rest).collect());
        }
        Some(other) => {
            return Err(Fault::invalid("messages", format!("messages: role `{other}` is not known")));
        }
        None => return Err(Fault::invalid("messages", "messages: a message has no role")),
    }
    Ok(())
}

fn tool_call(call: &Value) -> Part {
    // Tools of OpenAI's type `custom` take text.
    let function = if call["custom"].is_object() { &call["custom"] } else { &call["function"] };
    let words = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let arguments = function.get("arguments").or(function.get("input")).map(words).unwrap_or_default();
    Part::ToolCall {
        id: json::text(&call["id"]).to_owned(),
        name: json::text(&function["name"]).to_owned(),
        arguments,
    }
}

/// How hard the model thinks, by the words that vendors have for it; they have more of them than we do.
pub(crate) fn effort(word: Option<&Value>) -> Option<Effort> {
    match word?.as_str()? {
        "none" | "minimal" => Some(Effort::Low),
        word => Effort::parse(word),
    }
}

/// Why the answer ended.
pub(crate) fn reason(usual: &'static str, finished: &Finished) -> &'static str {
    if finished.truncated { "length" } else { usual }
}

/// The usage of `/chat/completions` and `/completions`: our totals are OpenAI's.
pub(crate) fn usage(usage: &Usage) -> Json {
    ordered!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
    })
}

fn with_details(json: Json, usage: &Usage) -> Json {
    json.with("prompt_tokens_details", ordered!({"cached_tokens": usage.cached}))
        .with("completion_tokens_details", ordered!({"reasoning_tokens": usage.reasoning}))
}

fn call(stamp: &Stamp, name: &str, arguments: &str) -> Json {
    let function = ordered!({"name": name, "arguments": arguments});
    ordered!({"id": stamp.id("call_", 24), "type": "function", "function": function})
}

/// The chunks of a stream.
struct ChatStream {
    model: String,
    stamp: Stamp,
    include_usage: bool,
    is_forced: bool,
    /// The first chunk of the answer names its speaker.
    has_role: bool,
    reason: &'static str,
}

impl ChatStream {
    fn chunk(&self, choices: Vec<Json>) -> Json {
        ordered!({
            "id": self.stamp.id("chatcmpl-", 24),
            "object": "chat.completion.chunk",
            "created": self.stamp.created,
            "model": &self.model,
            "choices": choices,
        })
    }

    fn delta(&self, delta: Json, reason: Option<&str>) -> String {
        let choice = ordered!({"index": 0u64, "delta": delta, "logprobs": null, "finish_reason": reason});
        let chunk = self.chunk(vec![choice]);
        data(if self.include_usage { chunk.with("usage", ()) } else { chunk })
    }

    fn role(&mut self) -> String {
        if std::mem::replace(&mut self.has_role, true) {
            return String::new();
        }
        self.delta(ordered!({"role": "assistant", "content": ""}), None)
    }
}

impl Frames for ChatStream {
    fn start(&mut self) -> String {
        // The chunk that names the speaker of a call names the tool too.
        if self.is_forced { String::new() } else { self.role() }
    }

    fn text(&mut self, piece: &str) -> String {
        self.role() + &self.delta(ordered!({"content": piece}), None)
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        self.has_role = true;
        self.reason = "tool_calls";
        // The index before the members of a whole call.
        let function = ordered!({"name": name, "arguments": ""});
        let id = self.stamp.id("call_", 24);
        let begin = ordered!({"index": 0u64, "id": id, "type": "function", "function": function});
        let first = ordered!({"role": "assistant", "content": null, "tool_calls": [begin]});
        let piece = ordered!({"index": 0u64, "function": {"arguments": arguments}});
        self.delta(first, None) + &self.delta(ordered!({"tool_calls": [piece]}), None)
    }

    fn alive(&mut self) -> String {
        ": keep-alive\n\n".to_owned()
    }

    fn done(&mut self, finished: &Finished) -> String {
        let mut frames = self.role() + &self.delta(ordered!({}), Some(reason(self.reason, finished)));
        if self.include_usage {
            let told = finished.usage;
            // Only where there is something to tell: the frame that all clients were seen to take has no details.
            let has_details = told.cached > 0 || told.reasoning > 0;
            let json = if has_details { with_details(usage(&told), &told) } else { usage(&told) };
            frames += &data(self.chunk(Vec::new()).with("usage", json));
        }
        frames + "data: [DONE]\n\n"
    }

    fn failed(&mut self, fault: &Fault, _request_id: &str) -> String {
        failed(fault)
    }
}

/// A stream that fails: clients take one that only ends for a whole answer.
pub(crate) fn failed(fault: &Fault) -> String {
    data(ordered!({"error": fault.openai()})) + "data: [DONE]\n\n"
}
