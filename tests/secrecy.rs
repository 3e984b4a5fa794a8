//! What is configured for a backend and may be a key is for whoever can read the configuration.

use crate::util::scene::Scene;
use serde_json::json;
use std::fs;

/// A backend with a key wherever one can be configured.
fn scene() -> Scene {
    let scene = Scene::new();
    let command = [&*scene.fake("fake", "cat"), "key-1", "--key=key-2", "--key", "key-3", "-k"];
    scene.config(&json!({
        "default_backend": "fake",
        "server": {"log_commands": true, "allowed_extra_flags": "all"},
        "backends": {"fake": {
            "command": command, "env": {"TOKEN": "key-4", "EMPTY": ""}, "model_args": ["-m", "{model}"],
        }},
    }));
    scene
}

/// faults.md G2.
#[test]
fn a_dry_run_shows_a_client_the_names_of_what_is_configured_and_no_values() {
    let scene = scene();
    let server = scene.serve([]);
    let told = server.post("/api/v1/prompt", &json!({"prompt": "hi", "model": "m", "dry_run": true})).json();
    let words = ["...", "--key=...", "--key", "...", "-k", "-m", "m"];
    let command = &told["command"];
    assert_eq!((&command["env"], &command["args"]), (&json!({"TOKEN": null, "EMPTY": null}), &json!(words)));
    let line = format!(
        "# Would execute:\ncd {} && printf %s hi | env EMPTY=\"$EMPTY\" TOKEN=\"$TOKEN\" {} ... --key=... --key ... -k -m m\n",
        scene.text("work"),
        scene.text("bin/fake")
    );
    assert_eq!(told["output"], line);
    let one = json!({"prompt": "hi", "dry_run": true});
    for (path, body) in [
        ("prompt", one.clone()),
        ("parallel", json!({"tasks": [one]})),
        ("chain", json!({"steps": [one]})),
        ("compare", json!({"prompt": "hi", "backends": ["fake"], "dry_run": true})),
    ] {
        let told = server.post(&format!("/api/v1/{path}"), &body).to_string();
        assert!(told.contains("TOKEN=") && !told.contains("key-"), "{path}: {told}");
    }
    for path in ["backends", "backends/fake", "sessions"] {
        let told = server.get(&format!("/api/v1/{path}")).to_string();
        assert!(!told.contains("key-"), "{path}: {told}");
    }
}

#[test]
fn a_log_of_commands_and_a_program_that_does_not_start_show_no_values_either() {
    let scene = scene();
    let server = scene.serve([]);
    assert_eq!(server.post("/api/v1/prompt", &json!({"prompt": "hi"})).status, 200);
    fs::remove_file(scene.path("bin/fake")).unwrap();
    let told = server.post("/api/v1/prompt", &json!({"prompt": "hi"})).to_string();
    let said = server.stop();
    assert!(
        said.err.contains("--key=...") && ![&*told, &*said.err].concat().contains("key-"),
        "{told}\n{said}"
    );
}

#[test]
fn its_owner_sees_the_values() {
    let line = "# Would execute:\ncd ROOT/work && printf %s hi | env EMPTY='' TOKEN=key-4 ROOT/bin/fake key-1 --key=key-2 \
                --key key-3 -k\n";
    scene().clinvk(["--dry-run", "hi"]).prints(line);
}
