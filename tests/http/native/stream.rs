//! Streams of events.

use super::{is_failure, playing, with_echo};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};

#[test]
fn a_stream_tells_each_event_before_the_next_one_is_there() {
    let (scene, server) = {
        let scene = Scene::playing("for n in 1 2 3; do printf 'word%s ' $n; await go; done");
        let server = scene.serve([]);
        (scene, server)
    };
    let mut go = scene.fifo("go");
    let mut stream =
        server.post_stream("/api/v1/prompt", &json!({"prompt": "x", "output_format": "stream-json"}));
    let head = stream.head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
    for number in 1..=3 {
        let mut chunk = stream.chunk();
        while !chunk.contains("\"message\"") {
            chunk = stream.chunk();
        }
        assert!(chunk.contains(&format!("word{number}")), "{chunk}");
        go.tell();
    }
    let rest = stream.rest(&head);
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["type"], "done");
}

#[test]
fn a_failure_in_the_middle_of_a_stream_is_told_in_it() {
    let (_scene, server) = with_echo(json!({"exit_code": 9}), json!({}));
    let answer =
        server.post("/api/v1/prompt", &json!({"prompt": "some words", "output_format": "stream-json"}));
    let lines = answer.lines();
    let [.., failed, done] = &lines[..] else { panic!("{answer}") };
    assert!(
        answer.status == 200 && failed["content"]["code"] == "crash" && done["content"]["kind"] == "crash",
        "{answer}"
    );
    let whole = server.post("/api/v1/prompt", &json!({"prompt": "some words"}));
    is_failure(&whole, 502, "crash", "exit status 9");
    assert!(whole.json()["output"] == "some words" && whole.json()["exit_code"] == 9, "{whole}");
}

#[test]
fn an_answer_without_end_is_no_memory_without_end() {
    let (_scene, server) = playing(&format!("cat; bytes {}", 80 << 20));
    let answer = server.post("/api/v1/prompt", &json!({"prompt": "x", "ephemeral": true}));
    is_failure(&answer, 502, "unreadable", "only a stream may be longer");
    let body = json!({"prompt": "x", "ephemeral": true, "output_format": "stream-json"});
    let mut stream = server.post_stream("/api/v1/prompt", &body);
    let head = stream.head();
    assert!(head.status == 200 && stream.rest(&head).len() > 80 << 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 250 << 10, "{peak} kB");
}

#[test]
fn an_answer_does_not_wait_for_the_last_process_of_its_run() {
    for accept in ["application/json", "application/x-ndjson"] {
        // A jsonl program that has said that it is done, and stays until it is let go.
        let scene = Scene::declaring(
            json!({"output": "jsonl", "fields": {"text": "t", "done": "d"}}),
            r#"trap '' TERM; say '{"t":"done"}'; say '{"d":true}'; exec >&-; tell up; "$here/sleep" 1000"#,
        );
        let mut up = scene.fifo("up");
        let server = scene.serve([]);
        let ask = server
            .ask("POST", "/api/v1/prompt")
            .header("Accept", accept)
            .json(&json!({"prompt": "x", "ephemeral": true}));
        let mut stream = ask.send();
        let mut answer = stream.head();
        answer.body = stream.rest(&answer);
        up.told();
        assert!(answer.status == 200 && answer.body.contains("done"), "{answer}");
        until("its process is gone", || scene.processes().len() == 1);
    }
}

#[test]
fn a_stream_that_may_be_asked_for_again_fails_by_its_status_too() {
    let (_scene, server) = with_echo(json!({"fail": "quota"}), json!({}));
    let ask = server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k");
    let answer = ask.header("Accept", "application/x-ndjson").json(&json!({"prompt": "x"})).answer();
    is_failure(&answer, 429, "quota", "as configured");
}

#[test]
fn a_stream_whose_beginning_is_not_kept_is_not_told_from_its_middle() {
    let (_scene, server) = playing(&format!("cat; bytes {}", 20 << 20));
    let ask = |accept: &str| {
        let ask =
            server.ask("POST", "/api/v1/prompt").header("Idempotency-Key", "k").header("Accept", accept);
        ask.json(&json!({"prompt": "x", "ephemeral": true})).answer()
    };
    let whole = ask("application/json");
    assert!(whole.status == 200 && whole.body.len() > 20 << 20, "{}", whole.status);
    is_failure(&ask("application/x-ndjson"), 502, "unreadable", "ask for JSON");
    assert!(ask("application/json").body == whole.body);
}
