//! An agent of a few lines, as a process.

use crate::util::scene::Scene;
use serde_json::json;

/// Says these lines, each after one of ours.
fn saying(keys: serde_json::Value, lines: &[&str]) -> Scene {
    let mut keys = keys;
    keys["protocol"] = json!("acp");
    let says: String = lines.iter().map(|line| format!("read line\nsay '{line}'\n")).collect();
    Scene::declaring(keys, &format!("{says}cat >/dev/null"))
}

const GREETING: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}"#;
const SESSION: &str = r#"{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}"#;

#[test]
fn an_agent_needs_no_more_than_its_command() {
    let chunk = r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"Yes."}}}}"#;
    let end = r#"{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}"#;
    let answer = format!("{chunk}\n{end}");
    let scene = saying(json!({}), &[GREETING, SESSION, &answer]);
    scene.clinvk(["hi"]).prints("Yes.\n");
    // There is nothing to resume, so the next turn is told the first.
    let seen = scene.clinvk(["-c", "--dry-run", "more"]).seen();
    assert!(seen.out.contains("session/new") && seen.out.contains("Yes."), "{seen}");
}

/// The first answers are waited for as long as the agent's own key says; the model's time begins with the prompt.
#[test]
fn the_start_has_a_time_of_its_own() {
    let keys = json!({"start_timeout_secs": 2});
    let model = |scene: &Scene| scene.clinvk(["hi"]).env("CLINVK_UNIFIED_FLAGS_VENDOR_CONNECT_SECS", "1");
    model(&saying(keys.clone(), &[])).fails(
        6,
        "clinvk: fake: fake gave no answer to initialize within 2s (backends.fake.start_timeout_secs)\n",
    );
    model(&saying(keys.clone(), &[GREETING])).fails(
        6,
        "clinvk: fake: fake gave no answer to session/new within 2s (backends.fake.start_timeout_secs)\n",
    );
    model(&saying(keys, &[GREETING, SESSION]))
        .fails(1, "clinvk: fake: no sign of life from the model for 1s (vendor_connect_secs)\n");
}
