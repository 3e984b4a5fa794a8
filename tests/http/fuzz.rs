//! Bodies by chance for a real server: each is answered in the dialect of its path, and none is a failure of ours.

use crate::util::fuzz::{self, Chance};
use crate::util::http::Server;
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// Each is a connection, and many a run that is saved: 20,000 take 36 s of a debug build, and as many waits for the disk.
const BODIES: u64 = 1000;

fn bodies(session: &str) -> Vec<(&'static str, String, Value)> {
    let task = json!({"prompt": "p", "tags": ["x"], "metadata": {"a": "b"}, "timeout_secs": "5s", "ephemeral": true, "max_tokens": 5});
    let post = |path: &str, body: Value| ("POST", path.to_owned(), body);
    let hi = json!([{"role": "user", "content": "hi"}]);
    vec![
        post(
            "/api/v1/prompt",
            json!({"backend": "echo", "prompt": "p", "system_prompt": "s", "json_schema": {"type": "object"}, "lenient": true}),
        ),
        post(
            "/api/v1/prompt",
            json!({"prompt": "p", "dry_run": true, "mcp": {"a": {"command": "x"}}, "images": [{"media_type": "image/png", "data": "iVBORw0KGgo="}]}),
        ),
        post(
            "/api/v1/prompt",
            json!({"prompt": "p", "output_format": "stream-json", "tidy": true, "hidden": true, "depth": 1}),
        ),
        post(
            "/api/v1/parallel",
            json!({"tasks": [task, {"prompt": "q", "id": "b", "after": []}], "max_parallel": 2, "fail_fast": true}),
        ),
        post("/api/v1/compare", json!({"prompt": "p", "backends": ["echo"], "sequential": true})),
        post(
            "/api/v1/chain",
            json!({"steps": [{"prompt": "p", "name": "a"}, {"prompt": "{{steps.a.output}} {{previous}}"}], "input": "i"}),
        ),
        post(
            &format!("/api/v1/sessions/{session}/resume"),
            json!({"prompt": "p", "replay": true, "wait_secs": 1}),
        ),
        post(&format!("/api/v1/sessions/{session}/fork"), json!({"title": "t"})),
        (
            "PATCH",
            format!("/api/v1/sessions/{session}"),
            json!({"title": "t", "tags": ["a"], "metadata": {"a": "b"}}),
        ),
        post("/openai/v1/chat/completions", json!({"model": "echo", "messages": hi, "stream": true})),
        post("/openai/v1/responses", json!({"model": "echo", "input": "hi"})),
        post("/openai/v1/completions", json!({"model": "echo", "prompt": "hi", "max_tokens": 5})),
        post("/anthropic/v1/messages", json!({"model": "echo", "max_tokens": 5, "messages": hi})),
        post("/anthropic/v1/messages/count_tokens", json!({"model": "echo", "messages": hi})),
    ]
}

fn check(server: &Server, method: &str, path: &str, text: &str) -> Result<(), String> {
    let ask =
        server.ask(method, path).header("Content-Type", "application/json").header("Connection", "close");
    let answer = ask.body(text).answer();
    let told = answer.to_string();
    if answer.status == 500 || told.contains("\"internal\"") {
        return Err(told);
    }
    if answer.status < 400 {
        return Ok(());
    }
    let error: Value = serde_json::from_str(&answer.body).map_err(|problem| format!("{problem}: {told}"))?;
    let has = |name: &str| error["error"][name].as_str().is_some_and(|text| !text.is_empty());
    let is_of_dialect = match path {
        path if path.starts_with("/anthropic") => error["type"] == "error" && has("type") && has("message"),
        path if path.starts_with("/openai") => has("type") && has("message"),
        // An answer of a run that failed says so in its own fields.
        _ => (has("kind") && has("message")) || error["kind"].is_string() || error["results"].is_array(),
    };
    if is_of_dialect { Ok(()) } else { Err(told) }
}

#[test]
fn whatever_body_comes_a_server_answers_in_the_dialect_of_its_path() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve([]);
    let begun = server.post("/api/v1/prompt", &json!({"prompt": "first"})).json();
    let bodies = bodies(begun["session_id"].as_str().unwrap());
    let draw = |chance: &mut Chance| {
        let (method, path, body) = &bodies[chance.below(bodies.len())];
        let other = bodies[chance.below(bodies.len())].2.clone();
        (*method, path.clone(), fuzz::json_text(chance, &body.to_string(), &[other]))
    };
    fuzz::target("bodies of all routes", BODIES, draw, |(method, path, text), _| {
        check(&server, method, path, text)
    });
    assert_eq!(server.get("/health").status, 200);
    let seen = server.stop();
    assert!(!seen.err.contains("panic"), "{seen}");
}
