//! The dialects of other vendors' clients: pure, so everything here is text in and text out.

mod errors;
mod examples;
mod fuzz;
mod models;
mod reading;
mod streams;
mod structured;
mod transcript;

use clinvk::http::compat::{Chat, Dialect, Finished, Reply, Stamp, anthropic, chat, completions, responses};
use clinvk::http::front::errors::Fault;
use clinvk::model::event::Usage;
use serde_json::Value;

/// The words of the examples' answer, as they come.
const PIECES: &[&str] = &["Hello", " from", " the", " fake", " clinvk", "."];
/// The moment of the examples.
const CREATED: u64 = 1_795_347_366;

fn stamp() -> Stamp {
    Stamp { id: "0123456789abcdef0123456789abcdef".to_owned(), created: CREATED }
}

fn finished(input: u64, output: u64) -> Finished {
    Finished { usage: Usage { input, output, ..Usage::default() }, truncated: false }
}

fn hello() -> Reply {
    Reply::Text(PIECES.concat())
}

fn call() -> Reply {
    Reply::Tool { name: "w".to_owned(), arguments: r#"{"city":"hello"}"#.to_owned() }
}

/// The endpoint at a path.
fn dialect(path: &str) -> &'static dyn Dialect {
    match path.split_once("/v1/").unwrap().1 {
        "chat/completions" => &chat::ChatCompletions,
        "completions" => &completions::Completions,
        "responses" => &responses::Responses,
        "messages" => &anthropic::Messages,
        other => panic!("no endpoint {other}"),
    }
}

const CHAT: &str = "/openai/v1/chat/completions";
const COMPLETIONS: &str = "/openai/v1/completions";
const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";

fn read(path: &str, body: &Value) -> Result<Chat, Fault> {
    dialect(path).read(body)
}

/// A whole stream of an answer.
fn stream(path: &str, chat: &Chat, reply: &Reply, finished: &Finished) -> String {
    let mut frames = dialect(path).frames(chat, &stamp());
    let mut said = frames.start();
    match reply {
        Reply::Text(text) if *text == PIECES.concat() => {
            PIECES.iter().for_each(|piece| said += &frames.text(piece));
        }
        Reply::Text(text) => said += &frames.text(text),
        Reply::Tool { name, arguments } => said += &frames.tool(name, arguments),
    }
    said + &frames.done(finished)
}

/// The frames of a stream: the event's name, where it has one, and its data. None where it is none.
fn frames(stream: &str) -> Option<Vec<(String, Value)>> {
    let frames = stream.strip_suffix("\n\n")?.split("\n\n").filter(|frame| !frame.starts_with(':'));
    frames
        .map(|frame| {
            let (name, data) = match frame.strip_prefix("event: ") {
                Some(rest) => rest.split_once('\n')?,
                None => ("", frame),
            };
            let data = data.strip_prefix("data: ")?;
            Some((name.to_owned(), serde_json::from_str(data).unwrap_or(Value::from(data))))
        })
        .collect()
}
