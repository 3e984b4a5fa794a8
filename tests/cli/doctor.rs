//! `clinvk doctor`.

use crate::util::run::{Seen, is_superuser};
use crate::util::scene::Scene;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// What was found, by what it is about.
fn findings(seen: &Seen) -> BTreeMap<String, Value> {
    let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let can_run = seen.status == 0;
    assert!(said["can_run"] == can_run && said["kind"].is_null() == can_run, "{seen}");
    let all = said["findings"].as_array().unwrap().iter();
    all.map(|finding| (finding["about"].as_str().unwrap().to_owned(), finding.clone())).collect()
}

fn state<'a>(found: &'a BTreeMap<String, Value>, about: &str) -> &'a str {
    found.get(about).unwrap_or_else(|| panic!("nothing about {about}: {found:#?}"))["state"].as_str().unwrap()
}

#[test]
fn where_a_prompt_can_run_all_is_well_and_what_is_set_is_named_without_its_value() {
    let scene = Scene::playing("cat");
    scene.edit_config(|config| config["backends"]["fake"]["env"] = json!({"SECRET": "s3cret"}));
    std::fs::set_permissions(scene.path("home/.clinvk"), PermissionsExt::from_mode(0o700)).unwrap();
    scene.fake("claude", "echo '2.1.200 (Claude Code)'");
    scene.fake("codex", "echo codex-cli 0.99.0");
    let seen = scene.clinvk(["doctor", "--json"]).env("ANTHROPIC_API_KEY", "k3y").seen();
    let found = findings(&seen);
    for (about, is) in [
        ("home", "ok"),
        ("locks", "ok"),
        ("configuration", "ok"),
        ("fake", "ok"),
        ("claude", "ok"),
        ("codex", "warning"),
        ("gemini", "note"),
        ("echo", "ok"),
    ] {
        assert_eq!(state(&found, about), is, "{about}: {seen}");
    }
    let origin = format!("file {}", "ROOT/home/.clinvk/config.json");
    let set = found["configuration"]["set"].as_array().unwrap();
    assert!(set.contains(&json!({"key": "default_backend", "origin": origin})), "{seen}");
    let claude = &found["claude"];
    assert_eq!((&claude["version"], &claude["login"]), (&json!("2.1.200"), &json!("ANTHROPIC_API_KEY")));
    assert!(claude["oldest"].is_string() && claude["tested"].is_string(), "{seen}");
    let (codex, gemini) = (&found["codex"], &found["gemini"]);
    assert!(codex["message"].as_str().unwrap().contains("0.99.0 is too old"), "{seen}");
    assert!(gemini["remedy"].as_str().unwrap().contains("npm install -g @google/gemini-cli"), "{seen}");
    assert!(found["fake"]["default"] == true && found["fake"]["not_honoured"].is_array(), "{seen}");
    assert!(!seen.out.contains("s3cret") && !seen.out.contains("k3y") && seen.err.is_empty(), "{seen}");
    assert!(std::fs::read_dir(scene.path("home/.clinvk")).unwrap().count() == 1, "nothing is left there");

    let text = scene.clinvk(["doctor"]).seen();
    let fake = text.out.lines().find(|line| line.contains(" fake (default)  ROOT/bin/fake, options: "));
    assert!(
        text.out.contains("\nok ") && fake.is_some_and(|line| line.ends_with(" (as declared)")),
        "{text}"
    );
    assert!(text.out.contains("\na prompt can run (problems: 0, warnings: 2)\n"), "{text}");
    scene.is_deserted();
}

#[test]
fn what_keeps_the_default_backend_from_running_is_its_status() {
    // No login is to be seen, before and after one.
    let scene = Scene::new();
    let fails = |scene: &Scene, status: i32, about: &str, words: &str| {
        let seen = scene.clinvk(["doctor", "--json"]).seen();
        let found = findings(&seen);
        assert_eq!((seen.status, state(&found, about)), (status, "problem"), "{seen}");
        assert!(found[about]["message"].as_str().unwrap().contains(words), "{words}: {seen}");
    };
    fails(&scene, 2, "claude", "`claude` is not on PATH");
    scene.fake("claude", "echo 2.1.100");
    fails(&scene, 2, "claude", "2.1.100 is too old");
    scene.file("bin/claude.play", "echo 2.1.332");
    fails(&scene, 1, "claude", "no login is to be seen");
    std::fs::create_dir(scene.path("home/.claude")).unwrap();
    scene.file("home/.claude/.credentials.json", "{}");
    let found = findings(&scene.clinvk(["doctor", "--json"]).seen());
    assert_eq!(found["claude"]["login"], "ROOT/home/.claude/.credentials.json");
    // In the settings of a home that is elsewhere.
    std::fs::create_dir(scene.path("elsewhere")).unwrap();
    let elsewhere = || scene.clinvk(["doctor"]).env("CLAUDE_CONFIG_DIR", scene.path("elsewhere"));
    assert_eq!(elsewhere().seen().status, 1);
    scene.file("elsewhere/settings.json", r#"{"apiKeyHelper": "x"}"#);
    assert_eq!(elsewhere().seen().status, 0);
    // One that is switched off, one that there is not, and a configuration that says nothing.
    scene.config(&json!({"backends": {"claude": {"enabled": false}}}));
    fails(&scene, 2, "claude", "is disabled");
    scene.config(&json!({"default_backend": "cluade"}));
    fails(&scene, 3, "configuration", "unknown backend `cluade`: did you mean `claude`");
    scene.config(&json!({"defualt_backend": "claude"}));
    fails(&scene, 3, "configuration", "defualt_backend");
}

/// No program tells without a conversation what it can do: the table does, and doctor says whether it holds for this version.
#[test]
fn what_a_backend_can_do_is_from_the_table_and_whether_that_was_tested_is_told() {
    let scene = Scene::new();
    for (version, is_tested, this) in [
        ("2.1.332", json!(true), "this one"),
        ("2.1.160", json!(false), "not this one"),
        ("9.0.0", json!(false), "not this one"),
    ] {
        scene.fake("claude", &format!("echo {version}"));
        let seen = scene.clinvk(["doctor", "--json"]).env("ANTHROPIC_API_KEY", "k").seen();
        let claude = &findings(&seen)["claude"];
        let words = format!("(from the table, tested with 2.1.197 to 2.1.332: {this})");
        assert!(claude["message"].as_str().unwrap().contains(&words), "{words}: {seen}");
        assert_eq!(
            (&claude["is_tested"], &claude["not_honoured"]),
            (&is_tested, &json!(["sandbox workspace", "effort ultra"]))
        );
        std::fs::remove_file(scene.path("bin/claude")).unwrap();
    }
}

#[test]
fn what_is_wrong_with_sessions_is_told_and_left_as_it_is() {
    let scene = Scene::playing("cat");
    let look = || findings(&scene.clinvk(["doctor", "--json"]).seen());
    assert!(!look().contains_key("sessions"), "there are none");
    for _ in 0..2 {
        assert_eq!(scene.clinvk(["hello"]).seen().status, 0);
    }
    let found = look();
    assert_eq!((state(&found, "sessions"), &found["sessions"]["sessions"]), ("ok", &json!(2)));
    let files = || {
        let all = std::fs::read_dir(scene.path("home/.clinvk/sessions")).unwrap();
        let file = |path: std::path::PathBuf| (path.clone(), std::fs::read(path).unwrap());
        all.map(|entry| file(entry.unwrap().path())).collect::<BTreeMap<_, _>>()
    };
    let session = files().into_keys().find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    std::fs::write(&session, "{").unwrap();
    scene.file("home/.clinvk/sessions/half.json.tmp", "{");
    let before = files();
    let found = look();
    let sessions = &found["sessions"];
    assert_eq!((state(&found, "sessions"), &sessions["remedy"]), ("warning", &json!("clinvk sessions fsck")));
    assert_eq!(
        (&sessions["wrong"]["corrupt"], &sessions["wrong"]["temporary"]),
        (&json!(1), &json!(1)),
        "{sessions}"
    );
    assert!(files() == before, "nothing is repaired");
    scene.clinvk(["sessions", "fsck"]).seen();
    assert_eq!(state(&look(), "sessions"), "ok");
}

#[test]
fn a_home_that_is_no_good_is_found_out() {
    let scene = Scene::playing("cat");
    let told = |scene: &Scene| {
        let seen = scene.clinvk(["doctor", "--json"]).seen();
        (findings(&seen), seen)
    };
    std::fs::set_permissions(scene.path("home/.clinvk"), PermissionsExt::from_mode(0o755)).unwrap();
    let (found, seen) = told(&scene);
    assert!(state(&found, "home") == "warning" && seen.status == 0, "{seen}");
    assert_eq!(found["home"]["remedy"], "chmod 700 'ROOT/home/.clinvk'");
    scene.file("plain", "");
    let seen = scene.clinvk(["doctor", "--json"]).env("CLINVK_HOME", scene.path("plain")).seen();
    assert!(state(&findings(&seen), "home") == "problem" && seen.status == 3 || seen.status == 4, "{seen}");
    if !is_superuser() {
        std::fs::set_permissions(scene.path("home/.clinvk"), PermissionsExt::from_mode(0o500)).unwrap();
        let (found, seen) = told(&scene);
        assert!(state(&found, "locks") == "problem" && seen.status == 4, "{seen}");
        std::fs::set_permissions(scene.path("home/.clinvk"), PermissionsExt::from_mode(0o700)).unwrap();
    }
}

/// A program that does not answer holds nothing up but itself, and those of several backends are started at once.
#[test]
fn programs_are_asked_at_once_and_not_for_long() {
    let scene = Scene::playing("cat");
    let _fifos = (scene.fifo("one"), scene.fifo("other"));
    // Each answers only when the other has been started.
    for (name, own, others) in [("claude", "one", "other"), ("codex", "other", "one")] {
        scene.fake(name, &format!("tell {own}; await {others}; echo 9.9.9"));
    }
    let seen = scene.clinvk(["doctor", "--json"]).seen();
    let found = findings(&seen);
    assert_eq!((&found["claude"]["version"], &found["codex"]["version"]), (&json!("9.9.9"), &json!("9.9.9")));
    scene.file("bin/claude.play", "await nothing-that-comes");
    let _never = scene.fifo("nothing-that-comes");
    scene.file("bin/codex.play", "echo 9.9.9");
    let found = findings(&scene.clinvk(["doctor", "--json"]).seen());
    assert!(found["claude"]["version"].is_null() && found["codex"]["version"] == "9.9.9", "{found:#?}");
    scene.is_deserted();
}

#[cfg(feature = "serve")]
#[test]
fn a_server_that_is_named_is_asked_and_its_default_backend_counts() {
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    scene.config(&json!({"default_backend": "codex"}));
    let doctor = |name: &str| scene.clinvk(["doctor", "--json", "--server", name]).seen();
    let seen = doctor(&format!("http://{}", server.address));
    let found = findings(&seen);
    assert!(state(&found, "server") == "ok" && seen.status == 0, "{seen}");
    assert!(found["server"]["default_backend"] == "fake", "{seen}");
    assert_eq!(state(&found, "codex"), "problem", "it is told all the same: {seen}");
    // The user's own, which a doctor does not start.
    let seen = doctor("auto");
    assert!(state(&findings(&seen), "server") == "ok" && seen.status == 2, "{seen}");
    assert!(!scene.path("home/.clinvk/socket").exists(), "{seen}");
    let socket = scene.text("home/.clinvk/socket");
    let own = scene.serve(["--socket", &socket]);
    let seen = scene.clinvk(["doctor", "--json"]).seen();
    assert_eq!(findings(&seen)["server"]["server"], "auto", "{seen}");
    drop(own);
    let seen = doctor("http://127.0.0.1:9");
    assert!(state(&findings(&seen), "server") == "problem" && seen.status == 5, "{seen}");
}

#[test]
fn locks_that_exclude_no_other_process_are_a_problem() {
    let scene = Scene::playing("cat");
    let seen = scene.clinvk(["doctor", "--json"]).without_exclusion().seen();
    let locks = &findings(&seen)["locks"];
    let says = |key: &str, words: &str| locks[key].as_str().is_some_and(|text| text.contains(words));
    assert!(
        locks["state"] == "problem"
            && says("message", "two processes had the same lock at once")
            && says("remedy", "set CLINVK_HOME to"),
        "{seen}"
    );
    assert!(std::fs::read_dir(scene.path("home/.clinvk")).unwrap().count() == 1, "nothing is left there");
}
