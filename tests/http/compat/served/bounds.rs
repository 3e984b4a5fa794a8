//! What bounds an answer and who may ask for it, and how both are told.

use super::{CHAT, COMPLETIONS, MESSAGES, RESPONSES, asking, text, with, with_echo};
use crate::util::http::{Answer, Stream};
use crate::util::scene::{Scene, until};
use serde_json::{Value, json};
use std::fs;

/// The names in a list of models.
fn names(answer: &Answer) -> Vec<String> {
    let told = answer.json();
    let data = told["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// The answer to a request that was sent.
fn read(stream: &mut Stream) -> Answer {
    let mut answer = stream.head();
    answer.body = stream.rest(&answer);
    answer
}

fn point() -> Value {
    json!({"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false})
}

#[test]
fn thinking_is_kept_out_and_usage_is_the_backends_own() {
    let fields =
        json!({"text": "t", "thinking": "th", "input_tokens": "in", "output_tokens": "out", "model": "m"});
    let play = r#"cat >/dev/null; say '{"m":"large-1"}'; say '{"th":"secret"}'; say '{"t":"open"}'; say '{"in":5,"out":7}'"#;
    let scene = Scene::declaring(json!({"output": "jsonl", "fields": fields}), play);
    let server = scene.serve([]);
    for path in [CHAT, COMPLETIONS, RESPONSES, MESSAGES] {
        for stream in [false, true] {
            let more = json!({"stream": stream, "stream_options": {"include_usage": true}});
            let answer = server.post(path, &with(asking(path, "x"), more));
            assert!(!answer.body.contains("secret") && answer.body.contains("open"), "{path}: {answer}");
            let (input, output) = match path {
                CHAT | COMPLETIONS => ("prompt_tokens", "completion_tokens"),
                _ => ("input_tokens", "output_tokens"),
            };
            assert!(answer.body.contains(&format!("\"{output}\":7")), "{path}: {answer}");
            assert!(answer.body.contains(&format!("\"{input}\":5")), "{path}: {answer}");
            assert_eq!(answer.header("x-clinvk-model"), Some("large-1"), "{answer}");
        }
    }
}

#[test]
fn a_limit_of_tokens_is_honoured_and_told_or_named_as_ignored() {
    let (_scene, server) = with_echo(json!({}), json!({}));
    for (path, field, reason) in [
        (CHAT, "max_completion_tokens", "/choices/0/finish_reason"),
        (COMPLETIONS, "max_tokens", "/choices/0/finish_reason"),
        (RESPONSES, "max_output_tokens", "/incomplete_details/reason"),
        (MESSAGES, "max_tokens", "/stop_reason"),
    ] {
        let cut = server.post(path, &with(asking(path, "one two three"), json!({field: 2})));
        let why = cut.json().pointer(reason).cloned();
        let expected = match path {
            RESPONSES => "max_output_tokens",
            MESSAGES => "max_tokens",
            _ => "length",
        };
        assert_eq!((why, cut.header("x-clinvk-ignored")), (Some(json!(expected)), None), "{path}: {cut}");
        let whole = server.post(path, &with(asking(path, "one two three"), json!({field: 3})));
        assert_ne!(whole.json().pointer(reason), Some(&json!(expected)), "{path}: {whole}");
    }
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    let body = with(asking(CHAT, "x"), json!({"max_tokens": 2, "temperature": 1, "reasoning_effort": "low"}));
    let ignored = server.post(CHAT, &body);
    assert_eq!(
        ignored.header("x-clinvk-ignored"),
        Some("temperature, max_tokens, reasoning_effort"),
        "{ignored}"
    );
}

#[test]
fn an_answer_in_json_that_fails_in_the_middle_is_a_failure_by_its_status() {
    let scene = Scene::playing("cat >/dev/null; printf half; exit 3");
    let server = scene.serve([]);
    let answer = server.post(CHAT, &asking(CHAT, "x"));
    assert!(answer.status == 502 && !answer.body.contains("half"), "{answer}");
}

#[test]
fn models_are_those_of_installed_backends_that_the_client_may_use() {
    let scene = Scene::new();
    let fake = scene.fake("fake", "cat");
    scene.fake("codex", "exit 1");
    scene.config(&json!({
        "default_backend": "echo",
        "backends": {"fake": {"command": [fake], "models": {"small": "s-1"}}, "gone": {"command": ["/no/such"]}},
        "server": {
            "models": {"mine": "fake/s-2", "of gone": "gone", "org/mo del": "echo"},
            "allowed_backends": ["echo", "fake", "gone"],
        },
    }));
    let server = scene.serve([]);
    let expected = ["mine", "org/mo del", "echo", "fake", "fake/small"];
    assert_eq!(names(&server.get("/openai/v1/models")), expected);
    assert_eq!(names(&server.get("/anthropic/v1/models?beta=true")), expected);
    let page = server.get("/anthropic/v1/models?limit=2&after_id=echo");
    assert_eq!(
        (names(&page), &page.json()["has_more"]),
        (vec!["fake".to_owned(), "fake/small".to_owned()], &json!(false))
    );
    for (path, status) in [
        ("/openai/v1/models/org%2Fmo%20del", 200),
        ("/openai/v1/v1/models/fake/small", 200),
        ("/anthropic/v1/models/fake%2Fsmall", 200),
        ("/openai/v1/models/codex", 404),
        ("/anthropic/v1/models/nobody", 404),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
}

#[test]
fn what_a_rule_forbids_is_refused_in_the_dialect() {
    let (_scene, server) = with_echo(json!({}), json!({"allowed_backends": ["nobody"]}));
    for (path, kind) in [(CHAT, "permission_error"), (MESSAGES, "permission_error")] {
        let answer = server.post(path, &asking(path, "x"));
        assert!(answer.status == 403 && answer.json()["error"]["type"] == kind, "{answer}");
        assert!(answer.body.contains("server.allowed_backends"), "{answer}");
    }
}

#[test]
fn what_a_backend_finds_wrong_itself_is_asked_for_once_more_too() {
    let scene = Scene::new();
    let play = r#"
n=$(($(cat "$here/n" 2>/dev/null || echo 0) + 1)); echo $n >"$here/n"
while read -r line; do printf '%s\n' "$line" >>"$here/told-$n"; case $line in *'"type":"user"'*) break ;; esac; done
say '{"type":"system","subtype":"init","session_id":"s","model":"m","claude_code_version":"2.1.197"}'
[ $n = 2 ] && value=',"structured_output":{"x":1}'
say '{"type":"result","subtype":"success","is_error":false,"result":"no value"'$value'}'
cat >/dev/null"#;
    scene.fake("claude", play);
    let server = scene.serve([]);
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": point()}}});
    let answer = server.post(MESSAGES, &with(asking(MESSAGES, "a point"), format));
    assert_eq!((answer.status, text(&answer).as_str()), (200, "{\"x\":1}"), "{answer}");
    let told = |number: usize| fs::read_to_string(scene.path(&format!("bin/told-{number}"))).unwrap();
    assert!(told(1).contains("jsonSchema") && !told(1).contains("cannot be used"), "{}", told(1));
    assert!(told(2).contains("does not follow the schema: no value"), "{}", told(2));
}

#[test]
fn tokens_are_counted_while_every_slot_is_taken() {
    let (_scene, server) = with_echo(json!({"hang": true}), json!({"max_runs": 1, "queue_length": 0}));
    let running = server.ask("POST", MESSAGES).json(&asking(MESSAGES, "x")).send();
    until("the slot is taken", || server.get("/health").json()["slots"]["used"] == 1);
    assert_eq!(server.post(MESSAGES, &asking(MESSAGES, "x")).status, 429);
    let body = asking(MESSAGES, "four words are here");
    let count = || server.ask("POST", "/anthropic/v1/messages/count_tokens?beta=true").json(&body).send();
    let counting: Vec<Stream> = (0..14).map(|_| count()).collect();
    for mut stream in counting {
        let counted = read(&mut stream);
        assert!(counted.json()["input_tokens"].as_u64() > Some(4), "{counted}");
    }
    let busy = server.post(CHAT, &asking(CHAT, "x"));
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("5")), "{busy}");
    drop(running);
}
