//! What is said to a backend, and answers that have to have a form.

use super::*;

const SCHEMA: &str = r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}"#;

/// A fake that answers these, one a run, and notes what it is asked.
fn answering(answers: &[&str]) -> Scene {
    let cases: String =
        answers.iter().enumerate().map(|(at, said)| format!("{}) say '{said}';; ", at + 1)).collect();
    Scene::playing(&format!(
        "cat >>\"$here/asked\"; echo run >>\"$here/runs\"; case $(grep -c . \"$here/runs\") in {cases}*) say none;; esac"
    ))
}

fn runs(scene: &Scene) -> usize {
    std::fs::read_to_string(scene.path("bin/runs")).unwrap_or_default().lines().count()
}

fn asked(scene: &Scene) -> String {
    std::fs::read_to_string(scene.path("bin/asked")).unwrap_or_default()
}

/// How each endpoint is asked for JSON by that schema.
fn wanting(path: &str) -> Value {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let fields = match path {
        CHAT => {
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}})
        }
        RESPONSES => json!({"text": {"format": {"type": "json_schema", "name": "p", "schema": schema}}}),
        _ => json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
    };
    with(asking(path, "a number"), fields)
}

#[test]
fn an_answer_of_the_wrong_form_is_asked_for_once_more() {
    for path in [CHAT, MESSAGES, RESPONSES] {
        for stream in [false, true] {
            let scene = answering(&["seven", r#"{"n": 7}"#]);
            let server = scene.serve([]);
            let answer = server.post(path, &with(wanting(path), json!({"stream": stream})));
            assert!(answer.status == 200 && runs(&scene) == 2, "{path}: {} runs: {answer}", runs(&scene));
            if stream {
                assert!(answer.body.contains(r#"{\"n\": 7}"#) && !answer.body.contains("seven"), "{answer}");
            } else {
                assert_eq!(text(&answer), r#"{"n": 7}"#, "{answer}");
            }
            let asked = asked(&scene);
            assert!(
                asked.contains("seven") && asked.contains("cannot be used") && asked.contains("\"integer\""),
                "{asked}"
            );
            until("the run is over", || server.get("/api/v1/runs").json()["runs"] == json!([]));
            until("none is left but what can be gone on with", || {
                kept(&scene) == usize::from(path == RESPONSES)
            });
            server.stop();
            assert_eq!(kept(&scene), 0, "{path}");
        }
    }
}

#[test]
fn an_answer_of_the_wrong_form_twice_is_a_clear_error() {
    for path in [CHAT, MESSAGES, RESPONSES] {
        for stream in [false, true] {
            let scene = answering(&["seven", r#"{"n": "seven"}"#]);
            let server = scene.serve([]);
            let answer = server.post(path, &with(wanting(path), json!({"stream": stream})));
            assert_eq!(runs(&scene), 2, "{answer}");
            if stream && path == RESPONSES {
                let failed = answer.body.rsplit("event: response.failed").next().unwrap();
                assert!(failed.contains("not what was asked for"), "{answer}");
                continue;
            }
            let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            assert!(answer.status == 502 && message.contains("not what was asked for"), "{answer}");
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{answer}");
        }
    }
}

#[test]
fn a_forced_tool_is_called() {
    let parameters: Value = serde_json::from_str(SCHEMA).unwrap();
    for stream in [false, true] {
        let scene = answering(&[r#"{"n": 7}"#, r#"{"n": 7}"#, r#"{"n": 7}"#]);
        let server = scene.serve([]);
        let function = json!({"name": "w", "description": "d", "parameters": parameters});
        let stream = json!({"stream": stream});
        let fields =
            json!({"tools": [{"type": "function", "function": function}], "tool_choice": "required"});
        let chat = server.post(CHAT, &with(with(asking(CHAT, "x"), fields), stream.clone()));
        let fields = json!({"tools": [with(function.clone(), json!({"type": "function"}))], "tool_choice": {"type": "function", "name": "w"}});
        let responses = server.post(RESPONSES, &with(with(asking(RESPONSES, "x"), fields), stream.clone()));
        let fields =
            json!({"tools": [{"name": "w", "input_schema": parameters}], "tool_choice": {"type": "any"}});
        let messages = server.post(MESSAGES, &with(with(asking(MESSAGES, "x"), fields), stream.clone()));
        assert_eq!(runs(&scene), 3);
        if stream["stream"] == true {
            for (answer, words) in [
                (&chat, [r#""name":"w","arguments":"#, r#""finish_reason":"tool_calls""#]),
                (&responses, ["event: response.function_call_arguments.done", "event: response.completed"]),
                (
                    &messages,
                    [
                        r#""type":"input_json_delta","partial_json":"{\"n\": 7}""#,
                        r#""stop_reason":"tool_use""#,
                    ],
                ),
            ] {
                assert!(
                    answer.status == 200 && words.iter().all(|part| answer.body.contains(part)),
                    "{words:?}: {answer}"
                );
            }
            continue;
        }
        let call = &chat.json()["choices"][0];
        assert!(
            call["finish_reason"] == "tool_calls"
                && call["message"]["tool_calls"][0]["function"]["name"] == "w",
            "{chat}"
        );
        let call = &responses.json()["output"][0];
        assert!(call["type"] == "function_call" && call["arguments"] == r#"{"n": 7}"#, "{responses}");
        let told = messages.json();
        assert!(
            told["content"][0]["input"] == json!({"n": 7}) && told["stop_reason"] == "tool_use",
            "{messages}"
        );
    }
    // One that is not there is the client's mistake.
    let (_scene, server) = echo();
    let wrong = server.post(CHAT, &with(asking(CHAT, "x"), json!({"tool_choice": "required"})));
    assert!(wrong.status == 400 && wrong.json()["error"]["param"] == "tool_choice", "{wrong}");
}

#[test]
fn a_system_prompt_is_said_in_front_where_there_is_no_other_way() {
    let messages =
        json!([{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hello"}]);
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    let answer = server.post(CHAT, &json!({"model": "fake", "messages": messages}));
    assert_eq!(text(&answer), "be brief\n\nhello");
    let scene =
        Scene::declaring(json!({"system_args": ["--system", "{system}"]}), "printf '%s:' \"$@\"; cat");
    let server = scene.serve([]);
    let answer = server.post(CHAT, &json!({"model": "fake", "messages": messages}));
    assert_eq!(text(&answer), "--system:be brief:hello");
}

#[test]
fn a_stand_in_is_told_everything_in_its_own_way() {
    let scene = Scene::new();
    let second = scene.fake("second", "cat");
    scene.config(&json!({
        "default_backend": "echo",
        "backends": {"echo": {"fail": "quota"}, "second": {"command": [second]}},
        "unified_flags": {"fallback": ["second"]},
    }));
    let server = scene.serve([]);
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]);
    for stream in [false, true] {
        let answer = server
            .post(CHAT, &json!({"model": "m", "messages": messages, "stream": stream, "max_tokens": 9}));
        assert!(answer.status == 200 && answer.body.contains(r"be brief\n\nhello"), "{answer}");
        assert_eq!(answer.header("x-clinvk-backend"), Some("second"), "{answer}");
    }
}
