//! The order in which things come, and how a run on a server ends before its time.

use crate::util::http::Server;
use crate::util::run::Run;
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::json;

fn on(scene: &Scene, server: &Server, args: &[&str]) -> Run {
    scene.clinvk(args).env("CLINVK_SERVER", format!("http://{}", server.address))
}

#[test]
fn the_first_word_is_here_before_the_last_is_made() {
    let scene = Scene::playing("printf 'first '; await go; say last");
    let mut go = scene.fifo("go");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["x"]).start();
    run.says("first ");
    go.tell();
    run.ends("first last\n", "", 0);
}

#[test]
fn a_signal_ends_the_run_over_there_and_says_so_here() {
    for (signal, status) in [(sys::SIGINT, -sys::SIGINT), (sys::SIGTERM, 7), (sys::SIGHUP, 7)] {
        let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let mut run = on(&scene, &server, &["x"]).start();
        up.told();
        run.says("half");
        run.signal(signal);
        run.ends("half\n", "clinvk: cancelled\n", status);
        let is_over = || server.get("/api/v1/runs").json()["runs"] == json!([]);
        until("the end of the run", is_over);
        assert_eq!(server.stop().status, 0);
        scene.is_deserted();
    }
}

#[test]
fn a_cancelled_run_is_an_answer_in_json_too() {
    let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["-v", "-o", "json", "x"]).start();
    up.told();
    run.warns("event");
    run.signal(sys::SIGTERM);
    let seen = run.end();
    let answer: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!((&answer["kind"], &answer["content"], seen.status), (&json!("cancelled"), &json!("half"), 7));
}

#[test]
fn a_second_signal_takes_away_the_grace() {
    let scene =
        Scene::playing("trap '' INT TERM; printf half; tell up; while :; do \"$here/sleep\" 1000; done");
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["x"]).start();
    up.told();
    run.says("half");
    run.signal(sys::SIGTERM);
    run.signal(sys::SIGTERM);
    run.ends("half\n", "clinvk: cancelled\n", 7);
    server.stop();
    scene.is_deserted();
}

#[test]
fn a_client_that_is_killed_ends_its_run() {
    let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["x"]).start();
    up.told();
    run.says("half");
    run.signal(sys::SIGKILL);
    until("the end of the run", || server.get("/api/v1/runs").json()["runs"] == json!([]));
    server.stop();
    scene.is_deserted();
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let scene = Scene::playing("while :; do say word; done");
    let server = scene.serve([]);
    let line = format!("'{}' --server http://{} x | head -1", env!("CARGO_BIN_EXE_clinvk"), server.address);
    scene.program("/bin/sh").args(["-c", &line]).prints("word\n");
    until("the end of the run", || server.get("/api/v1/runs").json()["runs"] == json!([]));
}

#[test]
fn a_server_that_dies_in_mid_answer_is_status_5() {
    let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["x"]).start();
    up.told();
    run.says("half");
    server.process.signal(sys::SIGKILL);
    let seen = run.end();
    assert!(seen.status == 5 && seen.err.starts_with("clinvk: server `http://"), "{seen}");
    assert_eq!(seen.out, "half");
}

#[test]
fn a_server_that_drains_ends_its_runs_and_says_so() {
    let scene = Scene::playing("printf half; tell up; \"$here/sleep\" 1000 & wait");
    let mut up = scene.fifo("up");
    scene.edit_config(|config| config["server"] = json!({"drain_secs": 1}));
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["x"]).start();
    up.told();
    run.says("half");
    server.process.signal(sys::SIGTERM);
    let seen = run.end();
    assert!(matches!(seen.status, 5 | 7), "{seen}");
}

#[test]
fn a_session_that_another_run_holds_is_waited_for_over_there() {
    let scene = Scene::playing("tell up; await go; say done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let first = on(&scene, &server, &["x"]).start();
    up.told();
    go.tell();
    first.ends("done\n", "", 0);
    let second = on(&scene, &server, &["-c", "x"]).start();
    up.told();
    let busy = on(&scene, &server, &["-c", "x"]).seen();
    assert!(busy.status == 4 && busy.err.contains("is busy"), "{busy}");
    let waiting = on(&scene, &server, &["-c", "--wait", "x"]).start();
    go.tell();
    second.ends("done\n", "", 0);
    up.told();
    go.tell();
    waiting.ends("done\n", "", 0);
}

#[test]
fn a_batch_that_is_stopped_prints_what_is_finished_and_ends_the_rest_over_there() {
    let scene = Scene::playing(
        "read -r word; printf '%s' \"$word\"; [ \"$word\" = one ] || { tell up; \"$here/sleep\" 1000 & wait; }",
    );
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    let mut run = on(&scene, &server, &["map", "-P", "1", "{}"]).stdin("one\ntwo\nthree\n").start();
    up.told();
    run.says("\"content\":\"one\"");
    run.signal(sys::SIGTERM);
    let seen = run.end();
    assert!(seen.status == 7 && seen.out.contains("\"status\":\"cancelled\""), "{seen}");
    until("the end of the run", || server.get("/api/v1/runs").json()["runs"] == json!([]));
    server.stop();
    scene.is_deserted();
}

#[test]
fn runs_for_which_there_is_no_room_have_their_turn() {
    let scene = Scene::playing("cat");
    scene.edit_config(|config| config["server"] = json!({"max_runs": 1, "queue_length": 0}));
    let server = scene.serve([]);
    let items: String = (0..12).map(|number| format!("{number}\n")).collect();
    let seen = on(&scene, &server, &["map", "-P", "4", "-q", "--json", "{}"]).stdin(&items).seen();
    let all: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert!(seen.status == 0 && all["completed"] == 12, "{seen}");
}
