//! `clinvk mcp`: tools for agents, by the real binary.

use super::peer::Peer;
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};

/// A scene in which the backend that is asked repeats the prompt.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene
}

fn peer(scene: &Scene, words: &[&str]) -> Peer {
    Peer::of(scene.clinvk(["mcp"]).args(words).env("CLINVK_DEPTH", "0"))
}

/// What a tool answers: its text, its data, and whether that is an error.
#[track_caller]
fn call(peer: &mut Peer, tool: &str, arguments: Value) -> (String, Value, bool) {
    let mut result = peer.ask("tools/call", json!({"name": tool, "arguments": arguments}));
    assert_eq!(result["resultType"], "complete", "{result}");
    let text = result["content"][0]["text"].as_str().unwrap().to_owned();
    (text, result["structuredContent"].take(), result["isError"] == true)
}

#[test]
fn a_handshake_of_an_older_version_is_answered_in_it_and_any_other_in_the_newest() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    for (asked, spoken) in
        [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("1900-01-01", "2025-11-25")]
    {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let result = peer.ask("initialize", params);
        assert_eq!(result["protocolVersion"], spoken);
        assert_eq!(result["capabilities"], json!({"tools": {}}));
        assert_eq!(result["serverInfo"]["name"], "clinvk");
    }
    peer.notify("notifications/initialized", json!({}));
    assert_eq!(peer.ask("ping", json!({})), json!({}));
    assert_eq!(peer.refusal("resources/list", json!({})).0, -32601);
    let end = peer.end();
    assert_eq!((end.status, &*end.err), (0, ""), "{end}");
}

#[test]
fn a_request_that_says_its_version_needs_no_handshake() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    let meta = |version: &str| json!({"_meta": {"io.modelcontextprotocol/protocolVersion": version}});
    let found = peer.ask("server/discover", meta("2026-07-28"));
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert!(peer.ask("tools/list", meta("2026-07-28"))["ttlMs"].is_u64());
    let id = peer.send("tools/list", meta("2030-01-01"));
    let (_, answer) = peer.answer(id);
    assert_eq!(answer["error"]["code"], -32022, "{answer}");
    assert_eq!(answer["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "2030-01-01"}));
}

#[test]
fn tools_are_listed_with_the_types_of_their_fields() {
    let scene = scene();
    let listed = peer(&scene, &[]).ask("tools/list", json!({}));
    let tools = listed["tools"].as_array().unwrap();
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["prompt", "compare", "parallel", "sessions"]);
    let schema = |tool: usize, property: &str| tools[tool]["inputSchema"]["properties"][property].clone();
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["prompt"]));
    assert_eq!(schema(0, "approval_mode")["enum"], json!(["default", "auto", "none", "always"]));
    assert_eq!(schema(0, "ephemeral")["type"], "boolean");
    assert_eq!(schema(1, "backends")["items"]["type"], "string");
    assert_eq!(schema(2, "tasks")["items"]["required"], json!(["prompt"]));
    assert_eq!(schema(3, "limit")["type"], "integer");
    for tool in tools {
        for (name, property) in tool["inputSchema"]["properties"].as_object().unwrap() {
            let help = property["description"].as_str().unwrap();
            assert!(help.len() > 5 && property["type"].is_string(), "{name}: {property}");
        }
    }
    assert!(tools[0]["description"].as_str().unwrap().contains("echo"), "{}", tools[0]["description"]);
    assert_eq!(tools[3]["annotations"]["readOnlyHint"], true);
}

#[test]
fn a_prompt_is_answered_and_its_session_goes_on() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    let (text, data, is_error) = call(&mut peer, "prompt", json!({"prompt": "first"}));
    assert_eq!((&*text, is_error), ("first", false));
    assert_eq!((&data["content"], &data["backend"]), (&json!("first"), &json!("echo")));
    let id = data["session_id"].as_str().unwrap().to_owned();
    let (_, data, _) = call(&mut peer, "prompt", json!({"prompt": "second", "session_id": &id[..8]}));
    assert_eq!(data["session_id"], *id);
    let (text, data, _) = call(&mut peer, "sessions", json!({}));
    assert!(text.starts_with(&id), "{text}");
    assert_eq!(data["total"], 1);
    let (text, data, _) = call(&mut peer, "sessions", json!({"id": id}));
    assert!(text.contains("first") && text.contains("second"), "{text}");
    assert_eq!(data["turns"][1]["content"], "second", "{data}");
    let (text, ..) = call(&mut peer, "sessions", json!({"search": "nothing of this kind"}));
    assert_eq!(text, "There are none.");
}

#[test]
fn several_are_compared_and_run_side_by_side() {
    let scene = scene();
    scene.config(&json!({"default_backend": "echo", "backends": {"other": {"command": ["PROGRAM"]}}}));
    let program = scene.fake("other", "say something else");
    scene.config(&json!({"default_backend": "echo", "backends": {"other": {"command": [program]}}}));
    let mut peer = peer(&scene, &[]);
    let (text, data, is_error) =
        call(&mut peer, "compare", json!({"prompt": "hi", "backends": ["echo", "other"]}));
    assert_eq!(text, "== echo\nhi\n== other\nsomething else\nThe answers are not all the same.\n");
    assert_eq!((&data["completed"], &data["agree"], is_error), (&json!(2), &json!(false), false));
    let tasks = json!({"tasks": [
        {"id": "a", "prompt": "one"},
        {"prompt": "after {{a.output}}", "depends_on": ["a"]},
        {"prompt": "no", "backend": "nobody"},
    ]});
    let (text, data, is_error) = call(&mut peer, "parallel", tasks);
    assert!(text.starts_with("== a (echo)\none\n== echo\nafter one\n== nobody\n"), "{text}");
    assert_eq!((&data["completed"], &data["failed"], is_error), (&json!(2), &json!(1), false));
    assert_eq!(data["results"][2]["kind"], "unknown_backend", "{data}");
}

#[test]
fn what_goes_wrong_is_the_tools_error_with_its_kind() {
    let scene = scene();
    scene.edit_config(|config| config["backends"]["echo"] = json!({"fail": "quota"}));
    let mut peer = peer(&scene, &[]);
    for (tool, arguments, kind, part) in [
        (
            "prompt",
            json!({"prompt": "x", "modle": "y"}),
            "invalid_request",
            "unknown field `modle`: did you mean `model`?",
        ),
        ("prompt", json!({}), "invalid_request", "there is no prompt"),
        ("prompt", json!({"prompt": "x", "backend": "nobody"}), "unknown_backend", "nobody"),
        ("prompt", json!({"prompt": "x", "session_id": "12345678"}), "session_not_found", "12345678"),
        ("compare", json!({"prompt": "x"}), "invalid_request", "either `backends` names who is asked"),
        ("parallel", json!({"tasks": []}), "invalid_request", "there are no tasks"),
        ("sessions", json!({"limit": "many"}), "invalid_request", "`limit`"),
    ] {
        let (text, data, is_error) = call(&mut peer, tool, arguments);
        assert!(is_error && text.contains(part), "{text}");
        assert_eq!(data["error"]["kind"], kind, "{data}");
    }
    let (text, data, is_error) = call(&mut peer, "prompt", json!({"prompt": "x"}));
    assert!(is_error && text.starts_with("echo: ") && text.ends_with("(quota)"), "{text}");
    assert_eq!(data["kind"], "quota", "{data}");
    let (code, sentence) = peer.refusal("tools/call", json!({"name": "promt", "arguments": {}}));
    assert_eq!(
        (code, &*sentence),
        (-32602, "there is no tool `promt`: known are prompt, compare, parallel, sessions")
    );
}

#[test]
fn a_call_asks_for_no_more_than_the_flags_allow() {
    let scene = scene();
    std::fs::create_dir_all(scene.path("work/in")).unwrap();
    std::fs::create_dir_all(scene.path("other")).unwrap();
    let mut bound = peer(&scene, &["--backends", "echo", "--approval", "auto", "--sandbox", "workspace"]);
    let other = scene.text("other");
    for (arguments, rule) in [
        (
            json!({"backend": "claude"}),
            "backend `claude` is not allowed: `clinvk mcp --backends` allows `echo`",
        ),
        (
            json!({"approval_mode": "none"}),
            "approval mode `none` is not allowed: `clinvk mcp --approval` allows at most `auto`",
        ),
        (
            json!({"sandbox_mode": "full"}),
            "sandbox mode `full` is not allowed: `clinvk mcp --sandbox` allows at most `workspace`",
        ),
        (json!({"workdir": other}), "`clinvk mcp --workdir, --add-dir` allows"),
        (json!({"mcp": {"a": {"command": "x"}}}), "`mcp`, which starts programs, is not allowed"),
        (json!({"extra": ["--bare"]}), "flag `--bare` is not allowed: `clinvk mcp` allows none"),
        (json!({"interpret": true}), "`interpret`, which reads files and runs commands without approval,"),
        (json!({"files": ["/etc/passwd"]}), "`/etc/passwd` is a file's name"),
    ] {
        let mut arguments = arguments;
        arguments["prompt"] = json!("x");
        let (text, _, is_error) = call(&mut bound, "prompt", arguments.clone());
        assert!(is_error && text.contains(rule), "{arguments}: {text}");
        arguments["prompt"] = json!("y");
        let (text, _, is_error) = call(&mut bound, "parallel", json!({"tasks": [arguments]}));
        assert!(is_error && text.contains(rule), "{arguments}: {text}");
    }
    for arguments in
        [json!({"approval_mode": "always"}), json!({"sandbox_mode": "read-only"}), json!({"workdir": "in"})]
    {
        let mut arguments = arguments;
        arguments["prompt"] = json!("x");
        let (text, _, is_error) = call(&mut bound, "prompt", arguments);
        assert_eq!((&*text, is_error), ("x", false));
    }
    // A conversation of another directory is none of theirs.
    let elsewhere = scene.clinvk(["--json", "hi"]).dir(scene.path("other")).seen();
    let elsewhere: Value = serde_json::from_str(&elsewhere.out).unwrap();
    let (text, ..) = call(&mut bound, "sessions", json!({"id": elsewhere["session_id"]}));
    assert!(text.contains("`clinvk mcp --workdir, --add-dir` allows"), "{text}");
    let (text, ..) =
        call(&mut peer(&scene, &["--add-dir", &other]), "sessions", json!({"id": elsewhere["session_id"]}));
    assert!(text.contains("hi"), "{text}");
}

#[test]
fn progress_is_told_where_it_is_asked_for_and_grows() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    let params = |meta: Value| {
        let tasks = json!([{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}]);
        json!({"name": "parallel", "arguments": {"tasks": tasks}, "_meta": meta})
    };
    let id = peer.send("tools/call", params(json!({"progressToken": "t-1"})));
    let (told, _) = peer.answer(id);
    assert!(told.len() >= 3, "{told:?}");
    for (index, told) in told.iter().enumerate() {
        assert_eq!(told["method"], "notifications/progress");
        assert_eq!(
            (&told["params"]["progressToken"], &told["params"]["progress"]),
            (&json!("t-1"), &json!(index + 1))
        );
    }
    let last = told.last().unwrap()["params"]["message"].as_str().unwrap();
    assert_eq!(last, "3 of 3 are done: echo completed");
    let id = peer.send("tools/call", params(json!({})));
    assert!(peer.answer(id).0.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_ends_of_it() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    let hello = json!({"prompt": "hi"});
    for params in [
        json!({"name": "prompt", "arguments": hello, "_meta": "no object"}),
        json!({"name": "prompt", "arguments": hello, "_meta": {"progressToken": {"no": "token"}}}),
    ] {
        assert_eq!(peer.ask("tools/call", params)["content"][0]["text"], "hi");
    }
    for params in [json!([]), json!("x"), json!(null), json!({"name": 7})] {
        assert_eq!(peer.refusal("tools/call", params).0, -32602);
    }
    for arguments in [json!([]), json!("x"), json!(7)] {
        let (text, data, is_error) = call(&mut peer, "prompt", arguments);
        assert!(is_error && text.contains("expected an object"), "{text}");
        assert_eq!(data["error"]["kind"], "invalid_request");
    }
    peer.notify("notifications/cancelled", json!([]));
    peer.notify("notifications/nobody_knows", json!({}));
    assert_eq!(peer.ask("ping", json!("x")), json!({}));
}

#[test]
fn a_call_that_is_cancelled_ends_and_has_no_answer() {
    let scene = scene();
    scene.edit_config(|config| config["backends"]["echo"] = json!({"hang": true}));
    let mut peer = peer(&scene, &[]);
    let id = peer.send("tools/call", json!({"name": "prompt", "arguments": {"prompt": "x"}}));
    until("it runs", || scene.processes().len() > 1);
    peer.notify("notifications/cancelled", json!({"requestId": id, "reason": "no more"}));
    peer.notify("notifications/cancelled", json!({"requestId": "unknown"}));
    until("it is gone", || scene.processes().len() == 1);
    // The next answer is that of the next request.
    let next = peer.send("ping", json!({}));
    assert_eq!(peer.hear()["id"], next);
    // What is under way when the client goes is ended too.
    peer.send("tools/call", json!({"name": "prompt", "arguments": {"prompt": "x"}}));
    until("it runs", || scene.processes().len() > 1);
    let end = peer.end();
    assert_eq!(end.status, 0, "{end}");
    scene.is_deserted();
}

#[test]
fn a_long_answer_is_cut_and_says_where_all_of_it_is() {
    let scene = scene();
    let mut peer = peer(&scene, &[]);
    let (text, data, _) = call(&mut peer, "prompt", json!({"prompt": "é".repeat(70_000)}));
    let id = data["session_id"].as_str().unwrap();
    let end =
        format!("\n[10000 more characters are left out: `clinvk sessions show {id} --turns` has all of it]");
    assert_eq!(text, "é".repeat(60_000) + &end);
    assert_eq!(data["content"], *text);
}

#[test]
fn a_call_inside_three_runs_is_refused() {
    let scene = scene();
    let mut peer = Peer::of(scene.clinvk(["mcp"]).env("CLINVK_DEPTH", "3"));
    let (text, data, is_error) = call(&mut peer, "prompt", json!({"prompt": "x"}));
    assert!(is_error && text.contains("a run inside 3 others is not allowed"), "{text}");
    assert_eq!(data["error"]["kind"], "policy");
}

#[test]
fn no_more_calls_than_a_number_are_taken_at_once() {
    let scene = scene();
    scene.edit_config(|config| config["backends"]["echo"] = json!({"hang": true}));
    let mut peer = peer(&scene, &[]);
    let hang = json!({"name": "prompt", "arguments": {"prompt": "x"}});
    (0..16).for_each(|_| _ = peer.send("tools/call", hang.clone()));
    let (_, sentence) = peer.refusal("tools/call", hang);
    assert_eq!(sentence, "16 calls are under way: no more are taken");
    peer.end();
    scene.is_deserted();
}
