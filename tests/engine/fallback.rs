//! `--fallback`: another backend is asked only for reasons that it may not share, and only while nothing was delivered.

use crate::util::scene::Scene;
use serde_json::{Value, json};

/// `first` is echo that fails so; `second` is a declared backend that answers.
fn scene(echo: Value) -> Scene {
    let scene = Scene::new();
    let second = scene.fake("second", "cat >/dev/null; echo from the second");
    scene.config(&json!({
        "default_backend": "echo",
        "backends": {"echo": echo, "second": {"command": [second]}},
    }));
    scene
}

#[test]
fn only_what_another_backend_may_not_share_is_passed_on() {
    for kind in ["quota", "overloaded", "login", "not_installed"] {
        let seen = scene(json!({"fail": kind})).clinvk(["--fallback", "second", "hi"]).seen();
        assert!(seen.status == 0 && seen.out == "from the second\n", "{kind}: {seen}");
        assert!(
            seen.err.starts_with("clinvk: echo: ") && seen.err.ends_with("; asking second\n"),
            "{kind}: {seen}"
        );
    }
    for kind in ["refusal", "invalid_request", "context_too_long", "crash", "unreachable", "timeout"] {
        let seen = scene(json!({"fail": kind})).clinvk(["--fallback", "second", "hi"]).seen();
        assert!(seen.status != 0 && !seen.out.contains("second"), "{kind}: {seen}");
    }
}

#[test]
fn the_answer_says_who_was_tried_and_why() {
    let scene = scene(json!({"fail": "quota"}));
    let seen = scene.clinvk(["-o", "json", "-q", "--fallback", "second", "hi"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let facts = (&said["backend"], &said["content"], &said["tried"][0]["backend"], &said["tried"][0]["kind"]);
    assert_eq!(
        facts,
        (&json!("second"), &json!("from the second"), &json!("echo"), &json!("quota")),
        "{seen}"
    );
    let events = scene.clinvk(["-o", "stream-json", "-q", "--fallback", "second", "hi"]).seen();
    let first: Value = serde_json::from_str(events.out.lines().next().unwrap()).unwrap();
    assert!(first["backend"] == "second" && first["sequence"] == 0, "{events}");
}

#[test]
fn a_backend_that_is_not_there_is_passed_over() {
    let scene = scene(json!({"program": "/nowhere/echo"}));
    let seen = scene.clinvk(["-q", "--fallback", "second", "hi"]).seen();
    assert!(seen.status == 0 && seen.out == "from the second\n", "{seen}");
}

/// The last one that stands in is the one that has failed, and not the first; and what failed before it may be worth a try.
#[test]
fn one_that_stands_in_and_is_not_there_hides_nobody_who_was_asked_before() {
    let scene = scene(json!({"fail": "overloaded"}));
    scene.edit_config(|config| config["backends"]["second"] = json!({"command": ["/nowhere/second"]}));
    let asked = ["-q", "--fallback", "second", "--json"];
    let seen = scene.clinvk(asked).args(["hi"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let facts = json!([said["backend"], said["kind"], said["tried"][0]["backend"], said["tried"][0]["kind"]]);
    assert!(facts == json!(["second", "not_installed", "echo", "overloaded"]) && seen.status == 2, "{seen}");
    let seen = scene.clinvk(["map", "--retry", "1", "{}"]).args(asked).stdin("hi\n").seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let result = &said["results"][0];
    let facts = json!([result["backend"], result["attempts"], result["tried"][0]["kind"]]);
    assert!(facts == json!(["second", 2, "overloaded"]) && seen.status == 2, "{seen}");
}

#[test]
fn the_run_that_was_passed_over_leaves_no_session() {
    let scene = scene(json!({"fail": "quota"}));
    scene.clinvk(["-q", "--fallback", "second", "hi"]).prints("from the second\n");
    let listed = scene.clinvk(["sessions", "list", "--json"]).seen().out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let sessions = listed["sessions"].as_array().unwrap();
    assert!(sessions.len() == 1 && sessions[0]["backend"] == "second", "{listed}");
}

#[test]
fn nothing_is_asked_again_once_something_was_delivered() {
    let scene = Scene::new();
    let talker = scene.fake(
        "talker",
        r#"cat >/dev/null; echo '{"t":"half an answer"}'; echo '{"e":"Quota exceeded"}'; exit 1"#,
    );
    let second = scene.fake("second", "cat >/dev/null; echo from the second");
    let fields = json!({"text": "t", "error": "e"});
    scene.config(&json!({"default_backend": "talker", "backends": {
        "talker": {"command": [talker], "output": "jsonl", "fields": fields},
        "second": {"command": [second]},
    }}));
    let seen = scene.clinvk(["--fallback", "second", "hi"]).seen();
    assert!(seen.status != 0 && seen.out == "half an answer\n" && !seen.err.contains("second"), "{seen}");
}

#[test]
fn the_configuration_may_name_them_and_a_wrong_name_is_an_error_before_anything_runs() {
    let scene = scene(json!({"fail": "quota"}));
    let run =
        |fallback: &str| scene.clinvk(["-q", "hi"]).env("CLINVK_UNIFIED_FLAGS_FALLBACK", fallback).seen();
    let seen = run("second");
    assert!(seen.status == 0 && seen.out == "from the second\n", "{seen}");
    let seen = run("secnod");
    assert!(seen.status == 2 && seen.err.contains("did you mean `second`?"), "{seen}");
}
