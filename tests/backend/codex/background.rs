//! What outlives a turn of codex's: the end of the turn is the end of the run, and the run warns (faults.md A1).

use super::{delta, end, ending, hear, in_turn, note, progress, task, texts};
use crate::util::replay::{data, play};
use clinvk::backend::{Backend, Step};
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

fn goal(status: &str) -> Value {
    note("thread/goal/updated", json!({"goal": {"status": status}}))
}

/// Seen with 0.171.0: a goal that is not reached when a turn ends begins the next turn at once.
#[test]
fn a_goal_is_pursued_over_several_turns() {
    let ends = || end(json!({"status": "completed"}));
    let begins = note("turn/started", json!({"turn": {"id": "V"}}));
    for (name, lines, over) in [
        ("reached", vec![goal("active"), goal("complete"), ends()], true),
        ("cleared", vec![goal("active"), note("thread/goal/cleared", json!({})), ends()], true),
        ("blocked", vec![goal("active"), goal("blocked"), ends()], true),
        ("active", vec![goal("active"), ends()], false),
        ("the next turn", vec![goal("active"), ends(), begins.clone()], false),
        (
            "reached in the next turn",
            vec![goal("active"), ends(), begins.clone(), goal("complete"), ends()],
            true,
        ),
        ("failed", vec![goal("active"), end(json!({"status": "failed"}))], true),
    ] {
        let mut dialogue = in_turn(&task("hi"));
        let steps = hear(&mut *dialogue, &[vec![delta("m", "I begin.")], lines].concat());
        assert_eq!(ending(&steps).is_some(), over, "{name}");
    }
    let two = [
        delta("a", "I begin."),
        goal("active"),
        ends(),
        begins.clone(),
        delta("b", "Done."),
        goal("complete"),
        ends(),
    ];
    assert_eq!(texts(&hear(&mut *in_turn(&task("hi")), &two)).concat(), "I begin.\n\nDone.");
}

/// A goal that begins no other turn is not waited for without end; and one that did is not cut.
#[test]
fn the_next_turn_of_a_goal_is_waited_for_a_while() {
    for (name, begun, over) in [("nothing comes", false, true), ("a turn has begun", true, false)] {
        let mut dialogue = in_turn(&task("hi"));
        let lines = [delta("m", "I begin."), goal("active"), end(json!({"status": "completed"}))];
        let mut steps = hear(&mut *dialogue, &lines);
        assert!(steps.iter().any(|step| matches!(step, Step::Alarm(_))), "{steps:#?}");
        if begun {
            hear(&mut *dialogue, &[note("turn/started", json!({"turn": {"id": "V"}}))]);
        }
        dialogue.alarm(&mut steps);
        assert_eq!(ending(&steps), over.then_some((None, String::new())), "{name}");
    }
}
