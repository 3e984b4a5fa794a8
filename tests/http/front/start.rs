//! What keeps the server from starting.

use super::access::KEYS;
use super::scene;
use crate::util::http::Server;
use crate::util::scene::until;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;

#[test]
fn without_keys_only_this_machine_is_let_in() {
    let scene = scene(json!({}));
    for host in ["0.0.0.0", "::"] {
        let seen = scene.clinvk(["serve", "--port", "0", "--host", host]).seen();
        assert!(
            seen.status == 3 && seen.err.contains("CLINVK_API_KEYS") && seen.out.is_empty(),
            "{host}: {seen}"
        );
    }
    let server = scene.serve_with(["--host", "0.0.0.0"], &KEYS);
    assert!(server.address.starts_with("0.0.0.0:"), "{}", server.address);
    let loopback = scene.serve(["--host", "::1"]);
    assert_eq!(loopback.get("/health").status, 200, "{}", loopback.address);
}

#[test]
fn a_source_of_keys_without_a_key_keeps_the_server_from_starting() {
    for (name, value, words) in [
        ("CLINVK_API_KEYS", " , ", "CLINVK_API_KEYS"),
        ("CLINVK_API_KEYS_GOPASS_PATH", "clinvk/keys", "`gopass` is not on PATH"),
    ] {
        let scene = scene(json!({}));
        // The system may have a gopass.
        let run = scene.clinvk(["serve", "--port", "0"]).env("PATH", scene.text("bin"));
        let seen = run.env(name, value).seen();
        assert!(seen.status == 3 && seen.err.contains(words) && seen.out.is_empty(), "{name}: {seen}");
    }
    let scene = scene(json!({}));
    let file = scene.file("keys", "alice=alice-secret\n");
    let run = || scene.clinvk(["serve", "--port", "0"]).env("CLINVK_SERVER_API_KEYS_FILE", &file);
    let seen = run().seen();
    assert!(
        seen.status == 3 && seen.err.contains(&*file.replace(scene.path("").to_str().unwrap(), "ROOT/")),
        "others can read it: {seen}"
    );
    let mode = |mode| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o600);
    let mut server = scene.serve_with([], &[("CLINVK_SERVER_API_KEYS_FILE", &file)]);
    let status = |server: &Server, key: &str| {
        server.ask("GET", "/api/v1/runs").header("X-Api-Key", key).answer().status
    };
    assert_eq!((status(&server, "alice-secret"), status(&server, "bob-secret")), (200, 401));
    scene.file("keys", "bob=bob-secret\n");
    until("the file is read again", || status(&server, "bob-secret") == 200);
    assert_eq!(status(&server, "alice-secret"), 401);
    // One that breaks later keeps the last good keys.
    scene.file("keys", "\n");
    server.process.warns("the last good API keys hold");
    assert_eq!(status(&server, "bob-secret"), 200);
}

#[test]
fn a_broken_configuration_keeps_the_server_from_starting() {
    for server in [
        json!({"trusted_proxies": ["nonsense"]}),
        json!({"cors_allowed_origins": ["*"]}),
        json!({"allowed_workdir_prefixes": ["/nowhere/at/all"]}),
        json!({"max_approval_mode": "nome"}),
    ] {
        let seen = scene(server.clone()).clinvk(["serve", "--port", "0"]).seen();
        assert!(seen.status == 3 && seen.out.is_empty(), "{server}: {seen}");
    }
}

#[test]
fn keys_that_are_no_text_are_not_taken_for_none() {
    use std::os::unix::ffi::OsStrExt;
    let keys = std::ffi::OsStr::from_bytes(b"alice-\xff-secret");
    scene(json!({}))
        .clinvk(["serve", "--port", "0"])
        .env("CLINVK_API_KEYS", keys)
        .fails(1, "clinvk: the variable CLINVK_API_KEYS is not valid UTF-8\n");
}

#[test]
fn a_file_system_whose_locks_exclude_no_other_process_keeps_the_server_from_starting() {
    let scene = scene(json!({}));
    let seen = scene.clinvk(["serve", "--port", "0"]).without_exclusion().seen();
    let words = [
        "cannot keep sessions in `ROOT/home/.clinvk`",
        "two processes had the same lock",
        "set CLINVK_HOME to",
    ];
    assert!(
        seen.status == 4 && seen.out.is_empty() && words.iter().all(|word| seen.err.contains(word)),
        "{seen}"
    );
    let names = fs::read_dir(scene.path("home/.clinvk")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        ["config.json", "sessions"].map(OsString::from).into(),
        "no trial"
    );
}

/// Another host of the same home finds what is kept there later: it remembers names that are there, and those that are not.
#[test]
fn a_server_makes_the_place_for_sessions_when_it_starts() {
    let scene = scene(json!({}));
    let home = scene.text("elsewhere/home");
    let server = scene.serve_with([], &[("CLINVK_HOME", &home)]);
    let kept: Vec<_> = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["sessions"], "the trial of locks leaves nothing there");
    server.stop();
}
