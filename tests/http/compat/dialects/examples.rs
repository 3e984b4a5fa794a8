//! Every exchange that was recorded with real clients, made again, to the byte: but for the random ids, the chunks of a
//! tool's arguments, and the keys of what a client said itself, which serde_json sorts.

use super::{call, dialect, finished, hello, stamp, stream};
use clinvk::http::compat::models::{Known, Model, anthropic_list, openai_list, openai_one, resolve};
use clinvk::http::compat::{anthropic, parse};
use clinvk::http::front::errors::{Cause, Fault, Surface};
use std::collections::BTreeMap;

/// One recorded exchange.
struct Example {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    request: &'static str,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

fn examples() -> Vec<Example> {
    let text = include_str!("../../../data/clients/examples.txt");
    let sections = text.split("\n### ").skip(1);
    sections
        .map(|section| {
            let (name, rest) = section.split_once("\n--> ").unwrap();
            let (line, rest) = rest.split_once('\n').unwrap();
            let (method, path) = line.split_once(' ').unwrap();
            let (request, rest) = rest.split_once("<-- HTTP/1.1 ").unwrap();
            let (head, body) = rest.split_once("\n\n").unwrap();
            let mut head = head.lines();
            let status = head.next().unwrap()[..3].parse().unwrap();
            let headers = head.map(|line| line.trim().split_once(": ").unwrap()).collect();
            Example { name, method, path, request: request.trim(), status, headers, body: body.trim_end() }
        })
        .collect()
}

/// A text with all that may differ made equal.
fn comparable(text: &str) -> String {
    let sorted = r#"{"name":"w","parameters":{"properties":{"city":{"type":"string"}},"required":["city"],"type":"object"},"type":"function"}"#;
    let sent = r#"{"name":"w","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]},"type":"function"}"#;
    let mut frames: Vec<String> =
        text.trim_end().split("\n\n").map(|frame| frame.replace(sent, sorted)).collect();
    // The two chunks of the recorded arguments as one.
    if let Some(at) = frames.iter().position(|frame| frame.contains(r#"{\"city\":\"hel""#)) {
        frames[at] = frames[at].replace(r#"{\"city\":\"hel""#, r#"{\"city\":\"hello\"}""#);
        frames.remove(at + 1);
    }
    let numbered = frames.iter().enumerate().map(|(number, frame)| renumbered(frame, number));
    let mut text = numbered.collect::<Vec<String>>().join("\n\n");
    for prefix in ["chatcmpl-", "call_", "resp_", "msg_", "fc_", "toolu_", "req_"] {
        text = without_digits(&text, &format!("\"{prefix}"));
    }
    text
}

fn renumbered(frame: &str, number: usize) -> String {
    let key = "\"sequence_number\":";
    match frame.split_once(key) {
        None => frame.to_owned(),
        Some((before, after)) => {
            let rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
            format!("{before}{key}{number}{rest}")
        }
    }
}

/// Random digits as their number, so that it is compared.
fn without_digits(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
        format!("{text}{prefix}<{}>{rest}", part.len() - rest.len())
    })
}

fn models() -> Vec<Model> {
    ["claude", "codex", "gemini"]
        .map(|id| Model { id: id.to_owned(), owned_by: "clinvk".to_owned() })
        .to_vec()
}

/// What we say in an exchange: status, headers of a failure, body.
fn ours(example: &Example) -> (u16, Vec<(String, String)>, String) {
    let surface = Surface::of(example.path);
    let refused = |fault: Fault| {
        let id = "req_0123456789abcdef01234567";
        (fault.status(surface), fault.headers(surface), fault.body(surface, id))
    };
    let answered = |body: String| (200, Vec::new(), body);
    match example.name {
        "openai models" => return answered(openai_list(&models())),
        "openai model" => return answered(openai_one(&models(), "claude").unwrap()),
        "anthropic models" => return answered(anthropic_list(&models(), "").unwrap()),
        "anthropic models empty page" => {
            return answered(anthropic_list(&models(), "after_id=gemini").unwrap());
        }
        "openai 401" | "anthropic 401" => return refused(Fault::unauthorized()),
        "foreign origin" => {
            return refused(Fault::new(Cause::Foreign, "Origin http://evil.example is not allowed"));
        }
        "count_tokens" => {
            let body = parse(example.request.as_bytes(), |_| true, |_| Ok(())).unwrap();
            return answered(anthropic::count_tokens(&body).unwrap());
        }
        _ => {}
    }
    let dialect = dialect(example.path);
    let mut chat = match dialect
        .read(&parse(example.request.as_bytes(), |name| dialect.reads(name), |_| Ok(())).unwrap())
    {
        Ok(chat) => chat,
        Err(fault) => return refused(fault),
    };
    // The one name that the recorded server did not take.
    let known = Known {
        backends: &[("claude", &["claude-"][..]), ("codex", &["gpt-"]), ("gemini", &["gemini-"])],
        aliases: &BTreeMap::new(),
        default: "claude",
        strict: true,
    };
    if let Err(fault) = resolve(&chat.model, &known) {
        return refused(fault);
    }
    // The recorded server counted otherwise, and kept nothing.
    (chat.estimate, chat.store) = (1, false);
    let (reply, output) = match chat.forced.as_slice() {
        [] => (hello(), 6),
        _ if example.name == "messages forced tool sse" => (call(), 2),
        _ => (call(), 4),
    };
    let finished = finished(1, output);
    answered(if chat.stream {
        stream(example.path, &chat, &reply, &finished)
    } else {
        dialect.answer(&chat, &stamp(), &reply, &finished)
    })
}

#[test]
fn every_recorded_exchange_is_made_again_to_the_byte() {
    let mut compared = 0;
    for example in examples() {
        // That one has no body; the door answers it.
        if example.method == "HEAD" {
            continue;
        }
        let (status, headers, body) = ours(&example);
        assert_eq!(status, example.status, "{}", example.name);
        // Its estimate is not ours.
        let body = if example.name == "count_tokens" { body.replace(":5}", ":18}") } else { body };
        assert_eq!(comparable(&body), comparable(example.body), "{}", example.name);
        let streamed = example.headers.contains(&("content-type", "text/event-stream; charset=utf-8"));
        assert_eq!(body.ends_with("\n\n"), streamed, "{}: the last blank line", example.name);
        let own =
            |name: &str| !name.ends_with("request-id") && !["content-type", "content-length"].contains(&name);
        for (name, value) in example.headers.iter().filter(|(name, _)| own(name)) {
            let ours = headers.iter().find(|(ours, _)| ours == name);
            let of_streams = ["cache-control", "x-accel-buffering", "transfer-encoding"].contains(name);
            assert_eq!(ours.is_some_and(|(_, ours)| ours == value), !of_streams, "{}: {name}", example.name);
        }
        compared += 1;
    }
    assert_eq!(compared, 23, "examples");
}

#[test]
fn the_comparison_sees_what_differs() {
    for (a, b) in [
        (r#"{"id":"msg_0a"}"#, r#"{"id":"msg_0a1"}"#),
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        ("data: 1\n\ndata: 2\n\n", "data: 1\n\n"),
        ("event: a\ndata: 1\n\n", "data: 1\n\n"),
    ] {
        assert_ne!(comparable(a), comparable(b));
    }
    assert_eq!(comparable(r#"{"id":"msg_0a"}"#), comparable(r#"{"id":"msg_ff"}"#));
}
