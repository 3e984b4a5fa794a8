//! Which of codex's messages are the answer (faults.md E10), and what is not.

use super::{delta, end, ending, hear, in_turn, message, note, progress, task, texts};
use clinvk::backend::Steps;
use clinvk::model::event::{COMMENTARY, Event};
use clinvk::model::task::Task;
use serde_json::{Value, json};

/// A message of this phase, as codex streams it.
fn told(item: &str, more: Value, text: &str) -> Vec<Value> {
    let mut whole = json!({"type": "agentMessage", "id": item, "text": text});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut begun = whole.clone();
    begun["text"] = json!("");
    let (first, rest) = text.split_at(text.len() / 2);
    vec![
        note("item/started", json!({"item": begun})),
        delta(item, first),
        delta(item, rest),
        note("item/completed", json!({"item": whole})),
    ]
}

fn heard(task: &Task, messages: &[Vec<Value>]) -> Steps {
    let lines: Vec<Value> =
        messages.concat().into_iter().chain([end(json!({"status": "completed"}))]).collect();
    hear(&mut *in_turn(task), &lines)
}

#[test]
fn commentary_is_no_part_of_the_answer() {
    let phase = |phase: &str| json!({"phase": phase});
    for (name, messages, answer, asides) in [
        ("final", vec![told("a", phase("final_answer"), "It is 42.")], "It is 42.", vec![]),
        (
            "unknown",
            vec![told("a", json!({"phase": null}), "It is"), told("b", json!({}), "42.")],
            "It is\n\n42.",
            vec![],
        ),
        (
            "commentary before",
            vec![told("a", phase("commentary"), "I look."), told("b", phase("final_answer"), "It is 42.")],
            "It is 42.",
            vec!["I look."],
        ),
        (
            "commentary between",
            vec![
                told("a", phase("partial_answer"), "It is"),
                told("b", phase("commentary"), "I look."),
                told("c", phase("final_answer"), "42."),
            ],
            "It is\n\n42.",
            vec!["I look."],
        ),
        (
            "sent by a tool",
            vec![told("a", json!({"delivery": "async"}), "Soon."), told("b", json!({}), "42.")],
            "42.",
            vec!["Soon."],
        ),
        // A model that marks nothing as its answer has given the last that it said.
        (
            "nothing else",
            vec![told("a", phase("commentary"), "I look."), told("b", phase("commentary"), "It is 42.")],
            "It is 42.",
            vec!["I look.", "It is 42."],
        ),
    ] {
        let steps = heard(&task("hi"), &messages);
        let told: Vec<String> = progress(&steps)
            .into_iter()
            .filter(|(stage, _)| stage == COMMENTARY)
            .map(|(_, text)| text)
            .collect();
        assert_eq!(
            (texts(&steps).concat(), told),
            (answer.to_owned(), asides.iter().map(|text| (*text).to_owned()).collect()),
            "{name}"
        );
        assert_eq!(ending(&steps).map(|(kind, _)| kind), Some(None), "{name}");
    }
}

#[test]
fn commentary_is_no_json_answer() {
    let formed = Task { schema: Some(json!({"type": "object"})), ..task("hi") };
    let steps = heard(
        &formed,
        &[
            told("a", json!({"phase": "final_answer"}), "{}"),
            told("b", json!({"phase": "commentary"}), "Done."),
        ],
    );
    assert_eq!(texts(&steps), ["{}"]);
}

#[test]
fn a_message_that_was_told_before_its_phase_was_known_is_not_told_twice() {
    let lines = [delta("a", "It is 42."), message("a", "It is 42."), end(json!({"status": "completed"}))];
    let steps = hear(&mut *in_turn(&task("hi")), &lines);
    assert_eq!((texts(&steps).concat(), progress(&steps)), ("It is 42.".to_owned(), vec![]));
}

/// Recorded with 0.171.0.
#[test]
fn recorded_commentary_is_no_part_of_the_answer() {
    let played = super::played(&task("hi there"), "commentary");
    assert_eq!((played.text().as_str(), played.ending()), ("Hello from the stub.", "ok"));
    let look = Event::Progress { stage: COMMENTARY.to_owned(), message: "I look.".to_owned() };
    assert!(played.events.contains(&look), "{:#?}", played.events);
}
