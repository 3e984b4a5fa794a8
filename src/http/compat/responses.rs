//! OpenAI's `/responses`, the only endpoint that codex talks to.

use super::chat::effort;
use super::fields::{Fields, OF_RESPONSES};
use super::{
    Chat, Dialect, Effect, Finished, Frames, Part, Reply, Role, Stamp, Turn, event, parts, structured,
    transcript,
};
use crate::base::json::{Json, json, ordered};
use crate::http::front::errors::Fault;
use crate::model::event::Usage;
use serde_json::{Map, Value};

/// The endpoint.
pub struct Responses;

/// The fields of a request that its response repeats.
const ECHOED: &[&str] = &[
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

impl Dialect for Responses {
    fn fields(&self) -> &'static [(&'static str, Effect)] {
        OF_RESPONSES
    }

    fn repeats(&self) -> &'static [&'static str] {
        ECHOED
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let mut fields = Fields::of(body, OF_RESPONSES);
        let mut system: Vec<String> = Vec::new();
        system.extend(fields.text("instructions")?.filter(|text| !text.is_empty()).map(str::to_owned));
        let mut turns = Vec::new();
        match fields.get("input") {
            Some(Value::String(text)) => {
                transcript::say(&mut turns, Role::User, None, parts::content(&json!(text), "input")?);
            }
            Some(Value::Array(items)) if !items.is_empty() => {
                for item in items {
                    read_item(item, &mut system, &mut turns)?;
                }
            }
            _ => return Err(Fault::invalid("input", "input must be a string or a non-empty array")),
        }
        // Each stands for text that only OpenAI has, or for an answer that no client waits for.
        for name in ["conversation", "prompt"] {
            if fields.get(name).is_some() {
                return Err(Fault::unsupported(
                    name,
                    format!("{name} is not supported: send its text as input"),
                ));
            }
        }
        if fields.flag("background")? {
            return Err(Fault::unsupported("background", "background is not supported"));
        }
        let forced = structured::forced_by_openai(&body["tool_choice"], &body["tools"])?;
        if forced.is_some() {
            let _ = (fields.get("tool_choice"), fields.get("tools"));
        }
        let format = fields.get("text").and_then(|text| text.get("format"));
        let format = structured::format(format.filter(|format| !format.is_null()), "text.format")?;
        let echo = ECHOED.iter().map(|name| ((*name).to_owned(), body[*name].clone()));
        let chat = Chat {
            model: fields.text("model")?.unwrap_or_default().to_owned(),
            system,
            turns,
            format,
            forced,
            max_tokens: fields.tokens("max_output_tokens")?,
            effort: effort(fields.get("reasoning").and_then(|reasoning| reasoning.get("effort"))),
            stream: fields.flag("stream")?,
            include_usage: true,
            previous: fields.text("previous_response_id")?.map(str::to_owned),
            store: fields.get("store").is_none_or(|store| store != false),
            ignored: fields.ignored(),
            echo: Value::Object(echo.collect::<Map<String, Value>>()),
            estimate: 0,
        };
        transcript::estimated(chat, &body["tools"], "input")
    }

    fn frames(&self, chat: &Chat, stamp: &Stamp) -> Box<dyn Frames> {
        Box::new(ResponsesStream { chat: chat.clone(), stamp: stamp.clone(), sequence: 0, item: None })
    }

    fn says_answer_again(&self) -> bool {
        true
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        let status = Status::of(finished);
        let item = match reply {
            Reply::Text(text) => message(stamp, status.word(), vec![part(text)]),
            Reply::Tool { name, arguments } => call(stamp, status.word(), name, arguments),
        };
        response(chat, stamp, &status, vec![item], Some(&finished.usage)).text()
    }

    /// Codex asks again up to 30 times after such a status, whatever is said with it, and each time is a run.
    fn tells_in_frames(&self, fault: &Fault) -> bool {
        fault.is_ours()
    }
}

/// One item of the input: to the system's text, or to the conversation.
fn read_item(item: &Value, system: &mut Vec<String>, turns: &mut Vec<Turn>) -> Result<(), Fault> {
    let words = |name: &str| match &item[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let kind = words("type");
    let (content, role) = (&item["content"], words("role"));
    let mut say = |role, parts| transcript::say(turns, role, None, parts);
    match (kind.as_str(), role.as_str()) {
        ("message" | "", "system" | "developer") => system.extend(parts::texts_only(content, "input")?),
        ("message" | "", "user") => say(Role::User, parts::content(content, "input")?),
        ("message" | "", "assistant") => say(Role::Assistant, parts::content(content, "input")?),
        ("message" | "", other) => {
            return Err(Fault::invalid("input", format!("input: role `{other}` is not known")));
        }
        // Another model's thoughts, mostly encrypted.
        ("reasoning", _) => {}
        ("function_call" | "custom_tool_call", _) => {
            let arguments = if kind == "function_call" { words("arguments") } else { words("input") };
            say(
                Role::Assistant,
                vec![Part::ToolCall { id: words("call_id"), name: words("name"), arguments }],
            );
        }
        (_, _) if kind.ends_with("_output") => {
            let output = &item["output"];
            let (text, rest) = match output {
                Value::String(_) | Value::Array(_) => parts::text_and_rest(output, "input")?,
                other => (other.to_string(), Vec::new()),
            };
            let result = Part::ToolResult { id: words("call_id"), text, is_error: false };
            say(Role::User, [result].into_iter().chain(rest).collect());
        }
        // A call of one of OpenAI's own tools, with whatever it has.
        (_, _) if kind.ends_with("_call") => {
            let (id, name) = (words("id"), kind.trim_end_matches("_call").to_owned());
            say(Role::Assistant, vec![Part::ToolCall { id, name, arguments: item.to_string() }]);
        }
        (other, _) => {
            return Err(Fault::unsupported(
                "input",
                format!("input: items of type `{other}` are not supported"),
            ));
        }
    }
    Ok(())
}

/// What has become of a response.
enum Status {
    InProgress,
    Completed,
    /// Cut at the limit of tokens.
    Incomplete,
    Failed(Json),
}

impl Status {
    fn of(finished: &Finished) -> Status {
        if finished.truncated { Status::Incomplete } else { Status::Completed }
    }

    fn word(&self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
            Status::Failed(_) => "failed",
        }
    }
}

fn response(chat: &Chat, stamp: &Stamp, status: &Status, output: Vec<Json>, usage: Option<&Usage>) -> Json {
    let asked = |name: &str| &chat.echo[name];
    let or = |name: &str, default: Value| match asked(name) {
        Value::Null => Json::from(&default),
        value => Json::from(value),
    };
    let error = match status {
        Status::Failed(error) => error.clone(),
        _ => Json::from(()),
    };
    let why = matches!(status, Status::Incomplete).then(|| ordered!({"reason": "max_output_tokens"}));
    let reasoning = asked("reasoning");
    let text = match asked("text") {
        Value::Object(text) if text.contains_key("format") => asked("text").clone(),
        Value::Object(text) => {
            let mut text = text.clone();
            text.insert("format".to_owned(), json!({"type": "text"}));
            Value::Object(text)
        }
        _ => json!({"format": {"type": "text"}}),
    };
    ordered!({
        "id": stamp.id("resp_", 32),
        "object": "response",
        "created_at": stamp.created,
        "status": status.word(),
        "background": false,
        "error": error,
        "incomplete_details": why,
        "instructions": asked("instructions"),
        "max_output_tokens": asked("max_output_tokens"),
        "model": &chat.model,
        "output": output,
        "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "previous_response_id": asked("previous_response_id"),
        "reasoning": {"effort": &reasoning["effort"], "summary": &reasoning["summary"]},
        "store": chat.store,
        "temperature": asked("temperature"),
        "text": &text,
        "tool_choice": or("tool_choice", json!("auto")),
        "tools": or("tools", json!([])),
        "top_p": asked("top_p"),
        "truncation": or("truncation", json!("disabled")),
        "usage": usage.map(tokens),
        "metadata": or("metadata", json!({})),
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
struct ResponsesStream {
    chat: Chat,
    stamp: Stamp,
    /// The number of the next event.
    sequence: u64,
    /// The one item of the output, when it has begun.
    item: Option<Reply>,
}

/// The members by which the events of a message's text name their place.
macro_rules! in_message {
    ($stream:expr, $key:literal: $value:expr) => {
        ordered!({
            "item_id": $stream.stamp.id("msg_", 32),
            "output_index": 0u64,
            "content_index": 0u64,
            $key: $value,
        })
    };
}

impl ResponsesStream {
    /// An event with its type and number before its other members.
    fn event(&mut self, kind: &str, members: Json) -> String {
        let number = self.sequence;
        self.sequence += 1;
        event(kind, ordered!({"type": kind, "sequence_number": number}).and(members))
    }

    fn response(&mut self, kind: &str, status: &Status, output: Vec<Json>, usage: Option<&Usage>) -> String {
        let response = response(&self.chat, &self.stamp, status, output, usage);
        self.event(kind, ordered!({"response": response}))
    }

    fn item(&mut self, kind: &str, item: Json) -> String {
        self.event(kind, ordered!({"output_index": 0u64, "item": item}))
    }

    fn begin_message(&mut self) -> String {
        if self.item.is_some() {
            return String::new();
        }
        self.item = Some(Reply::Text(String::new()));
        let item = message(&self.stamp, "in_progress", Vec::new());
        let part = in_message!(self, "part": part(""));
        self.item("response.output_item.added", item) + &self.event("response.content_part.added", part)
    }

    /// The ends of whatever has begun, and the item as it is now.
    fn end_item(&mut self, status: &str) -> (String, Json) {
        match self.item.take().unwrap_or(Reply::Text(String::new())) {
            Reply::Text(text) => {
                let ended = in_message!(self, "text": (&text)).with("logprobs", Vec::new());
                let ended_part = in_message!(self, "part": part(&text));
                let ends = self.event("response.output_text.done", ended)
                    + &self.event("response.content_part.done", ended_part);
                (ends, message(&self.stamp, status, vec![part(&text)]))
            }
            Reply::Tool { name, arguments } => {
                let ended = ordered!({
                    "item_id": self.stamp.id("fc_", 32),
                    "output_index": 0u64,
                    "name": &name,
                    "arguments": &arguments,
                });
                let ends = self.event("response.function_call_arguments.done", ended);
                (ends, call(&self.stamp, status, &name, &arguments))
            }
        }
    }
}

impl Frames for ResponsesStream {
    fn start(&mut self) -> String {
        let frames = self.response("response.created", &Status::InProgress, Vec::new(), None)
            + &self.response("response.in_progress", &Status::InProgress, Vec::new(), None);
        // What a forced call calls is only known with the call.
        if self.chat.forced.is_some() { frames } else { frames + &self.begin_message() }
    }

    fn text(&mut self, piece: &str) -> String {
        let begin = self.begin_message();
        if let Some(Reply::Text(text)) = &mut self.item {
            text.push_str(piece);
        }
        let delta = in_message!(self, "delta": piece).with("logprobs", Vec::new());
        begin + &self.event("response.output_text.delta", delta)
    }

    fn tool(&mut self, name: &str, arguments: &str) -> String {
        self.item = Some(Reply::Tool { name: name.to_owned(), arguments: arguments.to_owned() });
        let item = call(&self.stamp, "in_progress", name, "");
        let delta = ordered!({"item_id": self.stamp.id("fc_", 32), "output_index": 0u64, "delta": arguments});
        self.item("response.output_item.added", item)
            + &self.event("response.function_call_arguments.delta", delta)
    }

    fn alive(&mut self) -> String {
        // Codex counts events only, and knows this one; comments and a second `response.in_progress` break other clients.
        self.event("keepalive", ordered!({}))
    }

    fn done(&mut self, finished: &Finished) -> String {
        let status = Status::of(finished);
        let begin = if self.item.is_none() { self.begin_message() } else { String::new() };
        let (ends, item) = self.end_item(status.word());
        let last = format!("response.{}", status.word());
        begin
            + &ends
            + &self.item("response.output_item.done", item.clone())
            + &self.response(&last, &status, vec![item], Some(&finished.usage))
    }

    fn failed(&mut self, fault: &Fault, _request_id: &str) -> String {
        // Neither is heard by all: OpenAI's own clients raise the first, codex and the AI SDK the second.
        self.event("error", ordered!({"error": fault.openai_event()}))
            + &self.response("response.failed", &Status::Failed(fault.openai_response()), Vec::new(), None)
    }
}
