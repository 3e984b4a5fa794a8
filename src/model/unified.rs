//! Runs as JSON: the answer and the unified events. An answer has the same fields wherever it is told, on the command line
//! and over HTTP, alone, among others or at the end of a stream; names of clinvk 0.2 stand beside them where they differ.

use crate::base::json::{self, json};
use crate::base::time::timestamp;
use crate::base::world;
use crate::model::error::{Error, Failure};
use crate::model::event::{Event, PlanEntry, Usage};
use crate::model::outcome::Outcome;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// The answer of a run as one object.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    /// Who answered, or was asked.
    pub(crate) backend: Option<&'a str>,
    /// The model that answered.
    pub(crate) model: Option<&'a str>,
    /// The answer; null where it was longer than what a stream repeats.
    pub(crate) content: Option<&'a str>,
    pub(crate) session_id: Option<&'a str>,
    pub(crate) backend_session_id: Option<&'a str>,
    /// Tokens.
    pub(crate) usage: Value,
    /// US dollars, where the backend tells.
    pub(crate) cost: Option<f64>,
    /// From start to result.
    pub(crate) duration_seconds: f64,
    /// The backend's exit status, where it ran.
    pub(crate) exit_code: Option<i32>,
    /// The kind of failure; null is a success.
    pub(crate) kind: Option<&'static str>,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// What was left out or is worth knowing.
    pub(crate) warnings: &'a [String],
    /// How often the agent needed a permission and did not get it.
    pub(crate) permission_denials: u64,
    /// Who was asked before and could not answer.
    pub(crate) tried: Vec<Value>,
}

impl<'a> Answer<'a> {
    /// What a backend answered.
    pub(crate) fn of(outcome: &'a Outcome, content: Option<&'a str>) -> Answer<'a> {
        Answer {
            backend: Some(&outcome.backend),
            model: outcome.model.as_deref(),
            content: content.map(|content| content.trim_end_matches('\n')),
            session_id: outcome.session.as_deref(),
            backend_session_id: outcome.backend_session.as_deref(),
            usage: usage(&outcome.usage),
            cost: outcome.usage.cost,
            duration_seconds: outcome.duration.as_secs_f64(),
            exit_code: Some(outcome.exit_code),
            kind: failure(outcome).map(|failure| failure.kind.word()),
            error: failure(outcome).map(|failure| failure.message.clone()),
            warnings: &outcome.warnings,
            permission_denials: outcome.permission_denials,
            tried: tried(&outcome.tried),
        }
    }

    /// The same where nothing was run, nor anything is wrong.
    pub(crate) fn unrun(backend: Option<&'a str>) -> Answer<'a> {
        Answer {
            backend,
            model: None,
            content: Some(""),
            session_id: None,
            backend_session_id: None,
            usage: usage(&Usage::default()),
            cost: None,
            duration_seconds: 0.0,
            exit_code: None,
            kind: None,
            error: None,
            warnings: &[],
            permission_denials: 0,
            tried: Vec::new(),
        }
    }

    /// The same where nothing was run, because of this.
    pub(crate) fn refused(backend: Option<&'a str>, error: &Error) -> Answer<'a> {
        Answer { kind: Some(error.kind().word()), error: Some(error.to_string()), ..Answer::unrun(backend) }
    }
}

/// How the warning begins about a session that could not be saved; why stands behind it.
pub(crate) const NOT_SAVED: &str = "the session was not saved: ";

/// A failure that has no answer around it, as a command or a request is refused.
pub(crate) fn refusal(error: &Error) -> Value {
    json!({"error": {"kind": error.kind().word(), "message": error.to_string()}})
}

/// A length of time in whole milliseconds, as clinvk 0.2 told it over HTTP.
pub(crate) fn millis(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Who could not answer before the one that did, and why.
pub(crate) fn tried(tried: &[(String, Failure)]) -> Vec<Value> {
    let one = |(backend, failure): &(String, Failure)| json!({"backend": backend, "kind": failure.kind.word(), "error": failure.message});
    tried.iter().map(one).collect()
}

/// What went wrong: the run, or else the saving of its session.
pub(crate) fn failure(outcome: &Outcome) -> Option<&Failure> {
    outcome.failure.as_ref().or(outcome.session_failure.as_ref())
}

/// Tokens, by the names of clinvk 0.2.
pub(crate) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.total(),
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    })
}

/// Makes the unified events: names and shape of clinvk 0.2.
pub(crate) struct Events {
    backend: Option<String>,
    working_dir: String,
    /// How often the model was asked, as far as events tell: once, and once more after each round of tools.
    turns: u64,
    /// Tools have answered, and the model has not yet.
    after_tools: bool,
    session: Option<String>,
    sequence: u64,
    /// The answer so far, for the last event; none when it became longer than what that repeats.
    text: Option<String>,
}

/// The longest answer that the last event of a stream repeats, in bytes: all of it was told already.
const MOST_REPEATED: usize = 1 << 20;

impl Events {
    /// Events of a run of that backend.
    pub(crate) fn new(backend: Option<&str>, working_dir: &Path) -> Events {
        let (backend, working_dir) = (backend.map(str::to_owned), json::path(working_dir));
        Events {
            backend,
            working_dir,
            turns: 1,
            after_tools: false,
            session: None,
            sequence: 0,
            text: Some(String::new()),
        }
    }

    /// From now on it is about a run of this backend, in this session of ours.
    pub(crate) fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.backend = Some(backend.to_owned());
        self.session = session.map(str::to_owned);
    }

    /// Whose events these are, where that is known.
    pub(crate) fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    /// The session of ours that they belong to.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The next event, numbered.
    pub(crate) fn next(&mut self, event: &Event) -> Value {
        match event {
            // What a sub-agent does is no turn of this conversation.
            Event::ToolResult { parent: Some(_), .. } | Event::ToolUse { parent: Some(_), .. } => {}
            Event::ToolResult { .. } => self.after_tools = true,
            Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. } => {
                self.turns += u64::from(std::mem::take(&mut self.after_tools));
            }
            _ => {}
        }
        if let (Event::Text(text), Some(whole)) = (event, &mut self.text) {
            whole.push_str(text);
            self.text.take_if(|whole| whole.len() > MOST_REPEATED);
        }
        let (kind, content) = match event {
            Event::Started { model, session } => (
                "init",
                json!({"model": model, "backend_session_id": session, "working_dir": self.working_dir}),
            ),
            Event::Text(text) => ("message", json!({"text": text, "role": "assistant", "is_partial": true})),
            Event::Void(characters) => {
                let message = format!(
                    "the answer broke off and begins anew: its last {characters} characters are void"
                );
                ("progress", json!({"stage": "void", "message": message, "characters": characters}))
            }
            Event::Thinking(text) => ("thinking", json!({"text": text, "is_partial": true})),
            Event::ToolUse { id, name, input, parent } => {
                ("tool_use", of_agent(json!({"tool_id": id, "tool_name": name, "input": input}), parent))
            }
            Event::ToolResult { id, name, output, is_error, parent } => {
                let content =
                    json!({"tool_id": id, "tool_name": name, "output": output, "is_error": is_error});
                ("tool_result", of_agent(content, parent))
            }
            Event::Model { name, why } => {
                ("progress", json!({"stage": "model", "message": why, "model": name}))
            }
            Event::PermissionDenied { what } => {
                ("progress", json!({"stage": "permission", "message": format!("refused: {what}")}))
            }
            Event::Plan(entries) => {
                let entry = |entry: &PlanEntry| json!({"content": entry.content, "priority": entry.priority, "status": entry.status});
                ("plan", json!({"entries": entries.iter().map(entry).collect::<Vec<_>>()}))
            }
            Event::Progress { stage, message } => ("progress", json!({"stage": stage, "message": message})),
            Event::Usage(used) => ("token_usage", usage(used)),
            Event::Line(line) => ("line", json!({"text": line})),
            Event::Done(outcome) => return self.done(outcome),
        };
        self.envelope(kind, content)
    }

    /// What went wrong.
    pub(crate) fn error(&mut self, failure: &Failure) -> Value {
        let (kind, message) = (failure.kind.word(), &failure.message);
        let content = json!({"code": kind, "message": message, "kind": kind, "error": message});
        self.envelope("error", content)
    }

    /// The last one.
    pub(crate) fn done(&mut self, outcome: &Outcome) -> Value {
        let mut content = json!(Answer::of(outcome, self.text.as_deref()));
        content["token_usage"] = content["usage"].clone();
        content["duration"] = content["duration_seconds"].clone();
        content["turn_count"] = json!(self.turns);
        self.envelope("done", content)
    }

    fn envelope(&mut self, kind: &str, content: Value) -> Value {
        let sequence = self.sequence;
        self.sequence += 1;
        json!({
            "type": kind,
            "backend": self.backend,
            "session_id": self.session,
            "timestamp": timestamp(world::now()),
            "sequence": sequence,
            "content": content,
        })
    }
}

/// The content of an event, with the sub-agent that it is of where it is of one.
fn of_agent(mut content: Value, parent: &Option<String>) -> Value {
    if let Some(parent) = parent {
        content["parent"] = json!(parent);
    }
    content
}
