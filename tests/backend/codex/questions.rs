//! What codex asks, and how it is interrupted.

use super::{codex, end, ending, hear, in_turn, sent, task};
use clinvk::backend::{Backend, Dialogue, Steps};
use clinvk::model::task::{Approval, Task};
use serde_json::{Value, json};

#[test]
fn every_question_of_codex_gets_an_answer() {
    let granting = Task { approval: Approval::None, ..task("hi") };
    let wish = json!({"network": {"enabled": true}});
    let form = |fields: Value| json!({"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": fields}});
    let name = json!({"name": {"type": "string"}});
    let unknown = json!({"code": -32601, "message": "clinvk does not answer `item/tool/call`"});
    for (method, params, granted, refused) in [
        (
            "item/commandExecution/requestApproval",
            json!({}),
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/fileChange/requestApproval",
            json!({}),
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/permissions/requestApproval",
            json!({"permissions": wish.clone()}),
            json!({"permissions": wish, "scope": "turn"}),
            json!({"permissions": {}, "scope": "turn"}),
        ),
        (
            "mcpServer/elicitation/request",
            form(json!({})),
            json!({"action": "accept", "content": {}}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "mcpServer/elicitation/request",
            form(name),
            json!({"action": "decline", "content": null}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "mcpServer/elicitation/request",
            json!({"mode": "url", "url": "https://x"}),
            json!({"action": "decline", "content": null}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "item/tool/requestUserInput",
            json!({"questions": []}),
            json!({"answers": {}}),
            json!({"answers": {}}),
        ),
        ("item/tool/call", json!({}), Value::Null, Value::Null),
    ] {
        for (task, expected) in [(&granting, granted), (&task("hi"), refused)] {
            // Codex numbers its questions from 0 and may use words: the same id goes back.
            for id in [json!(0), json!("q")] {
                let steps =
                    hear(&mut *in_turn(task), &[json!({"id": id, "method": method, "params": params})]);
                let reply = if expected.is_null() {
                    json!({"id": id, "error": unknown})
                } else {
                    json!({"id": id, "result": expected})
                };
                assert_eq!(sent(&steps), [reply], "{method} {params}");
                assert_eq!(ending(&steps), None);
            }
        }
    }
}

#[test]
fn a_running_turn_can_be_interrupted_and_nothing_else() {
    let interrupted = |dialogue: &mut dyn Dialogue| {
        let mut steps = Steps::new();
        dialogue.interrupt(&mut steps);
        sent(&steps)
    };
    assert_eq!(interrupted(&mut *codex().dialogue(&task("hi"))), [] as [Value; 0]);
    let mut dialogue = in_turn(&task("hi"));
    assert_eq!(interrupted(&mut *dialogue)[0]["params"], json!({"threadId": "T", "turnId": "U"}));
    hear(&mut *dialogue, &[end(json!({"status": "completed"}))]);
    assert_eq!(interrupted(&mut *dialogue), [] as [Value; 0]);
}
