//! What the server says of itself: its health, its backends, its log.

use super::{echo, is_failure};
use crate::util::scene::Scene;
use serde_json::json;

#[test]
fn health_tells_how_the_server_is() {
    let (_scene, server) = echo();
    let told = server.get("/health").json();
    let names: Vec<&str> = told["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| backend["name"].as_str().unwrap())
        .collect();
    assert!(told["status"] == "ok" && names == ["claude", "codex", "echo", "gemini"], "{told}");
    assert!(told["version"] == env!("CARGO_PKG_VERSION") && told["uptime_millis"].is_u64(), "{told}");
    assert!(told["session_store"] == json!({"available": true, "session_count": 0, "error": null}), "{told}");
    assert!(server.get("/live").status == 200 && server.get("/ready").status == 200);
    is_failure(&server.get("/metrics"), 404, "invalid_request", "metrics_enabled");
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "codex"}));
    let server = scene.serve([]);
    let degraded = server.get("/health");
    assert_eq!((degraded.status, &degraded.json()["status"]), (200, &json!("degraded")));
    drop(server);
    std::fs::remove_dir_all(scene.path("home/.clinvk/sessions")).unwrap();
    scene.file("home/.clinvk/sessions", "no directory");
    let server = scene.serve([]);
    let unhealthy = server.get("/health");
    assert_eq!((unhealthy.status, &unhealthy.json()["status"]), (503, &json!("unhealthy")), "{unhealthy}");
}

#[test]
fn backends_say_what_they_can_do() {
    let (_scene, server) = echo();
    let told = server.get("/api/v1/backends").json();
    assert_eq!(told["backends"][2], json!({"name": "echo", "available": true, "answers": false}), "{told}");
    let told = server.get("/api/v1/backends/echo").json();
    let version = told["version"].as_str().unwrap();
    assert!(version.starts_with("clinvk ") && told["available"] == true, "{told}");
    assert!(told["capabilities"]["not_honoured"].as_array().unwrap().contains(&json!("images")), "{told}");
    is_failure(&server.get("/api/v1/backends/nope"), 404, "unknown_backend", "nope");
}

#[test]
fn the_log_has_a_line_for_each_request_and_run_and_no_secrets() {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo", "server": {"log_commands": true}}));
    let env = [("CLINVK_API_KEYS", "ci=very-secret-key")];
    for format in ["json", "text"] {
        let server = scene.serve_with(["--log-format", format, "--log-level", "debug"], &env);
        let ask = server
            .ask("POST", "/api/v1/prompt")
            .header("X-Api-Key", "very-secret-key")
            .header("X-Request-Id", "my-id.1");
        let answer = ask.json(&json!({"prompt": "private words", "system_prompt": "private too"})).answer();
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("my-id.1")));
        let log = server.stop().err;
        let is_private = ["private", "very-secret"].iter().any(|word| log.contains(word));
        let lines =
            ["request", "run", "command"].iter().all(|what| log.contains(what)) && log.contains("my-id.1");
        assert!(!is_private && lines && log.contains("ci"), "{log}");
    }
}

#[test]
fn what_others_say_is_no_line_of_the_log() {
    let scene = Scene::new();
    let named = json!({"command": ["/nowhere\nforged"]});
    scene.config(&json!({"default_backend": "named", "backends": {"named": named}}));
    let server = scene.serve([]);
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "fallback": ["echo"]}));
    assert_eq!(answer.status, 200, "{answer}");
    let log = server.stop().err;
    assert!(log.contains("forged") && !log.contains("\nforged"), "{log}");
}

#[test]
fn the_log_of_commands_has_no_prompts_of_any_kind() {
    let keys = json!({"prompt": "arg", "system_args": ["--system", "{system}"]});
    let scene = Scene::declaring(keys, "printf done");
    scene.edit_config(|config| config["server"] = json!({"log_commands": true}));
    let server = scene.serve([]);
    let first = server.post("/api/v1/prompt", &json!({"prompt": "private one"})).json();
    let id = first["session_id"].as_str().unwrap();
    let body = json!({"prompt": "private two", "system_prompt": "private three", "session_id": id});
    let again = server.post("/api/v1/prompt", &body);
    assert_eq!(again.status, 200, "{again}");
    let log = server.stop().err;
    assert!(log.contains("--system") && log.contains("PROMPT") && !log.contains("private"), "{log}");
}
