//! Lines of codex's that cannot be read: told, and never waited for (faults.md A6).

use super::{ending, in_turn, task};
use clinvk::backend::{Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::event::Event;

#[test]
fn a_line_that_somebody_waits_for_ends_the_run() {
    for (line, ends) in [
        (r#"{"method":"item/commandExecution/requestApproval","id":0,"params":{"command":"touch"#, true),
        (r#"{"id":3,"result":{"turn":"#, true),
        (r#"{"method":"turn/completed","params":{"turn":{"status":"#, true),
        (r#"{"method":"item/agentMessage/delta","params":{"itemId":"a","delta":"#, false),
        ("thread 'main' panicked", false),
    ] {
        let mut dialogue = in_turn(&task("hi"));
        let mut steps = Steps::new();
        dialogue.line(line, &mut steps);
        let kind = ending(&steps).and_then(|(kind, _)| kind);
        assert_eq!(kind, ends.then_some(Kind::Unreadable), "{line}");
        let told = steps
            .iter()
            .any(|step| matches!(step, Step::Event(Event::Progress { stage, .. }) if stage == "warning"));
        assert!(told, "{line}");
    }
}

/// The question of a permission with half an emoji in it is answered like any other.
#[test]
fn half_an_emoji_is_read() {
    let mut steps = Steps::new();
    let line = r#"{"method":"item/commandExecution/requestApproval","id":9,"params":{"threadId":"T","command":"touch \ud83d"}}"#;
    in_turn(&task("hi")).line(line, &mut steps);
    assert!(steps.contains(&Step::Send(r#"{"id":9,"result":{"decision":"decline"}}"#.into())), "{steps:#?}");
}
