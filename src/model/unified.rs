//! Runs as JSON: the unified events and the answer, with the names of clinvk 0.2 and ours behind them. The command line
//! and the server print the same.

use crate::base::world;
use crate::engine::Outcome;
use crate::model::error::{Error, Failure};
use crate::model::event::{Event, Usage};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The answer of a run as one object.
#[derive(Serialize)]
pub struct Answer<'a> {
    backend: Option<&'a str>,
    model: Option<&'a str>,
    content: &'a str,
    session_id: Option<&'a str>,
    backend_session_id: Option<&'a str>,
    usage: Value,
    cost: Option<f64>,
    duration_seconds: f64,
    exit_code: Option<i32>,
    kind: Option<&'static str>,
    error: Option<String>,
    warnings: &'a [String],
    tried: Vec<Value>,
}

impl<'a> Answer<'a> {
    /// What a backend answered.
    pub fn of(outcome: &'a Outcome, content: &'a str) -> Answer<'a> {
        Answer {
            backend: Some(&outcome.backend),
            model: outcome.model.as_deref(),
            content: content.trim_end_matches('\n'),
            session_id: outcome.session.as_deref(),
            backend_session_id: outcome.backend_session.as_deref(),
            usage: usage(&outcome.usage),
            cost: outcome.usage.cost,
            duration_seconds: outcome.duration.as_secs_f64(),
            exit_code: Some(outcome.exit_code),
            kind: failure(outcome).map(|failure| failure.kind.word()),
            error: failure(outcome).map(|failure| failure.message.clone()),
            warnings: &outcome.warnings,
            tried: tried(&outcome.tried),
        }
    }

    /// The same where nothing was run.
    pub fn refused(backend: Option<&'a str>, error: &Error) -> Answer<'a> {
        Answer {
            backend,
            model: None,
            content: "",
            session_id: None,
            backend_session_id: None,
            usage: usage(&Usage::default()),
            cost: None,
            duration_seconds: 0.0,
            exit_code: None,
            kind: Some(error.kind().word()),
            error: Some(error.to_string()),
            warnings: &[],
            tried: Vec::new(),
        }
    }
}

/// Who could not answer before the one that did, and why.
pub fn tried(tried: &[(String, Failure)]) -> Vec<Value> {
    let one = |(backend, failure): &(String, Failure)| json!({"backend": backend, "kind": failure.kind.word(), "error": failure.message});
    tried.iter().map(one).collect()
}

/// What went wrong: the run, or else the saving of its session.
pub fn failure(outcome: &Outcome) -> Option<&Failure> {
    outcome.failure.as_ref().or(outcome.session_failure.as_ref())
}

/// Tokens, by the names of clinvk 0.2.
pub fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.total(),
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    })
}

/// Makes the unified events: names and shape of clinvk 0.2.
pub struct Events {
    backend: Option<String>,
    working_dir: PathBuf,
    /// How often the model was asked, as far as events tell: once, and once more after each round of tools.
    turns: u64,
    /// Tools have answered, and the model has not yet.
    after_tools: bool,
    session: Option<String>,
    sequence: u64,
}

impl Events {
    /// Events of a run of that backend.
    pub fn new(backend: Option<&str>, working_dir: &Path) -> Events {
        let (backend, working_dir) = (backend.map(str::to_owned), working_dir.to_owned());
        Events { backend, working_dir, turns: 1, after_tools: false, session: None, sequence: 0 }
    }

    /// From now on it is about a run of this backend, in this session of ours.
    pub fn begin(&mut self, backend: &str, session: Option<&str>) {
        self.backend = Some(backend.to_owned());
        self.session = session.map(str::to_owned);
    }

    /// Whose events these are, where that is known.
    pub fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    /// The next event, numbered.
    pub fn next(&mut self, event: &Event) -> Value {
        match event {
            Event::ToolResult { .. } => self.after_tools = true,
            Event::Text(_) | Event::Thinking(_) | Event::ToolUse { .. } => {
                self.turns += u64::from(std::mem::take(&mut self.after_tools));
            }
            _ => {}
        }
        let line = self.line(event);
        self.sequence += 1;
        line
    }

    /// The event as the next one would be, without counting it.
    pub fn line(&self, event: &Event) -> Value {
        match event {
            Event::Started { model, session } => self.envelope(
                "init",
                json!({"model": model, "backend_session_id": session, "working_dir": self.working_dir}),
            ),
            Event::Text(text) => {
                self.envelope("message", json!({"text": text, "role": "assistant", "is_partial": true}))
            }
            Event::Thinking(text) => self.envelope("thinking", json!({"text": text, "is_partial": true})),
            Event::ToolUse { id, name, input } => {
                self.envelope("tool_use", json!({"tool_id": id, "tool_name": name, "input": input}))
            }
            Event::ToolResult { id, name, output, is_error } => self.envelope(
                "tool_result",
                json!({"tool_id": id, "tool_name": name, "output": output, "is_error": is_error}),
            ),
            Event::Progress { stage, message } => {
                self.envelope("progress", json!({"stage": stage, "message": message}))
            }
            Event::Usage(used) => self.envelope("token_usage", usage(used)),
        }
    }

    /// What went wrong.
    pub fn error(&mut self, failure: &Failure) -> Value {
        let line = self.envelope("error", json!({"code": failure.kind.word(), "message": failure.message}));
        self.sequence += 1;
        line
    }

    /// The last one.
    pub fn done(&mut self, outcome: &Outcome) -> Value {
        let content = json!({
            "token_usage": usage(&outcome.usage),
            "cost": outcome.usage.cost,
            "duration": outcome.duration.as_secs_f64(),
            "turn_count": self.turns,
            "exit_code": outcome.exit_code,
            "kind": failure(outcome).map(|failure| failure.kind.word()),
            "warnings": outcome.warnings,
            "tried": tried(&outcome.tried),
        });
        self.envelope("done", content)
    }

    fn envelope(&self, kind: &str, content: Value) -> Value {
        json!({
            "type": kind,
            "backend": self.backend,
            "session_id": self.session,
            "timestamp": world::timestamp(world::now()),
            "sequence": self.sequence,
            "content": content,
        })
    }
}
