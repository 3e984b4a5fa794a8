//! Codex: what a task becomes in its dialogue, and what recorded dialogues mean.

mod background; // what outlives a turn, and other agents
mod messages; // which of them are the answer
mod models; // aliases, efforts, another model than the one asked
mod requests; // how often the vendor's server is asked
mod unreadable; // lines that cannot be read

use crate::util::replay::{Played, data, is_warning, play};
use clinvk::backend::codex::Codex;
use clinvk::backend::{Backend, Dialogue, Ended, Step, Steps, StopSignal};
use clinvk::model::error::Kind;
use clinvk::model::event::{Event, TRUNCATED, Usage};
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, TaskOption, ToolUse};
use serde_json::{Value, json};

fn codex() -> Codex {
    Codex::new(None, &[])
}

fn task(prompt: &str) -> Task {
    Task {
        backend: "codex".into(),
        prompt: prompt.into(),
        dir: "/src/project".into(),
        vendor_retries: 2,
        ..Task::default()
    }
}

fn played(task: &Task, file: &str) -> Played {
    play(&mut *codex().dialogue(task), &data(&format!("codex/{file}.log")))
}

/// What is said to a codex that answers as the backend rehearses it, as JSON.
fn said(task: &Task) -> Vec<Value> {
    let mut dialogue = codex().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    codex().rehearsal(task).iter().for_each(|line| dialogue.line(line, &mut steps));
    sent(&steps)
}

fn sent(steps: &Steps) -> Vec<Value> {
    let lines = steps.iter().filter_map(|step| if let Step::Send(line) = step { Some(line) } else { None });
    lines.map(|line| serde_json::from_str(line).expect("we say JSON")).collect()
}

/// The parameters of the one request of that method.
fn params(task: &Task, method: &str) -> Value {
    let said = said(task);
    let found: Vec<&Value> = said.iter().filter(|line| line["method"] == method).collect();
    assert_eq!(found.len(), 1, "{method} in {said:#?}");
    found[0]["params"].clone()
}

/// A dialogue in the middle of its turn: thread `T`, turn `U`.
fn in_turn(task: &Task) -> Box<dyn Dialogue> {
    let mut dialogue = codex().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    for line in [
        json!({"id": 1, "result": {"userAgent": "clinvk/0.169.0 (Debian 12.0.0; x86_64) unknown (clinvk; 0)"}}),
        json!({"id": 2, "result": {"thread": {"id": task.resume.as_deref().unwrap_or("T")}, "model": "m"}}),
        json!({"id": 3, "result": {"turn": {"id": "U"}}}),
    ] {
        dialogue.line(&line.to_string(), &mut steps);
    }
    assert!(steps.contains(&Step::Asked), "{steps:#?}");
    dialogue
}

fn hear(dialogue: &mut dyn Dialogue, lines: &[Value]) -> Steps {
    let mut steps = Steps::new();
    lines.iter().for_each(|line| dialogue.line(&line.to_string(), &mut steps));
    steps
}

fn note(method: &str, params: Value) -> Value {
    let mut params = params;
    params["threadId"] = json!("T");
    params["turnId"] = json!("U");
    json!({"method": method, "params": params})
}

fn delta(item: &str, text: &str) -> Value {
    note("item/agentMessage/delta", json!({"itemId": item, "delta": text}))
}

fn message(item: &str, text: &str) -> Value {
    note("item/completed", json!({"item": {"type": "agentMessage", "id": item, "text": text}}))
}

fn end(turn: Value) -> Value {
    note("turn/completed", json!({"turn": turn}))
}

fn texts(steps: &Steps) -> Vec<String> {
    let texts = steps
        .iter()
        .filter_map(|step| if let Step::Event(Event::Text(text)) = step { Some(text.clone()) } else { None });
    texts.collect()
}

fn progress(steps: &[Step]) -> Vec<(String, String)> {
    let told = steps.iter().filter_map(|step| match step {
        Step::Event(Event::Progress { stage, message }) => Some((stage.clone(), message.clone())),
        _ => None,
    });
    told.collect()
}

fn ending(steps: &Steps) -> Option<(Option<Kind>, String)> {
    steps.iter().find_map(|step| match step {
        Step::Finished(Ok(())) => Some((None, String::new())),
        Step::Finished(Err(failure)) => Some((Some(failure.kind), failure.message.clone())),
        _ => None,
    })
}

#[test]
fn the_launch_is_the_app_server_whatever_is_asked() {
    let launch = codex().launch(&task("-x; rm -rf /")).unwrap();
    assert_eq!(launch.program, "codex");
    assert_eq!(launch.args, ["app-server", "-c", "analytics.enabled=false"]);
    assert_eq!(
        (launch.dir.to_str(), launch.stop, launch.model_is_remote),
        (Some("/src/project"), StopSignal::Terminate, true)
    );
    assert!(launch.unset.iter().any(|name| name == "CODEX_SANDBOX"), "{:?}", launch.unset);
    assert!(!launch.unset.iter().any(|name| name == "CODEX_HOME"), "{:?}", launch.unset);

    let extra = Task { extra: vec!["--disable".into(), "goals".into()], ..task("hi") };
    assert_eq!(codex().launch(&extra).unwrap().args[3..], ["--disable", "goals"]);
    assert_eq!(Codex::new(Some("/opt/codex".into()), &[]).launch(&extra).unwrap().program, "/opt/codex");
}

#[test]
fn no_extra_flag_reaches_sandbox_or_approvals() {
    assert_eq!(codex().extra_flags(), ["--strict-config", "--enable=", "--disable="]);
}

#[test]
fn configured_aliases_go_before_ours() {
    let codex = Codex::new(None, &[("fast".into(), "mine".into()), ("own".into(), "x".into())]);
    let model =
        |alias: &str| codex.models().iter().find(|(name, _)| name == alias).map(|(_, model)| model.as_str());
    assert_eq!((model("fast"), model("balanced"), model("own")), (Some("mine"), Some(""), Some("x")));
    assert!(model("best").is_some_and(|model| !model.is_empty()));
}

#[test]
fn a_prompt_longer_than_codex_takes_is_refused_before_it_is_started() {
    let fits = task(&"é".repeat(1 << 20));
    assert!(codex().launch(&fits).is_ok());
    let error = codex().launch(&task(&"é".repeat((1 << 20) + 1))).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::InvalidRequest, "the prompt has 1048577 characters and codex takes at most 1048576",)
    );
}

#[test]
fn what_codex_cannot_honour_is_refused_by_name() {
    for option in TaskOption::ALL {
        let refused = matches!(
            option,
            TaskOption::MaxTurns | TaskOption::MaxTokens | TaskOption::AllowedTools | TaskOption::DeniedTools
        );
        assert_eq!(codex().honours(*option).is_err(), refused, "{}", option.word());
    }
}

#[test]
fn a_plain_turn_says_these_lines_and_no_more() {
    assert_eq!(
        said(&task("hi there")),
        [
            json!({"id": 1, "method": "initialize", "params": {
            "clientInfo": {"name": "clinvk", "title": "clinvk", "version": env!("CARGO_PKG_VERSION")}}}),
            json!({"method": "initialized"}),
            json!({"id": 6, "method": "config/read", "params": {"includeLayers": false}}),
            json!({"id": 2, "method": "thread/start", "params": {}}),
            json!({"id": 3, "method": "turn/start", "params": {
            "threadId": "<threadId>", "input": [{"type": "text", "text": "hi there"}]}}),
        ]
    );
}

#[test]
fn every_option_becomes_the_parameter_that_was_measured() {
    let plain = task("hi");
    for (name, task, expected) in [
        ("model", Task { model: Some("m".into()), ..plain.clone() }, json!({"model": "m"})),
        ("system", Task { system: Some("be".into()), ..plain.clone() }, json!({"baseInstructions": "be"})),
        (
            "append",
            Task { append_system: Some("do".into()), ..plain.clone() },
            json!({"developerInstructions": "do"}),
        ),
        ("ephemeral", Task { ephemeral: true, ..plain.clone() }, json!({"ephemeral": true})),
        (
            "dirs",
            Task { add_dirs: vec!["/a".into(), "/b".into()], ..plain.clone() },
            json!({"config": {"sandbox_workspace_write.writable_roots": ["/a", "/b"]}}),
        ),
        (
            "project",
            Task { no_project_config: true, ..plain.clone() },
            json!({"config": {"projects": {
            "/src/project": {"trust_level": "untrusted"},
            "/src": {"trust_level": "untrusted"},
            "/": {"trust_level": "untrusted"}}}}),
        ),
    ] {
        assert_eq!(params(&task, "thread/start"), expected, "{name}");
        assert_eq!(said(&task).len(), 5, "{name}");
    }
    let png = Image::recognise(b"\x89PNG".to_vec()).unwrap();
    let schema = json!({"type": "object"});
    for (name, task, key, expected) in [
        ("effort", Task { effort: Some(Effort::High), ..plain.clone() }, "effort", json!("high")),
        ("schema", Task { schema: Some(schema.clone()), ..plain.clone() }, "outputSchema", schema),
        (
            "image",
            Task { images: vec![png], ..plain.clone() },
            "input",
            json!([
            {"type": "text", "text": "hi"}, {"type": "image", "url": "data:image/png;base64,iVBORw=="}]),
        ),
    ] {
        assert_eq!(params(&task, "turn/start")[key], expected, "{name}");
        assert_eq!(params(&task, "thread/start"), json!({}), "{name}");
    }
}

/// A `cwd` here, with a sandbox that can write, makes codex trust the directory for good and run what its settings name.
#[test]
fn a_new_thread_never_names_its_directory() {
    for sandbox in Sandbox::ALL {
        for approval in Approval::ALL {
            let task = Task { sandbox: *sandbox, approval: *approval, ..task("hi") };
            assert_eq!(
                params(&task, "thread/start").get("cwd"),
                None,
                "{} {}",
                sandbox.word(),
                approval.word()
            );
        }
    }
}

#[test]
fn approval_and_sandbox_are_one_table() {
    use Approval::{Always, Auto, Default as Usual};
    const RO: &str = "read-only";
    const WS: &str = "workspace-write";
    const FULL: &str = "danger-full-access";
    for (approval, sandbox, policy, given, granted) in [
        (Usual, Sandbox::Default, "", "", false),
        (Usual, Sandbox::ReadOnly, "", RO, false),
        (Usual, Sandbox::Workspace, "", WS, false),
        (Usual, Sandbox::Full, "", FULL, false),
        (Auto, Sandbox::Default, "on-request", WS, false),
        (Auto, Sandbox::ReadOnly, "on-request", RO, false),
        (Auto, Sandbox::Workspace, "on-request", WS, false),
        (Auto, Sandbox::Full, "on-request", FULL, false),
        (Always, Sandbox::Default, "untrusted", "", false),
        (Always, Sandbox::ReadOnly, "untrusted", RO, false),
        (Always, Sandbox::Workspace, "untrusted", WS, false),
        (Always, Sandbox::Full, "untrusted", FULL, false),
        (Approval::None, Sandbox::Default, "on-request", FULL, true),
        (Approval::None, Sandbox::ReadOnly, "never", RO, false),
        (Approval::None, Sandbox::Workspace, "never", WS, false),
        (Approval::None, Sandbox::Full, "on-request", FULL, true),
    ] {
        let task = Task { approval, sandbox, ..task("hi") };
        let name = format!("{} {}", approval.word(), sandbox.word());
        let mut expected = json!({});
        if !policy.is_empty() {
            (expected["approvalPolicy"], expected["approvalsReviewer"]) = (json!(policy), json!("user"));
        }
        if !given.is_empty() {
            expected["sandbox"] = json!(given);
        }
        assert_eq!(params(&task, "thread/start"), expected, "{name}");
        let question = json!({"id": 0, "method": "item/fileChange/requestApproval", "params": {}});
        let steps = hear(&mut *in_turn(&task), &[question]);
        let decision = if granted { "accept" } else { "decline" };
        assert_eq!(sent(&steps), [json!({"id": 0, "result": {"decision": decision}})], "{name}");
        let denied = steps.iter().any(|step| matches!(step, Step::Event(Event::PermissionDenied { .. })));
        assert_eq!(denied, !granted, "{name}: {steps:#?}");
    }
}

#[test]
fn a_resumed_session_keeps_its_words_and_gets_new_instructions_as_a_message() {
    let resumed = Task { resume: Some("S".into()), append_system: Some("do".into()), ..task("hi") };
    assert_eq!(
        said(&resumed)[3..],
        [
            json!({"id": 2, "method": "thread/resume", "params": {
            "threadId": "S", "excludeTurns": true, "cwd": "/src/project"}}),
            json!({"id": 5, "method": "thread/inject_items", "params": {"threadId": "S", "items": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "do"}]}]}}),
            json!({"id": 3, "method": "turn/start", "params": {"threadId": "S", "input": [{"type": "text", "text": "hi"}]}}),
        ]
    );
    let forked = Task { ephemeral: true, append_system: None, ..resumed };
    assert_eq!(
        said(&forked)[3],
        json!({"id": 2, "method": "thread/fork", "params": {
        "threadId": "S", "excludeTurns": true, "cwd": "/src/project", "ephemeral": true}})
    );
    assert_eq!(said(&forked)[4]["params"]["threadId"], "<threadId>");
}

/// With a skill of that name codex would add its text to the prompt, unless the skill is switched off.
#[test]
fn skills_that_a_prompt_names_are_switched_off() {
    let off = |name: &str| json!({"name": name, "enabled": false});
    for (prompt, names) in [
        ("no skill, $ 5, 5$", vec![]),
        ("use $one and `$two:x-y_Z9`.", vec![off("one"), off("two:x-y_Z9")]),
        ("$$one\\$one $oneé", vec![off("one")]),
    ] {
        let expected = if names.is_empty() { json!({}) } else { json!({"config": {"skills.config": names}}) };
        assert_eq!(params(&task(prompt), "thread/start"), expected, "{prompt}");
        assert_eq!(params(&task(prompt), "turn/start")["input"], json!([{"type": "text", "text": prompt}]));
        assert_eq!(params(&Task { interpret: true, ..task(prompt) }, "thread/start"), json!({}), "{prompt}");
    }
}

#[test]
fn a_link_to_a_skill_is_taken_apart_and_not_changed() {
    for (prompt, pieces) in [
        ("see [$a](/x/SKILL.md) and [$b]\n (/y)!", vec!["see [$", "a](/x/SKILL.md) and [$", "b]\n (/y)!"]),
        ("[$a] [$](x) [$é](x) [b](x)", vec!["[$a] [$](x) [$é](x) [b](x)"]),
        ("[$", vec!["[$"]),
    ] {
        let input = |task: &Task| params(task, "turn/start")["input"].clone();
        let expected: Vec<Value> = pieces.iter().map(|text| json!({"type": "text", "text": text})).collect();
        assert_eq!(input(&task(prompt)), json!(expected), "{prompt}");
        assert_eq!(pieces.concat(), prompt);
        let literal = Task { interpret: true, ..task(prompt) };
        assert_eq!(input(&literal), json!([{"type": "text", "text": prompt}]), "{prompt}");
    }
}

#[test]
fn recorded_dialogues_end_as_they_did() {
    const HELLO: &str = "Hello from the stub.";
    const UNAUTHORIZED: &str =
        "unexpected status 401 Unauthorized: The stand-in refuses., url: http://127.0.0.1:39101/v1/responses";
    const TOO_MANY: &str = "exceeded retry limit, last status: 429 Too Many Requests";
    const BUSY: &str = "We’re currently experiencing high demand, which may cause temporary errors.";
    const CUT: &str =
        "stream disconnected before completion: Transport error: network error: error decoding response body";
    for (file, text, calls, ending, words) in [
        ("approve-command", HELLO, 2, "ok", ""),
        ("approve-escalation", HELLO, 2, "ok", ""),
        ("approve-patch", HELLO, 2, "ok", ""),
        ("cancel-command", "", 1, "cancelled", "codex interrupted the turn"),
        ("cut", "Hello from", 0, "unreachable", CUT),
        ("cut-once", HELLO, 1, "ok", ""),
        ("decline-command", HELLO, 2, "ok", ""),
        ("decline-patch", HELLO, 2, "ok", ""),
        ("empty", "", 1, "unreadable", "the model answered nothing, and did nothing"),
        ("error-400", "", 0, "invalid_request", "The stand-in refuses."),
        ("error-401", "", 0, "login", UNAUTHORIZED),
        ("error-401-interrupt", "", 0, "cancelled", "codex interrupted the turn"),
        ("error-404", "", 0, "unknown_model", "The model `x` does not exist"),
        ("error-429", "", 0, "quota", TOO_MANY),
        ("error-429-quota", "", 0, "quota", "Quota exceeded. Check your plan and billing details."),
        ("error-429-retry-after", "", 0, "quota", TOO_MANY),
        ("error-500", "", 0, "overloaded", BUSY),
        ("error-500-interrupt", "", 0, "cancelled", "codex interrupted the turn"),
        ("error-503", "", 0, "overloaded", "Selected model is at capacity. Please try a different model."),
        (
            "error-context",
            "",
            0,
            "context_too_long",
            "Codex ran out of room in the model's context window. Start a \
            new thread or clear earlier history before retrying.",
        ),
        ("mcp-accept", HELLO, 2, "ok", ""),
        ("mcp-broken", HELLO, 1, "ok", ""),
        ("mcp-decline", HELLO, 2, "ok", ""),
        ("no-key", "", 0, "login", "Missing environment variable: `STUB_API_KEY`."),
        ("refused", "", 0, "unreachable", "Connection failed: error sending request"),
        ("schema", "{\"answer\": \"42\"}", 1, "ok", ""),
        (
            "stream-error",
            "Hello from",
            0,
            "unreachable",
            "stream disconnected before completion: The stand-in broke off.",
        ),
        ("thinking", HELLO, 1, "ok", ""),
        ("two-messages", "one\n\nHello from the stub.", 2, "ok", ""),
    ] {
        let played = played(&task("hi there"), file);
        let failure = played.result.as_ref().and_then(|result| result.as_ref().err());
        let message = failure.map_or("", |failure| failure.message.as_str());
        let used = played.usage().map_or(0, |usage| usage.input / 100);
        assert_eq!(
            (played.text().as_str(), used, played.ending(), message),
            (text, calls, ending, words),
            "{file}"
        );
        let started = played.events.iter().filter(|event| match event {
            Event::Started { model, session } => model.as_deref() == Some("stub-model") && session.is_some(),
            _ => false,
        });
        assert_eq!(started.count(), 1, "{file}: {:#?}", played.events);
    }
}

/// One for every call of the model; what an earlier turn of the session used, and codex repeats, is no part of it.
#[test]
fn usage_is_that_of_this_turn_alone() {
    let resumed = Task { resume: Some("01a20351-4d99-7683-ad31-4a91a2f1feed".into()), ..task("hi there") };
    let one = Usage { input: 100, output: 12, cached: 40, reasoning: 5, cost: None };
    let two = Usage { input: 200, output: 24, cached: 80, reasoning: 10, cost: None };
    for (task, file) in [(task("hi there"), "two-messages"), (resumed, "resume")] {
        let played = played(&task, file);
        let told = played
            .events
            .iter()
            .filter_map(|event| if let Event::Usage(usage) = event { Some(*usage) } else { None });
        assert_eq!(told.collect::<Vec<_>>(), [one, two], "{file}");
        assert_eq!(played.ending(), "ok", "{file}");
    }
}

#[test]
fn usage_that_is_repeated_or_of_another_turn_does_not_count_and_that_of_helpers_does() {
    let used = |thread: &str, turn: &str, total: u64, last: u64| {
        let figures =
            |tokens: u64| json!({"inputTokens": tokens, "cachedInputTokens": 1, "outputTokens": tokens});
        json!({"method": "thread/tokenUsage/updated", "params": {"threadId": thread, "turnId": turn,
            "tokenUsage": {"total": figures(total), "last": figures(last)}}})
    };
    let lines =
        [used("T", "old", 500, 500), used("T", "U", 510, 10), used("T", "U", 510, 10), used("H", "V", 7, 7)];
    let steps = hear(&mut *in_turn(&task("hi")), &lines);
    let told: Vec<u64> = steps
        .iter()
        .filter_map(
            |step| if let Step::Event(Event::Usage(usage)) = step { Some(usage.output) } else { None },
        )
        .collect();
    assert_eq!(told, [10, 10, 17]);
}

#[test]
fn another_session_than_the_one_asked_for_is_none() {
    let played = played(&Task { resume: Some("other".into()), ..task("hi there") }, "resume");
    assert_eq!((played.ending(), played.text().as_str()), ("session_not_found", ""));
}

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
fn every_question_of_codex_gets_an_answer() {
    let granting = Task { approval: Approval::None, ..task("hi") };
    let wish = json!({"network": {"enabled": true}});
    let form = |fields: Value| json!({"mode": "form", "message": "?", "requestedSchema": {"type": "object", "properties": fields}});
    let name = json!({"name": {"type": "string"}});
    let unknown = json!({"code": -32601, "message": "clinvk does not answer `item/tool/call`"});
    for (method, params, granted, refused) in [
        (
            "item/commandExecution/requestApproval",
            json!({}),
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/fileChange/requestApproval",
            json!({}),
            json!({"decision": "accept"}),
            json!({"decision": "decline"}),
        ),
        (
            "item/permissions/requestApproval",
            json!({"permissions": wish.clone()}),
            json!({"permissions": wish, "scope": "turn"}),
            json!({"permissions": {}, "scope": "turn"}),
        ),
        (
            "mcpServer/elicitation/request",
            form(json!({})),
            json!({"action": "accept", "content": {}}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "mcpServer/elicitation/request",
            form(name),
            json!({"action": "decline", "content": null}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "mcpServer/elicitation/request",
            json!({"mode": "url", "url": "https://x"}),
            json!({"action": "decline", "content": null}),
            json!({"action": "decline", "content": null}),
        ),
        (
            "item/tool/requestUserInput",
            json!({"questions": []}),
            json!({"answers": {}}),
            json!({"answers": {}}),
        ),
        ("item/tool/call", json!({}), Value::Null, Value::Null),
    ] {
        for (task, expected) in [(&granting, granted), (&task("hi"), refused)] {
            // Codex numbers its questions from 0 and may use words: the same id goes back.
            for id in [json!(0), json!("q")] {
                let steps =
                    hear(&mut *in_turn(task), &[json!({"id": id, "method": method, "params": params})]);
                let reply = if expected.is_null() {
                    json!({"id": id, "error": unknown})
                } else {
                    json!({"id": id, "result": expected})
                };
                assert_eq!(sent(&steps), [reply], "{method} {params}");
                assert_eq!(ending(&steps), None);
            }
        }
    }
}

fn retry(message: &str, info: Value, details: &str) -> Value {
    note(
        "error",
        json!({"willRetry": true,
        "error": {"message": message, "codexErrorInfo": info, "additionalDetails": details}}),
    )
}

#[test]
fn retries_are_bounded_and_codex_is_asked_to_stop() {
    let again = |n: u32| {
        retry(
            &format!("Reconnecting... {n}/5"),
            json!({"responseStreamDisconnected": {"httpStatusCode": 401}}),
            "no such key",
        )
    };
    for allowed in [0, 2] {
        let mut dialogue = in_turn(&Task { vendor_retries: allowed, ..task("hi") });
        for n in 0..allowed {
            assert_eq!(ending(&hear(&mut *dialogue, &[again(n)])), None, "{allowed}: {n}");
        }
        let steps = hear(&mut *dialogue, &[again(allowed)]);
        let stop = json!({"id": 4, "method": "turn/interrupt", "params": {"threadId": "T", "turnId": "U"}});
        assert_eq!(sent(&steps), [stop], "{allowed}");
        assert_eq!(ending(&steps), Some((Some(Kind::Login), "no such key".to_owned())), "{allowed}");
        assert_eq!(
            hear(&mut *dialogue, &[end(json!({"status": "interrupted"}))]),
            [],
            "{allowed}: told twice"
        );
    }
}

/// It says so when it has tried for 3 s, and then goes on for ever.
#[test]
fn waiting_for_the_network_is_not_waited_for() {
    let info = json!({"responseStreamDisconnected": {"httpStatusCode": null}});
    let lines =
        [retry("Reconnecting... waiting for network", info, "Connection failed: error sending request")];
    let steps = hear(&mut *in_turn(&Task { vendor_retries: 9, ..task("hi") }), &lines);
    assert_eq!(
        ending(&steps),
        Some((Some(Kind::Unreachable), "Connection failed: error sending request".to_owned()))
    );
}

/// A long turn may stumble now and then: only failures in a row count.
#[test]
fn a_request_that_worked_forgives_the_failed_ones_before_it() {
    let again = retry("Reconnecting... 1/5", json!("other"), "cut");
    let good = note("thread/tokenUsage/updated", json!({"tokenUsage": {"total": {}, "last": {}}}));
    let lines = [again.clone(), again.clone(), good, again.clone(), again.clone()];
    let mut dialogue = in_turn(&task("hi"));
    assert_eq!(ending(&hear(&mut *dialogue, &lines)), None);
    assert!(ending(&hear(&mut *dialogue, &[again])).is_some());
}

#[test]
fn the_kind_of_a_failure_comes_from_its_name_then_its_status_then_its_words() {
    let status = |name: &str, status: Value| json!({name: {"httpStatusCode": status}});
    for (info, words, kind, sentence) in [
        (json!("contextWindowExceeded"), "too much", Kind::ContextTooLong, "too much"),
        (json!("usageLimitExceeded"), "x", Kind::Quota, "x"),
        (json!("rateLimitExceeded"), "x", Kind::Quota, "x"),
        (json!("serverOverloaded"), "x", Kind::Overloaded, "x"),
        (json!("internalServerError"), "x", Kind::Overloaded, "x"),
        (json!("modelNotFound"), "x", Kind::UnknownModel, "x"),
        (json!("cyberPolicy"), "x", Kind::Refusal, "x"),
        // faults.md D2: what refuses has a name of its own, or only words.
        (json!("bioPolicy"), "x", Kind::Refusal, "x"),
        (
            json!("other"),
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            Kind::Refusal,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
        ),
        (json!("tooManyDenials"), "x", Kind::PermissionDenied, "x"),
        (json!("unauthorized"), "x", Kind::Login, "x"),
        (json!("badRequest"), "bad parameter", Kind::InvalidRequest, "bad parameter"),
        (json!("other"), "what?", Kind::Crash, "what?"),
        (json!("sandboxError"), "no landlock", Kind::Crash, "no landlock"),
        (json!("a new word"), "x", Kind::Crash, "x"),
        (Value::Null, "x", Kind::Crash, "x"),
        (json!(7), "x", Kind::Crash, "x"),
        (status("httpConnectionFailed", json!(401)), "x", Kind::Login, "x"),
        (status("httpConnectionFailed", json!(403)), "quota", Kind::Login, "quota"),
        (status("httpConnectionFailed", json!(404)), "x", Kind::UnknownModel, "x"),
        (status("responseTooManyFailedAttempts", json!(429)), "x", Kind::Quota, "x"),
        (status("responseStreamDisconnected", json!(503)), "x", Kind::Overloaded, "x"),
        (status("httpConnectionFailed", json!(413)), "x", Kind::ContextTooLong, "x"),
        (
            status("httpConnectionFailed", Value::Null),
            "Connection failed: x",
            Kind::Unreachable,
            "Connection failed: x",
        ),
        (
            json!("other"),
            r#"{"error": {"message": "Unsupported value: effort"}}"#,
            Kind::InvalidRequest,
            "Unsupported value: effort",
        ),
        (
            json!("other"),
            r#"{"error": {"message": "m", "code": "context_length_exceeded"}}"#,
            Kind::ContextTooLong,
            "m",
        ),
        (
            json!("other"),
            r#"{"detail": "The 'x' model is not supported"}"#,
            Kind::UnknownModel,
            "The 'x' model is not supported",
        ),
    ] {
        let error = json!({"message": words, "codexErrorInfo": info, "additionalDetails": null});
        let steps = hear(&mut *in_turn(&task("hi")), &[end(json!({"status": "failed", "error": error}))]);
        assert_eq!(ending(&steps), Some((Some(kind), sentence.to_owned())), "{info} {words}");
    }
}

#[test]
fn a_refused_request_of_ours_is_the_failure_in_its_own_words() {
    for (id, error, kind) in [
        (2, json!({"code": -32600, "message": "no rollout found for thread id 01"}), Kind::SessionNotFound),
        (
            2,
            json!({"code": -32600, "message": "invalid session id: invalid character"}),
            Kind::SessionNotFound,
        ),
        (2, json!({"code": -32600, "message": "thread 01 already has an active writer"}), Kind::SessionBusy),
        (
            2,
            json!({"code": -32600, "message": "failed to load configuration: Model provider `x` not found"}),
            Kind::VendorFlag,
        ),
        (
            3,
            json!({"code": -32602, "message": "Input exceeds the maximum length of 1048576 characters.",
            "data": {"input_error_code": "input_too_large"}}),
            Kind::InvalidRequest,
        ),
        (5, json!({"code": -32600, "message": "Invalid request: unknown variant"}), Kind::VendorFlag),
    ] {
        let mut dialogue = codex().dialogue(&task("hi"));
        let steps = hear(&mut *dialogue, &[json!({"id": id, "error": error})]);
        assert_eq!(
            ending(&steps),
            Some((Some(kind), error["message"].as_str().unwrap().to_owned())),
            "{id} {error}"
        );
    }
    // The turn was over before it could be interrupted.
    let steps = hear(
        &mut *in_turn(&task("hi")),
        &[json!({"id": 4, "error": {"code": -32600, "message": "no turn"}})],
    );
    assert_eq!(steps, []);
}

#[test]
fn a_codex_that_is_too_old_is_refused_by_name() {
    let greet = |agent: Value| {
        let mut dialogue = codex().dialogue(&task("hi"));
        hear(&mut *dialogue, &[json!({"id": 1, "result": {"userAgent": agent}})])
    };
    for old in ["clinvk/0.150.0 (Debian)", "clinvk/0.99.1", "other-name/0.159.3 (x)"] {
        let steps = greet(json!(old));
        let version = old.split(['/', ' ']).nth(1).unwrap();
        let message = format!("codex {version} is too old: clinvk needs 0.160.0 or newer");
        assert_eq!(
            (ending(&steps), sent(&steps)),
            (Some((Some(Kind::NotInstalled), message)), vec![]),
            "{old}"
        );
    }
    for (agent, warnings) in [
        (json!("clinvk/0.160.0 (x)"), 0),
        (json!("clinvk/1.0.0-alpha.1"), 0),
        (json!("codex"), 1),
        (Value::Null, 1),
        (json!("clinvk/ x"), 1),
    ] {
        let steps = greet(agent.clone());
        assert_eq!(
            (sent(&steps).len(), progress(&steps).len(), ending(&steps)),
            (2, warnings, None),
            "{agent}"
        );
    }
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
fn only_a_completed_turn_is_a_success() {
    for (turn, kind) in [
        // Nothing was said and nothing was done.
        (json!({"status": "completed"}), Some(Kind::Unreadable)),
        (json!({"status": "failed"}), Some(Kind::Crash)),
        (json!({"status": "failed", "error": null}), Some(Kind::Crash)),
        (json!({"status": "interrupted"}), Some(Kind::Cancelled)),
        (json!({"status": "inProgress"}), Some(Kind::Unreadable)),
        (json!({}), Some(Kind::Unreadable)),
        (Value::Null, Some(Kind::Unreadable)),
    ] {
        let (ending, _) = ending(&hear(&mut *in_turn(&task("hi")), &[end(turn.clone())])).unwrap();
        assert_eq!(ending, kind, "{turn}");
    }
    let others =
        json!({"method": "turn/completed", "params": {"threadId": "H", "turn": {"status": "completed"}}});
    assert_eq!(hear(&mut *in_turn(&task("hi")), &[others]), [], "a helper's turn");
}

#[test]
fn an_end_without_a_result_is_told_in_the_words_of_standard_error() {
    for (code, stderr, kind, words) in [
        (Some(0), "", Kind::Crash, "the backend ended with exit status 0 and said nothing on standard error"),
        (Some(0), "config.toml", Kind::Crash, "the backend ended with exit status 0: config.toml"),
        (
            Some(101),
            "thread main panicked",
            Kind::Crash,
            "the backend ended with exit status 101: thread main panicked",
        ),
        (
            Some(1),
            "Error: Unknown feature flag: bogus",
            Kind::VendorFlag,
            "the backend ended with exit status 1: Error: Unknown feature flag: bogus",
        ),
        (
            Some(1),
            "Error: CODEX_HOME points to \"/nope\"",
            Kind::VendorFlag,
            "the backend ended with exit status 1: Error: CODEX_HOME points to \"/nope\"",
        ),
    ] {
        let mut steps = Steps::new();
        in_turn(&task("hi")).eof(&Ended { code, signal: None, stderr: stderr.into() }, &mut steps);
        assert_eq!(ending(&steps), Some((Some(kind), words.to_owned())), "{stderr}");
    }
}

#[test]
fn a_running_turn_can_be_interrupted_and_nothing_else() {
    let interrupted = |dialogue: &mut dyn Dialogue| {
        let mut steps = Steps::new();
        dialogue.interrupt(&mut steps);
        sent(&steps)
    };
    assert_eq!(interrupted(&mut *codex().dialogue(&task("hi"))), [] as [Value; 0]);
    let mut dialogue = in_turn(&task("hi"));
    assert_eq!(interrupted(&mut *dialogue)[0]["params"], json!({"threadId": "T", "turnId": "U"}));
    hear(&mut *dialogue, &[end(json!({"status": "completed"}))]);
    assert_eq!(interrupted(&mut *dialogue), [] as [Value; 0]);
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
fn no_line_makes_it_panic_or_believe_in_success() {
    let methods = [
        "error",
        "turn/started",
        "turn/completed",
        "item/started",
        "item/completed",
        "item/agentMessage/delta",
        "item/reasoning/summaryTextDelta",
        "item/reasoning/summaryPartAdded",
        "thread/tokenUsage/updated",
        "warning",
        "configWarning",
        "mcpServer/startupStatus/updated",
        "deprecationNotice",
        "item/commandExecution/requestApproval",
        "mcpServer/elicitation/request",
        "item/permissions/requestApproval",
        "no/such/method",
    ];
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"id": null}),
    ];
    let keys = [
        "item",
        "turn",
        "error",
        "tokenUsage",
        "delta",
        "itemId",
        "message",
        "requestedSchema",
        "permissions",
    ];
    let mut dialogue = in_turn(&task("hi"));
    let mut fresh = codex().dialogue(&task("hi"));
    let mut steps = Steps::new();
    for line in [
        "",
        "garbage",
        "{",
        "null",
        "7",
        "[]",
        "\"x\"",
        "{}",
        "{\"id\":null}",
        "{\"id\":99,\"result\":{}}",
        "\u{0}",
    ] {
        dialogue.line(line, &mut steps);
        fresh.line(line, &mut steps);
    }
    steps.retain(|step| !is_warning(step));
    assert_eq!(steps, []);
    for method in methods {
        for value in &values {
            let whole = json!({"method": method, "params": value});
            let parts =
                keys.iter().map(|key| json!({"method": method, "params": {*key: value, "willRetry": false}}));
            for mut line in parts.chain([whole]) {
                for asks in [false, true] {
                    if asks {
                        line["id"] = value.clone();
                    }
                    let mut dialogue = in_turn(&task("hi"));
                    let steps = hear(&mut *dialogue, &[line.clone()]);
                    assert!(!matches!(ending(&steps), Some((None, _))), "{line}");
                }
            }
        }
    }
    for id in 1..=5 {
        for value in &values {
            for line in [json!({"id": id, "result": value}), json!({"id": id, "error": value})] {
                let steps = hear(&mut *codex().dialogue(&task("hi")), std::slice::from_ref(&line));
                assert!(!matches!(ending(&steps), Some((None, _))), "{line}");
            }
        }
    }
}

/// What `thread/start` says of the sandbox is what the tools can reach.
#[test]
fn its_reach_is_the_sandbox_that_it_is_given() {
    let codex = Codex::new(None, &[]);
    for approval in Approval::ALL {
        for sandbox in Sandbox::ALL {
            let task = Task { approval: *approval, sandbox: *sandbox, ..Task::default() };
            let reach = match (approval, sandbox) {
                (Approval::Auto, Sandbox::Default) => Sandbox::Workspace,
                (Approval::None, Sandbox::Default) => Sandbox::Full,
                _ => *sandbox,
            };
            assert_eq!(codex.reach(&task), reach, "{approval:?} {sandbox:?}");
        }
    }
}

/// Measured with 0.169.0: with `none` the model is offered `request_user_input` alone; an unknown feature is only warned of
/// here, and ends codex when it is a flag.
#[test]
fn tools_are_bound_by_settings_of_the_thread() {
    for (tools, sandbox, policy) in [
        (ToolUse::AsConfigured, Value::Null, Value::Null),
        (ToolUse::ReadOnly, json!("read-only"), json!("untrusted")),
        (ToolUse::None, json!("read-only"), json!("untrusted")),
    ] {
        let asked = Task { tools, ..task("x") };
        let thread = params(&asked, "thread/start");
        assert_eq!((&thread["sandbox"], &thread["approvalPolicy"]), (&sandbox, &policy), "{tools:?}");
        let config = &thread["config"];
        let off = if tools == ToolUse::None { json!(false) } else { Value::Null };
        for feature in ["shell_tool", "unified_exec", "multi_agent", "goals", "view_image"] {
            assert_eq!(config["features"][feature], off, "{feature} with {tools:?}");
        }
        let web = if tools == ToolUse::None { json!("disabled") } else { Value::Null };
        assert_eq!(config["web_search"], web, "{tools:?}");
        assert_eq!(codex().launch(&asked).unwrap().args, ["app-server", "-c", "analytics.enabled=false"]);
        let granted = Task { approval: Approval::None, sandbox: Sandbox::Full, ..asked };
        let widest = params(&granted, "thread/start")["sandbox"].clone();
        assert_eq!(
            widest,
            if tools == ToolUse::AsConfigured { json!("danger-full-access") } else { sandbox }
        );
    }
}

#[test]
fn the_users_servers_are_left_out_by_the_names_that_codex_tells() {
    let settings = |answer: Value| {
        let mut dialogue = codex().dialogue(&Task { tools: ToolUse::ReadOnly, ..task("x") });
        let greeting = json!({"id": 1, "result": {"userAgent": "clinvk/0.169.0 (x)"}});
        sent(&hear(&mut *dialogue, &[greeting, answer])).pop().unwrap()
    };
    let servers = json!({"id": 6, "result": {"config": {"mcp_servers": {"a.b": {"command": "x"}, "c": {}}}}});
    let open = settings(servers);
    assert_eq!(
        (&open["method"], &open["params"]["config"]["mcp_servers"]),
        (&json!("thread/start"), &json!({"a.b": {"enabled": false}, "c": {"enabled": false}}))
    );
    for none in
        [json!({"id": 6, "result": {"config": {}}}), json!({"id": 6, "error": {"message": "no such method"}})]
    {
        let open = settings(none);
        assert!(
            open["method"] == "thread/start" && open["params"]["config"]["mcp_servers"].is_null(),
            "{open}"
        );
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

#[test]
fn a_schema_is_codexs_to_follow_when_it_leaves_nothing_open() {
    let closed = |more: Value| {
        let mut schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    let within = |schema: Value| closed(json!({"properties": {"a": schema}}));
    for (schema, expected) in [
        (closed(json!({})), true),
        (within(closed(json!({}))), true),
        (within(json!({"type": "array", "items": closed(json!({}))})), true),
        (within(json!({"enum": [{"type": "object"}]})), true),
        (
            closed(
                json!({"properties": {"a": {"type": "string"}, "default": {"type": "string"}}, "required": ["a", "default"]}),
            ),
            true,
        ),
        (closed(json!({"additionalProperties": true})), false),
        (closed(json!({"required": []})), false),
        (within(json!({"type": "object"})), false),
        (within(json!({"type": "string", "default": "x"})), false),
        (within(json!({"oneOf": [{"type": "string"}]})), false),
        (closed(json!({"$defs": {"d": {"type": "object", "properties": {}}}})), false),
        (json!({"type": "array", "items": {"type": "string"}}), false),
        (json!({"anyOf": [closed(json!({}))]}), false),
    ] {
        assert_eq!(codex().takes_schema(&schema), expected, "{schema}");
    }
}
