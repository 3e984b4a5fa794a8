//! Which model answers: aliases by codex's own list (faults.md D6), efforts (D5), and another model than the one that was asked
//! (A5).

use super::{codex, ending, hear, in_turn, note, params, progress, said, sent, task};
use clinvk::backend::{Backend, Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::event::Event;
use clinvk::model::task::{Effort, Task};
use serde_json::{Value, json};

fn model(name: &str, efforts: &[&str]) -> Value {
    let efforts: Vec<Value> = efforts.iter().map(|effort| json!({"reasoningEffort": effort})).collect();
    json!({"model": name, "id": name, "hidden": name.contains("hidden"), "supportedReasoningEfforts": efforts})
}

/// Newest first, as 0.171.0 has them.
fn list() -> Value {
    json!({"id": 7, "result": {"data": [
        model("gpt-7-hidden-astra", &[]),
        model("gpt-6.2-sol", &["low", "max", "ultra"]),
        model("gpt-6.2-astra", &["low", "max", "ultra"]),
        model("gpt-6-astra", &["low", "max", "ultra"]),
        model("gpt-6-luna", &["low", "max"]),
        model("gpt-5.6-luna", &["low"]),
    ]}})
}

/// What was said to a codex with this answer to the question for its models, up to the opening of the thread.
fn heard(task: &Task, models: Value) -> (Steps, Box<dyn clinvk::backend::Dialogue>) {
    let mut dialogue = codex().dialogue(task);
    let greeting = json!({"id": 1, "result": {"userAgent": "clinvk/0.171.0 (x)"}});
    let steps = hear(&mut *dialogue, &[greeting, json!({"id": 6, "result": {"config": {}}}), models]);
    (steps, dialogue)
}

#[test]
fn an_alias_is_the_newest_of_its_kind_in_codexs_own_list() {
    let none = json!({"id": 7, "error": {"code": -32601, "message": "no such method"}});
    let of_others = json!({"id": 7, "result": {"data": [model("theirs", &[])]}});
    for (alias, models, expected) in [
        ("fast", list(), "gpt-6-luna"),
        ("best", list(), "gpt-6.2-astra"),
        ("fast", none.clone(), "gpt-6-luna"),
        ("best", none, "gpt-6.2-astra"),
        ("best", of_others, "gpt-6.2-astra"),
    ] {
        let asked = Task { model: Some(alias.into()), ..task("hi") };
        let (steps, _) = heard(&asked, models);
        assert_eq!(sent(&steps).pop().unwrap()["params"]["model"], expected, "{alias}");
        assert!(said(&asked).iter().any(|line| line["method"] == "model/list"), "{alias}");
    }
    assert!(
        !said(&Task { model: Some("gpt-6-astra".into()), ..task("hi") }).iter().any(|line| line["id"] == 7)
    );
    let named = |alias: &str| codex().models().iter().find(|(name, _)| name == alias).unwrap().1.clone();
    assert_eq!(
        (named("fast").as_str(), named("balanced").as_str(), named("best").as_str()),
        ("fast", "", "best")
    );
}

/// Of a model that has it not codex makes another effort of it, without a word.
#[test]
fn the_effort_ultra_is_there_or_refused() {
    for (effort, model, lenient, sent_effort, kind) in [
        (Effort::Xhigh, "m", false, json!("xhigh"), None),
        (Effort::Max, "m", false, json!("max"), None),
        (Effort::Ultra, "gpt-6.2-sol", false, json!("ultra"), None),
        (Effort::Ultra, "gpt-6-luna", false, Value::Null, Some(Kind::InvalidRequest)),
        (Effort::Ultra, "m", false, Value::Null, Some(Kind::InvalidRequest)),
        (Effort::Ultra, "m", true, Value::Null, None),
    ] {
        let asked = Task { effort: Some(effort), lenient, ..task("hi") };
        let (_, mut dialogue) = heard(&asked, list());
        let steps =
            hear(&mut *dialogue, &[json!({"id": 2, "result": {"thread": {"id": "T"}, "model": model}})]);
        let turn = sent(&steps).into_iter().find(|line| line["method"] == "turn/start");
        let found = turn.map(|turn| turn["params"]["effort"].clone()).unwrap_or_default();
        assert_eq!(
            (found, ending(&steps).and_then(|(kind, _)| kind)),
            (sent_effort, kind),
            "{effort:?} {model} {lenient}"
        );
        let warned = !progress(&steps).is_empty();
        assert_eq!(warned, lenient, "{effort:?} {model}");
    }
    assert_eq!(params(&Task { effort: Some(Effort::Ultra), ..task("hi") }, "turn/start")["effort"], "ultra");
}

#[test]
fn another_model_that_answers_is_named() {
    let rerouted = note(
        "model/rerouted",
        json!({"fromModel": "gpt-6.2-sol", "toModel": "gpt-5.5", "reason": "highRiskCyberActivity"}),
    );
    let steps = hear(&mut *in_turn(&task("hi")), &[rerouted]);
    let why = "`gpt-5.5` answers instead of `gpt-6.2-sol`: highRiskCyberActivity".to_owned();
    assert_eq!(steps, [Step::Event(Event::Model { name: "gpt-5.5".into(), why })]);
}
