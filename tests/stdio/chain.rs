//! An agent of the protocol behind `clinvk acp`: what it says and asks comes out at the other end.

use super::acp::{begin, prompt, told};
use super::peer::Peer;
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// An agent that thinks, plans, asks before it runs a command, and answers with what it was told.
const AGENT: &str = r#"
    update() { say '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":'"$1"'}}}'; }
    while read -r line; do
        id=${line#*'"id":'}; id=${id%%,*}
        case $line in
            *'"method":"initialize"'*) say '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":1,"agentCapabilities":{}}}' ;;
            *'"method":"session/new"'*) say '{"jsonrpc":"2.0","id":'$id',"result":{"sessionId":"s"}}' ;;
            *'"method":"session/prompt"'*)
                turn=$id
                update '"agent_thought_chunk","content":{"type":"text","text":"hm"}'
                update '"plan","entries":[{"content":"look","priority":"high","status":"pending"}]'
                update '"tool_call","toolCallId":"c","title":"ls","kind":"execute","status":"pending","rawInput":{"command":"ls"}'
                say '{"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s","toolCall":{"toolCallId":"c"},"options":[{"optionId":"y","name":"y","kind":"allow_once"},{"optionId":"n","name":"n","kind":"reject_once"}]}}' ;;
            *'"optionId":"'*)
                chosen=${line#*'"optionId":"'}
                update '"tool_call_update","toolCallId":"c","status":"completed","content":[{"type":"content","content":{"type":"text","text":"listed"}}]'
                update '"agent_message_chunk","content":{"type":"text","text":"'"${chosen%%\"*}"'"}'
                say '{"jsonrpc":"2.0","id":'$turn',"result":{"stopReason":"end_turn"}}' ;;
        esac
    done
"#;

#[test]
fn thoughts_plans_tools_and_questions_pass_through_both_ways() {
    for (option, answer) in [("allow_once", "y"), ("reject_once", "n")] {
        let scene = Scene::declaring(json!({"protocol": "acp"}), AGENT);
        let mut peer = Peer::of(scene.clinvk(["acp"]));
        let id = begin(&scene, &mut peer);
        let request = peer.send("session/prompt", prompt(&id, "x"));
        let mut updates = Vec::new();
        let result = loop {
            let message = peer.hear();
            if message["method"] == "session/request_permission" {
                let call = &message["params"]["toolCall"];
                assert_eq!(
                    (&call["toolCallId"], &call["rawInput"]),
                    (&json!("c"), &json!({"command": "ls"}))
                );
                let outcome = json!({"outcome": {"outcome": "selected", "optionId": option}});
                peer.say(&json!({"jsonrpc": "2.0", "id": message["id"], "result": outcome}));
            } else if message["id"] == request {
                break message["result"].clone();
            } else {
                updates.push(message);
            }
        };
        let of = |kind: &str| -> Vec<Value> {
            let all = updates.iter().map(|line| line["params"]["update"].clone());
            all.filter(|update| update["sessionUpdate"] == kind).collect()
        };
        assert_eq!(result["stopReason"], "end_turn", "{result}");
        assert_eq!(told(&updates, "agent_message_chunk"), answer);
        assert!(told(&updates, "agent_thought_chunk").contains("hm"), "{updates:#?}");
        let entries = json!([{"content": "look", "priority": "high", "status": "pending"}]);
        assert_eq!(of("plan")[0]["entries"], entries);
        assert_eq!(of("tool_call").len(), 1, "{updates:#?}");
        peer.end();
        scene.is_deserted();
    }
}
