//! Failures as each dialect's clients understand them.

use super::*;

/// A failure in the dialect of that path: status, type, code (OpenAI's alone), words.
#[track_caller]
fn is_failure(answer: &Answer, path: &str, status: u16, kind: &str, code: Value, words: &str) {
    let told = answer.json();
    let error = &told["error"];
    let message = error["message"].as_str().unwrap_or_default();
    let id = answer.header("x-request-id").map(str::to_owned);
    assert!(
        answer.status == status && error["type"] == kind && message.contains(words) && id.is_some(),
        "expected {status} {kind} with {words:?}: {answer}"
    );
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
    assert_eq!(answer.header("request-id").map(str::to_owned), id, "{answer}");
    if path.starts_with("/openai") {
        assert!(error["code"] == code && error.get("param").is_some(), "expected code {code}: {answer}");
    } else {
        assert!(told["type"] == "error" && told["request_id"].as_str() == id.as_deref(), "{answer}");
    }
}

#[test]
fn what_fails_before_the_first_word_fails_by_its_status() {
    // (kind, status, OpenAI's type, its code, Anthropic's type, should not be tried again, retry after)
    let bad = "invalid_request_error";
    type Row = (&'static str, u16, &'static str, Value, &'static str, bool, Option<&'static str>);
    let table: &[Row] = &[
        (
            "quota",
            429,
            "rate_limit_error",
            json!("rate_limit_exceeded"),
            "rate_limit_error",
            false,
            Some("20"),
        ),
        ("login", 400, bad, json!("login"), bad, false, None),
        ("refusal", 400, bad, json!("refusal"), bad, false, None),
        ("overloaded", 503, "server_error", json!("overloaded"), "overloaded_error", false, Some("10")),
        ("unreachable", 503, "server_error", json!("overloaded"), "overloaded_error", false, Some("10")),
        ("busy", 429, "rate_limit_error", json!("rate_limit_exceeded"), "rate_limit_error", false, Some("5")),
        ("context_too_long", 400, bad, json!("context_length_exceeded"), bad, false, None),
        ("timeout", 504, "server_error", json!("timeout"), "timeout_error", true, None),
        ("crash", 502, "server_error", json!("backend_error"), "api_error", true, None),
        ("unreadable", 502, "server_error", json!("backend_error"), "api_error", true, None),
        ("unknown_model", 404, bad, json!("model_not_found"), "not_found_error", false, None),
        ("session_busy", 400, bad, json!("session_busy"), bad, false, None),
        ("internal", 500, "server_error", json!("internal"), "api_error", true, None),
    ];
    for (fail, status, openai, code, anthropic, stop, after) in table {
        let (_scene, server) = with_echo(json!({"fail": fail}), json!({}));
        for path in [CHAT, RESPONSES, MESSAGES] {
            let kind = if path == MESSAGES { anthropic } else { openai };
            for body in [asking(path, "x"), streaming(path, "x")] {
                let answer = server.post(path, &body);
                // Codex sends thirty requests for a 5xx: it is told in the stream.
                if path == RESPONSES && body["stream"] == true && *status >= 500 {
                    assert_eq!(
                        answer.header("content-type"),
                        Some("text/event-stream; charset=utf-8"),
                        "{answer}"
                    );
                    let failed = answer.body.rsplit("event: response.failed").next().unwrap();
                    assert!(answer.status == 200 && failed.contains("as configured"), "{answer}");
                    assert!(answer.body.contains(&format!(r#""code":{code}"#)), "{answer}");
                    continue;
                }
                is_failure(&answer, path, *status, kind, code.clone(), "");
                let told = (answer.header("x-should-retry") == Some("false"), answer.header("retry-after"));
                assert_eq!(told, (*stop, *after), "{fail}: {answer}");
            }
        }
    }
}

#[test]
fn what_fails_in_mid_stream_is_told_so_that_no_client_takes_it_for_an_answer() {
    let (_scene, server) = with_echo(json!({"exit_code": 9}), json!({}));
    let body = |path: &str| server.post(path, &streaming(path, "some words")).body;
    let chat = body(CHAT);
    let failed = r#"data: {"error":{"message":"the backend ended with exit status 9","type":"server_error","param":null,"code":"backend_error"}}"#;
    assert!(chat.contains("some words"), "{chat}");
    let end: Vec<&str> = chat.split("\n\n").collect();
    let [.., error, done, ""] = &end[..] else { panic!("{chat}") };
    assert!(
        error.starts_with(r#"data: {"error":{"message":""#) && error.contains("exit status 9"),
        "{chat}\n{failed}"
    );
    assert!(error.ends_with(r#","type":"server_error","param":null,"code":"backend_error"}}"#), "{chat}");
    assert!(*done == "data: [DONE]" && !chat.contains(r#""finish_reason":"stop""#), "{chat}");

    let messages = body(MESSAGES);
    let (before, error) = messages.split_once("event: error\ndata: ").unwrap_or_else(|| panic!("{messages}"));
    let error: Value = serde_json::from_str(error.strip_suffix("\n\n").unwrap()).unwrap();
    assert!(before.contains("some words") && !before.contains("message_stop"), "{messages}");
    assert!(
        error["type"] == "error" && error["error"]["type"] == "api_error" && error["request_id"].is_string(),
        "{error}"
    );

    let responses = body(RESPONSES);
    let frames: Vec<&str> = responses.split("\n\n").filter(|frame| !frame.is_empty()).collect();
    let [.., error, failed] = &frames[..] else { panic!("{responses}") };
    let data = |frame: &str, name: &str| -> Value {
        let data =
            frame.strip_prefix(&format!("event: {name}\ndata: ")).unwrap_or_else(|| panic!("{responses}"));
        serde_json::from_str(data).unwrap()
    };
    let (error, failed) = (data(error, "error"), data(failed, "response.failed"));
    assert!(error["error"]["code"] == "backend_error" && error["error"]["type"] == "server_error", "{error}");
    assert!(
        failed["response"]["status"] == "failed" && failed["response"]["error"]["code"] == "invalid_prompt",
        "{failed}"
    );
    assert_eq!(
        error["sequence_number"].as_u64().map(|number| number + 1),
        failed["sequence_number"].as_u64()
    );
    assert!(!responses.contains("response.completed"), "{responses}");
}

#[test]
fn unknown_paths_and_methods_are_told_in_the_dialect_of_the_path() {
    let (_scene, server) = echo();
    for path in ["/openai/v1/embeddings", "/openai/nope", "/anthropic/v1/complete"] {
        let kind = if path.starts_with("/openai") { "invalid_request_error" } else { "not_found_error" };
        is_failure(&server.post(path, &json!({})), path, 404, kind, json!("unknown_url"), path);
    }
    for (path, allow) in [(CHAT, "POST"), (MESSAGES, "POST")] {
        let wrong = server.get(path);
        is_failure(&wrong, path, 405, "invalid_request_error", Value::Null, "GET");
        assert_eq!(wrong.header("allow"), Some(allow), "{wrong}");
    }
    for (path, body) in [(CHAT, "{"), (MESSAGES, "[]"), (RESPONSES, "{}"), (CHAT, "")] {
        let wrong = server.ask("POST", path).body(body).answer();
        assert!(wrong.status == 400 && wrong.json()["error"]["type"] == "invalid_request_error", "{wrong}");
    }
    // Any number of `/v1`, and none.
    for path in [
        "/openai/chat/completions",
        "/openai/v1/v1/chat/completions",
        "/openai/v1/chat/completions?beta=true",
    ] {
        assert_eq!(server.post(path, &asking(CHAT, "x")).status, 200, "{path}");
    }
    for path in ["/anthropic/messages", "/anthropic/v1/v1/messages?beta=true"] {
        assert_eq!(server.post(path, &asking(MESSAGES, "x")).status, 200, "{path}");
    }
    assert_eq!(server.ask("HEAD", "/anthropic").send().head().status, 200);
}

#[test]
fn either_surface_takes_either_header_of_a_key() {
    let (scene, _) = echo();
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "ci=very-secret-key")]);
    for (path, kind, code, words) in [
        (CHAT, "invalid_request_error", json!("invalid_api_key"), "Incorrect API key provided"),
        (MESSAGES, "authentication_error", Value::Null, "invalid x-api-key"),
    ] {
        let ask = || server.ask("POST", path).json(&asking(path, "x"));
        for refused in [
            ask().answer(),
            ask().header("X-Api-Key", "wrong").answer(),
            ask().header("Authorization", "Bearer wrong").answer(),
        ] {
            is_failure(&refused, path, 401, kind, code.clone(), words);
            assert_eq!(refused.header("x-should-retry"), Some("false"), "{refused}");
        }
        for let_in in [
            ask().header("X-Api-Key", "very-secret-key"),
            ask().header("Authorization", "Bearer very-secret-key"),
        ] {
            assert_eq!(let_in.answer().status, 200, "{path}");
        }
    }
}

#[test]
fn pictures_are_refused_where_nobody_sees_them_with_the_names_of_those_who_do() {
    let (_scene, server) = echo();
    let png = clinvk::base::encoding::base64(b"\x89PNG....");
    let url = format!("data:image/png;base64,{png}");
    let image = json!([{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]);
    let source = json!({"type": "base64", "media_type": "image/png", "data": png});
    for (path, body) in [
        (CHAT, json!({"model": "echo", "messages": [{"role": "user", "content": image}]})),
        (
            MESSAGES,
            json!({"model": "echo", "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}]}),
        ),
        (
            RESPONSES,
            json!({"model": "echo", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
        ),
    ] {
        let refused = server.post(path, &body);
        is_failure(
            &refused,
            path,
            400,
            "invalid_request_error",
            json!("unsupported_value"),
            "claude, codex, gemini",
        );
        assert!(!refused.body.contains("--lenient"), "{refused}");
    }
}

#[test]
fn a_backend_that_is_not_installed_or_switched_off_is_a_failure_for_good() {
    let (scene, server) = echo();
    let refused = server.post(CHAT, &with(asking(CHAT, "x"), json!({"model": "codex"})));
    is_failure(&refused, CHAT, 400, "invalid_request_error", json!("not_installed"), "not on PATH");
    drop(server);
    scene.edit_config(|config| config["backends"]["codex"] = json!({"enabled": false}));
    let server = scene.serve([]);
    let refused = server.post(MESSAGES, &with(asking(MESSAGES, "x"), json!({"model": "codex"})));
    assert!(refused.status >= 400 && refused.status < 500, "{refused}");
}

#[test]
fn a_stream_without_end_is_no_memory_without_end() {
    let scene = Scene::playing(&format!("cat; bytes {}", 300 << 20));
    let server = scene.serve([]);
    let mut stream = server.post_stream(RESPONSES, &streaming(RESPONSES, "x"));
    stream.head();
    let (mut all, mut last) = (0, String::new());
    loop {
        let chunk = stream.chunk();
        if chunk.is_empty() {
            break;
        }
        (all, last) = (all + chunk.len(), chunk);
    }
    assert!(
        all > 60 << 20 && last.contains("event: response.failed") && last.contains("more than"),
        "{all}: {last}"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 300 << 10, "{peak} kB");
}
