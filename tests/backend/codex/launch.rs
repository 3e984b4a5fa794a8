//! What a task becomes: the launch, and what is said before the turn begins.

use super::{codex, hear, in_turn, params, said, sent, task};
use crate::backend::servers;
use clinvk::backend::codex::Codex;
use clinvk::backend::{Backend, Step, Steps, StopSignal};
use clinvk::model::error::{Failure, Kind};
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, TaskOption, ToolUse};
use serde_json::{Value, json};

const ARGS: [&str; 5] = ["app-server", "-c", "analytics.enabled=false", "-c", "thread_unload_delay_secs=0"];

#[test]
fn the_launch_is_the_app_server_whatever_is_asked() {
    let launch = codex().launch(&task("-x; rm -rf /")).unwrap();
    assert_eq!(launch.program, "codex");
    assert_eq!(launch.args, ARGS);
    assert_eq!(
        (launch.dir.to_str(), launch.stop, launch.model_is_remote),
        (Some("/src/project"), StopSignal::Terminate, true)
    );
    assert!(launch.unset.iter().any(|name| name == "CODEX_SANDBOX"), "{:?}", launch.unset);
    assert!(!launch.unset.iter().any(|name| name == "CODEX_HOME"), "{:?}", launch.unset);

    let extra = Task { extra: vec!["--disable".into(), "goals".into()], ..task("hi") };
    assert_eq!(codex().launch(&extra).unwrap().args[ARGS.len()..], ["--disable", "goals"]);
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
fn servers_are_settings_of_the_thread_and_no_log_has_them() {
    let mut mcp = servers();
    let sse = mcp.pop().unwrap();
    let with = Task { mcp: mcp.clone(), ..task("x") };
    let mut steps = Steps::new();
    let mut dialogue = codex().dialogue(&with);
    dialogue.start(&mut steps);
    codex().rehearsal(&with).iter().for_each(|line| dialogue.line(line, &mut steps));
    let raw = steps.iter().find_map(|step| if let Step::SendRaw(text) = step { Some(text) } else { None });
    let opening: Value = serde_json::from_str(raw.expect("what is sent raw is in no log")).unwrap();
    assert_eq!(opening["method"], "thread/start");
    assert_eq!(
        opening["params"]["config"]["mcp_servers"],
        json!({
            "docs": {"command": "docs-server", "args": ["--all"], "env": {"TOKEN": "secret"}},
            "web": {"url": "https://h/mcp", "http_headers": {"A": "b"}},
        })
    );
    let others = json!(sent(&steps)).to_string();
    assert!(!others.contains("secret"), "{others}");
    let error = codex().launch(&Task { mcp: vec![sse], ..task("x") }).unwrap_err().to_string();
    assert_eq!(error, "codex reaches no MCP server by `sse`, as `old` is: it takes `stdio` and `http`");
}

#[test]
fn a_server_by_the_name_of_one_of_the_users_is_refused() {
    let with = Task { mcp: servers(), ..task("x") };
    let mut dialogue = codex().dialogue(&with);
    let mut steps = Steps::new();
    let settings = json!({"id": 6, "result": {"config": {"mcp_servers": {"docs": {"command": "other"}}}}});
    dialogue.line(&settings.to_string(), &mut steps);
    let message = "codex is configured with an MCP server `docs`: give yours another name";
    assert_eq!(steps, [Step::Finished(Err(Failure::new(Kind::InvalidRequest, message)))]);
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
        assert_eq!(codex().launch(&asked).unwrap().args, ARGS);
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
