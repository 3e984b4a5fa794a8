//! `/openai/v1/responses` over HTTP.

use crate::util::scene::Scene;
use serde_json::json;

#[test]
fn a_stream_tells_of_failures_that_codex_would_try_again_by_its_frames() {
    for (kind, code) in [("crash", "invalid_prompt"), ("overloaded", "server_is_overloaded")] {
        let scene = Scene::new();
        scene.config(&json!({"default_backend": "echo", "backends": {"echo": {"fail": kind}}}));
        let server = scene.serve([]);
        let asked = json!({"model": "echo", "input": "x", "stream": true});
        let answer = server.post("/openai/v1/responses", &asked);
        let failed = answer.body.split("event: response.failed\ndata: ").nth(1).unwrap_or_default();
        assert_eq!(answer.status, 200, "{answer}");
        assert!(failed.contains(&format!(r#""error":{{"code":"{code}""#)), "{answer}");
    }
}
