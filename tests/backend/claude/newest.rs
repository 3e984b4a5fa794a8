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
        ("agent-with-tool.log", "ok", "I started an agent.\n\nThe agent has reported."),
        // faults.md A4
        ("cut-twice.log", "ok", "Hello from the stub."),
        ("cut-after-thinking.log", "ok", "Hello from the stub."),
        // faults.md A5
        ("refused.log", "refusal", "I cannot help."),
        ("refused-once.log", "ok", "Hello from the stub."),
        ("model-fallback.log", "ok", "Hello from the stub."),
        // faults.md D1
        ("unreachable.log", "unreachable", ""),
        ("denied.log", "ok", "Hello from the stub."),
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

/// faults.md A4: two tries that break off, and a third.
#[test]
fn what_broke_off_is_void_to_the_character() {
    let told = |file: &str| {
        let events = played(&task("x"), file).events;
        events
            .into_iter()
            .filter(|event| matches!(event, Event::Text(_) | Event::Void(_)))
            .collect::<Vec<_>>()
    };
    let text = |text: &str| Event::Text(text.to_owned());
    let broken = [text("Hello"), Event::Void(5)];
    let whole = [text("Hello"), text(" from"), text(" the"), text(" stub"), text(".")];
    assert_eq!(told("cut-twice.log"), [&broken[..], &broken, &whole].concat());
    let refused = [text("I cannot"), text(" help."), Event::Void(14)];
    assert_eq!(told("refused-once.log"), [&refused[..], &whole].concat());
}

/// Older versions ask again without a stream: what was streamed is void where the answer is another one, and a gap belongs
/// to what it stands before.
#[test]
fn what_is_void_takes_its_gap_along() {
    let stream = |event: Value| json!({"type": "stream_event", "event": event});
    let start = || stream(json!({"type": "message_start"}));
    let delta = |text: &str| {
        stream(json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}))
    };
    let whole =
        |text: &str| json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    let table = [
        ("another answer", vec![start(), delta("éé"), whole("b")], "b"),
        ("the same", vec![start(), delta("a"), whole("ab")], "ab"),
        (
            "behind another message",
            vec![whole("a"), start(), delta("x"), start(), delta("b"), whole("b")],
            "a\n\nb",
        ),
        (
            "of the second only",
            vec![start(), delta("a"), whole("a"), start(), delta("é"), whole("b")],
            "a\n\nb",
        ),
        ("all of it", vec![start(), delta("x"), start(), whole("b")], "b"),
        (
            "a block that is whole stays",
            vec![start(), delta("a"), whole("a"), delta("x"), start(), whole("b")],
            "a\n\nb",
        ),
    ];
    for (name, mut lines, text) in table {
        lines.push(result("-"));
        let played = after(&lines);
        assert_eq!((played.ending(), played.text().as_str()), ("ok", text), "{name}: {:?}", played.events);
    }
}

/// faults.md A5: what decides is how the turn ended.
#[test]
fn a_refusal_is_one_when_the_result_says_so() {
    let stopped = json!({"type": "stream_event", "event": {"type": "message_delta", "delta": {"stop_reason": "refusal"}}});
    for (stop, is_error, ending) in
        [("end_turn", false, "ok"), ("refusal", false, "refusal"), ("refusal", true, "refusal")]
    {
        let result = json!({"type": "result", "subtype": "success", "is_error": is_error, "result": "a", "stop_reason": stop});
        assert_eq!(after(&[stopped.clone(), result]).ending(), ending, "{stop} {is_error}");
    }
}

/// faults.md D1, D4, D8: words without a status.
#[test]
fn claudes_words_have_kinds() {
    for (words, kind) in [
        (
            "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
            "unreachable",
        ),
        (
            "API Error: Connection dropped (ECONNRESET). Check the gateway set in ANTHROPIC_BASE_URL",
            "unreachable",
        ),
        ("API Error: Connection closed mid-response. The response above may be incomplete.", "unreachable"),
        ("API Error: Unable to connect to API (ConnectionRefused)", "unreachable"),
        ("API Error: Can't reach the API server — check your internet or DNS (ENOTFOUND)", "unreachable"),
        ("API Error: No internet route — check your connection or VPN (ENETUNREACH)", "unreachable"),
        ("API Error: Couldn't connect through your proxy (ERR_PROXY_TUNNEL)", "unreachable"),
        ("API Error: Request timed out. Check your internet connection and proxy settings", "unreachable"),
        ("You've hit your session limit · resets 3pm (UTC)", "quota"),
        ("You've hit your weekly limit", "quota"),
        ("You've hit your monthly spend limit.", "quota"),
        ("You're out of usage credits.", "quota"),
        ("5-hour limit reached ∙ resets 3pm", "quota"),
        ("Claude AI usage limit reached|1735689600", "quota"),
        ("Opus weekly limit reached ∙ resets Oct 6", "quota"),
        ("Prompt is too long", "context_too_long"),
        ("API Error: The API is temporarily unavailable", "overloaded"),
        ("API Error: something else", "crash"),
    ] {
        let result = json!({"type": "result", "subtype": "success", "is_error": true, "result": words});
        assert_eq!(after(&[result]).ending(), kind, "{words}");
    }
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
