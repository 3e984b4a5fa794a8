//! A server that has few descriptors.

use super::access::prompt;
use super::scene;
use crate::util::http::{Answer, Server};
use crate::util::scene::{Scene, until};
use serde_json::json;
use std::fs;
use std::net::TcpStream;

/// `clinvk serve` with so many descriptors.
fn with_descriptors(scene: &Scene, count: usize) -> Server {
    let clinvk = env!("CARGO_BIN_EXE_clinvk");
    let limited = format!("ulimit -n {count}; exec {clinvk} serve --port 0");
    let mut process = scene.program("/bin/sh").args(["-c", &limited]).start();
    process.says("Press Ctrl+C to stop\n");
    let said = process.said();
    let address = said.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
    Server { address: address.unwrap_or_default().to_owned(), process }
}

/// faults.md F3: what the system lacks is not the client's fault, and no program's that is there, and it passes.
#[test]
fn without_descriptors_the_server_is_busy_and_nothing_else() {
    let scene = scene(json!({}));
    let mut busy = 0;
    for count in [17, 19, 22, 26, 60] {
        let server = with_descriptors(&scene, count);
        let chat = json!({"model": "echo", "messages": [{"role": "user", "content": "x"}]});
        for (path, body, status) in [
            ("/api/v1/prompt", json!({"prompt": "x"}), 503),
            ("/api/v1/parallel", json!({"tasks": [{"prompt": "x"}]}), 503),
            ("/openai/v1/chat/completions", chat.clone(), 429),
        ] {
            let answer = server.post(path, &body);
            let is_refused = answer.status == status && answer.header("retry-after").is_some();
            let is_result = answer.status == 200 && answer.body.contains(r#""kind":"busy""#);
            let is_answered = answer.status == 200 && !answer.body.contains(r#""failed":1"#);
            assert!(is_refused || is_result || is_answered, "{count} {path}: {answer}");
            busy += usize::from(!is_answered);
        }
    }
    assert!(busy > 0, "no count was small enough");
}

/// faults.md B3: idle clients that hold every descriptor keep nobody out, and it is said at the start what there is room for.
#[test]
fn with_few_descriptors_the_server_says_so_and_answers_all_the_same() {
    let scene = scene(json!({}));
    let server = with_descriptors(&scene, 256);
    let idle: Vec<TcpStream> = (0..512).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(prompt(&server, &[]).status, 200);
    drop(idle);
    let said = server.stop().err;
    assert!(
        said.contains("a limit of 256 open files leaves room for 64 connections, not for 1024"),
        "{said}"
    );
}

/// faults.md G9: all places are at work, and it can still be asked how the server is.
#[test]
fn some_places_are_kept_for_questions_of_health() {
    let scene = scene(json!({"max_connections": 4, "max_runs": 4}));
    scene.edit_config(|config| config["backends"] = json!({"echo": {"hang": true}}));
    let server = scene.serve([]);
    let body = json!({"prompt": "x"});
    let _at_work: Vec<_> = (0..4).map(|_| server.post_stream("/api/v1/prompt", &body)).collect();
    // One is for this very question.
    let busy = |answer: Answer| (answer.status, answer.header("retry-after").map(str::to_owned));
    until("all of them are at work", || server.get("/api/v1/backends").status == 503);
    // Clients that say nothing do not take these places, either.
    let _silent: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    for path in ["/live", "/ready", "/health"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(busy(server.get("/api/v1/runs")), (503, Some("1".to_owned())));
}

/// faults.md B4: a finished run that is kept holds no descriptor.
#[test]
fn results_that_are_kept_hold_no_descriptors() {
    let scene = scene(json!({}));
    let server = scene.serve([]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", server.process.pid)).unwrap().count();
    let detached = || {
        let body = json!({"prompt": "x", "ephemeral": true, "detach": true});
        let id = server.post("/api/v1/prompt", &body).json()["run_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/runs/{id}");
        until("it is over", || server.get(&path).json()["state"] != "running");
    };
    detached();
    until("nothing is under way", || server.get("/api/v1/runs").json()["runs"][0]["state"] == "done");
    let before = descriptors();
    (0..20).for_each(|_| detached());
    until("their descriptors", || descriptors() <= before + 2);
}
