//! What recorded dialogues mean, and what makes an end a success or which failure.

use super::{after_prompt, answered, chunk, ending, gemini, opened, task, update};
use crate::util::replay::{Played, data, play};
use clinvk::backend::{Backend, Ended, Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::event::{Event, Usage};
use clinvk::model::task::Task;
use serde_json::{Value, json};

fn played(file: &str) -> Played {
    play(&mut *gemini().dialogue(&task("hi there")), &data(&format!("gemini/{file}.log")))
}

#[test]
fn recorded_dialogues_end_as_they_did() {
    let hello = "Hello from the stub.";
    let table = [
        ("approve-command", "ok", hello, 200),
        ("approve-write", "ok", hello, 200),
        ("decline-command", "ok", hello, 200),
        ("decline-write", "ok", hello, 200),
        ("plan-mode", "ok", hello, 200),
        ("tool-fails", "ok", hello, 300),
        ("thinking-and-tools", "ok", "Let me look.\n\nOne more.\n\nDone.", 300),
        ("cancel-permission", "cancelled", "", 0),
        ("cancel-stream", "cancelled", "Hello", 0),
        ("empty", "unreadable", "", 100),
        ("stream-error", "unreadable", "Hello fromHello from", 0),
        ("cut", "unreachable", "Hello from", 0),
        ("refused", "unreachable", "", 0),
        ("error-400", "invalid_request", "", 0),
        ("error-401", "login", "", 0),
        ("error-403", "login", "", 0),
        ("error-404", "unknown_model", "", 0),
        ("error-429", "quota", "", 0),
        ("error-500", "overloaded", "", 0),
        ("error-503", "overloaded", "", 0),
        ("error-key", "login", "", 0),
        ("error-context", "context_too_long", "", 0),
        ("too-long", "context_too_long", "", 0),
        ("turn-limit", "turn_limit", "", 100),
        ("loop", "turn_limit", "", 400),
        ("no-key", "login", "", 0),
        ("login-page", "login", "", 0),
    ];
    for (file, expected, text, input) in table {
        let played = played(file);
        let usage = played.usage().map_or(0, |usage| usage.input);
        assert_eq!(
            (played.ending(), &*played.text(), usage),
            (expected, text, input),
            "{file}: {:?}",
            played.result
        );
    }
    let mut files: Vec<String> =
        table.iter().map(|(file, ..)| format!("{file}.log")).chain(["command.log".into()]).collect();
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gemini");
    let mut there: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    there.sort();
    assert_eq!(files, there);
}

#[test]
fn failures_speak_in_the_vendors_words_and_not_in_json() {
    let message = |file| played(file).result.unwrap().unwrap_err().message;
    assert_eq!(message("error-401"), "The stand-in refuses.");
    assert_eq!(message("error-key"), "API key not valid. Please pass a valid API key.");
    assert_eq!(message("no-key"), "Gemini API key is missing or not configured.");
    let limited = Task { max_turns: Some(1), ..task("x") };
    let limited = play(&mut *gemini().dialogue(&limited), &data("gemini/turn-limit.log"));
    assert_eq!(limited.result.unwrap().unwrap_err().message, "the limit of 1 turns was used up");
    let nested = json!({"error": {"message": json!({"error": {"message": "deep"}}).to_string()}}).to_string();
    let error = json!({"jsonrpc": "2.0", "id": 3, "error": {"code": 500, "message": nested}});
    let failed = clinvk::model::error::Failure::new(Kind::Overloaded, "deep");
    assert_eq!(after_prompt(&task("x"), &[error]), [Step::Finished(Err(failed))]);
}

#[test]
fn codes_decide_where_words_do_not() {
    let table = [
        (400, "x", "invalid_request"),
        (401, "x", "login"),
        (403, "x", "login"),
        (404, "x", "unknown_model"),
        (413, "x", "context_too_long"),
        (429, "x", "quota"),
        (503, "x", "overloaded"),
        (-32000, "Authentication required", "login"),
        (-32603, "Internal error", "crash"),
        // Gemini says 500 when it knows no status; a whole body is the vendor's.
        (500, "x", "crash"),
        (500, r#"{"error":{"code":500,"message":"x"}}"#, "overloaded"),
        // Words go first: gemini before 0.56 hides a 429 in a 500.
        (500, "You exceeded your current quota, please check your plan.", "quota"),
        (500, "exception TypeError: fetch failed sending request", "unreachable"),
        (500, "terminated", "unreachable"),
        (500, "the session was terminated", "crash"),
        (400, r#"{"error":{"code":400,"message":"API key not valid. Please."}}"#, "login"),
    ];
    for (code, message, expected) in table {
        let error = json!({"jsonrpc": "2.0", "id": 3, "error": {"code": code, "message": message}});
        assert_eq!(ending(&after_prompt(&task("x"), &[error])), expected, "{code} {message}");
    }
    let data = json!({"details": "Directory does not exist: /nope"});
    let error = json!({"code": -32603, "message": "Internal error", "data": data});
    let steps = after_prompt(&task("x"), &[json!({"jsonrpc": "2.0", "id": 3, "error": error})]);
    assert_eq!(ending(&steps), "invalid_request", "{steps:?}");
}

#[test]
fn the_session_and_the_model_are_named_before_the_answer() {
    let played = played("approve-write");
    let session = Some("ad877f94-f52b-4052-8149-39efff92f8ae".to_owned());
    assert_eq!(played.events[0], Event::Started { model: Some("gemini-2.5-flash".into()), session });
    let usage = Usage { input: 200, output: 24, ..Usage::default() };
    assert_eq!(played.usage(), Some(usage));
}

#[test]
fn tools_and_thoughts_are_told_as_they_come() {
    let events = played("thinking-and-tools").events;
    let (list, write) =
        ("list_directory__list_directory_1795353339256_0", "write_file__write_file_1795353339719_0");
    let path = "/src/project/made.txt";
    let tool_use = |id: &str, name: &str, input: Value| Event::ToolUse {
        id: id.into(),
        name: name.into(),
        input,
        parent: None,
    };
    let tool_result = |id: &str, name: &str, output: &str| Event::ToolResult {
        id: id.into(),
        name: name.into(),
        output: output.into(),
        is_error: false,
        parent: None,
    };
    let expected = [
        Event::Thinking("**Planning**\nI look first.".into()),
        Event::Text("Let me".into()),
        Event::Text(" look.".into()),
        tool_use(list, "list_directory", json!({"title": ".", "kind": "search"})),
        tool_result(list, "list_directory", ""),
        Event::Text("\n\nOne more.".into()),
        tool_use(
            write,
            "write_file",
            json!({"title": "Writing to made.txt", "kind": "edit", "paths": [path]}),
        ),
        tool_result(write, "write_file", "add /src/project/made.txt"),
        Event::Thinking("no headline".into()),
        Event::Text("\n\nDone".into()),
        Event::Text(".".into()),
        Event::Usage(Usage { input: 300, output: 36, ..Usage::default() }),
    ];
    assert_eq!(events[1..], expected);
}

#[test]
fn a_tool_that_fails_before_it_was_announced_is_announced() {
    let events = played("tool-fails").events;
    let Event::ToolUse { name, .. } = &events[1] else { panic!("{events:?}") };
    let Event::ToolResult { is_error, output, .. } = &events[2] else { panic!("{events:?}") };
    assert_eq!((&**name, *is_error), ("read_file", true));
    assert!(output.starts_with("Path not in workspace"), "{output}");
}

#[test]
fn geminis_notes_about_its_mode_are_no_part_of_the_answer() {
    let events = played("plan-mode").events;
    let note = |event: &&Event| matches!(event, Event::Progress { stage, .. } if stage == "mode");
    assert_eq!(events.iter().filter(note).count(), 1, "{events:?}");
    // But a model may well speak of them.
    let steps = after_prompt(&task("x"), &[chunk("[MODE_UPDATE] is a note")]);
    assert!(steps.contains(&Step::Event(Event::Text("[MODE_UPDATE] is a note".into()))), "{steps:?}");
}

#[test]
fn a_command_has_an_answer_without_a_model() {
    let log = data("gemini/command.log");
    let asked = Task { interpret: true, ..task("/about") };
    let answer = play(&mut *gemini().dialogue(&asked), &log);
    assert_eq!(answer.ending(), "ok");
    assert!(answer.text().contains("Gemini CLI") || answer.text().contains("gemini"), "{}", answer.text());
    // Where no command was asked for, the same is a failure.
    assert_eq!(play(&mut *gemini().dialogue(&task("hi")), &log).ending(), "unreadable");
}

#[test]
fn a_success_needs_an_answer() {
    let tool = |name: &str, status: &str| {
        update(
            json!({"sessionUpdate": name, "toolCallId": "glob__1", "status": status, "title": "x", "kind": "search"}),
        )
    };
    let stopped = |reason: &str| json!({"jsonrpc": "2.0", "id": 3, "result": {"stopReason": reason}});
    let table: Vec<(&str, Vec<Value>, &str)> = vec![
        ("text", vec![chunk("x"), answered()], "ok"),
        ("nothing", vec![answered()], "unreadable"),
        ("an empty text", vec![chunk(""), answered()], "unreadable"),
        (
            "tools and no text",
            vec![tool("tool_call", "in_progress"), tool("tool_call_update", "completed"), answered()],
            "ok",
        ),
        // A gateway may leave the counts out altogether.
        ("text without any counts", vec![chunk("x"), stopped("end_turn")], "ok"),
        ("refusal", vec![chunk("x"), stopped("refusal")], "refusal"),
        ("a reason of later days", vec![chunk("x"), stopped("bored")], "unreadable"),
        ("no reason", vec![chunk("x"), json!({"jsonrpc": "2.0", "id": 3, "result": {}})], "unreadable"),
        ("null", vec![chunk("x"), json!({"jsonrpc": "2.0", "id": 3, "result": null})], "unreadable"),
    ];
    for (name, lines, expected) in table {
        assert_eq!(ending(&after_prompt(&task("x"), &lines)), expected, "{name}");
    }
}

#[test]
fn an_end_without_a_result_says_what_standard_error_said() {
    let table = [
        (Some(41), "Invalid auth method selected.", "login"),
        (Some(42), "no", "invalid_request"),
        (Some(44), "\u{1b}[31mMissing sandbox command 'docker'\u{1b}[0m", "config"),
        (Some(52), "Error in settings.json: no", "config"),
        (Some(53), "no", "turn_limit"),
        (Some(55), "not a trusted directory", "config"),
        (Some(1), "Unknown arguments: nope", "vendor_flag"),
        (Some(1), "connect ECONNREFUSED 127.0.0.1:1", "unreachable"),
        (Some(1), "TypeError: x is no function", "crash"),
        (Some(0), "", "crash"),
        (None, "", "crash"),
    ];
    for (code, stderr, expected) in table {
        let mut steps = Steps::new();
        let stderr =
            format!("Ripgrep is not available. Falling back to GrepTool.\n{stderr}\n[STARTUP] Phase 'x'\n");
        opened(&task("x")).eof(&Ended { code, signal: None, stderr: stderr.clone() }, &mut steps);
        assert_eq!(ending(&steps), expected, "{code:?} {stderr}");
        let Some(Step::Finished(Err(failure))) = steps.pop() else { panic!("{steps:?}") };
        for noise in ["Ripgrep", "STARTUP", "\u{1b}", "31m"] {
            assert!(!failure.message.contains(noise), "{failure:?}");
        }
    }
}
