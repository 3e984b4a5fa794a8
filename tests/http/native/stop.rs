//! How the server stops.

use super::STUBBORN;
use crate::util::http::Server;
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::json;

#[test]
fn a_drain_refuses_what_is_new_and_ends_what_is_old() {
    // faults.md B2. What asks for no drain has one too, and its death.
    for signal in sys::ending_signals().into_iter().filter(|signal| *signal != sys::SIGHUP) {
        let scene = Scene::playing("tell up; await go; printf done");
        let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
        let server = scene.serve([]);
        let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
        up.told();
        server.process.signal(signal);
        until("nobody new is let in", || std::net::TcpStream::connect(&server.address).is_err());
        go.tell();
        let mut answer = asked.head();
        answer.body = asked.rest(&answer);
        assert!(answer.status == 200 && answer.header("connection") == Some("close"), "{signal}: {answer}");
        let is_request = [sys::SIGINT, sys::SIGQUIT, sys::SIGTERM].contains(&signal);
        assert_eq!(server.process.end().status, if is_request { 0 } else { -signal });
        scene.is_deserted();
    }
}

#[test]
fn a_server_that_was_started_to_outlive_its_terminal_does() {
    let scene = Scene::playing("cat");
    let line = format!("trap '' HUP; exec '{}' serve --port 0", env!("CARGO_BIN_EXE_clinvk"));
    let server = Server::of(scene.program("/bin/sh").args(["-c", &line]).start());
    server.process.signal(sys::SIGHUP);
    for _ in 0..20 {
        assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "x"})).status, 200);
    }
    assert_eq!(server.stop().status, 0);
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_no_process() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let _asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
    let detached = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    assert_eq!(detached.status, 202);
    up.told();
    up.told();
    server.process.signal(sys::SIGTERM);
    server.process.signal(sys::SIGTERM);
    server.process.end();
    scene.is_deserted();
}
