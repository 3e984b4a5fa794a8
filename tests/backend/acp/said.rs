//! What is said to an agent for a task: before the prompt, and the prompt.

use super::{Talk, declared, known, task};
use crate::backend::servers;
use clinvk::backend::{Backend, Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::task::{Approval, Effort, Image, Sandbox, Task, ToolUse};
use serde_json::{Value, json};

/// An agent that can do nothing, and lists this when a session is opened.
fn opened(backend: &dyn Backend, task: &Task, listed: Value) -> Talk {
    let mut session = json!({"sessionId": "s"});
    session.as_object_mut().unwrap().extend(listed.as_object().unwrap().clone());
    let mut talk = Talk::new(backend, task);
    talk.answer(json!({"protocolVersion": 1})).answer(session);
    talk
}

/// The last request but for the session: its method and parameters.
fn asked(talk: &Talk) -> (String, Value) {
    let mut request = talk.last();
    let mut params = request["params"].take();
    params.as_object_mut().unwrap().remove("sessionId");
    (request["method"].as_str().unwrap().to_owned(), params)
}

#[test]
fn a_plain_turn_says_three_lines_and_no_more() {
    let talk = Talk::prompted(&*declared(json!({})), &task("hi"));
    let request = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let about = json!({
        "protocolVersion": 1,
        "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
        "clientInfo": {"name": "clinvk", "version": env!("CARGO_PKG_VERSION")},
    });
    let prompt = json!([{"type": "text", "text": "hi"}]);
    let expected = [
        request(1, "initialize", about),
        request(2, "session/new", json!({"cwd": "/src/project", "mcpServers": []})),
        request(3, "session/prompt", json!({"sessionId": "<sessionId>", "prompt": prompt})),
    ];
    assert_eq!(talk.said(), expected);
}

#[test]
fn it_logs_in_only_by_the_method_that_it_is_told() {
    let mut talk = Talk::new(&*declared(json!({"auth_method": "key"})), &task("hi"));
    talk.answer(json!({"authMethods": [{"id": "other"}]}));
    assert_eq!(
        (talk.last()["method"].clone(), talk.last()["params"].clone()),
        (json!("authenticate"), json!({"methodId": "key"}))
    );
    talk.refuse(-32603, "no such key");
    assert_eq!(talk.failure(), ("login", "no such key"));
}

#[test]
fn a_model_is_chosen_where_it_is_listed_and_by_any_of_its_names() {
    let option = |values: &[&str], current: &str| {
        let options: Vec<Value> =
            values.iter().map(|value| json!({"value": value, "name": format!("The {value}")})).collect();
        json!({"configOptions": [{"id": "m", "category": "model", "currentValue": current, "options": options}]})
    };
    let models = |ids: &[&str], current: &str| {
        let list: Vec<Value> =
            ids.iter().map(|id| json!({"modelId": id, "name": format!("The {id}")})).collect();
        json!({"models": {"currentModelId": current, "availableModels": list}})
    };
    let set_option =
        |value: &str| ("session/set_config_option".to_owned(), json!({"configId": "m", "value": value}));
    let set_model = |id: &str| ("session/set_model".to_owned(), json!({"modelId": id}));
    let grouped = json!({"configOptions": [{"id": "model", "currentValue": "a",
        "options": [{"group": "g", "name": "G", "options": [{"value": "a", "name": "A"}, {"value": "b", "name": "B"}]}]}]});
    for (wanted, listed, expected) in [
        ("b", option(&["a", "b"], "a"), set_option("b")),
        ("the B", option(&["a", "b"], "a"), set_option("b")),
        ("b", option(&["p/a", "p/b"], "p/a"), set_option("p/b")),
        ("opus", option(&["default", "opus[1m]"], "default"), set_option("opus[1m]")),
        ("B", grouped, ("session/set_config_option".to_owned(), json!({"configId": "model", "value": "b"}))),
        ("b", models(&["a", "b"], "a"), set_model("b")),
        ("g", models(&["f[low]", "g[low]", "g[high]"], "f[high]"), set_model("g[high]")),
        ("$x|y(z)", models(&["$x|y(z)"], "q"), set_model("$x|y(z)")),
        // An agent may take what it does not list, or list nothing at all.
        ("new", option(&["a"], "a"), set_option("new")),
        ("any", json!({}), set_model("any")),
    ] {
        let task = Task { model: Some(wanted.to_owned()), ..task("hi") };
        let talk = opened(&*declared(json!({})), &task, listed.clone());
        assert_eq!(asked(&talk), expected, "{wanted} of {listed}");
    }
    // What is chosen already needs no request.
    let task = Task { model: Some("The a".to_owned()), ..task("hi") };
    assert_eq!(asked(&opened(&*declared(json!({})), &task, option(&["a"], "a"))).0, "session/prompt");
}

#[test]
fn a_model_that_the_agent_does_not_take_is_an_error_that_names_those_there_are() {
    let task = Task { model: Some("x".to_owned()), ..task("hi") };
    let list = json!({"configOptions": [{"id": "model", "category": "model", "options": [{"value": "a"}, {"value": "b"}]}]});
    let mut talk = opened(&*declared(json!({})), &task, list.clone());
    talk.refuse(-32602, "no model x");
    assert_eq!(talk.failure(), ("unknown_model", "no model x: there are `a`, `b`"));
    // Some know only the older way, and some none.
    let mut talk = opened(&*declared(json!({})), &task, list);
    talk.refuse(-32601, "what?");
    assert_eq!(asked(&talk), ("session/set_model".to_owned(), json!({"modelId": "x"})));
    talk.refuse(-32601, "what?");
    assert_eq!(
        talk.failure(),
        ("invalid_request", "agent has no choice of its model: `model_args` of its backend may give it one")
    );
}

#[test]
fn a_model_in_the_command_is_not_chosen_once_more() {
    let backend = declared(json!({"model_args": ["--model={model}"]}));
    let task = Task { model: Some("x".to_owned()), ..task("hi") };
    assert_eq!(backend.launch(&task).unwrap().args, ["--model=x"]);
    assert_eq!(Talk::prompted(&*backend, &task).methods(), ["initialize", "new", "prompt"]);
}

#[test]
fn the_mode_is_the_one_that_holds_what_was_asked_for() {
    let modes = json!({"default": "d", "auto": "e", "none": "n", "always": "a", "read_only": "r"});
    let full = declared(json!({"modes": modes}));
    let asking = declared(json!({"modes": {"always": "a"}}));
    let bare = declared(json!({}));
    let listed: Vec<Value> =
        ["d", "e", "n", "a", "r", "x"].iter().map(|id| json!({"id": id, "name": id})).collect();
    let listed = json!({"modes": {"currentModeId": "x", "availableModes": listed}});
    let of = |approval, sandbox, tools| Task { approval, sandbox, tools, ..task("hi") };
    let all = ToolUse::AsConfigured;
    for (backend, task, mode) in [
        (&full, of(Approval::Default, Sandbox::Default, all), "d"),
        (&full, of(Approval::Auto, Sandbox::Default, all), "e"),
        (&full, of(Approval::None, Sandbox::Full, all), "n"),
        (&full, of(Approval::Always, Sandbox::Default, all), "a"),
        (&full, of(Approval::None, Sandbox::ReadOnly, all), "r"),
        (&full, of(Approval::Default, Sandbox::Default, ToolUse::None), "r"),
        (&asking, of(Approval::Default, Sandbox::Default, all), ""),
        (&asking, of(Approval::Auto, Sandbox::Default, all), "a"),
        (&asking, of(Approval::None, Sandbox::Default, all), ""),
        (&asking, of(Approval::Auto, Sandbox::ReadOnly, all), "a"),
        (&bare, of(Approval::None, Sandbox::Full, all), ""),
    ] {
        let talk = opened(&**backend, &task, listed.clone());
        let expected = match mode {
            "" => "session/prompt".to_owned(),
            _ => "session/set_mode".to_owned(),
        };
        let (method, params) = asked(&talk);
        assert_eq!(method, expected, "{task:?}");
        assert!(mode.is_empty() || params == json!({"modeId": mode}), "{params} {task:?}");
    }
}

#[test]
fn a_mode_that_is_not_there_or_not_taken_is_no_mode_to_go_on_in() {
    let backend = declared(json!({"modes": {"always": "Ask me"}}));
    let asking = Task { approval: Approval::Always, ..task("hi") };
    let option = |current: &str, values: &[&str]| {
        let options: Vec<Value> = values.iter().map(|value| json!({"value": value, "name": value})).collect();
        json!({"configOptions": [{"id": "mode", "category": "mode", "currentValue": current, "options": options}]})
    };
    let talk = opened(&*backend, &asking, option("build", &["build", "plan"]));
    assert_eq!(talk.failure(), ("config", "agent has no mode `Ask me`: there are `build`, `plan`"));
    let list = option("build", &["build", "ask me"]);
    let mut talk = opened(&*backend, &asking, list.clone());
    assert_eq!(asked(&talk).1, json!({"configId": "mode", "value": "ask me"}));
    talk.answer(list.clone());
    let sentence = "agent took `build` for its mode, not `ask me`: session/set_config_option";
    assert_eq!(talk.failure(), ("config", sentence));
    let mut talk = opened(&*backend, &asking, list.clone());
    talk.refuse(-32603, "not now");
    assert_eq!(
        talk.failure(),
        ("config", "agent does not take mode `ask me`: not now: there are `build`, `ask me`")
    );
    // One that says nothing of it is believed.
    let mut talk = opened(&*backend, &asking, list);
    talk.answer(json!({}));
    assert_eq!(asked(&talk).0, "session/prompt");
}

#[test]
fn an_effort_is_chosen_where_there_is_one() {
    let levels = json!({"configOptions": [{"id": "effort", "category": "thought_level", "currentValue": "default",
        "options": [{"value": "default", "name": "Default"}, {"value": "high", "name": "High"}]}]});
    let hard = Task { effort: Some(Effort::High), ..task("hi") };
    let talk = opened(&*declared(json!({})), &hard, levels.clone());
    assert_eq!(asked(&talk).1, json!({"configId": "effort", "value": "high"}));
    let max = Task { effort: Some(Effort::Max), ..task("hi") };
    let talk = opened(&*declared(json!({})), &max, levels);
    assert_eq!(talk.failure(), ("invalid_request", "agent has no effort `max`: there are `default`, `high`"));
    let talk = opened(&*declared(json!({})), &hard, json!({}));
    assert_eq!(talk.failure(), ("invalid_request", "agent has no choice of its effort"));
    let talk = opened(&*declared(json!({})), &Task { lenient: true, ..hard }, json!({}));
    assert_eq!((asked(&talk).0.as_str(), talk.warnings().len()), ("session/prompt", 1));
}

#[test]
fn a_system_prompt_is_said_in_the_agents_own_way_or_before_the_prompt() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let said = |by: &str, system: Option<&str>, append: Option<&str>| {
        let backend = declared(json!({"system_by": by}));
        let task = Task {
            system: system.map(str::to_owned),
            append_system: append.map(str::to_owned),
            ..task("hi")
        };
        let talk = Talk::prompted(&*backend, &task);
        let mut opened = talk.said()[1]["params"].take();
        for name in ["cwd", "mcpServers"] {
            opened.as_object_mut().unwrap().remove(name);
        }
        (opened, talk.last()["params"]["prompt"].take())
    };
    let prompt = json!([text("hi")]);
    let append = |words: &str| json!({"systemPrompt": {"mode": "append", "content": [text(words)]}});
    for (by, system, more, expected) in [
        ("prompt", None, None, (json!({}), prompt.clone())),
        ("prompt", Some("Be BOB."), None, (json!({}), json!([text("Be BOB.\n\n"), text("hi")]))),
        (
            "prompt",
            Some("Be BOB."),
            Some("Now."),
            (json!({}), json!([text("Be BOB.\n\nNow.\n\n"), text("hi")])),
        ),
        ("meta", Some("Be BOB."), None, (json!({"_meta": {"systemPrompt": "Be BOB."}}), prompt.clone())),
        (
            "meta",
            None,
            Some("Now."),
            (json!({"_meta": {"systemPrompt": {"append": "Now."}}}), prompt.clone()),
        ),
        ("session", Some("Be BOB."), None, (append("Be BOB."), prompt.clone())),
        ("session", None, Some("Now."), (append("Now."), prompt)),
    ] {
        assert_eq!(said(by, system, more), expected, "{by} {system:?} {more:?}");
    }
    let backend = declared(json!({"system_by": "session"}));
    let talk = opened(&*backend, &Task { system: Some("x".to_owned()), ..task("hi") }, json!({}));
    assert_eq!(talk.failure().0, "invalid_request");
}

#[test]
fn what_the_agent_lacks_is_an_error_before_the_prompt_or_a_warning() {
    let image = Image { mime: "image/png", data: [1, 2, 3].into() };
    let [_, web, old] = <[_; 3]>::try_from(servers()).unwrap();
    for (task, sentence) in [
        (Task { images: vec![image], ..task("hi") }, "agent takes no images"),
        (Task { add_dirs: vec!["/a".into()], ..task("hi") }, "agent takes no extra directories"),
        (Task { mcp: vec![web], ..task("hi") }, "agent reaches no MCP servers by HTTP, which `web` needs"),
        (
            Task { mcp: vec![old], ..task("hi") },
            "agent reaches no MCP servers by server-sent events, which `old` needs",
        ),
    ] {
        let mut talk = Talk::new(&*declared(json!({})), &task);
        talk.answer(json!({"protocolVersion": 1, "agentCapabilities": {}}));
        assert_eq!((talk.failure(), talk.methods().len()), (("invalid_request", sentence), 1));
        let talk = opened(&*declared(json!({})), &Task { lenient: true, ..task }, json!({}));
        assert_eq!(talk.warnings(), [sentence]);
        assert_eq!(talk.said()[1]["params"], json!({"cwd": "/src/project", "mcpServers": []}));
        assert_eq!(talk.last()["params"]["prompt"], json!([{"type": "text", "text": "hi"}]));
    }
}

#[test]
fn what_the_agent_has_it_is_given() {
    let image = Image { mime: "image/png", data: [1, 2, 3].into() };
    let task = Task { images: vec![image], add_dirs: vec!["/a".into()], mcp: servers(), ..task("hi") };
    let talk = Talk::prompted(&*declared(json!({})), &task);
    let pair = |name: &str, value: &str| json!([{"name": name, "value": value}]);
    let servers = json!([
        {"name": "docs", "command": "docs-server", "args": ["--all"], "env": pair("TOKEN", "secret")},
        {"type": "http", "name": "web", "url": "https://h/mcp", "headers": pair("A", "b")},
        {"type": "sse", "name": "old", "url": "https://h/sse", "headers": []},
    ]);
    let opened = json!({"cwd": "/src/project", "mcpServers": servers, "additionalDirectories": ["/a"]});
    assert_eq!(talk.said()[1]["params"], opened);
    let picture = json!({"type": "image", "mimeType": "image/png", "data": "AQID"});
    assert_eq!(talk.last()["params"]["prompt"], json!([picture, {"type": "text", "text": "hi"}]));
}

#[test]
fn what_the_agent_is_told_of_servers_is_in_no_log() {
    let mut dialogue = declared(json!({})).dialogue(&Task { mcp: servers(), ..task("hi") });
    let abilities = json!({"mcpCapabilities": {"http": true, "sse": true}});
    let greeting =
        json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 1, "agentCapabilities": abilities}});
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    dialogue.line(&greeting.to_string(), &mut steps);
    // What is sent raw is in no log.
    assert!(
        steps.iter().any(|step| matches!(step, Step::SendRaw(text) if text.contains("secret"))),
        "{steps:#?}"
    );
    assert!(
        !steps.iter().any(|step| matches!(step, Step::Send(line) if line.contains("secret"))),
        "{steps:#?}"
    );
}

#[test]
fn a_session_goes_on_by_resuming_before_loading_and_not_at_all_where_neither_is() {
    let going = Task { resume: Some("old".to_owned()), ..task("hi") };
    for (abilities, method) in [
        (json!({"loadSession": true, "sessionCapabilities": {"resume": {}}}), "session/resume"),
        (json!({"loadSession": false, "sessionCapabilities": {"resume": {}}}), "session/resume"),
        (json!({"loadSession": true}), "session/load"),
    ] {
        let mut talk = Talk::new(&*declared(json!({})), &going);
        talk.answer(json!({"agentCapabilities": abilities}));
        assert_eq!(
            (talk.last()["method"].clone(), talk.last()["params"]["sessionId"].clone()),
            (json!(method), json!("old"))
        );
        // The answer to it names no session.
        talk.answer(json!({}));
        assert_eq!(talk.last()["params"]["sessionId"], "old");
    }
    let mut talk = Talk::new(&*declared(json!({})), &going);
    talk.answer(json!({"agentCapabilities": {}}));
    assert_eq!(talk.failure(), ("session_not_resumable", "agent does not go on with sessions"));
    for (code, message) in
        [(-32002, "Resource not found: old"), (-32602, "Session not found: old"), (-32603, "service failure")]
    {
        let mut talk = Talk::new(&*declared(json!({})), &going);
        talk.answer(json!({"agentCapabilities": {"loadSession": true}})).refuse(code, message);
        assert_eq!(talk.failure().0, "session_not_found", "{code}");
    }
}

#[test]
fn a_session_that_shall_not_stay_is_removed_or_the_run_says_that_it_stays() {
    let secret = Task { ephemeral: true, ..task("hi") };
    let with_answer = |abilities: Value| {
        let mut talk = Talk::new(&*declared(json!({})), &secret);
        talk.answer(json!({"agentCapabilities": abilities})).answer(json!({"sessionId": "s"}));
        talk.line(&super::chunk("Yes.").to_string());
        talk.end();
        talk
    };
    let talk = with_answer(json!({}));
    assert_eq!(
        (talk.played.ending(), talk.warnings()),
        ("ok", vec!["agent keeps its session: it cannot remove sessions".to_owned()])
    );
    let able = json!({"sessionCapabilities": {"delete": {}}});
    let mut talk = with_answer(able.clone());
    assert_eq!(
        (talk.last()["method"].clone(), talk.last()["params"].clone()),
        (json!("session/delete"), json!({"sessionId": "s"}))
    );
    assert_eq!(talk.played.ending(), "-", "it is waited for");
    talk.answer(json!({}));
    assert_eq!((talk.played.ending(), talk.warnings().len()), ("ok", 0));
    let mut talk = with_answer(able.clone());
    talk.refuse(-32603, "busy");
    assert_eq!(
        (talk.played.ending(), talk.warnings()),
        ("ok", vec!["agent keeps its session: busy".to_owned()])
    );
    let mut talk = with_answer(able.clone());
    talk.hear(|dialogue, steps| dialogue.alarm(steps));
    assert_eq!((talk.played.ending(), talk.warnings().len()), ("ok", 1));
    let mut talk = with_answer(able.clone());
    talk.line(r#"{"jsonrpc":"2.0","id":4,"result":{"#);
    assert_eq!((talk.played.ending(), talk.warnings().len()), ("ok", 2), "the answer to the prompt counts");
    // Also where the turn fails, as soon as there is a session.
    for (secret, session) in [
        (secret.clone(), json!({"sessionId": "s"})),
        (
            Task { model: Some("m".to_owned()), ..secret },
            json!({"sessionId": "s", "models": {"currentModelId": "a", "availableModels": [{"modelId": "a"}, {"modelId": "m"}]}}),
        ),
    ] {
        let mut talk = Talk::new(&*declared(json!({})), &secret);
        talk.answer(json!({"agentCapabilities": able})).answer(session).refuse(-32603, "overloaded");
        assert_eq!((talk.last()["method"].clone(), talk.played.ending()), (json!("session/delete"), "-"));
        talk.answer(json!({}));
        assert!(talk.failure().1.contains("overloaded") && talk.warnings().is_empty(), "{:?}", talk.played);
    }
}

#[test]
fn a_prompt_is_no_command_wherever_the_agent_looks_for_one() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let content = |task: &Task| Talk::prompted(&*declared(json!({})), task).last()["params"]["prompt"].take();
    for prompt in ["/compact", " \n/init", "$skill"] {
        assert_eq!(content(&task(prompt)), json!([text("\u{200b}"), text(prompt), text(" ")]), "{prompt:?}");
        assert_eq!(content(&Task { interpret: true, ..task(prompt) }), json!([text(prompt)]), "{prompt:?}");
    }
    let link = json!({"type": "resource_link", "uri": "file:///src/project/a%20b.txt", "name": "a b.txt"});
    let linked = Task { interpret: true, ..task(r"read @a\ b.txt") };
    assert_eq!(content(&linked), json!([text("read "), link]));
    assert_eq!(content(&task("read @a.txt")), json!([text("read @a.txt")]));
}

#[test]
fn the_rows_of_known_agents_are_talked_through_to_the_prompt() {
    for name in ["opencode", "qwen", "copilot", "kimi", "vibe", "codex-acp", "claude-agent-acp", "fast-agent"]
    {
        let task = Task { approval: Approval::Always, model: Some("m".to_owned()), ..task("hi") };
        let backend = known(name);
        let talk = Talk::prompted(&*backend, &task);
        assert_eq!(talk.warnings(), Vec::<String>::new(), "{name}");
        let launch = backend.launch(&task).unwrap();
        assert!(launch.model_is_remote && launch.dir == task.dir, "{name}: {launch:?}");
    }
    let refused = declared(json!({"command": ["agent", "-m", "{model}"]})).launch(&task("hi")).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidRequest);
}
