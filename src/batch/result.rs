//! How one run of a batch ended, and its shape as JSON.

use crate::base::json::{self, string};
use crate::base::words::words;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::Usage;
use crate::model::outcome::Outcome;
use crate::model::unified::Answer;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Not;
use std::time::Duration;

words! {
    /// How a run ended, or why there was none.
    State {
        /// The backend said that it was done.
        Completed = "completed",
        /// It did not come to a good end.
        Failed = "failed",
        /// It was stopped before its end, or before its start by a person.
        Cancelled = "cancelled",
        /// It was not started, because of how another one ended.
        Skipped = "skipped",
    }
}

/// Which run it is.
#[derive(Debug, Clone, Default)]
pub struct Label {
    /// Its place among those that were asked for, from 0.
    pub(crate) index: usize,
    /// How many of those before it are no part of this batch.
    pub(crate) left_out: usize,
    /// The id by which others depend on it.
    pub(crate) id: Option<String>,
    /// What it is called.
    pub(crate) name: Option<String>,
    /// The item of a list that it is about.
    pub(crate) item: Option<String>,
    /// The backend that is asked.
    pub(crate) backend: String,
    /// The model that is asked for.
    pub(crate) model: Option<String>,
    /// The beginning of its prompt.
    pub(crate) prompt: String,
    /// Words that came with it.
    pub(crate) tags: Vec<String>,
    /// What else came with it.
    pub(crate) meta: Option<Map<String, Value>>,
}

impl Label {
    /// The label of a result that `entry` made.
    pub(super) fn read(value: &Value) -> Option<Label> {
        Some(Label {
            index: value["index"].as_u64().and_then(|index| usize::try_from(index).ok())?,
            id: string(&value["task_id"]),
            name: string(&value["task_name"]),
            item: string(&value["item"]),
            backend: string(&value["backend"])?,
            model: string(&value["model"]),
            tags: strings(&value["tags"]),
            meta: value["meta"].as_object().cloned(),
            ..Label::default()
        })
    }

    /// What people call it: its name, its id, its item, or the beginning of its prompt.
    pub(crate) fn title(&self) -> &str {
        [&self.name, &self.id, &self.item].into_iter().flatten().next().unwrap_or(&self.prompt)
    }
}

/// How one run ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Which run it was.
    pub(crate) label: Label,
    /// How it ended.
    pub(crate) state: State,
    /// How its run went. Of one that was not run: the backend and model that were asked for, and why.
    pub(crate) outcome: Outcome,
    /// A backend ran, and has an exit status.
    pub(super) has_run: bool,
    /// The answer as far as it came; of a dry run, what would have been executed.
    pub(crate) output: String,
    /// It could not run at all: its backend does not exist, is disabled or not installed.
    pub(crate) unavailable: bool,
    /// How often it was begun.
    pub(crate) attempts: u32,
    /// It was done by an earlier batch, and was read back.
    pub(crate) resumed: bool,
    /// Nothing was executed.
    pub(crate) dry_run: bool,
    /// What was asked, where the answer is kept in a folder.
    pub(super) digest: Option<String>,
}

impl Finished {
    /// One that was not run.
    pub(crate) fn without_run(label: Label, state: State, failure: impl Into<Option<Failure>>) -> Finished {
        let (backend, model, failure) = (label.backend.clone(), label.model.clone(), failure.into());
        let kind = failure.as_ref().map(|failure| failure.kind);
        Finished {
            label,
            state,
            outcome: Outcome { backend, model, failure, ..Outcome::default() },
            has_run: false,
            output: String::new(),
            unavailable: matches!(kind, Some(Kind::UnknownBackend | Kind::NotInstalled)),
            attempts: 0,
            resumed: false,
            dry_run: false,
            digest: None,
        }
    }

    /// One that *we* could not run.
    pub(crate) fn refused(label: Label, error: &Error) -> Finished {
        let state = match error {
            Error::Cancelled | Error::ReaderGone => State::Cancelled,
            _ => State::Failed,
        };
        let mut finished = Finished::without_run(label, state, Failure::from(error));
        finished.unavailable |= matches!(error, Error::Disabled { .. });
        finished
    }

    /// One that a backend ran.
    pub(crate) fn ran(label: Label, outcome: Outcome, output: String) -> Finished {
        let state = match outcome.failure.as_ref().map(|failure| failure.kind) {
            None => State::Completed,
            Some(Kind::Cancelled) => State::Cancelled,
            Some(_) => State::Failed,
        };
        let unrun = Finished::without_run(label, state, outcome.failure.clone());
        Finished {
            // A run whose session could not be saved is done all the same.
            outcome: Outcome { session_failure: None, ..outcome },
            has_run: true,
            output: output.trim_end_matches('\n').to_owned(),
            attempts: 1,
            ..unrun
        }
    }

    /// The result of a run of several: the answer, and what came of the run.
    pub(crate) fn to_json(&self) -> ResultJson<'_> {
        ResultJson {
            answer: Answer {
                content: Some(&self.output),
                exit_code: self.has_run.then_some(self.outcome.exit_code),
                ..Answer::of(&self.outcome, None)
            },
            status: self.state.word(),
            output: &self.output,
            attempts: self.attempts,
            resumed: self.resumed,
            dry_run: self.dry_run,
        }
    }

    /// The result of a task, of `parallel` and `map`.
    pub(crate) fn entry(&self) -> Entry<'_> {
        let Label { index, id, name, item, tags, meta, .. } = &self.label;
        Entry {
            index: *index,
            task_id: id.as_deref(),
            task_name: name.as_deref(),
            item: item.as_deref(),
            json: self.to_json(),
            tags,
            meta: meta.as_ref(),
        }
    }

    /// The result of a step of a `chain`: they are counted from 1, and all have names.
    pub(crate) fn step(&self) -> StepJson<'_> {
        let Label { index, id, .. } = &self.label;
        StepJson { step: index + 1, name: id.as_deref().unwrap_or_default(), json: self.to_json() }
    }

    /// A result that `entry` made, for the same task, as it was.
    pub(super) fn read(label: Label, value: &Value) -> Option<Finished> {
        let number = |name: &str| value["usage"][name].as_u64().unwrap_or(0);
        let state = State::parse(value["status"].as_str()?)?;
        let exit_code = value["exit_code"].as_i64().and_then(|code| i32::try_from(code).ok());
        let outcome = Outcome {
            backend: string(&value["backend"])?,
            model: string(&value["model"]),
            duration: Duration::try_from_secs_f64(value["duration_seconds"].as_f64()?).ok()?,
            exit_code: exit_code.unwrap_or_default(),
            session: string(&value["session_id"]),
            backend_session: string(&value["backend_session_id"]),
            usage: Usage {
                input: number("input_tokens"),
                output: number("output_tokens"),
                cached: number("cached_tokens"),
                reasoning: number("reasoning_tokens"),
                cost: value["cost"].as_f64(),
            },
            warnings: strings(&value["warnings"]),
            permission_denials: value["permission_denials"].as_u64().unwrap_or(0),
            failure: failure(value),
            tried: value["tried"].as_array().into_iter().flatten().filter_map(tried).collect(),
            ..Outcome::default()
        };
        Some(Finished {
            outcome,
            has_run: exit_code.is_some(),
            output: string(&value["output"])?,
            attempts: value["attempts"].as_u64().and_then(|attempts| u32::try_from(attempts).ok())?,
            resumed: value["resumed"] == true,
            ..Finished::without_run(label, state, failure(value))
        })
    }
}

/// Who could not answer, and why.
fn tried(value: &Value) -> Option<(String, Failure)> {
    Some((string(&value["backend"])?, failure(value)?))
}

/// The failure in a result.
fn failure(value: &Value) -> Option<Failure> {
    let kind = Kind::parse(value["kind"].as_str()?)?;
    Some(Failure::new(kind, json::text(&value["error"])))
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(string).collect()
}

/// The answer of a run of several, and what came of the run.
#[derive(Serialize)]
pub struct ResultJson<'a> {
    #[serde(flatten)]
    answer: Answer<'a>,
    status: &'static str,
    /// The answer as clinvk 0.2 called it here.
    output: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Not::not")]
    resumed: bool,
    #[serde(skip_serializing_if = "Not::not")]
    dry_run: bool,
}

/// The result of a task.
#[derive(Serialize)]
pub struct Entry<'a> {
    index: usize,
    task_id: Option<&'a str>,
    task_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a str>,
    #[serde(flatten)]
    json: ResultJson<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a Map<String, Value>>,
}

/// The result of a step.
#[derive(Serialize)]
pub struct StepJson<'a> {
    step: usize,
    name: &'a str,
    #[serde(flatten)]
    json: ResultJson<'a>,
}

/// How many ended how. They add up to all that there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Done, those that an earlier batch had done included.
    pub(crate) completed: usize,
    /// Not done.
    pub(crate) failed: usize,
    /// Stopped.
    pub(crate) cancelled: usize,
    /// Not started.
    pub(crate) skipped: usize,
    /// Of the completed: done by an earlier batch.
    pub(crate) resumed: usize,
    /// Of the failed: their backends are not to be had.
    #[serde(skip)]
    pub(crate) unavailable: usize,
}

impl Totals {
    pub(crate) fn all(&self) -> usize {
        self.completed + self.failed + self.cancelled + self.skipped
    }

    pub(super) fn count(&mut self, finished: &Finished) {
        match finished.state {
            State::Completed => self.completed += 1,
            State::Failed => self.failed += 1,
            State::Cancelled => self.cancelled += 1,
            State::Skipped => self.skipped += 1,
        }
        self.resumed += usize::from(finished.resumed);
        self.unavailable += usize::from(finished.unavailable);
    }
}

/// Puts results that come as they end into the order in which they were asked for.
#[derive(Default)]
pub struct InOrder {
    next: usize,
    early: BTreeMap<usize, Finished>,
}

impl InOrder {
    /// Takes one in, and lets out those whose turn has come.
    pub(crate) fn take(&mut self, finished: Finished) -> Vec<Finished> {
        self.early.insert(finished.label.index - finished.label.left_out, finished);
        let mut due = Vec::new();
        while let Some(finished) = self.early.remove(&self.next) {
            due.push(finished);
            self.next += 1;
        }
        due
    }
}
