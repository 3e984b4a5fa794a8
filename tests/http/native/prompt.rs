//! A prompt over HTTP: its answer, its session, what is refused, and by which status.

use super::{echo, is_failure, playing, with_echo};
use crate::util::scene::Scene;
use serde_json::{Value, json};

#[test]
fn a_prompt_is_answered_with_one_object() {
    let (_scene, server) = echo();
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "two words", "ephemeral": true}));
    let mut told = answer.json();
    assert!(told["duration_ms"].take().is_u64() && told["duration_seconds"].take().is_f64(), "{answer}");
    let usage = json!({"input_tokens": 2, "output_tokens": 2, "total_tokens": 4, "cached_tokens": 0, "reasoning_tokens": 0});
    assert_eq!(
        (answer.status, answer.header("content-type"), told),
        (
            200,
            Some("application/json"),
            json!({
                "session_id": null, "backend": "echo", "backend_session_id": "echo", "model": "echo", "exit_code": 0,
                "duration_ms": null, "duration_seconds": null, "output": "two words", "content": "two words",
                "cost": null, "kind": null, "error": null, "warnings": [], "permission_denials": 0, "tried": [], "usage": usage, "token_usage": usage,
            })
        )
    );
}

#[test]
fn a_session_over_http_is_listed_continued_changed_forked_and_deleted() {
    let (_scene, server) = echo();
    let told = server
        .post("/api/v1/prompt", &json!({"prompt": "one", "metadata": {"who": "me"}, "tags": ["a"]}))
        .json();
    let id = told["session_id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    let listed = server.get("/api/v1/sessions?backend=echo&limit=5").json();
    assert!(listed["total"] == 1 && listed["limit"] == 5 && listed["offset"] == 0, "{listed}");
    assert!(
        listed["sessions"][0]["id"] == id && listed["sessions"][0]["metadata"] == json!({"who": "me"}),
        "{listed}"
    );
    let again = server.post(&format!("{path}/resume"), &json!({"prompt": "two"})).json();
    assert!(again["session_id"] == id && again["output"] == "two", "{again}");
    let by_field = server.post("/api/v1/prompt", &json!({"prompt": "three", "session_id": id})).json();
    assert_eq!(by_field["session_id"], id, "{by_field}");
    let turns = server.get(&format!("{path}/turns")).json();
    let prompts: Vec<&str> =
        turns["turns"].as_array().unwrap().iter().map(|turn| turn["prompt"].as_str().unwrap()).collect();
    assert_eq!(prompts, ["one", "two", "three"]);
    let changed = server.ask("PATCH", &path).json(&json!({"title": "new", "tags": ["b"]})).answer();
    let told = changed.json();
    assert!(
        told["title"] == "new" && told["tags"] == json!(["b"]) && told["status"] == "completed",
        "{changed}"
    );
    let refused = server.ask("PATCH", &path).json(&json!({"status": "paused"})).answer();
    is_failure(&refused, 400, "invalid_request", "unknown field `status`");
    let fork = server.post(&format!("{path}/fork"), &json!({})).json();
    assert!(fork["parent_id"] == id && fork["id"] != id, "{fork}");
    let deleted = server.ask("DELETE", &path).answer();
    assert_eq!((deleted.status, deleted.json()), (200, json!({"deleted": true, "id": id})));
    is_failure(&server.get(&path), 404, "session_not_found", id);
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1);
}

#[test]
fn a_dry_run_starts_nothing_and_begins_a_session_unless_it_is_to_leave_none() {
    let (scene, server) = playing("say it ran >&2; exit 3");
    let told = server.post("/api/v1/prompt", &json!({"prompt": "hi", "dry_run": true})).json();
    assert!(
        told["output"].as_str().unwrap().contains("Would execute") && told["session_id"].is_string(),
        "{told}"
    );
    let listed = server.get("/api/v1/sessions").json();
    assert!(listed["total"] == 1 && listed["sessions"][0]["status"] == "completed", "{listed}");
    let told =
        server.post("/api/v1/prompt", &json!({"prompt": "hi", "dry_run": true, "ephemeral": true})).json();
    assert!(told["session_id"].is_null(), "{told}");
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1);
    drop(scene);
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let (scene, server) = echo();
    let file = scene.file("secret.txt", "secret");
    let table: &[(Value, u16, &str, &str)] = &[
        (json!({"promt": "x"}), 400, "invalid_request", "unknown field `promt`: did you mean `prompt`?"),
        (json!({}), 400, "invalid_request", "there is no prompt"),
        (json!([]), 400, "invalid_request", "expected an object"),
        (json!({"prompt": "x", "backend": "ecko"}), 404, "unknown_backend", "did you mean `echo`?"),
        (json!({"prompt": "x", "backend": "claude"}), 503, "not_installed", "not on PATH"),
        (json!({"prompt": "x", "effort": "high"}), 400, "invalid_request", "cannot honour effort"),
        (json!({"prompt": "x", "approval_mode": "none"}), 403, "policy", "server.max_approval_mode"),
        (json!({"prompt": "x", "sandbox_mode": "full"}), 403, "policy", "server.max_sandbox_mode"),
        (json!({"prompt": "x", "extra": ["--x"]}), 403, "policy", "server.allowed_extra_flags"),
        (
            json!({"prompt": "x", "files": [file]}),
            400,
            "invalid_request",
            "over the network only what is in it",
        ),
        (
            json!({"prompt": "x", "json_schema": format!("@{file}")}),
            400,
            "invalid_request",
            "over the network",
        ),
        (json!({"prompt": "x", "images": [file]}), 400, "invalid_request", "over the network"),
        (json!({"prompt": "x", "session_id": "nope"}), 404, "session_not_found", "nope"),
        (json!({"prompt": "x", "workdir": "/nowhere"}), 400, "invalid_request", "/nowhere"),
        (json!({"prompt": "x", "replay": true}), 400, "invalid_request", "for a session that is continued"),
    ];
    for (body, status, kind, words) in table {
        is_failure(&server.post("/api/v1/prompt", body), *status, kind, words);
    }
    is_failure(
        &server.ask("POST", "/api/v1/prompt").body("{\"prompt\": ").answer(),
        400,
        "invalid_request",
        "line 1",
    );
    is_failure(&server.get("/api/v1/nope"), 404, "invalid_request", "unknown path: GET /api/v1/nope");
    let wrong = server.get("/api/v1/prompt");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")), "{wrong}");
    assert_eq!(server.ask("HEAD", "/api/v1/backends").send().head().status, 200);
    // A bare `curl -d` names a form.
    let form =
        server.ask("POST", "/api/v1/prompt").header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(form.body(r#"{"prompt": "x"}"#).answer().status, 200);
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 1, "what was refused began no session");
}

#[test]
fn statuses_tell_the_truth() {
    for (kind, status, retry_after) in [
        ("quota", 429, None),
        ("login", 502, None),
        ("refusal", 502, None),
        ("overloaded", 502, None),
        ("context_too_long", 400, None),
        ("timeout", 504, None),
        ("crash", 502, None),
        ("unknown_model", 404, None),
        ("session_busy", 409, None),
        ("busy", 503, Some("5")),
    ] {
        let (_scene, server) = with_echo(json!({"fail": kind}), json!({}));
        let answer = server.post("/api/v1/prompt", &json!({"prompt": "x"}));
        is_failure(&answer, status, kind, "as configured");
        assert_eq!(answer.header("retry-after"), retry_after, "{answer}");
        let told = answer.json();
        assert!(
            told["backend"] == "echo" && told["exit_code"] == 1 && told["session_id"].is_string(),
            "{told}"
        );
        // A stream that has said nothing yet fails by its status too.
        for stream in [
            server.post("/api/v1/prompt", &json!({"prompt": "x", "output_format": "stream-json"})),
            server
                .ask("POST", "/api/v1/prompt")
                .header("Accept", "text/event-stream")
                .json(&json!({"prompt": "x"}))
                .answer(),
        ] {
            is_failure(&stream, status, kind, "as configured");
        }
    }
}

#[test]
fn a_fork_takes_nothing_and_says_so() {
    let (_scene, server) = echo();
    let told = server.post("/api/v1/prompt", &json!({"prompt": "x"})).json();
    let path = format!("/api/v1/sessions/{}/fork", told["session_id"].as_str().unwrap());
    is_failure(&server.post(&path, &json!({"title": "y"})), 400, "invalid_request", "unknown field `title`");
    is_failure(&server.ask("POST", &path).body("y").answer(), 400, "invalid_request", "line 1");
    assert_eq!(server.ask("POST", &path).answer().status, 200);
}

#[test]
fn an_answer_whose_session_cannot_be_saved_is_an_answer() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene.file("home/.clinvk/sessions", "no directory");
    let server = scene.serve([]);
    for asked in [json!({"prompt": "hi"}), json!({"prompt": "hi", "output_format": "stream-json"})] {
        let told = server.post("/api/v1/prompt", &asked);
        let last = told.body.lines().next_back().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let last = last.map(|last| if last["type"] == "done" { last["content"].clone() } else { last });
        let said = last.map(|last| (last["content"].clone(), last["kind"].clone()));
        assert_eq!((told.status, said), (200, Some((json!("hi"), json!("session_store")))), "{told}");
    }
}

/// What a program calls its model nobody has asked for: it was held against the list, and no session could be continued.
#[test]
fn a_session_goes_on_with_the_model_that_was_asked_for_whatever_its_program_calls_it() {
    let keys = json!({
        "output": "jsonl", "fields": {"text": "t", "session": "s", "model": "m"}, "models": {"fast": "small", "best": "large"},
        "model_args": ["--model", "{model}"], "resume_args": ["--session", "{session}"],
    });
    let line = r#"{\"t\": \"<$*>\", \"s\": \"abc\", \"m\": \"told-1\"}"#;
    let scene = Scene::declaring(keys, &format!("cat >/dev/null; say \"{line}\""));
    scene.edit_config(|config| config["server"] = json!({"allowed_models": ["fast", "default"]}));
    let server = scene.serve([]);
    for asked in [json!({"prompt": "x", "model": "fast"}), json!({"prompt": "x"})] {
        let id = server.post("/api/v1/prompt", &asked).json()["session_id"].as_str().unwrap().to_owned();
        let resume = || server.post(&format!("/api/v1/sessions/{id}/resume"), &json!({"prompt": "y"}));
        let answer = resume();
        assert_eq!(answer.json()["content"], "<--model told-1 --session abc>", "{asked}: {answer}");
        // What was asked for stays known.
        assert_eq!(resume().status, 200, "{asked}");
        // With a model that is asked for elsewhere, and not allowed here, nobody goes on here.
        let seen = scene.clinvk(["resume", &id, "-m", "best", "z"]).seen();
        assert!(seen.status == 0, "{seen}");
        let answer = resume();
        let refusal = "model `large` is not allowed";
        assert!(answer.status == 403 && answer.to_string().contains(refusal), "{asked}: {answer}");
    }
    server.stop();
}
