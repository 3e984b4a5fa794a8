//! What a backend asks a person is asked of the client, and the answer reaches the backend.

use super::acp::{begin, prompt, told};
use super::peer::Peer;
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// A claude that asks for Bash before each answer, and answers with what it was told: `allow` or `deny`.
const ASKING: &str = r#"
    while read -r line; do case $line in *'"type":"user"'*) break ;; esac; done
    say '{"type":"system","subtype":"init","session_id":"s-0123456789abcdef","model":"m","claude_code_version":"2.1.332"}'
    say '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"touch x"}}]}}'
    say '{"type":"control_request","request_id":"r1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"touch x"},"tool_use_id":"t1"}}'
    while read -r line; do
        case $line in
            *'"behavior":"allow"'*) heard=allow; break ;;
            *'"behavior":"deny"'*) heard=deny; break ;;
            *interrupt*) exit 1 ;;
        esac
    done
    say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"'$heard'"}]}}'
    say '{"type":"assistant","message":{"content":[{"type":"text","text":"'$heard'"}]}}'
    say '{"type":"result","subtype":"success","is_error":false,"result":"'$heard'"}'
    cat >/dev/null
"#;

fn asking(args: &[&str]) -> (Scene, Peer, String) {
    let scene = Scene::new();
    scene.fake("claude", ASKING);
    scene.config(&json!({"default_backend": "claude"}));
    let mut peer = Peer::of(scene.clinvk([&["acp"], args].concat()));
    let id = begin(&scene, &mut peer);
    (scene, peer, id)
}

/// Sends a prompt and waits for the question. Returns the prompt's number and the question.
#[track_caller]
fn question(peer: &mut Peer, id: &str) -> (u64, Value) {
    let request = peer.send("session/prompt", prompt(id, "x"));
    loop {
        let message = peer.hear();
        if message["method"] == "session/request_permission" {
            return (request, message);
        }
        assert_ne!(message["id"], request, "{message}");
    }
}

fn selected(question: &Value, option: &str) -> Value {
    let outcome = json!({"outcome": {"outcome": "selected", "optionId": option}});
    json!({"jsonrpc": "2.0", "id": question["id"], "result": outcome})
}

#[test]
fn a_question_says_which_tool_is_to_do_what() {
    let (_scene, mut peer, id) = asking(&[]);
    let (_, question) = question(&mut peer, &id);
    let params = &question["params"];
    assert_eq!(params["sessionId"], id);
    assert_eq!(
        params["toolCall"],
        json!({"toolCallId": "t1", "title": "Bash: touch x", "kind": "execute", "status": "pending",
            "rawInput": {"command": "touch x"}, "locations": []})
    );
    let kinds: Vec<&Value> = params["options"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(kinds, ["allow_once", "allow_always", "reject_once", "reject_always"]);
}

#[test]
fn each_answer_means_what_it_says() {
    for (answer, heard, again) in [
        (json!({"result": {"outcome": {"outcome": "selected", "optionId": "allow_once"}}}), "allow", true),
        (json!({"result": {"outcome": {"outcome": "selected", "optionId": "reject_once"}}}), "deny", true),
        (json!({"result": {"outcome": {"outcome": "selected", "optionId": "allow_always"}}}), "allow", false),
        (json!({"result": {"outcome": {"outcome": "selected", "optionId": "reject_always"}}}), "deny", false),
        (json!({"result": {"outcome": {"outcome": "cancelled"}}}), "deny", true),
        (json!({"result": {}}), "deny", true),
        (json!({"error": {"code": -32601, "message": "no such method"}}), "deny", true),
    ] {
        let (scene, mut peer, id) = asking(&[]);
        let (request, question) = question(&mut peer, &id);
        let mut message = answer.clone();
        (message["jsonrpc"], message["id"]) = (json!("2.0"), question["id"].clone());
        peer.say(&message);
        let (updates, result) = peer.answer(request);
        assert_eq!(told(&updates, "agent_message_chunk"), heard, "{answer}");
        // The person knows; of a client that cannot ask anyone nobody does.
        let notes = told(&updates, "agent_thought_chunk");
        let cannot = "\n\nthe client cannot be asked for a permission: no such method\n\n\n\npermission denied: Bash {\"command\":\"touch x\"}\n\n";
        assert_eq!(notes, if answer.get("error").is_some() { cannot } else { "" }, "{answer}");
        assert_eq!(result["result"]["stopReason"], "end_turn", "{answer}");
        let denials = u64::from(heard == "deny");
        assert_eq!(result["result"]["_meta"]["clinvk"]["permission_denials"], denials, "{answer}");
        // Whether the next use is asked about; another session has not been answered.
        let request = peer.send("session/prompt", prompt(&id, "y"));
        let next = loop {
            let message = peer.hear();
            if message["method"] == "session/request_permission" || message["id"] == request {
                break message;
            }
        };
        assert_eq!(next["method"] == "session/request_permission", again, "{answer}: {next}");
        let other = begin(&scene, &mut peer);
        super::permissions::question(&mut peer, &other);
    }
}

#[test]
fn a_turn_is_cancelled_while_it_asks() {
    let (scene, mut peer, id) = asking(&[]);
    let (request, question) = question(&mut peer, &id);
    peer.notify("session/cancel", json!({"sessionId": id}));
    let (updates, result) = peer.answer(request);
    assert_eq!(result["result"]["stopReason"], "cancelled");
    let withdrawn =
        json!({"jsonrpc": "2.0", "method": "$/cancel_request", "params": {"requestId": question["id"]}});
    assert!(updates.contains(&withdrawn), "{updates:#?}");
    // An answer that comes too late harms nothing, and the next turn asks again.
    peer.say(&selected(&question, "allow_once"));
    let (request, question) = super::permissions::question(&mut peer, &id);
    peer.say(&selected(&question, "allow_once"));
    assert_eq!(told(&peer.answer(request).0, "agent_message_chunk"), "allow");
    peer.end();
    scene.is_deserted();
}

#[test]
fn the_end_of_the_input_while_it_asks_leaves_no_process() {
    let (scene, mut peer, id) = asking(&[]);
    question(&mut peer, &id);
    assert_eq!(peer.end().status, 0);
    scene.is_deserted();
}

#[test]
fn a_run_that_has_had_its_time_asks_no_longer() {
    let (_scene, mut peer, id) = asking(&["--timeout", "1s"]);
    let (request, _) = question(&mut peer, &id);
    let (_, answer) = peer.answer(request);
    assert_eq!(answer["error"]["data"], json!({"kind": "timeout"}));
}

#[test]
fn where_nothing_is_left_open_nothing_is_asked() {
    for (args, heard) in [
        (["--approval", "none"], "allow"),
        (["--sandbox", "read-only"], "deny"),
        (["--allowed-tools", "Read"], "deny"),
    ] {
        let (_scene, mut peer, id) = asking(&args);
        let request = peer.send("session/prompt", prompt(&id, "x"));
        let (updates, _) = peer.answer(request);
        assert_eq!(told(&updates, "agent_message_chunk"), heard, "{args:?}");
        assert!(updates.iter().all(|line| line["method"] == "session/update"), "{updates:#?}");
    }
}

#[test]
fn a_tool_is_told_with_its_kind_and_what_came_of_it() {
    let (_scene, mut peer, id) = asking(&["--approval", "none"]);
    let request = peer.send("session/prompt", prompt(&id, "x"));
    let (updates, _) = peer.answer(request);
    let of = |kind: &str| -> Vec<&Value> {
        let all = updates.iter().map(|line| &line["params"]["update"]);
        all.filter(|update| update["sessionUpdate"] == kind).collect()
    };
    assert_eq!(
        of("tool_call"),
        [
            &json!({"sessionUpdate": "tool_call", "toolCallId": "t1", "title": "Bash: touch x", "kind": "execute",
            "status": "in_progress", "rawInput": {"command": "touch x"}, "locations": []})
        ]
    );
    assert_eq!(
        of("tool_call_update"),
        [&json!({"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": "completed",
            "content": [{"type": "content", "content": {"type": "text", "text": "allow"}}]})]
    );
}
