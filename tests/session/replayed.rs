//! A conversation that another backend, or a new session, is given turn by turn.

use super::TOLD;
use crate::util::store::Home;
use serde_json::{Value, json};
use std::fs;

#[test]
fn another_backend_is_told_the_conversation() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let kept = home.session(&id);
    let seen =
        [&kept["backend"], &kept["backend_session_id"], &kept["turn_count"], &home.turns(&id)[1]["prompt"]]
            .map(Value::clone);
    assert_eq!(seen, [json!("cat"), json!(null), json!(2), json!("two")]);
    // And back again: the vendor's session of the first turn does not know the second one.
    let told = home.does(["resume", &id, "-b", "echo", "three"]);
    assert!(
        told.contains("User:\none\n") && told.contains("User:\ntwo\n") && told.ends_with("says:\n\nthree\n"),
        "{told}"
    );
}

#[test]
fn a_backend_that_failed_does_not_get_the_session() {
    let home = Home::with(json!({"backends": {"bad": {"command": ["false"]}}}));
    let id = home.begin("one");
    let seen = home.clinvk(["resume", &id, "-b", "bad", "two"]).seen();
    let kept = home.session(&id);
    let is_where_it_was =
        kept["backend"] == "echo" && kept["backend_session_id"] == "echo" && kept["model"] == "echo";
    assert!(seen.status == 1 && is_where_it_was && kept["status"] == "error", "{seen} {kept}");
    home.clinvk(["resume", &id, "three"]).prints("three\n");
}

#[test]
fn replay_begins_a_new_session_of_the_same_backend() {
    let home = Home::new();
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let told = home.does(["resume", "--replay", &id, "three"]);
    assert!(
        told.contains("User:\none\n") && told.contains("User:\ntwo\n") && told.ends_with("says:\n\nthree\n"),
        "{told}"
    );
}

#[test]
fn a_conversation_that_is_too_long_loses_its_oldest_turns_and_that_is_said() {
    let home = Home::with(json!({"session": {"replay_limit": 40}}));
    let id = home.begin("one");
    home.does(["resume", &id, "two"]);
    let told = "This is our conversation so far (1 older turns are left out):\n\nUser:\ntwo\n\nAssistant:\ntwo\n\n\
                Now the user says:\n\nthree\n";
    let warning = "clinvk: the first 1 of 2 earlier turns were left out (session.replay_limit)\n";
    home.clinvk(["resume", &id, "-b", "cat", "three"]).is(told, warning, 0);
    let answer = home.json(["resume", &id, "-b", "echo", "four"]);
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn turns_that_were_not_stored_are_missed() {
    let home = Home::with(json!({"session": {"store_turns": false}}));
    let id = home.begin("one");
    home.clinvk(["resume", &id, "two"]).prints("two\n");
    let seen = home.clinvk(["resume", &id, "-b", "cat", "-o", "json", "three"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let why = "it has to be replayed, and its turns are not stored (session.store_turns)";
    let error = format!("clinvk: session `{id}` cannot be continued: {why}\n");
    assert!(said["kind"] == "session_not_resumable" && seen.err == error && seen.status == 4, "{seen}");
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept["backend"] == "echo", "{kept}");
    let some = home.clinvk(["resume", &id, "four"]).env("CLINVK_SESSION_STORE_TURNS", "true").seen();
    assert_eq!(some.status, 0, "{some}");
    let seen = home.clinvk(["resume", &id, "-b", "cat", "five"]).seen();
    assert!(
        seen.err == "clinvk: only 1 of 3 earlier turns are stored and could be replayed\n"
            && seen.status == 0,
        "{seen}"
    );
}

#[test]
fn a_failed_turn_is_kept_and_never_replayed() {
    let home = Home::new();
    let id = home.begin("one");
    let seen = home.clinvk(["resume", &id, "lost"]).env("CLINVK_BACKENDS_ECHO_FAIL", "quota").seen();
    let kept = home.session(&id);
    let error = "failed with `quota` as configured";
    assert!(seen.status == 1 && kept["last_error"] == error && kept["status"] == "error", "{seen} {kept}");
    let turn = &home.turns(&id)[1];
    assert!(turn["prompt"] == "lost" && turn["error"] == error && kept["turn_count"] == 1, "{turn} {kept}");
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let kept = home.session(&id);
    assert!(kept["status"] == "completed" && kept.get("last_error").is_none(), "{kept}");
}

#[test]
fn half_a_turn_that_ends_within_a_character_harms_nobody() {
    let home = Home::new();
    let id = home.begin("one");
    let half =
        [fs::read(home.path(&id, "turns.jsonl")).unwrap(), b"{\"prompt\":\"\xe6\x97".to_vec()].concat();
    fs::write(home.path(&id, "turns.jsonl"), half).unwrap();
    home.clinvk(["resume", &id, "-b", "cat", "two"]).prints(TOLD);
    let shown = home.does(["sessions", "show", "--turns", &id]);
    assert!(shown.contains("\n> one\none\n") && shown.contains("\n> two\n"), "{shown}");
}
