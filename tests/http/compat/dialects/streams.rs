//! Streams: what must be in them for somebody, what must not, signs of life, and failures on the way.

use super::{
    CHAT, COMPLETIONS, MESSAGES, RESPONSES, call, dialect, finished, frames, hello, read, stamp, stream,
};
use clinvk::http::compat::{Finished, Reply};
use clinvk::http::front::errors::{Cause, Fault};
use clinvk::http::state::streaming::needs_keepalive;
use clinvk::model::error::Kind;
use clinvk::model::event::Usage;
use serde_json::{Value, json};
use std::time::Duration;

/// A small request for a stream.
fn request(path: &str, forced: bool) -> Value {
    let mut body = json!({"model": "claude", "stream": true, "stream_options": {"include_usage": true}});
    match path {
        COMPLETIONS => body["prompt"] = json!("hi"),
        RESPONSES => body["input"] = json!("hi"),
        _ => body["messages"] = json!([{"role": "user", "content": "hi"}]),
    }
    let schema = json!({"type": "object"});
    match path {
        _ if !forced => return body,
        MESSAGES => {
            body["tools"] = json!([{"name": "w", "input_schema": schema}]);
            body["tool_choice"] = json!({"type": "any"});
        }
        _ => {
            body["tools"] = json!([{"type": "function", "name": "w", "parameters": schema,
                "function": {"name": "w", "parameters": schema}}]);
            body["tool_choice"] = json!("required");
        }
    }
    body
}

fn whole(path: &str, forced: bool) -> String {
    let chat = read(path, &request(path, forced)).unwrap();
    stream(path, &chat, &if forced { call() } else { hello() }, &finished(1, 6))
}

/// What breaks somebody in a stream (client-contract.md sections 1 and 2): empty where nothing does.
fn complaints(path: &str, stream: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut need = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let cuts = |letter: char| matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}' | '\r');
    need(!stream.contains(cuts), "no raw separator");
    let Some(frames) = frames(stream) else {
        return vec!["frames, and the blank line behind the last".to_owned()];
    };
    let names: Vec<&str> = frames.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<&Value> = frames.iter().map(|(_, value)| value).collect();
    need(values.iter().all(|value| value.is_object() || **value == "[DONE]"), "every data is JSON");
    let told = |pointers: &[&str]| -> String {
        values.iter().flat_map(|value| pointers.iter().filter_map(|at| value.pointer(at)?.as_str())).collect()
    };
    match path {
        CHAT => {
            need(names.iter().all(|name| name.is_empty()), "chat has no event lines");
            let chunks: Vec<&&Value> = values.iter().filter(|value| value.is_object()).collect();
            let choices: Vec<&Value> =
                chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten()).collect();
            need(chunks.iter().all(|chunk| chunk["choices"].is_array()), "choices is a list everywhere");
            need(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "the object's name");
            need(
                chunks.iter().all(|chunk| chunk["id"].is_string() && chunk["created"].is_u64()),
                "id and created",
            );
            need(
                choices.iter().all(|choice| choice["index"] == 0 && choice["delta"].is_object()),
                "index and delta",
            );
            need(
                choices.first().is_some_and(|choice| choice["delta"]["role"] == "assistant"),
                "the first has the role",
            );
            let reason = choices.last().map_or(&Value::Null, |choice| &choice["finish_reason"]);
            need(["stop", "tool_calls"].iter().any(|word| reason == word), "a finish_reason at the end");
            let is_call = choices.iter().any(|choice| choice["delta"]["tool_calls"].is_array());
            need(is_call == (reason == "tool_calls"), "the right finish_reason");
            need(is_call || told(&["/choices/0/delta/content"]) == "Hello from the fake clinvk.", "all text");
            let arguments = told(&["/choices/0/delta/tool_calls/0/function/arguments"]);
            need(!is_call || arguments == r#"{"city":"hello"}"#, "all arguments");
        }
        MESSAGES => {
            need(
                values.iter().zip(&names).all(|(value, name)| value["type"] == **name),
                "event lines are the types",
            );
            need(!stream.contains("[DONE]"), "no [DONE]");
            let order: Vec<&str> = names.iter().copied().filter(|name| *name != "ping").collect();
            let (first, last) = (order.get(..2), order.len().checked_sub(3).and_then(|at| order.get(at..)));
            need(first == Some(&["message_start", "content_block_start"]), "the two beginnings");
            need(last == Some(&["content_block_stop", "message_delta", "message_stop"]), "the three ends");
            need(order.iter().filter(|name| **name == "message_start").count() == 1, "one message_start");
            let all = |name: &str| {
                frames.iter().filter(|frame| frame.0 == name).map(|frame| &frame.1).collect::<Vec<_>>()
            };
            need(all("ping").iter().all(|ping| **ping == json!({"type": "ping"})), "ping says so");
            let usages = all("message_start")
                .into_iter()
                .map(|start| &start["message"]["usage"])
                .chain(all("message_delta").into_iter().map(|delta| &delta["usage"]));
            let is_whole = |usage: &Value| usage["input_tokens"].is_u64() && usage["output_tokens"].is_u64();
            need(usages.into_iter().all(is_whole), "usage at both ends");
            let block = all("content_block_start")
                .first()
                .map_or(Value::Null, |start| start["content_block"].clone());
            let is_call = block["type"] == "tool_use";
            need(is_call || block["text"] == "", "the block begins with an empty text");
            let reason = all("message_delta")
                .first()
                .map_or(Value::Null, |delta| delta["delta"]["stop_reason"].clone());
            need(reason == if is_call { "tool_use" } else { "end_turn" }, "the stop_reason");
            let text = told(&["/delta/text", "/delta/partial_json"]);
            let whole = if is_call { r#"{"city":"hello"}"# } else { "Hello from the fake clinvk." };
            need(text == whole, "all text");
        }
        _ => {
            need(
                values.iter().zip(&names).all(|(value, name)| value["type"] == **name),
                "event lines are the types",
            );
            need(names.first() == Some(&"response.created"), "response.created is first");
            need(names.last() == Some(&"response.completed"), "response.completed is last");
            let numbers: Vec<u64> =
                values.iter().filter_map(|value| value["sequence_number"].as_u64()).collect();
            need(numbers == (0..names.len() as u64).collect::<Vec<u64>>(), "the numbers count");
            need(names.contains(&"response.output_item.added"), "output_item.added");
            let is_call = names.contains(&"response.function_call_arguments.done");
            need(is_call || names.contains(&"response.content_part.added"), "content_part.added");
            let done = values.iter().find(|value| value["type"] == "response.output_item.done");
            let item = done.map_or(&Value::Null, |done| &done["item"]);
            let whole = if is_call { r#"{"city":"hello"}"# } else { "Hello from the fake clinvk." };
            let said = if is_call { &item["arguments"] } else { &item["content"][0]["text"] };
            need(said == whole, "codex reads output_item.done");
            need(told(&["/delta"]) == whole, "all text");
            let response = values.last().map_or(&Value::Null, |last| &last["response"]);
            need(
                response["output"] == json!([item]) && response["object"] == "response",
                "the whole response",
            );
            let has = |at: &str| response["usage"].pointer(at).is_some_and(Value::is_u64);
            need(
                [
                    "/input_tokens_details/cached_tokens",
                    "/output_tokens_details/reasoning_tokens",
                    "/total_tokens",
                ]
                .iter()
                .all(|at| has(at)),
                "the usage, whole",
            );
        }
    }
    found
}

/// Events that can be missing without harm to anybody.
fn is_optional(frame: &str) -> bool {
    ["event: ping\n", "data: [DONE]", "\"choices\":[],"].iter().any(|word| frame.contains(word))
}

#[test]
fn nothing_in_a_stream_breaks_anybody_and_nothing_can_be_left_out() {
    for (path, forced) in [
        (CHAT, false),
        (CHAT, true),
        (MESSAGES, false),
        (MESSAGES, true),
        (RESPONSES, false),
        (RESPONSES, true),
    ] {
        let stream = whole(path, forced);
        assert_eq!(complaints(path, &stream), [""; 0], "{path} {forced}\n{stream}");
        let pieces: Vec<&str> = stream.split_inclusive("\n\n").collect();
        for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| !is_optional(piece)) {
            let rest: String =
                pieces.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, piece)| *piece).collect();
            assert!(!complaints(path, &rest).is_empty(), "{path} {forced} without {piece}");
        }
        // Mutations that real clients were seen to break on.
        for (from, to) in [
            ("\"index\":0", "\"indexes\":0"),
            ("chat.completion.chunk", "chat.completion"),
            ("\"role\":\"assistant\"", "\"role\":null"),
            ("\"delta\":{}", "\"delta\":null"),
            ("\"choices\":[{", "\"choice\":[{"),
            ("\"finish_reason\":\"", "\"finish_reason\":\"error"),
            ("\"input_tokens\":1", "\"input_tokens\":null"),
            ("\"output_tokens\":6", "\"output_tokens\":6.5"),
            ("\"cached_tokens\":0", "\"cached\":0"),
            ("\"type\":\"ping\"", "\"type\":null"),
            ("\"text\":\"\"}}", "\"text\":null}}"),
            ("event: ", ""),
            ("data: {", "event: message\ndata: {"),
            ("\"sequence_number\":3", "\"sequence_number\":4"),
        ] {
            let mutant = stream.replace(from, to);
            let matters = match path {
                CHAT => !from.starts_with("event"),
                MESSAGES => !["\"index\"", "\"role\""].iter().any(|word| from.starts_with(word)),
                _ => !["\"index\"", "\"role\"", "\"input_tokens\"", "\"output_tokens\"", "\"text\""]
                    .iter()
                    .any(|word| from.starts_with(word)),
            };
            if mutant != stream && matters {
                assert!(!complaints(path, &mutant).is_empty(), "{path} {forced}: {from} as {to}");
            }
        }
        let without_last_line = stream.strip_suffix('\n').unwrap();
        assert!(!complaints(path, without_last_line).is_empty(), "{path}");
    }
}

#[test]
fn a_sign_of_life_is_one_for_every_client_of_its_endpoint() {
    let comment = ": keep-alive\n\n";
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    // Claude hears only pieces of content, codex only events.
    let empty = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}\n\n";
    let event = |number: u64| {
        format!("event: keepalive\ndata: {{\"type\":\"keepalive\",\"sequence_number\":{number}}}\n\n")
    };
    for (path, forced, before, between) in [
        (CHAT, false, comment.to_owned(), comment.to_owned()),
        (CHAT, true, comment.to_owned(), comment.to_owned()),
        (COMPLETIONS, false, comment.to_owned(), comment.to_owned()),
        (MESSAGES, false, empty.to_owned(), empty.to_owned()),
        (MESSAGES, true, ping.to_owned(), ping.to_owned()),
        (RESPONSES, false, event(4), event(6)),
        (RESPONSES, true, event(2), event(5)),
    ] {
        let chat = read(path, &request(path, forced)).unwrap();
        let mut frames = dialect(path).frames(&chat, &stamp());
        let mut said = frames.start();
        let alive = frames.alive();
        assert_eq!(alive, before, "{path} {forced}");
        said += &alive;
        said += &if forced {
            frames.tool("w", r#"{"city":"hello"}"#)
        } else {
            frames.text("Hello from the fake clinvk.")
        };
        let alive = frames.alive();
        assert_eq!(alive, between, "{path} {forced}");
        said += &alive;
        said += &frames.done(&finished(1, 6));
        if path != COMPLETIONS {
            assert_eq!(complaints(path, &said), [""; 0], "{path} {forced}\n{said}");
        }
    }
}

#[test]
fn an_answer_as_json_is_kept_alive_only_where_it_has_to_be() {
    let (short, long) = (Some(Duration::from_secs(300)), Some(Duration::from_secs(301)));
    for (waited, limit, expected) in
        [(239, None, false), (240, None, true), (240, short, false), (240, long, true), (0, None, false)]
    {
        assert_eq!(needs_keepalive(Duration::from_secs(waited), limit), expected, "{waited} {limit:?}");
    }
}

#[test]
fn separators_are_escaped_in_streams_and_in_json() {
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    for path in [CHAT, COMPLETIONS, MESSAGES, RESPONSES] {
        let chat = read(path, &request(path, false)).unwrap();
        let reply = Reply::Text(text.to_owned());
        let streamed = stream(path, &chat, &reply, &finished(1, 1));
        let answer = dialect(path).answer(&chat, &stamp(), &reply, &finished(1, 1));
        for said in [&streamed, &answer] {
            assert!(said.contains(r"a\u2028b\u2029c\u0085d"), "{path}: {said}");
            assert!(!said.contains(['\u{85}', '\u{2028}', '\u{2029}']), "{path}: {said}");
        }
        let fault = Fault::of(Kind::Crash, text);
        let mut frames = dialect(path).frames(&chat, &stamp());
        let failed = frames.start() + &frames.failed(&fault, "req_1");
        assert!(failed.contains(r"a\u2028b\u2029c\u0085d") && !failed.contains('\u{2028}'), "{failed}");
    }
}

/// The stream of an answer that fails after its first piece, from that piece on.
fn failing(path: &str, fault: &Fault) -> String {
    let chat = read(path, &request(path, false)).unwrap();
    let mut frames = dialect(path).frames(&chat, &stamp());
    frames.start();
    frames.text("Hel");
    frames.failed(fault, "req_1")
}

#[test]
fn a_stream_that_fails_says_so_in_words_that_its_clients_raise() {
    let crash = Fault::of(Kind::Crash, "boom");
    let error = r#"{"error":{"message":"boom","type":"server_error","param":null,"code":"backend_error"}}"#;
    for path in [CHAT, COMPLETIONS] {
        assert_eq!(failing(path, &crash), format!("data: {error}\n\ndata: [DONE]\n\n"));
    }
    assert_eq!(
        failing(MESSAGES, &crash),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"boom\"},\"request_id\":\"req_1\"}\n\n"
    );
    let failed = failing(RESPONSES, &crash);
    let flat = r#"event: error
data: {"type":"error","sequence_number":5,"error":{"type":"server_error","code":"backend_error","message":"boom","param":null}}

event: response.failed
data: {"type":"response.failed","sequence_number":6,"response":{"id":"resp_0123456789abcdef0123456789abcdef","object":"response","created_at":1795347366,"status":"failed","background":false,"error":{"code":"invalid_prompt","message":"boom"},"#;
    assert!(failed.starts_with(flat), "{failed}");
    assert_eq!(frames(&failed).unwrap().len(), 2);
}

#[test]
fn codex_is_told_what_to_try_again() {
    for (cause, code) in [
        (Cause::Kind(Kind::Crash), "invalid_prompt"),
        (Cause::Kind(Kind::Login), "invalid_prompt"),
        (Cause::Kind(Kind::Timeout), "invalid_prompt"),
        (Cause::Kind(Kind::ContextTooLong), "context_length_exceeded"),
        (Cause::UsedUp, "insufficient_quota"),
        (Cause::Kind(Kind::Quota), "rate_limit_exceeded"),
        (Cause::Kind(Kind::Overloaded), "server_is_overloaded"),
        (Cause::Kind(Kind::Busy), "server_is_overloaded"),
    ] {
        let failed = failing(RESPONSES, &Fault::new(cause.clone(), "no"));
        assert_eq!(frames(&failed).unwrap()[1].1["response"]["error"]["code"], code, "{cause:?}");
    }
}

#[test]
fn tokens_stand_where_each_dialect_counts_them() {
    let usage = Usage { input: 100, output: 30, cached: 60, reasoning: 10, cost: None };
    let finished = Finished { usage, truncated: false };
    let answer = |path: &str| -> Value {
        let chat = read(path, &request(path, false)).unwrap();
        serde_json::from_str(&dialect(path).answer(&chat, &stamp(), &hello(), &finished)).unwrap()
    };
    let chat = json!({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 10}});
    assert_eq!(answer(CHAT)["usage"], chat);
    let responses = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60}, "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 130});
    assert_eq!(answer(RESPONSES)["usage"], responses);
    let messages = json!({"input_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 60,
        "output_tokens": 30});
    assert_eq!(answer(MESSAGES)["usage"], messages);
    let plain = json!({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130});
    assert_eq!(answer(COMPLETIONS)["usage"], plain);
    let last = |path: &str, back: usize| {
        let chat = read(path, &request(path, false)).unwrap();
        let mut frames = frames(&stream(path, &chat, &hello(), &finished)).unwrap();
        frames.swap_remove(frames.len() - back).1
    };
    assert_eq!(last(CHAT, 2)["usage"], chat);
    assert_eq!(last(COMPLETIONS, 2)["usage"], plain);
    assert_eq!(last(MESSAGES, 2)["usage"], messages);
    assert_eq!(last(RESPONSES, 1)["response"]["usage"], responses);
}

#[test]
fn a_limit_of_tokens_is_told_where_it_really_cut() {
    let cut = Finished { truncated: true, ..finished(1, 1) };
    for (path, at, word) in [
        (CHAT, "/choices/0/finish_reason", "length"),
        (COMPLETIONS, "/choices/0/finish_reason", "length"),
        (MESSAGES, "/stop_reason", "max_tokens"),
        (RESPONSES, "/status", "incomplete"),
    ] {
        let chat = read(path, &request(path, false)).unwrap();
        let answer: Value =
            serde_json::from_str(&dialect(path).answer(&chat, &stamp(), &hello(), &cut)).unwrap();
        assert_eq!(answer.pointer(at), Some(&json!(word)), "{path}");
        let whole: Value =
            serde_json::from_str(&dialect(path).answer(&chat, &stamp(), &hello(), &finished(1, 1))).unwrap();
        assert_ne!(whole.pointer(at), Some(&json!(word)), "{path}");
        assert!(stream(path, &chat, &hello(), &cut).contains(&format!("\"{word}\"")), "{path}");
        assert!(!stream(path, &chat, &hello(), &finished(1, 1)).contains(&format!("\"{word}\"")), "{path}");
    }
    let chat = read(RESPONSES, &request(RESPONSES, false)).unwrap();
    let last = frames(&stream(RESPONSES, &chat, &hello(), &cut)).unwrap().pop().unwrap();
    assert_eq!(
        (last.0.as_str(), &last.1["response"]["incomplete_details"]["reason"]),
        ("response.incomplete", &json!("max_output_tokens"))
    );
}

#[test]
fn an_answer_without_a_word_is_a_whole_answer() {
    for path in [CHAT, COMPLETIONS, MESSAGES, RESPONSES] {
        let chat = read(path, &request(path, false)).unwrap();
        let mut frames = dialect(path).frames(&chat, &stamp());
        let said = frames.start() + &frames.done(&finished(1, 0));
        let complained = if path == COMPLETIONS { Vec::new() } else { complaints(path, &said) };
        let missing_text =
            |complaint: &String| complaint == "all text" || complaint.starts_with("codex reads");
        assert!(complained.iter().all(missing_text), "{path}: {complained:?}\n{said}");
    }
}

#[test]
fn the_usage_of_a_chat_stream_is_told_to_whoever_asks() {
    let mut body = request(CHAT, false);
    for options in [json!(null), json!({}), json!({"include_usage": false})] {
        body["stream_options"] = options;
        let chat = read(CHAT, &body).unwrap();
        assert!(!stream(CHAT, &chat, &hello(), &finished(1, 1)).contains("usage"));
    }
}
