//! How often the vendor's server is asked where it fails: never more than `vendor_retries` say, as far as codex can be told
//! (faults.md D7).

use super::{codex, ending, hear, note, retry, sent, task};
use clinvk::backend::{Backend, Dialogue};
use clinvk::model::error::Kind;
use serde_json::{Value, json};

fn greeted() -> Box<dyn Dialogue> {
    let mut dialogue = codex().dialogue(&task("hi"));
    hear(&mut *dialogue, &[json!({"id": 1, "result": {"userAgent": "clinvk/0.171.0 (x)"}})]);
    dialogue
}

fn settings(config: Value) -> Value {
    json!({"id": 6, "result": {"config": config}})
}

fn opened(provider: Value) -> Value {
    json!({"id": 2, "result": {"thread": {"id": "T"}, "model": "m", "modelProvider": provider}})
}

#[test]
fn a_provider_of_the_users_is_asked_once_an_attempt() {
    let mine = json!({"name": "mine", "base_url": "http://127.0.0.1/v1"});
    let once = json!({"config": {"model_providers": {"mine": {"request_max_retries": 0}}}});
    for (name, config, expected) in [
        ("its own", json!({"model_provider": "mine", "model_providers": {"mine": mine}}), once),
        // Codex refuses settings of those that it brings along.
        ("codex's own", json!({"model_provider": "openai", "model_providers": {"openai": {}}}), json!({})),
        ("none", json!({"model_provider": null, "model_providers": {"mine": mine}}), json!({})),
        (
            "one that is not there",
            json!({"model_provider": "other", "model_providers": {"mine": mine}}),
            json!({}),
        ),
    ] {
        let said = sent(&hear(&mut *greeted(), &[settings(config)]));
        assert_eq!(said[0]["params"], expected, "{name}");
    }
}

#[test]
fn an_attempt_counts_as_many_requests_as_it_is() {
    let demand = || {
        retry(
            "Reconnecting... 1/5",
            json!({"responseStreamDisconnected": {}}),
            "We’re currently experiencing high demand",
        )
    };
    let cut =
        || retry("Reconnecting... 1/5", json!({"responseStreamDisconnected": {}}), "stream disconnected");
    let mine = json!({"model_provider": "mine", "model_providers": {"mine": {"name": "mine"}}});
    for (name, config, provider, error, tolerated) in [
        ("bounded", mine.clone(), json!("mine"), demand(), 2),
        // Five requests each: already more than the two retries that are allowed.
        ("openai", json!({}), json!("openai"), demand(), 0),
        // A session that goes on where another provider has begun it.
        ("another", mine, json!("openai"), demand(), 0),
        ("cut", json!({}), json!("openai"), cut(), 2),
    ] {
        let mut dialogue = greeted();
        hear(
            &mut *dialogue,
            &[settings(config), opened(provider), json!({"id": 3, "result": {"turn": {"id": "U"}}})],
        );
        let mut failed = 0;
        while ending(&hear(&mut *dialogue, std::slice::from_ref(&error))).is_none() {
            failed += 1;
        }
        assert_eq!(failed, tolerated, "{name}");
    }
}

/// Codex tries web sockets first, up to seven times, and goes on without them: a server that has none is no failure.
#[test]
fn a_server_without_web_sockets_is_no_failure() {
    let mut dialogue = greeted();
    let refused = retry(
        "Reconnecting... 2/5",
        json!({"responseStreamDisconnected": {"httpStatusCode": 404}}),
        "unexpected status 404 Not Found: not here, url: ws://127.0.0.1:1/v1/responses",
    );
    let lines =
        [settings(json!({})), opened(json!("openai")), json!({"id": 3, "result": {"turn": {"id": "U"}}})];
    let steps = hear(&mut *dialogue, &[lines.to_vec(), vec![refused; 7]].concat());
    assert_eq!(ending(&steps), None);
    let lost = note(
        "error",
        json!({"willRetry": true, "error": {"message": "Reconnecting... waiting for network"}}),
    );
    let (kind, _) = ending(&hear(&mut *dialogue, &[lost])).unwrap();
    assert!(kind.is_some_and(|kind| kind != Kind::UnknownModel), "{kind:?}");
}
