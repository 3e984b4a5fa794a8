//! OpenAI's older `/completions`: one prompt, text alone.

use super::Effect::{Honoured, Refused};
use super::fields::Fields;
use super::{Chat, Dialect, FieldTable, Finished, Frames, Part, Reply, Role, Stamp, chat, data, transcript};
use crate::base::json::{Json, ordered};
use crate::http::front::errors::Fault;
use serde_json::Value;

pub struct Completions;

impl Dialect for Completions {
    fn fields(&self) -> FieldTable {
        &[(Honoured, &["prompt", "model", "stream", "stream_options", "max_tokens"]), (Refused, &["n"])]
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let (mut fields, mut chat) = (Fields::of(body, self.fields()), Chat::default());
        let prompt = match fields.get("prompt") {
            Some(Value::Array(prompts)) => match prompts.as_slice() {
                [Value::String(prompt)] => prompt,
                _ => {
                    let message = "prompt must be one text: a run has one answer";
                    return Err(Fault::unsupported("prompt", message));
                }
            },
            Some(Value::String(prompt)) => prompt,
            _ => return Err(Fault::invalid("prompt", "prompt must be a string")),
        };
        chat.say(Role::User, None, vec![Part::Text(prompt.as_str().into())]);
        fields.one_answer()?;
        chat.model = fields.model()?;
        chat.max_tokens = fields.tokens("max_tokens")?;
        chat.stream = fields.flag("stream")?;
        chat.include_usage = fields.include_usage();
        chat.ignored = fields.ignored();
        transcript::estimated(chat, &Value::Null, "prompt")
    }

    fn frames<'a>(&self, chat: &'a Chat, stamp: &Stamp) -> Box<dyn Frames + 'a> {
        Box::new(CompletionsStream { chat, stamp: stamp.clone() })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        // No tool can be forced here.
        let (Reply::Text(text) | Reply::Tool { arguments: text, .. }) = reply;
        let choice = choice(text, Some(finished.reason("stop", "length")));
        object(chat, stamp, vec![choice]).with("usage", chat::usage(&finished.usage)).text()
    }
}

fn object(chat: &Chat, stamp: &Stamp, choices: Vec<Json>) -> Json {
    ordered!({
        "id": stamp.id("cmpl-", 24),
        "object": "text_completion",
        "created": stamp.created,
        "model": &chat.model,
        "choices": choices,
    })
}

fn choice(text: &str, reason: Option<&str>) -> Json {
    ordered!({"text": text, "index": 0u64, "logprobs": null, "finish_reason": reason})
}

struct CompletionsStream<'a> {
    chat: &'a Chat,
    stamp: Stamp,
}

impl CompletionsStream<'_> {
    fn frame(&self, text: &str, reason: Option<&str>) -> String {
        data(object(self.chat, &self.stamp, vec![choice(text, reason)]))
    }
}

impl Frames for CompletionsStream<'_> {
    fn start(&mut self) -> String {
        String::new()
    }

    fn text(&mut self, piece: &str) -> String {
        self.frame(piece, None)
    }

    fn tool(&mut self, _name: &str, arguments: &str) -> String {
        self.text(arguments)
    }

    fn done(&mut self, finished: &Finished) -> String {
        let mut frames = self.frame("", Some(finished.reason("stop", "length")));
        if self.chat.include_usage {
            let last = object(self.chat, &self.stamp, Vec::new());
            frames += &data(last.with("usage", chat::usage(&finished.usage)));
        }
        frames + "data: [DONE]\n\n"
    }

    fn failed(&mut self, fault: &Fault, _request_id: &str) -> String {
        chat::failed(fault)
    }
}
