//! Codex: what a task becomes in its dialogue, and what recorded dialogues mean.

mod background;
mod events;
mod failures;
mod kept;
mod launch;
mod messages;
mod models;
mod questions;
mod recorded;
mod requests;
mod unreadable;

use crate::util::replay::{Played, data, play};
use clinvk::backend::codex::Codex;
use clinvk::backend::{Backend, Dialogue, Step, Steps};
use clinvk::model::error::Kind;
use clinvk::model::event::Event;
use clinvk::model::task::Task;
use serde_json::{Value, json};

fn codex() -> Codex {
    Codex::new(None, &[])
}

fn task(prompt: &str) -> Task {
    Task {
        backend: "codex".into(),
        prompt: prompt.into(),
        dir: "/src/project".into(),
        vendor_retries: 2,
        ..Task::default()
    }
}

fn played(task: &Task, file: &str) -> Played {
    play(&mut *codex().dialogue(task), &data(&format!("codex/{file}.log")))
}

/// What is said to a codex that answers as the backend rehearses it, as JSON.
fn said(task: &Task) -> Vec<Value> {
    let mut dialogue = codex().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    codex().rehearsal(task).iter().for_each(|line| dialogue.line(line, &mut steps));
    sent(&steps)
}

fn sent(steps: &Steps) -> Vec<Value> {
    let lines = steps.iter().filter_map(|step| if let Step::Send(line) = step { Some(line) } else { None });
    lines.map(|line| serde_json::from_str(line).expect("we say JSON")).collect()
}

/// The parameters of the one request of that method.
fn params(task: &Task, method: &str) -> Value {
    let said = said(task);
    let found: Vec<&Value> = said.iter().filter(|line| line["method"] == method).collect();
    assert_eq!(found.len(), 1, "{method} in {said:#?}");
    found[0]["params"].clone()
}

/// A dialogue in the middle of its turn: thread `T`, turn `U`.
fn in_turn(task: &Task) -> Box<dyn Dialogue> {
    let mut dialogue = codex().dialogue(task);
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    for line in [
        json!({"id": 1, "result": {"userAgent": "clinvk/0.169.0 (Debian 12.0.0; x86_64) unknown (clinvk; 0)"}}),
        json!({"id": 2, "result": {"thread": {"id": task.resume.as_deref().unwrap_or("T")}, "model": "m"}}),
        json!({"id": 3, "result": {"turn": {"id": "U"}}}),
    ] {
        dialogue.line(&line.to_string(), &mut steps);
    }
    assert!(steps.contains(&Step::Asked), "{steps:#?}");
    dialogue
}

fn hear(dialogue: &mut dyn Dialogue, lines: &[Value]) -> Steps {
    let mut steps = Steps::new();
    lines.iter().for_each(|line| dialogue.line(&line.to_string(), &mut steps));
    steps
}

fn note(method: &str, params: Value) -> Value {
    let mut params = params;
    params["threadId"] = json!("T");
    params["turnId"] = json!("U");
    json!({"method": method, "params": params})
}

fn delta(item: &str, text: &str) -> Value {
    note("item/agentMessage/delta", json!({"itemId": item, "delta": text}))
}

fn message(item: &str, text: &str) -> Value {
    note("item/completed", json!({"item": {"type": "agentMessage", "id": item, "text": text}}))
}

fn end(turn: Value) -> Value {
    note("turn/completed", json!({"turn": turn}))
}

fn texts(steps: &Steps) -> Vec<String> {
    let texts = steps
        .iter()
        .filter_map(|step| if let Step::Event(Event::Text(text)) = step { Some(text.clone()) } else { None });
    texts.collect()
}

fn progress(steps: &[Step]) -> Vec<(String, String)> {
    let told = steps.iter().filter_map(|step| match step {
        Step::Event(Event::Progress { stage, message }) => Some((stage.clone(), message.clone())),
        _ => None,
    });
    told.collect()
}

fn ending(steps: &Steps) -> Option<(Option<Kind>, String)> {
    steps.iter().find_map(|step| match step {
        Step::Finished(Ok(())) => Some((None, String::new())),
        Step::Finished(Err(failure)) => Some((Some(failure.kind), failure.message.clone())),
        _ => None,
    })
}

fn retry(message: &str, info: Value, details: &str) -> Value {
    note(
        "error",
        json!({"willRetry": true,
        "error": {"message": message, "codexErrorInfo": info, "additionalDetails": details}}),
    )
}
