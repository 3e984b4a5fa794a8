//! How long an answer may be that is kept until its end: the same on every surface that keeps one (faults.md G6).

#[cfg(feature = "serve")]
use crate::util::http::Server;
use crate::util::scene::Scene;
use serde_json::{Value, json};

const SENTENCE: &str = "the answer has more than 64 MiB, the most that is kept: only a stream may be longer";

/// More than is kept, and less than is noticed only by the last piece.
const FLOOD: usize = 66 << 20;

fn flooding() -> Scene {
    // Echo would count its words, which takes a build for tests its time.
    let scene = Scene::playing(&format!("cat; bytes {FLOOD}"));
    scene.file("work/tasks.json", r#"{"tasks": [{"prompt": "x"}]}"#);
    scene.file("work/chain.json", r#"{"steps": [{"prompt": "x"}]}"#);
    scene
}

/// What tells of a run, wherever it stands: it has failed in the one way, and nothing of its answer is there.
#[track_caller]
fn is_too_long(what: &str, told: &Value, (kind, word): (&str, &str), error: &str) {
    let shown: String = told.to_string().chars().take(1000).collect();
    assert_eq!(told.pointer(kind), Some(&json!(word)), "{what}: {shown}");
    assert!(
        told.pointer(error).and_then(Value::as_str).is_some_and(|said| said.contains(SENTENCE)),
        "{what}: {shown}"
    );
    assert!(told.to_string().len() < 64 << 10, "{what}: {shown}");
}

#[test]
fn the_command_line_keeps_no_more_of_an_answer_than_the_others() {
    let scene = flooding();
    for (args, kind, error) in [
        (&["-o", "json", "x"][..], "/kind", "/error"),
        (&["parallel", "--json", "-f", "tasks.json"], "/results/0/kind", "/results/0/error"),
        (&["chain", "--json", "-f", "chain.json"], "/results/0/kind", "/results/0/error"),
        (&["compare", "--json", "--backends", "fake", "x"], "/results/0/kind", "/results/0/error"),
    ] {
        let seen = scene.clinvk(args).seen();
        let told = serde_json::from_str(&seen.out).unwrap_or_else(|_| panic!("{args:?}: {seen}"));
        is_too_long(&args.join(" "), &told, (kind, "unreadable"), error);
        assert_eq!(seen.status, 1, "{args:?}: {}", seen.err);
    }
    // What passes it on keeps nothing.
    for format in ["text", "stream-json"] {
        let seen = scene.clinvk(["-o", format, "x"]).seen();
        assert!(seen.status == 0 && seen.out.len() > FLOOD, "{format}: {} {}", seen.status, seen.err);
    }
}

#[cfg(feature = "serve")]
#[test]
fn a_server_keeps_as_much_on_every_surface() {
    let scene = flooding();
    let server: Server = scene.serve([]);
    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = json!({"model": "fake", "max_tokens": 10, "messages": messages});
    for (path, body, kind, error) in [
        (
            "/api/v1/prompt",
            json!({"prompt": "x", "ephemeral": true}),
            ("/error/kind", "unreadable"),
            "/error/message",
        ),
        (
            "/api/v1/parallel",
            json!({"tasks": [{"prompt": "x"}]}),
            ("/results/0/kind", "unreadable"),
            "/results/0/error",
        ),
        ("/openai/v1/chat/completions", chat.clone(), ("/error/code", "backend_error"), "/error/message"),
        (
            "/openai/v1/responses",
            json!({"model": "fake", "input": "x"}),
            ("/error/code", "backend_error"),
            "/error/message",
        ),
        ("/anthropic/v1/messages", chat.clone(), ("/error/type", "api_error"), "/error/message"),
    ] {
        let answer = server.post(path, &body);
        is_too_long(path, &answer.json(), kind, error);
    }
    // One that says the answer once more at its end has to keep it; others do not.
    let streamed = |path: &str, body: &Value| {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let mut stream = server.post_stream(path, &body);
        let head = stream.head();
        stream.rest(&head)
    };
    let responses = streamed("/openai/v1/responses", &json!({"model": "fake", "input": "x"}));
    assert!(responses.contains("event: response.failed") && responses.contains(SENTENCE));
    let whole = streamed("/openai/v1/chat/completions", &chat);
    assert!(whole.len() > FLOOD && whole.contains("[DONE]") && !whole.contains(SENTENCE));
}
