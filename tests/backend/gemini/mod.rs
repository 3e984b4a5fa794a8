//! Gemini: what a task becomes on its command line, in its home and in its dialogue.

mod failures;
mod recorded;
mod tools;

use clinvk::backend::gemini::Gemini;
use clinvk::backend::{Backend, Dialogue, Launch, Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::event::Event;
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, TaskOption, ToolUse};
use serde_json::{Value, json};

fn gemini() -> Gemini {
    Gemini::new(None, &[])
}

fn task(prompt: &str) -> Task {
    let (dir, scratch) = ("/src/project".into(), "/scratch".into());
    Task {
        backend: "gemini".into(),
        prompt: prompt.into(),
        dir,
        scratch,
        vendor_retries: 2,
        ..Task::default()
    }
}

fn launch(task: &Task) -> Launch {
    gemini().launch(task).expect("it is a task for gemini")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The dialogue with that prompt sent, and what it says and does on hearing the lines.
fn after_prompt(task: &Task, lines: &[Value]) -> Steps {
    let mut dialogue = opened(task);
    let mut steps = Steps::new();
    lines.iter().for_each(|line| dialogue.line(&line.to_string(), &mut steps));
    steps
}

fn opened(task: &Task) -> Box<dyn Dialogue> {
    let mut dialogue = gemini().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    gemini().rehearsal(task).iter().for_each(|line| dialogue.line(line, &mut steps));
    assert_eq!(steps.last(), Some(&Step::Asked));
    dialogue
}

fn update(update: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": update}})
}

fn chunk(text: &str) -> Value {
    update(json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}))
}

fn answered() -> Value {
    let tokens = json!({"input_tokens": 3, "output_tokens": 2});
    let quota = json!({"token_count": tokens, "model_usage": [{"model": "m", "token_count": tokens}]});
    json!({"jsonrpc": "2.0", "id": 3, "result": {"stopReason": "end_turn", "_meta": {"quota": quota}}})
}

fn ending(steps: &Steps) -> &'static str {
    match steps.iter().find(|step| matches!(step, Step::Finished(_))) {
        None => "-",
        Some(Step::Finished(Err(failure))) => failure.kind.word(),
        Some(_) => "ok",
    }
}

fn said(steps: &Steps) -> Vec<Value> {
    let lines = steps.iter().filter_map(|step| if let Step::Send(line) = step { Some(line) } else { None });
    lines.map(|line| serde_json::from_str(line).expect("what is said is JSON")).collect()
}

// ---- the launch

#[test]
fn every_option_becomes_the_flag_that_was_measured() {
    let table: Vec<(&str, Task, &[&str])> = vec![
        ("nothing", task("x"), &[]),
        ("a model", Task { model: Some("flash".into()), ..task("x") }, &["--model=flash"]),
        ("a model like a flag", Task { model: Some("--yolo".into()), ..task("x") }, &["--model=--yolo"]),
        ("approval auto", Task { approval: Approval::Auto, ..task("x") }, &["--approval-mode=auto_edit"]),
        ("approval none", Task { approval: Approval::None, ..task("x") }, &["--approval-mode=yolo"]),
        ("approval always", Task { approval: Approval::Always, ..task("x") }, &["--approval-mode=default"]),
        (
            "extra directories",
            Task { add_dirs: vec!["/a".into(), "/b c".into()], ..task("x") },
            &["--include-directories=/a", "--include-directories=/b c"],
        ),
        ("extra flags", Task { extra: words(&["-e", "none"]), ..task("x") }, &["-e", "none"]),
    ];
    for (name, task, expected) in table {
        assert_eq!(launch(&task).args, [&words(&["--acp"])[..], &words(expected)].concat(), "{name}");
    }
}

#[test]
fn a_directory_that_gemini_would_cut_in_two_is_refused() {
    for dir in ["/a,b", "/a "] {
        let error = gemini().launch(&Task { add_dirs: vec![dir.into()], ..task("x") }).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
        assert!(error.to_string().contains(dir), "{error}");
    }
}

#[test]
fn every_run_has_a_home_a_folder_for_temporary_files_and_one_process() {
    let env = |task: &Task| launch(task).env;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let always = [
        pair("GEMINI_CLI_HOME", "/scratch/home"),
        pair("TMPDIR", "/scratch/tmp"),
        pair("GEMINI_CLI_NO_RELAUNCH", "true"),
        pair("NO_BROWSER", "true"),
    ];
    assert_eq!(env(&task("x")), always);
    let own = |task: Task| env(&task)[always.len()..].to_vec();
    let system = own(Task { system: Some("Be BOB.".into()), ..task("x") });
    assert_eq!(system, [pair("GEMINI_SYSTEM_MD", "/scratch/system/system.md")]);
    let safe = own(Task { no_project_config: true, ..task("x") });
    assert_eq!(safe, [pair("GEMINI_CLI_TRUST_WORKSPACE", "false")]);
    for sandbox in [Sandbox::Full, Sandbox::ReadOnly] {
        assert_eq!(own(Task { sandbox, ..task("x") }), [pair("GEMINI_SANDBOX", "false")]);
    }
    let launch = launch(&task("x"));
    let overlay = launch.overlay.unwrap();
    assert_eq!((overlay.home, overlay.temp), ("/scratch/home".into(), "/scratch/tmp".into()));
    assert!(launch.unset.contains(&"GEMINI_CLI".to_owned()), "{:?}", launch.unset);
    assert!(launch.files.is_empty(), "{:?}", launch.files);
}

#[test]
fn options_without_a_flag_become_settings_and_must_not_be_outranked() {
    let fixed = || {
        let redaction = json!({"allowed": ["CLINVK_RUN", "CLINVK_DEPTH"]});
        json!({"general": {"maxAttempts": 1}, "security": {"environmentVariableRedaction": redaction}})
    };
    let limit = |model: &str| {
        let config = json!({"generateContentConfig": {"maxOutputTokens": 9}});
        json!({"match": {"model": model}, "modelConfig": config})
    };
    let with = |name: &str, value: Value| {
        let mut settings = fixed();
        settings[name] = value;
        settings
    };
    let capped = Task { max_tokens: Some(9), ..task("x") };
    let table: Vec<(&str, Task, Value, &[&str])> = vec![
        ("retries", Task { vendor_retries: 9, ..task("x") }, fixed(), &[]),
        (
            "max turns",
            Task { max_turns: Some(4), ..task("x") },
            with("model", json!({"maxSessionTurns": 4})),
            &["/model/maxSessionTurns"],
        ),
        (
            "max tokens",
            capped.clone(),
            with("modelConfigs", json!({"customOverrides": [limit("chat-base")]})),
            &["/modelConfigs/customOverrides"],
        ),
        (
            "max tokens of a model",
            Task { model: Some("pro".into()), ..capped.clone() },
            with("modelConfigs", json!({"customOverrides": [limit("chat-base"), limit("pro")]})),
            &["/modelConfigs/customOverrides"],
        ),
    ];
    for (name, task, settings, firm) in table {
        let overlay = launch(&task).overlay.unwrap();
        assert_eq!(overlay.settings, (".gemini/settings.json", settings), "{name}");
        assert_eq!(overlay.firm, firm, "{name}");
        assert_eq!(overlay.outranked_by, task.dir.join(".gemini/settings.json"), "{name}");
    }
    // Without a project's settings nothing can outrank them.
    assert!(launch(&Task { no_project_config: true, ..capped }).overlay.unwrap().firm.is_empty());
}

#[test]
fn without_project_config_the_folder_is_distrusted_by_file_setting_and_variable() {
    let launch = launch(&Task { no_project_config: true, ..task("x") });
    let trust =
        launch.files.iter().find(|file| file.path.ends_with("home/.gemini/trustedFolders.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&trust.text).unwrap(), json!({"/src/project": "DO_NOT_TRUST"}));
    assert!(launch.unset.contains(&"GEMINI_CLI_TRUSTED_FOLDERS_PATH".to_owned()));
    let settings = launch.overlay.unwrap().settings.1;
    assert_eq!(settings["security"]["folderTrust"]["enabled"], true);
    assert_eq!(settings["advanced"]["ignoreLocalEnv"], true);
}

#[test]
fn a_configured_container_is_in_the_way_only_where_it_would_be_used() {
    for (sandbox, expected) in [(Sandbox::Default, true), (Sandbox::Full, false), (Sandbox::ReadOnly, false)]
    {
        let overlay = launch(&Task { sandbox, ..task("x") }).overlay.unwrap();
        assert_eq!(overlay.unusable.is_some(), expected, "{sandbox:?}");
    }
}

#[test]
fn what_gemini_cannot_honour_is_refused_by_name() {
    let refused: Vec<TaskOption> =
        TaskOption::ALL.iter().copied().filter(|option| gemini().honours(*option).is_err()).collect();
    let expected = [
        TaskOption::AppendSystem,
        TaskOption::SandboxWorkspace,
        TaskOption::Schema,
        TaskOption::Effort,
        TaskOption::EffortUltra,
        TaskOption::Resume,
    ];
    assert_eq!(refused, expected);
    let task = Task {
        append_system: Some("x".into()),
        sandbox: Sandbox::Workspace,
        schema: Some(json!({})),
        effort: Some(Effort::Low),
        resume: Some("x".into()),
        ..task("x")
    };
    // A task has one effort.
    let used: Vec<TaskOption> =
        expected.into_iter().filter(|option| *option != TaskOption::EffortUltra).collect();
    assert_eq!(task.used(), used);
}

#[test]
fn no_extra_flag_reaches_approvals_sandbox_or_trust() {
    for flag in gemini().extra_flags() {
        for forbidden in
            ["approval", "yolo", "sandbox", "trust", "policy", "tools", "resume", "session", "prompt"]
        {
            assert!(!flag.contains(forbidden), "{flag}");
        }
        assert!(!["-y", "-s", "-p", "-i", "-r", "-w"].contains(&flag.trim_end_matches('=')), "{flag}");
    }
}

// ---- what is said

/// The content of `session/prompt`.
fn content(task: &Task) -> Value {
    let mut dialogue = gemini().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    gemini().rehearsal(task).iter().for_each(|line| dialogue.line(line, &mut steps));
    said(&steps).pop().expect("the prompt is said")["params"]["prompt"].clone()
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn a_plain_turn_says_these_lines_and_no_more() {
    let mut dialogue = gemini().dialogue(&task("hi"));
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    for line in gemini().rehearsal(&task("hi")) {
        dialogue.line(&line, &mut steps);
    }
    let capabilities = json!({"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false});
    let client = json!({"name": "clinvk", "version": env!("CARGO_PKG_VERSION")});
    let about = json!({"protocolVersion": 1, "clientCapabilities": capabilities, "clientInfo": client});
    let request = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let expected = [
        request(1, "initialize", about),
        request(2, "session/new", json!({"cwd": "/src/project", "mcpServers": []})),
        request(3, "session/prompt", json!({"sessionId": "<sessionId>", "prompt": [text("hi")]})),
    ];
    assert_eq!(said(&steps), expected);
}

#[test]
fn a_prompt_is_never_a_command_unless_it_shall_be() {
    let blank = "\u{200b}";
    for prompt in ["/about", "  /help me", "\u{feff}/memory show", "$about", "\n/x"] {
        assert_eq!(content(&task(prompt)), json!([text(blank), text(prompt)]), "{prompt:?}");
        assert_eq!(content(&Task { interpret: true, ..task(prompt) }), json!([text(prompt)]), "{prompt:?}");
    }
    for prompt in ["about", "what is /about", "@notes.txt", "!ls", ""] {
        assert_eq!(content(&task(prompt)), json!([text(prompt)]), "{prompt:?}");
    }
}

#[test]
fn a_picture_goes_before_the_prompt_and_keeps_it_from_being_a_command() {
    let image = Image { mime: "image/png", data: [1, 2, 3].into() };
    let task = Task { images: vec![image], ..task("/about") };
    let picture = json!({"type": "image", "mimeType": "image/png", "data": "AQID"});
    assert_eq!(content(&task), json!([picture, text("/about")]));
    assert_eq!(content(&Task { interpret: true, ..task }), json!([text("/about"), picture]));
}

#[test]
fn files_are_linked_where_the_prompt_shall_be_interpreted() {
    let link = |path: &str| json!({"type": "resource_link", "uri": format!("file://{path}"), "name": path});
    let table = [
        ("@notes.txt", json!([link("notes.txt")])),
        (
            "read @a/b.txt, then @c.",
            json!([text("read "), link("a/b.txt"), text(", then "), link("c"), text(".")]),
        ),
        (r"@a\ b.txt x", json!([link("a b.txt"), text(" x")])),
        ("me@home @ @, x", json!([text("me@home @ @, x")])),
        ("ä @ö", json!([text("ä "), link("ö")])),
        ("", json!([text("")])),
    ];
    for (prompt, expected) in table {
        assert_eq!(content(&Task { interpret: true, ..task(prompt) }), expected, "{prompt}");
    }
}

// ---- approvals, versions, ends

fn question(kind: &str, tool: &str) -> Value {
    let option = |id: &str, kind: &str| json!({"optionId": id, "name": id, "kind": kind});
    let options = [
        option("proceed_always", "allow_always"),
        option("proceed_once", "allow_once"),
        option("cancel", "reject_once"),
    ];
    let call =
        json!({"toolCallId": format!("{tool}__1"), "status": "pending", "title": "title", "kind": kind});
    let params = json!({"sessionId": "s", "options": options, "toolCall": call});
    json!({"jsonrpc": "2.0", "id": 7, "method": "session/request_permission", "params": params})
}

#[test]
fn questions_are_answered_by_the_approval_mode() {
    let of = |approval, sandbox| Task { approval, sandbox, ..task("x") };
    let listed = Task { allowed_tools: Some(words(&["write_file"])), ..task("x") };
    // faults.md G10: under read-only a list approves nothing.
    let web = Task { allowed_tools: Some(words(&["web_fetch"])), ..task("x") };
    let reading_web = Task { sandbox: Sandbox::ReadOnly, ..web.clone() };
    let table = [
        (web, "fetch", "web_fetch", "proceed_once"),
        (reading_web, "fetch", "web_fetch", "cancel"),
        (of(Approval::Default, Sandbox::Default), "edit", "write_file", "cancel"),
        (of(Approval::Default, Sandbox::Default), "execute", "run_shell_command", "cancel"),
        (of(Approval::Always, Sandbox::Default), "edit", "write_file", "cancel"),
        (of(Approval::Auto, Sandbox::Default), "edit", "write_file", "proceed_once"),
        (of(Approval::Auto, Sandbox::Default), "execute", "run_shell_command", "cancel"),
        (of(Approval::None, Sandbox::Default), "execute", "run_shell_command", "proceed_once"),
        (of(Approval::None, Sandbox::Full), "other", "mcp_x_y", "proceed_once"),
        (of(Approval::None, Sandbox::ReadOnly), "fetch", "web_fetch", "proceed_once"),
        (of(Approval::None, Sandbox::ReadOnly), "execute", "run_shell_command", "cancel"),
        (of(Approval::Auto, Sandbox::ReadOnly), "edit", "write_file", "cancel"),
        (listed.clone(), "edit", "write_file", "proceed_once"),
        (listed, "execute", "run_shell_command", "cancel"),
    ];
    for (task, kind, tool, chosen) in table {
        let steps = after_prompt(&task, &[question(kind, tool)]);
        let outcome = json!({"outcome": "selected", "optionId": chosen});
        let name = format!("{:?} {:?} {tool}: {steps:?}", task.approval, task.sandbox);
        assert_eq!(
            said(&steps),
            [json!({"jsonrpc": "2.0", "id": 7, "result": {"outcome": outcome}})],
            "{name}"
        );
        let refused = steps
            .iter()
            .any(|step| matches!(step, Step::Event(Event::PermissionDenied { what }) if what.contains(tool)));
        let answered =
            steps.iter().any(|step| matches!(step, Step::Event(Event::ToolResult { is_error: true, .. })));
        assert_eq!((refused, answered), (chosen == "cancel", chosen == "cancel"), "{name}");
    }
}

#[test]
fn a_question_without_a_fitting_answer_is_cancelled() {
    let mut question = question("edit", "write_file");
    question["params"]["options"] = json!([{"optionId": "x", "kind": "allow_always"}]);
    let steps = after_prompt(&Task { approval: Approval::None, ..task("x") }, &[question]);
    assert_eq!(said(&steps)[0]["result"], json!({"outcome": {"outcome": "cancelled"}}));
}

#[test]
fn what_else_gemini_asks_for_is_not_offered() {
    for method in ["fs/read_text_file", "fs/write_text_file", "terminal/create", "x"] {
        let steps =
            after_prompt(&task("x"), &[json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": {}})]);
        let error = json!({"code": -32601, "message": format!("clinvk does not offer {method}")});
        assert_eq!(said(&steps), [json!({"jsonrpc": "2.0", "id": "a", "error": error})]);
    }
    assert_eq!(after_prompt(&task("x"), &[json!({"jsonrpc": "2.0", "method": "later/note"})]), []);
}

#[test]
fn a_version_that_is_too_old_is_refused_by_name() {
    let ending = |version: Value| {
        let mut dialogue = gemini().dialogue(&task("x"));
        let mut steps = Steps::new();
        let result = json!({"protocolVersion": 1, "agentInfo": {"name": "gemini-cli", "version": version}});
        dialogue.line(&json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string(), &mut steps);
        match steps.pop() {
            Some(Step::Finished(Err(failure))) => (failure.kind, failure.message),
            other => panic!("{other:?}"),
        }
    };
    let too_old = "gemini 0.43.2 is too old: clinvk needs 0.44.0 or newer";
    assert_eq!(ending(json!("0.43.2")), (Kind::NotInstalled, too_old.to_owned()));
    for fine in [json!("0.44.0"), json!("0.61.0"), json!("1.0.0-preview.1"), json!("nightly"), Value::Null] {
        let mut dialogue = gemini().dialogue(&task("x"));
        let mut steps = Steps::new();
        let result = json!({"agentInfo": {"version": fine}});
        dialogue.line(&json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string(), &mut steps);
        assert_eq!(said(&steps)[0]["method"], "session/new", "{fine}");
    }
}

#[test]
fn only_a_prompt_that_runs_can_be_cancelled() {
    let mut steps = Steps::new();
    gemini().dialogue(&task("x")).interrupt(&mut steps);
    assert_eq!(steps, []);
    let mut dialogue = opened(&task("x"));
    dialogue.interrupt(&mut steps);
    let cancel =
        json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "<sessionId>"}});
    assert_eq!(said(&steps), [cancel]);
    steps.clear();
    dialogue.line(&answered().to_string(), &mut steps);
    steps.clear();
    dialogue.interrupt(&mut steps);
    assert_eq!(steps, []);
}

#[test]
fn the_model_has_given_a_sign_of_life_at_the_first_of_anything() {
    let thought =
        update(json!({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": "x"}}));
    let tool =
        update(json!({"sessionUpdate": "tool_call", "toolCallId": "glob__1", "status": "in_progress"}));
    for line in [chunk("x"), thought, tool, question("edit", "write_file")] {
        assert_eq!(
            after_prompt(&task("x"), std::slice::from_ref(&line)).first(),
            Some(&Step::Answering),
            "{line}"
        );
    }
    let commands = update(json!({"sessionUpdate": "available_commands_update", "availableCommands": []}));
    assert_eq!(after_prompt(&task("x"), &[commands]), []);
}

#[test]
fn no_line_whatever_is_in_it_makes_us_panic() {
    let values = [
        json!(null),
        json!(7),
        json!(-1.5),
        json!("x"),
        json!([]),
        json!([[{}]]),
        json!({}),
        json!({"x": 1}),
    ];
    let names = ["id", "method", "params", "result", "error"];
    let mut lines = words(&["", "{", "null", "[]", "7", "\"x\"", "\u{1b}[1G", "{\"id\":3}"]);
    let whole = [
        question("edit", "write_file"),
        chunk("x"),
        answered(),
        json!({"id": 2, "result": {"sessionId": "s"}}),
    ];
    for whole in whole {
        for name in names {
            for value in &values {
                let mut line = whole.clone();
                line[name] = value.clone();
                lines.push(line.to_string());
            }
        }
    }
    for (update_name, field) in
        [("tool_call", "toolCallId"), ("tool_call_update", "content"), ("agent_message_chunk", "content")]
    {
        for value in &values {
            lines.push(
                update(json!({"sessionUpdate": update_name, "status": "completed", field: value}))
                    .to_string(),
            );
            lines.push(update(value.clone()).to_string());
        }
    }
    for line in lines {
        let mut steps = Steps::new();
        gemini().dialogue(&task("x")).line(&line, &mut steps);
        opened(&task("x")).line(&line, &mut steps);
        assert!(!steps.contains(&Step::Finished(Ok(()))), "{line}");
    }
}

#[test]
fn completions_have_no_tools_or_only_those_that_read() {
    let policy = |tools: ToolUse| {
        launch(&Task { tools, ..task("x") }).files.iter().map(|file| file.text.clone()).collect::<String>()
    };
    let rule = |tool: &str, decision: &str| format!("toolName = \"{tool}\"\ndecision = \"{decision}\"");
    let (without, reading) = (policy(ToolUse::None), policy(ToolUse::ReadOnly));
    for policy in [&without, &reading] {
        assert!(policy.contains(&rule("write_file", "deny")), "{policy}");
    }
    assert!(without.contains(&rule("read_file", "deny")) && !without.contains("\"allow\""), "{without}");
    assert!(reading.contains(&rule("read_file", "allow")), "{reading}");
}

#[test]
fn mcp_servers_are_named_where_the_folder_can_be_trusted() {
    let with_servers = Task { mcp: crate::backend::servers(), ..task("hi") };
    let mut dialogue = opened(&with_servers);
    let mut steps = Steps::new();
    for line in [chunk("Yes."), answered()] {
        dialogue.line(&line.to_string(), &mut steps);
    }
    let is_warning = |step: &&Step| crate::util::replay::is_warning(step);
    assert_eq!((ending(&steps), steps.iter().filter(is_warning).count()), ("ok", 1), "{steps:?}");
    let mut dialogue = gemini().dialogue(&with_servers);
    let mut played = crate::util::replay::Played::default();
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    dialogue.line(&gemini().rehearsal(&with_servers)[0], &mut steps);
    played.take(steps);
    let opened: Value = serde_json::from_str(played.said.last().unwrap()).unwrap();
    assert_eq!(opened["params"]["mcpServers"].as_array().map(Vec::len), Some(3), "{opened}");
    let error = gemini().launch(&Task { no_project_config: true, ..with_servers }).unwrap_err();
    let sentence =
        "backend `gemini` cannot honour mcp servers: gemini has MCP servers only in a folder that it trusts";
    assert!(error.to_string().starts_with(sentence), "{error}");
}
