//! What is configured for a backend and may be a key is for whoever can read the configuration.

#[cfg(feature = "serve")]
use crate::util::http::Server;
use crate::util::scene::{Scene, until};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

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

/// Servers of tools are started by the agent, with what their owner configured.
#[cfg(feature = "serve")]
#[test]
fn a_dry_run_shows_a_client_no_more_of_mcp_servers_than_their_names() {
    let scene = Scene::new();
    let servers = json!({"docs": {"command": "key-1", "args": ["key-2"], "env": {"TOKEN": "key-3"}},
                         "web": {"url": "https://key-4/", "headers": {"Authorization": "key-5"}}});
    scene.config(&json!({"backends": {"claude": {"mcp": servers.to_string()}}}));
    let server = scene.serve([]);
    let asked = json!({"backend": "claude", "prompt": "hi", "dry_run": true});
    let told = server.post("/api/v1/prompt", &asked).to_string();
    let names = ["docs", "web", "TOKEN", "Authorization"];
    assert!(names.iter().all(|name| told.contains(name)) && !told.contains("key-"), "{told}");
    let mut own = asked.clone();
    own["mcp"] = json!({"own": {"command": "x"}});
    assert_eq!(server.post("/api/v1/prompt", &own).status, 403);
}

/// faults.md G2.
#[cfg(feature = "serve")]
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

#[cfg(feature = "serve")]
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

/// What a program sees of the one that has started it.
const SPY: &str = r#"
(setsid "$here/sleep" 1000 >/dev/null 2>&1 &)
tr '\0' '\n' <"/proc/$PPID/environ"
for file in maps mem auxv; do head -c 1 "/proc/$PPID/$file" >/dev/null && echo "$file is open"; done 2>&1
echo seen
"#;

/// faults.md G7.
#[test]
fn a_program_that_is_run_finds_no_api_key_in_the_environment_of_its_parent() {
    let scene = Scene::playing(SPY);
    let run = scene.clinvk(["hi"]).env("CLINVK_API_KEYS", "ci=very-secret").env("AFTER", "is-there");
    let seen = run.seen();
    // It can be read, and what is beside it is whole.
    assert!(seen.out.contains("AFTER=is-there") && seen.out.contains("seen"), "{seen}");
    assert!(!seen.out.contains("very-secret"), "{seen}");
    scene.is_deserted();
}

/// faults.md G7: the memory of a server with keys is closed to its user's other programs, and it does all it did.
#[cfg(feature = "serve")]
#[test]
fn a_program_that_a_server_runs_reads_neither_its_environment_nor_its_memory() {
    let scene = Scene::playing(SPY);
    scene.edit_config(|config| config["server"] = json!({"metrics_enabled": true}));
    // For a server of another user.
    for dir in ["", "home", "home/.clinvk", "work", "bin", "tmp"] {
        fs::set_permissions(scene.path(dir), PermissionsExt::from_mode(0o777)).unwrap();
    }
    let serve = || scene.clinvk(["serve", "--port", "0"]).env("AFTER", "is-there");
    let ask = |server: &Server| {
        let ask = |method, path| server.ask(method, path).header("X-Api-Key", "very-secret");
        let told = ask("POST", "/api/v1/prompt").json(&json!({"prompt": "hi"})).answer();
        until("nothing is left of the run", || {
            scene.processes().values().all(|line| !line.contains("sleep"))
        });
        let metrics = ask("GET", "/metrics").answer();
        assert!(
            metrics.body.contains("\nprocess_open_fds ")
                && metrics.body.contains("\nprocess_resident_memory_bytes ")
        );
        assert!(
            told.status == 200 && told.body.contains("seen") && !told.body.contains("very-secret"),
            "{told}"
        );
        told
    };
    let keys = || serve().env("CLINVK_API_KEYS", "ci=very-secret").by_nobody();
    let told = ask(&Server::of(keys().start()));
    assert!(!told.body.contains("is open") && !told.body.contains("AFTER"), "{told}");
    // One without keys has nothing to hide.
    let told = ask(&Server::of(serve().by_nobody().start()));
    assert!(told.body.contains("maps is open") && told.body.contains("AFTER=is-there"), "{told}");
}
