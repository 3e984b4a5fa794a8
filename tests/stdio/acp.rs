//! `clinvk acp`: the real binary as an agent, with a client of the test's own.

use super::peer::Peer;
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;

/// A scene in which the echo backend answers, and a client that has a session open.
fn echo() -> (Scene, Peer, String) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let mut peer = Peer::of(scene.clinvk(["acp"]));
    let id = begin(&scene, &mut peer);
    (scene, peer, id)
}

/// The same with a backend `fake` that does this.
fn playing(play: &str) -> (Scene, Peer, String) {
    let scene = Scene::playing(play);
    let mut peer = Peer::of(scene.clinvk(["acp"]));
    let id = begin(&scene, &mut peer);
    (scene, peer, id)
}

/// A new session's id.
#[track_caller]
pub fn begin(scene: &Scene, peer: &mut Peer) -> String {
    let result = peer.ask("session/new", json!({"cwd": scene.text("work"), "mcpServers": []}));
    result["sessionId"].as_str().unwrap().to_owned()
}

fn text(prompt: &str) -> Value {
    json!([{"type": "text", "text": prompt}])
}

pub fn prompt(id: &str, prompt: &str) -> Value {
    json!({"sessionId": id, "prompt": text(prompt)})
}

/// The text of all pieces of that kind.
pub fn told(messages: &[Value], kind: &str) -> String {
    let updates = messages.iter().map(|message| &message["params"]["update"]);
    let pieces = updates.filter(|update| update["sessionUpdate"] == kind);
    pieces.map(|update| update["content"]["text"].as_str().unwrap()).collect()
}

/// A turn: the answer's text, and the result.
#[track_caller]
fn turn(peer: &mut Peer, id: &str, words: &str) -> (String, Value) {
    let request = peer.send("session/prompt", prompt(id, words));
    let (updates, answer) = peer.answer(request);
    (told(&updates, "agent_message_chunk"), answer["result"].clone())
}

#[test]
fn it_answers_version_one_and_says_what_it_can() {
    let (_scene, mut peer, _) = echo();
    for version in [json!(1), json!(2), json!("x"), Value::Null] {
        let result = peer.ask("initialize", json!({"protocolVersion": version, "clientCapabilities": {}}));
        assert_eq!(result["protocolVersion"], 1);
        assert_eq!(result["authMethods"], json!([]));
        assert_eq!(result["agentInfo"]["name"], "clinvk");
        let can = &result["agentCapabilities"];
        assert_eq!((&can["loadSession"], &can["promptCapabilities"]["image"]), (&json!(true), &json!(true)));
        let sessions: Vec<&String> = can["sessionCapabilities"].as_object().unwrap().keys().collect();
        assert_eq!(sessions, ["additionalDirectories", "close", "delete", "fork", "list", "resume"]);
    }
}

#[test]
fn a_session_is_ours_under_the_same_id_from_its_first_turn() {
    let (scene, mut peer, id) = echo();
    assert_eq!(peer.ask("session/list", json!({})), json!({"sessions": []}));
    let request = peer.send("session/prompt", prompt(&id, "say hi"));
    let (updates, answer) = peer.answer(request);
    assert_eq!(updates[0]["params"]["update"]["title"], "say hi");
    assert_eq!(told(&updates, "agent_message_chunk"), "say hi");
    let result = &answer["result"];
    assert_eq!(result["stopReason"], "end_turn");
    assert_eq!(
        result["usage"],
        json!({"inputTokens": 2, "outputTokens": 2, "totalTokens": 4, "cachedReadTokens": 0, "thoughtTokens": 0})
    );
    assert_eq!(result["_meta"]["clinvk"]["session_id"], id);
    assert_eq!(turn(&mut peer, &id, "more").0, "more");
    let seen = scene.clinvk(["sessions", "show", &id, "--json"]).seen();
    let session: Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!((&session["turn_count"], &session["title"]), (&json!(2), &json!("say hi")));
    let seen = peer.end();
    assert_eq!((seen.err.as_str(), seen.status), ("", 0));
}

#[test]
fn what_is_stored_is_listed_loaded_resumed_forked_and_deleted() {
    let (scene, mut peer, id) = echo();
    turn(&mut peer, &id, "one");
    turn(&mut peer, &id, "two");
    assert_eq!(peer.end().status, 0);
    let mut peer = Peer::of(scene.clinvk(["acp"]));
    let here = |id: &str| json!({"sessionId": id, "cwd": scene.text("work"), "mcpServers": []});
    // Not open yet.
    let (code, _) = peer.refusal("session/prompt", prompt(&id, "three"));
    assert_eq!(code, -32002);
    let listed = peer.ask("session/list", json!({"cwd": scene.text("work")}));
    assert_eq!(
        (&listed["sessions"][0]["sessionId"], &listed["sessions"][0]["title"]),
        (&json!(id), &json!("one"))
    );
    assert_eq!(peer.ask("session/list", json!({"cwd": scene.text("home")})), json!({"sessions": []}));
    // Loaded: told again, before the answer.
    let load = peer.send("session/load", here(&id));
    let (told, answer) = peer.answer(load);
    let told: Vec<(&str, &str)> = told
        .iter()
        .map(|line| &line["params"]["update"])
        .map(|update| {
            (update["sessionUpdate"].as_str().unwrap(), update["content"]["text"].as_str().unwrap())
        })
        .collect();
    let (user, agent) = ("user_message_chunk", "agent_message_chunk");
    assert_eq!(told, [(user, "one"), (agent, "one"), (user, "two"), (agent, "two")]);
    assert_eq!(answer["result"]["modes"]["currentModeId"], "default");
    // Resumed: not told again, and gone on with.
    let resume = peer.send("session/resume", here(&id));
    assert_eq!(peer.answer(resume).0, [] as [Value; 0]);
    assert_eq!(turn(&mut peer, &id, "three").0, "three");
    // Forked: another session with the same past.
    let fork = peer.ask("session/fork", here(&id))["sessionId"].as_str().unwrap().to_owned();
    assert_ne!(fork, id);
    turn(&mut peer, &fork, "four");
    let seen = scene.clinvk(["sessions", "show", &fork, "--json"]).seen();
    assert_eq!(serde_json::from_str::<Value>(&seen.out).unwrap()["parent_id"], id);
    // Deleted, and deleted again.
    for _ in 0..2 {
        assert_eq!(peer.ask("session/delete", json!({"sessionId": id})), json!({}));
    }
    let listed = peer.ask("session/list", json!({}));
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(peer.refusal("session/load", here(&id)).0, -32002);
    // Closed: not open any more, and still there.
    assert_eq!(peer.ask("session/close", json!({"sessionId": fork})), json!({}));
    assert_eq!(peer.refusal("session/prompt", prompt(&fork, "x")).0, -32002);
    peer.ask("session/resume", here(&fork));
}

#[test]
fn a_long_list_comes_in_pages() {
    let (scene, mut peer, _) = echo();
    for number in 0..53 {
        let id = begin(&scene, &mut peer);
        turn(&mut peer, &id, &format!("number {number}"));
    }
    let first = peer.ask("session/list", json!({}));
    let titles = |page: &Value| {
        page["sessions"].as_array().unwrap().iter().map(|one| one["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((titles(&first).len(), &titles(&first)[0]), (50, &json!("number 52")));
    let second = peer.ask("session/list", json!({"cursor": first["nextCursor"]}));
    assert_eq!(titles(&second), ["number 2", "number 1", "number 0"]);
    assert_eq!(second.get("nextCursor"), None);
    for cursor in ["x", "-1", "18446744073709551615"] {
        assert_eq!(
            peer.refusal("session/list", json!({"cursor": cursor})),
            (-32602, format!("`cursor` is none of ours: `{cursor}`"))
        );
    }
}

#[test]
fn what_is_wrong_is_refused_and_the_session_goes_on() {
    let (scene, mut peer, id) = echo();
    let file = scene.file("work/file", "x");
    for (method, params, code, sentence) in [
        ("session/nwe", json!({}), -32601, "there is no method `session/nwe` here".to_owned()),
        (
            "authenticate",
            json!({"methodId": "x"}),
            -32601,
            "there is no method `authenticate` here".to_owned(),
        ),
        (
            "session/new",
            json!({"cwd": "work"}),
            -32602,
            "`cwd` takes absolute paths, not \"work\"".to_owned(),
        ),
        ("session/new", json!({}), -32602, "`cwd` takes absolute paths, not null".to_owned()),
        (
            "session/new",
            json!({"cwd": "/nowhere"}),
            -32602,
            "cannot use directory `/nowhere`: No such file or directory (os error 2)".to_owned(),
        ),
        (
            "session/new",
            json!({"cwd": scene.text("work"), "additionalDirectories": 7}),
            -32602,
            "`additionalDirectories` is a list of absolute paths".to_owned(),
        ),
        ("session/new", json!({"cwd": file}), -32602, "`ROOT/work/file` is not a directory".to_owned()),
        ("session/prompt", json!({"prompt": []}), -32602, "`sessionId` is missing: a text".to_owned()),
        ("session/prompt", json!({"sessionId": id, "prompt": []}), -32602, "there is no prompt".to_owned()),
        (
            "session/prompt",
            json!({"sessionId": "x", "prompt": []}),
            -32002,
            "session `x` is not open: session/new, session/load and session/resume open one".to_owned(),
        ),
        (
            "session/set_mode",
            json!({"sessionId": id, "modeId": "yolo"}),
            -32602,
            "unknown mode `yolo`: known are default, auto, always, none, read-only".to_owned(),
        ),
        (
            "session/set_model",
            json!({"sessionId": id, "modelId": "ecko/x"}),
            -32602,
            "unknown backend `ecko`: did you mean `echo`?".to_owned(),
        ),
        (
            "session/set_config_option",
            json!({"sessionId": id, "configId": "x", "value": "y"}),
            -32602,
            "unknown option `x`: known are model, mode, effort".to_owned(),
        ),
    ] {
        assert_eq!(peer.refusal(method, params), (code, sentence), "{method}");
    }
    assert_eq!(turn(&mut peer, &id, "on").0, "on");
}

#[test]
fn model_mode_and_effort_are_chosen_in_each_of_three_ways() {
    let scene = Scene::new();
    let program = scene.fake("other", "cat >/dev/null; say \"$*\"");
    let other = json!({"command": [program, "{model}"], "models": {"fast": "tiny"}});
    scene.config(&json!({"default_backend": "echo", "backends": {"other": other}}));
    let mut peer = Peer::of(scene.clinvk(["acp"]));
    let new = peer.ask("session/new", json!({"cwd": scene.text("work")}));
    let id = new["sessionId"].as_str().unwrap().to_owned();
    let values = |options: &Value, at: usize| {
        let values = options[at]["options"].as_array().unwrap().iter();
        (options[at]["currentValue"].clone(), values.map(|one| one["value"].clone()).collect::<Vec<_>>())
    };
    // The default first; of the others those that are there.
    assert_eq!(
        values(&new["configOptions"], 0),
        (json!("echo"), vec![json!("echo"), json!("other"), json!("other/fast")])
    );
    assert_eq!(new["models"]["currentModelId"], "echo");
    let set = peer.ask(
        "session/set_config_option",
        json!({"sessionId": id, "configId": "model", "value": "other/fast"}),
    );
    assert_eq!(values(&set["configOptions"], 0).0, "other/fast");
    assert_eq!(turn(&mut peer, &id, "x").0, "tiny");
    // Any name may be chosen, and is a choice then.
    let request = peer.send("session/set_model", json!({"sessionId": id, "modelId": "other/huge"}));
    let (updates, answer) = peer.answer(request);
    assert_eq!(answer["result"], json!({}));
    let (current, all) = values(&updates[0]["params"]["update"]["configOptions"], 0);
    assert!(current == "other/huge" && all.contains(&current), "{all:?}");
    assert_eq!(turn(&mut peer, &id, "x").0, "huge");
    // The backend cannot honour it, and the sentence says so when it counts.
    let request = peer.send(
        "session/set_config_option",
        json!({"sessionId": id, "configId": "mode", "value": "read-only"}),
    );
    let (updates, answer) = peer.answer(request);
    assert_eq!(
        updates[0]["params"]["update"],
        json!({"sessionUpdate": "current_mode_update", "currentModeId": "read-only"})
    );
    assert_eq!(values(&answer["result"]["configOptions"], 1).0, "read-only");
    let (code, sentence) = peer.refusal("session/prompt", prompt(&id, "x"));
    assert!(code == -32602 && sentence.contains("cannot honour sandbox read-only"), "{sentence}");
    peer.ask("session/set_mode", json!({"sessionId": id, "modeId": "default"}));
    assert_eq!(turn(&mut peer, &id, "x").0, "huge");
}

#[test]
fn what_the_user_has_bound_to_reading_stays_so() {
    let (scene, peer, _) = echo();
    drop(peer);
    let mut peer = Peer::of(scene.clinvk(["acp", "--sandbox", "read-only"]));
    let new = peer.ask("session/new", json!({"cwd": scene.text("work")}));
    assert_eq!(new["modes"]["currentModeId"], "read-only");
    assert_eq!(new["modes"]["availableModes"].as_array().unwrap().len(), 1);
    let (code, sentence) =
        peer.refusal("session/set_mode", json!({"sessionId": new["sessionId"], "modeId": "none"}));
    assert_eq!((code, sentence.as_str()), (-32602, "unknown mode `none`: known are read-only"));
}

#[test]
fn a_failure_is_an_error_with_its_kind() {
    let (_scene, mut peer, id) = playing("cat >/dev/null; say half; echo 'it broke' >&2; exit 9");
    let request = peer.send("session/prompt", prompt(&id, "x"));
    let (updates, answer) = peer.answer(request);
    assert_eq!(told(&updates, "agent_message_chunk"), "half");
    assert_eq!(answer["error"]["code"], -32603);
    assert_eq!(answer["error"]["data"], json!({"kind": "crash", "backend": "fake"}));
    let sentence = answer["error"]["message"].as_str().unwrap();
    assert!(sentence.contains("it broke"), "{sentence}");
}

#[test]
fn a_turn_is_cancelled_in_mid_stream_and_the_next_one_works() {
    let (scene, mut peer, id) =
        playing("read -r word; say \"$word\"; [ \"$word\" = go ] || \"$here/sleep\" 1000");
    let request = peer.send("session/prompt", prompt(&id, "stay"));
    while peer.hear()["params"]["update"]["sessionUpdate"] != "agent_message_chunk" {}
    peer.notify("session/cancel", json!({"sessionId": id}));
    assert_eq!(peer.answer(request).1["result"]["stopReason"], "cancelled");
    until("it is gone", || scene.processes().keys().all(|pid| *pid == peer.pid()));
    // The stored turn is one that failed: the next one replays nothing of it.
    let (answer, result) = turn(&mut peer, &id, "go");
    assert_eq!((answer.as_str(), &result["stopReason"]), ("go", &json!("end_turn")));
}

#[test]
fn a_second_prompt_waits_for_the_first_and_is_cancelled_with_it() {
    let play = "read -r word; tell began \"$word\"; [ \"$word\" = stay ] && await go; say \"$word\"";
    let (scene, mut peer, id) = playing(play);
    let [mut began, mut go] = ["began", "go"].map(|name| scene.fifo(name));
    let first = peer.send("session/prompt", prompt(&id, "stay"));
    assert_eq!(began.told(), "stay");
    let second = peer.send("session/prompt", prompt(&id, "second"));
    go.tell();
    assert_eq!(peer.answer(first).1["result"]["stopReason"], "end_turn");
    // The conversation so far stands before it.
    began.told();
    assert_eq!(peer.answer(second).1["result"]["stopReason"], "end_turn");
    let other = begin(&scene, &mut peer);
    let first = peer.send("session/prompt", prompt(&other, "stay"));
    assert_eq!(began.told(), "stay");
    let second = peer.send("session/prompt", prompt(&other, "second"));
    peer.notify("session/cancel", json!({"sessionId": other}));
    let mut reasons = vec![];
    while reasons.len() < 2 {
        let message = peer.hear();
        if message["id"] == first || message["id"] == second {
            reasons.push(message["result"]["stopReason"].clone());
        }
    }
    assert_eq!(reasons, ["cancelled", "cancelled"]);
}

#[test]
fn so_many_prompts_wait_and_no_more() {
    let (scene, mut peer, id) = playing("cat >/dev/null; tell began; exec \"$here/sleep\" 1000");
    let mut began = scene.fifo("began");
    let first = peer.send("session/prompt", prompt(&id, "x"));
    began.told();
    let others: Vec<u64> = (0..16).map(|_| peer.send("session/prompt", prompt(&id, "x"))).collect();
    let (code, sentence) = peer.refusal("session/prompt", prompt(&id, "x"));
    assert_eq!((code, sentence), (-32603, format!("16 prompts of session `{id}` wait already")));
    peer.notify("session/cancel", json!({"sessionId": id}));
    let mut reasons = Vec::new();
    while reasons.len() < 1 + others.len() {
        let message = peer.hear();
        reasons.extend(message["result"]["stopReason"].as_str().map(str::to_owned));
    }
    assert!(first == others[0] - 1 && reasons.iter().all(|reason| reason == "cancelled"), "{reasons:?}");
}

#[test]
fn what_runs_in_a_session_that_is_opened_again_can_be_cancelled() {
    let (scene, mut peer, id) = playing("read -r word; tell began; exec \"$here/sleep\" 1000");
    let mut began = scene.fifo("began");
    let here = json!({"sessionId": id, "cwd": scene.text("work"), "mcpServers": []});
    for reopen in ["session/load", "session/resume"] {
        let request = peer.send("session/prompt", prompt(&id, "x"));
        began.told();
        peer.ask(reopen, here.clone());
        peer.notify("session/cancel", json!({"sessionId": id}));
        assert_eq!(peer.answer(request).1["result"]["stopReason"], "cancelled", "{reopen}");
    }
}

#[test]
fn a_request_is_cancelled_by_its_id_alone() {
    let play = "read -r word; tell began \"$word\"; await go; say \"$word\"";
    let (scene, mut peer, id) = playing(play);
    let [mut began, mut go] = ["began", "go"].map(|name| scene.fifo(name));
    let first = peer.send("session/prompt", prompt(&id, "first"));
    began.told();
    let second = peer.send("session/prompt", prompt(&id, "second"));
    peer.notify("$/cancel_request", json!({"requestId": second}));
    assert_eq!(peer.answer(second).1["result"]["stopReason"], "cancelled");
    go.tell();
    assert_eq!(peer.answer(first).1["result"]["stopReason"], "end_turn");
}

#[test]
fn a_system_prompt_of_the_client_is_used_or_refused_by_name() {
    let (scene, mut peer, _) = playing("cat");
    for (given, what) in
        [(json!("be kind"), "system prompt"), (json!({"append": "be kind"}), "appended system prompt")]
    {
        let meta = json!({"systemPrompt": given});
        let new = peer.ask("session/new", json!({"cwd": scene.text("work"), "_meta": meta}));
        let (code, sentence) =
            peer.refusal("session/prompt", prompt(new["sessionId"].as_str().unwrap(), "x"));
        assert!(
            code == -32602 && sentence.starts_with(&format!("backend `fake` cannot honour {what}:")),
            "{sentence}"
        );
    }
    let (code, _) =
        peer.refusal("session/new", json!({"cwd": scene.text("work"), "_meta": {"systemPrompt": 7}}));
    assert_eq!(code, -32602);
}

#[test]
fn two_sessions_run_side_by_side() {
    let play = "read -r word; tell \"began$word\"; await \"go$word\"; say \"$word\"";
    let (scene, mut peer, one) = playing(play);
    let two = begin(&scene, &mut peer);
    let [mut began1, mut began2, mut go1, mut go2] =
        ["began1", "began2", "go1", "go2"].map(|name| scene.fifo(name));
    let (first, second) =
        (peer.send("session/prompt", prompt(&one, "1")), peer.send("session/prompt", prompt(&two, "2")));
    began1.told();
    began2.told();
    go2.tell();
    let (updates, _) = peer.answer(second);
    let of = |id: &str| {
        updates.iter().filter(|line| line["params"]["sessionId"] == id).cloned().collect::<Vec<_>>()
    };
    assert_eq!(told(&of(&two), "agent_message_chunk"), "2");
    assert_eq!(told(&of(&one), "agent_message_chunk"), "");
    go1.tell();
    assert_eq!(told(&peer.answer(first).0, "agent_message_chunk"), "1");
}

#[test]
fn the_end_of_the_input_in_mid_run_leaves_no_process() {
    let (scene, mut peer, id) = playing("cat >/dev/null; daemon; say up; \"$here/sleep\" 1000");
    peer.send("session/prompt", prompt(&id, "x"));
    while peer.hear()["params"]["update"]["sessionUpdate"] != "agent_message_chunk" {}
    let seen = peer.end();
    assert_eq!((seen.err.as_str(), seen.status), ("", 0));
    assert!(seen.out.contains(r#""stopReason":"cancelled""#), "{seen}");
    scene.is_deserted();
}

#[test]
fn a_signal_ends_it_like_the_end_of_the_input() {
    for (signal, status) in [(sys::SIGTERM, 7), (sys::SIGINT, -sys::SIGINT)] {
        let (scene, mut peer, id) = playing("cat >/dev/null; say up; \"$here/sleep\" 1000");
        peer.send("session/prompt", prompt(&id, "x"));
        while peer.hear()["params"]["update"]["sessionUpdate"] != "agent_message_chunk" {}
        sys::kill(peer.pid(), signal).unwrap();
        assert_eq!(peer.end().status, status);
        scene.is_deserted();
    }
}

#[test]
fn a_prompt_of_a_megabyte_arrives_as_it_is() {
    let (_scene, mut peer, id) = playing("wc -c");
    let words = "é".repeat(1 << 19);
    assert_eq!(turn(&mut peer, &id, &words).0.trim(), (1 << 20).to_string());
}

#[test]
fn a_picture_goes_with_the_prompt_where_the_backend_takes_some() {
    let (_scene, mut peer, id) = echo();
    let picture = json!({"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="});
    let request = json!({"sessionId": id, "prompt": [{"type": "text", "text": "see"}, picture]});
    let (code, sentence) = peer.refusal("session/prompt", request);
    assert!(code == -32602 && sentence.starts_with("backend `echo` cannot honour images"), "{sentence}");
}

#[test]
fn flags_are_what_prompts_begin_with() {
    let scene = Scene::playing("cat >/dev/null; say x; exec \"$here/sleep\" 1000");
    let mut peer = Peer::of(scene.clinvk(["acp", "--timeout", "1s", "--tag", "editor"]));
    let id = begin(&scene, &mut peer);
    let request = peer.send("session/prompt", prompt(&id, "x"));
    let (_, answer) = peer.answer(request);
    assert_eq!(answer["error"]["data"], json!({"kind": "timeout"}));
    let seen = scene.clinvk(["sessions", "list", "--tag", "editor", "--json"]).seen();
    assert!(seen.out.contains(&id), "{seen}");
    scene.clinvk(["acp", "x"]).fails(1, "clinvk: `acp` takes no `x`: see `clinvk acp -h`\n");
}

#[test]
fn servers_of_the_client_reach_a_backend_or_are_refused_by_name() {
    let (scene, mut peer, _) = echo();
    let server = json!({"name": "files", "command": "/bin/true", "args": [], "env": []});
    let new = peer.ask("session/new", json!({"cwd": scene.text("work"), "mcpServers": [server]}));
    let (code, sentence) = peer.refusal("session/prompt", prompt(new["sessionId"].as_str().unwrap(), "x"));
    assert!(code == -32602 && sentence.contains("cannot honour mcp servers"), "{sentence}");
    assert!(fs::read_dir(scene.path("tmp")).unwrap().next().is_none());
}
