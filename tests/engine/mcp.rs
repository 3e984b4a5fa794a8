//! MCP servers for a run: where they come from, who takes them, and what is never shown of them.

use crate::util::scene::Scene;
use serde_json::{Value, json};

const SERVERS: &str = r#"{"mcpServers": {
    "docs": {"command": "docs-server", "args": ["--all"], "env": {"TOKEN": "secret-1"}},
    "web": {"type": "http", "url": "https://h/mcp", "headers": {"Authorization": "secret-2"}}
}}"#;

/// The dry run of a prompt for claude with these words more, as data.
fn dry(scene: &Scene, words: &[&str]) -> Value {
    let run = scene.clinvk(["-b", "claude", "--dry-run", "--json"]).args(words).args(["hi"]).seen();
    assert_eq!((run.status, &*run.err), (0, ""), "{run}");
    assert!(!run.out.contains("secret-"), "{run}");
    serde_json::from_str(&run.out).unwrap()
}

/// The names of the servers that the file of a dry run has.
fn servers(dry: &Value) -> Vec<String> {
    let files = dry["files"].as_array().unwrap();
    let text = files.first().map_or("{}", |file| file["content"].as_str().unwrap());
    let read: Value = serde_json::from_str(text).unwrap();
    read["mcpServers"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[test]
fn they_come_from_files_and_from_json_and_their_secrets_stay_in_the_dark() {
    let scene = Scene::new();
    scene.file("work/servers.json", SERVERS);
    let shown = dry(&scene, &["--mcp", "servers.json", "--mcp", r#"{"third": {"command": "x"}}"#]);
    assert_eq!(servers(&shown), ["docs", "third", "web"]);
    let path = shown["files"][0]["path"].as_str().unwrap();
    assert!(shown["args"].as_array().unwrap().contains(&json!(format!("--mcp-config={path}"))), "{shown}");
    let text = shown["files"][0]["content"].as_str().unwrap();
    for part in ["docs-server", "--all", "https://h/mcp", r#""TOKEN":"...""#, r#""Authorization":"...""#] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let script = scene.clinvk(["-b", "codex", "--dry-run", "--mcp", "servers.json", "hi"]).seen();
    assert!(script.out.contains("docs-server") && !script.out.contains("secret-"), "{script}");
}

#[test]
fn those_of_the_configuration_are_used_unless_a_run_has_its_own() {
    let scene = Scene::new();
    scene.config(&json!({"backends": {"claude": {"mcp": "servers.json"}}}));
    scene.file("home/.clinvk/servers.json", SERVERS);
    assert_eq!(servers(&dry(&scene, &[])), ["docs", "web"]);
    assert_eq!(servers(&dry(&scene, &["--mcp", r#"{"own": {"command": "x"}}"#])), ["own"]);
    assert!(servers(&dry(&scene, &["--mcp", "{}"])).is_empty());
    scene.config(&json!({"backends": {"claude": {"mcp": SERVERS}}}));
    assert_eq!(servers(&dry(&scene, &[])), ["docs", "web"]);
    scene.config(&json!({"backends": {"claude": {"mcp": "nothing.json"}}}));
    let broken = scene.clinvk(["-b", "claude", "--dry-run", "hi"]).seen();
    assert_eq!(broken.status, 3, "{broken}");
    assert!(
        broken.err.starts_with("clinvk: backends.claude.mcp: cannot read `ROOT/home/.clinvk/nothing.json`"),
        "{broken}"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_file_and_server() {
    let scene = Scene::new();
    scene.file("work/servers.json", "{\n\"docs\": {\"comand\": \"x\"}}");
    for (words, error) in [
        (
            &["--mcp", "servers.json"][..],
            "clinvk: servers.json: MCP server `docs`: unknown field `comand`: did you mean `command`? at line 2 column 17\n",
        ),
        (
            &["--mcp", r#"{"docs": {"url": 1}}"#],
            "clinvk: `--mcp`: MCP server `docs`: `url`: invalid type: integer `1`, expected a string at line 1 column 18\n",
        ),
        (
            &["--mcp", r#"{"a": {"command": "x"}}"#, "--mcp", r#"{"a": {"command": "x"}}"#],
            "clinvk: two MCP servers are named `a`\n",
        ),
        (
            &["--mcp", r#"{"a": {"command": "x"}}"#, "--sandbox", "read-only"],
            "clinvk: backend `claude` cannot honour mcp servers: what a server's tools do is in no sandbox: \
             `read-only` excludes them (`--lenient` goes on without it)\n",
        ),
    ] {
        scene.clinvk(["-b", "claude", "--dry-run"]).args(words).args(["hi"]).fails(1, error);
    }
    let missing = scene.clinvk(["-b", "claude", "--dry-run", "--mcp", "nothing.json", "hi"]).seen();
    assert!(missing.err.starts_with("clinvk: cannot read `nothing.json`"), "{missing}");
}

#[test]
fn backends_without_them_refuse_them_by_name_or_go_on_with_a_warning() {
    let scene = Scene::new();
    let mcp = r#"{"a": {"command": "x"}}"#;
    let why = "backend `echo` cannot honour mcp servers: clinvk does not pass them on to it";
    let refused = format!("clinvk: {why} (`--lenient` goes on without it)\n");
    scene.clinvk(["-b", "echo", "--mcp", mcp, "hi"]).fails(1, &refused);
    let warned = format!("clinvk: {why}\n");
    scene.clinvk(["-b", "echo", "--lenient", "--mcp", mcp, "hi"]).is("hi\n", &warned, 0);
}

#[test]
fn tasks_of_files_have_them_too() {
    let scene = Scene::new();
    let task = json!({"backend": "claude", "prompt": "hi", "dry_run": true, "mcp": {"docs": {"command": "docs-server"}}});
    scene.file("work/tasks.json", json!({"tasks": [task]}).to_string());
    let run = scene.clinvk(["parallel", "-f", "tasks.json"]).seen();
    assert!(run.out.contains("docs-server") && run.status == 0, "{run}");
    scene.file("work/tasks.json", r#"{"tasks": [{"prompt": "hi", "mcp": {"docs": {"comand": "x"}}}]}"#);
    let run = scene.clinvk(["parallel", "-f", "tasks.json"]).seen();
    let sentence = "`mcp`: MCP server `docs`: unknown field `comand`: did you mean `command`?";
    assert!(run.err.contains(sentence) && run.status == 1, "{run}");
}
