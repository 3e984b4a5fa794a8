//! What codex asks, and how it is interrupted.

use super::{codex, end, ending, hear, in_turn, sent, task};
use clinvk::backend::{Backend, Dialogue, Step, Steps};
use clinvk::model::event::{Event, Permission};
use clinvk::model::task::{Approval, Sandbox, Task, ToolUse};
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

#[test]
fn a_person_is_asked_where_approval_and_sandbox_leave_it_open() {
    let attended = Task { attended: true, ..task("hi") };
    let question = json!({"id": 0, "method": "item/fileChange/requestApproval", "params": {"itemId": "c"}});
    for (asks, what, task) in [
        (false, "no person", task("hi")),
        (true, "default", attended.clone()),
        (true, "auto", Task { approval: Approval::Auto, ..attended.clone() }),
        (true, "always", Task { approval: Approval::Always, ..attended.clone() }),
        (true, "full", Task { sandbox: Sandbox::Full, ..attended.clone() }),
        (false, "none", Task { approval: Approval::None, ..attended.clone() }),
        // What is granted would run outside of them.
        (false, "workspace", Task { sandbox: Sandbox::Workspace, ..attended.clone() }),
        (false, "read-only", Task { sandbox: Sandbox::ReadOnly, ..attended.clone() }),
        (false, "no tools", Task { tools: ToolUse::None, ..attended }),
    ] {
        let steps = hear(&mut *in_turn(&task), std::slice::from_ref(&question));
        let asked = steps.iter().any(|step| matches!(step, Step::Ask(_)));
        assert_eq!((asked, sent(&steps).is_empty()), (asks, asks), "{what}: {steps:?}");
    }
}

#[test]
fn codex_hears_what_the_person_says() {
    let attended = Task { attended: true, ..task("hi") };
    let wish = json!({"network": {"enabled": true}});
    let form = json!({"mode": "form", "serverName": "files", "message": "Allow it?", "requestedSchema": {"properties": {}},
        "_meta": {"tool_name": "poke", "tool_params": {"a": "b"}}});
    for (method, params, name, title, input, granted, refused) in [
        (
            "item/commandExecution/requestApproval",
            json!({"itemId": "c", "command": "touch x", "cwd": "/w"}),
            "commandExecution",
            "commandExecution: touch x",
            json!({"command": "touch x", "cwd": "/w"}),
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/fileChange/requestApproval",
            json!({"itemId": "c", "reason": null}),
            "fileChange",
            "fileChange",
            Value::Null,
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/permissions/requestApproval",
            json!({"itemId": "c", "reason": "the web", "permissions": wish.clone()}),
            "permissions",
            "permissions: the web",
            wish.clone(),
            json!({"permissions": wish, "scope": "turn"}),
            json!({"permissions": {}, "scope": "turn"}),
        ),
        (
            "mcpServer/elicitation/request",
            form,
            "files.poke",
            "files.poke: Allow it?",
            json!({"a": "b"}),
            json!({"action": "accept", "content": {}}),
            json!({"action": "decline", "content": null}),
        ),
    ] {
        for (allowed, expected) in [(true, granted), (false, refused)] {
            let mut dialogue = in_turn(&attended);
            let question = json!({"id": "q", "method": method, "params": params});
            let asked = hear(&mut *dialogue, &[question]);
            let tool_use = params["itemId"].as_str().unwrap_or("").to_owned();
            let (name, title, input) = (name.to_owned(), title.to_owned(), input.clone());
            let permission = Permission { id: "\"q\"".to_owned(), tool_use, name, title, input };
            assert_eq!(asked, [Step::Ask(permission)]);
            let mut steps = Steps::new();
            dialogue.permitted("\"q\"", allowed, &mut steps);
            assert_eq!(sent(&steps), [json!({"id": "q", "result": expected})], "{method}");
            let denied = steps.iter().any(|step| matches!(step, Step::Event(Event::PermissionDenied { .. })));
            assert_eq!(denied, !allowed, "{method}");
            dialogue.permitted("\"q\"", allowed, &mut steps);
            assert_eq!(sent(&steps).len(), 1, "{method}");
        }
    }
    // A form to be filled in is no permission.
    let fields = json!({"mode": "form", "requestedSchema": {"properties": {"name": {"type": "string"}}}});
    let question = json!({"id": 0, "method": "mcpServer/elicitation/request", "params": fields});
    assert_eq!(sent(&hear(&mut *in_turn(&attended), &[question]))[0]["result"]["action"], "decline");
}
