//! OpenAI's `/chat/completions`.

use super::Effect::{Emulated, Honoured, Refused};
use super::fields::Fields;
use super::{
    Chat, Dialect, FieldTable, Finished, Frames, Part, Reply, Role, Stamp, data, parts, structured,
    transcript,
};
use crate::base::json::{self, Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use crate::model::task::Effort;
use serde_json::Value;

pub struct ChatCompletions;

impl Dialect for ChatCompletions {
    fn fields(&self) -> FieldTable {
        &[
            (Honoured, &["messages", "model", "stream", "stream_options"]),
            (Honoured, &["max_completion_tokens", "max_tokens", "reasoning_effort"]),
            (Emulated, &["response_format", "tools", "tool_choice"]),
            (Refused, &["n", "function_call"]),
        ]
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let (mut fields, mut chat) = (Fields::of(body, self.fields()), Chat::default());
        for message in fields.list("messages")? {
            read_message(message, &mut chat)?;
        }
        fields.one_answer()?;
        if body["function_call"].is_object() {
            let message = "function_call is not supported: use tools and tool_choice";
            return Err(Fault::unsupported("function_call", message));
        }
        chat.forced = fields.forced(structured::forced_by_openai)?;
        chat.effort = effort(fields.get("reasoning_effort"));
        let newer_limit = fields.tokens("max_completion_tokens")?;
        chat.max_tokens = newer_limit.or(fields.tokens("max_tokens")?);
        chat.model = fields.model()?;
        chat.format = structured::format(fields.get("response_format"), "response_format")?;
        chat.stream = fields.flag("stream")?;
        chat.include_usage = fields.include_usage();
        chat.ignored = fields.ignored();
        transcript::estimated(chat, &body["tools"], "messages")
    }

    fn frames<'a>(&self, chat: &'a Chat, stamp: &Stamp) -> Box<dyn Frames + 'a> {
        Box::new(ChatStream { chat, stamp: stamp.clone(), has_role: false, reason: "stop" })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let (message, reason) = match reply {
            Reply::Text(text) => (ordered!({"role": "assistant", "content": text, "refusal": null}), "stop"),
            Reply::Tool { name, arguments } => {
                let calls = vec![call(stamp, name, arguments)];
                let message = ordered!({"role": "assistant", "content": null, "refusal": null});
                (message.with("tool_calls", calls), "tool_calls")
            }
        };
        let reason = finished.reason(reason, "length");
        let choice = ordered!({"index": 0u64, "message": message, "logprobs": null, "finish_reason": reason});
        let usage = with_details(usage(&finished.usage), &finished.usage);
        object("chat.completion", chat, stamp, vec![choice]).with("usage", usage).text()
    }
}

fn read_message(message: &Value, chat: &mut Chat) -> Result<(), Fault> {
    let words = |name: &str| json::text(&message[name]);
    let (content, name) = (&message["content"], message["name"].as_str());
    match message["role"].as_str() {
        Some("system" | "developer") => chat.system.extend(parts::texts_only(content, "messages")?),
        Some("user") => chat.say(Role::User, name, parts::content(content, "messages")?),
        Some("assistant") => {
            if !message["audio"].is_null() {
                return Err(Fault::unsupported("messages", "messages: no backend takes audio"));
            }
            let mut said = parts::content(content, "messages")?;
            said.extend(message["refusal"].as_str().map(|text| Part::Text(text.into())));
            said.extend(message["tool_calls"].as_array().into_iter().flatten().map(tool_call));
            if message["function_call"].is_object() {
                said.push(tool_call(&json!({"function": message["function_call"]})));
            }
            chat.say(Role::Assistant, name, said);
        }
        Some("tool" | "function") => {
            let id = if words("tool_call_id").is_empty() { words("name") } else { words("tool_call_id") };
            let result = |text| Part::ToolResult { id: id.to_owned(), text, is_error: false };
            chat.say(Role::User, None, parts::joined(content, "messages", result)?);
        }
        role => return Err(parts::unknown_role(role, "messages")),
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

/// A whole answer, or one of its chunks.
fn object(kind: &str, chat: &Chat, stamp: &Stamp, choices: Vec<Json>) -> Json {
    ordered!({
        "id": stamp.id("chatcmpl-", 24),
        "object": kind,
        "created": stamp.created,
        "model": &chat.model,
        "choices": choices,
    })
}

/// The chunks of a stream.
struct ChatStream<'a> {
    chat: &'a Chat,
    stamp: Stamp,
    /// The first chunk of the answer names its speaker.
    has_role: bool,
    reason: &'static str,
}

impl ChatStream<'_> {
    fn chunk(&self, choices: Vec<Json>) -> Json {
        object("chat.completion.chunk", self.chat, &self.stamp, choices)
    }

    fn delta(&self, delta: Json, reason: Option<&str>) -> String {
        let choice = ordered!({"index": 0u64, "delta": delta, "logprobs": null, "finish_reason": reason});
        let chunk = self.chunk(vec![choice]);
        data(if self.chat.include_usage { chunk.with("usage", ()) } else { chunk })
    }

    fn role(&mut self) -> String {
        if std::mem::replace(&mut self.has_role, true) {
            return String::new();
        }
        self.delta(ordered!({"role": "assistant", "content": ""}), None)
    }
}

impl Frames for ChatStream<'_> {
    fn start(&mut self) -> String {
        // The chunk that names the speaker of a call names the tool too.
        if self.chat.forced.is_empty() { self.role() } else { String::new() }
    }

    fn text(&mut self, piece: &str) -> String {
        self.role() + &self.delta(ordered!({"content": piece}), None)
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        self.has_role = true;
        self.reason = "tool_calls";
        // The index before the members of a whole call.
        let begin = ordered!({"index": 0u64}).and(call(&self.stamp, name, ""));
        let first = ordered!({"role": "assistant", "content": null, "tool_calls": [begin]});
        let piece = ordered!({"index": 0u64, "function": {"arguments": arguments}});
        self.delta(first, None) + &self.delta(ordered!({"tool_calls": [piece]}), None)
    }

    fn done(&mut self, finished: &Finished) -> String {
        let mut frames =
            self.role() + &self.delta(ordered!({}), Some(finished.reason(self.reason, "length")));
        if self.chat.include_usage {
            let used = &finished.usage;
            // Only where there is something to tell: the frame that all clients were seen to take has no details.
            let has_details = used.cached > 0 || used.reasoning > 0;
            let json = if has_details { with_details(usage(used), used) } else { usage(used) };
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
