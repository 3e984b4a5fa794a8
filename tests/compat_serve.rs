//! The compatible surfaces by the real binary: what their clients see of runs, whole and streamed, and of failures.

use crate::util::http::{Answer, Server, Stream};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};
use std::fs;

const CHAT: &str = "/openai/v1/chat/completions";
const COMPLETIONS: &str = "/openai/v1/completions";
const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";
const ALL: [&str; 4] = [CHAT, COMPLETIONS, RESPONSES, MESSAGES];

/// A server with echo as its default backend, and these keys of echo and of the server.
fn echo(echo: Value, server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo}, "server": server}));
    let running = scene.serve([]);
    (scene, running)
}

/// A body that asks this of an endpoint.
fn asking(path: &str, prompt: &str) -> Value {
    match path {
        COMPLETIONS => json!({"prompt": prompt}),
        RESPONSES => json!({"input": prompt}),
        _ => json!({"messages": [{"role": "user", "content": prompt}]}),
    }
}

/// The same with these fields besides.
fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// The text of a whole answer.
fn text_of<'a>(path: &str, told: &'a Value) -> &'a Value {
    match path {
        CHAT => &told["choices"][0]["message"]["content"],
        COMPLETIONS => &told["choices"][0]["text"],
        RESPONSES => &told["output"][0]["content"][0]["text"],
        _ => &told["content"][0]["text"],
    }
}

/// The data of the frames of a stream.
fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| serde_json::from_str(line).unwrap_or(Value::from(line))).collect()
}

/// The text in a piece of a stream.
fn text_in(path: &str, stream: &str) -> String {
    let piece = |frame: &Value| {
        let piece = match path {
            CHAT => &frame["choices"][0]["delta"]["content"],
            COMPLETIONS => &frame["choices"][0]["text"],
            RESPONSES if frame["type"] == "response.output_text.delta" => &frame["delta"],
            MESSAGES if frame["type"] == "content_block_delta" => &frame["delta"]["text"],
            _ => &Value::Null,
        };
        piece.as_str().unwrap_or_default().to_owned()
    };
    data(stream).iter().map(piece).collect()
}

/// Reads a stream until its text is this.
#[track_caller]
fn hear(path: &str, stream: &mut Stream, text: &str) -> String {
    let mut heard = String::new();
    while text_in(path, &heard) != text {
        let chunk = stream.chunk();
        assert!(!chunk.is_empty(), "ended before {text:?}: {heard}");
        heard += &chunk;
    }
    heard
}

#[test]
fn every_endpoint_answers_whole_and_in_frames() {
    let (_scene, server) = echo(json!({}), json!({}));
    for path in ALL {
        let whole = server.post(path, &with(asking(path, "two words"), json!({"model": "echo"})));
        let told = whole.json();
        assert!(text_of(path, &told) == "two words" && told["model"] == "echo", "{path}: {whole}");
        let streamed = with(asking(path, "two words"), json!({"model": "echo", "stream": true}));
        let streamed = server.post(path, &streamed);
        assert_eq!(text_in(path, &streamed.body), "two words", "{path}: {streamed}");
        let types = ["application/json", "text/event-stream; charset=utf-8"];
        for (answer, kind) in [whole, streamed].iter().zip(types) {
            let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
            assert_eq!(
                (
                    answer.status,
                    header("content-type").as_str(),
                    header("x-clinvk-backend"),
                    header("x-clinvk-model")
                ),
                (200, kind, "echo".to_owned(), "echo".to_owned()),
                "{path}: {answer}"
            );
            assert!(
                !header("x-request-id").is_empty() && header("request-id") == header("x-request-id"),
                "{answer}"
            );
            assert_eq!(answer.header("x-clinvk-usage"), None, "{answer}");
        }
    }
    let usage = server.post(CHAT, &asking(CHAT, "two words")).json()["usage"].clone();
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(2), &json!(2)), "{usage}");
}

#[test]
fn a_piece_is_told_before_the_backend_says_the_next_one() {
    for path in ALL {
        let scene = Scene::playing("cat >/dev/null; printf one; await go; printf ' two'; await go");
        let mut go = scene.fifo("go");
        let server = scene.serve([]);
        let mut stream =
            server.ask("POST", path).json(&with(asking(path, "x"), json!({"stream": true}))).send();
        let head = stream.head();
        assert_eq!(head.status, 200, "{head}");
        hear(path, &mut stream, "one");
        go.tell();
        hear(path, &mut stream, " two");
        go.tell();
        stream.rest(&head);
    }
}

#[test]
fn thinking_is_kept_out_and_usage_is_the_backends_own() {
    let fields =
        json!({"text": "t", "thinking": "th", "input_tokens": "in", "output_tokens": "out", "model": "m"});
    let play = r#"cat >/dev/null; say '{"m":"large-1"}'; say '{"th":"secret"}'; say '{"t":"open"}'; say '{"in":5,"out":7}'"#;
    let scene = Scene::declaring(json!({"output": "jsonl", "fields": fields}), play);
    let server = scene.serve([]);
    for path in ALL {
        for stream in [false, true] {
            let more = json!({"stream": stream, "stream_options": {"include_usage": true}});
            let answer = server.post(path, &with(asking(path, "x"), more));
            assert!(!answer.body.contains("secret") && answer.body.contains("open"), "{path}: {answer}");
            let (input, output) = match path {
                CHAT | COMPLETIONS => ("prompt_tokens", "completion_tokens"),
                _ => ("input_tokens", "output_tokens"),
            };
            assert!(answer.body.contains(&format!("\"{output}\":7")), "{path}: {answer}");
            assert!(answer.body.contains(&format!("\"{input}\":5")), "{path}: {answer}");
            assert_eq!(answer.header("x-clinvk-model"), Some("large-1"), "{answer}");
        }
    }
}

#[test]
fn a_backend_that_counts_nothing_is_estimated_and_the_answer_says_so() {
    let scene = Scene::playing("cat >/dev/null; printf 12345678");
    let server = scene.serve([]);
    let answer = server.post(CHAT, &asking(CHAT, "x"));
    let usage = &answer.json()["usage"];
    assert_eq!(answer.header("x-clinvk-usage"), Some("estimated"), "{answer}");
    assert!(usage["completion_tokens"] == 2 && usage["prompt_tokens"].as_u64() > Some(0), "{usage}");
}

#[test]
fn a_limit_of_tokens_is_honoured_and_told_or_named_as_ignored() {
    let (_scene, server) = echo(json!({}), json!({}));
    for (path, field, reason) in [
        (CHAT, "max_completion_tokens", "/choices/0/finish_reason"),
        (COMPLETIONS, "max_tokens", "/choices/0/finish_reason"),
        (RESPONSES, "max_output_tokens", "/incomplete_details/reason"),
        (MESSAGES, "max_tokens", "/stop_reason"),
    ] {
        let cut = server.post(path, &with(asking(path, "one two three"), json!({field: 2})));
        let why = cut.json().pointer(reason).cloned();
        let expected = match path {
            RESPONSES => "max_output_tokens",
            MESSAGES => "max_tokens",
            _ => "length",
        };
        assert_eq!((why, cut.header("x-clinvk-ignored")), (Some(json!(expected)), None), "{path}: {cut}");
        let whole = server.post(path, &with(asking(path, "one two three"), json!({field: 3})));
        assert_ne!(whole.json().pointer(reason), Some(&json!(expected)), "{path}: {whole}");
    }
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    let body = with(asking(CHAT, "x"), json!({"max_tokens": 2, "temperature": 1, "reasoning_effort": "low"}));
    let ignored = server.post(CHAT, &body);
    assert_eq!(
        ignored.header("x-clinvk-ignored"),
        Some("temperature, max_tokens, reasoning_effort"),
        "{ignored}"
    );
}

#[test]
fn a_failure_before_the_answer_is_a_status_with_its_headers_in_both_dialects() {
    let table = [
        ("login", 400, None, None, "invalid_request_error", "invalid_request_error"),
        ("context_too_long", 400, None, None, "invalid_request_error", "invalid_request_error"),
        ("unknown_model", 404, None, None, "invalid_request_error", "not_found_error"),
        ("quota", 429, Some("20"), None, "rate_limit_error", "rate_limit_error"),
        ("overloaded", 503, Some("10"), None, "server_error", "overloaded_error"),
        ("crash", 502, None, Some("false"), "server_error", "api_error"),
        ("timeout", 504, None, Some("false"), "server_error", "timeout_error"),
    ];
    for (kind, status, retry_after, should_retry, openai, anthropic) in table {
        let (_scene, server) = echo(json!({"fail": kind}), json!({}));
        for path in ALL {
            for stream in [false, true] {
                let answer = server.post(path, &with(asking(path, "x"), json!({"stream": stream})));
                if path == RESPONSES && stream && status >= 500 {
                    // Codex would ask again up to 30 times.
                    let is_told =
                        answer.body.contains("event: error") && answer.body.contains("response.failed");
                    assert!(answer.status == 200 && is_told, "{kind}: {answer}");
                    continue;
                }
                let told = answer.json();
                let expected = if path == MESSAGES { anthropic } else { openai };
                assert_eq!(
                    (
                        answer.status,
                        answer.header("retry-after"),
                        answer.header("x-should-retry"),
                        &told["error"]["type"]
                    ),
                    (status, retry_after, should_retry, &json!(expected)),
                    "{kind} on {path}: {answer}"
                );
                assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
                assert_eq!(answer.header("x-clinvk-backend"), Some("echo"), "{answer}");
                if path == MESSAGES {
                    assert_eq!(told["request_id"].as_str(), answer.header("request-id"), "{answer}");
                }
            }
        }
    }
}

#[test]
fn a_failure_in_the_middle_of_a_stream_is_told_in_it_and_the_stream_ends() {
    let scene = Scene::playing("cat >/dev/null; printf half; await go; echo broken >&2; exit 3");
    let mut go = scene.fifo("go");
    let server = scene.serve([]);
    for path in ALL {
        let mut stream =
            server.ask("POST", path).json(&with(asking(path, "x"), json!({"stream": true}))).send();
        let head = stream.head();
        hear(path, &mut stream, "half");
        go.tell();
        // Up to the last chunk: a connection that is cut has none.
        let rest = stream.rest(&head);
        let frames = data(&rest);
        let last = frames.iter().rev().find(|frame| frame.is_object()).unwrap_or(&Value::Null);
        let is_told = match path {
            CHAT | COMPLETIONS => {
                last["error"]["code"] == "backend_error" && rest.ends_with("data: [DONE]\n\n")
            }
            RESPONSES => {
                last["type"] == "response.failed" && frames.iter().any(|frame| frame["type"] == "error")
            }
            _ => last["type"] == "error" && last["error"]["type"] == "api_error",
        };
        assert!(is_told && rest.contains("broken"), "{path}: {rest}");
    }
}

#[test]
fn an_answer_in_json_that_fails_in_the_middle_is_a_failure_by_its_status() {
    let scene = Scene::playing("cat >/dev/null; printf half; exit 3");
    let server = scene.serve([]);
    let answer = server.post(CHAT, &asking(CHAT, "x"));
    assert!(answer.status == 502 && !answer.body.contains("half"), "{answer}");
}

#[test]
fn a_client_that_leaves_ends_its_run_and_the_whole_tree() {
    for stream in [true, false] {
        let scene = Scene::playing(
            "cat >/dev/null; printf word; daemon; tell up; trap '' TERM INT; while :; do \"$here/sleep\" 1000; done",
        );
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let asked = server.ask("POST", CHAT).json(&with(asking(CHAT, "x"), json!({"stream": stream}))).send();
        up.told();
        drop(asked);
        let own = server.process.pid;
        until("the tree is gone", || scene.processes().keys().all(|pid| *pid == own));
        until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
        server.stop();
        scene.is_deserted();
    }
}

/// The answer to a request that was sent.
fn read(stream: &mut Stream) -> Answer {
    let mut answer = stream.head();
    answer.body = stream.rest(&answer);
    answer
}

/// The names in a list of models.
fn names(answer: &Answer) -> Vec<String> {
    let told = answer.json();
    let data = told["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn models_are_those_of_installed_backends_that_the_client_may_use() {
    let scene = Scene::new();
    let fake = scene.fake("fake", "cat");
    scene.fake("codex", "exit 1");
    scene.config(&json!({
        "default_backend": "echo",
        "backends": {"fake": {"command": [fake], "models": {"small": "s-1"}}, "gone": {"command": ["/no/such"]}},
        "server": {
            "models": {"mine": "fake/s-2", "of gone": "gone", "org/mo del": "echo"},
            "allowed_backends": ["echo", "fake", "gone"],
        },
    }));
    let server = scene.serve([]);
    let expected = ["mine", "org/mo del", "echo", "fake", "fake/small"];
    assert_eq!(names(&server.get("/openai/v1/models")), expected);
    assert_eq!(names(&server.get("/anthropic/v1/models?beta=true")), expected);
    let page = server.get("/anthropic/v1/models?limit=2&after_id=echo");
    assert_eq!(
        (names(&page), &page.json()["has_more"]),
        (vec!["fake".to_owned(), "fake/small".to_owned()], &json!(false))
    );
    for (path, status) in [
        ("/openai/v1/models/org%2Fmo%20del", 200),
        ("/openai/v1/v1/models/fake/small", 200),
        ("/anthropic/v1/models/fake%2Fsmall", 200),
        ("/openai/v1/models/codex", 404),
        ("/anthropic/v1/models/nobody", 404),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
}

#[test]
fn a_models_name_says_who_answers_and_is_repeated_as_it_was_asked() {
    let scene = Scene::new();
    let fake = scene.fake("fake", "cat >/dev/null; printf '%s' \"$*\"");
    let config = |strict: bool| {
        json!({
            "default_backend": "echo",
            "backends": {
                "fake": {"command": [fake], "model_args": ["-m", "{model}"], "models": {"small": "s-1"}},
                "codex": {"enabled": false},
            },
            "server": {"models": {"mine": "fake/s-2", "broken": "nobody/x"}, "strict_models": strict},
        })
    };
    scene.config(&config(false));
    let server = scene.serve([]);
    for (asked, backend, text) in [
        ("fake", "fake", ""),
        ("fake/small", "fake", "-m s-1"),
        ("fake:any", "fake", "-m any"),
        ("mine", "fake", "-m s-2"),
        ("echo", "echo", "x"),
        ("who-knows", "echo", "x"),
        // Claude and codex are not here to answer to their models.
        ("claude-opus-4-8", "echo", "x"),
        ("", "echo", "x"),
    ] {
        let answer = server.post(CHAT, &with(asking(CHAT, "x"), json!({"model": asked})));
        let told = answer.json();
        let model = if asked.is_empty() { "echo" } else { asked };
        assert_eq!(
            (answer.header("x-clinvk-backend"), &told["model"], text_of(CHAT, &told)),
            (Some(backend), &json!(model), &json!(text)),
            "{asked}: {answer}"
        );
    }
    let status = |server: &Server, model: &str| {
        let answer = server.post(MESSAGES, &with(asking(MESSAGES, "x"), json!({"model": model})));
        (answer.status, answer.json()["error"]["type"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(status(&server, "nobody/x"), (404, "not_found_error".to_owned()));
    assert_eq!(status(&server, "broken"), (500, "api_error".to_owned()));
    assert_eq!(
        status(&server, "codex"),
        (403, "permission_error".to_owned()),
        "it is switched off, not unknown"
    );
    assert_eq!(status(&server, "claude"), (400, "invalid_request_error".to_owned()), "it is not installed");
    server.stop();
    scene.config(&config(true));
    let server = scene.serve([]);
    assert_eq!(status(&server, "who-knows").0, 404);
    assert_eq!(status(&server, "mine").0, 200);
}

#[test]
fn paths_and_methods_that_there_are_not_answer_in_their_dialect() {
    let (_scene, server) = echo(json!({}), json!({}));
    let message = |answer: &Answer| answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    for path in ["/openai/v1/embeddings", "/openai/nothing", "/anthropic/v1/nothing"] {
        let answer = server.post(path, &json!({}));
        assert!(answer.status == 404 && message(&answer).contains("unknown path"), "{answer}");
        assert_eq!(answer.json()["type"] == "error", path.starts_with("/anthropic"), "{answer}");
    }
    let answer = server.get(CHAT);
    assert!(answer.status == 405 && answer.header("allow") == Some("POST"), "{answer}");
    for path in ["/openai/v1/v1/v1/chat/completions", "/openai/chat/completions"] {
        assert_eq!(server.post(path, &asking(CHAT, "x")).status, 200, "{path}");
    }
    let broken = server.ask("POST", MESSAGES).body("{\"messages\": [").answer();
    assert!(broken.status == 400 && message(&broken).contains("JSON"), "{broken}");
    let form = server.ask("POST", CHAT).header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.body(asking(CHAT, "x").to_string()).answer().status, 200);
    let lone = r#"{"messages": [{"role": "user", "content": "cut \ud83d"}]}"#;
    let lone = server.ask("POST", CHAT).body(lone).answer().json();
    assert_eq!(text_of(CHAT, &lone), "cut \u{fffd}");
}

#[test]
fn either_header_carries_the_key_and_claudes_probe_needs_none() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "the-right-key")]);
    let ask = |path: &str, name: &str, value: &str| {
        server.ask("POST", path).header(name, value).json(&asking(path, "x")).answer()
    };
    for path in [CHAT, MESSAGES] {
        assert_eq!(ask(path, "Authorization", "Bearer the-right-key").status, 200);
        assert_eq!(ask(path, "x-api-key", "the-right-key").status, 200);
        let wrong = ask(path, "x-api-key", "the-wrong-key");
        assert_eq!((wrong.status, wrong.header("x-should-retry")), (401, Some("false")), "{wrong}");
    }
    let wrong = ask(CHAT, "x-api-key", "no");
    assert!(
        wrong.json()["error"]["message"].as_str().unwrap().starts_with("Incorrect API key provided"),
        "{wrong}"
    );
    let probe = server.ask("HEAD", "/anthropic").send().head();
    assert_eq!(probe.status, 200, "{probe}");
    assert_eq!(server.get("/anthropic/v1/models").status, 401);
}

#[test]
fn what_a_rule_forbids_is_refused_in_the_dialect() {
    let (_scene, server) = echo(json!({}), json!({"allowed_backends": ["nobody"]}));
    for (path, kind) in [(CHAT, "permission_error"), (MESSAGES, "permission_error")] {
        let answer = server.post(path, &asking(path, "x"));
        assert!(answer.status == 403 && answer.json()["error"]["type"] == kind, "{answer}");
        assert!(answer.body.contains("server.allowed_backends"), "{answer}");
    }
}

#[test]
fn pictures_go_to_who_can_see_them_and_are_refused_else() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "unified_flags": {"lenient": true}}));
    let server = scene.serve([]);
    let url = "data:image/png;base64,iVBORw0KGgo=";
    let parts = json!([{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": url}}]);
    let answer = server.post(CHAT, &json!({"messages": [{"role": "user", "content": parts}]}));
    let message = answer.json()["error"]["message"].clone();
    assert_eq!(
        (answer.status, message),
        (400, json!("backend `echo` takes no images: claude, codex, gemini can")),
        "{answer}"
    );
}

/// A fake that answers each time with the next line of `answers`, and keeps what it was asked in `asked-1` and so on.
fn in_turn(answers: &[&str], keys: Value) -> Scene {
    let play = r#"n=$(($(cat "$here/n" 2>/dev/null || echo 0) + 1)); echo $n >"$here/n"
cat >"$here/asked-$n"
sed -n "${n}p" "$here/answers" | tr -d '\n'"#;
    let scene = Scene::declaring(keys, play);
    scene.file("bin/answers", answers.join("\n") + "\n");
    scene
}

fn asked(scene: &Scene, number: usize) -> String {
    fs::read_to_string(scene.path(&format!("bin/asked-{number}"))).unwrap_or_default()
}

fn point() -> Value {
    json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false})
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_asked_for_once_more() {
    let format =
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "P", "schema": point()}}});
    for stream in [false, true] {
        let scene = in_turn(&["here: {\"x\": \"one\"}", "```json {\"x\": 1}```"], json!({}));
        let server = scene.serve([]);
        let body = with(with(asking(CHAT, "a point"), format.clone()), json!({"stream": stream}));
        let answer = server.post(CHAT, &body);
        let text = if stream {
            text_in(CHAT, &answer.body)
        } else {
            text_of(CHAT, &answer.json()).as_str().unwrap().to_owned()
        };
        assert_eq!((answer.status, text.as_str()), (200, "{\"x\": 1}"), "{answer}");
        let (first, second) = (asked(&scene, 1), asked(&scene, 2));
        assert!(first.contains("a point") && first.contains("\"additionalProperties\":false"), "{first}");
        assert!(second.starts_with(&first), "the question is asked again: {second}");
        assert!(second.contains("here: {\"x\": \"one\"}") && second.contains("cannot be used"), "{second}");
    }
    let scene = in_turn(&["nothing", "nothing again", "{\"x\": 1}"], json!({}));
    let server = scene.serve([]);
    let answer = server.post(CHAT, &with(asking(CHAT, "a point"), format));
    assert_eq!((answer.status, answer.header("x-should-retry")), (502, Some("false")), "{answer}");
    assert!(answer.body.contains("not what was asked for") && asked(&scene, 3).is_empty(), "{answer}");
}

#[test]
fn what_a_backend_finds_wrong_itself_is_asked_for_once_more_too() {
    let scene = Scene::new();
    let play = r#"
n=$(($(cat "$here/n" 2>/dev/null || echo 0) + 1)); echo $n >"$here/n"
while read -r line; do printf '%s\n' "$line" >>"$here/told-$n"; case $line in *'"type":"user"'*) break ;; esac; done
say '{"type":"system","subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.197"}'
[ $n = 2 ] && value=',"structured_output":{"x":1}'
say '{"type":"result","subtype":"success","is_error":false,"result":"no value"'$value'}'
cat >/dev/null"#;
    scene.fake("claude", play);
    let server = scene.serve([]);
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": point()}}});
    let answer = server.post(MESSAGES, &with(asking(MESSAGES, "a point"), format));
    assert_eq!((answer.status, text_of(MESSAGES, &answer.json())), (200, &json!("{\"x\":1}")), "{answer}");
    let told = |number: usize| fs::read_to_string(scene.path(&format!("bin/told-{number}"))).unwrap();
    assert!(told(1).contains("jsonSchema") && !told(1).contains("cannot be used"), "{}", told(1));
    assert!(told(2).contains("does not follow the schema: no value"), "{}", told(2));
}

#[test]
fn a_forced_tool_is_called_on_every_surface() {
    let openai = json!({"type": "function", "function": {"name": "place", "parameters": point()}});
    let flat = json!({"type": "function", "name": "place", "parameters": point()});
    let anthropic = json!({"name": "place", "input_schema": point()});
    for (path, fields, call) in [
        (
            CHAT,
            json!({"tools": [openai], "tool_choice": "required"}),
            "/choices/0/message/tool_calls/0/function/arguments",
        ),
        (
            RESPONSES,
            json!({"tools": [flat], "tool_choice": {"type": "function", "name": "place"}}),
            "/output/0/arguments",
        ),
        (MESSAGES, json!({"tools": [anthropic], "tool_choice": {"type": "any"}}), "/content/0/input"),
    ] {
        let scene = in_turn(&["{\"x\": 1}", "{\"x\": 1}"], json!({}));
        let server = scene.serve([]);
        let body = with(asking(path, "a point"), fields);
        let whole = server.post(path, &body);
        let called = whole.json().pointer(call).cloned().unwrap_or_default();
        let called = called.as_str().map_or(called.clone(), |text| serde_json::from_str(text).unwrap());
        assert_eq!(called, json!({"x": 1}), "{path}: {whole}");
        let stream = server.post(path, &with(body, json!({"stream": true})));
        let ends = match path {
            CHAT => "\"finish_reason\":\"tool_calls\"",
            RESPONSES => "response.function_call_arguments.done",
            _ => "\"stop_reason\":\"tool_use\"",
        };
        assert!(stream.body.contains("place") && stream.body.contains(ends), "{path}: {stream}");
        assert!(asked(&scene, 1).contains("place"), "{}", asked(&scene, 1));
    }
}

#[test]
fn who_stands_in_is_asked_in_its_own_way_and_named() {
    let scene = in_turn(&["{\"x\": 1}"], json!({}));
    let fake = scene.text("bin/fake");
    scene.config(&json!({
        "default_backend": "echo",
        "unified_flags": {"fallback": ["fake"]},
        "backends": {"echo": {"fail": "quota"}, "fake": {"command": [fake]}},
    }));
    let server = scene.serve([]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "P", "schema": point()}});
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "a point"}]);
    let answer = server.post(CHAT, &json!({"messages": messages, "response_format": format}));
    assert_eq!((answer.status, answer.header("x-clinvk-backend")), (200, Some("fake")), "{answer}");
    // Echo takes a system prompt apart from the prompt, the fake does not.
    assert!(asked(&scene, 1).starts_with("be brief"), "{}", asked(&scene, 1));
}

#[test]
fn many_at_once_are_all_answered() {
    let (_scene, server) =
        echo(json!({}), json!({"max_runs": 8, "queue_length": 64, "queue_timeout_secs": 60}));
    let is_stream = |number: usize| number % 8 < ALL.len();
    let send = |number: usize| {
        let path = ALL[number % ALL.len()];
        let fields = json!({"stream": is_stream(number)});
        (path, server.ask("POST", path).json(&with(asking(path, &format!("number {number}")), fields)).send())
    };
    // All are sent before the first is read.
    let under_way: Vec<(&str, Stream)> = (0..64).map(send).collect();
    for (number, (path, mut stream)) in under_way.into_iter().enumerate() {
        let answer = read(&mut stream);
        let text = match is_stream(number) {
            true => text_in(path, &answer.body),
            false => text_of(path, &answer.json()).as_str().unwrap_or_default().to_owned(),
        };
        assert_eq!((answer.status, text), (200, format!("number {number}")), "{answer}");
    }
}

#[test]
fn tokens_are_counted_while_every_slot_is_taken() {
    let (_scene, server) = echo(json!({"hang": true}), json!({"max_runs": 1, "queue_length": 0}));
    let running = server.ask("POST", MESSAGES).json(&asking(MESSAGES, "x")).send();
    until("it runs", || server.get("/api/v1/runs").json()["runs"] != json!([]));
    until("the slot is taken", || server.post(MESSAGES, &asking(MESSAGES, "x")).status == 429);
    let body = asking(MESSAGES, "four words are here");
    let count = || server.ask("POST", "/anthropic/v1/messages/count_tokens?beta=true").json(&body).send();
    let counting: Vec<Stream> = (0..14).map(|_| count()).collect();
    for mut stream in counting {
        let counted = read(&mut stream);
        assert!(counted.json()["input_tokens"].as_u64() > Some(4), "{counted}");
    }
    let busy = server.post(CHAT, &asking(CHAT, "x"));
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("5")), "{busy}");
    drop(running);
}
