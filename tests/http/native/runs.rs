//! What runs: listed, cancelled, detached, joined, and left by its client.

use super::{STUBBORN, echo, is_failure};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};

#[test]
fn a_client_that_leaves_ends_its_run_and_the_whole_tree() {
    for stream in [true, false] {
        let scene = Scene::playing(STUBBORN);
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let format = if stream { "stream-json" } else { "text" };
        let asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x", "output_format": format}));
        up.told();
        drop(asked);
        let own = server.process.pid;
        until("the tree is gone", || scene.processes().keys().all(|pid| *pid == own));
        until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
        let sessions = server.get("/api/v1/sessions").json();
        assert_eq!(sessions["sessions"][0]["status"], "error", "{sessions}");
        server.stop();
        scene.is_deserted();
    }
}

#[test]
fn a_run_is_listed_while_it_goes_on_and_can_be_cancelled() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "x"}));
    up.told();
    let runs = server.get("/api/v1/runs").json();
    let run = &runs["runs"][0];
    assert!(run["backend"] == "fake" && run["client"] == "127.0.0.1" && run["since"].is_string(), "{runs}");
    let id = run["id"].as_str().unwrap();
    let cancelled = server.ask("DELETE", &format!("/api/v1/runs/{id}")).answer();
    assert_eq!(cancelled.json(), json!({"cancelled": true, "id": id}));
    let mut answer = asked.head();
    answer.body = asked.rest(&answer);
    is_failure(&answer, 499, "cancelled", "cancelled");
    is_failure(&server.get("/api/v1/runs/nope"), 404, "invalid_request", "nope");
}

#[test]
fn a_detached_run_goes_on_alone_and_is_read_again_from_any_event() {
    let scene = Scene::playing("printf 'one '; tell up; await go; printf two");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true}));
    let id = answer.json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 202, "{answer}");
    up.told();
    let path = format!("/api/v1/runs/{id}");
    assert_eq!(server.get(&path).json()["state"], "running");
    // Somebody who follows it and leaves does not stop it.
    let mut follower = server.ask("GET", &format!("{path}/events")).send();
    follower.head();
    assert!(follower.chunk().contains("one "));
    drop(follower);
    go.tell();
    until("it is done", || server.get(&path).json()["state"] == "done");
    let told = server.get(&path).json();
    assert!(told["status"] == 200 && told["result"]["output"] == "one two", "{told}");
    let events = server.get(&format!("{path}/events")).body;
    let ids: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.len() >= 4 && ids[0] == "0", "{events}");
    let rest = server.ask("GET", &format!("{path}/events")).header("Last-Event-ID", "1").answer();
    assert!(rest.body.starts_with("id: 2\n") && events.ends_with(&rest.body), "{rest}");
    let wrong = server.ask("GET", &format!("{path}/events")).header("Last-Event-ID", "x").answer();
    is_failure(&wrong, 400, "invalid_request", "no number");
}

#[test]
fn a_request_that_is_sent_again_gets_the_same_answer_or_joins_the_run() {
    let scene = Scene::playing("echo run >>\"$here/runs\"; tell up; await go; printf done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let ask = |body: &Value| server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k1").json(body);
    let body = json!({"prompt": "x"});
    let mut first = ask(&body).send();
    up.told();
    let mut second = ask(&body).send();
    go.tell();
    let mut answers = Vec::new();
    for stream in [&mut first, &mut second] {
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        answers.push(answer.body);
    }
    answers.push(ask(&body).answer().body);
    assert!(
        answers[0].contains("\"output\":\"done\"") && answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(std::fs::read_to_string(scene.path("bin/runs")).unwrap(), "run\n");
    is_failure(&ask(&json!({"prompt": "y"})).answer(), 422, "invalid_request", "another body");
}

#[test]
fn whoever_joined_keeps_the_run_alive_and_the_last_to_leave_ends_it() {
    let scene = Scene::playing(STUBBORN);
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let ask = || {
        server
            .ask("POST", "/api/v1/prompt")
            .header("Idempotency-Key", "k")
            .json(&json!({"prompt": "x"}))
            .send()
    };
    let first = ask();
    up.told();
    let second = ask();
    let state = || server.get("/api/v1/runs").json()["runs"][0]["state"].clone();
    drop(first);
    assert_eq!(state(), "running");
    drop(second);
    until("it is over", || state() == "done");
    until("the tree is gone", || scene.processes().len() == 1);
}

#[test]
fn the_same_key_and_body_for_another_session_is_another_request() {
    let (_scene, server) = echo();
    let begin = |words: &str| {
        let told = server.post("/api/v1/prompt", &json!({"prompt": words})).json();
        told["session_id"].as_str().unwrap().to_owned()
    };
    let (one, other) = (begin("one"), begin("other"));
    let go_on = |id: &str| {
        let ask = server.ask("POST", &format!("/api/v1/sessions/{id}/resume"));
        ask.header("Idempotency-Key", "k").json(&json!({"prompt": "go on"})).answer()
    };
    let first = go_on(&one);
    assert!(first.status == 200 && go_on(&one).body == first.body, "{first}");
    is_failure(&go_on(&other), 422, "invalid_request", "another");
}

#[test]
fn detached_runs_are_bounded_and_a_listing_does_not_carry_their_results() {
    let scene = Scene::playing("await go; printf done");
    scene.edit_config(|config| config["server"] = json!({"max_runs": 1, "queue_length": 1}));
    let mut go = scene.fifo("go");
    let server = scene.serve([]);
    let begin = || server.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true, "ephemeral": true}));
    let first = begin().json()["run_id"].as_str().unwrap().to_owned();
    assert_eq!(begin().status, 202);
    is_failure(&begin(), 503, "busy", "2 detached runs");
    // Whichever of them has the slot first.
    go.tell();
    go.tell();
    let path = format!("/api/v1/runs/{first}");
    until("it is done", || server.get(&path).json()["state"] == "done");
    assert!(server.get(&path).json()["result"].is_object());
    let listed = server.get("/api/v1/runs").json();
    assert!(listed["runs"].as_array().unwrap().iter().all(|run| run.get("result").is_none()), "{listed}");
    assert_eq!(begin().status, 202);
}
