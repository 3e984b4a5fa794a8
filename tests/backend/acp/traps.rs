//! What no recording has, or has too seldom: each row is a trap that an agent was seen in, or may set.

use super::{Talk, chunk, declared, is_finished, known, question, task, tool, update};
use clinvk::backend::Step;
use clinvk::model::event::{Event, Permission, PlanEntry};
use clinvk::model::task::{Approval, Sandbox, Task, ToolUse};
use serde_json::{Value, json};

fn prompted(task: &Task) -> Talk {
    Talk::prompted(&*declared(json!({})), task)
}

/// A turn in which these lines come, and then this answer.
fn ended(keys: Value, lines: &[Value], result: Value) -> Talk {
    let mut talk = Talk::prompted(&*declared(keys), &task("hi"));
    talk.lines(lines).answer(result);
    talk
}

fn piece(id: &str, text: &str) -> Value {
    update(
        json!({"sessionUpdate": "agent_message_chunk", "messageId": id, "content": {"type": "text", "text": text}}),
    )
}

fn use_of(kind: &str, status: &str) -> Value {
    tool("tool_call", "t", json!({"kind": kind, "title": "Tool", "status": status}))
}

// ---- how a turn ends

/// A name, keys of the configuration, what the agent says, its answer, the ending and its words.
type Row = (&'static str, Value, Vec<Value>, Value, &'static str, &'static str);

#[test]
fn only_an_end_with_something_to_show_is_a_success() {
    let end = |reason: &str| json!({"stopReason": reason});
    let with = |more: Value| {
        let mut end = end("end_turn");
        end.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        end
    };
    let nothing = json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0});
    let tool = use_of("read", "completed");
    let none = json!({});
    let table: Vec<Row> = vec![
        ("text", none.clone(), vec![chunk("Yes.")], end("end_turn"), "ok", ""),
        ("nothing", none.clone(), vec![], end("end_turn"), "unreadable", "the model's answer is empty"),
        (
            "blanks",
            none.clone(),
            vec![chunk(" \n")],
            end("end_turn"),
            "unreadable",
            "the model's answer is empty",
        ),
        ("a tool", none.clone(), vec![tool.clone()], end("end_turn"), "ok", ""),
        (
            "a tool of no model",
            none.clone(),
            vec![tool],
            with(json!({"usage": nothing})),
            "unreadable",
            "the model's answer is empty",
        ),
        ("text without counts", none.clone(), vec![chunk("Yes.")], with(json!({"usage": nothing})), "ok", ""),
        (
            "no model",
            none.clone(),
            vec![chunk("429 Too Many Requests")],
            with(json!({"usage": null})),
            "quota",
            "429 Too Many Requests",
        ),
        (
            "no model and no words",
            none.clone(),
            vec![],
            with(json!({"usage": null})),
            "unreadable",
            "agent says of no model that it has answered",
        ),
        (
            "counts are missing",
            json!({"usage": "total"}),
            vec![chunk("Error: 500")],
            end("end_turn"),
            "overloaded",
            "Error: 500",
        ),
        (
            "a text of failures",
            json!({"failure_texts": ["Oh no"]}),
            vec![chunk("Yes. "), chunk("Oh no: 401")],
            end("end_turn"),
            "login",
            "Oh no: 401",
        ),
        (
            "the same within",
            json!({"failure_texts": ["Oh no"]}),
            vec![chunk("Oh no: "), chunk("that is it.")],
            end("end_turn"),
            "ok",
            "",
        ),
        ("refusal", none.clone(), vec![chunk("x")], end("refusal"), "refusal", "the model refused to answer"),
        (
            "turns",
            none.clone(),
            vec![],
            end("max_turn_requests"),
            "turn_limit",
            "agent has used up its own limit of turns",
        ),
        ("cut", none.clone(), vec![chunk("One")], end("max_tokens"), "ok", ""),
        (
            "cut before a word",
            none.clone(),
            vec![],
            end("max_tokens"),
            "context_too_long",
            "the limit of tokens was used up before an answer",
        ),
        ("cancelled", none.clone(), vec![chunk("x")], end("cancelled"), "cancelled", "agent was cancelled"),
        (
            "cancelled after a no",
            none.clone(),
            vec![question(json!({"toolCallId": "t", "kind": "edit"}))],
            end("cancelled"),
            "permission_denied",
            "agent gave up when it was refused a permission",
        ),
        (
            "silence after a no",
            none.clone(),
            vec![question(json!({"toolCallId": "t", "kind": "edit"}))],
            with(json!({"usage": nothing})),
            "ok",
            "",
        ),
        (
            "a later reason",
            none.clone(),
            vec![chunk("x")],
            end("bored"),
            "unreadable",
            "agent ended with `bored`",
        ),
        ("no reason", none, vec![chunk("x")], Value::Null, "unreadable", "agent ended with ``"),
    ];
    for (name, keys, lines, result, ending, words) in table {
        let talk = ended(keys, &lines, result);
        assert_eq!(talk.failure(), (ending, words), "{name}");
    }
    let cut = ended(json!({}), &[chunk("One")], json!({"stopReason": "max_tokens"}));
    assert!(
        cut.played
            .events
            .iter()
            .any(|event| matches!(event, Event::Progress { stage, .. } if stage == "truncated"))
    );
}

#[test]
fn an_error_speaks_with_its_best_words_and_means_what_they_say() {
    for (code, message, data, kind, words) in [
        (-32603, "Internal error", json!({"details": "401 no"}), "login", "401 no"),
        (
            -32603,
            "Internal error: stub says 503",
            json!({"errorName": "APIError"}),
            "overloaded",
            "stub says 503",
        ),
        (
            -32603,
            "Internal error",
            json!({"errorKind": "rate_limit"}),
            "quota",
            "the agent failed: rate_limit",
        ),
        (
            -32603,
            "Internal error",
            json!({"errorKind": "server_error", "message": "Connection refused (ECONNREFUSED)"}),
            "unreachable",
            "Connection refused (ECONNREFUSED)",
        ),
        (-32603, "Internal error", json!("plain words"), "crash", "plain words"),
        (
            -32603,
            "Internal error",
            json!({"message": "x", "codex_error_info": {"a": {"http_status_code": 429}}}),
            "quota",
            "x",
        ),
        (
            -32603,
            "Internal error",
            json!({"message": "x", "codex_error_info": "context_window_exceeded"}),
            "context_too_long",
            "x",
        ),
        (
            -32603,
            "connect ECONNREFUSED 127.0.0.1:1",
            Value::Null,
            "unreachable",
            "connect ECONNREFUSED 127.0.0.1:1",
        ),
        (
            -32603,
            r#"{"error":{"message":"prompt is too long"}}"#,
            Value::Null,
            "context_too_long",
            "prompt is too long",
        ),
        (-32000, "Authentication required", Value::Null, "login", "Authentication required"),
        (-32000, "", Value::Null, "login", "the agent failed with code -32000 and did not say why"),
        (-31002, "Invalid API key", Value::Null, "login", "Invalid API key"),
        (-32603, "port 5000 and 4290 files", Value::Null, "crash", "port 5000 and 4290 files"),
    ] {
        let mut talk = prompted(&task("hi"));
        let id = talk.last()["id"].clone();
        let error = json!({"code": code, "message": message, "data": data});
        talk.lines(&[json!({"jsonrpc": "2.0", "id": id, "error": error})]);
        assert_eq!(talk.failure(), (kind, words), "{code} {message} {data}");
    }
}

#[test]
fn what_a_failure_says_is_no_part_of_the_answer() {
    let mut talk = prompted(&task("hi"));
    talk.lines(&[piece("m", "Half of it. "), piece("n", "API Error: 500 no")])
        .refuse(-32603, "Internal error: API Error: 500 no");
    assert_eq!((talk.failure().0, talk.played.text().trim()), ("overloaded", "Half of it."));
}

// ---- pieces that are told again

#[test]
fn what_is_told_again_is_told_once_where_that_can_be_seen() {
    let retry = |text: &str| chunk(text);
    let codex = update(json!({"sessionUpdate": "session_info_update", "_meta": {"codex": {"error": {
        "message": "Reconnecting... 1/1", "additionalDetails": "cut", "willRetry": true}}}}));
    for (name, lines, text, warnings) in [
        (
            "other ids",
            vec![
                piece("a", "Hello "),
                piece("a", "from"),
                piece("b", "Hello "),
                piece("b", "from the stub."),
            ],
            "Hello from the stub.",
            0,
        ),
        ("other messages", vec![piece("a", "First."), piece("b", "Then.")], "First.\n\nThen.", 0),
        (
            "the same with a tool between",
            vec![piece("a", "Look."), use_of("read", "completed"), piece("b", "Look. Done.")],
            "Look.\n\nLook. Done.",
            0,
        ),
        (
            "a mark",
            vec![
                chunk("Hello from"),
                retry("Info: Response was interrupted. Retrying..."),
                chunk("Hello from the stub."),
            ],
            "Hello from the stub.",
            0,
        ),
        (
            "an update",
            vec![chunk("Hello from"), codex, chunk("Hello from the stub.")],
            "Hello from the stub.",
            0,
        ),
        (
            "no mark at all",
            vec![chunk("Hello "), chunk("from"), chunk("Hello "), chunk("from the stub.")],
            "Hello fromHello from the stub.",
            1,
        ),
        ("a refrain", vec![chunk("ha "), chunk("ha "), chunk("ha")], "ha ha ha", 0),
    ] {
        let talk = ended(json!({}), &lines, json!({"stopReason": "end_turn"}));
        assert_eq!(
            (talk.played.ending(), &*talk.played.text(), talk.warnings().len()),
            ("ok", text, warnings),
            "{name}"
        );
    }
}

#[test]
fn an_agents_notes_in_its_answer_are_none_of_it() {
    let metadata = "Warning: Model metadata for `gpt-5` not found.\n\n";
    // claude-agent-acp 0.101.0.
    let mut informational = chunk("**Warning:** We're changing auto mode");
    informational["params"]["update"]["_meta"] =
        json!({"claudeCode": {"kind": "informational", "level": "warning"}});
    for (line, text, stage) in [
        (chunk(metadata), "", "notice"),
        (chunk("Config warning: no bubblewrap\n\n"), "", "warning"),
        (chunk("Warning: the bridge is out."), "Warning: the bridge is out.", ""),
        (piece("m", metadata), metadata, ""),
        (informational, "", "notice"),
    ] {
        let mut talk = prompted(&task("hi"));
        talk.lines(&[line]);
        let told: String = talk
            .played
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Progress { stage, .. } => Some(stage.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!((&*talk.played.text(), &*told), (text, stage));
    }
}

// ---- what is no part of the run

#[test]
fn nothing_of_an_earlier_conversation_is_told() {
    let backend = declared(json!({}));
    let mut talk = Talk::new(&*backend, &Task { resume: Some("old".to_owned()), ..task("hi") });
    talk.answer(json!({"agentCapabilities": {"loadSession": true}}));
    let user =
        update(json!({"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": "before"}}));
    let plan = update(json!({"sessionUpdate": "plan", "entries": [{"content": "old"}]}));
    let counts = update(
        json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": ""}, "_meta": {"usage": {"inputTokens": 9, "outputTokens": 9}}}),
    );
    talk.lines(&[user, chunk("old"), use_of("edit", "completed"), plan, counts]);
    assert_eq!(talk.played.events, []);
    talk.answer(json!({})).lines(&[chunk("new")]).end();
    assert_eq!((&*talk.played.text(), talk.played.usage()), ("new", None));
}

#[test]
fn what_is_not_known_is_silence_or_a_refusal_and_never_a_panic() {
    for method in ["craft/drainMidTurnQueue", "fs/read_text_file", "terminal/create", "x"] {
        let mut talk = prompted(&task("hi"));
        talk.lines(&[json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": {}})]);
        let said = talk.said().pop().unwrap();
        assert_eq!((&said["id"], &said["error"]["code"]), (&json!(0), &json!(-32601)), "{method}");
    }
    let mut talk = prompted(&task("hi"));
    let before = talk.played.events.len();
    talk.lines(&[
        json!({"jsonrpc": "2.0", "method": "_auth/status_update", "params": {"x": 1}}),
        update(json!({"sessionUpdate": "of_later_days"})),
        update(json!({"sessionUpdate": "available_commands_update", "availableCommands": []})),
        json!({"jsonrpc": "2.0", "id": 77, "result": {"stopReason": "end_turn"}}),
        json!({"jsonrpc": "2.0", "id": 77, "error": {"code": -1, "message": "of another request"}}),
    ]);
    assert_eq!((talk.played.events.len(), talk.played.ending()), (before, "-"));
    for broken in [
        r#"{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"#,
        r#"{"jsonrpc":"2.0","id":3,"result":{"#,
    ] {
        assert!(is_finished(&prompted(&task("hi")).line(broken)), "{broken}");
    }
    let values = [json!(null), json!(7), json!("x"), json!([]), json!([[{}]]), json!({}), json!({"x": 1})];
    let backend = declared(json!({}));
    let attended = Task { attended: true, ..task("hi") };
    let whole = [
        question(json!({"toolCallId": "t"})),
        chunk("x"),
        use_of("edit", "completed"),
        update(json!({"sessionUpdate": "plan", "entries": [1]})),
        update(json!({"sessionUpdate": "usage_update", "cost": 7, "_meta": {"promptTokens": -1}})),
        json!({"id": 3, "result": {"stopReason": "end_turn"}}),
        json!({"id": 1, "result": {"agentCapabilities": 7}}),
        json!({"id": 2, "result": {"configOptions": [{"id": 1}], "models": 7, "modes": []}}),
    ];
    for line in whole {
        for name in ["id", "method", "params", "result", "error"] {
            for value in &values {
                let mut line = line.clone();
                line[name] = value.clone();
                Talk::new(&*backend, &attended).lines(std::slice::from_ref(&line));
                let mut talk = Talk::prompted(&*backend, &attended);
                talk.lines(&[line.clone()]);
                assert_ne!(talk.played.ending(), "ok", "{line}");
            }
        }
    }
}

// ---- questions

#[test]
fn the_modes_answer_questions_by_kind() {
    let of = |approval, sandbox, tools| Task { approval, sandbox, tools, ..task("hi") };
    let all = ToolUse::AsConfigured;
    let yes = "the-allow_once";
    let no = "the-reject_once";
    for (task, kind, expected) in [
        (of(Approval::Default, Sandbox::Default, all), "edit", no),
        (of(Approval::Default, Sandbox::Default, all), "read", no),
        (of(Approval::Auto, Sandbox::Default, all), "edit", yes),
        (of(Approval::Auto, Sandbox::Default, all), "execute", no),
        (of(Approval::Auto, Sandbox::ReadOnly, all), "edit", no),
        (of(Approval::None, Sandbox::Full, all), "execute", yes),
        (of(Approval::None, Sandbox::Full, all), "", yes),
        (of(Approval::None, Sandbox::ReadOnly, all), "fetch", yes),
        (of(Approval::None, Sandbox::ReadOnly, all), "switch_mode", no),
        (of(Approval::None, Sandbox::ReadOnly, all), "", no),
        (of(Approval::None, Sandbox::Default, ToolUse::ReadOnly), "search", yes),
        (of(Approval::None, Sandbox::Default, ToolUse::ReadOnly), "edit", no),
        (of(Approval::None, Sandbox::Default, ToolUse::None), "search", no),
    ] {
        let mut talk = prompted(&task);
        talk.lines(&[question(json!({"toolCallId": "t", "kind": kind, "title": "It"}))]);
        let outcome = talk.said().pop().unwrap()["result"]["outcome"].take();
        assert_eq!(outcome, json!({"outcome": "selected", "optionId": expected}), "{kind} {task:?}");
    }
}

#[test]
fn a_question_that_names_only_an_id_is_about_what_was_said_of_it_before() {
    let mut talk = prompted(&Task { approval: Approval::Auto, ..task("hi") });
    let told = tool(
        "tool_call",
        "t",
        json!({"kind": "execute", "title": "rm -rf", "status": "in_progress", "rawInput": {"command": "rm"},
        "_meta": {"tool_name": "bash"}}),
    );
    talk.lines(&[told, question(json!({"toolCallId": "t"}))]);
    assert_eq!(talk.said().pop().unwrap()["result"]["outcome"]["optionId"], "the-reject_once");
    assert!(
        talk.played.events.contains(&Event::PermissionDenied { what: "bash rm -rf".to_owned() }),
        "{:?}",
        talk.played
    );
    // A title that only repeats the name says nothing.
    let mut talk = prompted(&task("hi"));
    talk.lines(&[question(
        json!({"toolCallId": "t", "kind": "execute", "title": "Bash", "rawInput": {"command": "rm"}}),
    )]);
    let what = r#"Bash {"command":"rm"}"#.to_owned();
    assert!(talk.played.events.contains(&Event::PermissionDenied { what }), "{:?}", talk.played);
}

#[test]
fn a_question_without_a_fitting_answer_is_cancelled_and_counts_as_refused() {
    let mut question = question(json!({"toolCallId": "t", "kind": "edit", "title": "It"}));
    question["params"]["options"] =
        json!([{"optionId": "x", "kind": "allow_always"}, {"optionId": 7, "kind": "allow_once"}]);
    let mut talk = prompted(&Task { approval: Approval::None, ..task("hi") });
    talk.lines(&[question]);
    assert_eq!(talk.said().pop().unwrap()["result"], json!({"outcome": {"outcome": "cancelled"}}));
    assert!(talk.played.events.iter().any(|event| matches!(event, Event::PermissionDenied { .. })));
}

/// An agent asks first, and then has us do it.
#[test]
fn a_yes_to_one_kind_of_tool_is_none_to_another() {
    let backend = declared(json!({"client_tools": true}));
    for (kind, method, is_asked_again) in [
        ("edit", "fs/write_text_file", false),
        ("other", "fs/write_text_file", false),
        ("", "terminal/create", false),
        ("execute", "terminal/create", false),
        ("edit", "terminal/create", true),
        ("read", "terminal/create", true),
        ("think", "fs/write_text_file", true),
    ] {
        let mut talk = Talk::prompted(&*backend, &Task { attended: true, ..task("hi") });
        talk.lines(&[question(json!({"toolCallId": "t", "kind": kind, "title": "It"}))]);
        let id = talk.played.asked[0].id.clone();
        talk.hear(|dialogue, steps| dialogue.permitted(&id, true, steps));
        let params = json!({"path": "/src/project/x", "content": "", "command": "x"});
        talk.lines(&[json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})]);
        assert_eq!(talk.played.asked.len(), 1 + usize::from(is_asked_again), "{kind} {method}");
    }
}

#[test]
fn a_person_is_asked_what_the_modes_leave_to_one() {
    let of = |approval, sandbox| Task { approval, sandbox, attended: true, ..task("hi") };
    for (task, kind, is_asked) in [
        (of(Approval::Default, Sandbox::Default), "edit", true),
        (of(Approval::Always, Sandbox::Default), "read", true),
        (of(Approval::Auto, Sandbox::Default), "execute", true),
        (of(Approval::Auto, Sandbox::Default), "edit", false),
        (of(Approval::None, Sandbox::Default), "execute", false),
        (of(Approval::Default, Sandbox::ReadOnly), "read", true),
        (of(Approval::Default, Sandbox::ReadOnly), "edit", false),
        (Task { tools: ToolUse::ReadOnly, ..of(Approval::Default, Sandbox::Default) }, "edit", false),
    ] {
        let mut talk = prompted(&task);
        talk.lines(&[question(json!({"toolCallId": "t", "kind": kind, "title": "It"}))]);
        assert_eq!(talk.played.asked.len(), usize::from(is_asked), "{kind} {task:?}");
    }
    for (allowed, chosen) in [(true, "the-allow_once"), (false, "the-reject_once")] {
        let mut talk = prompted(&of(Approval::Default, Sandbox::Default));
        let call = json!({"toolCallId": "t", "kind": "edit", "title": "Write a", "rawInput": {"path": "a"}, "_meta": {"toolName": "write"}});
        talk.lines(&[question(call)]);
        let asked = Permission {
            id: "0".to_owned(),
            tool_use: "t".to_owned(),
            name: "write".to_owned(),
            title: "Write a".to_owned(),
            input: json!({"path": "a"}),
        };
        assert_eq!(talk.played.asked, [asked]);
        let said = talk.said().len();
        let steps = talk.hear(|dialogue, steps| dialogue.permitted("0", allowed, steps));
        assert_eq!(talk.said()[said]["result"]["outcome"]["optionId"], chosen);
        let denied = steps.iter().any(|step| matches!(step, Step::Event(Event::PermissionDenied { .. })));
        assert_eq!(denied, !allowed);
        // An answer that nothing waits for is none.
        assert_eq!(talk.hear(|dialogue, steps| dialogue.permitted("0", true, steps)), []);
    }
}

// ---- tools, plans, modes, cost

#[test]
fn a_tool_is_told_with_its_arguments_and_its_result_once() {
    let told = |lines: &[Value]| {
        let mut talk = prompted(&task("hi"));
        talk.lines(lines).end();
        let events = talk.played.events.into_iter();
        let is_of_tool = |event: &Event| matches!(event, Event::ToolUse { .. } | Event::ToolResult { .. });
        events
            .filter(is_of_tool)
            .map(|event| match event {
                Event::ToolUse { name, input, .. } => format!("{name} {input}"),
                Event::ToolResult { output, is_error, .. } => format!("{is_error} {output}"),
                _ => unreachable!(),
            })
            .collect::<Vec<_>>()
    };
    let announced = tool(
        "tool_call",
        "t",
        json!({"kind": "edit", "title": "Write", "status": "pending", "rawInput": {}}),
    );
    let filled =
        tool("tool_call_update", "t", json!({"title": "Write a.txt", "rawInput": {"path": "a.txt"}}));
    // kimi 2.1.0.
    let without = tool("tool_call", "t", json!({"kind": "edit", "title": "Write", "status": "pending"}));
    let done = |more: Value| {
        let mut more = more;
        more["status"] = json!("completed");
        tool("tool_call_update", "t", more)
    };
    let text = json!([{"type": "content", "content": {"type": "text", "text": "made"}}]);
    for (lines, expected) in [
        (
            vec![without, filled.clone(), done(json!({"content": text}))],
            vec![r#"Write {"path":"a.txt"}"#, "false made"],
        ),
        (
            vec![announced.clone(), filled, done(json!({"content": text}))],
            vec![r#"Write {"path":"a.txt"}"#, "false made"],
        ),
        (vec![announced.clone(), done(json!({"rawOutput": "made it"}))], vec!["Write {}", "false made it"]),
        (vec![announced.clone(), chunk("x")], vec!["Write {}"]),
        (vec![announced], vec!["Write {}"]),
        (
            vec![done(json!({"rawOutput": {"a": 1}, "kind": "read"})), done(json!({"rawOutput": "again"}))],
            vec![r#"read {"kind":"read","title":null}"#, r#"false {"a":1}"#],
        ),
        (
            vec![done(
                json!({"title": "two words", "kind": "edit", "content": [{"type": "diff", "path": "/a"}], "locations": [{"path": "/a"}]}),
            )],
            vec![r#"edit {"kind":"edit","paths":["/a"],"title":"two words"}"#, "false edit /a"],
        ),
    ] {
        assert_eq!(told(&lines), expected);
    }
}

#[test]
fn plans_modes_and_costs_are_told() {
    let backend = declared(json!({"modes": {"default": "safe"}}));
    let mut talk = Talk::prompted(&*backend, &task("hi"));
    let entry = json!({"content": "Look", "priority": "high", "status": "pending"});
    let mode = |id: &str| update(json!({"sessionUpdate": "current_mode_update", "currentModeId": id}));
    let cost = |amount: f64| {
        update(
            json!({"sessionUpdate": "usage_update", "used": 9, "size": 10, "cost": {"amount": amount, "currency": "USD"}}),
        )
    };
    talk.lines(&[
        update(json!({"sessionUpdate": "plan", "entries": [entry]})),
        mode("safe"),
        mode("wild"),
        cost(0.5),
        chunk("x"),
        cost(0.75),
    ]);
    talk.answer(
        json!({"stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}),
    );
    let plan =
        PlanEntry { content: "Look".to_owned(), priority: "high".to_owned(), status: "pending".to_owned() };
    assert!(talk.played.events.contains(&Event::Plan(vec![plan])), "{:?}", talk.played);
    assert_eq!(talk.warnings(), ["agent is in mode wild now"]);
    let usage = talk.played.usage().unwrap();
    assert_eq!((usage.input, usage.output, usage.cost), (1, 2, Some(0.75)));
}

#[test]
fn counts_are_those_of_the_turn_whatever_the_agent_counts() {
    let counts = |input: u64, output: u64, more: Value| {
        let mut usage = json!({"inputTokens": input, "outputTokens": output});
        usage.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"stopReason": "end_turn", "usage": usage})
    };
    let session = |input: u64, output: u64| {
        update(
            json!({"sessionUpdate": "usage_update", "used": 1, "_meta": {"promptTokens": input, "completionTokens": output, "cachedTokens": 0}}),
        )
    };
    let beside = |input: u64, output: u64| {
        update(
            json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": ""}, "_meta": {"usage": {"inputTokens": input, "outputTokens": output}}}),
        )
    };
    for (name, of, lines, result, expected) in [
        (
            "all within",
            "turn",
            vec![],
            counts(100, 12, json!({"totalTokens": 112, "cachedReadTokens": 40, "thoughtTokens": 5})),
            Some((100, 12)),
        ),
        (
            "cached beside",
            "turn",
            vec![],
            counts(60, 12, json!({"totalTokens": 112, "cachedReadTokens": 40, "thoughtTokens": 5})),
            Some((100, 12)),
        ),
        (
            "both beside",
            "turn",
            vec![],
            counts(60, 7, json!({"totalTokens": 112, "cachedReadTokens": 40, "thoughtTokens": 5})),
            Some((100, 12)),
        ),
        (
            "as many of both",
            "turn",
            vec![],
            counts(60, 12, json!({"totalTokens": 77, "cachedReadTokens": 5, "thoughtTokens": 5})),
            Some((65, 12)),
        ),
        ("no sum", "turn", vec![], counts(100, 12, json!({"cachedReadTokens": 40})), Some((100, 12))),
        (
            "pieces",
            "turn",
            vec![beside(100, 12), beside(50, 3)],
            json!({"stopReason": "end_turn"}),
            Some((150, 15)),
        ),
        (
            "sums that are seen to be",
            "turn",
            vec![session(100, 12), chunk("x"), session(200, 24)],
            counts(200, 24, json!({})),
            Some((100, 12)),
        ),
        (
            "sums that are said to be",
            "total",
            vec![session(100, 12), chunk("x"), session(300, 30)],
            counts(300, 30, json!({})),
            Some((200, 18)),
        ),
        (
            "sums from the start",
            "total",
            vec![chunk("x"), session(100, 12)],
            counts(100, 12, json!({})),
            Some((100, 12)),
        ),
        ("of no use", "none", vec![beside(1, 1)], counts(100, 12, json!({})), None),
    ] {
        let lines = [lines, vec![chunk("Yes.")]].concat();
        let talk = ended(json!({"usage": of}), &lines, result);
        let used = talk.played.usage().map(|usage| (usage.input, usage.output));
        assert_eq!((talk.played.ending(), used), ("ok", expected), "{name}");
    }
}

// ---- a stop

#[test]
fn a_prompt_that_runs_is_cancelled_in_the_protocols_words() {
    let mut talk = Talk::new(&*known("opencode"), &task("hi"));
    assert_eq!(talk.hear(|dialogue, steps| dialogue.interrupt(steps)), [], "there is no session yet");
    let mut talk = prompted(&Task { approval: Approval::None, ..task("hi") });
    talk.hear(|dialogue, steps| dialogue.interrupt(steps));
    let cancel =
        json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "<sessionId>"}});
    assert_eq!(talk.said().pop(), Some(cancel));
    // What it asks after that is over.
    talk.lines(&[question(json!({"toolCallId": "t", "kind": "edit"}))]);
    assert_eq!(talk.said().pop().unwrap()["result"], json!({"outcome": {"outcome": "cancelled"}}));
    talk.answer(json!({"stopReason": "cancelled"}));
    assert_eq!(talk.failure(), ("cancelled", "agent was cancelled"));
    assert_eq!(talk.hear(|dialogue, steps| dialogue.interrupt(steps)), []);
}

#[test]
fn each_answer_before_the_prompt_has_its_time() {
    let backend = declared(json!({"start_timeout_secs": 5}));
    let alarm = Step::Alarm(std::time::Duration::from_secs(5));
    let mut talk = Talk::new(&*backend, &task("hi"));
    let steps = talk.line(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string());
    assert_eq!(steps.last(), Some(&alarm));
    talk.hear(|dialogue, steps| dialogue.alarm(steps));
    let sentence = "agent gave no answer to session/new within 5s (backends.agent.start_timeout_secs)";
    assert_eq!(talk.failure(), ("timeout", sentence));
    let mut talk = Talk::prompted(&*backend, &task("hi"));
    talk.hear(|dialogue, steps| dialogue.alarm(steps));
    assert_eq!(talk.played.ending(), "-", "the prompt is with the model");
}
