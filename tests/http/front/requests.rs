//! Requests that are nearly right: what is said of them, and nothing of them runs (faults.md B6, B7, F7, F15, F16).

use crate::util::http::Server;
use crate::util::scene::Scene;
use serde_json::{Value, json};

fn serve(server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": server}));
    let running = scene.serve([]);
    (scene, running)
}

/// The sentence of a failure, in any dialect.
fn sentence(told: &Value) -> &str {
    told["error"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_path_that_leads_nowhere_is_told_which_one_was_meant() {
    let (_scene, server) = serve(json!({}));
    for (method, path, meant) in [
        ("POST", "/openai/v1//chat/completions", "/openai/v1/chat/completions"),
        ("POST", "/anthropic//v1/messages", "/anthropic/v1/messages"),
        ("POST", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("POST", "/chat/completions", "/openai/v1/chat/completions"),
        ("POST", "/v1/messages", "/anthropic/v1/messages"),
        ("GET", "/v1/models", "/openai/v1/models or /anthropic/v1/models"),
        ("POST", "/v1/prompt", "/api/v1/prompt"),
        ("GET", "/sessions", "/api/v1/sessions"),
        ("GET", "/api/v1//sessions", "/api/v1/sessions"),
        ("POST", "//openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("POST", "//anthropic/v1/messages", "/anthropic/v1/messages"),
        ("GET", "/openai/v1//models", "/openai/v1/models"),
        ("GET", "//health", "/health"),
        ("GET", "/docs/nothing.js", "/docs"),
    ] {
        let answer = server.ask(method, path).json(&json!({})).answer();
        let expected = format!("unknown path: {method} {path}: did you mean {meant}?");
        assert_eq!((answer.status, sentence(&answer.json())), (404, &*expected), "{answer}");
    }
    for path in ["/nothing", "/v1", "/api/v1/nothing"] {
        let answer = server.get(path);
        let expected = format!("unknown path: GET {path}");
        assert_eq!((answer.status, sentence(&answer.json())), (404, &*expected), "{answer}");
    }
}

#[test]
fn a_path_that_leads_nowhere_has_the_dialect_of_the_one_that_was_meant() {
    let (_scene, server) = serve(json!({}));
    for (path, expected) in [
        ("/v1/chat/completions", "openai"),
        ("/v1/responses", "openai"),
        ("//openai/v1/models", "openai"),
        ("/openai/v1//models", "openai"),
        ("/openai/v2/models", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/anthropic/v1//messages", "anthropic"),
        // Both vendors have it: their clients show the message of either.
        ("/v1/models", "native"),
        ("/v1/sessions", "native"),
        ("/nothing", "native"),
    ] {
        let answer = server.get(path);
        let told = answer.json();
        let dialect = match (&told["type"], &told["error"]["code"], &told["error"]["kind"]) {
            (Value::String(word), Value::Null, Value::Null) if word == "error" => "anthropic",
            (Value::Null, Value::String(word), Value::Null) if word == "unknown_url" => "openai",
            (Value::Null, Value::Null, Value::String(word)) if word == "invalid_request" => "native",
            _ => "none",
        };
        assert_eq!((answer.status, dialect), (404, expected), "{path} {answer}");
    }
}

#[test]
fn the_root_leads_browsers_to_the_page_and_tells_others_what_there_is() {
    let (_scene, server) = serve(json!({}));
    let browser = server.ask("GET", "/").header("Accept", "text/html,*/*;q=0.8").answer();
    assert_eq!((browser.status, browser.header("location")), (303, Some("docs")), "{browser}");
    let other = server.ask("GET", "/").header("Accept", "*/*").answer();
    let names = ["/api/v1", "/openai/v1", "/anthropic", "/docs", "/openapi.json"];
    assert!(other.status == 200 && names.iter().all(|name| other.body.contains(name)), "{other}");
}

#[test]
fn a_compressed_body_is_refused_by_its_header_in_every_dialect() {
    let (_scene, server) = serve(json!({}));
    for path in
        ["/api/v1/prompt", "/api/v1/parallel", "/openai/v1/chat/completions", "/anthropic/v1/messages"]
    {
        for coding in ["gzip", "zstd", "br", "deflate"] {
            let answer =
                server.ask("POST", path).header("Content-Encoding", coding).body([31, 139, 8, 0]).answer();
            let expected =
                format!("the body has `Content-Encoding: {coding}`: send it as it is, without that header");
            assert_eq!((answer.status, sentence(&answer.json())), (415, &*expected), "{path} {answer}");
        }
    }
    let body = json!({"prompt": "hi", "ephemeral": true});
    let plain =
        server.ask("POST", "/api/v1/prompt").header("Content-Encoding", "identity").json(&body).answer();
    assert_eq!(plain.status, 200, "{plain}");
}

#[test]
fn a_query_of_our_own_api_is_as_strict_as_a_body() {
    let (_scene, server) = serve(json!({}));
    for (method, path, problem) in [
        (
            "GET",
            "/api/v1/sessions?limitt=1",
            "the query has an unknown field `limitt`: did you mean `limit`?",
        ),
        ("GET", "/api/v1/sessions?limit=1&limit=2", "the query has `limit` twice"),
        (
            "GET",
            "/api/v1/sessions?nothing+near=1",
            "known are backend, status, model, workdir, tag, search, since, before, limit, offset",
        ),
        ("GET", "/api/v1/backends?verbose", "the query has a field `verbose`: this path takes none"),
        ("POST", "/api/v1/prompt?stream=true", "the query has a field `stream`: this path takes none"),
    ] {
        let answer = server.ask(method, path).json(&json!({"prompt": "hi"})).answer();
        assert!(answer.status == 400 && sentence(&answer.json()).contains(problem), "{path}: {answer}");
    }
    // Anthropic's own clients send `?beta=true`, and load balancers what they like.
    let hi = json!({"model": "echo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(server.post("/anthropic/v1/messages?beta=true", &hi).status, 200);
    for path in ["/health?check=1", "/api/v1/sessions?limit=1&offset=0&status=error"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn the_runs_of_one_request_have_a_bound() {
    let (_scene, server) = serve(json!({"max_tasks": 2}));
    let many = |number: usize| vec![json!({"prompt": "hi"}); number];
    let names = |number: usize| (0..number).map(|number| format!("echo:m{number}")).collect::<Vec<_>>();
    let body = |path: &str, number: usize| match path {
        "parallel" => json!({"tasks": many(number)}),
        "chain" => json!({"steps": many(number)}),
        _ => json!({"prompt": "hi", "backends": names(number)}),
    };
    for (path, field) in [("parallel", "tasks"), ("chain", "steps"), ("compare", "backends")] {
        let path_of = format!("/api/v1/{path}");
        let refused = server.post(&path_of, &body(path, 3));
        let expected = format!("`{field}` has 3 entries: at most 2 are taken (server.max_tasks)");
        assert_eq!((refused.status, sentence(&refused.json())), (400, &*expected), "{refused}");
        assert_eq!(server.post(&path_of, &body(path, 2)).status, 200, "{path}");
    }
}

#[test]
fn what_no_program_can_be_told_is_refused_before_anything_runs() {
    let (scene, server) = serve(json!({"max_approval_mode": "none"}));
    for (field, value, problem) in [
        ("model", json!("a\u{0}b"), "the model's name has a control character: \"a\\0b\""),
        ("model", json!("a\nb"), "the model's name has a control character: \"a\\nb\""),
        ("model", json!("a\u{1b}[31m"), "the model's name has a control character: \"a\\u{1b}[31m\""),
        (
            "allowed_tools",
            json!(["a\u{0}b"]),
            "an allowed tool has a NUL character: no program can be told that",
        ),
        (
            "denied_tools",
            json!(["a\u{0}b"]),
            "a denied tool has a NUL character: no program can be told that",
        ),
    ] {
        let answer = server.post("/api/v1/prompt", &json!({"prompt": "hi", "ephemeral": true, field: value}));
        assert_eq!((answer.status, sentence(&answer.json())), (400, problem), "{answer}");
    }
    for path in ["/openai/v1/chat/completions", "/anthropic/v1/messages"] {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let answer =
            server.post(path, &json!({"model": "echo:a\u{0}b", "max_tokens": 9, "messages": messages}));
        assert!(matches!(answer.status, 400 | 404), "{answer}");
    }
    scene
        .clinvk(["-b", "echo", "-m", "a\nb", "hi"])
        .fails(1, "clinvk: the model's name has a control character: \"a\\nb\"\n");
}
