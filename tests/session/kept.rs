//! What is kept of a prompt, and who may read it.

use crate::util::scene::Scene;
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_store_is_for_its_owner_alone() {
    let home = Home::new();
    home.begin("hi");
    let modes: Vec<_> = home.files().into_keys().map(|name| (mode(home.dir().join(&name)), name)).collect();
    assert!(modes.len() == 5 && modes.iter().all(|(mode, _)| *mode == 0o600), "{modes:?}");
    assert_eq!(format!("{:o}", mode(home.dir())), "700");
}

#[test]
fn a_home_that_is_made_is_for_its_owner_alone() {
    let scene = Scene::new();
    scene.clinvk(["-b", "echo", "hi"]).env("CLINVK_HOME", scene.text("a/b")).prints("hi\n");
    assert_eq!(format!("{:o} {:o}", mode(scene.path("a/b")), mode(scene.path("a/b/sessions"))), "700 700");
}

#[test]
fn a_session_says_what_it_was() {
    let home = Home::new();
    let id = home.begin("\n one two \nthree");
    let mut kept = home.session(&id);
    let is_time = |time: &Value| {
        let shape: String =
            time.as_str().unwrap().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        shape == "0000-00-00T00:00:00.000Z"
    };
    let times =
        ["created_at", "last_used_at"].map(|name| kept.as_object_mut().unwrap().remove(name).unwrap());
    assert!(times.iter().all(is_time) && times[0].as_str() <= times[1].as_str(), "{times:?}");
    let expected = json!({
        "id": id, "asked_model": "", "backend": "echo", "backend_session_id": "echo", "model": "echo", "status": "completed",
        "working_dir": "ROOT/work", "turn_count": 1, "title": "one two",
        "token_usage": {"input_tokens": 3, "output_tokens": 3, "cached_tokens": 0, "reasoning_tokens": 0},
        "initial_prompt": "\n one two \nthree", "tags": [], "metadata": {},
    });
    assert!(kept == expected, "expected {expected:#}\nsaw {kept:#}");
}

#[test]
fn a_turn_says_what_it_was() {
    let home = Home::new();
    let id = home.begin("a b");
    let mut turns = home.turns(&id);
    for name in ["time", "duration_seconds"] {
        turns[0].as_object_mut().unwrap().remove(name).unwrap();
    }
    let usage = json!({"input_tokens": 2, "output_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0});
    let expected =
        json!({"backend": "echo", "model": "echo", "prompt": "a b", "answer": "a b", "usage": usage});
    assert_eq!(turns, [expected]);
}

#[test]
fn turns_and_tokens_are_kept_unless_the_configuration_says_no() {
    let home = Home::with(json!({"session": {"store_turns": false, "store_token_usage": false}}));
    let id = home.begin("hi");
    let kept = home.session(&id);
    assert!(
        kept["turn_count"] == 1 && kept["token_usage"]["input_tokens"] == 0 && home.turns(&id).is_empty(),
        "{kept}"
    );
    let home = Home::with(json!({"session": {"store_token_usage": false}}));
    let turn = &home.turns(&home.begin("hi"))[0];
    assert_eq!(turn["usage"]["input_tokens"], 0, "{turn}");
}

#[test]
fn tokens_and_turns_add_up() {
    let home = Home::new();
    let id = home.begin("a b c");
    home.does(["resume", &id, "d e"]);
    let kept = home.session(&id);
    let seen = (&kept["turn_count"], &kept["token_usage"]["input_tokens"], home.turns(&id).len());
    assert_eq!(seen, (&json!(2), &json!(5), 2), "{kept}");
}

#[test]
fn the_directory_is_stored_without_links() {
    let home = Home::new();
    symlink(home.scene.path("work"), home.scene.path("link")).unwrap();
    home.clinvk(["-w", "../link", "hi"]).prints("hi\n");
    assert_eq!(home.only()["working_dir"], "ROOT/work");
    home.clinvk(["-c", "more"]).dir(home.scene.path("link")).prints("more\n");
    assert_eq!(home.only()["working_dir"], "ROOT/work");
}

#[test]
fn what_a_later_version_keeps_is_kept() {
    let home = Home::new();
    let id = home.begin("hi");
    home.edit(&id, json!({"from_the_future": {"x": 1}, "metadata": {"a": [1]}}));
    home.does(["resume", &id, "more"]);
    let kept = home.session(&id);
    assert!(kept["from_the_future"] == json!({"x": 1}) && kept["metadata"] == json!({"a": [1]}), "{kept}");
}

#[test]
fn an_ephemeral_prompt_leaves_no_file_at_all() {
    let home = Home::new();
    home.does(["--ephemeral", "hi"]);
    assert!(!home.dir().exists());
    let answer = home.json(["--ephemeral", "hi"]);
    assert!(answer["session_id"].is_null() && !home.dir().exists(), "{answer}");
}

#[test]
fn an_ephemeral_continuation_leaves_the_session_as_it_was() {
    let home = Home::new();
    let id = home.begin("first");
    let before = home.files();
    let told = home.does(["resume", "--ephemeral", "-b", "cat", &id, "second"]);
    assert!(home.files() == before && told.contains("first") && told.ends_with("second\n"), "{told}");
}
