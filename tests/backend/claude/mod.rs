//! Claude: what a task becomes on its command line and in its dialogue, and what recorded dialogues mean.

mod attended;
mod kept;
mod newest;
mod surfaces;

use crate::backend::servers;
use crate::util::replay::{Played, data, is_warning, play};
use clinvk::backend::claude::Claude;
use clinvk::backend::{Backend, Dialogue, Ended, Step};
use clinvk::model::error::Kind;
use clinvk::model::event::{Event, TRUNCATED, Usage};
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, TaskOption, ToolUse};
use serde_json::{Value, json};

fn claude() -> Claude {
    Claude::new(None, &[])
}

fn task(prompt: &str) -> Task {
    Task {
        backend: "claude".into(),
        prompt: prompt.into(),
        dir: "/src/project".into(),
        vendor_retries: 2,
        ..Task::default()
    }
}

fn dialogue(task: &Task) -> Box<dyn Dialogue> {
    claude().dialogue(task)
}

fn played(task: &Task, file: &str) -> Played {
    play(&mut *dialogue(task), &data(&format!("claude/{file}")))
}

/// The arguments behind those that every launch has.
fn own_args(task: &Task) -> Vec<String> {
    let args = claude().launch(task).unwrap().args;
    let fixed = "-p --input-format stream-json --output-format stream-json --verbose --include-partial-messages \
                 --permission-prompt-tool stdio";
    let fixed: Vec<&str> = fixed.split_whitespace().collect();
    assert_eq!(args[..fixed.len()], fixed);
    args[fixed.len()..].to_vec()
}

const PERSONS: &str = "AskUserQuestion,EnterPlanMode,ExitPlanMode";

#[test]
fn every_option_becomes_the_flag_that_was_measured() {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let plain = ["--permission-mode", "default", "--disallowedTools", PERSONS];
    let table: Vec<(&str, Task, Vec<&str>)> = vec![
        ("nothing", task("x"), plain.to_vec()),
        (
            "model",
            Task { model: Some("opus".into()), ..task("x") },
            vec!["--permission-mode", "default", "--model", "opus", "--disallowedTools", PERSONS],
        ),
        (
            "approval auto",
            Task { approval: Approval::Auto, ..task("x") },
            vec!["--permission-mode", "acceptEdits", "--disallowedTools", PERSONS],
        ),
        ("approval none", Task { approval: Approval::None, ..task("x") }, plain.to_vec()),
        ("approval always", Task { approval: Approval::Always, ..task("x") }, plain.to_vec()),
        ("sandbox full", Task { sandbox: Sandbox::Full, ..task("x") }, plain.to_vec()),
        (
            "sandbox read-only",
            Task { sandbox: Sandbox::ReadOnly, ..task("x") },
            vec![
                "--permission-mode",
                "default",
                "--tools",
                "Read,Grep,Glob,WebFetch,WebSearch",
                "--disallowedTools",
                PERSONS,
                "--strict-mcp-config",
            ],
        ),
        (
            "allowed tools",
            Task { allowed_tools: Some(list(&["Bash(git *)", "Read"])), ..task("x") },
            vec![
                "--permission-mode",
                "default",
                "--tools",
                "Bash,Read",
                "--allowedTools",
                "Bash(git *),Read",
                "--disallowedTools",
                PERSONS,
            ],
        ),
        (
            // faults.md G10: under read-only a list approves nothing.
            "read-only, and a list",
            Task {
                sandbox: Sandbox::ReadOnly,
                allowed_tools: Some(list(&["WebFetch", "Read(//etc/**)", "Bash"])),
                ..task("x")
            },
            vec![
                "--permission-mode",
                "default",
                "--tools",
                "WebFetch,Read",
                "--disallowedTools",
                PERSONS,
                "--strict-mcp-config",
            ],
        ),
        (
            "no tools",
            Task { allowed_tools: Some(vec![]), ..task("x") },
            vec![
                "--permission-mode",
                "default",
                "--tools",
                "",
                "--allowedTools",
                "",
                "--disallowedTools",
                PERSONS,
            ],
        ),
        (
            "denied tools",
            Task { denied_tools: list(&["Bash"]), ..task("x") },
            vec![
                "--permission-mode",
                "default",
                "--disallowedTools",
                "AskUserQuestion,EnterPlanMode,ExitPlanMode,Bash",
            ],
        ),
        (
            "the rest",
            Task {
                resume: Some("ID".into()),
                max_turns: Some(3),
                effort: Some(Effort::High),
                add_dirs: vec!["/a".into(), "/b c".into()],
                no_project_config: true,
                ephemeral: true,
                extra: list(&["--bare"]),
                ..task("x")
            },
            vec![
                "--permission-mode",
                "default",
                "--resume",
                "ID",
                "--max-turns",
                "3",
                "--effort",
                "high",
                "--disallowedTools",
                PERSONS,
                "--add-dir",
                "/a",
                "--add-dir",
                "/b c",
                "--setting-sources",
                "user",
                "--no-session-persistence",
                "--bare",
            ],
        ),
    ];
    for (name, task, expected) in table {
        assert_eq!(own_args(&task), expected, "{name}");
    }
}

/// faults.md D5.
#[test]
fn every_effort_that_claude_has_becomes_its_word_and_the_one_that_it_has_not_is_refused() {
    for (effort, word) in [
        (Effort::Low, "low"),
        (Effort::Medium, "medium"),
        (Effort::High, "high"),
        (Effort::Xhigh, "xhigh"),
        (Effort::Max, "max"),
    ] {
        let task = Task { effort: Some(effort), ..task("x") };
        assert_eq!(own_args(&task)[2..4], ["--effort", word]);
        assert!(task.used().iter().all(|option| claude().honours(*option).is_ok()), "{word}");
    }
    let used = Task { effort: Some(Effort::Ultra), ..task("x") }.used();
    let refused: Vec<TaskOption> =
        used.into_iter().filter(|option| claude().honours(*option).is_err()).collect();
    assert_eq!(refused, [TaskOption::EffortUltra]);
}

#[test]
fn servers_are_in_a_file_of_the_run_and_not_in_an_argument() {
    let mut task = Task { mcp: servers(), scratch: "/tmp/run".into(), ..task("x") };
    let launch = claude().launch(&task).unwrap();
    assert_eq!(own_args(&task).last().unwrap(), "--mcp-config=/tmp/run/mcp.json");
    let [file] = launch.files.as_slice() else { panic!("{:?}", launch.files) };
    assert_eq!(file.path, std::path::Path::new("/tmp/run/mcp.json"));
    assert_eq!(
        serde_json::from_str::<Value>(&file.text).unwrap(),
        json!({"mcpServers": {
            "docs": {"type": "stdio", "command": "docs-server", "args": ["--all"], "env": {"TOKEN": "secret"}},
            "web": {"type": "http", "url": "https://h/mcp", "headers": {"A": "b"}},
            "old": {"type": "sse", "url": "https://h/sse", "headers": {}},
        }})
    );
    // Where the tools are bound, no server's are there.
    task.tools = ToolUse::ReadOnly;
    assert!(claude().launch(&task).unwrap().files.is_empty());
    assert!(own_args(&task).contains(&"--strict-mcp-config".to_owned()));
}

#[test]
fn a_server_of_the_run_that_is_not_there_is_warned_of() {
    let statuses = [("docs", "failed"), ("web", "connected"), ("old", "pending"), ("the users", "failed")];
    let statuses: Vec<Value> =
        statuses.iter().map(|(name, status)| json!({"name": name, "status": status})).collect();
    let init = json!({"type": "system", "subtype": "init", "claude_code_version": "2.1.332", "mcp_servers": statuses});
    let mut steps = Vec::new();
    dialogue(&Task { mcp: servers(), ..task("x") }).line(&init.to_string(), &mut steps);
    let message = "MCP server `docs` is not there: failed".to_owned();
    let warned = Step::Event(Event::Progress { stage: "warning".to_owned(), message });
    assert_eq!(steps.iter().filter(|step| is_warning(step)).collect::<Vec<_>>(), [&warned]);
}

#[test]
fn the_environment_bounds_retries_and_keeps_files_out_of_prompts() {
    let env = |task: &Task| claude().launch(task).unwrap().env;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (tells, literal) =
        (pair("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"), pair("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"));
    assert_eq!(env(&task("x")), [pair("CLAUDE_CODE_MAX_RETRIES", "2"), tells.clone(), literal]);
    let task = Task { interpret: true, max_tokens: Some(99), vendor_retries: 0, ..task("x") };
    assert_eq!(
        env(&task),
        [pair("CLAUDE_CODE_MAX_RETRIES", "0"), tells, pair("CLAUDE_CODE_MAX_OUTPUT_TOKENS", "99")]
    );
}

fn said(task: &Task) -> Vec<Value> {
    let mut steps = Vec::new();
    dialogue(task).start(&mut steps);
    let line = |step: Step| match step {
        Step::Send(line) => serde_json::from_str(&line).unwrap(),
        other => panic!("{other:?}"),
    };
    steps.into_iter().map(line).collect()
}

#[test]
fn the_prompt_is_said_as_it_is_and_never_as_a_command() {
    let content = |prompt: &str, interpret| {
        let task = Task { interpret, ..task(prompt) };
        said(&task)[0]["message"]["content"].clone()
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(content("-p \"x\"\n@f", false), json!([text("-p \"x\"\n@f")]));
    assert_eq!(content("/cost", false), json!([text("/cost"), text(" ")]));
    assert_eq!(content("/cost", true), json!([text("/cost")]));
}

#[test]
fn settings_go_before_the_prompt_and_pictures_with_it() {
    let task = Task {
        system: Some("S".into()),
        append_system: Some("A".into()),
        schema: Some(json!({"type": "object"})),
        images: vec![Image::recognise(b"GIF8".to_vec()).unwrap()],
        ..task("x")
    };
    let said = said(&task);
    let settings = json!({"subtype": "initialize", "systemPrompt": ["S"], "appendSystemPrompt": "A", "jsonSchema": {"type": "object"}});
    assert_eq!(said[0], json!({"type": "control_request", "request_id": "initialize", "request": settings}));
    let source = json!({"type": "base64", "media_type": "image/gif", "data": "R0lGOA=="});
    assert_eq!(said[1]["message"]["content"][0], json!({"type": "image", "source": source}));
}

#[test]
fn recorded_dialogues_end_as_they_ended() {
    const HELLO: &str = "Hello from the stub.";
    let schema = || Task { schema: Some(json!({})), ..task("x") };
    let table: Vec<(&str, Task, &str, &str)> = vec![
        ("01b-json.jsonl", task("x"), "ok", HELLO),
        ("01c-stream-json.jsonl", task("x"), "ok", HELLO),
        ("01d-stream-json-partial.jsonl", task("x"), "ok", HELLO),
        ("01g-recommended-profile.jsonl", task("x"), "ok", HELLO),
        ("03f-chosen-session-id.jsonl", task("x"), "ok", HELLO),
        ("03j3-resume-unknown-stream.jsonl", task("x"), "session_not_found", ""),
        ("05o-max-turns-1-with-tool-loop.jsonl", task("x"), "turn_limit", ""),
        ("05s-tool-use-stream-json.jsonl", task("x"), "ok", HELLO),
        ("05t-tool-denied-stream-json.jsonl", task("x"), "ok", HELLO),
        ("05u-tool-use-stream-json-partial.jsonl", task("x"), "ok", HELLO),
        ("06n-max-budget.jsonl", task("x"), "turn_limit", ""),
        ("06s-json-schema-ok.jsonl", schema(), "ok", r#"{"name":"Ada"}"#),
        ("06t-json-schema-model-ignores.jsonl", schema(), "unreadable", ""),
        ("06u-json-schema-invalid-args.jsonl", schema(), "unreadable", ""),
        ("06w2-json-schema-stream.jsonl", schema(), "ok", r#"{"name":"Ada"}"#),
        ("06x-image-stream-json-input.jsonl", task("x"), "ok", HELLO),
        ("07-400-json.jsonl", task("x"), "context_too_long", ""),
        ("07-401-json.jsonl", task("x"), "login", ""),
        ("07-401-stream.jsonl", task("x"), "login", ""),
        ("07-403-json.jsonl", task("x"), "login", ""),
        ("07-404-json.jsonl", task("x"), "unknown_model", ""),
        ("07-404-stream.jsonl", task("x"), "unknown_model", ""),
        ("07-413-json.jsonl", task("x"), "context_too_long", ""),
        ("07-429-json-maxretries0.jsonl", task("x"), "quota", ""),
        ("07-429-stream.jsonl", task("x"), "quota", ""),
        ("07-500-json-maxretries0.jsonl", task("x"), "overloaded", ""),
        ("07-500-stream.jsonl", task("x"), "overloaded", ""),
        ("07-500-recovers-stream.jsonl", task("x"), "ok", HELLO),
        ("07-529-json.jsonl", task("x"), "overloaded", ""),
        ("07-connrefused-json.jsonl", task("x"), "unreachable", ""),
        ("07-drop-json.jsonl", task("x"), "ok", HELLO),
        ("07-drop-stream-partial.jsonl", task("x"), "ok", HELLO),
        ("07-sse-error-stream-partial.jsonl", task("x"), "ok", HELLO),
        ("07-nokey-json.jsonl", task("x"), "login", ""),
        ("07-nokey-stream.jsonl", task("x"), "login", ""),
        ("07-SIGINT-during-bash-tool.jsonl", task("x"), "crash", ""),
        ("07-SIGTERM-during-stream.jsonl", task("x"), "crash", "Hello"),
        ("07-SIGINT-during-stream.jsonl", task("x"), "crash", "Hello"),
        ("a-multi-turn.log", task("x"), "ok", HELLO),
        ("c-control.log", task("x"), "crash", "Hello"),
        ("d-queue.log", task("x"), "ok", HELLO),
        ("f-session-id.log", task("x"), "ok", HELLO),
        ("g-resume.log", task("x"), "ok", HELLO),
        ("h-error-then-ok.log", task("x"), "invalid_request", ""),
        ("i-permission-stdio.log", task("x"), "ok", HELLO),
        ("j-replay.log", task("x"), "ok", HELLO),
        ("m-init-jsonschema.log", schema(), "ok", r#"{"name":"Ada"}"#),
    ];
    for (file, task, ending, text) in table {
        let played = played(&task, file);
        assert_eq!((played.ending(), played.text().as_str()), (ending, text), "{file}: {:?}", played.result);
    }
}

#[test]
fn the_answer_of_a_command_that_claude_handles_itself_is_told() {
    let played = played(&Task { interpret: true, ..task("/cost") }, "06za-stream-json-input-slash.jsonl");
    assert_eq!(
        (played.ending(), played.text().lines().next()),
        ("ok", Some("Total cost:            $0.0000"))
    );
}

#[test]
fn an_answer_of_nothing_is_none_unless_the_agent_did_something() {
    let ending = |before: Value| {
        let result = json!({"type": "result", "subtype": "success", "is_error": false, "result": ""});
        play(&mut *dialogue(&task("x")), &format!("{before}\n{result}")).ending()
    };
    let used = json!([{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]);
    assert_eq!(ending(json!({})), "unreadable");
    assert_eq!(ending(json!({"type": "assistant", "message": {"content": used}})), "ok");
}

#[test]
fn every_recording_is_in_the_table() {
    let table = concat!(include_str!("mod.rs"), include_str!("newest.rs"));
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/claude");
    for entry in std::fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(table.contains(&format!("\"{name}\"")), "{name} is recorded and not tested");
    }
}

#[test]
fn deltas_are_told_as_they_come_and_never_twice() {
    let played = played(&task("x"), "01d-stream-json-partial.jsonl");
    let pieces: Vec<&Event> = played.events.iter().filter(|event| matches!(event, Event::Text(_))).collect();
    let text = |text: &str| Event::Text(text.to_owned());
    assert_eq!(pieces, [&text("Hello"), &text(" from"), &text(" the"), &text(" stub"), &text(".")]);
}

#[test]
fn usage_counts_cached_tokens_once_and_is_right_after_a_cut() {
    let one = Usage { input: 147, output: 12, cached: 40, reasoning: 0, cost: Some(0.00086375) };
    assert_eq!(played(&task("x"), "01d-stream-json-partial.jsonl").usage(), Some(one));
    assert_eq!(played(&task("x"), "07-drop-stream-partial.jsonl").usage(), Some(one));
}

#[test]
fn tools_are_told_with_their_results() {
    let played = played(&task("x"), "i-permission-stdio.log");
    let input = json!({"command": "touch zzz", "description": "t"});
    let used = Event::ToolUse { id: "toolu_stub_1".into(), name: "Bash".into(), input, parent: None };
    let result = Event::ToolResult {
        id: "toolu_stub_1".into(),
        name: String::new(),
        output: "(Bash completed with no output)".into(),
        is_error: false,
        parent: None,
    };
    let tools: Vec<&Event> = played
        .events
        .iter()
        .filter(|event| matches!(event, Event::ToolUse { .. } | Event::ToolResult { .. }))
        .collect();
    assert_eq!(tools, [&used, &result]);
}

#[test]
fn permissions_are_answered_by_the_approval_mode() {
    let answer = |task: &Task| {
        let played = played(task, "i-permission-stdio.log");
        let answer: Value = serde_json::from_str(played.said.last().unwrap()).unwrap();
        answer["response"]["response"]["behavior"].as_str().unwrap().to_owned()
    };
    let with = |approval| Task { approval, ..task("x") };
    let restricted =
        Task { approval: Approval::None, allowed_tools: Some(vec!["Bash(git *)".into()]), ..task("x") };
    let table = [
        (with(Approval::Default), "deny"),
        (with(Approval::Auto), "deny"),
        (with(Approval::None), "allow"),
        (with(Approval::Always), "deny"),
        (Task { sandbox: Sandbox::ReadOnly, ..with(Approval::None) }, "deny"),
        (restricted, "deny"),
    ];
    for (task, expected) in table {
        assert_eq!(answer(&task), expected, "{:?} {:?}", task.approval, task.sandbox);
    }
}

#[test]
fn an_old_version_is_refused_by_name() {
    let init = |version: &str| {
        let line = json!({"type": "system", "subtype": "init", "session_id": "s", "model": "m", "claude_code_version": version});
        play(&mut *dialogue(&task("x")), &line.to_string())
    };
    let refused = init("1.9.9");
    assert_eq!(refused.ending(), "not_installed");
    assert_eq!(
        refused.result.unwrap().unwrap_err().message,
        "claude 1.9.9 is too old: clinvk needs 2.1.150 or newer"
    );
    for version in ["2.1.150", "2.1.1000", "2.10.0", "3.0.0-beta.1", "unknown"] {
        assert_ne!(init(version).ending(), "not_installed", "{version}");
    }
}

#[test]
fn another_session_than_the_one_asked_for_is_an_error() {
    let task = Task { resume: Some("11111111-0000-0000-0000-000000000000".into()), ..task("x") };
    assert_eq!(played(&task, "g-resume.log").ending(), "session_not_found");
}

#[test]
fn separate_messages_have_a_blank_line_between_them() {
    let delta = |text: &str| json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}});
    let start = json!({"type": "stream_event", "event": {"type": "message_start"}});
    let whole = |content: Value| json!({"type": "assistant", "message": {"content": content}});
    let log = [
        start.clone(),
        delta("one"),
        whole(
            json!([{"type": "text", "text": "one"}, {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]),
        ),
        start,
        delta("two"),
        whole(json!([{"type": "text", "text": "two"}])),
        json!({"type": "result", "subtype": "success", "is_error": false, "result": "two"}),
    ];
    let played = play(&mut *dialogue(&task("x")), &log.map(|line| line.to_string()).join("\n"));
    assert_eq!((played.ending(), played.text().as_str()), ("ok", "one\n\ntwo"));
}

#[test]
fn what_claude_says_when_it_ends_early_has_a_kind() {
    let ending = |stderr: &str| {
        let mut steps = Vec::new();
        dialogue(&task("x")).eof(&Ended { code: Some(1), signal: None, stderr: stderr.into() }, &mut steps);
        match steps.pop() {
            Some(Step::Finished(Err(failure))) => failure.kind.word(),
            other => panic!("{other:?}"),
        }
    };
    for (stderr, kind) in [
        ("No conversation found with session ID: x", "session_not_found"),
        ("error: unknown option '--no-such-flag'", "vendor_flag"),
        ("Segmentation fault", "crash"),
        ("", "crash"),
    ] {
        assert_eq!(ending(stderr), kind, "{stderr}");
    }
}

#[test]
fn hostile_lines_are_at_most_warnings() {
    let lines = [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"assistant"}"#,
        r#"{"type":"assistant","message":null}"#,
        r#"{"type":"assistant","message":{"content":[null,7,{"type":"text"}]}}"#,
        r#"{"type":"stream_event","event":[]}"#,
        r#"{"type":"user","message":{"content":"text"}}"#,
        r#"{"type":"brand_new_event","x":{}}"#,
    ];
    let mut dialogue = dialogue(&task("x"));
    let mut steps = Vec::new();
    for line in lines {
        dialogue.line(line, &mut steps);
    }
    steps.retain(|step| !is_warning(step));
    assert_eq!(steps, []);
}

/// Measured with 2.1.197: with `none` the model is offered no tool at all, and no MCP server of the user's is started.
#[test]
fn tools_are_bound_whatever_else_is_asked_and_the_users_servers_are_left_out() {
    let plain = "--permission-mode default";
    let reading = format!("{plain} --tools Read,Grep,Glob,WebFetch,WebSearch");
    for (tools, allowed, expected) in [
        (ToolUse::AsConfigured, None, format!("{plain} --disallowedTools {PERSONS}")),
        (ToolUse::ReadOnly, None, format!("{reading} --disallowedTools {PERSONS} --strict-mcp-config")),
        (
            ToolUse::ReadOnly,
            Some(vec!["Read".to_owned(), "Write".to_owned()]),
            format!("{plain} --tools Read --disallowedTools {PERSONS} --strict-mcp-config"),
        ),
        (
            ToolUse::None,
            Some(vec!["Bash".to_owned()]),
            format!("{plain} --tools  --disallowedTools {PERSONS} --strict-mcp-config"),
        ),
        (ToolUse::None, None, format!("{plain} --tools  --disallowedTools {PERSONS} --strict-mcp-config")),
    ] {
        let task = Task { tools, allowed_tools: allowed, ..task("x") };
        assert_eq!(own_args(&task).join(" "), expected, "{tools:?}");
        // Whatever approval mode was asked for.
        if tools != ToolUse::AsConfigured {
            let all = Task { approval: Approval::None, ..task };
            assert_eq!(own_args(&all).join(" "), expected, "{tools:?}");
        }
    }
}

#[test]
fn what_asks_although_there_are_no_tools_is_refused() {
    let asks = json!({"type": "control_request", "request_id": "r", "request": {"subtype": "can_use_tool", "tool_name": "mcp__t__x", "input": {}}});
    for (tools, behavior) in
        [(ToolUse::AsConfigured, "allow"), (ToolUse::ReadOnly, "deny"), (ToolUse::None, "deny")]
    {
        let mut steps = Vec::new();
        let task = Task { tools, approval: Approval::None, ..task("x") };
        dialogue(&task).line(&asks.to_string(), &mut steps);
        let said = steps.iter().any(|step| matches!(step, Step::Send(line) if line.contains(behavior)));
        assert!(said, "{tools:?}: {steps:?}");
    }
}

/// Measured: claude goes on three times after a cut, and then calls it a failure.
#[test]
fn an_answer_that_was_cut_at_the_limit_asked_for_ends_there() {
    let delta = |text: &str| json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}});
    let log = [
        json!({"type": "stream_event", "event": {"type": "message_start"}}),
        delta("one two"),
        json!({"type": "stream_event", "event": {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}}),
        delta("what it goes on with"),
        json!({"type": "result", "subtype": "error_during_execution", "is_error": true, "usage": {"output_tokens": 2}}),
    ];
    let log = log.map(|line| line.to_string()).join("\n");
    let limited = Task { max_tokens: Some(2), ..task("x") };
    let cut = play(&mut *dialogue(&limited), &log);
    let told = |played: &Played| {
        played.events.iter().any(|event| matches!(event, Event::Progress { stage, .. } if stage == TRUNCATED))
    };
    assert_eq!((cut.ending(), cut.text().as_str(), told(&cut)), ("ok", "one two", true), "{cut:?}");
    assert_eq!(cut.usage().map(|usage| usage.output), Some(2));
    assert!(cut.said.iter().any(|line| line.contains("interrupt")), "{cut:?}");
    // Its own limit is its own affair.
    let own = play(&mut *dialogue(&task("x")), &log);
    assert!(own.ending() != "ok" && !told(&own) && own.text().contains("goes on"), "{own:?}");
    let formed = play(&mut *dialogue(&Task { schema: Some(json!({})), ..limited }), &log);
    assert_eq!(formed.result.unwrap().unwrap_err().kind, Kind::TurnLimit, "half a value is none");
}

#[test]
fn a_schema_is_claudes_to_follow_when_it_is_of_an_object() {
    for (schema, expected) in [
        (json!({"type": "object"}), true),
        (json!({"type": "array"}), false),
        (json!({"anyOf": [{"type": "object"}]}), false),
    ] {
        assert_eq!(claude().takes_schema(&schema), expected, "{schema}");
    }
}
