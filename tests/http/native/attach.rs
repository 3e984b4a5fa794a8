//! Streams that begin at once and have all that goes wrong: what the command line needs of a server.

use super::{echo, is_failure, playing};
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// The type of each line; of one without a type the kind of its failure.
fn types(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["type"].as_str().or(line["error"]["kind"].as_str()).unwrap_or("?")).collect()
}

#[test]
fn the_stream_begins_with_the_run_and_has_every_event() {
    let (scene, server) = echo();
    let picture = json!({"media_type": "image/gif", "data": "R0lGODg="});
    let body = json!({"prompt": "hello", "attach": true, "lenient": true, "images": [picture]});
    let answer = server.post("/api/v1/prompt", &body);
    let lines = answer.lines();
    assert_eq!(types(&lines), ["run", "init", "message", "token_usage", "done"], "{answer}");
    assert_eq!(lines[0]["backend"], "echo");
    assert_eq!(lines[0]["content"]["working_dir"], json!(scene.path("work")));
    let warning = lines[0]["content"]["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("images"), "{warning}");
}

#[test]
fn what_goes_wrong_is_in_the_stream() {
    let (_scene, server) = playing("exit 9");
    let ask = |more: &[(&str, Value)]| {
        let mut body = json!({"prompt": "x", "attach": true});
        more.iter().for_each(|(name, value)| body[*name] = value.clone());
        server.post("/api/v1/prompt", &body)
    };
    let answer = ask(&[]);
    // What the backend says for itself is no failure of the server's.
    assert_eq!(
        (answer.status, types(&answer.lines())),
        (200, vec!["run", "init", "error", "done"]),
        "{answer}"
    );
    is_failure(&ask(&[("backend", json!("ecko"))]), 404, "unknown_backend", "ecko");
}

#[test]
fn a_detached_run_can_have_the_same_stream_for_those_who_come_later() {
    let (_scene, server) = playing("exit 9");
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "attach": true, "detach": true}));
    assert_eq!(answer.status, 202, "{answer}");
    let path = answer.json()["events"].as_str().unwrap().to_owned();
    let told = server.ask("GET", &path).header("Accept", "application/x-ndjson").answer();
    assert_eq!(types(&told.lines()), ["run", "init", "error", "done"], "{told}");
    assert_eq!(told.lines()[0]["run_id"], answer.json()["run_id"]);
}

#[test]
fn what_the_server_ends_itself_is_said_last() {
    let (_scene, server) = playing("\"$here/sleep\" 1000");
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "attach": true, "timeout_secs": 1}));
    let lines = answer.lines();
    assert_eq!(types(&lines), ["run", "init", "error", "done", "timeout"], "{answer}");
    assert_eq!(lines[4], json!({"error": {"kind": "timeout", "message": "timed out after 1s (--timeout)"}}));
}

#[test]
fn what_is_not_installed_is_found_out_behind_the_beginning() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "gone", "backends": {"gone": {"command": ["no-such-program"]}}}));
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "attach": true}));
    assert_eq!((answer.status, types(&answer.lines())), (200, vec!["run", "not_installed"]), "{answer}");
}

#[test]
fn a_dry_run_is_one_object_and_begins_no_session() {
    let (_scene, server) = echo();
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "attach": true, "dry_run": true}));
    assert_eq!((answer.status, &answer.json()["session_id"]), (200, &Value::Null), "{answer}");
    assert_eq!(server.get("/api/v1/sessions").json()["total"], 0);
}

#[test]
fn sessions_are_found_by_directory_times_and_all_of_their_tags() {
    let (scene, server) = echo();
    for (tags, dir) in [(json!(["a"]), "work"), (json!(["a", "b"]), "work"), (json!(["b"]), "tmp")] {
        let body = json!({"prompt": "x", "tags": tags, "workdir": scene.path(dir)});
        assert_eq!(server.post("/api/v1/prompt", &body).status, 200);
    }
    let total = |query: &str| server.get(&format!("/api/v1/sessions?{query}")).json()["total"].clone();
    let work = scene.text("work").replace('/', "%2F");
    for (query, expected) in [
        ("tag=a", 2),
        ("tag=a&tag=b", 1),
        (&*format!("workdir={work}"), 2),
        (&*format!("workdir={work}&tag=b"), 1),
        ("workdir=/nowhere", 0),
        ("since=2020-01-31T12:00:00Z", 3),
        ("since=2999-01-31T12:00:00", 0),
        ("before=2999-01-31T12:00:00.5Z", 3),
        ("before=2020-01-31T12:00:00Z", 0),
        ("since=2020-01-31", 3),
    ] {
        assert_eq!(total(query), expected, "{query}");
    }
    for query in ["since=yesterday", "before=31.1.2020", "since=2020-01-31T12:00:00%2B01:00"] {
        is_failure(
            &server.get(&format!("/api/v1/sessions?{query}")),
            400,
            "invalid_request",
            "expected a time",
        );
    }
}
