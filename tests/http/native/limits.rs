//! How many runs there are at once, and how long one may take.

use super::is_failure;
use crate::util::scene::{Scene, until};
use serde_json::json;

#[test]
fn runs_beyond_the_slots_wait_and_beyond_the_queue_are_refused() {
    let scene = Scene::playing("tell up; await go; printf done");
    scene.edit_config(|config| {
        config["server"] = json!({"max_runs": 1, "queue_length": 1, "queue_timeout_secs": 60})
    });
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let body = json!({"prompt": "x", "ephemeral": true});
    let mut first = server.post_stream("/api/v1/prompt", &body);
    up.told();
    let mut second = server.post_stream("/api/v1/prompt", &body);
    until("it waits", || server.get("/health").json()["queue"]["waiting"] == 1);
    let refused = server.post("/api/v1/prompt", &body);
    is_failure(&refused, 503, "busy", "too many runs at once");
    assert_eq!(refused.header("retry-after"), Some("5"), "{refused}");
    go.tell();
    assert_eq!(first.head().status, 200);
    up.told();
    go.tell();
    assert_eq!(second.head().status, 200);
}

#[test]
fn time_limits_of_requests_hold_and_what_is_asked_cannot_exceed_them() {
    let (scene, server) = {
        let scene = Scene::playing("printf x; \"$here/sleep\" 1000");
        scene.edit_config(|config| config["server"] = json!({"request_timeout_secs": 1}));
        let server = scene.serve([]);
        (scene, server)
    };
    is_failure(
        &server.post("/api/v1/prompt", &json!({"prompt": "x", "timeout_secs": 1000})),
        504,
        "timeout",
        "1s",
    );
    until("nothing is left", || scene.processes().len() == 1);
}

#[test]
fn a_run_on_which_nothing_moves_ends_on_every_surface_whatever_the_client_asks() {
    let scene = Scene::playing("cat >/dev/null; exec \"$here/sleep\" 1000");
    scene.edit_config(|config| config["server"] = json!({"stall_timeout_secs": 1}));
    let server = scene.serve([]);
    let user = json!([{"role": "user", "content": "x"}]);
    for (path, body) in [
        ("/api/v1/prompt", json!({"prompt": "x"})),
        ("/api/v1/prompt", json!({"prompt": "x", "stall_secs": 0})),
        ("/api/v1/prompt", json!({"prompt": "x", "stall_secs": 1000, "output_format": "stream-json"})),
        ("/api/v1/parallel", json!({"tasks": [{"prompt": "x", "stall_secs": 1000}]})),
        ("/api/v1/chain", json!({"steps": [{"prompt": "x"}]})),
        ("/api/v1/compare", json!({"prompt": "x", "backends": ["fake"]})),
        ("/openai/v1/chat/completions", json!({"model": "fake", "messages": user})),
        ("/openai/v1/chat/completions", json!({"model": "fake", "messages": user, "stream": true})),
        ("/openai/v1/responses", json!({"model": "fake", "input": "x"})),
        ("/openai/v1/completions", json!({"model": "fake", "prompt": "x"})),
        (
            "/anthropic/v1/messages",
            json!({"model": "fake", "max_tokens": 9, "messages": user, "stream": true}),
        ),
    ] {
        let answer = server.post(path, &body).to_string();
        assert!(answer.contains("no output for 1s"), "{path} {body}: {answer}");
    }
    let detached = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    assert_eq!(detached.status, 202);
    until("nothing is left", || scene.processes().len() == 1);
}
