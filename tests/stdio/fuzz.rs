//! Conversations by chance with `clinvk acp` and `clinvk mcp`: whatever a client says, each line that is said to it is a message, and the
//! end of its input ends everything.

use crate::util::fuzz::{self, Chance};
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// Each is a process, and some runs in it: 20,000 of both take a quarter of an hour of a debug build.
const CONVERSATIONS: u64 = 40;

fn request(id: u64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

fn of_acp() -> Vec<String> {
    let prompt = json!([{"type": "text", "text": "hi"}, {"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="},
        {"type": "resource", "resource": {"uri": "file:///a", "text": "t"}}]);
    let servers = json!([{"name": "a", "command": "x", "args": [], "env": [{"name": "A", "value": "b"}]},
        {"type": "http", "name": "b", "url": "https://h/mcp", "headers": []}]);
    let id = "a".repeat(32);
    vec![
        request(
            1,
            "initialize",
            json!({"protocolVersion": 1, "clientCapabilities": {"fs": {"readTextFile": true}}}),
        ),
        request(
            2,
            "session/new",
            json!({"cwd": "/", "mcpServers": [], "_meta": {"systemPrompt": {"append": "s"}}}),
        ),
        request(3, "session/new", json!({"cwd": "/tmp", "mcpServers": servers})),
        request(4, "session/list", json!({"cwd": "/", "cursor": "0"})),
        request(5, "session/load", json!({"sessionId": id, "cwd": "/", "mcpServers": []})),
        request(6, "session/prompt", json!({"sessionId": id, "prompt": prompt})),
        request(7, "session/set_mode", json!({"sessionId": id, "modeId": "plan"})),
        request(
            8,
            "session/set_config_option",
            json!({"sessionId": id, "configId": "model", "value": "fast"}),
        ),
        json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": id}}).to_string(),
        request(9, "session/fork", json!({"sessionId": id, "cwd": "/", "mcpServers": []})),
        request(10, "session/delete", json!({"sessionId": id})),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"outcome": {"outcome": "selected", "optionId": "x"}}})
            .to_string(),
    ]
}

fn of_mcp() -> Vec<String> {
    let call = |id: u64, name: &str, arguments: Value| {
        request(
            id,
            "tools/call",
            json!({"name": name, "arguments": arguments, "_meta": {"progressToken": id}}),
        )
    };
    vec![
        request(1, "initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}})),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string(),
        request(2, "tools/list", json!({})),
        call(3, "prompt", json!({"prompt": "hi", "backend": "echo", "timeout_secs": 5})),
        call(4, "compare", json!({"prompt": "hi", "backends": ["echo"]})),
        call(5, "parallel", json!({"tasks": [{"prompt": "a"}, {"prompt": "b"}]})),
        call(6, "sessions", json!({"limit": 3, "turns": true})),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3, "reason": "r"}}).to_string(),
        request(7, "server/discover", json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}})),
        request(8, "ping", json!({})),
    ]
}

fn converse(command: &str, lines: &[String]) {
    let scene = Scene::new();
    scene.config(&json!({"default_backend": "echo"}));
    let draw = |chance: &mut Chance| {
        let mut said = Vec::new();
        for _ in 0..3 {
            said.extend(fuzz::list(chance, lines, lines, |chance, line| {
                *line = fuzz::json_text(chance, line, &[])
            }));
        }
        said
    };
    fuzz::target(&format!("clients of clinvk {command}"), CONVERSATIONS, draw, |said, _| {
        let seen = scene.clinvk([command]).stdin(said.join("\n") + "\n").seen();
        if seen.status != 0 || seen.err.contains("panic") || seen.out.contains("\"kind\":\"internal\"") {
            return Err(seen.to_string());
        }
        // A message that has an id and a method is answered, whatever it is.
        let answers = seen.out.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>();
        let answers = answers.map_err(|error| format!("{error}: {seen}"))?;
        for id in said.iter().filter_map(|line| asked(line)) {
            if !answers.iter().any(|answer| answer["id"] == id && answer.get("method").is_none()) {
                return Err(format!("{id} is not answered: {seen}"));
            }
        }
        Ok(())
    });
}

/// The id of a request whose answer cannot be called off.
fn asked(line: &str) -> Option<Value> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_quick =
        message["method"] == "initialize" || message["method"] == "tools/list" || message["method"] == "ping";
    (is_quick && !message["id"].is_null()).then(|| message["id"].clone())
}

#[test]
fn whatever_a_client_of_acp_says_it_has_its_answers() {
    converse("acp", &of_acp());
}

#[test]
fn whatever_a_client_of_mcp_says_it_has_its_answers() {
    converse("mcp", &of_mcp());
}
