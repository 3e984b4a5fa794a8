//! Unified events read back: what a server says of a run becomes the events that the run had there, so that they are heard
//! here as those of a run of this process are.

use crate::model::error::{Failure, Kind};
use crate::model::event::{Event, PlanEntry, Usage};
use crate::model::outcome::Outcome;
use crate::model::unified::NOT_SAVED;
use serde_json::Value;
use std::time::Duration;

/// The event; none where the value is one that says nothing by itself, or of a later version.
pub fn event(value: &Value) -> Option<Event> {
    let content = &value["content"];
    let text = |name: &str| content[name].as_str().map(str::to_owned);
    let said = |name: &str| text(name).unwrap_or_default();
    Some(match value["type"].as_str()? {
        "init" => Event::Started { model: text("model"), session: text("backend_session_id") },
        "message" => Event::Text(said("text")),
        "thinking" => Event::Thinking(said("text")),
        "tool_use" => Event::ToolUse {
            id: said("tool_id"),
            name: said("tool_name"),
            input: content["input"].clone(),
            parent: text("parent"),
        },
        "tool_result" => Event::ToolResult {
            id: said("tool_id"),
            name: said("tool_name"),
            output: said("output"),
            is_error: content["is_error"] == true,
            parent: text("parent"),
        },
        "progress" => progress(content, said("stage"), said("message")),
        "plan" => {
            let entry = |entry: &Value| {
                let said = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                PlanEntry { content: said("content"), priority: said("priority"), status: said("status") }
            };
            Event::Plan(content["entries"].as_array()?.iter().map(entry).collect())
        }
        "token_usage" => Event::Usage(usage(content)),
        "line" => Event::Line(said("text")),
        "done" => Event::Done(Box::new(outcome(content))),
        // Said once more in the last one.
        _ => return None,
    })
}

/// Some events of their own are stages to the readers of JSON.
fn progress(content: &Value, stage: String, message: String) -> Event {
    match (&*stage, content["characters"].as_u64(), content["model"].as_str()) {
        ("void", Some(characters), _) => Event::Void(usize::try_from(characters).unwrap_or(usize::MAX)),
        ("model", _, Some(name)) => Event::Model { name: name.to_owned(), why: message },
        ("permission", ..) => {
            let what = message.strip_prefix("refused: ").unwrap_or(&message).to_owned();
            Event::PermissionDenied { what }
        }
        _ => Event::Progress { stage, message },
    }
}

fn usage(value: &Value) -> Usage {
    let number = |name: &str| value[name].as_u64().unwrap_or(0);
    Usage {
        input: number("input_tokens"),
        output: number("output_tokens"),
        cached: number("cached_tokens"),
        reasoning: number("reasoning_tokens"),
        cost: None,
    }
}

/// What an answer says of its run.
fn outcome(answer: &Value) -> Outcome {
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let warnings: Vec<String> =
        answer["warnings"].as_array().into_iter().flatten().filter_map(sentence).collect();
    let failure = failure(answer);
    let exit_code =
        answer["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    // A run whose session could not be saved has a failure too, and went well all the same.
    let is_of_session = |failure: &Failure| {
        exit_code == 0
            && warnings.iter().any(|warning| warning.strip_prefix(NOT_SAVED) == Some(&*failure.message))
    };
    let (session_failure, failure) = match failure {
        Some(failure) if is_of_session(&failure) => (Some(failure), None),
        failure => (None, failure),
    };
    let seconds = answer["duration_seconds"].as_f64().unwrap_or(0.0);
    Outcome {
        backend: text("backend").unwrap_or_default(),
        model: text("model"),
        backend_session: text("backend_session_id"),
        session: text("session_id"),
        session_failure,
        usage: Usage { cost: answer["cost"].as_f64(), ..usage(&answer["usage"]) },
        duration: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        exit_code,
        failure,
        permission_denials: answer["permission_denials"].as_u64().unwrap_or(0),
        truncated: false,
        tried: answer["tried"].as_array().into_iter().flatten().filter_map(tried).collect(),
        warnings,
    }
}

fn sentence(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn tried(value: &Value) -> Option<(String, Failure)> {
    Some((value["backend"].as_str()?.to_owned(), failure(value)?))
}

/// The failure that stands in an answer.
fn failure(value: &Value) -> Option<Failure> {
    let word = value["kind"].as_str()?;
    // One of a later version is a failure all the same.
    let kind = Kind::parse(word).unwrap_or(Kind::Internal);
    Some(Failure::new(kind, value["error"].as_str().unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::json;
    use crate::model::event::COMMENTARY;
    use crate::model::unified::Events;
    use std::path::Path;

    #[test]
    fn every_event_comes_back_as_it_was() {
        let text = |text: &str| text.to_owned();
        let (parent, failed) = (Some(text("p")), Failure::new(Kind::Quota, "used up"));
        let outcome = Outcome {
            backend: text("b"),
            model: Some(text("m")),
            backend_session: Some(text("theirs")),
            session: Some(text("ours")),
            session_failure: None,
            usage: Usage { input: 5, output: 4, cached: 3, reasoning: 2, cost: Some(0.5) },
            duration: Duration::from_millis(1500),
            exit_code: 3,
            failure: Some(Failure::new(Kind::Crash, "it broke")),
            warnings: vec![text("look")],
            permission_denials: 7,
            truncated: false,
            tried: vec![(text("other"), failed)],
        };
        let unsaved = Outcome {
            exit_code: 0,
            failure: None,
            session_failure: Some(Failure::new(Kind::SessionStore, "disk full")),
            warnings: vec![format!("{NOT_SAVED}disk full")],
            ..outcome.clone()
        };
        let mut events = Events::new(Some("b"), Path::new("/"));
        for event in [
            Event::Started { model: None, session: Some(text("s")) },
            Event::Text(text("é\n")),
            Event::Void(3),
            Event::Thinking(text("hm")),
            Event::ToolUse { id: text("1"), name: text("n"), input: json!({"a": [1]}), parent: None },
            Event::ToolResult {
                id: text("1"),
                name: text(""),
                output: text("o"),
                is_error: true,
                parent: parent.clone(),
            },
            Event::ToolUse { id: text("2"), name: text("n"), input: Value::Null, parent },
            Event::Model { name: text("m"), why: text("w") },
            Event::PermissionDenied { what: text("rm") },
            Event::Plan(vec![PlanEntry {
                content: text("c"),
                priority: text("high"),
                status: text("pending"),
            }]),
            Event::Progress { stage: text(COMMENTARY), message: text("so") },
            Event::Progress { stage: text("void"), message: text("not one") },
            Event::Progress { stage: text("model"), message: text("not one") },
            Event::Usage(Usage { input: 1, output: 2, cached: 1, reasoning: 1, cost: None }),
            Event::Line(text("raw")),
            Event::Done(Box::new(outcome)),
            Event::Done(Box::new(unsaved)),
        ] {
            let told = events.next(&event);
            assert_eq!(super::event(&told), Some(event), "{told}");
        }
    }

    #[test]
    fn what_is_of_a_later_version_is_no_event_and_breaks_nothing() {
        for value in
            [json!({"type": "later"}), json!([]), json!("x"), json!({"type": 7}), json!({"type": "plan"})]
        {
            assert_eq!(event(&value), None, "{value}");
        }
        let odd = json!({"type": "done", "content": {"kind": "later", "duration_seconds": (-1), "tried": 3}});
        let Some(Event::Done(outcome)) = event(&odd) else { panic!("{odd}") };
        assert_eq!(outcome.failure, Some(Failure::new(Kind::Internal, "later")));
    }
}
