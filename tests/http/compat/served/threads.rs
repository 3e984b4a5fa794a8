//! Conversations that go on, whose they are, and what is left of them.

use super::*;

/// A claude that speaks its own language: it notes each prompt, with the session that it resumes, and answers `answer N`.
/// `more` is done before the answer.
fn claude(more: &str) -> String {
    r#"resume=; before=; for word in "$@"; do [ "$before" = --resume ] && resume=$word; before=$word; done
while read -r line; do case $line in *'"role":"user"'*) break;; esac; done
printf '%s %s\n' "${resume:-new}" "$line" >>"$here/asked"
n=$(grep -c . "$here/asked")
id=${resume:-00000000-0000-4000-8000-00000000000$n}
mkdir -p "$HOME/.claude/projects/p"; : >>"$HOME/.claude/projects/p/$id.jsonl"
MORE
say '{"type":"system","subtype":"init","model":"m","session_id":"'$id'"}'
say '{"type":"result","subtype":"success","is_error":false,"result":"answer '$n'","session_id":"'$id'"}'
"#
    .replace("MORE", more)
}

/// A server with that claude as its default backend.
fn with_claude(more: &str, config: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.fake("claude", &claude(more));
    scene.config(&with(json!({"default_backend": "claude"}), config));
    let server = scene.serve([]);
    (scene, server)
}

/// What the fake was asked: the session that it resumed, and the text.
fn asked(scene: &Scene) -> Vec<(String, String)> {
    let noted = std::fs::read_to_string(scene.path("bin/asked")).unwrap_or_default();
    let line = |line: &str| {
        let (session, said) = line.split_once(' ').unwrap();
        let said: Value = serde_json::from_str(said).unwrap();
        (session.to_owned(), said["message"]["content"][0]["text"].as_str().unwrap().to_owned())
    };
    noted.lines().map(line).collect()
}

/// The vendor's own sessions that are left.
fn vendors(scene: &Scene) -> usize {
    std::fs::read_dir(scene.path("home/.claude/projects/p")).map_or(0, |files| files.count())
}

/// A conversation of these turns, the user's first.
fn history(turns: &[&str]) -> Value {
    let roles = ["user", "assistant"].iter().cycle();
    let messages = turns.iter().zip(roles).map(|(said, role)| json!({"role": role, "content": said}));
    json!({"model": "m", "messages": messages.collect::<Vec<Value>>()})
}

const FIRST: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn a_history_that_goes_on_resumes_and_says_the_new_turn_alone() {
    for stream in [false, true] {
        let (scene, server) = with_claude("", json!({}));
        let ask = |turns: &[&str]| server.post(CHAT, &with(history(turns), json!({"stream": stream})));
        let first = ask(&["one"]);
        assert!(first.header("x-clinvk-session").is_some_and(|id| id.len() == 32), "{first}");
        ask(&["one", "answer 1", "two"]);
        ask(&["one", "answer 1", "two", "answer 2", "three"]);
        // Another history is another conversation.
        ask(&["one", "answer 0", "two"]);
        let said = asked(&scene);
        let expected = [("new", "one"), (FIRST, "two"), (FIRST, "three")];
        let told: Vec<(&str, &str)> =
            said.iter().map(|(session, text)| (session.as_str(), text.as_str())).collect();
        assert_eq!(told[..3], expected, "{said:?}");
        assert!(told[3].0 == "new" && told[3].1.contains("answer 0"), "{said:?}");
        assert_eq!(server.get("/api/v1/sessions").json()["total"], 0, "hidden");
        assert_eq!((kept(&scene), vendors(&scene)), (2, 2));
        server.stop();
        assert_eq!((kept(&scene), vendors(&scene)), (0, 0), "gone with the server");
    }
}

#[test]
fn conversations_are_forgotten_in_time_and_kept_by_nobody_who_does_not_want_it() {
    let (scene, server) = with_claude("", json!({"server": {"reuse_secs": 1}}));
    server.post(CHAT, &history(&["one"]));
    until("it is forgotten", || kept(&scene) == 0 && vendors(&scene) == 0);
    for (config, off) in [
        (json!({}), true),
        (json!({"server": {"reuse_secs": 0}}), false),
        (json!({"server": {"reuse_max": 0}}), false),
    ] {
        let (scene, server) = with_claude("", config);
        for turns in [&["one"][..], &["one", "answer 1", "two"]] {
            let ask = server.ask("POST", CHAT).json(&history(turns));
            let answer = if off { ask.header("x-clinvk-session", "off").answer() } else { ask.answer() };
            assert_eq!((answer.status, answer.header("x-clinvk-session")), (200, None), "{answer}");
        }
        assert!(asked(&scene).iter().all(|(session, _)| session == "new"));
        assert_eq!(kept(&scene), 0);
    }
}

#[test]
fn a_session_goes_on_for_one_of_two_and_the_other_says_it_all() {
    let (scene, server) = with_claude("[ $n = 1 ] || { tell up; await go; }", json!({}));
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    server.post(CHAT, &history(&["one"]));
    let next = history(&["one", "answer 1", "two"]);
    let mut streams = [server.post_stream(CHAT, &next), server.post_stream(CHAT, &next)];
    up.told();
    up.told();
    go.tell();
    go.tell();
    for stream in &mut streams {
        assert_eq!(stream.head().status, 200);
    }
    let said = asked(&scene);
    let resumed = said.iter().filter(|(session, _)| session == FIRST).count();
    assert!(resumed == 1 && said.len() == 3, "{said:?}");
    assert_eq!(kept(&scene), 2);
    server.stop();
    assert_eq!((kept(&scene), vendors(&scene)), (0, 0));
}

#[test]
fn a_run_that_fails_leaves_no_session() {
    let begun = "say '{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"'$id'\"}'";
    let failed =
        "say '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,\"result\":\"broken\"}'";
    for more in [&format!("{begun}; {failed}; exit 1"), &format!("{begun}; exit 3")] {
        let (scene, server) = with_claude(more, json!({}));
        for body in [history(&["one"]), with(history(&["one"]), json!({"stream": true}))] {
            assert!(server.post(CHAT, &body).status >= 400);
        }
        until("no session is left", || kept(&scene) == 0 && vendors(&scene) == 0);
    }
}

#[test]
fn a_response_is_gone_on_with_by_its_id() {
    let (scene, server) = echo();
    let first = server.post(RESPONSES, &json!({"model": "echo", "input": "one"})).json();
    let id = first["id"].as_str().unwrap();
    let next = json!({"model": "echo", "input": "two", "previous_response_id": id});
    let second = server.post(RESPONSES, &next);
    assert!(second.status == 200 && second.json()["previous_response_id"] == id, "{second}");
    assert_eq!(kept(&scene), 1, "the same session");
    for unknown in ["resp_nope", "resp_00000000000000000000000000000000"] {
        let answer =
            server.post(RESPONSES, &json!({"model": "echo", "input": "x", "previous_response_id": unknown}));
        assert!(
            answer.status == 400 && answer.json()["error"]["code"] == "previous_response_not_found",
            "{answer}"
        );
    }
    let unkept = server.post(RESPONSES, &json!({"model": "echo", "input": "one", "store": false})).json();
    let answer =
        server.post(RESPONSES, &json!({"model": "echo", "input": "x", "previous_response_id": unkept["id"]}));
    assert_eq!(answer.status, 400, "{answer}");
    assert_eq!(kept(&scene), 1);
}

#[test]
fn a_response_that_is_not_stored_changes_nothing_of_the_one_before() {
    let (scene, server) = with_claude("", json!({}));
    let first = server.post(RESPONSES, &json!({"model": "m", "input": "one"})).json();
    let next = |words: &str, store: bool| json!({"model": "m", "input": words, "previous_response_id": first["id"], "store": store});
    assert_eq!(server.post(RESPONSES, &next("aside", false)).status, 200);
    assert_eq!(server.post(RESPONSES, &next("two", true)).status, 200);
    let said = asked(&scene);
    assert!(said[1].0 == "new" && said[1].1.contains("one") && said[1].1.contains("aside"), "{said:?}");
    assert_eq!(said[2], (FIRST.to_owned(), "two".to_owned()), "{said:?}");
    assert_eq!(kept(&scene), 1);
}

#[test]
fn a_request_that_cannot_be_put_takes_nothing_away() {
    let (scene, server) = echo();
    let first = server.post(RESPONSES, &json!({"model": "echo", "input": "one"})).json();
    let png = clinvk::base::encoding::base64(b"\x89PNG....");
    let image = json!([{"role": "user", "content": [{"type": "input_image", "image_url": format!("data:image/png;base64,{png}")}]}]);
    for wrong in [
        json!({"model": "echo", "input": image, "previous_response_id": first["id"]}),
        json!({"model": "codex", "input": "x", "previous_response_id": first["id"]}),
    ] {
        let refused = server.post(RESPONSES, &wrong);
        assert_eq!(refused.status, 400, "{refused}");
    }
    let next = server
        .post(RESPONSES, &json!({"model": "echo", "input": "two", "previous_response_id": first["id"]}));
    assert_eq!(next.status, 200, "{next}");
    server.stop();
    assert_eq!(kept(&scene), 0);
}

#[test]
fn an_answer_that_had_to_be_asked_for_twice_leaves_one_session() {
    let scene = Scene::playing(
        "cat >/dev/null; echo run >>\"$here/runs\"; case $(grep -c . \"$here/runs\") in 1) say seven;; *) say '{\"n\": 7}';; esac",
    );
    let server = scene.serve([]);
    let format = json!({"type": "json_schema", "name": "p", "schema": {"type": "object", "required": ["n"]}});
    let answer = server.post(RESPONSES, &json!({"model": "m", "input": "x", "text": {"format": format}}));
    assert_eq!(answer.status, 200, "{answer}");
    until("one is left", || kept(&scene) == 1);
    let next = server
        .post(RESPONSES, &json!({"model": "m", "input": "x", "previous_response_id": answer.json()["id"]}));
    assert_eq!(next.status, 200, "{next}");
}

#[test]
fn what_belongs_to_a_key_is_not_there_for_another() {
    let (scene, _) = echo();
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "one=first-secret-key,two=second-secret-key")]);
    let ask = |key: &str, path: &str, body: &Value| {
        server.ask("POST", path).header("Authorization", &format!("Bearer {key}")).json(body)
    };
    let first = ask("first-secret-key", RESPONSES, &json!({"model": "echo", "input": "one"})).answer();
    let next = json!({"model": "echo", "input": "two", "previous_response_id": first.json()["id"]});
    let refused = ask("second-secret-key", RESPONSES, &next).answer();
    assert!(
        refused.status == 400 && refused.json()["error"]["code"] == "previous_response_not_found",
        "{refused}"
    );
    assert_eq!(ask("first-secret-key", RESPONSES, &next).answer().status, 200);
    let session = ask("first-secret-key", "/api/v1/prompt", &json!({"prompt": "x"})).answer().json();
    let session = session["session_id"].as_str().unwrap().to_owned();
    for path in [CHAT, MESSAGES, RESPONSES] {
        let named =
            |key: &str| ask(key, path, &asking(path, "more")).header("x-clinvk-session", &session).answer();
        let refused = named("second-secret-key");
        assert!(refused.status == 404 && !refused.body.contains("first"), "{refused}");
        let answer = named("first-secret-key");
        assert_eq!(
            (answer.status, answer.header("x-clinvk-session")),
            (200, Some(session.as_str())),
            "{answer}"
        );
    }
    let path = format!("/api/v1/sessions/{session}/turns");
    let turns = server.ask("GET", &path).header("X-Api-Key", "first-secret-key").answer().json();
    assert_eq!(turns["turns"].as_array().unwrap().len(), 4, "{turns}");
}

#[test]
fn a_session_that_could_not_be_saved_is_not_gone_on_with() {
    // The record is lost in mid-run: what is resumed later would know nothing of the first turn.
    let (scene, server) = with_claude("[ $n = 1 ] && rm -rf \"$HOME/.clinvk/sessions\"", json!({}));
    let first = server.post(CHAT, &history(&["one"]));
    assert_eq!(first.status, 200, "{first}");
    assert_eq!(server.post(CHAT, &history(&["one", "answer 1", "two"])).status, 200);
    let said = asked(&scene);
    assert!(said[1].0 == "new" && said[1].1.contains("one"), "{said:?}");
}

#[test]
fn a_hidden_session_that_is_named_stays_as_long_as_it_is_used_and_no_history_means_it_any_more() {
    let (scene, server) = with_claude("", json!({}));
    let first = server.post(CHAT, &history(&["one"]));
    let session = first.header("x-clinvk-session").unwrap().to_owned();
    let named =
        || server.ask("POST", MESSAGES).header("x-clinvk-session", &session).json(&asking(MESSAGES, "aside"));
    let answer = named().answer();
    assert_eq!((answer.status, answer.header("x-clinvk-session")), (200, Some(session.as_str())), "{answer}");
    server.post(CHAT, &history(&["one", "answer 1", "two"]));
    let said = asked(&scene);
    assert!(said[1].0 == FIRST && said[2].0 == "new", "{said:?}");
    assert_eq!(named().answer().status, 200);
    server.stop();
    assert_eq!((kept(&scene), vendors(&scene)), (0, 0));
}

#[test]
fn a_session_answers_by_its_own_backend_where_the_model_names_none() {
    let scene = Scene::new();
    scene.fake("claude", &claude(""));
    scene.config(&json!({"default_backend": "echo"}));
    let server = scene.serve([]);
    let session = server.post("/api/v1/prompt", &json!({"prompt": "x", "backend": "claude"})).json();
    let session = session["session_id"].as_str().unwrap().to_owned();
    let answer =
        server.ask("POST", CHAT).header("x-clinvk-session", &session).json(&history(&["more"])).answer();
    assert_eq!(answer.header("x-clinvk-backend"), Some("claude"), "{answer}");
    assert_eq!(asked(&scene)[1].0, FIRST);
}

#[test]
fn a_stand_in_answers_and_leaves_nothing_that_the_first_would_resume() {
    let scene = Scene::new();
    let quota = "say '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":true,\"api_error_status\":429,\"result\":\"Overloaded\",\"session_id\":\"'$id'\"}'; exit 1";
    scene.fake(
        "claude",
        &claude(&format!(
            "say '{{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"'$id'\"}}'; {quota}"
        )),
    );
    scene.config(&json!({"default_backend": "claude", "unified_flags": {"fallback": ["echo"]}}));
    let server = scene.serve([]);
    let answer = server.post(CHAT, &history(&["one"]));
    assert_eq!((answer.status, answer.header("x-clinvk-backend")), (200, Some("echo")), "{answer}");
    until("neither's session is left", || kept(&scene) == 0 && vendors(&scene) == 0);
    let answer = server.post(CHAT, &history(&["one", "one", "two"]));
    assert!(text(&answer).contains("one") && text(&answer).contains("two"), "all is said again: {answer}");
}

#[test]
fn a_client_that_leaves_at_the_very_end_has_had_its_answer() {
    let (scene, server) = with_claude("", json!({"server": {"metrics_enabled": true}}));
    // The program stays until it is let go: the client has all of the answer, and is gone before.
    let play = claude("") + "tell up; await go; : >\"$here/flushed\"";
    scene.file("bin/claude.play", play);
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let mut stream = server.post_stream(CHAT, &with(history(&["one"]), json!({"stream": true})));
    let head = stream.head();
    assert!(stream.rest(&head).ends_with("data: [DONE]\n\n"));
    drop(stream);
    up.told();
    go.tell();
    until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains(r#"kind="ok"} 1"#) || metrics.contains(r#"outcome="ok"} 1"#), "{metrics}");
    assert!(!metrics.contains(r#""cancelled"} 1"#), "{metrics}");
    until("it was let flush", || scene.path("bin/flushed").exists());
    assert_eq!(kept(&scene), 1, "and the conversation can go on");
}
