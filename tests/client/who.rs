//! Which server is asked, and whom it lets in.

use crate::util::scene::Scene;
use serde_json::json;
use std::fs;

fn echo() -> Scene {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    scene
}

#[test]
fn the_flag_comes_before_the_variable_and_that_before_the_file() {
    let scene = echo();
    let server = scene.serve([]);
    let (url, nowhere) = (format!("http://{}", server.address), "http://127.0.0.1:1");
    let runs = || server.get("/metrics").body;
    let unreachable =
        "clinvk: server `http://127.0.0.1:1`: it cannot be reached: Connection refused (os error 111)\n";
    scene.clinvk(["--server", &url, "x"]).env("CLINVK_SERVER", nowhere).prints("x\n");
    scene.clinvk(["x"]).env("CLINVK_SERVER", nowhere).fails(5, unreachable);
    scene.clinvk(["--server", "", "x"]).env("CLINVK_SERVER", nowhere).prints("x\n");
    scene.edit_config(|config| config["client"] = json!({"server": nowhere}));
    scene.clinvk(["x"]).fails(5, unreachable);
    scene.clinvk(["x"]).env("CLINVK_CLIENT_SERVER", &url).prints("x\n");
    scene.clinvk(["x"]).env("CLINVK_SERVER", &url).prints("x\n");
    assert!(!runs().is_empty());
}

#[test]
fn a_key_is_needed_where_there_are_keys_and_no_child_sees_it() {
    let scene = Scene::playing(
        "cat /proc/self/environ | tr '\\0' '\\n' | grep -c API_KEY; tr '\\0' '\\n' </proc/$PPID/environ | grep -c some-secret; true",
    );
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", "me=some-secret-of-mine")]);
    let url = format!("http://{}", server.address);
    let ask = || scene.clinvk(["--server", &url, "x"]);
    ask().fails(1, "clinvk: the server wants an API key: set CLINVK_API_KEY\n");
    let wrong = "clinvk: the API key in CLINVK_API_KEY is not one of the server's\n";
    ask().env("CLINVK_API_KEY", "another").fails(1, wrong);
    ask()
        .env("CLINVK_API_KEY", "a\nb")
        .fails(1, "clinvk: CLINVK_API_KEY is no API key: there is a blank or a special character in it\n");
    ask().env("CLINVK_API_KEY", "some-secret-of-mine").prints("0\n0\n");
    // Nor where it is not used.
    scene.clinvk(["x"]).env("CLINVK_API_KEY", "some-secret-of-mine").prints("0\n0\n");
}

#[test]
fn the_policy_of_the_server_holds() {
    let scene = echo();
    fs::create_dir(scene.path("allowed")).unwrap();
    let allowed = scene.text("allowed");
    scene.edit_config(|config| {
        config["server"] = json!({"allowed_workdir_prefixes": [allowed], "default_workdir": allowed});
    });
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    let seen = scene.clinvk(["--server", &url, "x"]).seen();
    assert!(seen.status == 1 && seen.err.contains("`server.allowed_workdir_prefixes` allows"), "{seen}");
    scene.clinvk(["--server", &url, "-w", &allowed, "x"]).prints("x\n");
    scene.clinvk(["--server", &url, "x"]).dir(&allowed).prints("x\n");
    let seen = scene.clinvk(["--server", &url, "-w", &allowed, "--approval", "none", "x"]).seen();
    assert!(seen.status == 1 && seen.err.contains("server.max_approval_mode"), "{seen}");
}

#[test]
fn what_only_this_process_can_do_is_an_error() {
    let scene = echo();
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    scene
        .clinvk(["--server", &url, "--raw", "x"])
        .fails(1, "clinvk: `--raw` prints the lines of a program that runs here: a server tells events\n");
    for command in ["import", "fsck"] {
        let sentence = "is for the sessions of this machine: not with --server";
        let error = format!("clinvk: `sessions {command}` {sentence}\n");
        scene.clinvk(["--server", &url, "sessions", command]).fails(1, &error);
    }
    for command in ["config", "serve", "version"] {
        let seen = scene.clinvk(["--server", &url, command]).seen();
        assert!(seen.status == 1 && seen.err.contains("`--server` is no flag of"), "{command}: {seen}");
    }
}

#[test]
fn a_user_without_a_home_is_a_client_all_the_same() {
    let scene = echo();
    let server = scene.serve([]);
    let url = format!("http://{}", server.address);
    scene.clinvk(["--server", &url, "x"]).env("HOME", scene.text("nowhere")).prints("x\n");
}

#[test]
fn sessions_of_another_key_are_not_there() {
    let scene = echo();
    let keys = "one=secret-of-the-first,two=secret-of-the-other";
    let server = scene.serve_with([], &[("CLINVK_API_KEYS", keys)]);
    let url = format!("http://{}", server.address);
    let ask = |key: &str, args: &[&str]| {
        scene
            .clinvk(["--server", &url])
            .args(args)
            .env("CLINVK_API_KEY", format!("secret-of-the-{key}"))
            .seen()
    };
    assert_eq!(ask("first", &["--json", "x"]).status, 0);
    let list = |key: &str| {
        let seen = ask(key, &["sessions", "list", "--json"]);
        serde_json::from_str::<serde_json::Value>(&seen.out).unwrap()
    };
    let (own, other) = (list("first"), list("other"));
    assert_eq!((&own["total"], &other["total"]), (&json!(1), &json!(0)));
    let id = own["sessions"][0]["id"].as_str().unwrap();
    assert_eq!(ask("other", &["sessions", "show", id]).status, 4);
    assert_eq!(ask("other", &["sessions", "delete", id]).status, 4);
    assert_eq!(ask("first", &["sessions", "delete", &id[..10]]).out, format!("deleted {id}\n"));
    assert_eq!(list("first")["total"], 0);
}

#[test]
fn runs_inside_each_other_have_an_end_across_servers() {
    let scene = Scene::playing("");
    let server = scene.serve([]);
    let exe = env!("CARGO_BIN_EXE_clinvk");
    let url = format!("http://{}", server.address);
    // An agent that asks the server that it is run by.
    scene.file("bin/fake.play", format!("echo x >>\"$here/runs\"; exec '{exe}' --server {url} x"));
    let seen = scene.clinvk(["--server", &url, "x"]).seen();
    assert!(seen.status == 1 && seen.err.contains("a run inside 3 others is not allowed"), "{seen}");
    assert_eq!(fs::read_to_string(scene.path("bin/runs")).unwrap(), "x\nx\nx\n");
}
