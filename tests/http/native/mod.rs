//! The server's own API, by the real binary: shapes, statuses, streams, what runs and how it is stopped.

mod attach;
mod batch;
mod limits;
mod pool;
mod prompt;
mod runs;
mod status;
mod stop;
mod stream;

use crate::util::http::{Answer, Server};
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// A server with echo as its default backend.
fn echo() -> (Scene, Server) {
    with_echo(json!({}), json!({}))
}

/// The same with these keys of echo and of the server.
fn with_echo(echo: Value, server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "backends": {"echo": echo}, "server": server}));
    let running = scene.serve([]);
    (scene, running)
}

/// A server whose default backend is a fake that does this.
fn playing(play: &str) -> (Scene, Server) {
    let scene = Scene::playing(play);
    let server = scene.serve([]);
    (scene, server)
}

/// The answer has this status and is this kind of failure.
#[track_caller]
fn is_failure(answer: &Answer, status: u16, kind: &str, words: &str) {
    let told = answer.json();
    let message = told["error"]["message"].as_str().unwrap_or_default();
    let request = told["error"]["request_id"].as_str();
    assert!(
        answer.status == status && told["error"]["kind"] == kind && message.contains(words),
        "expected {status} {kind} with {words:?}: {answer}"
    );
    assert_eq!(request, answer.header("x-request-id"), "{answer}");
}

/// A run whose child ignores SIGTERM, has children in sessions of their own, and hangs.
const STUBBORN: &str = r#"trap '' TERM INT; "$here/sleep" 1000 & setsid "$here/sleep" 1001 & daemon; printf 'started '; tell up; while :; do wait; done"#;
