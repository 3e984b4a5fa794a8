//! What a key may do and see.

use super::{kind, refused, scene};
use crate::util::http::{Answer, Server};
use serde_json::{Value, json};
use std::fs;

/// Two keys, and one that sees all.
pub const KEYS: [(&str, &str); 1] =
    [("CLINVK_API_KEYS", "alice=alice-secret,bob=bob-secret,boss=boss-secret")];

/// A prompt with these headers.
#[track_caller]
pub fn prompt(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let ask = headers
        .iter()
        .fold(server.ask("POST", "/api/v1/prompt"), |ask, (name, value)| ask.header(name, value));
    ask.json(&json!({"prompt": "x"})).answer()
}

#[test]
fn with_keys_nothing_runs_without_one() {
    let scene = scene(json!({}));
    let server = scene.serve_with([], &KEYS);
    for headers in [
        &[][..],
        &[("X-Api-Key", "wrong-secret")],
        &[("Authorization", "Bearer wrong-secret")],
        &[("Authorization", "Basic alice-secret")],
        &[("Authorization", "alice-secret")],
        &[("X-Api-Key", "")],
    ] {
        let answer = prompt(&server, headers);
        assert_eq!(kind(&answer), refused("unauthorized", 401), "{headers:?}: {answer}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for headers in [
        &[("X-Api-Key", "alice-secret")][..],
        &[("Authorization", "Bearer alice-secret")],
        &[("authorization", "bearer alice-secret")],
        &[("X-Api-Key", "wrong-secret"), ("Authorization", "Bearer alice-secret")],
    ] {
        assert_eq!(prompt(&server, headers).status, 200, "{headers:?}");
    }
    for path in ["/health", "/live", "/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/api/v1/backends", "/api/v1/sessions", "/api/v1/runs", "/metrics", "/nope"] {
        assert_eq!(kind(&server.get(path)), refused("unauthorized", 401), "{path}");
    }
}

#[test]
fn what_was_made_with_a_key_is_anothers_404() {
    let scene = scene(json!({"keys": {"boss": {"admin": true}}}));
    scene.clinvk(["of the command line"]).prints("of the command line\n");
    let server = scene.serve_with([], &KEYS);
    let get = |key: &str, path: &str| {
        server.ask("GET", path).header("X-Api-Key", &format!("{key}-secret")).answer()
    };
    let made = prompt(&server, &[("X-Api-Key", "alice-secret")]).json();
    let id = made["session_id"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{id}");
    assert_eq!(
        (get("alice", &path).status, get("bob", &path).status, get("boss", &path).status),
        (200, 404, 200)
    );
    let total = |key: &str| get(key, "/api/v1/sessions").json()["total"].clone();
    assert_eq!((total("alice"), total("bob"), total("boss")), (json!(1), json!(0), json!(2)));
    let body = json!({"prompt": "y", "session_id": id});
    let other = server.ask("POST", "/api/v1/prompt").header("X-Api-Key", "bob-secret").json(&body).answer();
    assert_eq!(kind(&other), refused("session_not_found", 404));
    for (method, path) in
        [("DELETE", path.clone()), ("PATCH", path.clone()), ("POST", format!("{path}/fork"))]
    {
        let other = server.ask(method, &path).header("X-Api-Key", "bob-secret").json(&json!({})).answer();
        assert_eq!(kind(&other), refused("session_not_found", 404), "{method} {path}");
    }
    let again = |key: &str| {
        let ask = server.ask("POST", "/api/v1/prompt").header("X-Api-Key", &format!("{key}-secret"));
        ask.header("Idempotency-Key", "k").json(&json!({"prompt": "x"})).answer().json()["session_id"].clone()
    };
    let alices = again("alice");
    assert!(again("bob") != alices && again("alice") == alices);
}

#[test]
fn a_key_may_do_less_than_the_server() {
    let scene = scene(json!({
        "max_approval_mode": "none",
        "keys": {"bob": {"allowed_backends": ["claude"], "max_approval_mode": "always"}, "alice": {"max_approval_mode": "auto"}},
    }));
    let server = scene.serve_with([], &KEYS);
    let ask = |key: &str, body: &Value| {
        server.ask("POST", "/api/v1/prompt").header("X-Api-Key", &format!("{key}-secret")).json(body).answer()
    };
    let refusal = ask("bob", &json!({"prompt": "x"}));
    assert!(
        kind(&refusal) == refused("policy", 403) && refusal.body.contains("server.keys.bob.allowed_backends"),
        "{refusal}"
    );
    let none = json!({"prompt": "x", "approval_mode": "none"});
    let refusal = ask("alice", &none);
    assert!(
        refusal.status == 403 && refusal.body.contains("server.keys.alice.max_approval_mode"),
        "{refusal}"
    );
    assert_eq!(ask("boss", &none).status, 200);
    let tasks = json!({"tasks": [{"prompt": "x", "approval_mode": "none"}, {"prompt": "y"}]});
    let ask = server.ask("POST", "/api/v1/parallel").header("X-Api-Key", "alice-secret");
    let told = ask.json(&tasks).answer().json();
    assert!(told["results"][0]["kind"] == "policy" && told["results"][1]["output"] == "y", "{told}");
}

#[test]
fn directories_are_compared_without_links_and_by_whole_parts() {
    let scene = scene(json!({}));
    for dir in ["allowed", "allowed/blocked", "allowedtoo"] {
        fs::create_dir(scene.path(dir)).unwrap();
    }
    std::os::unix::fs::symlink(scene.path("allowedtoo"), scene.path("allowed/link")).unwrap();
    scene.edit_config(|config| {
        config["server"] = json!({
            "default_workdir": scene.text("allowed"),
            "allowed_workdir_prefixes": [scene.text("allowed")],
            "blocked_workdir_prefixes": [scene.text("allowed/blocked")],
        });
    });
    let server = scene.serve([]);
    let status = |body: Value| server.post("/api/v1/prompt", &body).status;
    let at = |dir: &str| status(json!({"prompt": "x", "workdir": scene.text(dir)}));
    assert_eq!((at("allowed"), status(json!({"prompt": "x"}))), (200, 200));
    assert_eq!((at("allowedtoo"), at("allowed/link"), at("allowed/blocked"), at("")), (403, 403, 403, 403));
    assert_eq!(status(json!({"prompt": "x", "workdir": "/"})), 403);
    assert_eq!(status(json!({"prompt": "x", "workdir": "../allowedtoo"})), 403);
    assert_eq!(status(json!({"prompt": "x", "add_dirs": [scene.text("allowedtoo")]})), 403);
}

#[test]
fn a_broken_session_is_not_told_of_to_whoever_has_a_key() {
    let scene = scene(json!({"keys": {"boss": {"admin": true}}}));
    let server = scene.serve_with([], &KEYS);
    let made = prompt(&server, &[("X-Api-Key", "alice-secret")]).json();
    let id = made["session_id"].as_str().unwrap();
    scene.file(&format!("home/.clinvk/sessions/{id}.json"), "{");
    let get = |key: &str| {
        let ask = server.ask("GET", &format!("/api/v1/sessions/{}", &id[..1]));
        ask.header("X-Api-Key", &format!("{key}-secret")).answer()
    };
    let bobs = get("bob");
    assert_eq!(kind(&bobs), refused("session_not_found", 404));
    assert!(!bobs.body.contains(id), "{bobs}");
    assert_eq!(kind(&get("boss")), refused("session_store", 500));
}

/// faults.md F9: each place where backends are named.
#[test]
fn a_key_limited_to_some_backends_sees_no_others() {
    let keys = json!({"bob": {"allowed_backends": ["one", "gone"]}});
    let scene = scene(json!({"keys": keys, "models": {"mine": "one", "theirs": "two"}}));
    let program = scene.fake("one", "printf done");
    scene.edit_config(|config| {
        let gone = scene.text("bin/gone");
        config["backends"] = json!({
            "one": {"command": [program], "models": {"small": "s"}}, "two": {"command": [program]},
            "gone": {"command": [gone]}, "lost": {"command": [gone]},
        });
        config["default_backend"] = json!("two");
    });
    let server = scene.serve_with([], &KEYS);
    let get = |key: &str, path: &str| server.ask("GET", path).header("X-Api-Key", key).answer();
    let names = |told: &Value, list: &str, name: &str| -> Vec<String> {
        told[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    for (path, list, name, of_bob) in [
        ("/api/v1/backends", "backends", "name", &["gone", "one"][..]),
        ("/health", "backends", "name", &["gone", "one"]),
        ("/openai/v1/models", "data", "id", &["mine", "one", "one/small"]),
        ("/anthropic/v1/models", "data", "id", &["mine", "one", "one/small"]),
    ] {
        let mut seen = names(&get("bob-secret", path).json(), list, name);
        seen.sort();
        assert_eq!(seen, of_bob, "{path}");
        let all = names(&get("alice-secret", path).json(), list, name);
        assert!(all.len() > seen.len() && all.contains(&"two".to_owned()), "{path}: {all:?}");
    }
    // What needs no key shows what the server allows.
    assert!(names(&server.get("/health").json(), "backends", "name").contains(&"two".to_owned()));
    let default = |key| get(key, "/api/v1/backends").json()["default"].clone();
    assert_eq!((default("bob-secret"), default("alice-secret")), (Value::Null, json!("two")));
    // One that is not there cannot be told from one that may not be used.
    for name in ["two", "nobody"] {
        let refusal = get("bob-secret", &format!("/api/v1/backends/{name}"));
        assert_eq!(kind(&refusal), refused("policy", 403), "{refusal}");
        for (path, body) in [
            ("/api/v1/prompt", json!({"prompt": "x", "backend": name})),
            ("/openai/v1/models/two", Value::Null),
            ("/api/v1/parallel", json!({"tasks": [{"prompt": "x", "backend": name}]})),
            ("/api/v1/compare", json!({"prompt": "x", "backends": [name, "one"]})),
            ("/api/v1/chain", json!({"steps": [{"prompt": "x", "backend": name}]})),
        ] {
            let method = if body.is_null() { "GET" } else { "POST" };
            let told = server.ask(method, path).header("X-Api-Key", "bob-secret").json(&body).answer();
            assert!(!told.body.contains("lost") && !told.body.contains("echo"), "{path}: {told}");
        }
    }
    assert_eq!(get("bob-secret", "/api/v1/backends/one").status, 200);
    assert_eq!(kind(&get("alice-secret", "/api/v1/backends/nobody")), refused("unknown_backend", 404));
}

#[test]
fn all_backends_are_all_that_a_key_may_use() {
    let keys = json!({
        "alice": {"allowed_backends": ["echo"]}, "bob": {"allowed_backends": ["one", "gone"]},
        "carol": {"allowed_backends": ["gone"]},
    });
    let scene = scene(json!({"keys": keys}));
    let program = scene.fake("one", "printf done");
    scene.edit_config(|config| {
        let gone = scene.text("bin/gone");
        config["backends"] = json!({
            "one": {"command": [program]}, "two": {"command": [program]},
            "gone": {"command": [gone]}, "lost": {"command": [gone]},
        });
    });
    let server =
        scene.serve_with([], &[("CLINVK_API_KEYS", "alice=alice-secret,bob=bob-secret,carol=carol-secret")]);
    let ask = |key: &str| {
        let ask = server.ask("POST", "/api/v1/compare").header("X-Api-Key", key);
        ask.json(&json!({"prompt": "x", "all_backends": true})).answer()
    };
    let told = ask("bob-secret").json();
    let missing = json!(["backend `gone` is not installed: it is not asked"]);
    assert!(
        told["backends"] == json!(["one"]) && told["agree"] == true && told["warnings"] == missing,
        "{told}"
    );
    // None that is left is an error that says so.
    let none = ask("alice-secret");
    assert!(kind(&none) == refused("policy", 403) && none.body.contains("that may be used here"), "{none}");
    let absent = ask("carol-secret");
    assert!(
        kind(&absent) == refused("not_installed", 503) && absent.body.contains("asked: gone\""),
        "{absent}"
    );
}
