//! Files and terminals that an agent has of its client: the whole way, from `client_tools` in the configuration to the disk.

use crate::util::run::Seen;
use crate::util::scene::{Scene, until};
use clinvk::backend::{Agents, Registry, Step, Steps};
use clinvk::config::{Config, Protocol};
use clinvk::model::event::Event;
use clinvk::model::task::Task;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

/// An agent in a shell: it keeps what it was told first, has what is in `uses` done, and tells what came of each. `use METHOD
/// MEMBERS` waits for the answer; `told` is what it says.
const AGENT: &str = r#"
number=100
use() {
    number=$((number + 1))
    say "{\"jsonrpc\":\"2.0\",\"id\":$number,\"method\":\"$1\",\"params\":{\"sessionId\":\"s\",$2}}"
    read -r reply
    printf '%s\n' "$reply" >>"$here/replies"
}
read -r line; printf '%s' "$line" >"$here/first"
say '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}'
read -r line
say "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"sessionId\":\"s\",\"modes\":{\"currentModeId\":\"$(cat "$here/mode")\",\"availableModes\":[{\"id\":\"edits\",\"name\":\"Edits\"},{\"id\":\"plan\",\"name\":\"Plan\"}]}}}"
read -r line
. "$here/uses"
say '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"well"}}}}'
say '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}'
cat >/dev/null
"#;

/// `mode`: the one that the agent is in, as the file has it for every word of ours.
fn scene(mode: &str, uses: &str) -> Scene {
    let scene = Scene::new();
    let program = scene.fake("agent", AGENT);
    scene.file("bin/uses", uses);
    scene.file("bin/mode", mode);
    scene.config(&json!({
        "default_backend": "agent",
        "backends": {"agent": {
            "command": [program], "protocol": "acp", "client_tools": true, "modes": {"auto": "edits", "read_only": "plan"},
        }},
    }));
    scene.file("work/three", "one\ntwo\nthree\n");
    scene.file("secret", "hidden\n");
    symlink(scene.path("secret"), scene.path("work/out")).unwrap();
    scene
}

/// What the agent was told of each of its uses: a result, or the code of an error.
fn replies(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.path("bin/replies")).unwrap_or_default();
    let reply = |line: &str| {
        let reply: Value = serde_json::from_str(line).unwrap();
        if reply["error"].is_null() { reply["result"].clone() } else { reply["error"]["code"].clone() }
    };
    text.lines().map(reply).collect()
}

fn warnings(seen: &Seen) -> Vec<String> {
    let said: Value = serde_json::from_str(&seen.out).unwrap_or_else(|error| panic!("{error}: {seen}"));
    said["warnings"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

const USES: &str = r#"
use fs/read_text_file "\"path\":\"$PWD/three\",\"line\":2,\"limit\":1"
use fs/read_text_file "\"path\":\"$PWD/none\""
use fs/read_text_file "\"path\":\"$PWD/out\""
use fs/read_text_file "\"path\":\"$PWD/../secret\""
use fs/read_text_file "\"path\":7"
use fs/write_text_file "\"path\":\"$PWD/new\",\"content\":\"made\""
use terminal/create "\"command\":\"sh\",\"args\":[\"-c\",\"echo ran; echo ran >ran; exit 3\"]"
use terminal/wait_for_exit '"terminalId":"terminal-1"'
use terminal/output '"terminalId":"terminal-1"'
use terminal/release '"terminalId":"terminal-1"'
use terminal/nonsense '"terminalId":"terminal-1"'
"#;

#[test]
fn what_is_offered_is_done_under_the_modes() {
    let exit = json!({"exitCode": 3, "signal": null});
    let output = json!({"output": "ran\n", "truncated": false, "exitStatus": exit});
    let reads = [json!({"content": "two\n"}), json!(-32002), json!(-32603), json!(-32603), json!(-32602)];
    let run = [json!({"terminalId": "terminal-1"}), exit, output, json!({}), json!(-32602)];
    let not_run = [json!(-32603), json!(-32002), json!(-32002), json!(-32002), json!(-32602)];
    for (approval, writes, runs) in [("none", true, true), ("auto", true, false), ("default", false, false)] {
        let scene = scene("edits", USES);
        let mut expected = reads.to_vec();
        expected.push(if writes { json!({}) } else { json!(-32603) });
        expected.extend(if runs { run.clone() } else { not_run.clone() });
        let seen = scene.clinvk(["-o", "json", "--approval", approval, "hi"]).seen();
        assert_eq!(replies(&scene), expected, "{approval}: {seen}");
        assert_eq!(scene.path("work/new").exists(), writes, "{approval}");
        assert_eq!(scene.path("work/ran").exists(), runs, "{approval}");
        let told = warnings(&seen);
        let denied = |what: &str| {
            told.iter().any(|line| line.starts_with("permission denied: ") && line.contains(what))
        };
        assert!(denied("outside of the working directory") && seen.status == 0, "{approval}: {seen}");
        assert_eq!((denied("write "), denied("run sh -c")), (!writes, !runs), "{approval}: {told:?}");
        let first: Value =
            serde_json::from_str(&fs::read_to_string(scene.path("bin/first")).unwrap()).unwrap();
        let all = json!({"fs": {"readTextFile": true, "writeTextFile": true}, "terminal": true});
        assert_eq!(first["params"]["clientCapabilities"], all);
    }
}

#[test]
fn read_only_is_no_writing_and_no_running() {
    let scene = scene("plan", USES);
    let seen = scene.clinvk(["-o", "json", "--sandbox", "read-only", "--approval", "none", "hi"]).seen();
    let came = replies(&scene);
    assert_eq!(
        (&came[0], &came[5], &came[6]),
        (&json!({"content": "two\n"}), &json!(-32603), &json!(-32603)),
        "{seen}"
    );
    assert!(!scene.path("work/new").exists() && !scene.path("work/ran").exists(), "{seen}");
    let first: Value = serde_json::from_str(&fs::read_to_string(scene.path("bin/first")).unwrap()).unwrap();
    let reading = json!({"fs": {"readTextFile": true, "writeTextFile": false}, "terminal": false});
    assert_eq!(first["params"]["clientCapabilities"], reading);
}

#[test]
fn without_the_key_nothing_is_offered_or_done() {
    let scene = scene("edits", USES);
    scene.edit_config(|config| config["backends"]["agent"]["client_tools"] = json!(false));
    scene.clinvk(["--approval", "none", "hi"]).prints("well\n");
    assert!(replies(&scene).iter().all(|came| *came == json!(-32601)), "{:?}", replies(&scene));
    let first: Value = serde_json::from_str(&fs::read_to_string(scene.path("bin/first")).unwrap()).unwrap();
    let none = json!({"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false});
    assert_eq!(first["params"]["clientCapabilities"], none);
}

#[test]
fn nothing_is_left_of_a_terminal_when_its_run_is_stopped() {
    let scene = scene(
        "edits",
        r#"use terminal/create "\"command\":\"sh\",\"args\":[\"-c\",\"setsid $here/sleep 1000 & exec $here/sleep 1000\"]"
           tell up
           use terminal/wait_for_exit '"terminalId":"terminal-1"'"#,
    );
    let mut up = scene.fifo("up");
    let running = scene.clinvk(["--approval", "none", "hi"]).start();
    up.told();
    let sleeps = |line: &String| line.contains("sleep 1000") && !line.contains(" -c ");
    until("both are there", || scene.processes().values().filter(|line| sleeps(line)).count() == 2);
    running.signal(clinvk::base::sys::SIGTERM);
    let seen = running.end();
    assert_ne!(seen.status, 0, "{seen}");
    scene.is_deserted();
}

#[test]
fn a_person_is_asked_once_for_one_use() {
    let mut config = Config::default();
    let mut part = config.backend("agent").clone();
    (part.declared.command, part.declared.protocol) = (vec!["agent".to_owned()], Protocol::Acp);
    part.declared.client_tools = true;
    config.backends.insert("agent".to_owned(), part);
    let (registry, _) = Registry::of(&config, "clinvk", Agents::Configured);
    let task = Task { prompt: "hi".into(), dir: "/src".into(), attended: true, ..Task::default() };
    let mut dialogue = registry.get("agent").unwrap().dialogue(&task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    dialogue.line(r#"{"id":1,"result":{"protocolVersion":1,"agentCapabilities":{}}}"#, &mut steps);
    dialogue.line(r#"{"id":2,"result":{"sessionId":"s"}}"#, &mut steps);
    let mut said = |line: &str, answer: Option<bool>| -> Vec<String> {
        let mut steps = Steps::new();
        dialogue.line(line, &mut steps);
        if let Some(allowed) = answer {
            let asked = steps.iter().find_map(|step| match step {
                Step::Ask(permission) => Some(permission.id.clone()),
                _ => None,
            });
            dialogue.permitted(&asked.unwrap_or_else(|| panic!("{line}: {steps:?}")), allowed, &mut steps);
        }
        let word = |step: &Step| match step {
            Step::Ask(permission) => Some(format!("ask {}", permission.title)),
            Step::Use { .. } => Some("use".to_owned()),
            Step::Event(Event::PermissionDenied { what }) => Some(format!("denied {what}")),
            Step::Send(line) if line.contains("error") => Some("error".to_owned()),
            Step::Send(_) => Some("answer".to_owned()),
            _ => None,
        };
        steps.iter().filter_map(word).collect()
    };
    let write = |id: u32| {
        format!(r#"{{"id":{id},"method":"fs/write_text_file","params":{{"path":"/src/a","content":"x"}}}}"#)
    };
    // It does not ask: then we do.
    assert_eq!(said(&write(10), Some(true)), ["ask write /src/a", "use"]);
    assert_eq!(said(&write(11), Some(false)), ["ask write /src/a", "denied write /src/a", "error"]);
    // It asks by itself: its yes is for one use.
    let asks = r#"{"id":12,"method":"session/request_permission","params":{"toolCall":{"toolCallId":"t","kind":"edit","title":"edit a"},
        "options":[{"optionId":"y","kind":"allow_once"}]}}"#;
    assert_eq!(said(asks, Some(true)), ["ask edit a", "answer"]);
    assert_eq!(said(&write(13), None), ["use"]);
    assert_eq!(said(&write(14), Some(true)), ["ask write /src/a", "use"]);
    // That yes is for no program.
    assert_eq!(said(asks, Some(true)), ["ask edit a", "answer"]);
    let run = r#"{"id":15,"method":"terminal/create","params":{"command":"rm","args":["-r","a"]}}"#;
    assert_eq!(said(run, Some(false)), ["ask run rm -r a", "denied run rm -r a", "error"]);
    let read = r#"{"id":16,"method":"fs/read_text_file","params":{"path":"/src/a"}}"#;
    assert_eq!(said(read, None), ["use"]);
}
