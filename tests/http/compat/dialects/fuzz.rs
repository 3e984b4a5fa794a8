//! Bodies by chance: each is read or refused in its dialect, and what was read can be put to a backend.

use super::{CHAT, COMPLETIONS, MESSAGES, RESPONSES, dialect, finished, stamp, stream};
use crate::util::fuzz::{self, Chance, FEW};
use clinvk::http::compat::transcript::render;
use clinvk::http::compat::{Reply, anthropic, parse, structured};
use clinvk::http::front::errors::{Fault, Surface};
use serde_json::{Value, json};

/// The bodies that real clients were recorded with.
fn bodies() -> Vec<(&'static str, Value)> {
    let text = include_str!("../../../data/clients/examples.txt");
    let mut bodies = Vec::new();
    for section in text.split("\n--> POST ").skip(1) {
        let (path, rest) = section.split_once('\n').unwrap();
        let path = [CHAT, COMPLETIONS, RESPONSES, MESSAGES].into_iter().find(|known| *known == path.trim());
        let body = rest.split("<-- HTTP/1.1 ").next().and_then(|body| serde_json::from_str(body.trim()).ok());
        bodies.extend(path.zip(body));
    }
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let picture = json!({"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"});
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let function = json!({"name": "f", "description": "d", "parameters": schema, "strict": true});
    bodies.extend([
        (CHAT, json!({"model": "echo", "stream": true, "max_tokens": 5, "stop": ["a"], "n": 1, "stream_options": {"include_usage": true},
            "messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "name": "bob",
                "content": [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": picture}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "sunny"}],
            "tools": [{"type": "function", "function": function}], "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema, "name": "P", "strict": true}}})),
        (RESPONSES, json!({"model": "echo", "instructions": "be brief", "reasoning": {"effort": "low"}, "previous_response_id": null,
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "t"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"}],
            "text": {"format": {"type": "json_schema", "name": "P", "schema": schema}}})),
        (MESSAGES, json!({"model": "echo", "max_tokens": 5, "system": [{"type": "text", "text": "s"}], "stop_sequences": ["x"],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image", "source": source},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "u", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "u", "is_error": false, "content": "r"}]}],
            "tools": [{"name": "f", "input_schema": schema}], "tool_choice": {"type": "tool", "name": "f"}})),
        (COMPLETIONS, json!({"model": "echo", "prompt": ["a", "b"], "suffix": "s", "echo": true, "max_tokens": 5})),
    ]);
    bodies
}

/// A refusal in the words of the surface.
fn is_refusal(path: &str, fault: &Fault) -> Result<(), String> {
    let surface = if path == MESSAGES { Surface::Anthropic } else { Surface::OpenAi };
    let told: Value = serde_json::from_str(&fault.body(surface, "r")).map_err(|error| error.to_string())?;
    let is_of_dialect = match path {
        MESSAGES => told["type"] == "error" && told["error"]["type"].is_string(),
        _ => told["error"]["type"].is_string() && told["error"].get("code").is_some(),
    };
    let status = fault.status(surface);
    let is_so = is_of_dialect
        && told["error"]["message"].as_str().is_some_and(|text| !text.is_empty())
        && (400..500).contains(&status);
    if is_so { Ok(()) } else { Err(format!("{status} {told}")) }
}

fn check(path: &str, text: &str) -> Result<(), String> {
    let dialect = dialect(path);
    let body = match parse(text.as_bytes(), |name| dialect.reads(name), |_| Ok(())) {
        Ok(body) => body,
        Err(fault) => return is_refusal(path, &fault),
    };
    if path == MESSAGES {
        if let Err(fault) = anthropic::count_tokens(&body) {
            is_refusal(path, &fault)?;
        }
    }
    let chat = match dialect.read(&body) {
        Ok(chat) => chat,
        Err(fault) => return is_refusal(path, &fault),
    };
    let schema = structured::schema(&chat);
    let _ = (render(&chat), structured::instruction(&chat, schema.as_ref()), chat.ignored_header());
    for answer in ["hello", r#"{"n":1,"city":"x"}"#] {
        let reply = structured::reply(&chat, answer).unwrap_or(Reply::Text(answer.to_owned()));
        let (said, whole) = (
            stream(path, &chat, &reply, &finished(3, 2)),
            dialect.answer(&chat, &stamp(), &reply, &finished(3, 2)),
        );
        serde_json::from_str::<Value>(&whole).map_err(|error| format!("{error}: {whole}"))?;
        super::frames(&said).ok_or_else(|| format!("no frames: {said}"))?;
    }
    Ok(())
}

#[test]
fn whatever_body_comes_it_is_read_or_refused_in_its_dialect() {
    let bodies = bodies();
    let draw = |chance: &mut Chance| {
        let (path, body) = &bodies[chance.below(bodies.len())];
        let other = bodies[chance.below(bodies.len())].1.clone();
        // Now and then it is another endpoint's.
        let path =
            if chance.one_in(20) { chance.of_these(&[CHAT, COMPLETIONS, RESPONSES, MESSAGES]) } else { path };
        (path, fuzz::json_text(chance, &body.to_string(), &[other]))
    };
    fuzz::target("bodies of compatible surfaces", FEW, draw, |(path, text), _| check(path, text));
}
