//! Runs one after the other in a kept claude: facts of 2.1.332.

use super::{claude, dialogue, task};
use crate::backend::kept::{Kept, is_same_shape, opening};
use crate::backend::servers;
use clinvk::backend::{Backend, Step, Steps};
use clinvk::model::event::Event;
use clinvk::model::mcp::{McpServer, Transport};
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, ToolUse};
use serde_json::{Value, json};

const CLEAR: &str =
    r#"> {"message":{"content":[{"text":"/clear","type":"text"}],"role":"user"},"type":"user"}"#;

fn system(subtype: &str, more: Value) -> Value {
    let mut line = json!({"type": "system", "subtype": subtype});
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

fn state(state: &str) -> Value {
    system("session_state_changed", json!({"state": state}))
}

fn init(session: &str) -> Value {
    system("init", json!({"session_id": session, "claude_code_version": "2.1.332", "model": "m"}))
}

fn tasks(open: &[&str]) -> Value {
    let open: Vec<Value> = open.iter().map(|name| json!({"description": name})).collect();
    system("background_tasks_changed", json!({"tasks": open}))
}

fn result(session: &str, is_good: bool) -> Value {
    let subtype = if is_good { "success" } else { "error_during_execution" };
    json!({"type": "result", "subtype": subtype, "is_error": !is_good, "session_id": session, "result": "ok",
        "total_cost_usd": 0.5, "modelUsage": {"m": {"inputTokens": 900, "costUSD": 0.5}},
        "model_usage_since_last_result": {"m": {"inputTokens": 100, "outputTokens": 12, "costUSD": 0.25}}})
}

/// A turn of the model's, to its end.
fn turn(session: &str) -> Vec<Value> {
    vec![state("running"), init(session), result(session, true), state("idle")]
}

/// What `/clear` makes the program say.
fn cleared(session: &str) -> Vec<Value> {
    vec![
        state("running"),
        json!({"type": "conversation_reset", "trigger": "clear", "new_conversation_id": "078f"}),
        tasks(&[]),
        init(session),
        json!({"type": "result", "subtype": "success", "is_error": false, "num_turns": 0, "session_id": session,
            "model_usage_since_last_result": {}}),
        state("idle"),
    ]
}

fn to_run(seat: u64, lines: &[Value]) -> Vec<String> {
    lines.iter().map(|line| format!("{seat} < {line}")).collect()
}

fn prompt(text: &str) -> String {
    opening(&claude(), &task(text)).pop().unwrap()
}

/// A program in which the first run has had a turn in session `A`, and has left.
fn after_a_turn() -> Kept {
    let mut kept = Kept::of(&claude(), &task("x"));
    assert_eq!(kept.start(), [""; 0]);
    assert_eq!(kept.enter(1, None), [""; 0]);
    assert_eq!(kept.run_says(1, &prompt("one")), [format!("> {}", prompt("one"))]);
    assert_eq!(kept.hears(&turn("A")), to_run(1, &turn("A")));
    assert_eq!(kept.leave(1), (vec![], Some("A".to_owned())));
    assert!(kept.holds("A") && !kept.holds("B") && !kept.is_leaving(1));
    kept
}

#[test]
fn the_next_turn_of_a_conversation_goes_straight_on() {
    let mut kept = after_a_turn();
    assert_eq!(kept.enter(2, Some("A")), [""; 0]);
    assert_eq!(kept.run_says(2, &prompt("two")), [format!("> {}", prompt("two"))]);
    assert!(!kept.holds("A"), "it is in use");
    assert_eq!(kept.hears(&turn("A")), to_run(2, &turn("A")));
    assert_eq!(kept.leave(2), (vec![], Some("A".to_owned())));
    assert!(kept.holds("A"));
}

#[test]
fn a_new_conversation_begins_behind_a_clear_of_which_its_run_hears_nothing() {
    let mut kept = after_a_turn();
    assert_eq!(kept.enter(2, None), [CLEAR]);
    assert_eq!(kept.run_says(2, &prompt("two")), [""; 0], "held until then");
    let [before @ .., idle] = &cleared("B")[..] else { unreachable!() };
    assert_eq!(kept.hears(before), [""; 0]);
    assert_eq!(kept.program_says(&idle.to_string()), [format!("> {}", prompt("two"))]);
    assert!(!kept.holds("A"), "it is gone");
    assert_eq!(kept.hears(&turn("B")), to_run(2, &turn("B")));
    assert_eq!(kept.leave(2), (vec![], Some("B".to_owned())));
    assert!(kept.holds("B"));
}

#[test]
fn a_run_that_leaves_while_the_conversation_is_cleared_leaves_a_clear_one() {
    let mut kept = after_a_turn();
    assert_eq!(kept.enter(2, None), [CLEAR]);
    assert_eq!(kept.run_says(2, &prompt("two")), [""; 0]);
    assert_eq!(kept.leave(2), (vec![], None));
    // The next one may come before it is over.
    let lines = cleared("B");
    assert_eq!(kept.hears(&lines[..3]), [""; 0]);
    assert_eq!(kept.enter(3, None), [""; 0]);
    assert_eq!(kept.run_says(3, &prompt("three")), [""; 0]);
    assert_eq!(kept.hears(&lines[3..]), [format!("> {}", prompt("three"))]);
    assert_eq!(kept.hears(&turn("B")), to_run(3, &turn("B")));
    assert_eq!(kept.leave(3).1.as_deref(), Some("B"));
}

/// It says yes to later ones, and heeds nothing of them.
#[test]
fn settings_are_said_once() {
    let with = |resume: Option<&str>, text: &str| Task {
        system: Some("be brief".into()),
        resume: resume.map(str::to_owned),
        ..task(text)
    };
    let [settings, first] = <[String; 2]>::try_from(opening(&claude(), &with(None, "one"))).unwrap();
    let answer = json!({"type": "control_response",
        "response": {"subtype": "success", "request_id": "initialize", "response": {}}});
    let mut kept = Kept::of(&claude(), &with(None, "one"));
    kept.enter(1, None);
    assert_eq!(kept.run_says(1, &settings), [format!("> {settings}")]);
    assert_eq!(kept.hears(std::slice::from_ref(&answer)), to_run(1, std::slice::from_ref(&answer)));
    assert_eq!(kept.run_says(1, &first), [format!("> {first}")]);
    kept.hears(&turn("A"));
    kept.leave(1);
    // Those of a continued session have one more, which makes no difference to a program that runs.
    for (seat, conversation) in [(2, Some("A")), (3, None)] {
        let [settings, next] =
            <[String; 2]>::try_from(opening(&claude(), &with(conversation, "two"))).unwrap();
        kept.enter(seat, conversation);
        let mut said = kept.run_says(seat, &settings);
        said.extend(kept.run_says(seat, &next));
        if conversation.is_none() {
            assert_eq!(said, [""; 0]);
            said = kept.hears(&cleared("B"));
        }
        assert_eq!(said, [format!("{seat} < {answer}"), format!("> {next}")]);
        kept.hears(&turn("A"));
        kept.leave(seat);
    }
    // Without any at its start it takes none either.
    let mut kept = after_a_turn();
    let settings = opening(&claude(), &Task { resume: Some("A".into()), ..task("two") }).remove(0);
    kept.enter(2, Some("A"));
    assert_eq!(kept.run_says(2, &settings), [format!("2 < {answer}")]);
}

/// The program of a continued session: the first run finds it there, and the next one's conversation is not in it.
#[test]
fn a_program_that_was_started_to_go_on_is_as_good_as_any_when_it_is_cleared() {
    let resumed = Task { resume: Some("A".into()), ..task("one") };
    assert!(is_same_shape(&claude(), &resumed, &task("two")));
    let mut kept = Kept::of(&claude(), &resumed);
    kept.start();
    assert_eq!(kept.enter(1, None), [""; 0]);
    for line in opening(&claude(), &resumed) {
        assert_eq!(kept.run_says(1, &line), [format!("> {line}")]);
    }
    assert_eq!(kept.hears(&turn("A")), to_run(1, &turn("A")));
    assert_eq!(kept.leave(1).1.as_deref(), Some("A"));
    assert_eq!(kept.enter(2, None), [CLEAR]);
    // ... also where the first run has said nothing.
    let mut kept = Kept::of(&claude(), &resumed);
    kept.enter(1, None);
    assert_eq!(kept.leave(1), (vec![], None));
    assert_eq!(kept.enter(2, None), [CLEAR]);
    // A spare is clear as it is.
    let mut kept = Kept::of(&claude(), &task("x"));
    kept.enter(1, None);
    kept.leave(1);
    assert_eq!(kept.enter(2, None), [""; 0]);
}

/// Its failed turn is over for the run with the result, for the program a little later.
#[test]
fn a_run_has_not_left_before_the_program_is_idle() {
    let mut kept = Kept::of(&claude(), &task("x"));
    kept.enter(1, None);
    kept.run_says(1, &prompt("one"));
    let lines = [state("running"), init("A"), result("A", false)];
    assert_eq!(kept.hears(&lines), to_run(1, &lines));
    assert_eq!(kept.leave(1), (vec![], None), "a failed turn is nothing to go on from");
    assert!(kept.is_leaving(1) && !kept.holds("A"));
    assert_eq!(kept.enter(2, None), [""; 0], "it waits");
    assert_eq!(kept.run_says(2, &prompt("two")), [""; 0]);
    assert_eq!(kept.hears(&[state("idle")]), [CLEAR]);
    assert!(!kept.is_leaving(1));
    assert_eq!(kept.hears(&cleared("B")), [format!("> {}", prompt("two"))]);
    assert_eq!(kept.hears(&turn("B")), to_run(2, &turn("B")));
}

#[test]
fn what_shows_a_program_that_cannot_be_trusted_any_more() {
    let in_turn = |kept: &mut Kept| {
        kept.enter(2, Some("A"));
        kept.run_says(2, &prompt("two"));
    };
    let leaving_after = |lines: Vec<Value>| {
        move |kept: &mut Kept| {
            in_turn(kept);
            kept.hears(&lines);
            kept.leave(2).0
        }
    };
    let clearing = |lines: Vec<Value>| {
        move |kept: &mut Kept| {
            kept.enter(2, None);
            kept.run_says(2, &prompt("two"));
            kept.hears(&lines)
        }
    };
    let idle = |line: &str| {
        let line = line.to_owned();
        move |kept: &mut Kept| kept.program_says(&line)
    };
    type Case = (&'static str, Box<dyn Fn(&mut Kept) -> Vec<String>>);
    let mut cases: Vec<Case> = vec![
        ("left before the result", Box::new(leaving_after(vec![state("running"), init("A")]))),
        ("left before anything", Box::new(leaving_after(vec![]))),
        (
            "left with a background task",
            Box::new(leaving_after([turn("A"), vec![tasks(&["a command"])]].concat())),
        ),
        ("goes on by itself", Box::new(idle(&state("running").to_string()))),
        ("a background task of its own", Box::new(idle(&tasks(&["a command"]).to_string()))),
        ("garbage", Box::new(idle("Debugger attached."))),
        (
            "`/clear` with a task that goes on",
            Box::new(clearing(vec![state("running"), tasks(&["a command"])])),
        ),
        ("`/clear` that is none", Box::new(clearing(vec![state("running"), init("A"), state("idle")]))),
        (
            "`/clear` for the model",
            Box::new(clearing(vec![state("running"), json!({"type": "stream_event", "event": {}})])),
        ),
    ];
    for line in [
        init("A"),
        result("A", true),
        json!({"type": "assistant", "message": {}}),
        json!({"type": "user", "message": {}}),
        json!({"type": "stream_event", "event": {}}),
        json!({"type": "control_request", "request_id": "1", "request": {"subtype": "can_use_tool"}}),
    ] {
        cases.push(("out of turn", Box::new(idle(&line.to_string()))));
    }
    for (name, case) in cases {
        assert_eq!(case(&mut after_a_turn()), ["spoilt"], "{name}");
    }
    for (name, line) in [
        ("garbage", "Debugger attached.".to_owned()),
        ("another model", system("model_fallback", json!({"fallback_model": "n"})).to_string()),
        ("an older version", json!({"type": "result", "subtype": "success", "is_error": false}).to_string()),
    ] {
        let mut kept = after_a_turn();
        in_turn(&mut kept);
        assert_eq!(kept.program_says(&line), [format!("2 < {line}"), "spoilt".to_owned()], "{name}");
    }
    // One that does not say when it is idle is not waited for.
    let mut kept = Kept::of(&claude(), &task("x"));
    kept.enter(1, None);
    kept.run_says(1, &prompt("one"));
    assert_eq!(kept.hears(&[init("A"), result("A", true)]).last().unwrap(), "spoilt");
    kept.leave(1);
    assert!(!kept.is_leaving(1));
    // What harms nothing is of no account.
    for line in ["", "{\"type\":\"rate_limit_event\"}", "{\"type\":\"control_response\"}"] {
        assert_eq!(after_a_turn().program_says(line), [""; 0], "{line}");
    }
    assert_eq!(after_a_turn().hears(&[state("idle"), tasks(&[])]), [""; 0]);
}

/// A background command has ended while the run waited for it, and claude went on by itself.
#[test]
fn a_run_may_have_more_than_one_turn() {
    let mut kept = Kept::of(&claude(), &task("x"));
    kept.enter(1, None);
    kept.run_says(1, &prompt("one"));
    let lines =
        [turn("A"), vec![tasks(&["a command"])], vec![tasks(&[]), state("running")], turn("A")].concat();
    assert_eq!(kept.hears(&lines), to_run(1, &lines));
    assert_eq!(kept.leave(1), (vec![], Some("A".to_owned())));
}

#[test]
fn what_is_one_turns_makes_no_other_program_and_all_else_does() {
    let base = task("one");
    let image = Image { mime: "image/png", data: vec![1].into() };
    for same in [
        Task { images: vec![image], ..task("two") },
        Task { resume: Some("A".into()), scratch: "/tmp/other".into(), ..task("two") },
    ] {
        assert!(is_same_shape(&claude(), &base, &same), "{same:?}");
    }
    let servers = servers();
    for other in [
        Task { dir: "/src/other".into(), ..task("one") },
        Task { model: Some("opus".into()), ..task("one") },
        Task { system: Some("be brief".into()), ..task("one") },
        Task { append_system: Some("be brief".into()), ..task("one") },
        Task { schema: Some(json!({"type": "object"})), ..task("one") },
        Task { sandbox: Sandbox::ReadOnly, ..task("one") },
        Task { approval: Approval::Auto, ..task("one") },
        Task { tools: ToolUse::None, ..task("one") },
        Task { allowed_tools: Some(vec!["Read".into()]), ..task("one") },
        Task { denied_tools: vec!["Bash".into()], ..task("one") },
        Task { add_dirs: vec!["/more".into()], ..task("one") },
        Task { effort: Some(Effort::Low), ..task("one") },
        Task { max_tokens: Some(9), ..task("one") },
        Task { max_turns: Some(9), ..task("one") },
        Task { ephemeral: true, ..task("one") },
        Task { no_project_config: true, ..task("one") },
        Task { vendor_retries: 5, ..task("one") },
        Task { extra: vec!["--bare".into()], ..task("one") },
        Task { mcp: servers.clone(), ..task("one") },
    ] {
        assert!(!is_same_shape(&claude(), &base, &other), "{other:?}");
    }
    let with = |mcp: Vec<McpServer>, scratch: &str| Task { mcp, scratch: scratch.into(), ..task("one") };
    assert!(is_same_shape(&claude(), &with(servers.clone(), "/tmp/a"), &with(servers.clone(), "/tmp/b")));
    let mut changed = servers.clone();
    changed[1].transport = Transport::Http { url: "https://h/mcp".to_owned(), headers: Vec::new() };
    assert!(!is_same_shape(&claude(), &with(servers, "/tmp/a"), &with(changed, "/tmp/a")));
    for alone in [
        Task { interpret: true, ..task("/model opus") },
        Task { extra: vec!["--max-budget-usd".into(), "1".into()], ..task("one") },
        Task { extra: vec!["--max-budget-usd=1".into()], ..task("one") },
        Task { extra: vec!["--disable-slash-commands".into()], ..task("one") },
    ] {
        assert!(claude().keeps(&alone).is_none(), "{alone:?}");
    }
}

/// The sums that the program runs up are those of all turns in it.
#[test]
fn a_later_run_is_told_its_own_usage() {
    let mut kept = after_a_turn();
    let task = Task { resume: Some("A".into()), ..task("two") };
    let mut run = dialogue(&task);
    let mut steps = Steps::new();
    run.start(&mut steps);
    kept.enter(2, Some("A"));
    let mut lines = Vec::new();
    for step in std::mem::take(&mut steps) {
        if let Step::Send(line) = step {
            lines.extend(kept.run_says(2, &line));
        }
    }
    lines.extend(kept.hears(&turn("A")));
    for line in lines.iter().filter_map(|line| line.strip_prefix("2 < ")) {
        run.line(line, &mut steps);
    }
    let used = steps
        .iter()
        .find_map(|step| if let Step::Event(Event::Usage(usage)) = step { Some(*usage) } else { None });
    assert_eq!(used.map(|usage| (usage.input, usage.output, usage.cost)), Some((100, 12, Some(0.25))));
    assert_eq!(steps.last(), Some(&Step::Finished(Ok(()))));
}
