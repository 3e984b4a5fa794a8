//! `clinvk config` and where a value comes from, through the binary. The rules of the file are tested beside the module.

use crate::util::run::alone;
use crate::util::scene::Scene;
use clinvk::config::Config;
use clinvk::model::error::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const FILE: &str = "ROOT/home/.clinvk/config.json";

fn config(scene: &Scene, args: &[&str]) -> crate::util::run::Run {
    scene.clinvk(["config"]).args(args)
}

/// A sibling of faults.md F3: it was a broken configuration, status 3.
#[test]
fn a_file_for_which_there_is_no_descriptor_is_not_broken() {
    alone("config::sources::a_file_for_which_there_is_no_descriptor_is_not_broken", "ulimit -n 64", || {
        let scene = Scene::playing("cat");
        let taken: Vec<_> = (0..64).map_while(|_| fs::File::open("/dev/null").ok()).collect();
        let loaded = Config::load(&scene.path("home/.clinvk"), None, &BTreeMap::new());
        drop(taken);
        assert_eq!(loaded.unwrap_err().kind(), Kind::Busy);
    });
}

#[test]
fn a_key_is_set_read_and_unset() {
    let scene = Scene::new();
    config(&scene, &["get", "default_backend"]).prints("claude\n");
    config(&scene, &["set", "default_backend", "echo"])
        .prints(&format!("default_backend = \"echo\" in {FILE}\n"));
    config(&scene, &["get", "default_backend"]).prints("echo\n");
    config(&scene, &["get", "default_backend", "--json"]).prints("\"echo\"\n");
    scene.clinvk(["hi"]).prints("hi\n");
    config(&scene, &["unset", "default_backend"]).prints(&format!("default_backend taken out of {FILE}\n"));
    config(&scene, &["unset", "default_backend"]).prints(&format!("default_backend is not in {FILE}\n"));
    config(&scene, &["get", "default_backend"]).prints("claude\n");
    let mode = fs::metadata(scene.path("home/.clinvk/config.json")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_backend_is_declared_from_the_shell() {
    let scene = Scene::new();
    config(&scene, &["set", "backends.up.command", "tr,a-z,A-Z"]).seen();
    scene.clinvk(["-b", "up", "loud"]).prints("LOUD\n");
    config(&scene, &["get", "backends.up.command"]).prints("[\"tr\",\"a-z\",\"A-Z\"]\n");
}

#[test]
fn all_keys_are_shown_with_where_they_come_from() {
    let scene = Scene::new();
    scene.config(&json!({"output": {"format": "json"}}));
    let shown = |args: &[&str]| config(&scene, &["show"]).args(args).env("CLINVK_SERVER_PORT", "99").seen();
    let plain = shown(&[]);
    assert!(plain.status == 0 && plain.err.is_empty(), "{plain}");
    for line in ["default_backend = \"claude\"", "output.format = \"json\"", "server.port = 99"] {
        assert!(plain.out.lines().any(|shown| shown == line), "{line}: {plain}");
    }
    let origin = shown(&["--origin"]);
    for line in [
        "default_backend = \"claude\"  (default)",
        &format!("output.format = \"json\"  (file {FILE})"),
        "server.port = 99  (env CLINVK_SERVER_PORT)",
    ] {
        assert!(origin.out.lines().any(|shown| shown == line), "{line}: {origin}");
    }
    let data: Value = serde_json::from_str(&shown(&["--json"]).out).unwrap();
    assert_eq!((&data["server.port"], &data["output.format"]), (&json!(99), &json!("json")));
    let data: Value = serde_json::from_str(&shown(&["--json", "--origin"]).out).unwrap();
    assert_eq!(data["server.port"], json!({"value": 99, "origin": "env CLINVK_SERVER_PORT"}));
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let scene = Scene::new();
    let fake = |name: &str| json!({"command": ["printf", name]});
    let of_file = json!({"default_backend": "file", "backends": {"file": fake("file"), "env": fake("env"), "flag": fake("flag")}});
    scene.config(&of_file);
    scene.clinvk(["x"]).prints("file\n");
    scene.clinvk(["x"]).env("CLINVK_BACKEND", "env").prints("env\n");
    scene.clinvk(["-b", "flag", "x"]).env("CLINVK_BACKEND", "env").prints("flag\n");
    scene.clinvk(["x"]).env("CLINVK_BACKEND", "").prints("file\n");
}

#[test]
fn the_file_is_the_flags_or_the_variables_or_the_homes() {
    let scene = Scene::new();
    for (name, prompt) in [("flag", "by flag"), ("env", "by env"), ("home", "by home")] {
        let text = json!({"default_backend": "odd", "backends": {"odd": {"command": ["printf", prompt]}}})
            .to_string();
        scene.file(&format!("work/{name}.json"), text);
    }
    fs::create_dir(scene.path("work/other")).unwrap();
    fs::rename(scene.path("work/home.json"), scene.path("work/other/config.json")).unwrap();
    let run = |args: &[&str]| scene.clinvk(args).args(["x"]).env("CLINVK_HOME", scene.text("work/other"));
    run(&[]).prints("by home\n");
    run(&[]).env("CLINVK_CONFIG", "env.json").prints("by env\n");
    run(&["--config", "flag.json"]).env("CLINVK_CONFIG", "env.json").prints("by flag\n");
    config(&scene, &["path", "--config", "flag.json"]).prints("flag.json\n");
    config(&scene, &["path"]).env("CLINVK_HOME", "relative").prints("ROOT/work/relative/config.json\n");
    run(&["--config", "none.json"]).fails(3, "clinvk: none.json: there is no such file\n");
    config(&scene, &["set", "server.port", "99", "--config", "flag.json"])
        .prints("server.port = 99 in flag.json\n");
    config(&scene, &["get", "server.port"]).prints("8080\n");
}

#[test]
fn a_broken_file_stops_everything_with_line_and_column() {
    let scene = Scene::new();
    fs::create_dir(scene.path("home/.clinvk")).unwrap();
    for (text, at, problem) in [
        (
            "{\n  \"server\": {\"port\": \"x\"}\n}",
            "2:22",
            "`server.port`: expected a whole number from 0 to 65535, found `\"x\"`",
        ),
        (
            "{\n \"defualt_backend\": \"echo\"}",
            "2:2",
            "unknown key `defualt_backend`: did you mean `default_backend`?",
        ),
        (
            "{\"default_backend\": \"ech\"}",
            "1:21",
            "`default_backend`: unknown backend `ech`: did you mean `echo`?",
        ),
    ] {
        scene.file("home/.clinvk/config.json", text);
        let error = format!("clinvk: {FILE}:{at}: {problem}\n");
        for args in [
            &["hi"][..],
            &["-b", "echo", "hi"],
            &["config", "show"],
            &["config", "get", "server.port"],
            &["config", "validate"],
        ] {
            scene.clinvk(args).fails(3, &error);
        }
        config(&scene, &["path"]).prints(&format!("{FILE}\n"));
    }
    scene.file("home/.clinvk/config.json", "{\"server\": ");
    let seen = config(&scene, &["validate"]).seen();
    assert!(seen.err.starts_with(&format!("clinvk: {FILE}:1:")) && seen.status == 3, "{seen}");
}

#[test]
fn a_valid_file_is_said_to_be() {
    let scene = Scene::new();
    scene.config(&json!({}));
    config(&scene, &["validate"]).prints(&format!("{FILE} is valid\n"));
}

#[test]
fn a_bad_variable_stops_and_is_named() {
    let scene = Scene::new();
    let seen = scene.clinvk(["-b", "echo", "hi"]).env("CLINVK_SERVER_PORT", "many").seen();
    assert!(
        seen.err.starts_with("clinvk: CLINVK_SERVER_PORT: expected a whole number") && seen.status == 3,
        "{seen}"
    );
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let scene = Scene::new();
    scene.config(&json!({"server": {"port": 99}}));
    let before = fs::read(scene.path("home/.clinvk/config.json")).unwrap();
    for (args, status, error) in [
        (&["set", "server.prot", "1"][..], 1, "unknown key `server.prot`: did you mean `server.port`?"),
        (
            &["set", "server.port", "99999"],
            1,
            "`server.port`: expected a whole number from 0 to 65535, found `99999`",
        ),
        (&["set", "server", "1"], 1, "`server` is a section: name a key in it"),
        (&["get", "server.prot"], 1, "unknown key `server.prot`: did you mean `server.port`?"),
        (&["unset", "server.prot"], 1, "unknown key `server.prot`: did you mean `server.port`?"),
        (&["get"], 1, "wrong number of words behind `config get`: see `clinvk config get -h`"),
        (&["set", "server.port"], 1, "wrong number of words behind `config set`: see `clinvk config set -h`"),
        (&[], 1, "`config` needs one of: show, get, set, unset, path, validate"),
        (&["shwo"], 1, "unknown config command `shwo`: did you mean `show`?"),
    ] {
        config(&scene, args).fails(status, &format!("clinvk: {error}\n"));
    }
    assert_eq!(fs::read(scene.path("home/.clinvk/config.json")).unwrap(), before);
}

#[test]
fn the_file_of_the_earlier_version_is_noticed() {
    let scene = Scene::new();
    fs::create_dir(scene.path("home/.clinvk")).unwrap();
    scene.file("home/.clinvk/config.yaml", "default_backend: codex\n");
    let warning = "clinvk: `ROOT/home/.clinvk/config.yaml` is not read: the configuration has to be in \
                   `ROOT/home/.clinvk/config.json`\n";
    scene.clinvk(["-b", "echo", "hi"]).is("hi\n", warning, 0);
    scene.clinvk(["-q", "-b", "echo", "hi"]).prints("hi\n");
    scene.config(&json!({}));
    scene.clinvk(["-b", "echo", "hi"]).prints("hi\n");
}

#[test]
fn a_file_that_may_not_be_read_stops() {
    let scene = Scene::new();
    scene.config(&json!({}));
    fs::set_permissions(scene.path("home/.clinvk/config.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let error = format!("clinvk: {FILE}: cannot be read: Permission denied (os error 13)\n");
    scene.clinvk(["-b", "echo", "hi"]).by_nobody().fails(3, &error);
}
