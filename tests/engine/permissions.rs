//! A permission that the agent did not get is seen, on every surface (faults.md A8).

use crate::util::replay::{data, play};
use crate::util::run::Run;
use crate::util::scene::Scene;
use clinvk::backend::Backend;
use clinvk::backend::claude::Claude;
use clinvk::model::event::Event;
use clinvk::model::task::Task;
use serde_json::{Value, json};

/// A claude that needs so many permissions, and answers `done` whatever it is told.
fn asking(times: usize) -> Scene {
    let scene = Scene::new();
    let play = format!(
        r#"
        while read -r line; do case $line in *'"type":"user"'*) break ;; esac; done
        say '{{"type":"system","subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.332"}}'
        for i in $(seq {times}); do
            say '{{"type":"control_request","request_id":"r'$i'","request":{{"subtype":"can_use_tool","tool_name":"Bash","input":{{"command":"touch '$i'"}}}}}}'
            read -r line
        done
        say '{{"type":"assistant","message":{{"content":[{{"type":"text","text":"done"}}]}}}}'
        say '{{"type":"result","subtype":"success","is_error":false,"result":"done"}}'
        cat >/dev/null
        "#
    );
    scene.fake("claude", &play);
    scene.config(&json!({"default_backend": "claude"}));
    scene
}

const WARNING: &str = r#"permission denied: Bash {"command":"touch 1"}"#;

#[track_caller]
fn is_told(told: &Value) {
    assert!(told["warnings"] == json!([WARNING]) && told["permission_denials"] == 1, "{told:#}");
}

#[test]
fn a_denied_permission_is_seen_on_the_command_line() {
    let scene = asking(1);
    scene.clinvk(["x"]).is("done\n", &format!("clinvk: {WARNING}\n"), 0);
    scene.clinvk(["-q", "x"]).prints("done\n");
    let lines = |run: Run| -> Vec<Value> {
        let seen = run.seen();
        assert!(seen.err.contains(WARNING) && seen.status == 0, "{seen}");
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {seen}"));
        seen.out.lines().map(line).collect()
    };
    is_told(&lines(scene.clinvk(["-o", "json", "x"]))[0]);
    let events = lines(scene.clinvk(["-o", "stream-json", "x"]));
    let refused = json!({"stage": "permission", "message": r#"refused: Bash {"command":"touch 1"}"#});
    assert!(
        events.iter().any(|event| event["type"] == "progress" && event["content"] == refused),
        "{events:#?}"
    );
    is_told(&events.last().unwrap()["content"]);

    scene.file("work/tasks", r#"{"prompt": "x"}"#);
    scene.file("work/steps", r#"{"steps": [{"prompt": "x"}]}"#);
    for args in [&["parallel", "--jsonl", "-f", "tasks"][..], &["map", "-f", "tasks", "{}"]] {
        is_told(&lines(scene.clinvk(args))[0]);
    }
    for args in [&["chain", "--json", "-f", "steps"][..], &["compare", "--json", "--backends", "claude", "x"]]
    {
        is_told(&lines(scene.clinvk(args))[0]["results"][0]);
    }
    for args in [
        &["parallel", "-f", "tasks"][..],
        &["chain", "-f", "steps"],
        &["compare", "--backends", "claude", "x"],
    ] {
        let seen = scene.clinvk(args).seen();
        assert!(
            seen.err.contains(&format!("clinvk: [1] {WARNING}\n")) && seen.status == 0,
            "{args:?}: {seen}"
        );
    }
}

#[cfg(feature = "serve")]
#[test]
fn a_denied_permission_is_seen_over_http() {
    let scene = asking(1);
    let server = scene.serve([]);
    is_told(&server.post("/api/v1/prompt", &json!({"prompt": "x"})).json());
    let events =
        server.post("/api/v1/prompt", &json!({"prompt": "x", "output_format": "stream-json"})).lines();
    is_told(&events.last().unwrap()["content"]);
    for (path, body) in [
        ("/api/v1/parallel", json!({"tasks": [{"prompt": "x"}]})),
        ("/api/v1/chain", json!({"steps": [{"prompt": "x"}]})),
        ("/api/v1/compare", json!({"backends": ["claude"], "prompt": "x"})),
    ] {
        is_told(&server.post(path, &body).json()["results"][0]);
    }
    let messages = json!([{"role": "user", "content": "x"}]);
    for stream in [false, true] {
        for (path, body) in [
            (
                "/openai/v1/chat/completions",
                json!({"model": "claude", "messages": messages, "stream": stream}),
            ),
            ("/openai/v1/completions", json!({"model": "claude", "prompt": "x", "stream": stream})),
            ("/openai/v1/responses", json!({"model": "claude", "input": "x", "stream": stream})),
            (
                "/anthropic/v1/messages",
                json!({"model": "claude", "max_tokens": 9, "messages": messages, "stream": stream}),
            ),
        ] {
            let answer = server.post(path, &body);
            assert_eq!(answer.header("x-clinvk-permission-denials"), Some("1"), "{path}: {answer}");
        }
    }
}

/// An agent that asks for ever does not fill the answer with it.
#[test]
fn denied_permissions_are_counted_and_the_first_are_told() {
    let seen = asking(25).clinvk(["-o", "json", "x"]).seen();
    let told: Value = serde_json::from_str(&seen.out).unwrap();
    let warnings = told["warnings"].as_array().unwrap();
    assert!(told["permission_denials"] == 25 && warnings.len() == 11, "{seen}");
    assert!(warnings[0] == WARNING && warnings[10] == "15 more permissions were denied", "{seen}");
}

/// A rule of the user's denies without a question, and only claude's result tells of it.
#[test]
fn each_denied_permission_is_told_once() {
    for (file, told) in [
        (
            "05t-tool-denied-stream-json.jsonl",
            vec![r#"Bash {"command":"touch /src/project/made.txt","description":"touch"}"#],
        ),
        ("i-permission-stdio.log", vec![r#"Bash {"command":"touch zzz","description":"t"}"#]),
        ("07-500-recovers-stream.jsonl", vec![]),
    ] {
        let task = Task { backend: "claude".into(), prompt: "x".into(), ..Task::default() };
        let events =
            play(&mut *Claude::new(None, &[]).dialogue(&task), &data(&format!("claude/{file}"))).events;
        let denied: Vec<&str> = events
            .iter()
            .filter_map(
                |event| if let Event::PermissionDenied { what } = event { Some(&**what) } else { None },
            )
            .collect();
        assert_eq!(denied, told, "{file}");
    }
}
