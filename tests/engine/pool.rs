//! Programs that are kept for further runs, by a program that says its number with every answer.

use crate::util::http::{Server, Stream};
use crate::util::scene::{Scene, until};
use clinvk::base::sys;
use serde_json::{Value, json};
use std::fs;

/// Answers each prompt with its own number. `$line` is the prompt, a JSON string.
const ANSWER: &str = r#"answer() { say "{\"text\":\"$$\"}"; say '{"done":true}'; }
"#;
/// A play that answers all prompts.
pub const LOOP: &str = "while read -r line; do answer; done";

/// A scene whose backend `fake` is kept, with these bounds.
pub fn scene(pool: Value, play: &str) -> Scene {
    let keys = json!({"output": "jsonl", "fields": {"text": "text", "done": "done"}, "keep": true});
    let scene = Scene::declaring(keys, &format!("{ANSWER}{play}"));
    scene.edit_config(|config| config["pool"] = json!({ "fake": pool }));
    scene
}

/// The number of the program that answers.
#[track_caller]
pub fn pid(server: &Server, prompt: &str) -> i32 {
    let answer = server.post("/api/v1/prompt", &json!({"prompt": prompt, "ephemeral": true}));
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["content"].as_str().unwrap().parse().unwrap()
}

/// Asks, and does not wait for the answer.
fn ask(server: &Server) -> Stream {
    server.post_stream("/api/v1/prompt", &json!({"prompt": "x", "ephemeral": true}))
}

/// The number in the answer.
#[track_caller]
fn pid_in(asked: &mut Stream) -> i32 {
    let mut answer = asked.head();
    answer.body = asked.rest(&answer);
    answer.json()["content"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[test]
fn a_program_takes_one_run_after_the_other_and_ends_with_the_server() {
    let scene = scene(json!({}), LOOP);
    let server = scene.serve([]);
    let first = pid(&server, "a");
    for prompt in ["b\nc", "d\"e\\", "ü"] {
        assert_eq!(pid(&server, prompt), first);
    }
    assert_eq!(server.stop().status, 0);
    scene.is_deserted();
}

#[test]
fn without_a_server_and_without_a_place_a_run_has_a_program_of_its_own() {
    let scene = scene(json!({"max": 0}), LOOP);
    let server = scene.serve([]);
    assert_ne!(pid(&server, "a"), pid(&server, "b"));
    server.stop();
    scene.edit_config(|config| config["pool"]["fake"]["max"] = json!(4));
    let said = scene.clinvk(["a"]).seen();
    assert_eq!(said.status, 0, "{said}");
    scene.is_deserted();
}

#[test]
fn runs_at_once_have_programs_each_and_one_too_many_has_its_own() {
    let scene = scene(json!({"max": 1}), "while read -r line; do tell up; await go; answer; done");
    let (mut up, mut go) = (scene.fifo("up"), scene.fifo("go"));
    let server = scene.serve([]);
    let mut asked: Vec<Stream> = (0..3).map(|_| ask(&server)).collect();
    (0..3).for_each(|_| _ = up.told());
    (0..3).for_each(|_| go.tell());
    let pids: Vec<i32> = asked.iter_mut().map(pid_in).collect();
    assert!(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2], "{pids:?}");
    until("only the kept one is left", || scene.processes().len() == 2);
    let mut asked = ask(&server);
    up.told();
    go.tell();
    let kept = pid_in(&mut asked);
    assert!(pids.contains(&kept), "{kept} of {pids:?}");
    server.stop();
    scene.is_deserted();
}

#[test]
fn what_differs_in_more_than_the_prompt_has_another_program() {
    let scene = scene(json!({}), LOOP);
    scene.edit_config(|config| config["backends"]["fake"]["system_args"] = json!(["{system}"]));
    fs::create_dir(scene.path("work/other")).unwrap();
    let server = scene.serve([]);
    let ask = |request: Value| {
        let answer = server.post("/api/v1/prompt", &request);
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["content"].as_str().unwrap().to_owned()
    };
    let first = ask(json!({"prompt": "x"}));
    for other in
        [json!({"prompt": "x", "system_prompt": "be brief"}), json!({"prompt": "x", "workdir": "other"})]
    {
        assert_ne!(ask(other.clone()), first, "{other}");
    }
    assert_eq!(ask(json!({"prompt": "x"})), first);
}

#[test]
fn a_program_that_died_is_replaced_and_the_run_that_met_it_is_tried_once_more() {
    // It dies of the prompt, of the one before, or without a prompt, or closes its output or its input; once.
    for play in [
        "while read -r line; do [ $line != '\"die\"' ] || ! rm die || exit 3; answer; done",
        "while read -r line; do answer; [ $line != '\"die\"' ] || ! rm die || exit 3; done",
        "while read -r line; do [ $line != '\"die\"' ] || ! rm die || exec \"$here/sleep\" 1000 >&-; answer; done",
        "while read -r line; do answer; [ $line != '\"die\"' ] || ! rm die || exec \"$here/sleep\" 1000 <&-; done",
    ] {
        let scene = scene(json!({}), &format!("cd {}; {}", "\"$here\"", play));
        let server = scene.serve([]);
        let first = pid(&server, "x");
        scene.file("bin/die", "");
        let second = pid(&server, "die");
        let third = pid(&server, "y");
        assert_ne!(first, third, "{play}: {second}");
        server.stop();
        scene.is_deserted();
    }
    // Also one that only a launcher has started, which alone is killed.
    for play in [LOOP.to_owned(), format!("exec 3<&0; ({LOOP}) <&3 & wait")] {
        let scene = scene(json!({}), &play);
        let server = scene.serve([]);
        let first = pid(&server, "x");
        let before = scene.processes().len();
        sys::kill(first, sys::SIGKILL).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{first}/stat"));
        until("it has ended", || stat().map_or(true, |stat| stat.contains(") Z")));
        assert_ne!(pid(&server, "y"), first, "{play}");
        until("only the new one is there", || scene.processes().len() == before);
    }
}

#[test]
fn what_was_begun_to_be_answered_is_not_asked_again() {
    let play = "n=0; while read -r line; do n=$((n+1)); echo x >>\"$here/asked\"; [ $n = 1 ] || { say '{\"text\":\"half\"}'; exit 3; }; answer; done";
    let scene = scene(json!({}), play);
    let server = scene.serve([]);
    pid(&server, "x");
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "y"}));
    assert_ne!(answer.status, 200, "{answer}");
    assert_eq!(fs::read_to_string(scene.path("bin/asked")).unwrap().lines().count(), 2);
    // One that fails on a program that was started for it is not, either.
    server.post("/api/v1/prompt", &json!({"prompt": "z"}));
}

#[test]
fn a_program_that_speaks_unasked_or_leaves_something_behind_takes_no_further_run() {
    for play in [
        "while read -r line; do answer; await go; say unasked; done",
        "while read -r line; do answer; daemon; done",
        "while read -r line; do answer; setsid \"$here/sleep\" 1000 & done",
    ] {
        let scene = scene(json!({}), play);
        let mut go = scene.fifo("go");
        let server = scene.serve([]);
        let first = pid(&server, "x");
        go.tell();
        until(&format!("it is gone: {play}"), || scene.processes().len() == 1);
        assert_ne!(pid(&server, "y"), first, "{play}");
        server.stop();
        scene.is_deserted();
    }
}

#[test]
fn a_program_has_its_bounds() {
    let scene = scene(json!({"max_turns": 2}), LOOP);
    let server = scene.serve([]);
    let first = pid(&server, "a");
    assert_eq!(pid(&server, "b"), first);
    assert_ne!(pid(&server, "c"), first);
    server.stop();
    for bound in [json!({"idle_secs": 1}), json!({"max_age_secs": 1}), json!({"max_rss_mb": 1})] {
        scene.edit_config(|config| config["pool"]["fake"] = bound.clone());
        // Some MiB of memory.
        scene.file("bin/fake.play", format!("{ANSWER}x=$(bytes 3000000); {LOOP}"));
        let server = scene.serve([]);
        pid(&server, "a");
        until(&format!("it ends: {bound}"), || scene.processes().len() == 1);
        pid(&server, "b");
        server.stop();
    }
    scene.is_deserted();
}

#[test]
fn a_run_that_is_stopped_ends_what_it_runs_in() {
    let scene = scene(
        json!({}),
        "trap '' TERM; while read -r line; do answer; read -r line; tell up; setsid \"$here/sleep\" 1000; done",
    );
    let mut up = scene.fifo("up");
    let server = scene.serve([]);
    pid(&server, "x");
    let asked = server.post_stream("/api/v1/prompt", &json!({"prompt": "y"}));
    up.told();
    drop(asked);
    until("nothing of it is left", || scene.processes().len() == 1);
    server.stop();
}

#[test]
fn a_kept_program_ends_with_a_server_that_was_killed() {
    let scene = scene(json!({}), LOOP);
    let server = scene.serve([]);
    pid(&server, "x");
    server.process.signal(sys::SIGKILL);
    server.process.end();
    until("nothing is left", || scene.processes().is_empty());
}

#[test]
fn spares_are_there_before_they_are_asked_for() {
    let scene = scene(json!({"min_idle": 2, "max": 3}), LOOP);
    let server = scene.serve([]);
    let first = pid(&server, "x");
    until("spares are started", || scene.processes().len() == 3);
    assert!(scene.processes().contains_key(&first));
    server.stop();
    scene.is_deserted();
}

#[test]
fn what_cannot_be_kept_is_refused_with_what_it_needs() {
    for (key, value) in
        [("output", json!("text")), ("fields", json!({"text": "text"})), ("prompt", json!("arg"))]
    {
        let scene = scene(json!({}), LOOP);
        scene.edit_config(|config| config["backends"]["fake"][key] = value.clone());
        let said = scene.clinvk(["x"]).seen();
        assert!(said.status == 3 && said.err.contains("backends.fake.keep"), "{key}: {said}");
    }
}

/// An agent whose answer is its number, or as the play says for a prompt.
pub fn agent(opening: &str, prompted: &str) -> Scene {
    let play = format!(
        r#"cd "$here"
result() {{ say "{{\"id\":$id,\"result\":$1}}"; }}
text() {{ say "{{\"method\":\"session/update\",\"params\":{{\"sessionId\":\"s\",\"update\":{{\"sessionUpdate\":\"agent_message_chunk\",\"content\":{{\"type\":\"text\",\"text\":\"$1\"}}}}}}}}"; }}
while read -r line; do
    id=${{line#*\"id\":}}; id=${{id%%[,\}}]*}}
    case $line in
    *\"initialize\"*) result '{{"protocolVersion":1,"agentCapabilities":{{"sessionCapabilities":{{"resume":{{}}}}}}}}' ;;
    *session/new*|*session/resume*) {opening}; result '{{"sessionId":"s"}}' ;;
    *session/prompt*) {prompted}; result '{{"stopReason":"end_turn"}}' ;;
    *) result '{{}}' ;;
    esac
done"#
    );
    let scene = Scene::declaring(json!({"protocol": "acp"}), &play);
    scene.edit_config(|config| {
        (config["pool"], config["server"]) = (json!({ "fake": {} }), json!({"project_config": true}));
    });
    scene
}

/// The session and the text of an answer.
#[track_caller]
pub fn answered(server: &Server, request: &Value) -> (String, String) {
    let answer = server.post("/api/v1/prompt", request);
    assert_eq!(answer.status, 200, "{answer}");
    let text = |field: &str| answer.json()[field].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    (text("session_id"), text("content"))
}

/// The program has had a turn that our session has not, and another program one that this one has not: then as many.
#[test]
fn a_conversation_with_a_turn_that_is_not_our_sessions_does_not_go_on() {
    let scene = agent(":", "case $line in *nothing*) ;; *) text $$ ;; esac");
    let server = scene.serve([]);
    let (session, first) = answered(&server, &json!({"prompt": "one"}));
    let failed = server.post("/api/v1/prompt", &json!({"prompt": "nothing", "session_id": session}));
    assert_eq!(failed.json()["error"]["kind"], "unreadable", "{failed}");
    let elsewhere = scene.clinvk(["resume", &session, "two"]).seen();
    assert_eq!(elsewhere.status, 0, "{elsewhere}");
    let (_, third) = answered(&server, &json!({"prompt": "three", "session_id": session}));
    assert_ne!(third, first);
}

#[test]
fn an_answer_that_is_a_failure_is_not_asked_for_twice() {
    let play = "while read -r line; do echo x >>\"$here/asked\"; case $line in *bad*) say '{\"error\":\"no\",\"done\":true}' ;; *) answer ;; esac; done";
    let scene = scene(json!({}), play);
    scene.edit_config(|config| config["backends"]["fake"]["fields"]["error"] = json!("error"));
    let server = scene.serve([]);
    let first = pid(&server, "x");
    let failed = server.post("/api/v1/prompt", &json!({"prompt": "bad"}));
    assert_ne!(failed.status, 200, "{failed}");
    assert_eq!(fs::read_to_string(scene.path("bin/asked")).unwrap().lines().count(), 2);
    assert_eq!(pid(&server, "y"), first);
}

/// It could do late what it was told, and the other program the same.
#[test]
fn a_program_that_says_nothing_is_gone_before_its_run_is_tried_once_more() {
    let scene = agent(
        "! rm silent 2>&1 || { echo $$ >first; await go; }",
        "if [ -e first ] && kill -0 $(cat first); then text there; else text $$; fi",
    );
    let _go = scene.fifo("go");
    let server = scene.serve([]);
    let (_, first) = answered(&server, &json!({"prompt": "one"}));
    scene.file("bin/silent", "");
    let (_, second) = answered(&server, &json!({"prompt": "two"}));
    assert!(second != "there" && second != first, "{second}");
    server.stop();
    scene.is_deserted();
}
