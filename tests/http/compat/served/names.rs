//! Models: which backend a name means, and what the headers and lists say of it.

use super::*;

/// A server with an installed fake claude besides echo, and aliases.
fn serving(server: Value) -> (Scene, Server) {
    let scene = Scene::new();
    scene.fake("claude", "read -r _; exit 1");
    let models = json!({"mine": "echo/large", "org/mo del": "echo", "broken": "nobody/x"});
    scene.config(&json!({"default_backend": "echo", "server": with(json!({"models": models}), server)}));
    let running = scene.serve([]);
    (scene, running)
}

#[test]
fn lists_have_what_is_installed_its_aliases_and_those_of_the_configuration() {
    let (_scene, server) = serving(json!({}));
    let told = server.get("/openai/v1/models").json();
    let ids: Vec<&str> =
        told["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    for id in ["mine", "org/mo del", "claude", "claude/fast", "echo"] {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    assert!(!ids.iter().any(|id| id.starts_with("codex") || id.starts_with("gemini")), "{ids:?}");
    let one = server.get("/openai/v1/models/org%2Fmo%20del");
    assert!(
        one.status == 200 && one.json()["id"] == "org/mo del" && one.json()["object"] == "model",
        "{one}"
    );
    let one = server.get("/anthropic/v1/models/org%2Fmo%20del");
    assert!(one.status == 200 && one.json()["id"] == "org/mo del" && one.json()["type"] == "model", "{one}");
    assert_eq!(server.get("/openai/v1/models/org/mo%20del").status, 200);
    let gone = server.get("/openai/v1/models/unknown%2Fx");
    assert!(gone.status == 404 && gone.json()["error"]["code"] == "model_not_found", "{gone}");
    let gone = server.get("/anthropic/v1/models/unknown%2Fx");
    assert!(gone.status == 404 && gone.json()["error"]["type"] == "not_found_error", "{gone}");
    // Page by page, to the end, each model once.
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/anthropic/v1/models?limit=3{after}")).json();
        let data = page["data"].as_array().unwrap();
        paged.extend(data.iter().map(|model| model["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            break;
        }
        after = format!(
            "&after_id={}",
            page["last_id"].as_str().unwrap().replace('/', "%2F").replace(' ', "%20")
        );
    }
    assert_eq!(paged, ids);
}

#[test]
fn a_name_means_a_backend_and_the_answer_says_which_and_repeats_the_name() {
    let (_scene, server) = serving(json!({}));
    for (asked, model) in [
        ("echo", "echo"),
        ("echo/large", "large"),
        ("echo:large", "large"),
        ("mine", "large"),
        ("org/mo del", "echo"),
        ("whatever", "echo"),
        // Codex and gemini are not installed: they claim nothing.
        ("gpt-5.2", "echo"),
        ("gemini-3-pro", "echo"),
        ("", "echo"),
    ] {
        for path in [CHAT, MESSAGES, RESPONSES] {
            let answer = server.post(path, &with(asking(path, "x"), json!({"model": asked})));
            assert_eq!(
                (answer.status, answer.header("x-clinvk-backend")),
                (200, Some("echo")),
                "{asked}: {answer}"
            );
            assert_eq!(answer.header("x-clinvk-model"), Some(model), "{asked}: {answer}");
            let said = if asked.is_empty() { "echo" } else { asked };
            assert_eq!(answer.json()["model"], said, "{answer}");
        }
    }
    // A model's name is the client's word: it makes no header of its own, and with a line end it is none (faults.md F7).
    let odd = server.post(CHAT, &with(asking(CHAT, "x"), json!({"model": "echo/a\r\nX-Evil: 1"})));
    assert!(odd.status == 400 && odd.header("x-evil").is_none(), "{odd}");
    // The status line of a stream is held until it is known.
    let streamed = server.post(CHAT, &with(streaming(CHAT, "x"), json!({"model": "mine"})));
    let who = (streamed.header("x-clinvk-backend"), streamed.header("x-clinvk-model"));
    assert_eq!(who, (Some("echo"), Some("large")), "{streamed}");
    let claimed = server.post(CHAT, &with(asking(CHAT, "x"), json!({"model": "claude-opus-4-8"})));
    assert_eq!(claimed.header("x-clinvk-backend"), Some("claude"), "{claimed}");
    for (asked, status) in [("unknown/x", 404), ("broken", 500)] {
        let answer = server.post(MESSAGES, &with(asking(MESSAGES, "x"), json!({"model": asked})));
        assert_eq!(answer.status, status, "{asked}: {answer}");
    }
}

#[test]
fn strict_servers_know_no_unknown_models() {
    let (_scene, server) = serving(json!({"strict_models": true}));
    for (asked, status) in [("whatever", 404), ("gpt-5.2", 404), ("mine", 200), ("echo", 200), ("", 200)] {
        let answer = server.post(CHAT, &with(asking(CHAT, "x"), json!({"model": asked})));
        assert_eq!(answer.status, status, "{asked}: {answer}");
    }
}

#[test]
fn headers_say_what_was_ignored_and_estimated() {
    let scene = Scene::playing("cat");
    let server = scene.serve([]);
    let body = with(
        asking(CHAT, "x y"),
        json!({"temperature": 0.5, "seed": 1, "max_tokens": null, "own_field": {}, "b ad": 1}),
    );
    let answer = server.post(CHAT, &body);
    assert_eq!(answer.header("x-clinvk-usage"), Some("estimated"), "{answer}");
    let mut ignored: Vec<&str> = answer.header("x-clinvk-ignored").unwrap().split(", ").collect();
    ignored.sort_unstable();
    assert_eq!(ignored, ["own_field", "seed", "temperature"], "{answer}");
    assert!(answer.json()["usage"]["prompt_tokens"].as_u64() > Some(0), "{answer}");
    let (_scene, server) = echo();
    let answer =
        server.post(CHAT, &json!({"model": "echo", "messages": [{"role": "user", "content": "x y"}]}));
    assert_eq!(
        (answer.header("x-clinvk-usage"), answer.header("x-clinvk-ignored")),
        (None, None),
        "{answer}"
    );
    assert_eq!(answer.json()["usage"]["prompt_tokens"], 2, "{answer}");
}

#[test]
fn tokens_are_counted_without_any_process() {
    let scene = Scene::playing("echo run >>\"$here/runs\"; cat");
    let server = scene.serve([]);
    let counted = server
        .post("/anthropic/v1/messages/count_tokens?beta=true", &asking(MESSAGES, "four words are here"));
    assert!(counted.status == 200 && counted.json()["input_tokens"].as_u64() > Some(4), "{counted}");
    assert!(!scene.path("bin/runs").exists());
    server.post(MESSAGES, &asking(MESSAGES, "x"));
    assert!(scene.path("bin/runs").exists(), "the fake would have said so");
}
