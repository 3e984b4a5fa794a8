//! What the surfaces make of an answer that broke off and began anew (faults.md A4), of a model that took another's place
//! (A5), and of what sub-agents do (E11).

use crate::util::replay::data;
use crate::util::scene::Scene;
use serde_json::{Value, json};

const ANSWER: &str = "Hello from the stub.";

/// A claude that says what was recorded, whatever it is told.
fn playing(recording: &str) -> Scene {
    let scene = Scene::new();
    scene.fake("claude", r#"read -r _; cat "$here/lines"; cat >/dev/null"#);
    let log = data(&format!("claude/{recording}"));
    let lines: Vec<&str> =
        log.lines().filter(|line| line.get(9..11) == Some("< ")).map(|line| &line[11..]).collect();
    scene.file("bin/lines", lines.join("\n") + "\n");
    scene.config(&json!({"default_backend": "claude"}));
    scene
}

fn events(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{out}"))).collect()
}

/// The answer, as whoever hears the events puts it together.
fn answer(events: &[Value]) -> String {
    let mut answer: Vec<char> = Vec::new();
    for event in events {
        let content = &event["content"];
        if content["stage"] == "void" {
            let void = content["characters"].as_u64().unwrap() as usize;
            answer.truncate(answer.len() - void);
        } else if event["type"] == "message" {
            answer.extend(content["text"].as_str().unwrap().chars());
        }
    }
    answer.into_iter().collect()
}

#[cfg(feature = "serve")]
#[test]
fn void_text_is_no_part_of_the_answer_wherever_it_can_be_taken_back() {
    let scene = playing("cut-twice.log");
    let seen = scene.clinvk(["-o", "json", "hi"]).seen();
    let told = &events(&seen.out)[0];
    assert_eq!((told["content"].as_str(), seen.status), (Some(ANSWER), 0), "{seen}");
    let turns =
        scene.clinvk(["sessions", "show", "--turns", "--json", told["session_id"].as_str().unwrap()]).seen();
    assert!(turns.out.contains(ANSWER) && !turns.out.contains("Hello\\n"), "{turns}");
    let seen = scene.clinvk(["-o", "stream-json", "hi"]).seen();
    assert_eq!(answer(&events(&seen.out)), ANSWER, "{seen}");
    scene.file("tasks.json", r#"{"tasks": [{"prompt": "hi"}]}"#);
    let file = scene.path("tasks.json").to_string_lossy().into_owned();
    let seen = scene.clinvk(["parallel", "--json", "-f", &file]).seen();
    assert_eq!(events(&seen.out.replace('\n', ""))[0]["results"][0]["output"], ANSWER, "{seen}");
    let server = scene.serve([]);
    let native = server.post("/api/v1/prompt", &json!({"prompt": "hi"}));
    assert_eq!(native.json()["output"], ANSWER, "{native}");
    let chat = json!({"model": "claude", "messages": [{"role": "user", "content": "hi"}]});
    let compatible = server.post("/openai/v1/chat/completions", &chat);
    assert_eq!(compatible.json()["choices"][0]["message"]["content"], ANSWER, "{compatible}");
}

#[cfg(feature = "serve")]
#[test]
fn what_is_printed_or_sent_stands_and_the_answer_begins_anew_behind_it() {
    let scene = playing("cut-twice.log");
    let broken = "Hello\n\nHello\n\n";
    let warning = "clinvk: the answer broke off: the last 5 characters above are void\n";
    scene.clinvk(["hi"]).is(&format!("{broken}{ANSWER}\n"), &warning.repeat(2), 0);
    let server = scene.serve([]);
    let chat = json!({"model": "claude", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let mut stream = server.post_stream("/openai/v1/chat/completions", &chat);
    let head = stream.head();
    let text: String = stream
        .rest(&head)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(text, format!("{broken}{ANSWER}"));
}

#[test]
fn the_model_that_answered_is_named_and_the_change_is_a_warning() {
    let why = "`claude-sonnet-4-5` answers instead of `claude-opus-5-5`: overloaded";
    let scene = playing("model-fallback.log");
    let seen = scene.clinvk(["-o", "json", "hi"]).seen();
    let told = &events(&seen.out)[0];
    assert_eq!((&told["model"], &told["warnings"]), (&json!("claude-sonnet-4-5"), &json!([why])), "{seen}");
    scene.clinvk(["hi"]).is(&format!("{ANSWER}\n"), &format!("clinvk: {why}\n"), 0);
}

#[test]
fn what_a_sub_agent_does_is_marked_and_only_that() {
    let scene = playing("agent-with-tool.log");
    let seen = scene.clinvk(["-o", "stream-json", "hi"]).seen();
    let tools: Vec<(String, Value)> = events(&seen.out)
        .iter()
        .filter(|event| event["type"] == "tool_use" || event["type"] == "tool_result")
        .map(|event| (event["type"].as_str().unwrap().to_owned(), event["content"]["parent"].clone()))
        .collect();
    let started = events(&seen.out)
        .iter()
        .find(|event| event["content"]["tool_name"] == "Agent")
        .map(|event| event["content"]["tool_id"].clone())
        .unwrap();
    let expected = [
        ("tool_use", Value::Null),
        ("tool_result", Value::Null),
        ("tool_use", started.clone()),
        ("tool_result", started),
    ];
    assert_eq!(tools, expected.map(|(kind, parent)| (kind.to_owned(), parent)), "{seen}");
}
