//! What outlives a turn of codex's: the end of the turn is the end of the run, and the run warns (faults.md A1).

use super::{delta, end, ending, hear, in_turn, note, progress, task, texts};
use crate::util::replay::{data, play};
use clinvk::backend::Backend;
use clinvk::model::event::Event;
use serde_json::{Value, json};

fn command(method: &str, id: &str, more: Value) -> Value {
    let mut item = json!({"type": "commandExecution", "id": id, "command": format!("run {id}")});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    note(method, json!({"item": item}))
}

fn turn_of(thread: &str, method: &str) -> Value {
    json!({"method": method, "params": {"threadId": thread, "turn": {"id": "V", "status": "completed"}}})
}

#[test]
fn what_still_runs_at_the_end_is_warned_of() {
    let done = [delta("m", "It runs."), end(json!({"status": "completed"}))];
    let command_runs = "a command was still running when the answer came, and was ended: run c";
    let agents =
        |count: u32| format!("{count} of its agents were still at work when the answer came, and were ended");
    for (name, lines, warnings) in [
        ("nothing", vec![], vec![]),
        (
            "a command that has ended",
            vec![
                command("item/started", "c", json!({})),
                command("item/completed", "c", json!({"status": "completed"})),
            ],
            vec![],
        ),
        ("a command", vec![command("item/started", "c", json!({}))], vec![command_runs.to_owned()]),
        ("an agent that is done", vec![turn_of("H", "turn/started"), turn_of("H", "turn/completed")], vec![]),
        ("an agent", vec![turn_of("H", "turn/started")], vec![agents(1)]),
        (
            "two of three agents",
            vec![
                turn_of("H", "turn/started"),
                turn_of("I", "turn/started"),
                turn_of("J", "turn/started"),
                turn_of("I", "turn/completed"),
            ],
            vec![agents(2)],
        ),
    ] {
        let steps = hear(&mut *in_turn(&task("hi")), &[lines, done.to_vec()].concat());
        let warned: Vec<String> = progress(&steps)
            .into_iter()
            .filter(|(stage, _)| stage == "warning")
            .map(|(_, message)| message)
            .collect();
        assert_eq!((warned, texts(&steps).concat()), (warnings, "It runs.".to_owned()), "{name}");
        assert_eq!(ending(&steps).map(|(kind, _)| kind), Some(None), "{name}");
    }
}

/// Recorded with 0.171.0: the command of `background` is still running, and so is the agent of `agent`, whose own words and
/// whose own end are none of this turn's.
#[test]
fn recorded_ends_are_ends() {
    for (file, answer, warned) in [
        ("background", "It runs.", "a command was still running when the answer came, and was ended: "),
        (
            "agent",
            "I started an agent.",
            "1 of its agents were still at work when the answer came, and were ended",
        ),
    ] {
        let played =
            play(&mut *super::codex().dialogue(&task("hi there")), &data(&format!("codex/{file}.log")));
        assert_eq!((played.text(), played.ending()), (answer.to_owned(), "ok"), "{file}");
        let warns = |event: &Event| matches!(event, Event::Progress { stage, message } if stage == "warning" && message.starts_with(warned));
        assert!(played.events.iter().any(warns), "{file}: {:#?}", played.events);
        assert!(played.events.iter().any(|event| matches!(event, Event::ToolUse { .. })), "{file}");
    }
}
