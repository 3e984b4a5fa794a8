//! The agents that are known by name.

use crate::cli::manual::page;
use crate::util::scene::Scene;
use clinvk::backend::{Agents, Registry, Step};
use clinvk::config::agents::{self, Agent};
use clinvk::config::{BUILT_IN, Config, Protocol};
use clinvk::model::task::Task;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn all() -> impl Iterator<Item = (&'static str, &'static Agent)> {
    agents::names().map(|name| (name, agents::find(name).unwrap()))
}

#[test]
fn every_row_is_whole() {
    let text = include_str!("../../src/config/agents.json");
    let written: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  \"").and_then(|rest| rest.strip_suffix("\": {")))
        .collect();
    assert_eq!(written.iter().collect::<BTreeSet<_>>().len(), written.len(), "a name stands there twice");
    assert_eq!(written.iter().copied().collect::<BTreeSet<_>>(), agents::names().collect());
    for name in [
        "opencode",
        "qwen",
        "copilot",
        "kimi",
        "vibe",
        "goose",
        "cursor",
        "cline",
        "auggie",
        "droid",
        "fast-agent",
        "codex-acp",
        "claude-agent-acp",
        "llm",
        "ollama",
        "aichat",
        "aider",
        "mods",
    ] {
        assert!(agents::find(name).is_some(), "{name}");
    }
    for (name, agent) in all() {
        let Agent { install, login, tested, note, config, .. } = agent;
        assert!(!BUILT_IN.contains(&name));
        assert!(!config.declared.command.is_empty(), "{name} has no command");
        assert!(!install.is_empty() && !login.is_empty() && note.ends_with('.'), "{name}: {agent:?}");
        let is_version = tested.split('.').all(|part| part.parse::<u32>().is_ok());
        assert!(tested.is_empty() || is_version, "{name}: {tested}");
        let modes = &config.declared.modes;
        let modes = [&modes.default, &modes.auto, &modes.none, &modes.always, &modes.read_only];
        let is_acp = config.declared.protocol == Protocol::Acp;
        assert!(
            is_acp || modes.iter().all(|mode| mode.is_empty()),
            "{name} has modes and no protocol for them"
        );
    }
}

#[test]
fn the_manual_has_every_row_with_its_mark() {
    let page = page("clinvk-config.5");
    let (_, part) = page.split_once(".Sh KNOWN AGENTS\n").unwrap();
    let (part, _) = part.split_once("\n.Sh ").unwrap();
    let items: Vec<&str> = part.split(".It Sy ").skip(1).collect();
    assert_eq!(items.len(), all().count(), "an item for each and no other");
    for (name, agent) in all() {
        let mark = match &*agent.tested {
            "" => "not tested".to_owned(),
            version => format!("tested with {version}"),
        };
        let head = format!("{name} Pq {mark}\n");
        let item = items.iter().find(|item| item.starts_with(&head)).unwrap_or_else(|| panic!("{head}"));
        let words = |text: &str| {
            let bare = text.replace(".Ql ", "").replace(['`', '"'], "");
            bare.split(|letter: char| letter.is_whitespace() || ".,;:".contains(letter))
                .map(str::to_owned)
                .filter(|word| !word.is_empty())
                .collect::<Vec<String>>()
                .join(" ")
        };
        let item = words(item);
        for text in [&agent.install, &agent.login, &agent.note] {
            assert!(item.contains(&words(text)), "{name}: {text}\n{item}");
        }
    }
}

#[test]
fn plain_agents_are_launched_so() {
    let (registry, _) = Registry::of(&Config::default(), "clinvk", Agents::Known);
    let full = Task {
        prompt: "!say {model}".into(),
        dir: "/src".into(),
        model: Some("m".into()),
        system: Some("-brief".into()),
        ..Task::default()
    };
    let bare = Task { model: None, system: None, ..full.clone() };
    let aider = "aider --no-pretty --no-check-update --no-show-release-notes --no-show-model-warnings --no-gitignore \
                 --chat-history-file /dev/null --input-history-file /dev/null --message| !say {model}";
    let by_argument = [aider.replace(' ', "|").replace("||!say|", "| !say "), String::new()];
    for (name, task, launched, is_read) in [
        ("llm", &full, "llm|--no-log|--model|m|--system|-brief", true),
        ("llm", &bare, "llm|--no-log", true),
        ("ollama", &full, "ollama|run|--hidethinking|--nowordwrap|m", true),
        ("aichat", &full, "aichat|--model=m|--prompt=-brief", true),
        ("mods", &full, "mods|--no-cache|--quiet|--model=m", true),
        ("aider", &full, &*(by_argument[0].clone() + "|--model|m"), false),
        ("aider", &bare, &*by_argument[0], false),
    ] {
        let backend = registry.get(name).unwrap();
        let launch = backend.launch(task).unwrap();
        let words: Vec<&str> =
            std::iter::once(&launch.program).chain(&launch.args).map(String::as_str).collect();
        assert_eq!(words.join("|"), launched, "{name}");
        let mut steps = Vec::new();
        backend.dialogue(task).start(&mut steps);
        let sent = steps.iter().any(|step| *step == Step::SendRaw(task.prompt.clone()));
        assert_eq!(sent, is_read, "{name}: {steps:?}");
    }
}

#[test]
fn a_known_agent_needs_no_configuration() {
    let scene = Scene::new();
    scene.fake("llm", "printf '%s|' \"$@\"; cat");
    scene.clinvk(["-b", "llm", "-m", "small", "hi"]).prints("--no-log|--model|small|hi\n");
    // In the environment too, and the file need not know of it.
    scene.clinvk(["hi"]).env("CLINVK_BACKEND", "llm").prints("--no-log|hi\n");
    scene.clinvk(["-b", "llm", "hi"]).env("CLINVK_LLM_MODEL", "small").prints("--no-log|--model|small|hi\n");
    let session = scene.clinvk(["-c", "-o", "json", "again"]).seen();
    let said: Value = serde_json::from_str(&session.out).unwrap();
    assert!(said["backend"] == "llm" && session.status == 0, "{session}");
}

#[test]
fn one_that_is_not_there_says_how_it_gets_there() {
    let scene = Scene::new();
    scene.clinvk(["-b", "opencode", "hi"]).fails(
        2,
        "clinvk: backend `opencode` is not installed: `opencode` is not on PATH: `npm install -g opencode-ai` installs \
         it; log in: `opencode auth login`\n",
    );
    scene
        .clinvk(["-b", "opencod", "hi"])
        .fails(2, "clinvk: unknown backend `opencod`: did you mean `opencode`?\n");
    scene
        .clinvk(["-b", "nobody", "hi"])
        .fails(2, "clinvk: unknown backend `nobody`: known are claude, codex, echo, gemini\n");
}

#[test]
fn a_file_changes_a_row_key_by_key_or_replaces_it() {
    let scene = Scene::new();
    scene.fake("llm", "printf '%s|' \"$@\"; cat");
    let other = scene.fake("other", "printf 'other|'; printf '%s|' \"$@\"; cat");
    scene.config(&json!({"backends": {"llm": {"model": "small", "program": other, "env": {"A": "b"}}}}));
    scene.clinvk(["-b", "llm", "hi"]).prints("other|--no-log|--model|small|hi\n");
    scene.config(&json!({"backends": {"llm": {"command": ["llm", "prompt"]}}}));
    scene.clinvk(["-b", "llm", "hi"]).prints("prompt|hi\n");
    scene.clinvk(["-b", "llm", "-m", "small", "hi"]).fails(
        1,
        "clinvk: backend `llm` cannot honour model: its `model_args` are not declared in the configuration \
         (`--lenient` goes on without it)\n",
    );
    scene.config(&json!({"backends": {"llm": {"enabled": false}}}));
    scene.clinvk(["-b", "llm", "hi"]).fails(
        1,
        "clinvk: backend `llm` is disabled: `clinvk config set backends.llm.enabled true` enables it\n",
    );
}

#[test]
fn a_name_with_a_hyphen_has_variables_too() {
    let scene = Scene::new();
    scene.config(&json!({"backends": {"fast-agent": {"enabled": true}}}));
    let get = |key| scene.clinvk(["config", "get", key]).env("CLINVK_FAST_AGENT_MODEL", "generic.m");
    get("backends.fast-agent.model").prints("generic.m\n");
    get("backends.fast-agent.model_args").prints("[\"--model\",\"{model}\"]\n");
    let error = "clinvk: ";
    let seen = scene.config(&json!({"backends": {"my-agent": {"command": ["a"]}}})).clinvk(["hi"]).seen();
    assert!(
        seen.status == 3 && seen.err.starts_with(error) && seen.err.contains("cannot be named `my-agent`"),
        "{seen}"
    );
}

#[test]
fn the_configuration_has_rows_of_those_that_it_names() {
    let scene = Scene::new();
    let rows = |name: &str| {
        let shown = scene.clinvk(["config", "show", "--origin"]).seen().out;
        let head = format!("backends.{name}.");
        shown.lines().filter(|line| line.starts_with(&head)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows("opencode"), Vec::<String>::new());
    // It can be looked at all the same.
    scene.clinvk(["config", "get", "backends.opencode.command"]).prints("[\"opencode\",\"acp\"]\n");
    for config in [
        json!({"default_backend": "opencode"}),
        json!({"unified_flags": {"fallback": ["opencode:big"]}}),
        json!({"server": {"allowed_backends": ["opencode"]}}),
        json!({"server": {"keys": {"ci": {"allowed_backends": ["opencode"]}}}}),
        json!({"server": {"models": {"gpt-4o": "opencode/big"}}}),
        json!({"backends": {"opencode": {"model": "big"}}}),
    ] {
        scene.config(&config);
        let command = "backends.opencode.command = [\"opencode\",\"acp\"]  (known agent)".to_owned();
        assert!(rows("opencode").contains(&command), "{config}: {:?}", rows("opencode"));
        assert_eq!(rows("qwen"), Vec::<String>::new());
    }
}

#[test]
fn all_backends_are_those_of_the_configuration() {
    let scene = Scene::new();
    scene.fake("llm", "printf llm");
    scene.fake("claude", "exit 1");
    let asked = || {
        let seen = scene.clinvk(["compare", "--all-backends", "--json", "-q", "hi"]).seen();
        let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
        said["backends"].clone()
    };
    assert_eq!(asked(), json!(["claude"]));
    scene.clinvk(["compare", "--backends", "llm", "hi"]).seen().out.contains("llm").then_some(()).unwrap();
    scene.config(&json!({"backends": {"llm": {"enabled": true}}}));
    assert_eq!(asked(), json!(["claude", "llm"]));
}

#[cfg(feature = "serve")]
#[test]
fn a_server_offers_those_that_its_configuration_names() {
    let scene = Scene::new();
    scene.fake("llm", "cat");
    scene.config(&json!({"default_backend": "echo"}));
    let names = |told: &Value| -> Vec<String> {
        let backends = told["backends"].as_array().unwrap().iter();
        backends.map(|backend| backend["name"].as_str().unwrap().to_owned()).collect()
    };
    let asked = json!({"backend": "llm", "prompt": "hi"});
    let server = scene.serve([]);
    for path in ["/api/v1/backends", "/health"] {
        assert!(!names(&server.get(path).json()).contains(&"llm".to_owned()));
    }
    let refused = server.post("/api/v1/prompt", &asked);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(refused.status == 403 && message.contains("backends.llm.enabled true"), "{refused}");
    // To a client that can ask for models only, the name means nothing.
    let model = json!({"model": "llm", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(server.post("/openai/v1/chat/completions", &model).status, 200);
    drop(server);
    for named in
        [json!({"backends": {"llm": {"enabled": true}}}), json!({"server": {"allowed_backends": ["llm"]}})]
    {
        scene.config(&named);
        let server = scene.serve([]);
        assert!(names(&server.get("/api/v1/backends").json()).contains(&"llm".to_owned()));
        let answer = server.post("/api/v1/prompt", &asked);
        assert!(answer.status == 200 && answer.json()["content"] == "hi", "{answer}");
    }
}

#[test]
fn one_whose_user_is_not_logged_in_says_how_that_is_done() {
    let scene = Scene::new();
    let refusing = r#"read -r line
        say '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}'
        read -r line
        say '{"jsonrpc":"2.0","id":2,"error":{"code":-32000,"message":"Authentication required"}}'
        cat >/dev/null"#;
    scene.fake("auggie", refusing);
    let seen = scene.clinvk(["-b", "auggie", "-o", "json", "hi"]).seen();
    let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    let error = said["error"].as_str().unwrap();
    assert!(error.ends_with("(log in: `auggie login`, or `AUGMENT_SESSION_AUTH`)"), "{seen}");
    assert!(said["kind"] == "login" && seen.status == 1, "{seen}");
    // Another program of that name has another way.
    let program = scene.fake("other", refusing);
    scene.config(&json!({"backends": {"auggie": {"command": [program], "protocol": "acp"}}}));
    let seen = scene.clinvk(["-b", "auggie", "hi"]).seen();
    assert!(!seen.err.contains("log in:") && seen.status == 1, "{seen}");
}
