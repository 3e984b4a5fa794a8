//! What one client stores and all others read has bounds, at the door of every surface (faults.md F1, F2).

use crate::util::scene::Scene;
use crate::util::store::Home;
use clinvk::session::bounds;
use serde_json::{Value, json};
use std::fs;

fn letters(many: usize) -> String {
    "é".repeat(many)
}

fn tags(many: usize) -> Vec<String> {
    (0..many).map(|number| number.to_string()).collect()
}

fn pairs(many: usize) -> Value {
    tags(many).into_iter().map(|name| (name, json!(1))).collect::<serde_json::Map<_, _>>().into()
}

/// Every text that is stored of a client's: what is still taken, what is not, and what is said then (F1, F2).
fn table() -> Vec<(&'static str, Value, Value, String)> {
    let characters =
        |what: &str, most: usize| format!("{what} has {} characters: at most {most} are kept", most + 1);
    let name = |many| json!({ letters(many): 1 });
    let shown = letters(19) + "…";
    vec![
        (
            "title",
            json!(letters(bounds::TITLE)),
            json!(letters(bounds::TITLE + 1)),
            characters("the title", bounds::TITLE),
        ),
        (
            "tags",
            json!([letters(bounds::TAG)]),
            json!([letters(bounds::TAG + 1)]),
            characters(&format!("the tag `{shown}`"), bounds::TAG),
        ),
        (
            "tags",
            json!(tags(bounds::TAGS)),
            json!(tags(bounds::TAGS + 1)),
            "too many tags: a session has at most 64".to_owned(),
        ),
        (
            "metadata",
            pairs(bounds::PAIRS),
            pairs(bounds::PAIRS + 1),
            "metadata has 17 pairs: at most 16 are kept".to_owned(),
        ),
        (
            "metadata",
            name(bounds::PAIR_NAME),
            name(bounds::PAIR_NAME + 1),
            characters(&format!("metadata's name `{shown}`"), bounds::PAIR_NAME),
        ),
        (
            "metadata",
            json!({"a": letters(bounds::PAIR_VALUE)}),
            json!({"a": letters(bounds::PAIR_VALUE + 1)}),
            characters("metadata's value of `a`", bounds::PAIR_VALUE),
        ),
        (
            "metadata",
            json!({"a": vec![1; 255]}),
            json!({"a": vec![1; 256]}),
            "metadata's value of `a` is longer as JSON than may be: at most 512 are kept".to_owned(),
        ),
    ]
}

/// F1, F2: over HTTP it is a 400 that names the bound, when a session is changed and when one is begun.
#[cfg(feature = "serve")]
#[test]
fn what_a_client_stores_over_http_is_bounded() {
    let home = Home::new();
    let id = home.begin("hi");
    let server = home.scene.serve([]);
    let path = format!("/api/v1/sessions/{id}");
    for (field, taken, refused, sentence) in table() {
        let change = |value: &Value| server.ask("PATCH", &path).json(&json!({ field: value })).answer();
        let answer = change(&refused);
        assert!(answer.status == 400 && answer.body.contains(&sentence), "{field}: {answer}");
        let answer = change(&taken);
        assert!(answer.status == 200 && answer.json()[field] == taken, "{field}: {answer}");
        if field == "title" {
            continue;
        }
        let prompt = |value: &Value| {
            server.post("/api/v1/prompt", &json!({"backend": "echo", "prompt": "x", field: value}))
        };
        let answer = prompt(&refused);
        assert!(answer.status == 400 && answer.body.contains(&sentence), "{field}: {answer}");
        let answer = prompt(&taken);
        assert_eq!(answer.status, 200, "{field}: {answer}");
    }
    let model = "m".repeat(bounds::MODEL + 1);
    let sentence = "the model's name has 257 characters: at most 256 are kept";
    let messages = json!([{"role": "user", "content": "x"}]);
    let of_cat = format!("cat/{model}");
    for (path, body) in [
        ("/api/v1/prompt", json!({"backend": "cat", "prompt": "x", "model": model})),
        ("/openai/v1/chat/completions", json!({"model": of_cat, "messages": messages})),
        ("/openai/v1/responses", json!({"model": of_cat, "input": "x"})),
        ("/anthropic/v1/messages", json!({"model": of_cat, "max_tokens": 9, "messages": messages})),
    ] {
        let answer = server.post(path, &body);
        assert!(answer.status == 400 && answer.body.contains(sentence), "{path}: {answer}");
    }
}

/// F1: on the command line it is exit status 1 with the bound; nothing is changed and nothing is run.
#[test]
fn what_is_stored_from_the_command_line_is_bounded() {
    let home = Home::with(json!({"session": {"default_tags": []}}));
    let id = home.begin("hi");
    let before = home.session(&id);
    let (title, tag, model) =
        (letters(bounds::TITLE + 1), letters(bounds::TAG + 1), "m".repeat(bounds::MODEL + 1));
    let many = tags(bounds::TAGS + 1);
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let of_tag = format!("the tag `{}…` has 129 characters: at most 128 are kept", letters(19));
    let refused = |args: &[&str], sentence: &str| {
        home.clinvk(args).fails(1, &format!("clinvk: {sentence}\n"));
        assert_eq!((home.session(&id), home.ids().len()), (before.clone(), 1), "{sentence}");
    };
    refused(&["sessions", "rename", &id, &title], "the title has 513 characters: at most 512 are kept");
    refused(&["sessions", "tag", &id, &tag], &of_tag);
    refused(&[&["sessions", "tag", &id][..], &many].concat(), "too many tags: a session has at most 64");
    refused(&["--tag", &tag, "x"], &of_tag);
    refused(&["resume", &id, "--tag", &tag, "x"], &of_tag);
    refused(&["-m", &model, "x"], "the model's name has 257 characters: at most 256 are kept");
    home.scene.edit_config(|config| config["session"]["default_tags"] = json!([tag]));
    refused(&["x"], &of_tag);
}

/// F1: an imported session has the same bounds, and one more for all that it brings besides.
#[test]
fn what_is_imported_is_bounded() {
    let home = Home::new();
    let exported: Value = serde_json::from_str(&home.export(&home.begin("hi"))).unwrap();
    let other = json!("x".repeat(bounds::FILE));
    let more = [
        ("model", json!("m".repeat(257)), "the model's name has 257 characters: at most 256 are kept"),
        (
            "initial_prompt",
            json!("p".repeat(501)),
            "the first prompt's beginning has 501 characters: at most 500 are kept",
        ),
        ("last_error", json!("e".repeat(4097)), "the last error has 4097 characters: at most 4096 are kept"),
        (
            "backend_session_id",
            json!("b".repeat(513)),
            "the backend's session id has 513 characters: at most 512 are kept",
        ),
        ("a_later_field", other, "the session has "),
    ];
    let more = more.map(|(field, value, sentence)| (field, value, sentence.to_owned()));
    let all = table().into_iter().map(|(field, _, refused, sentence)| (field, refused, sentence)).chain(more);
    for (field, value, sentence) in all {
        let mut document = exported.clone();
        document["session"][field] = value;
        let file = home.scene.file("tmp/session.json", document.to_string());
        let seen = home.clinvk(["sessions", "import", &file]).seen();
        assert!(seen.status == 1 && seen.err.contains(&sentence), "{field}: {seen}");
        assert_eq!(home.ids().len(), 1, "{field}");
    }
}

/// F1: what a backend says is cut, and does not fail a run that went well.
#[test]
fn what_a_backend_says_is_cut() {
    let home = Home { scene: Scene::playing("bytes 10000 >&2; exit 9") };
    assert_eq!(home.clinvk(["x"]).seen().status, 9);
    let error = home.only()["last_error"].as_str().unwrap().chars().count();
    assert_eq!(error, bounds::LAST_ERROR);
}

/// F2: a session file is one line, and one that was written over many is still read.
#[test]
fn a_session_file_is_one_line() {
    let home = Home::new();
    let id = home.begin("hi");
    let text = fs::read_to_string(home.path(&id, "json")).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let session = home.json(["sessions", "show", &id]);
    let over_many: Value = serde_json::from_str(&text).unwrap();
    fs::write(home.path(&id, "json"), format!("{over_many:#}\n")).unwrap();
    assert_eq!(home.json(["sessions", "show", &id]), session);
    home.does(["resume", &id, "again"]);
    assert_eq!(home.turns(&id).len(), 2);
}
