//! The conversation with `codex app-server`: JSON lines without a `jsonrpc` field, our requests 1 to 7, its
//! notifications and its questions. One thread, one turn. `opening` leads to the prompt; then codex notifies of `items` and
//! asks `questions`, until it says that the turn is completed.
//!
//! The end of the turn is the end of the run, unless codex pursues a goal: then it begins another turn by itself. What runs in
//! the background at the end (commands, other agents) wakes the model no more; `codex exec` ends it too. The run warns of it.

mod opening;

use super::failure;
use super::items::Items;
use super::plan::Plan;
use super::questions::Questions;
use super::usage::ThreadUsage;
use crate::backend::jsonrpc::{self, Message, Rpc};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps};
use crate::base::json::{json, string, text};
use crate::model::error::{Failure, Kind};
use crate::model::event::Event;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

// The numbers of our requests.
pub(super) const INITIALIZE: u64 = 1;
pub(super) const OPEN: u64 = 2;
pub(super) const TURN: u64 = 3;
const INTERRUPT: u64 = 4;
const INJECT: u64 = 5;
const SETTINGS: u64 = 6;
const MODELS: u64 = 7;

/// A goal that is not reached begins the next turn within milliseconds; where it does not, it will not.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

/// Warnings of codex's that the user need not act on; they would be printed with every run.
const MERE_NOTICES: &[&str] = &[
    // It brings its own.
    "could not find bubblewrap",
    // Every model that is not OpenAI's.
    "Model metadata for",
    // Its own default for every directory that it was not told to trust.
    "Project-local config, hooks",
];

/// How far the turn is.
#[derive(PartialEq)]
enum TurnPhase {
    /// It is being opened, or under way.
    Running,
    /// It has ended, and the goal begins the next.
    BetweenTurns,
    /// The result is out; nothing counts any more.
    Over,
}

/// One turn.
pub(super) struct AppServer {
    reader: Reader,
    plan: Plan,
    phase: TurnPhase,
    thread: Option<String>,
    turn: Option<String>,
    /// Codex pursues a goal over several turns.
    pursues: bool,
    /// The models there are, where codex was asked for them.
    models: Value,
    /// The provider whose requests codex was told not to repeat by itself.
    bounded: Option<String>,
    /// What one failed attempt of codex's counts.
    attempt: u32,
    /// Failed requests to the model since the last good one.
    retries: u32,
    items: Items,
    /// Threads of other agents that are at work.
    agents: BTreeSet<String>,
    questions: Questions,
    usage: ThreadUsage,
    /// Warnings that were told: codex repeats them for the thread.
    sent: BTreeSet<String>,
}

impl AppServer {
    pub(super) fn new(plan: Plan) -> AppServer {
        AppServer {
            reader: Reader::new("codex"),
            phase: TurnPhase::Running,
            thread: None,
            turn: None,
            pursues: false,
            models: Value::Null,
            bounded: None,
            attempt: 1,
            retries: 0,
            items: Items::new(plan.json),
            agents: BTreeSet::new(),
            questions: Questions::new(plan.accept, plan.attended),
            usage: ThreadUsage::default(),
            sent: BTreeSet::new(),
            plan,
        }
    }
}

impl Dialogue for AppServer {
    fn start(&mut self, steps: &mut Steps) {
        steps.push(Step::Send(initialize()));
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        if self.phase == TurnPhase::Over {
            return;
        }
        let Some(message) = self.reader.read(line, steps) else {
            if is_awaited(line) {
                self.finish(Err(self.reader.lost()), steps);
            }
            return;
        };
        match Message::of(message) {
            Some(Message::Request { id, method, params }) => self.questions.asked(id, method, params, steps),
            Some(Message::Answer { id, result }) => self.answered(id.as_u64(), result, steps),
            Some(Message::Notification { method, params }) => self.notified(&method, &params, steps),
            None => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        if let (Some(thread), Some(turn), true) = (&self.thread, &self.turn, self.phase != TurnPhase::Over) {
            request(INTERRUPT, "turn/interrupt", json!({"threadId": thread, "turnId": turn}), steps);
        }
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        self.questions.permitted(id, allowed, steps);
    }

    fn alarm(&mut self, steps: &mut Steps) {
        if self.phase == TurnPhase::BetweenTurns {
            self.completed(&json!({"status": "completed"}), steps);
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        self.finish(Err(failure::of_end(ended)), steps);
    }
}

/// While the turn is under way, and at its end.
impl AppServer {
    fn notified(&mut self, method: &str, params: &Value, steps: &mut Steps) {
        if method == "thread/tokenUsage/updated" {
            return self.used(params, steps);
        }
        // What other agents say to each other is no part of the answer.
        if let Some(other) = params["threadId"].as_str().filter(|id| self.thread.as_deref() != Some(*id)) {
            match method {
                "turn/started" => drop(self.agents.insert(other.to_owned())),
                "turn/completed" => drop(self.agents.remove(other)),
                _ => {}
            }
            return;
        }
        match method {
            "turn/started" => {
                self.turn = string(&params["turn"]["id"]).or(self.turn.take());
                self.phase = TurnPhase::Running;
            }
            "turn/completed" if self.pursues && params["turn"]["status"] == "completed" => {
                self.phase = TurnPhase::BetweenTurns;
                steps.push(Step::Alarm(GOES_ON_WITHIN));
            }
            "turn/completed" => self.completed(&params["turn"], steps),
            "thread/goal/updated" => self.pursues = params["goal"]["status"] == "active",
            "thread/goal/cleared" => self.pursues = false,
            "error" => self.failed(params, steps),
            method if method.starts_with("item/") => self.items.notified(method, params, steps),
            "model/rerouted" => {
                let [from, to, why] = ["fromModel", "toModel", "reason"].map(|name| text(&params[name]));
                steps.push(Step::other_model(from, to, why));
            }
            "warning" | "guardianWarning" => self.warn(string(&params["message"]), steps),
            "configWarning" => {
                let words = [&params["summary"], &params["details"]];
                let words = words.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join(" ");
                self.warn(Some(words), steps);
            }
            "mcpServer/startupStatus/updated" if params["status"] == "failed" => {
                self.warn(string(&params["error"]), steps);
            }
            "deprecationNotice" => {
                steps.extend(string(&params["summary"]).map(|message| Step::progress("notice", message)));
            }
            _ => {}
        }
    }

    /// What a thread has used.
    fn used(&mut self, params: &Value, steps: &mut Steps) {
        let Some(thread) = string(&params["threadId"]) else { return };
        let is_ours = self.thread.as_ref() == Some(&thread);
        // A resumed thread begins with the figures of its last turn, as that turn's.
        if is_ours && (self.turn.is_none() || params["turnId"].as_str() != self.turn.as_deref()) {
            return;
        }
        self.retries = 0;
        self.items.sign_of_life(steps);
        let usage = self.usage.update(thread, &params["tokenUsage"]);
        steps.push(Step::Event(Event::Usage(usage)));
    }

    /// An `error` with `willRetry` is none yet; one without is followed by the end of the turn, which repeats it.
    fn failed(&mut self, params: &Value, steps: &mut Steps) {
        if params["willRetry"] != true {
            return;
        }
        let error = &params["error"];
        let message = text(&error["message"]);
        // It tries web sockets first, and goes on without them where there are none.
        if !failure::is_of_web_socket(error) {
            let is_repeated = failure::of_turn(error).kind == Kind::Overloaded;
            self.retries = self.retries.saturating_add(if is_repeated { self.attempt } else { 1 });
        }
        steps.push(Step::progress("retry", format!("{message}: {}", failure::sentence(error))));
        // Codex says so at +3 s, when it has tried for a while, then at +11 s and so on for ever.
        let waits_for_ever = message.contains("waiting for network");
        if waits_for_ever || self.retries > self.plan.retries {
            let failure = failure::of_turn(error);
            self.interrupt(steps);
            self.finish(Err(failure), steps);
        }
    }

    /// The turn is over, and with it what still runs in the background.
    fn completed(&mut self, turn: &Value, steps: &mut Steps) {
        let status = turn["status"].as_str().unwrap_or("none");
        if status == "completed" {
            self.items.end(steps);
            if let agents @ 1.. = self.agents.len() {
                let message =
                    format!("{agents} of its agents were still at work when the answer came, and were ended");
                steps.push(Step::warning(message));
            }
        }
        let (items, json) = (&self.items, self.plan.json);
        let (kind, message) = match status {
            "completed" if items.answer().is_empty() && (json || !items.uses_tools()) => {
                (Kind::Unreadable, "the model answered nothing, and did nothing".to_owned())
            }
            "completed" => {
                // Whether it follows the schema is the engine's to check.
                steps.extend(json.then(|| Step::Event(Event::Text(items.answer().to_owned()))));
                return self.finish(Ok(()), steps);
            }
            "failed" if !json && failure::is_cut(&turn["error"]) => {
                steps.push(Step::truncated(None));
                return self.finish(Ok(()), steps);
            }
            "failed" => return self.finish(Err(failure::of_turn(&turn["error"])), steps),
            "interrupted" => (Kind::Cancelled, "codex interrupted the turn".to_owned()),
            other => (Kind::Unreadable, format!("codex ended the turn with status `{other}`")),
        };
        self.fail(kind, message, steps);
    }

    fn warn(&mut self, message: Option<String>, steps: &mut Steps) {
        let Some(message) = message else { return };
        if self.sent.insert(message.clone()) {
            let is_notice = MERE_NOTICES.iter().any(|notice| message.contains(notice));
            steps.push(Step::progress(if is_notice { "notice" } else { "warning" }, message));
        }
    }

    fn fail(&mut self, kind: Kind, message: impl Into<String>, steps: &mut Steps) {
        self.finish(Err(Failure::new(kind, message)), steps);
    }

    fn finish(&mut self, result: Result<(), Failure>, steps: &mut Steps) {
        if std::mem::replace(&mut self.phase, TurnPhase::Over) != TurnPhase::Over {
            steps.push(Step::Finished(result));
        }
    }
}

/// What codex is asked first, once in its life.
pub(super) fn initialize() -> String {
    let us = json!({"name": "clinvk", "title": "clinvk", "version": env!("CARGO_PKG_VERSION")});
    Rpc::Unmarked.request(INITIALIZE, "initialize", json!({"clientInfo": us}))
}

/// ... and is told when it has answered.
pub(super) fn initialized() -> String {
    Rpc::Unmarked.notification("initialized", Value::Null)
}

/// Whether one side waits for a line that cannot be read: we also wait for the end of the turn.
pub(super) fn is_awaited(line: &str) -> bool {
    jsonrpc::is_awaited(line) || line.contains("\"turn/completed\"")
}

fn request(id: u64, method: &str, params: Value, steps: &mut Steps) {
    steps.push(Step::Send(Rpc::Unmarked.request(id, method, params)));
}
