//! A base URL that is meant for the server's clients must not lead its backends back to it.

use crate::util::scene::Scene;
use serde_json::json;
use std::net::TcpListener;

/// A port that nobody has now.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

#[test]
fn no_backend_asks_the_server_that_runs_it() {
    let scene = Scene::new();
    scene.fake("claude", "tell ran; exit 1");
    let shows = scene.fake(
        "shows",
        r#"cat >/dev/null; printf %s "[$ANTHROPIC_BASE_URL][$OPENAI_BASE_URL][$OTHER_BASE_URL]""#,
    );
    scene.config(&json!({"default_backend": "claude", "backends": {"shows": {"command": [shows]}}}));
    let port = free_port();
    let own = format!("http://localhost:{port}/anthropic");
    let env = [
        ("ANTHROPIC_BASE_URL", &*own),
        ("OPENAI_BASE_URL", &own),
        ("OTHER_BASE_URL", "http://127.0.0.1:1/x"),
    ];
    let server = scene.serve_with(["--port", &port], &env);
    let refused = server.post("/api/v1/prompt", &json!({"prompt": "x"}));
    assert!(
        refused.status == 500
            && refused.body.contains("would ask itself")
            && refused.body.contains("ANTHROPIC_BASE_URL"),
        "{refused}"
    );
    let chat = json!({"model": "claude", "messages": [{"role": "user", "content": "x"}]});
    let refused = server.post("/openai/v1/chat/completions", &chat);
    assert!(refused.status == 500 && refused.header("x-should-retry") == Some("false"), "{refused}");
    let told = server.post("/api/v1/prompt", &json!({"prompt": "x", "backend": "shows"})).json();
    assert_eq!(told["output"], "[][][http://127.0.0.1:1/x]", "{told}");
}
