//! Runs that share a kept codex, each in a thread of its own.

use crate::util::http::Server;
use crate::util::scene::Scene;
use serde_json::{Value, json};

/// A codex that answers each turn with its own number. `$id` is a request's, `$t` its thread; TURN and CLOSED are done before
/// the turn's end and before the end of a thread.
const CODEX: &str = r#"
while read -r line; do
  id=${line#*\"id\":}; id=${id%%,*}
  t=${line#*\"threadId\":\"}; t=${t%%\"*}
  case $line in
    *'"initialize"'*) say '{"id":'$id',"result":{"userAgent":"clinvk/0.171.0 (x)"}}' ;;
    *config/read*) say '{"id":'$id',"result":{"config":{}}}' ;;
    *thread/start*) say '{"id":'$id',"result":{"thread":{"id":"T'$$-$id'"},"model":"m"}}' ;;
    *thread/resume*) say '{"id":'$id',"result":{"thread":{"id":"'$t'"},"model":"m"}}' ;;
    *turn/start*)
      say '{"id":'$id',"result":{"turn":{"id":"U"}}}'
      say '{"method":"item/completed","params":{"threadId":"'$t'","item":{"type":"agentMessage","id":"m","text":"'$$'"}}}'
      TURN
      say '{"method":"turn/completed","params":{"threadId":"'$t'","turn":{"id":"U","status":"completed"}}}' ;;
    *thread/unsubscribe*)
      say '{"id":'$id',"result":{"status":"unsubscribed"}}'
      CLOSED
      say '{"method":"thread/closed","params":{"threadId":"'$t'"}}' ;;
  esac
done
"#;

fn serve(turn: &str, closed: &str) -> (Scene, Server) {
    let scene = Scene::new();
    scene.fake("codex", &CODEX.replace("TURN", turn).replace("CLOSED", closed));
    scene.config(&json!({"default_backend": "codex"}));
    let server = scene.serve([]);
    (scene, server)
}

/// The number of the program that answers, and the session.
#[track_caller]
fn ask(server: &Server, request: &Value) -> (String, String) {
    let answer = server.post("/api/v1/prompt", request);
    assert_eq!(answer.status, 200, "{answer}");
    let answer = answer.json();
    let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (word("content"), word("session_id"))
}

#[test]
fn conversations_share_a_program_and_go_on_in_it() {
    let (scene, server) = serve(":", ":");
    let (first, one) = ask(&server, &json!({"prompt": "a"}));
    let (second, two) = ask(&server, &json!({"prompt": "b"}));
    assert_ne!(one, two);
    for session in [&one, &two, &one] {
        assert_eq!(
            ask(&server, &json!({"prompt": "c", "session_id": session})),
            (first.clone(), session.clone())
        );
    }
    assert_eq!(first, second);
    server.stop();
    scene.is_deserted();
}

/// Until then no other program can go on with its session.
#[test]
fn a_run_is_over_when_its_thread_is_closed() {
    let (scene, server) = serve(":", r#"sleep 0.3; : >"$here/closed""#);
    ask(&server, &json!({"prompt": "a"}));
    assert!(scene.path("bin/closed").exists());
}

/// Codex looks at the user's shell when a thread is opened, and is not ready with it when the turn is.
#[test]
fn what_a_turn_leaves_keeps_no_other_run_out_of_a_shared_program() {
    let (scene, server) = serve("setsid sleep 2 >&- 2>&- &", ":");
    let (first, _) = ask(&server, &json!({"prompt": "a"}));
    assert_eq!(ask(&server, &json!({"prompt": "b"})).0, first);
    server.stop();
    scene.is_deserted();
}
