//! Two servers that share their home: what one has saved the other goes on with.

use crate::engine::pool::{agent, answered};
use crate::util::http::{Answer, Server};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};

/// A scene whose backend does this, and two servers in it.
fn two(play: &str) -> (Scene, Server, Server) {
    let scene = Scene::playing(play);
    let (one, other) = (scene.serve([]), scene.serve([]));
    (scene, one, other)
}

/// Waits until it is told to go on; then it repeats all that it was told.
const WAITING: &str = "tell started; await go; cat";

#[track_caller]
fn kind(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["kind"].as_str().unwrap_or_default().to_owned())
}

/// The prompts of a session, as a server has them.
fn prompts(server: &Server, session: &str) -> Vec<String> {
    let told = server.get(&format!("/api/v1/sessions/{session}/turns")).json();
    let turns = told["turns"].as_array().unwrap_or_else(|| panic!("{told}")).iter();
    turns.map(|turn| turn["prompt"].as_str().unwrap().to_owned()).collect()
}

/// The one session that there is.
fn only(server: &Server) -> Value {
    let listed = server.get("/api/v1/sessions").json();
    assert_eq!(listed["total"], 1, "{listed}");
    listed["sessions"][0].clone()
}

#[test]
fn a_session_goes_on_at_another_server_and_what_is_changed_and_deleted_is_so_at_once() {
    let (_scene, one, other) = two("cat");
    let (session, _) = answered(&one, &json!({"prompt": "first"}));
    let (same, told) = answered(&other, &json!({"prompt": "second", "session_id": session}));
    assert!(same == session && told.contains("first") && told.ends_with("second"), "{told}");
    let (_, told) = answered(&one, &json!({"prompt": "third", "session_id": session}));
    assert!(told.contains("second"), "{told}");

    let path = format!("/api/v1/sessions/{session}");
    one.ask("PATCH", &path).json(&json!({"title": "renamed"})).answer();
    assert_eq!(only(&other)["title"], "renamed");
    assert_eq!(only(&other), only(&one));
    assert_eq!(prompts(&other, &session), ["first", "second", "third"]);
    assert_eq!(other.ask("DELETE", &path).answer().status, 200);
    assert_eq!(one.get("/api/v1/sessions").json()["total"], 0);
    let gone = one.post("/api/v1/prompt", &json!({"prompt": "fourth", "session_id": session}));
    assert_eq!(kind(&gone), (404, "session_not_found".to_owned()), "{gone}");
}

#[test]
fn the_turns_of_a_session_are_one_after_the_other_over_both_servers() {
    let (scene, one, other) = two(WAITING);
    let (mut started, mut go) = (scene.fifo("started"), scene.fifo("go"));
    let mut first = one.post_stream("/api/v1/prompt", &json!({"prompt": "first"}));
    started.told();
    let listed = only(&other);
    assert_eq!(listed["status"], "active", "{listed}");
    let session = listed["id"].as_str().unwrap();
    let goes_on = json!({"prompt": "second", "session_id": session});
    let busy = other.post("/api/v1/prompt", &goes_on);
    let held_by = format!("process {} runs it", one.process.pid);
    assert!(kind(&busy) == (409, "session_busy".to_owned()) && busy.body.contains(&held_by), "{busy}");
    let deleted = other.ask("DELETE", &format!("/api/v1/sessions/{session}")).answer();
    assert_eq!(kind(&deleted), (409, "session_busy".to_owned()), "{deleted}");

    let mut second = other.ask("POST", "/api/v1/prompt").header("x-clinvk-wait", "60").json(&goes_on).send();
    go.tell();
    assert_eq!(first.head().status, 200);
    started.told();
    go.tell();
    let mut answer = second.head();
    answer.body = second.rest(&answer);
    let told = answer.json()["content"].as_str().unwrap_or_default().to_owned();
    assert!(answer.status == 200 && told.contains("first"), "it knows the turn that it waited for: {answer}");
    assert_eq!(prompts(&one, session), ["first", "second"]);
}

#[test]
fn the_sessions_of_a_server_that_was_killed_go_on_at_the_other() {
    let (scene, one, other) =
        two("all=$(cat); case $all in *hangs*) tell started; await never ;; esac; echo ok");
    let (mut started, _never) = (scene.fifo("started"), scene.fifo("never"));
    let (session, _) = answered(&one, &json!({"prompt": "first"}));
    let _hangs = one.post_stream("/api/v1/prompt", &json!({"prompt": "hangs", "session_id": session}));
    started.told();
    one.process.signal(sys::SIGKILL);
    assert_eq!(one.process.end().status, -sys::SIGKILL);
    until("no process has it", || only(&other)["status"] != "active");
    let listed = only(&other);
    assert!(listed["status"] == "error" && listed["turn_count"] == 1, "{listed}");
    let (_, told) = answered(&other, &json!({"prompt": "third", "session_id": session}));
    assert_eq!(told, "ok");
    assert_eq!(prompts(&other, &session), ["first", "third"]);
}

#[test]
fn requests_that_are_sent_again_and_runs_are_each_servers_own() {
    let (_scene, one, other) = two("cat");
    let ask = |server: &Server| {
        let asked = server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k");
        let answer = asked.json(&json!({"prompt": "x"})).answer();
        answer.json()["session_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    let (first, again, elsewhere) = (ask(&one), ask(&one), ask(&other));
    assert!(first == again && first != elsewhere, "{first} {again} {elsewhere}");

    let run = one.post("/api/v1/prompt", &json!({"prompt": "x", "detach": true})).json();
    let path = format!("/api/v1/runs/{}", run["run_id"].as_str().unwrap());
    assert_eq!((one.get(&path).status, other.get(&path).status), (200, 404), "{run}");
}

#[test]
fn limits_are_each_servers_own() {
    let scene = Scene::playing(WAITING);
    scene.edit_config(|config| config["server"] = json!({"max_runs": 1, "queue_length": 0}));
    let (mut started, mut go) = (scene.fifo("started"), scene.fifo("go"));
    let (one, other) = (scene.serve([]), scene.serve([]));
    let asked = json!({"prompt": "x"});
    let mut runs: Vec<_> =
        [&one, &other].iter().map(|server| server.post_stream("/api/v1/prompt", &asked)).collect();
    (0..2).for_each(|_| _ = started.told());
    let busy = one.post("/api/v1/prompt", &asked);
    assert_eq!(kind(&busy), (503, "busy".to_owned()), "{busy}");
    (0..2).for_each(|_| go.tell());
    runs.iter_mut().for_each(|run| assert_eq!(run.head().status, 200));
}

/// It would answer without the turn that the other server has had.
#[test]
fn a_kept_program_does_not_answer_in_a_session_that_went_on_at_another_server() {
    // The turn there may have failed, too, when the vendor's session has it and ours counts it not.
    for between in ["two", "nothing"] {
        let scene = agent(":", "case $line in *nothing*) ;; *) text $$ ;; esac");
        let (one, other) = (scene.serve([]), scene.serve([]));
        let (session, first) = answered(&one, &json!({"prompt": "one"}));
        let goes_on = |prompt: &str| json!({"prompt": prompt, "session_id": session});
        let (_, again) = answered(&one, &goes_on("more"));
        assert_eq!(again, first, "it goes on in the program that holds it");
        let elsewhere = other.post("/api/v1/prompt", &goes_on(between));
        assert_eq!(elsewhere.status == 200, between == "two", "{elsewhere}");

        answered(&one, &goes_on("three"));
        let after = one.get("/api/v1/pool").json();
        let fake = after["backends"].as_array().unwrap().iter().find(|of| of["name"] == "fake").unwrap();
        assert_eq!(fake["runs"]["continued"], 1, "{between}: {after}");
    }
}
