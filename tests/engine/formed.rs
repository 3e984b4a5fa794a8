//! An answer that breaks its JSON schema is a failure on every surface, and nobody hears of it (faults.md A7).

use crate::util::scene::Scene;
use serde_json::{Value, json};

/// A codex that gives this answer.
fn answering(answer: &str) -> Scene {
    let scene = Scene::new();
    let line = |value: Value| format!("say '{value}'");
    let message = json!({"type": "agentMessage", "id": "a", "text": answer});
    let told = [
        json!({"id": 3, "result": {"turn": {"id": "U"}}}),
        json!({"method": "item/completed", "params": {"threadId": "T", "turnId": "U", "item": message}}),
        json!({"method": "turn/completed", "params": {"threadId": "T", "turn": {"id": "U", "status": "completed"}}}),
    ];
    let play = format!(
        "while read -r line; do case $line in\n*'\"initialize\"'*) {} ;;\n*config/read*) {} ;;\n*thread/unsubscribe*) exit ;;\n*thread/*) {} ;;\n*turn/start*) {} ;;\nesac; done",
        line(json!({"id": 1, "result": {"userAgent": "clinvk/0.171.0 (x)"}})),
        line(json!({"id": 6, "result": {"config": {}}})),
        line(json!({"id": 2, "result": {"thread": {"id": "T"}, "model": "m"}})),
        told.map(line).join("; ")
    );
    scene.fake("codex", &play);
    scene.config(&json!({"default_backend": "codex"}));
    scene
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false})
}

/// Answers, what is told of each, and why not.
const ROWS: &[(&str, Option<&str>, &str)] = &[
    (r#"{"n":1}"#, Some(r#"{"n":1}"#), ""),
    ("```json\n{\"n\": 1}\n```", Some(r#"{"n": 1}"#), ""),
    (r#"{"n":"x"}"#, None, "the answer is not what was asked for: "),
    ("{}", None, "the answer is not what was asked for: "),
    ("no JSON", None, "the answer is not what was asked for: it has no JSON: no JSON"),
];

#[test]
fn a_prompt_says_what_follows_its_schema_and_nothing_else() {
    for (answer, told, why) in ROWS {
        let scene = answering(answer);
        let asked = schema().to_string();
        let seen = scene.clinvk(["--json-schema", &asked, "hi"]).seen();
        let expected = told.map_or(String::new(), |text| format!("{text}\n"));
        assert_eq!(
            (seen.out.as_str(), seen.status),
            (expected.as_str(), i32::from(told.is_none())),
            "{answer}: {}",
            seen.err
        );
        assert!(seen.err.contains(why), "{answer}: {}", seen.err);

        let seen = scene.clinvk(["-o", "json", "--json-schema", &asked, "hi"]).seen();
        let object: Value = serde_json::from_str(&seen.out).unwrap();
        let kind = if told.is_some() { Value::Null } else { json!("unreadable") };
        assert_eq!((&object["kind"], &object["content"]), (&kind, &json!(told.unwrap_or(""))), "{answer}");
    }
}

#[test]
fn so_does_a_batch() {
    for (answer, told, _) in ROWS {
        let scene = answering(answer);
        let tasks = json!({"tasks": [{"prompt": "hi", "json_schema": schema()}]});
        let file = scene.file("work/tasks.json", tasks.to_string());
        let seen = scene.clinvk(["parallel", "--json", "-f", &file]).seen();
        let result = &serde_json::from_str::<Value>(&seen.out).unwrap()["results"][0];
        let kind = if told.is_some() { Value::Null } else { json!("unreadable") };
        assert_eq!(
            (&result["kind"], &result["output"]),
            (&kind, &json!(told.unwrap_or(""))),
            "{answer}: {}",
            seen.out
        );
    }
}

#[cfg(feature = "serve")]
#[test]
fn so_does_a_server() {
    for (answer, told, why) in ROWS {
        let scene = answering(answer);
        let server = scene.serve([]);
        let asked = json!({"prompt": "hi", "json_schema": schema()});
        let plain = server.post("/api/v1/prompt", &asked);
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema(), "strict": true}});
        let chat = json!({"model": "codex", "messages": [{"role": "user", "content": "hi"}], "response_format": format});
        let chat = server.post("/openai/v1/chat/completions", &chat);
        match told {
            Some(text) => {
                assert_eq!((plain.status, &plain.json()["output"]), (200, &json!(text)), "{answer}: {plain}");
                assert_eq!(chat.json()["choices"][0]["message"]["content"], json!(text), "{answer}: {chat}");
            }
            None => {
                assert_eq!(
                    (plain.status, &plain.json()["error"]["kind"]),
                    (502, &json!("unreadable")),
                    "{answer}: {plain}"
                );
                let message = chat.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
                assert!(chat.status == 502 && message.contains(why), "{answer}: {chat}");
            }
        }
    }
}
