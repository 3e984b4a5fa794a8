//! What came with claude 2.1.332: the agent goes on by itself after an answer, and its numbers are running totals.

use super::{dialogue, played, task};
use crate::util::replay::{Played, play};
use clinvk::backend::{Ended, Step, Steps};
use clinvk::model::event::{Event, Usage};
use clinvk::model::task::Task;
use serde_json::{Value, json};

#[test]
fn recorded_dialogues_end_as_they_ended() {
    let table = [
        ("agent.log", "ok", "I started an agent.\n\nThe agent has reported."),
        ("background-command.log", "ok", "I started it.\n\nIt is done."),
        ("background-command-ended.log", "ok", "Hello from the stub.\n\nIt is done."),
        ("third-turn.log", "ok", "Hello from the stub."),
    ];
    for (file, ending, text) in table {
        let played = played(&task("x"), file);
        assert_eq!((played.ending(), played.text().as_str()), (ending, text), "{file}: {:?}", played.result);
    }
}

/// faults.md A2: of a session's third turn, and of a turn with two results and a sub-agent's request.
#[test]
fn a_turn_counts_what_it_used_itself() {
    let usage = |requests: u64, cost| Usage {
        input: 140 * requests,
        output: 12 * requests,
        cached: 40 * requests,
        reasoning: 0,
        cost: Some(cost),
    };
    assert_eq!(played(&task("x"), "third-turn.log").usage(), Some(usage(1, 0.000648)));
    assert_eq!(played(&task("x"), "agent.log").usage(), Some(usage(4, 4.0 * 0.000648)));
}

/// A dialogue that has heard these lines.
fn after(lines: &[Value]) -> Played {
    let log: Vec<String> = lines.iter().map(Value::to_string).collect();
    // As one of both sides, so that its end is not the child's.
    let log = log.iter().map(|line| format!("   0.000 < {line}\n")).collect::<String>();
    play(&mut *dialogue(&task("x")), &format!("   0.000 > \n{log}"))
}

fn state(state: &str) -> Value {
    json!({"type": "system", "subtype": "session_state_changed", "state": state})
}

fn tasks(tasks: Value) -> Value {
    json!({"type": "system", "subtype": "background_tasks_changed", "tasks": tasks})
}

fn result(words: &str) -> Value {
    json!({"type": "result", "subtype": "success", "is_error": false, "result": words})
}

fn init() -> Value {
    json!({"type": "system", "subtype": "init", "session_id": "s", "model": "m"})
}

/// faults.md A1: what is the end and what is not.
#[test]
fn a_result_is_the_end_when_nothing_is_under_way() {
    let open = || tasks(json!([{"task_id": "t", "description": "serve"}]));
    let watcher = tasks(json!([{"task_id": "t", "ambient": true}, {"task_id": "u", "off_host": true}]));
    let failed = json!({"type": "result", "subtype": "success", "is_error": true, "result": "no"});
    let table: Vec<(&str, Vec<Value>, &str)> = vec![
        ("an older version says no more", vec![init(), result("a")], "ok"),
        ("busy with a sub-agent", vec![state("running"), init(), result("a")], "-"),
        ("idle", vec![state("running"), init(), result("a"), state("idle")], "ok"),
        ("a command is open", vec![state("running"), open(), result("a"), state("idle")], "-"),
        ("open, without a word of busy or idle", vec![init(), open(), result("a")], "-"),
        ("only a watcher is open", vec![state("running"), watcher, result("a"), state("idle")], "ok"),
        ("it ended and claude goes on", vec![open(), result("a"), tasks(json!([])), init()], "-"),
        ("and has answered", vec![open(), result("a"), tasks(json!([])), init(), result("b")], "ok"),
        ("idle before there was an answer", vec![state("idle")], "-"),
        ("a failure is the end, whatever is open", vec![state("running"), open(), failed], "crash"),
    ];
    for (name, lines, ending) in table {
        let played = after(&lines);
        assert_eq!(played.ending(), ending, "{name}: {played:?}");
        let begun = played.events.iter().filter(|event| matches!(event, Event::Started { .. })).count();
        assert!(begun <= 1, "{name}: begun {begun} times");
    }
}

#[test]
fn what_goes_on_in_the_background_for_ever_is_waited_for_so_long_and_named() {
    let mut talk = dialogue(&task("x"));
    let mut steps = Steps::new();
    let open = tasks(json!([{"task_id": "t", "description": "serve"}]));
    for line in [state("running"), init(), open, result("a"), state("idle")] {
        talk.line(&line.to_string(), &mut steps);
    }
    assert!(matches!(steps.pop(), Some(Step::Alarm(_))), "{steps:?}");
    steps.clear();
    talk.alarm(&mut steps);
    let message = "what went on in the background was stopped after 10m: `serve`".to_owned();
    let warning = Event::Progress { stage: "warning".to_owned(), message };
    assert_eq!(
        steps,
        [Step::Event(warning), Step::Event(Event::Text("a".to_owned())), Step::Finished(Ok(()))]
    );
}

#[test]
fn an_alarm_while_it_works_or_before_an_answer_means_nothing() {
    for lines in [vec![], vec![result("a"), init()], vec![state("running"), result("a")]] {
        let (mut talk, mut steps) = (dialogue(&task("x")), Steps::new());
        // Its first result is no end, because a task is open.
        for line in [tasks(json!([{"description": "d"}]))].iter().chain(&lines) {
            talk.line(&line.to_string(), &mut steps);
        }
        steps.clear();
        talk.alarm(&mut steps);
        assert_eq!(steps, [], "{lines:?}");
    }
}

#[test]
fn a_program_that_ends_well_after_its_answer_has_answered() {
    for (code, ending) in [(Some(0), "ok"), (Some(1), "crash"), (None, "crash")] {
        let (mut talk, mut steps) = (dialogue(&task("x")), Steps::new());
        for line in [state("running"), result("a")] {
            talk.line(&line.to_string(), &mut steps);
        }
        talk.eof(&Ended { code, ..Ended::default() }, &mut steps);
        let ended = match steps.last() {
            Some(Step::Finished(Ok(()))) => "ok",
            Some(Step::Finished(Err(failure))) => failure.kind.word(),
            other => panic!("{other:?}"),
        };
        assert_eq!(ended, ending, "{code:?}");
    }
}

/// faults.md A3: by default the system prompt of the first turn holds for all.
#[test]
fn a_session_that_goes_on_takes_the_system_prompt_of_this_turn() {
    for (resume, snapshot) in [(None, Value::Null), (Some("ID".to_owned()), json!(false))] {
        for system in [None, Some("S".to_owned())] {
            let task = Task { resume: resume.clone(), system: system.clone(), ..task("x") };
            let settings = super::said(&task).remove(0);
            assert_eq!(settings["request"]["systemPromptSnapshot"], snapshot, "{resume:?} {system:?}");
        }
    }
}

/// faults.md A6: claude waits for an answer, so one that nobody can give must not be waited for.
#[test]
fn a_question_is_answered_or_ends_the_run() {
    let ask = r#"{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"touch x \ud83d"}}}"#;
    let heard = |line: &str| {
        let (mut talk, mut steps) = (dialogue(&task("x")), Steps::new());
        talk.line(line, &mut steps);
        steps
    };
    assert!(matches!(heard(ask).last(), Some(Step::Send(_))), "half a pair is no reason to be silent");
    for line in [&ask[..ask.len() - 2], r#"{"request_id":"\x","type":"control_request"}"#] {
        match heard(line).last() {
            Some(Step::Finished(Err(failure))) => assert_eq!(failure.kind.word(), "unreadable", "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}
