//! OpenAI's older `/completions`: one prompt, text alone.

use super::fields::{Fields, OF_COMPLETIONS};
use super::{
    Chat, Dialect, Effect, Finished, Format, Frames, Part, Reply, Role, Stamp, Turn, chat, data, transcript,
};
use crate::base::json::{Json, ordered};
use crate::http::front::errors::Fault;
use serde_json::Value;

/// The endpoint.
pub struct Completions;

impl Dialect for Completions {
    fn fields(&self) -> &'static [(&'static str, Effect)] {
        OF_COMPLETIONS
    }

    fn read(&self, body: &Value) -> Result<Chat, Fault> {
        let mut fields = Fields::of(body, OF_COMPLETIONS);
        let prompt = match fields.get("prompt") {
            Some(Value::String(prompt)) => prompt,
            Some(Value::Array(prompts)) => match prompts.as_slice() {
                [Value::String(prompt)] => prompt,
                _ => {
                    return Err(Fault::unsupported(
                        "prompt",
                        "prompt must be one text: a run has one answer",
                    ));
                }
            },
            _ => return Err(Fault::invalid("prompt", "prompt must be a string")),
        };
        fields.only_one("n")?;
        let parts = vec![Part::Text(prompt.as_str().into())];
        let chat = Chat {
            model: fields.text("model")?.unwrap_or_default().to_owned(),
            system: Vec::new(),
            turns: vec![Turn { role: Role::User, name: None, parts }],
            format: Format::Text,
            forced: None,
            max_tokens: fields.tokens("max_tokens")?,
            effort: None,
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
        transcript::estimated(chat, &Value::Null, "prompt")
    }

    fn frames(&self, chat: &Chat, stamp: &Stamp) -> Box<dyn Frames> {
        let (model, stamp) = (chat.model.clone(), stamp.clone());
        Box::new(CompletionsStream { model, stamp, include_usage: chat.include_usage })
    }

    fn answer(&self, chat: &Chat, stamp: &Stamp, reply: &Reply, finished: &Finished) -> String {
        // No tool can be forced here.
        let (Reply::Text(text) | Reply::Tool { arguments: text, .. }) = reply;
        let choice = choice(text, Some(chat::reason("stop", finished)));
        object(&chat.model, stamp, vec![choice]).with("usage", chat::usage(&finished.usage)).text()
    }
}

fn object(model: &str, stamp: &Stamp, choices: Vec<Json>) -> Json {
    let id = stamp.id("cmpl-", 24);
    let created = stamp.created;
    ordered!({"id": id, "object": "text_completion", "created": created, "model": model, "choices": choices})
}

fn choice(text: &str, reason: Option<&str>) -> Json {
    ordered!({"text": text, "index": 0u64, "logprobs": null, "finish_reason": reason})
}

struct CompletionsStream {
    model: String,
    stamp: Stamp,
    include_usage: bool,
}

impl CompletionsStream {
    fn frame(&self, text: &str, reason: Option<&str>) -> String {
        data(object(&self.model, &self.stamp, vec![choice(text, reason)]))
    }
}

impl Frames for CompletionsStream {
    fn start(&mut self) -> String {
        String::new()
    }

    fn text(&mut self, piece: &str) -> String {
        self.frame(piece, None)
    }

    fn tool(&mut self, _name: &str, arguments: &str) -> String {
        self.text(arguments)
    }

    fn alive(&mut self) -> String {
        ": keep-alive\n\n".to_owned()
    }

    fn done(&mut self, finished: &Finished) -> String {
        let mut frames = self.frame("", Some(chat::reason("stop", finished)));
        if self.include_usage {
            let usage = chat::usage(&finished.usage);
            frames += &data(object(&self.model, &self.stamp, Vec::new()).with("usage", usage));
        }
        frames + "data: [DONE]\n\n"
    }

    fn failed(&mut self, fault: &Fault, _request_id: &str) -> String {
        chat::failed(fault)
    }
}
