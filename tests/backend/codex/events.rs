//! What is told while a turn goes on: text, tools, reasoning, warnings, signs of life.

use super::{delta, end, ending, hear, in_turn, message, note, played, progress, task, texts};
use clinvk::backend::Step;
use clinvk::model::error::Kind;
use clinvk::model::event::{Event, TRUNCATED};
use clinvk::model::task::Task;
use serde_json::{Value, json};

#[test]
fn tools_reasoning_and_warnings_are_told_as_they_come() {
    let told = |file: &str| {
        let events = played(&task("hi there"), file).events;
        events
            .into_iter()
            .filter(|event| match event {
                Event::Progress { stage, .. } => stage != "notice",
                event => !matches!(event, Event::Started { .. } | Event::Text(_) | Event::Usage(_)),
            })
            .collect::<Vec<_>>()
    };
    let uses = |id: &str, name: &str, input: Value| Event::ToolUse {
        id: id.into(),
        name: name.into(),
        input,
        parent: None,
    };
    let result = |id: &str, name: &str, output: &str, is_error| Event::ToolResult {
        id: id.into(),
        name: name.into(),
        output: output.into(),
        is_error,
        parent: None,
    };
    let denied = |what: &str| Event::PermissionDenied { what: what.into() };
    let stage = |stage: &str, message: &str| Event::Progress { stage: stage.into(), message: message.into() };
    let shell =
        |command: &str| json!({"command": format!("/bin/bash -lc '{command}'"), "cwd": "/src/project"});
    assert_eq!(
        told("two-messages"),
        [
            uses("call_3", "commandExecution", shell("echo hi; exit 3")),
            result("call_3", "commandExecution", "hi\n", true),
        ]
    );
    assert_eq!(
        told("decline-command"),
        [
            uses("call_54", "commandExecution", shell("touch made.txt")),
            denied("/bin/bash -lc 'touch made.txt'"),
            result("call_54", "commandExecution", "", true),
        ]
    );
    assert_eq!(
        told("decline-patch"),
        [
            uses(
                "call_8",
                "fileChange",
                json!({"changes": [
            {"path": "/src/project/made.txt", "kind": {"type": "add"}, "diff": "hello\n"}]})
            ),
            denied("a change of files that needs approval"),
            result("call_8", "fileChange", "/src/project/made.txt", true),
        ]
    );
    assert_eq!(
        told("mcp-decline"),
        [
            uses("call_15", "probe.poke", json!({"a": "b"})),
            denied("Allow the probe MCP server to run tool \"poke\"?"),
            result("call_15", "probe.poke", "user rejected MCP tool call", true),
        ]
    );
    assert_eq!(told("thinking"), [Event::Thinking("Let me".into()), Event::Thinking(" think".into())]);
    assert_eq!(
        told("mcp-broken"),
        [stage(
            "warning",
            "MCP client for `bad` failed to start: MCP startup failed: No such file or directory (os error 2)",
        )]
    );
}

#[test]
fn a_warning_that_codex_repeats_is_told_once() {
    let config = json!({"method": "configWarning", "params": {"summary": "bad key", "details": null}});
    let steps = hear(&mut *in_turn(&task("hi")), &[config, note("warning", json!({"message": "bad key"}))]);
    assert_eq!(progress(&steps), [("warning".to_owned(), "bad key".to_owned())]);
}

#[test]
fn text_is_told_once_and_messages_stand_apart() {
    for (name, lines, expected) in [
        (
            "deltas, then the whole",
            vec![delta("a", "Hel"), delta("a", "lo"), message("a", "Hello")],
            vec!["Hel", "lo"],
        ),
        (
            "the end came only with the whole",
            vec![delta("a", "Hel"), message("a", "Hello")],
            vec!["Hel", "lo"],
        ),
        ("no delta at all", vec![message("a", "Hello")], vec!["Hello"]),
        (
            "two messages",
            vec![delta("a", "x"), message("a", "x"), delta("b", "y"), message("b", "y")],
            vec!["x", "\n\ny"],
        ),
        (
            "an empty one between",
            vec![message("a", "x"), message("b", ""), message("c", "y")],
            vec!["x", "\n\ny"],
        ),
        ("an empty one first", vec![message("a", ""), message("b", "y")], vec!["y"]),
        ("the end twice", vec![message("a", "x"), message("a", "x")], vec!["x"]),
        (
            "two that begin alike",
            vec![delta("a", "x"), message("a", "x"), delta("b", "xy"), message("b", "xy")],
            vec!["x", "\n\nxy"],
        ),
        ("another whole than its deltas", vec![delta("a", "x [1]"), message("a", "x")], vec!["x [1]"]),
        (
            "cut, repeated and finished",
            vec![
                delta("a", "Hé"),
                delta("a", "llo"),
                delta("b", "H"),
                delta("b", "éll"),
                delta("b", "o w"),
                message("b", "Héllo w."),
            ],
            vec!["Hé", "llo", " w", "."],
        ),
        (
            "cut twice",
            vec![delta("a", "Hello"), delta("b", "He"), delta("c", "Hello!"), message("c", "Hello!")],
            vec!["Hello", "!"],
        ),
        (
            "cut, and no more than before",
            vec![delta("a", "Hello"), delta("b", "Hello"), message("b", "Hello"), message("c", "x")],
            vec!["Hello", "\n\nx"],
        ),
        (
            "cut, then other words",
            vec![delta("a", "Hello"), delta("b", "Help"), delta("b", "!"), message("b", "Help!")],
            vec!["Hello", "\n\nHelp", "!"],
        ),
        (
            "cut, other words, cut again",
            vec![delta("a", "Hello"), delta("b", "Help"), delta("c", "Help"), delta("c", "!")],
            vec!["Hello", "\n\nHelp", "!"],
        ),
        (
            "cut, then less",
            vec![delta("a", "Hello"), delta("b", "He"), message("b", "He"), message("c", "x")],
            vec!["Hello", "\n\nHe", "\n\nx"],
        ),
        (
            "cut, whole without deltas",
            vec![delta("a", "Hello"), message("b", "Hello you")],
            vec!["Hello", " you"],
        ),
    ] {
        assert_eq!(texts(&hear(&mut *in_turn(&task("hi")), &lines)), expected, "{name}");
    }
}

#[test]
fn a_json_answer_is_the_last_message_told_whole() {
    let task = Task { schema: Some(json!({"type": "object"})), ..task("hi") };
    let done = end(json!({"status": "completed"}));
    let lines = [
        delta("a", "let me"),
        message("a", "let me see"),
        delta("b", "{\"x\":"),
        message("b", "{\"x\": 1}"),
        done.clone(),
    ];
    let steps = hear(&mut *in_turn(&task), &lines);
    assert_eq!((texts(&steps), ending(&steps)), (vec!["{\"x\": 1}".to_owned()], Some((None, String::new()))));
    let twice = hear(&mut *in_turn(&task), &[message("a", "1"), message("a", "1"), done.clone()]);
    assert_eq!(texts(&twice), ["1"], "{twice:#?}");
    // Whether it follows the schema is the engine's to check.
    let steps = hear(&mut *in_turn(&task), &[message("a", "no JSON"), done.clone()]);
    assert_eq!((texts(&steps), ending(&steps).unwrap().0), (vec!["no JSON".to_owned()], None));
    let steps = hear(&mut *in_turn(&task), &[message("a", ""), done]);
    assert_eq!((texts(&steps), ending(&steps).unwrap().0), (vec![], Some(Kind::Unreadable)));
}

#[test]
fn the_model_gives_its_sign_of_life_once_and_our_own_prompt_is_none() {
    let item = |kind: &str| note("item/started", json!({"item": {"type": kind, "id": "i"}}));
    for (lines, signs) in [
        (vec![item("userMessage")], 0),
        (vec![item("reasoning"), delta("a", "x")], 1),
        (vec![delta("a", "x"), delta("a", "y")], 1),
        (vec![note("thread/tokenUsage/updated", json!({}))], 1),
    ] {
        let steps = hear(&mut *in_turn(&task("hi")), &lines);
        assert_eq!(steps.iter().filter(|step| **step == Step::Answering).count(), signs, "{lines:?}");
    }
}

#[test]
fn an_answer_that_was_cut_at_the_models_limit_is_one() {
    let error = json!({"message": "Incomplete response returned, reason: max_output_tokens"});
    let log =
        [delta("m", "half"), note("turn/completed", json!({"turn": {"status": "failed", "error": error}}))];
    let steps = hear(&mut *in_turn(&task("x")), &log);
    let told = |stage: &str| {
        steps
            .iter()
            .any(|step| matches!(step, Step::Event(Event::Progress { stage: known, .. }) if known == stage))
    };
    assert!(told(TRUNCATED) && steps.contains(&Step::Finished(Ok(()))), "{steps:?}");
    let formed = Task { schema: Some(json!({"type": "object"})), ..task("x") };
    let steps = hear(&mut *in_turn(&formed), &log);
    let Some(Step::Finished(Err(failure))) = steps.last() else { panic!("{steps:?}") };
    assert_eq!(failure.kind, Kind::TurnLimit, "half a value is none");
}
