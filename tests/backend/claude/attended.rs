//! Permissions where a person can be asked for them.

use super::{dialogue, task};
use clinvk::backend::{Step, Steps};
use clinvk::model::event::{Event, Permission};
use clinvk::model::task::{Approval, Sandbox, Task, ToolUse};
use serde_json::{Value, json};

fn question(id: &str) -> String {
    question_about("Bash", id)
}

fn question_about(tool: &str, id: &str) -> String {
    let request = json!({"subtype": "can_use_tool", "tool_name": tool, "input": {"command": "touch x"}, "tool_use_id": "t1"});
    json!({"type": "control_request", "request_id": id, "request": request}).to_string()
}

/// What was sent, and what else was wanted.
fn answers(steps: Steps) -> (Vec<Value>, Steps) {
    let is_sent = |step: &Step| matches!(step, Step::Send(_));
    let (sent, others): (Steps, Steps) = steps.into_iter().partition(is_sent);
    let json = |step| match step {
        Step::Send(line) => serde_json::from_str::<Value>(&line).unwrap()["response"]["response"].clone(),
        _ => unreachable!(),
    };
    (sent.into_iter().map(json).collect(), others)
}

#[test]
fn a_person_is_asked_where_approval_and_sandbox_leave_it_open() {
    let plain = task("x");
    for (asks, what, task) in [
        (false, "no person", plain.clone()),
        (true, "default", Task { attended: true, ..plain.clone() }),
        (true, "auto", Task { attended: true, approval: Approval::Auto, ..plain.clone() }),
        (true, "always", Task { attended: true, approval: Approval::Always, ..plain.clone() }),
        (true, "sandbox full", Task { attended: true, sandbox: Sandbox::Full, ..plain.clone() }),
        (false, "none", Task { attended: true, approval: Approval::None, ..plain.clone() }),
        (false, "read-only", Task { attended: true, sandbox: Sandbox::ReadOnly, ..plain.clone() }),
        (
            false,
            "not on the list",
            Task { attended: true, allowed_tools: Some(vec!["Read".into()]), ..plain.clone() },
        ),
        (false, "no tools", Task { attended: true, tools: ToolUse::None, ..plain.clone() }),
        (false, "reading tools", Task { attended: true, tools: ToolUse::ReadOnly, ..plain }),
    ] {
        let mut steps = Steps::new();
        dialogue(&task).line(&question("r"), &mut steps);
        let asked = steps.iter().any(|step| matches!(step, Step::Ask(_)));
        let answered = steps.iter().any(|step| matches!(step, Step::Send(_)));
        assert_eq!((asked, answered), (asks, !asks), "{what}: {steps:?}");
    }
}

/// What only reads is no matter of the sandbox: claude asks about the web there too.
#[test]
fn under_read_only_a_person_is_asked_about_what_only_reads() {
    for allowed_tools in [None, Some(vec!["WebFetch".to_owned()])] {
        let task = Task { attended: true, sandbox: Sandbox::ReadOnly, allowed_tools, ..task("x") };
        for (tool, asks) in [("WebFetch", true), ("Bash", false), ("mcp__t__x", false)] {
            let mut steps = Steps::new();
            dialogue(&task).line(&question_about(tool, "r"), &mut steps);
            assert_eq!(steps.iter().any(|step| matches!(step, Step::Ask(_))), asks, "{tool}: {steps:?}");
        }
    }
}

#[test]
fn claude_hears_what_the_person_says_and_each_question_has_its_answer() {
    let mut dialogue = dialogue(&Task { attended: true, ..task("x") });
    let mut steps = Steps::new();
    dialogue.line(&question("r1"), &mut steps);
    dialogue.line(&question("r2"), &mut steps);
    let permission = |id: &str| Permission {
        id: id.to_owned(),
        tool_use: "t1".to_owned(),
        name: "Bash".to_owned(),
        title: "Bash: touch x".to_owned(),
        input: json!({"command": "touch x"}),
    };
    assert_eq!(steps, [Step::Ask(permission("r1")), Step::Ask(permission("r2"))]);
    let mut heard = |id, allowed| {
        let mut steps = Steps::new();
        dialogue.permitted(id, allowed, &mut steps);
        answers(steps)
    };
    let (said, others) = heard("r2", true);
    assert_eq!(said, [json!({"behavior": "allow", "updatedInput": {"command": "touch x"}})]);
    assert_eq!(others, []);
    let (said, others) = heard("r1", false);
    assert_eq!(
        said,
        [json!({"behavior": "deny", "message": "Permission denied: the user does not allow it."})]
    );
    let what = r#"Bash {"command":"touch x"}"#.to_owned();
    assert_eq!(others, [Step::Event(Event::PermissionDenied { what })]);
    // Not twice.
    assert_eq!(heard("r1", true), (vec![], vec![]));
}
