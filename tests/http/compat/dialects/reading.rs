//! What clients send: all of it is read, nothing that was said is dropped, and what has no effect is named.

use super::{CHAT, COMPLETIONS, MESSAGES, RESPONSES, read};
use clinvk::http::compat::transcript::render;
use clinvk::http::compat::{Chat, Part, Role, anthropic, parse};
use clinvk::http::front::errors::Surface;
use clinvk::model::task::Effort;
use serde_json::{Value, json};

/// A PNG's first bytes, and the same in base64.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const PNG_BASE64: &str = "iVBORw0KGgo=";

pub(super) fn asked(path: &str, body: Value) -> Chat {
    read(path, &body).unwrap_or_else(|fault| panic!("{path} {body}: {fault:?}"))
}

/// Status, code and field of a refusal.
fn refused(path: &str, body: &Value) -> (u16, Option<String>, Option<&'static str>) {
    let fault = read(path, body).expect_err(&body.to_string());
    let error: Value = serde_json::from_str(&fault.body(Surface::OpenAi, "")).unwrap();
    (fault.status(Surface::OpenAi), error["error"]["code"].as_str().map(str::to_owned), fault.param)
}

pub(super) fn user(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

pub(super) fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more}") };
    body.as_object_mut().unwrap().extend(more);
    body
}

/// The bodies of section 2.1 of the contract, with its dots filled in.
#[test]
fn every_chat_body_that_was_seen_is_read() {
    let hi = json!([{"role": "user", "content": "hi"}]);
    let image = format!("data:image/png;base64,{PNG_BASE64}");
    let schema = json!({"type": "object"});
    for body in [
        json!({"model": "claude", "messages": hi}),
        json!({"model": "claude", "stream": true, "messages": hi, "stream_options": {"include_usage": true}}),
        json!({"model": "claude", "stream": false, "messages": [{"content": "hi", "role": "user"}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema, "name": "P", "strict": true}}}),
        json!({"messages": hi, "response_format": {"type": "json_object"}}),
        json!({"messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "system", "content": [{"type": "text", "text": "sys"}]},
            {"role": "user", "name": "bob", "content": [{"type": "text", "text": "what"},
                {"type": "image_url", "image_url": {"url": image, "detail": "low"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "get_weather", "arguments": "{\"city\":\"x\"}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]}),
        json!({"messages": hi, "tools": [{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": schema, "strict": true}}], "tool_choice": "auto", "parallel_tool_calls": false}),
        json!({"messages": hi, "n": 1, "stop": "x", "temperature": 0.5, "top_p": 1, "max_tokens": 5,
            "max_completion_tokens": 6, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}, "logprobs": true,
            "seed": 1, "user": "u", "store": true, "metadata": {}, "service_tier": "auto", "reasoning_effort": "low",
            "verbosity": "low", "prompt_cache_key": "k", "safety_identifier": "s", "anything": {"else": [1]}}),
        json!({"messages": hi, "n": null, "stop": ["a", "b"], "tools": null, "tool_choice": null, "stream": null,
            "stream_options": null, "response_format": null, "max_tokens": null, "model": null}),
        json!({"messages": [{"role": "user", "content": ["hi", {"text": "there"}]}], "max_tokens": 100.0}),
        json!({"messages": [{"role": "system", "content": "only a system"}]}),
        json!({"messages": hi, "response_format": {"type": "text"}, "tool_choice": "none", "functions": [],
            "function_call": "auto"}),
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "refusal",
            "refusal": "no"}]}, {"role": "user", "content": "b"}]}),
    ] {
        asked(CHAT, body);
    }
}

#[test]
fn every_responses_body_that_was_seen_is_read() {
    let image = format!("data:image/png;base64,{PNG_BASE64}");
    let text = |role: &str| json!({"type": "message", "id": "msg_1", "role": role, "content": [{"type": "input_text", "text": "t"}]});
    for body in [
        json!({"model": "claude", "input": "hi", "instructions": "be brief"}),
        json!({"model": "claude", "stream": true, "input": "hi"}),
        json!({"model": "claude", "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}),
        json!({"input": [{"role": "system", "content": "sys"}, {"content": "hi", "role": "user", "type": "message"}]}),
        json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": image}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "prev", "annotations": []}]},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "42"},
            {"type": "reasoning", "id": "rs_1", "summary": []}]}),
        json!({"input": "hi", "text": {"format": {"type": "json_schema", "strict": true, "name": "P", "schema": {"type": "object"}}}}),
        // codex 0.169
        json!({"model": "gpt-6", "stream": true, "input": [text("developer"), text("user"), text("user")],
            "tools": [{"type": "function", "name": "shell", "strict": false, "parameters": {"type": "object"}},
                {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
                {"type": "web_search", "external_web_access": false}],
            "tool_choice": "auto", "parallel_tool_calls": false, "reasoning": {"summary": "auto"}, "store": false,
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "client_metadata": {"a": "b"}}),
        json!({"input": "hi", "text": {"verbosity": "low"}, "reasoning": null, "conversation": null, "background": false,
            "previous_response_id": "resp_1", "max_output_tokens": 20, "metadata": {"a": "b"}}),
        json!({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
            {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "text"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "done"}]},
            {"type": "local_shell_call_output", "call_id": "d", "output": {"code": 0}}, text("user")]}),
    ] {
        asked(RESPONSES, body);
    }
}

/// The bodies of section 3.1.
#[test]
fn every_messages_body_that_was_seen_is_read() {
    let hi = json!([{"role": "user", "content": "hi"}]);
    let schema = json!({"type": "object"});
    for body in [
        json!({"max_tokens": 100, "messages": hi, "model": "claude"}),
        json!({"model": "claude", "messages": hi, "stream": true}),
        json!({"messages": hi, "system": "be brief"}),
        json!({"messages": hi, "system": [{"type": "text", "text": "you are", "cache_control": {"type": "ephemeral"}}]}),
        json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "see", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "ok"}, {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "x"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}], "is_error": false},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "s"}, {"type": "tool_result", "tool_use_id": "toolu_3"}]}],
            "tools": [{"name": "f", "description": "d", "input_schema": schema}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
            "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}, "stop_sequences": ["A"],
            "temperature": 1, "top_p": 0.9, "top_k": 5, "service_tier": "auto"}),
        json!({"messages": hi, "output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        json!({"messages": hi, "output_format": {"type": "json_schema", "schema": schema}}),
        // claude 2.1.197
        json!({"model": "claude-opus-4-8", "max_tokens": 32000, "stream": true, "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>"}, {"type": "text", "text": "hi"}]},
            {"role": "system", "content": "Available agent types..."}],
            "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "text", "text": "c"}],
            "tools": [{"name": "Bash", "input_schema": schema}, {"type": "web_search_20250305", "name": "web_search"}],
            "thinking": {"type": "adaptive"}, "context_management": {"edits": []}, "output_config": {"effort": "high"},
            "metadata": {"user_id": "{\"device_id\":\"x\"}"}}),
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result", "url": "u"}]},
            {"type": "redacted_thinking", "data": "x"}]}, {"role": "user", "content": [{"type": "search_result",
                "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]}]}]}),
    ] {
        asked(MESSAGES, body.clone());
        assert!(anthropic::count_tokens(&body).unwrap().starts_with("{\"input_tokens\":"));
    }
}

#[test]
fn what_makes_no_sense_or_what_nobody_can_do_is_refused() {
    let hi = || user(json!("hi"));
    let bad = (400, None);
    let unsupported = (400, Some("unsupported_value".to_owned()));
    let http_image = json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]);
    let source = |source: Value| user(json!([{"type": "image", "source": source}]));
    let document = |source: Value| user(json!([{"type": "document", "source": source}]));
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="});
    let file = |file: Value| user(json!([{"type": "file", "file": file}]));
    for (path, body, expected, param) in [
        (CHAT, json!({}), &bad, "messages"),
        (CHAT, json!({"messages": []}), &bad, "messages"),
        (CHAT, json!({"messages": "hi"}), &bad, "messages"),
        (CHAT, json!({"messages": ["hi"]}), &bad, "messages"),
        (CHAT, json!({"messages": [{"role": "bot", "content": "hi"}]}), &bad, "messages"),
        (CHAT, user(json!(5)), &bad, "messages"),
        (CHAT, user(json!("  ")), &bad, "messages"),
        (CHAT, user(json!([{}])), &bad, "messages"),
        (CHAT, with(hi(), json!({"n": 2})), &unsupported, "n"),
        (CHAT, with(hi(), json!({"n": 0})), &bad, "n"),
        (CHAT, with(hi(), json!({"model": 5})), &bad, "model"),
        (CHAT, with(hi(), json!({"stream": "yes"})), &bad, "stream"),
        (CHAT, with(hi(), json!({"max_tokens": -1})), &bad, "max_tokens"),
        (CHAT, with(hi(), json!({"max_completion_tokens": "x"})), &bad, "max_completion_tokens"),
        (CHAT, with(hi(), json!({"tool_choice": "required"})), &bad, "tool_choice"),
        (
            CHAT,
            with(hi(), json!({"tool_choice": {"type": "function", "function": {"name": "x"}}})),
            &bad,
            "tool_choice",
        ),
        (
            CHAT,
            with(hi(), json!({"tool_choice": {"type": "custom", "custom": {"name": "x"}}})),
            &unsupported,
            "tool_choice",
        ),
        (CHAT, with(hi(), json!({"tool_choice": 5})), &bad, "tool_choice"),
        (CHAT, with(hi(), json!({"function_call": {"name": "f"}})), &unsupported, "function_call"),
        (CHAT, with(hi(), json!({"response_format": {"type": "grammar"}})), &unsupported, "response_format"),
        (CHAT, with(hi(), json!({"response_format": {}})), &bad, "response_format"),
        (
            CHAT,
            with(hi(), json!({"response_format": {"type": "json_schema", "json_schema": {}}})),
            &bad,
            "response_format",
        ),
        (CHAT, user(http_image), &unsupported, "messages"),
        (
            CHAT,
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,Qk0="}}])),
            &unsupported,
            "messages",
        ),
        (
            CHAT,
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}}])),
            &unsupported,
            "messages",
        ),
        (
            CHAT,
            user(json!([{"type": "image_url", "image_url": {"url": "data:image/png"}}])),
            &unsupported,
            "messages",
        ),
        (CHAT, user(json!([{"type": "input_audio", "input_audio": {}}])), &unsupported, "messages"),
        (CHAT, user(json!([{"type": "hologram"}])), &unsupported, "messages"),
        (CHAT, file(json!({"file_id": "file_1"})), &unsupported, "messages"),
        (
            CHAT,
            file(json!({"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"})),
            &unsupported,
            "messages",
        ),
        (CHAT, file(json!({"file_data": "JVBERi0=", "filename": "a.pdf"})), &unsupported, "messages"),
        (CHAT, file(json!({"file_data": "data:text/plain;base64,/w=="})), &unsupported, "messages"),
        (CHAT, json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}), &unsupported, "messages"),
        (
            CHAT,
            json!({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url":
            {"url": format!("data:image/png;base64,{PNG_BASE64}")}}]}]}),
            &unsupported,
            "messages",
        ),
        (MESSAGES, json!({"messages": []}), &bad, "messages"),
        (MESSAGES, json!({"messages": [{"role": "user"}]}), &bad, "messages"),
        (MESSAGES, json!({"messages": [{"content": "hi"}]}), &bad, "messages"),
        (MESSAGES, with(hi(), json!({"max_tokens": 0})), &bad, "max_tokens"),
        (MESSAGES, with(hi(), json!({"tool_choice": {"type": "any"}})), &bad, "tool_choice"),
        (MESSAGES, with(hi(), json!({"tool_choice": {"type": "tool", "name": "x"}})), &bad, "tool_choice"),
        (MESSAGES, with(hi(), json!({"tool_choice": {"type": "all"}})), &unsupported, "tool_choice"),
        (MESSAGES, with(hi(), json!({"system": 5})), &bad, "system"),
        (MESSAGES, source(json!({"type": "url", "url": "https://x/y.png"})), &unsupported, "messages"),
        (MESSAGES, source(json!({"type": "file", "file_id": "f"})), &unsupported, "messages"),
        (MESSAGES, source(json!({"type": "base64", "data": "Zm9v"})), &unsupported, "messages"),
        (MESSAGES, document(pdf), &unsupported, "messages"),
        (MESSAGES, document(json!({"type": "url", "url": "https://x/y.pdf"})), &unsupported, "messages"),
        (MESSAGES, document(json!({"type": "file", "file_id": "f"})), &unsupported, "messages"),
        (RESPONSES, json!({}), &bad, "input"),
        (RESPONSES, json!({"input": []}), &bad, "input"),
        (RESPONSES, json!({"input": ""}), &bad, "input"),
        (RESPONSES, json!({"input": [{"role": "robot", "content": "hi"}]}), &bad, "input"),
        (RESPONSES, json!({"input": [{"type": "item_reference", "id": "x"}]}), &unsupported, "input"),
        (RESPONSES, json!({"input": "hi", "conversation": "conv_1"}), &unsupported, "conversation"),
        (RESPONSES, json!({"input": "hi", "prompt": {"id": "pmpt_1"}}), &unsupported, "prompt"),
        (RESPONSES, json!({"input": "hi", "background": true}), &unsupported, "background"),
        (RESPONSES, json!({"input": "hi", "previous_response_id": 5}), &bad, "previous_response_id"),
        (
            RESPONSES,
            json!({"input": "hi", "tool_choice": {"type": "web_search"}}),
            &unsupported,
            "tool_choice",
        ),
        (
            RESPONSES,
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}),
            &unsupported,
            "input",
        ),
        (
            RESPONSES,
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]}),
            &unsupported,
            "input",
        ),
        (COMPLETIONS, json!({}), &bad, "prompt"),
        (COMPLETIONS, json!({"prompt": [1, 2]}), &unsupported, "prompt"),
        (COMPLETIONS, json!({"prompt": ["a", "b"]}), &unsupported, "prompt"),
        (COMPLETIONS, json!({"prompt": "a", "n": 3}), &unsupported, "n"),
    ] {
        let (status, code, field) = refused(path, &body);
        assert_eq!((&(status, code), field), (expected, Some(param)), "{path} {body}");
    }
}

#[test]
fn a_body_that_is_no_object_is_refused_in_words() {
    for body in [&b""[..], b"hi", b"[1]", b"null", b"{\"a\":}", b"{\"a\":\"\xff\"}", b"{} x"] {
        let fault = parse(body, |_| true, |_| Ok(())).expect_err("no object");
        assert_eq!(fault.status(Surface::OpenAi), 400, "{}", fault.message);
    }
    let deep = "[".repeat(5000);
    assert!(parse(format!("{{\"a\":{deep}").as_bytes(), |_| true, |_| Ok(())).is_err(), "deep nesting ends");
    let cut = parse(br#"{"messages":[{"role":"user","content":"cut \ud83d"}]}"#, |_| true, |_| Ok(()));
    let cut = cut.unwrap();
    assert_eq!(&*render(&asked(CHAT, cut)).prompt, "cut \u{fffd}");
}

#[test]
fn what_has_no_effect_is_named() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "seed": null,
        "tools": [], "tool_choice": "auto", "stop": ["x"], "bad\r\nname": 1, "n": 1, "x".repeat(65): 1});
    let chat = asked(CHAT, body);
    assert_eq!(chat.ignored_header().as_deref(), Some("stop, temperature, tool_choice, tools"));
    assert_eq!(asked(CHAT, user(json!("hi"))).ignored_header(), None);
    let many: Value = (0..100)
        .map(|number| (format!("field{number:03}"), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let chat = asked(CHAT, with(user(json!("hi")), many));
    assert_eq!((chat.ignored.len(), chat.ignored_header().unwrap().split(", ").count()), (100, 32));
    let forced =
        json!({"tools": [{"name": "w", "input_schema": {}}], "tool_choice": {"type": "any"}, "top_k": 1});
    assert_eq!(asked(MESSAGES, with(user(json!("hi")), forced)).ignored, ["top_k"]);
}

#[test]
fn limits_and_effort_have_one_place_each() {
    let chat = |more: Value| asked(CHAT, with(user(json!("hi")), more));
    assert_eq!(chat(json!({"max_tokens": 5})).max_tokens, Some(5));
    assert_eq!(chat(json!({"max_tokens": 5, "max_completion_tokens": 6})).max_tokens, Some(6));
    assert_eq!(chat(json!({"max_tokens": 1e12})).max_tokens, Some(u32::MAX));
    for (word, effort) in [
        ("none", Some(Effort::Low)),
        ("minimal", Some(Effort::Low)),
        ("medium", Some(Effort::Medium)),
        ("xhigh", Some(Effort::Xhigh)),
        ("max", Some(Effort::Max)),
        ("ultra", Some(Effort::Ultra)),
        ("extreme", None),
    ] {
        assert_eq!(chat(json!({"reasoning_effort": word})).effort, effort, "{word}");
        assert_eq!(asked(RESPONSES, json!({"input": "hi", "reasoning": {"effort": word}})).effort, effort);
        assert_eq!(
            asked(MESSAGES, with(user(json!("hi")), json!({"output_config": {"effort": word}}))).effort,
            effort
        );
    }
    let chat =
        asked(RESPONSES, json!({"input": "hi", "max_output_tokens": 7, "previous_response_id": "resp_1"}));
    assert_eq!((chat.max_tokens, chat.previous.as_deref(), chat.store), (Some(7), Some("resp_1"), true));
    assert!(!asked(RESPONSES, json!({"input": "hi", "store": false})).store);
}

#[test]
fn pictures_come_from_all_three_dialects() {
    let url = format!("data:image/png;base64,{PNG_BASE64}");
    let input = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    for (path, body) in [
        (CHAT, user(json!([{"type": "image_url", "image_url": {"url": url}}]))),
        (CHAT, user(json!([{"type": "image_url", "image_url": url}]))),
        // What it is said to be does not matter, its bytes do.
        (
            CHAT,
            user(json!([{"type": "image_url", "image_url": {"url": format!("DATA:;base64,{PNG_BASE64}")}}])),
        ),
        (CHAT, user(json!([{"type": "file", "file": {"file_data": url, "filename": "a.png"}}]))),
        (RESPONSES, input(json!({"type": "input_image", "image_url": url, "detail": "auto"}))),
        (
            MESSAGES,
            user(
                json!([{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG_BASE64}}]),
            ),
        ),
        (
            MESSAGES,
            user(json!([{"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}}]}])),
        ),
    ] {
        let images = render(&asked(path, body.clone())).images;
        let found: Vec<(&str, &[u8])> = images.iter().map(|image| (image.mime, &*image.data)).collect();
        assert_eq!(found, [("image/png", PNG)], "{body}");
    }
}

#[test]
fn documents_that_are_text_are_named_text() {
    let input = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let document = |more: Value| user(json!([with(json!({"type": "document"}), more)]));
    for (path, body, name) in [
        (
            CHAT,
            user(
                json!([{"type": "file", "file": {"file_data": "data:text/plain;base64,Zm9v", "filename": "a.txt"}}]),
            ),
            "a.txt",
        ),
        (CHAT, user(json!([{"type": "file", "file": {"file_data": "data:text/csv,f%6fo"}}])), "file"),
        (CHAT, user(json!([{"type": "file", "file": {"file_data": "Zm9v", "filename": "a.rs"}}])), "a.rs"),
        (
            RESPONSES,
            input(
                json!({"type": "input_file", "file_data": "data:application/json;base64,Zm9v", "filename": "a.json"}),
            ),
            "a.json",
        ),
        (
            MESSAGES,
            document(
                json!({"title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "foo"}}),
            ),
            "T",
        ),
        (
            MESSAGES,
            document(json!({"source": {"type": "base64", "media_type": "text/plain", "data": "Zm9v"}})),
            "document",
        ),
        (
            MESSAGES,
            document(json!({"source": {"type": "content", "content": [{"type": "text", "text": "foo"}]}})),
            "document",
        ),
        (MESSAGES, document(json!({"source": {"type": "content", "content": "foo"}})), "document"),
    ] {
        let parts = asked(path, body.clone()).turns.remove(0).parts;
        assert_eq!(parts, [Part::Document { name: name.to_owned(), text: "foo".to_owned() }], "{body}");
    }
    let source = json!({"type": "text", "data": "foo"});
    let parts = asked(MESSAGES, document(json!({"title": "T", "context": "old", "source": source})))
        .turns
        .remove(0)
        .parts;
    assert_eq!(parts[0], Part::Text("old".into()));
}

#[test]
fn who_said_what_is_kept() {
    let turns = |path: &str, body: Value| -> Vec<(Role, usize)> {
        asked(path, body).turns.iter().map(|turn| (turn.role, turn.parts.len())).collect()
    };
    let (user, assistant) = (Role::User, Role::Assistant);
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        turns(
            CHAT,
            json!({"messages": [
            {"role": "user", "content": "a"}, {"role": "user", "content": "b"},
            {"role": "assistant", "content": "", "tool_calls": [call, call]},
            {"role": "tool", "tool_call_id": "c", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "y"}]},
            {"role": "user", "content": "c"}, {"role": "system", "content": "s"}, {"role": "assistant", "content": null},
            {"role": "user", "content": "d"}]})
        ),
        [(user, 2), (assistant, 2), (user, 4)]
    );
    assert_eq!(
        turns(
            CHAT,
            json!({"messages": [{"role": "user", "name": "ann", "content": "a"},
            {"role": "user", "name": "bob", "content": "b"}]})
        ),
        [(user, 1), (user, 1)]
    );
    let older = asked(
        CHAT,
        json!({"messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\":1}"}},
        {"role": "function", "name": "f", "content": "r"}]}),
    );
    assert_eq!(
        older.turns[1].parts[0],
        Part::ToolCall { id: String::new(), name: "f".to_owned(), arguments: "{\"x\":1}".to_owned() }
    );
    assert_eq!(
        older.turns[2].parts[0],
        Part::ToolResult { id: "f".to_owned(), text: "r".to_owned(), is_error: false }
    );
    let chat = asked(
        MESSAGES,
        json!({"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "messages": [
        {"role": "user", "content": "q"}, {"role": "system", "content": "c"}, {"role": "developer", "content": "d"}]}),
    );
    assert_eq!(chat.system, ["a", "b", "c", "d"]);
}

#[test]
fn a_response_repeats_what_was_asked() {
    let body = json!({"model": "m", "input": "hi", "instructions": "be brief", "metadata": {"a": "b"}, "temperature": 0.5,
        "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}, "store": true, "previous_response_id": "resp_0"});
    let chat = asked(RESPONSES, body);
    let answer =
        super::dialect(RESPONSES).answer(&chat, &super::stamp(), &super::hello(), &super::finished(1, 1));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    for (name, value) in [
        ("instructions", json!("be brief")),
        ("metadata", json!({"a": "b"})),
        ("temperature", json!(0.5)),
        ("reasoning", json!({"effort": "low", "summary": null})),
        ("text", json!({"format": {"type": "text"}, "verbosity": "low"})),
        ("store", json!(true)),
        ("previous_response_id", json!("resp_0")),
        ("tools", json!([])),
    ] {
        assert_eq!(answer[name], value, "{name}");
    }
}
