//! OpenAI's `/responses`, the only endpoint that codex talks to.

use super::Effect::{Emulated, Honoured, Ignored, Refused};
use super::chat::effort;
use super::fields::Fields;
use super::{
    Chat, Dialect, FieldTable, Finished, Frames, Part, Reply, Role, Stamp, event, parts, structured,
    transcript,
};
use crate::base::json::{Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use serde_json::Value;

pub struct Responses;

impl Dialect for Responses {
    fn fields(&self) -> FieldTable {
        &[
            (Honoured, &["input", "instructions", "model", "stream", "previous_response_id", "store"]),
            (Honoured, &["max_output_tokens", "reasoning"]),
            (Emulated, &["text", "tools", "tool_choice"]),
            (Refused, &["background", "conversation", "prompt"]),
            (Ignored, &["metadata", "parallel_tool_calls", "temperature", "top_p", "truncation"]),
        ]
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let (mut fields, mut chat) = (Fields::of(body, self.fields()), Chat::default());
        let instructions = fields.text("instructions")?.filter(|text| !text.is_empty());
        chat.system.extend(instructions.map(str::to_owned));
        match fields.get("input") {
            Some(text @ Value::String(_)) => chat.say(Role::User, None, parts::content(text, "input")?),
            Some(Value::Array(items)) if !items.is_empty() => {
                for item in items {
                    read_item(item, &mut chat)?;
                }
            }
            _ => return Err(Fault::invalid("input", "input must be a string or a non-empty array")),
        }
        // Each stands for text that only OpenAI has, or for an answer that no client waits for.
        for name in ["conversation", "prompt"] {
            if fields.get(name).is_some() {
                let message = format!("{name} is not supported: send its text as input");
                return Err(Fault::unsupported(name, message));
            }
        }
        if fields.flag("background")? {
            return Err(Fault::unsupported("background", "background is not supported"));
        }
        chat.forced = fields.forced(structured::forced_by_openai)?;
        let format = fields.get("text").and_then(|text| text.get("format"));
        chat.format = structured::format(format.filter(|format| !format.is_null()), "text.format")?;
        chat.model = fields.model()?;
        chat.max_tokens = fields.tokens("max_output_tokens")?;
        chat.effort = effort(fields.get("reasoning").and_then(|reasoning| reasoning.get("effort")));
        chat.stream = fields.flag("stream")?;
        chat.previous = fields.text("previous_response_id")?.map(str::to_owned);
        chat.store = fields.get("store").is_none_or(|store| store != false);
        chat.ignored = fields.ignored();
        chat.echo = echo(body);
        transcript::estimated(chat, &body["tools"], "input")
    }

    fn frames<'a>(&self, chat: &'a Chat, stamp: &Stamp) -> Box<dyn Frames + 'a> {
        Box::new(ResponsesStream { chat, stamp: stamp.clone(), sequence: 0, item: None })
    }

    fn says_answer_again(&self) -> bool {
        true
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let status = finished.reason("completed", INCOMPLETE);
        let item = match reply {
            Reply::Text(text) => message(stamp, status, vec![part(text)]),
            Reply::Tool { name, arguments } => call(stamp, status, name, arguments),
        };
        response(chat, stamp, status, Progress::ended(item, finished)).text()
    }

    /// Codex asks again up to 30 times after such a status, whatever is said with it, and each time is a run.
    fn tells_in_frames(&self, fault: &Fault) -> bool {
        fault.is_ours()
    }
}

/// What the response repeats of the request, or has by default.
fn echo(body: &Value) -> Value {
    let or = |name: &str, default: Value| if body[name].is_null() { default } else { body[name].clone() };
    let mut text = body["text"].as_object().cloned().unwrap_or_default();
    text.entry("format").or_insert(json!({"type": "text"}));
    json!({
        "instructions": body["instructions"],
        "max_output_tokens": body["max_output_tokens"],
        "metadata": or("metadata", json!({})),
        "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "previous_response_id": body["previous_response_id"],
        "reasoning": body["reasoning"],
        "store": body["store"],
        "temperature": body["temperature"],
        "text": text,
        "tool_choice": or("tool_choice", json!("auto")),
        "tools": or("tools", json!([])),
        "top_p": body["top_p"],
        "truncation": or("truncation", json!("disabled")),
    })
}

/// One item of the input: to the system's text, or to the conversation.
fn read_item(item: &Value, chat: &mut Chat) -> Result<(), Fault> {
    let words = |name: &str| match &item[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (kind, role, content) = (words("type"), words("role"), &item["content"]);
    match (kind.as_str(), role.as_str()) {
        ("message" | "", "system" | "developer") => chat.system.extend(parts::texts_only(content, "input")?),
        ("message" | "", "user") => chat.say(Role::User, None, parts::content(content, "input")?),
        ("message" | "", "assistant") => chat.say(Role::Assistant, None, parts::content(content, "input")?),
        ("message" | "", other) => return Err(parts::unknown_role(Some(other), "input")),
        // Another model's thoughts, mostly encrypted.
        ("reasoning", _) => {}
        ("function_call" | "custom_tool_call", _) => {
            let arguments = if kind == "function_call" { words("arguments") } else { words("input") };
            let call = Part::ToolCall { id: words("call_id"), name: words("name"), arguments };
            chat.say(Role::Assistant, None, vec![call]);
        }
        (_, _) if kind.ends_with("_output") => {
            let result = |text| Part::ToolResult { id: words("call_id"), text, is_error: false };
            let said = match &item["output"] {
                output @ (Value::String(_) | Value::Array(_)) => parts::joined(output, "input", result)?,
                other => vec![result(other.to_string())],
            };
            chat.say(Role::User, None, said);
        }
        // A call of one of OpenAI's own tools, with whatever it has.
        (_, _) if kind.ends_with("_call") => {
            let (id, name) = (words("id"), kind.trim_end_matches("_call").to_owned());
            let call = Part::ToolCall { id, name, arguments: item.to_string() };
            chat.say(Role::Assistant, None, vec![call]);
        }
        (other, _) => {
            let message = format!("input: items of type `{other}` are not supported");
            return Err(Fault::unsupported("input", message));
        }
    }
    Ok(())
}

/// The status of a response that was cut at the limit of tokens.
const INCOMPLETE: &str = "incomplete";

/// What a response has besides what the request says.
#[derive(Default)]
struct Progress<'a> {
    error: Option<Json>,
    /// The one item of the output.
    item: Option<Json>,
    usage: Option<&'a Usage>,
}

impl Progress<'_> {
    fn ended(item: Json, finished: &Finished) -> Progress<'_> {
        Progress { error: None, item: Some(item), usage: Some(&finished.usage) }
    }
}

fn response(chat: &Chat, stamp: &Stamp, status: &str, progress: Progress<'_>) -> Json {
    let asked = |name: &str| &chat.echo[name];
    let why = (status == INCOMPLETE).then(|| ordered!({"reason": "max_output_tokens"}));
    ordered!({
        "id": stamp.id("resp_", 32),
        "object": "response",
        "created_at": stamp.created,
        "status": status,
        "background": false,
        "error": progress.error,
        "incomplete_details": why,
        "instructions": asked("instructions"),
        "max_output_tokens": asked("max_output_tokens"),
        "model": &chat.model,
        "output": progress.item.into_iter().collect::<Vec<Json>>(),
        "parallel_tool_calls": asked("parallel_tool_calls"),
        "previous_response_id": asked("previous_response_id"),
        "reasoning": {"effort": &asked("reasoning")["effort"], "summary": &asked("reasoning")["summary"]},
        "store": chat.store,
        "temperature": asked("temperature"),
        "text": asked("text"),
        "tool_choice": asked("tool_choice"),
        "tools": asked("tools"),
        "top_p": asked("top_p"),
        "truncation": asked("truncation"),
        "usage": progress.usage.map(tokens),
        "metadata": asked("metadata"),
    })
}

/// Our totals are OpenAI's. Codex wants all of it.
fn tokens(usage: &Usage) -> Json {
    ordered!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total(),
    })
}

fn message(stamp: &Stamp, status: &str, content: Vec<Json>) -> Json {
    let id = stamp.id("msg_", 32);
    ordered!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

fn part(text: &str) -> Json {
    ordered!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn call(stamp: &Stamp, status: &str, name: &str, arguments: &str) -> Json {
    ordered!({
        "id": stamp.id("fc_", 32),
        "type": "function_call",
        "status": status,
        "call_id": stamp.id("call_", 24),
        "name": name,
        "arguments": arguments,
    })
}

/// The events of a stream.
struct ResponsesStream<'a> {
    chat: &'a Chat,
    stamp: Stamp,
    /// The number of the next event.
    sequence: u64,
    /// The one item of the output, when it has begun.
    item: Option<Reply>,
}

impl ResponsesStream<'_> {
    /// An event with its type and number before its other members.
    fn event(&mut self, kind: &str, members: Json) -> String {
        let number = self.sequence;
        self.sequence += 1;
        event(kind, ordered!({"type": kind, "sequence_number": number}).and(members))
    }

    fn response(&mut self, kind: &str, status: &str, progress: Progress<'_>) -> String {
        let response = response(self.chat, &self.stamp, status, progress);
        self.event(kind, ordered!({"response": response}))
    }

    fn item(&mut self, kind: &str, item: Json) -> String {
        self.event(kind, ordered!({"output_index": 0u64, "item": item}))
    }

    /// The members by which the events of the item name their place.
    fn place(&self, prefix: &str) -> Json {
        ordered!({"item_id": self.stamp.id(prefix, 32), "output_index": 0u64})
    }

    fn place_in_message(&self) -> Json {
        self.place("msg_").with("content_index", 0u64)
    }

    fn begin_message(&mut self) -> String {
        if self.item.is_some() {
            return String::new();
        }
        self.item = Some(Reply::Text(String::new()));
        let item = message(&self.stamp, "in_progress", Vec::new());
        let part = self.place_in_message().with("part", part(""));
        self.item("response.output_item.added", item) + &self.event("response.content_part.added", part)
    }
}

impl Frames for ResponsesStream<'_> {
    fn start(&mut self) -> String {
        let frames = self.response("response.created", "in_progress", Progress::default())
            + &self.response("response.in_progress", "in_progress", Progress::default());
        // What a forced call calls is only known with the call.
        if self.chat.forced.is_empty() { frames + &self.begin_message() } else { frames }
    }

    fn text(&mut self, piece: &str) -> String {
        let begin = self.begin_message();
        if let Some(Reply::Text(text)) = &mut self.item {
            text.push_str(piece);
        }
        let delta = self.place_in_message().with("delta", piece).with("logprobs", Vec::new());
        begin + &self.event("response.output_text.delta", delta)
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        self.item = Some(Reply::Tool { name: name.to_owned(), arguments: arguments.to_owned() });
        let item = call(&self.stamp, "in_progress", name, "");
        let delta = self.place("fc_").with("delta", arguments);
        self.item("response.output_item.added", item)
            + &self.event("response.function_call_arguments.delta", delta)
    }

    fn alive(&mut self) -> String {
        // Codex counts events only, and knows this one; comments and a second `response.in_progress` break other clients.
        self.event("keepalive", ordered!({}))
    }

    fn done(&mut self, finished: &Finished) -> String {
        let status = finished.reason("completed", INCOMPLETE);
        let begin = self.begin_message();
        let (ends, item) = match self.item.take().expect("it has begun") {
            Reply::Text(text) => {
                let ended = self.place_in_message().with("text", &text).with("logprobs", Vec::new());
                let ended_part = self.place_in_message().with("part", part(&text));
                let ends = self.event("response.output_text.done", ended)
                    + &self.event("response.content_part.done", ended_part);
                (ends, message(&self.stamp, status, vec![part(&text)]))
            }
            Reply::Tool { name, arguments } => {
                let ended = self.place("fc_").with("name", &name).with("arguments", &arguments);
                let ends = self.event("response.function_call_arguments.done", ended);
                (ends, call(&self.stamp, status, &name, &arguments))
            }
        };
        begin
            + &ends
            + &self.item("response.output_item.done", item.clone())
            + &self.response(&format!("response.{status}"), status, Progress::ended(item, finished))
    }

    fn failed(&mut self, fault: &Fault, _request_id: &str) -> String {
        let failed = Progress { error: Some(fault.openai_response()), ..Progress::default() };
        // Neither is heard by all: OpenAI's own clients raise the first, codex and the AI SDK the second.
        self.event("error", ordered!({"error": fault.openai_event()}))
            + &self.response("response.failed", "failed", failed)
    }
}
