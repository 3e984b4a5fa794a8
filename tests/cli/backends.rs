//! `clinvk backends`.

use crate::util::run::Seen;
use crate::util::scene::Scene;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn told(seen: &Seen) -> BTreeMap<String, Value> {
    let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let backends = said["backends"].as_array().unwrap().iter();
    backends.map(|backend| (backend["name"].as_str().unwrap().to_owned(), backend.clone())).collect()
}

fn names(all: &BTreeMap<String, Value>) -> Vec<&str> {
    all.keys().map(String::as_str).collect()
}

#[test]
fn it_lists_who_can_be_asked_and_with_all_who_is_known() {
    let scene = Scene::new();
    scene.fake("claude", "exit 1");
    scene.fake("llm", "echo it was started >&2; exit 1");
    let mine = scene.fake("mine", "cat");
    scene.config(&json!({
        "default_backend": "mine",
        "backends": {"mine": {"command": [mine]}, "codex": {"enabled": false}, "qwen": {"model": "m"}},
    }));
    let seen = scene.clinvk(["backends", "--json"]).seen();
    let all = told(&seen);
    assert_eq!(names(&all), ["claude", "codex", "echo", "gemini", "llm", "mine", "qwen"], "{seen}");
    let facts = |name: &str| {
        ["source", "protocol", "path", "enabled", "available"].map(|fact| all[name][fact].clone())
    };
    assert_eq!(
        facts("claude"),
        [json!("built in"), json!(null), json!("ROOT/bin/claude"), json!(true), json!(true)]
    );
    assert_eq!(facts("codex"), [json!("built in"), json!(null), json!(null), json!(false), json!(false)]);
    assert_eq!(
        facts("llm"),
        [json!("known agent"), json!("command"), json!("ROOT/bin/llm"), json!(true), json!(true)]
    );
    assert_eq!(
        facts("mine"),
        [json!("configuration"), json!("command"), json!("ROOT/bin/mine"), json!(true), json!(true)]
    );
    assert_eq!(facts("qwen"), [json!("configuration"), json!("acp"), json!(null), json!(true), json!(false)]);
    assert_eq!(all["qwen"]["install"], "npm install -g @qwen-code/qwen-code");
    assert_eq!(all["mine"]["install"], json!(null));
    assert!(all["claude"]["login"].as_str().unwrap().contains("/login"), "{seen}");
    let why = |name: &str| ["default", "reason"].map(|fact| all[name][fact].clone());
    assert_eq!(why("mine"), [json!(true), json!(null)]);
    assert_eq!(why("gemini"), [json!(false), json!("`gemini` is not on PATH")]);
    assert!(all["codex"]["reason"].as_str().unwrap().contains("is disabled"), "{seen}");
    assert!(seen.err.is_empty() && seen.status == 0, "no program was started: {seen}");

    let every = told(&scene.clinvk(["backends", "--all", "--json"]).seen());
    assert!(every.contains_key("opencode") && every.contains_key("goose"), "{:?}", names(&every));
    assert_eq!((&every["opencode"]["tested"], &every["goose"]["tested"]), (&json!("1.18.33"), &json!(null)));
    assert_eq!(every["opencode"]["available"], false);

    let text = scene.clinvk(["backends"]).seen();
    let line = |name: &str| text.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    let words = |name: &str| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("llm"), ["llm", "command", "installed", "ROOT/bin/llm"], "{text}");
    assert_eq!(words("mine"), ["mine", "command", "installed,", "default", "ROOT/bin/mine"], "{text}");
    assert!(line("gemini").contains("`npm install -g @google/gemini-cli`; log in: "), "{text}");
    assert!(line("codex").contains("disabled"), "{text}");
    assert!(line("qwen").contains("missing") && line("qwen").contains("log in: "), "{text}");
    assert!(!text.out.contains("opencode"), "{text}");
}

#[test]
fn a_program_that_npm_has_installed_has_a_version() {
    let scene = Scene::new();
    for (name, package) in
        [("opencode", "opencode-ai"), ("qwen", "@qwen-code/qwen-code"), ("kimi", "elsewhere")]
    {
        let home = if name == "kimi" { "work" } else { "work/node_modules" };
        let dir = scene.path(home).join(package);
        std::fs::create_dir_all(dir.join("bin")).unwrap();
        std::fs::write(dir.join("package.json"), r#"{"version": "1.2.3"}"#).unwrap();
        std::fs::copy("/bin/sh", dir.join("bin/x")).unwrap();
        std::os::unix::fs::symlink(dir.join("bin/x"), scene.path("bin").join(name)).unwrap();
    }
    let all = told(&scene.clinvk(["backends", "--json"]).seen());
    let version = |name: &str| all[name]["version"].clone();
    assert_eq!((version("opencode"), version("qwen")), (json!("1.2.3"), json!("1.2.3")));
    // What has a package.json above it by chance is no package.
    assert_eq!(version("kimi"), json!(null));
}

#[test]
fn behind_the_error_of_a_missing_one_stand_those_that_are_there() {
    let scene = Scene::new();
    scene.fake("llm", "cat");
    scene.fake("codex", "cat");
    let missing = "clinvk: backend `claude` is not installed: `claude` is not on PATH: \
                   `npm install -g @anthropic-ai/claude-code` installs it; log in: `claude`, then `/login`; or `ANTHROPIC_API_KEY`\n";
    scene.clinvk(["hi"]).fails(2, &format!("{missing}clinvk: installed are: codex, llm\n"));
    std::fs::remove_file(scene.path("bin/codex")).unwrap();
    std::fs::remove_file(scene.path("bin/llm")).unwrap();
    scene.clinvk(["hi"]).fails(2, missing);
}

#[test]
fn models_are_listed_by_the_names_that_they_have_here() {
    let scene = Scene::new();
    scene.config(&json!({"backends": {
        "mine": {"command": ["cat"], "models": {"small": "m-1"}, "model": "small"},
        "gemini": {"model": "gemini-9"},
    }}));
    let seen = scene.clinvk(["models", "--json"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap();
    let all = said["models"].as_array().unwrap();
    let has = |backend: &str, name: Value, model: Value, default: bool| {
        all.contains(&json!({"backend": backend, "name": name, "model": model, "default": default}))
    };
    assert!(has("claude", json!("fast"), json!("haiku"), false), "{seen}");
    assert!(has("claude", json!("balanced"), json!(null), false), "{seen}");
    assert!(has("claude", json!(null), json!(null), true), "{seen}");
    assert!(has("mine", json!("small"), json!("m-1"), true), "{seen}");
    assert!(has("gemini", json!("gemini-9"), json!("gemini-9"), true), "{seen}");
    assert!(all.iter().all(|model| model["backend"] != "opencode"), "{seen}");
    scene.clinvk(["models", "-b", "mine"]).prints("BACKEND  NAME   MODEL\nmine     small  m-1, default\n");
    let known = scene.clinvk(["models", "-b", "opencode"]).seen();
    assert!(known.status == 0 && known.out.contains("opencode"), "{known}");
    let wrong = scene.clinvk(["models", "-b", "cluade"]).seen();
    assert!(wrong.status == 2 && wrong.err.contains("did you mean `claude`?"), "{wrong}");
}
