//! Names of models: which backend they mean, and how they are listed.

use clinvk::backend::{Agents, Registry};
use clinvk::config::Config;
use clinvk::http::compat::models::{
    Known, Model, anthropic_list, anthropic_one, openai_list, openai_one, resolve,
};
use clinvk::http::front::errors::Surface;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a name means: `backend`, `backend model`, or the status of its failure.
fn meant(asked: &str, strict: bool) -> String {
    let (registry, _) = Registry::of(&Config::default(), "clinvk", Agents::Configured);
    let mut backends: Vec<(String, &[&str])> = registry
        .names()
        .into_iter()
        .map(|name| (name.clone(), registry.get(&name).unwrap().claims()))
        .collect();
    backends.push(("ollama".to_owned(), &[]));
    let backends: Vec<(&str, &[&str])> =
        backends.iter().map(|(name, claims)| (name.as_str(), *claims)).collect();
    let aliases: BTreeMap<String, String> = [
        ("quick", "gemini/flash"),
        ("gpt-4o", "claude"),
        ("meta/llama", "ollama:llama3:8b"),
        ("claude", "echo"),
        ("broken", "nobody/x"),
    ]
    .map(|(alias, target)| (alias.to_owned(), target.to_owned()))
    .into();
    let known = Known { backends: &backends, aliases: &aliases, default: "gemini", strict };
    match resolve(asked, &known) {
        Ok((backend, None)) => backend,
        Ok((backend, Some(model))) => format!("{backend} {model}"),
        Err(fault) => fault.status(Surface::OpenAi).to_string(),
    }
}

#[test]
fn a_name_means_a_backend_and_perhaps_a_model() {
    for (asked, lenient, strict) in [
        // A backend's name is no model.
        ("codex", "codex", "codex"),
        ("codex/codex", "codex", "codex"),
        ("codex/claude", "codex", "codex"),
        ("codex/", "codex", "codex"),
        ("ollama", "ollama", "ollama"),
        ("codex/gpt-6", "codex gpt-6", "codex gpt-6"),
        ("codex:gpt-6", "codex gpt-6", "codex gpt-6"),
        ("ollama/org/model:7b", "ollama org/model:7b", "ollama org/model:7b"),
        ("ollama:llama3:8b", "ollama llama3:8b", "ollama llama3:8b"),
        ("claude-opus-4-8[1m]", "claude claude-opus-4-8[1m]", "claude claude-opus-4-8[1m]"),
        ("claude-haiku-4-5-20251001", "claude claude-haiku-4-5-20251001", "claude claude-haiku-4-5-20251001"),
        ("gpt-6-astra", "codex gpt-6-astra", "codex gpt-6-astra"),
        ("o3-mini", "codex o3-mini", "codex o3-mini"),
        ("chatgpt-4o-latest", "codex chatgpt-4o-latest", "codex chatgpt-4o-latest"),
        ("gemini-2.5-pro", "gemini gemini-2.5-pro", "gemini gemini-2.5-pro"),
        // What the configuration says counts more than what a backend claims or is called.
        ("quick", "gemini flash", "gemini flash"),
        ("gpt-4o", "claude", "claude"),
        ("claude", "echo", "echo"),
        ("meta/llama", "ollama llama3:8b", "ollama llama3:8b"),
        ("broken", "500", "500"),
        // Nobody's name.
        ("mistral-large", "gemini", "404"),
        ("llama3:8b", "gemini", "404"),
        ("", "gemini", "gemini"),
        ("openai/gpt-4o", "404", "404"),
        ("Codex/gpt-6", "404", "404"),
        ("/", "404", "404"),
    ] {
        assert_eq!(
            (meant(asked, false), meant(asked, true)),
            (lenient.to_owned(), strict.to_owned()),
            "{asked}"
        );
    }
}

fn models(count: usize) -> Vec<Model> {
    (0..count).map(|number| Model { id: format!("m{number}"), owned_by: "clinvk".to_owned() }).collect()
}

/// A page as ids, and whether there are more.
fn page(count: usize, query: &str) -> (String, bool) {
    let page: Value = serde_json::from_str(&anthropic_list(&models(count), query).unwrap()).unwrap();
    let ids: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(page["first_id"], json!(ids.first()), "{query}");
    assert_eq!(page["last_id"], json!(ids.last()), "{query}");
    (ids.join(" "), page["has_more"].as_bool().unwrap())
}

#[test]
fn anthropics_list_has_pages() {
    for (query, ids, more) in [
        ("", "m0 m1 m2 m3 m4", false),
        ("beta=true", "m0 m1 m2 m3 m4", false),
        ("limit=2", "m0 m1", true),
        ("limit=2&after_id=m1", "m2 m3", true),
        ("after_id=m1&limit=3", "m2 m3 m4", false),
        ("limit=2&after_id=m4", "", false),
        ("after_id=nobody", "", false),
        ("before_id=m2", "m0 m1", false),
        ("limit=1&before_id=m2", "m1", true),
        ("before_id=m0", "", false),
        ("before_id=nobody", "", false),
        ("after_id=m0&before_id=m3", "m1 m2", false),
        ("after_id=m3&before_id=m1", "", false),
        ("after_id=", "m0 m1 m2 m3 m4", false),
        ("after_id=%6d1&limit=1", "m2", true),
    ] {
        assert_eq!(page(5, query), (ids.to_owned(), more), "{query}");
    }
    assert_eq!(page(0, ""), (String::new(), false));
    assert_eq!(page(25, "").0.split(' ').count(), 20, "the usual page");
    for query in ["limit=0", "limit=x", "limit=-1", "limit=1001", "limit="] {
        assert_eq!(anthropic_list(&models(5), query).unwrap_err().param, Some("limit"), "{query}");
    }
}

#[test]
fn a_client_that_follows_last_id_comes_to_an_end() {
    let (mut query, mut seen) = (String::from("limit=2"), Vec::new());
    loop {
        let list: Value = serde_json::from_str(&anthropic_list(&models(5), &query).unwrap()).unwrap();
        seen.extend(list["data"].as_array().unwrap().iter().map(|model| model["id"].to_string()));
        // Anthropic 0.42 looks at nothing else.
        let Some(last) = list["last_id"].as_str() else { break };
        query = format!("limit=2&after_id={last}");
        assert!(seen.len() <= 5, "{seen:?}");
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn one_model_is_found_by_its_escaped_name() {
    let models = [Model { id: "org/mo del".to_owned(), owned_by: "ollama".to_owned() }];
    for asked in ["org%2Fmo%20del", "org/mo%20del", "org/mo del", "%6Frg%2fmo%20del"] {
        assert_eq!(
            openai_one(&models, asked).unwrap(),
            r#"{"id":"org/mo del","object":"model","created":1700000000,"owned_by":"ollama"}"#
        );
        assert_eq!(
            anthropic_one(&models, asked).unwrap(),
            r#"{"type":"model","id":"org/mo del","display_name":"org/mo del","created_at":"2023-11-14T22:13:20Z"}"#
        );
    }
    for asked in ["nobody", "org%2Fmo", "%", "%zz", "%ff", "%+f", "org%2Fmo%20del%"] {
        let fault = openai_one(&models, asked).unwrap_err();
        assert_eq!((fault.status(Surface::OpenAi), fault.param), (404, Some("model")), "{asked}");
    }
    assert_eq!(openai_list(&[]), r#"{"object":"list","data":[]}"#);
}
