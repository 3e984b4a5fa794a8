//! The conversation with `codex app-server`: JSON lines without a `jsonrpc` field, our requests 1 to 7, its
//! notifications and its questions. One thread, one turn.
//!
//! The end of the turn is the end of the run, unless codex pursues a goal: then it begins another turn by itself. What runs in
//! the background at the end (commands, other agents) wakes the model no more; `codex exec` ends it too. The run warns of it.

use super::answer::MessageText;
use super::items::{is_aside, tool, tool_result};
use super::{OLDEST, Plan, failure, model, provider};
use crate::backend::jsonrpc::{METHOD_NOT_FOUND, Message, Rpc, is_awaited};
use crate::backend::reader::Reader;
use crate::backend::{Dialogue, Ended, Step, Steps, older, truncated, unlogged};
use crate::base::collect::inserted;
use crate::base::json::{json, string, text};
use crate::model::error::{Failure, Kind};
use crate::model::event::{COMMENTARY, Event, Permission, Usage};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
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

/// One turn.
pub(super) struct AppServer {
    reader: Reader,
    plan: Plan,
    thread: Option<String>,
    turn: Option<String>,
    /// Codex pursues a goal over several turns.
    pursues: bool,
    /// A turn has ended, and the goal begins the next.
    between_turns: bool,
    /// The model has given a sign of life.
    answers: bool,
    /// The result is out; nothing counts any more.
    done: bool,
    /// The models there are, where codex was asked for them.
    models: Value,
    /// The provider whose requests codex was told not to repeat by itself.
    bounded: Option<String>,
    /// What one failed attempt of codex's counts.
    attempt: u32,
    /// Failed requests to the model since the last good one.
    retries: u32,
    answer: MessageText,
    /// Messages that are no part of the answer, and what the last of them said.
    asides: BTreeSet<String>,
    aside: String,
    /// Commands that have not ended, by the ids of their items.
    commands: BTreeMap<String, String>,
    /// Threads of other agents that are at work.
    agents: BTreeSet<String>,
    /// Tools whose use was told.
    tools: BTreeSet<String>,
    /// Reasoning that came in pieces.
    thoughts: BTreeSet<String>,
    /// What a person is asked at the moment: the method and its parameters, by the question's own id.
    questions: BTreeMap<String, (Value, String, Value)>,
    /// By thread, as agents may start others: what it had used before this turn, and what by now.
    usage: BTreeMap<String, (Usage, Usage)>,
    /// Warnings that were told: codex repeats them for the thread.
    sent: BTreeSet<String>,
}

impl AppServer {
    pub(super) fn new(plan: Plan) -> AppServer {
        AppServer {
            reader: Reader::new("codex"),
            plan,
            thread: None,
            turn: None,
            pursues: false,
            between_turns: false,
            answers: false,
            done: false,
            models: Value::Null,
            bounded: None,
            attempt: 1,
            retries: 0,
            answer: MessageText::default(),
            asides: BTreeSet::new(),
            aside: String::new(),
            commands: BTreeMap::new(),
            agents: BTreeSet::new(),
            tools: BTreeSet::new(),
            thoughts: BTreeSet::new(),
            questions: BTreeMap::new(),
            usage: BTreeMap::new(),
            sent: BTreeSet::new(),
        }
    }
}

impl Dialogue for AppServer {
    fn start(&mut self, steps: &mut Steps) {
        steps.push(Step::Send(initialize()));
    }

    fn line(&mut self, line: &str, steps: &mut Steps) {
        if self.done {
            return;
        }
        let Some(message) = self.reader.read(line, steps) else {
            if is_awaited(line) || line.contains("\"turn/completed\"") {
                let message = "a line of codex's that clinvk waited for, or has to answer, could not be read";
                self.finish(Err(Failure::new(Kind::Unreadable, message)), steps);
            }
            return;
        };
        match Message::of(message) {
            Some(Message::Request { id, method, params }) => self.asked(id, &method, params, steps),
            Some(Message::Answer { id, result }) => self.answered(id.as_u64(), result, steps),
            Some(Message::Notification { method, params }) => self.notified(&method, &params, steps),
            None => {}
        }
    }

    fn interrupt(&mut self, steps: &mut Steps) {
        if let (Some(thread), Some(turn), false) = (&self.thread, &self.turn, self.done) {
            request(INTERRUPT, "turn/interrupt", json!({"threadId": thread, "turnId": turn}), steps);
        }
    }

    fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        if let Some((id, method, params)) = self.questions.remove(id) {
            self.decide(id, &method, &params, allowed, steps);
        }
    }

    fn alarm(&mut self, steps: &mut Steps) {
        if self.between_turns {
            self.completed(&json!({"status": "completed"}), steps);
        }
    }

    fn eof(&mut self, ended: &Ended, steps: &mut Steps) {
        self.finish(Err(failure::of_end(ended)), steps);
    }
}

impl AppServer {
    /// The answer to a request of ours.
    fn answered(&mut self, id: Option<u64>, answer: Result<Value, Value>, steps: &mut Steps) {
        let (result, error) = match answer {
            Ok(result) => (result, None),
            Err(error) => (Value::Null, Some(error)),
        };
        let result = &result;
        match (id, error) {
            (Some(INITIALIZE | OPEN | TURN | INJECT), Some(error)) => {
                self.finish(Err(failure::of_request(&error)), steps);
            }
            (Some(INITIALIZE), None) => self.greeted(result, steps),
            // One that cannot tell its settings keeps its servers: what they want to do is refused all the same.
            (Some(SETTINGS), _) => {
                let of_user = result["config"]["mcp_servers"].as_object().into_iter().flatten();
                // Codex would make one of both.
                if let Some((name, _)) =
                    of_user.into_iter().find(|(name, _)| self.plan.servers.contains(*name))
                {
                    let message =
                        format!("codex is configured with an MCP server `{name}`: give yours another name");
                    return self.finish(Err(Failure::new(Kind::InvalidRequest, message)), steps);
                }
                if self.plan.without_servers {
                    self.leave_out_servers(&result["config"]["mcp_servers"]);
                }
                self.bound_requests(&result["config"]);
                match self.plan.wants_models() {
                    true => request(MODELS, "model/list", json!({}), steps),
                    false => self.open(steps),
                }
            }
            (Some(MODELS), _) => {
                self.models = result["data"].clone();
                if let Some(alias) = self.plan.alias {
                    self.plan.put("model", model::behind(alias, &self.models).into());
                }
                self.open(steps);
            }
            (Some(OPEN), None) => self.opened(result, steps),
            (Some(TURN), None) => self.turn = string(&result["turn"]["id"]).or(self.turn.take()),
            // `INTERRUPT` among them, refused when the turn was over by itself.
            _ => {}
        }
    }

    fn greeted(&mut self, result: &Value, steps: &mut Steps) {
        // `clinvk/0.169.0 (Debian ...`: our own name, its version.
        let agent = text(&result["userAgent"]);
        let version =
            agent.split_once('/').map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        if !version.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("codex does not tell its version: clinvk needs {OLDEST} or newer");
            self.progress("warning", message, steps);
        } else if older(version, OLDEST) {
            let message = format!("codex {version} is too old: clinvk needs {OLDEST} or newer");
            return self.finish(Err(Failure::new(Kind::NotInstalled, message)), steps);
        }
        steps.push(Step::Send(initialized()));
        request(SETTINGS, "config/read", json!({"includeLayers": false}), steps);
    }

    /// Each attempt of codex's is up to five requests where the server fails (`request_max_retries`): one is enough, because
    /// the attempts are counted here.
    fn bound_requests(&mut self, config: &Value) {
        let Some(name) = provider::of_user(config) else { return };
        let once = json!({"request_max_retries": 0});
        self.plan.config("model_providers", json!({name: once}));
        self.bounded = Some(name.to_owned());
    }

    /// Only by its name can a server be left out of a thread.
    fn leave_out_servers(&mut self, servers: &Value) {
        let names = servers.as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let off: Map<String, Value> = inserted(names.map(|name| (name, json!({"enabled": false}))));
        if !off.is_empty() {
            self.plan.config("mcp_servers", off.into());
        }
    }

    fn open(&mut self, steps: &mut Steps) {
        let line = Rpc::Unmarked.request(OPEN, self.plan.open, Value::Object(self.plan.thread.clone()));
        steps.push(match self.plan.servers.is_empty() {
            true => Step::Send(line),
            false => unlogged(line),
        });
    }

    fn opened(&mut self, result: &Value, steps: &mut Steps) {
        let Some(thread) = string(&result["thread"]["id"]) else {
            return self
                .finish(Err(Failure::new(Kind::Unreadable, "codex opened a session without an id")), steps);
        };
        if self.plan.resume.as_ref().is_some_and(|wanted| *wanted != thread) {
            let message = format!("codex continued another session: `{thread}`");
            return self.finish(Err(Failure::new(Kind::SessionNotFound, message)), steps);
        }
        let model = string(&result["model"]);
        steps.push(Step::Event(Event::Started { model, session: Some(thread.clone()) }));
        // Codex knows `ultra` of some models only, and passes another effort on for the rest, without a word.
        if self.plan.ultra && !model::has_ultra(&self.models, text(&result["model"])) {
            let message = format!("model `{}` has no effort `ultra`", text(&result["model"]));
            if !self.plan.lenient {
                return self.finish(Err(Failure::new(Kind::InvalidRequest, message)), steps);
            }
            self.plan.turn.remove("effort");
            self.progress("warning", message, steps);
        }
        let is_bounded = self.bounded.as_deref() == result["modelProvider"].as_str();
        self.attempt = if is_bounded { 1 } else { provider::REQUESTS };
        if let Some(developer) = &self.plan.developer {
            let content = [json!({"type": "input_text", "text": developer})];
            let item = json!({"type": "message", "role": "developer", "content": content});
            request(INJECT, "thread/inject_items", json!({"threadId": thread, "items": [item]}), steps);
        }
        let mut turn = std::mem::take(&mut self.plan.turn);
        turn.insert("threadId".to_owned(), thread.as_str().into());
        request(TURN, "turn/start", Value::Object(turn), steps);
        steps.push(Step::Asked);
        self.thread = Some(thread);
    }

    /// A question of codex's. Every one gets an answer, or codex would wait for ever.
    fn asked(&mut self, id: Value, method: &str, params: Value, steps: &mut Steps) {
        match permission(&id, method, &params).filter(|_| self.plan.attended) {
            Some(permission) => {
                self.questions.insert(permission.id.clone(), (id, method.to_owned(), params));
                steps.push(Step::Ask(permission));
            }
            None => self.decide(id, method, &params, self.plan.accept, steps),
        }
    }

    fn decide(&mut self, id: Value, method: &str, params: &Value, accept: bool, steps: &mut Steps) {
        let decision = if accept { "accept" } else { "decline" };
        let (reply, denied) = match method {
            "item/commandExecution/requestApproval" => {
                let command = params["command"].as_str().unwrap_or("a command");
                (Ok(json!({"decision": decision})), (!accept).then(|| command.to_owned()))
            }
            "item/fileChange/requestApproval" => {
                let denied = (!accept).then(|| "a change of files that needs approval".to_owned());
                (Ok(json!({"decision": decision})), denied)
            }
            "item/permissions/requestApproval" => {
                let granted = if accept { params["permissions"].clone() } else { json!({}) };
                let denied = (!accept).then(|| "more permissions".to_owned());
                (Ok(json!({"permissions": granted, "scope": "turn"})), denied)
            }
            "mcpServer/elicitation/request" if accept && is_permission(params) => {
                (Ok(json!({"action": "accept", "content": {}})), None)
            }
            "mcpServer/elicitation/request" => {
                let what = params["message"].as_str().unwrap_or("what an MCP server asked");
                (Ok(json!({"action": "decline", "content": null})), Some(what.to_owned()))
            }
            "item/tool/requestUserInput" => {
                self.progress("warning", "no answer: codex asked a person".to_owned(), steps);
                (Ok(json!({"answers": {}})), None)
            }
            _ => (Err(not_answered(method)), None),
        };
        let reply = match reply {
            Ok(result) => Rpc::Unmarked.answer(id, result),
            Err(message) => Rpc::Unmarked.error(id, METHOD_NOT_FOUND, &message),
        };
        steps.push(Step::Send(reply));
        steps.extend(denied.map(|what| Step::Event(Event::PermissionDenied { what })));
    }

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
        let (item, id) = (&params["item"], text(&params["itemId"]));
        let delta = text(&params["delta"]);
        match method {
            "turn/started" => {
                self.turn = string(&params["turn"]["id"]).or(self.turn.take());
                self.between_turns = false;
            }
            "turn/completed" if self.pursues && params["turn"]["status"] == "completed" => {
                self.between_turns = true;
                steps.push(Step::Alarm(GOES_ON_WITHIN));
            }
            "turn/completed" => self.completed(&params["turn"], steps),
            "thread/goal/updated" => self.pursues = params["goal"]["status"] == "active",
            "thread/goal/cleared" => self.pursues = false,
            "error" => self.failed(params, steps),
            "item/started" => self.item_started(item, steps),
            "item/completed" => self.item_completed(item, steps),
            "item/agentMessage/delta" if self.asides.contains(id) => self.sign_of_life(steps),
            "item/agentMessage/delta" => {
                self.sign_of_life(steps);
                let piece = self.answer.piece(id, delta);
                self.tell(piece, steps);
            }
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                self.sign_of_life(steps);
                self.thoughts.insert(id.to_owned());
                steps.push(Step::Event(Event::Thinking(delta.to_owned())));
            }
            "item/reasoning/summaryPartAdded"
                if params["summaryIndex"].as_u64().is_some_and(|index| index > 0) =>
            {
                steps.push(Step::Event(Event::Thinking("\n\n".to_owned())));
            }
            "model/rerouted" => self.rerouted(params, steps),
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
                if let Some(message) = string(&params["summary"]) {
                    self.progress("notice", message, steps);
                }
            }
            _ => {}
        }
    }

    fn item_started(&mut self, item: &Value, steps: &mut Steps) {
        if item["type"] != "userMessage" {
            self.sign_of_life(steps);
        }
        if let (true, Some(id)) = (is_aside(item), string(&item["id"])) {
            self.asides.insert(id);
        }
        if let ("commandExecution", Some(id)) = (text(&item["type"]), string(&item["id"])) {
            self.commands.insert(id, text(&item["command"]).to_owned());
        }
        self.tool_used(item, steps);
    }

    fn item_completed(&mut self, item: &Value, steps: &mut Steps) {
        let id = text(&item["id"]);
        self.commands.remove(id);
        match item["type"].as_str() {
            Some("agentMessage") if self.asides.contains(id) => {
                text(&item["text"]).clone_into(&mut self.aside);
                self.progress(COMMENTARY, self.aside.clone(), steps);
            }
            Some("agentMessage") => {
                let rest = self.answer.end(id, text(&item["text"]));
                self.tell(rest, steps);
            }
            Some("reasoning") if !self.thoughts.contains(id) => {
                let parts =
                    [&item["summary"], &item["content"]].into_iter().filter_map(Value::as_array).flatten();
                let whole = parts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n");
                if !whole.is_empty() {
                    steps.push(Step::Event(Event::Thinking(whole)));
                }
            }
            _ => {
                self.tool_used(item, steps);
                if let Some((name, _)) = tool(item) {
                    let (output, is_error) = tool_result(item);
                    steps.push(Step::Event(Event::ToolResult {
                        id: id.to_owned(),
                        name,
                        output,
                        is_error,
                        parent: None,
                    }));
                }
            }
        }
    }

    /// Tells the use of a tool, once.
    fn tool_used(&mut self, item: &Value, steps: &mut Steps) {
        let (Some((name, input)), Some(id)) = (tool(item), string(&item["id"])) else { return };
        if self.tools.insert(id.clone()) {
            steps.push(Step::Event(Event::ToolUse { id, name, input, parent: None }));
        }
    }

    /// Adds up what this turn used. `total` counts the thread's whole life, so what it was before is taken off;
    /// a sum of `last` would count one twice that codex repeats.
    fn used(&mut self, params: &Value, steps: &mut Steps) {
        let Some(thread) = string(&params["threadId"]) else { return };
        let is_ours = self.thread.as_ref() == Some(&thread);
        // A resumed thread begins with the figures of its last turn, as that turn's.
        if is_ours && (self.turn.is_none() || params["turnId"].as_str() != self.turn.as_deref()) {
            return;
        }
        let (total, last) = (figures(&params["tokenUsage"]["total"]), figures(&params["tokenUsage"]["last"]));
        let (_, now) = self.usage.entry(thread).or_insert((total.minus(last), total));
        *now = total;
        self.retries = 0;
        self.sign_of_life(steps);
        let sum =
            self.usage.values().fold(Usage::default(), |sum, (before, now)| sum.plus(now.minus(*before)));
        steps.push(Step::Event(Event::Usage(sum)));
    }

    /// Another model answers than the one that was asked.
    fn rerouted(&mut self, params: &Value, steps: &mut Steps) {
        let (from, to) = (text(&params["fromModel"]), text(&params["toModel"]));
        let why = format!("`{to}` answers instead of `{from}`: {}", text(&params["reason"]));
        steps.push(Step::Event(Event::Model { name: to.to_owned(), why }));
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
        self.progress("retry", format!("{message}: {}", failure::sentence(error)), steps);
        // Codex says so at +3 s, when it has tried for a while, then at +11 s and so on for ever.
        let waits_for_ever = message.contains("waiting for network");
        if waits_for_ever || self.retries > self.plan.retries {
            let failure = failure::of_turn(error);
            self.interrupt(steps);
            self.finish(Err(failure), steps);
        }
    }

    fn completed(&mut self, turn: &Value, steps: &mut Steps) {
        let is_completed = turn["status"] == "completed";
        if is_completed && self.answer.last().is_empty() {
            // It has marked nothing as its answer: that is the last that it said.
            let last = self.answer.end("", &std::mem::take(&mut self.aside));
            self.tell(last, steps);
        }
        if is_completed {
            self.warn_of_unfinished(steps);
        }
        let result = match turn["status"].as_str() {
            Some("completed")
                if (self.plan.json || self.tools.is_empty()) && self.answer.last().is_empty() =>
            {
                Err(Failure::new(Kind::Unreadable, "the model answered nothing, and did nothing"))
            }
            Some("completed") if self.plan.json => {
                // Only the last message has to follow the schema. Whether it does is the engine's to check.
                steps.push(Step::Event(Event::Text(self.answer.last().to_owned())));
                Ok(())
            }
            Some("completed") => Ok(()),
            Some("failed") if !self.plan.json && failure::is_cut(&turn["error"]) => {
                steps.push(truncated(None));
                Ok(())
            }
            Some("failed") => Err(failure::of_turn(&turn["error"])),
            Some("interrupted") => Err(Failure::new(Kind::Cancelled, "codex interrupted the turn")),
            other => {
                let status = other.unwrap_or("none");
                Err(Failure::new(Kind::Unreadable, format!("codex ended the turn with status `{status}`")))
            }
        };
        self.finish(result, steps);
    }

    /// What the end of the run ends, too.
    fn warn_of_unfinished(&mut self, steps: &mut Steps) {
        for command in std::mem::take(&mut self.commands).into_values() {
            let message =
                format!("a command was still running when the answer came, and was ended: {command}");
            self.progress("warning", message, steps);
        }
        if let agents @ 1.. = self.agents.len() {
            let message =
                format!("{agents} of its agents were still at work when the answer came, and were ended");
            self.progress("warning", message, steps);
        }
    }

    fn tell(&self, piece: Option<String>, steps: &mut Steps) {
        if !self.plan.json {
            steps.extend(piece.map(|piece| Step::Event(Event::Text(piece))));
        }
    }

    fn warn(&mut self, message: Option<String>, steps: &mut Steps) {
        let Some(message) = message else { return };
        if self.sent.insert(message.clone()) {
            let is_notice = MERE_NOTICES.iter().any(|notice| message.contains(notice));
            self.progress(if is_notice { "notice" } else { "warning" }, message, steps);
        }
    }

    fn progress(&self, stage: &str, message: String, steps: &mut Steps) {
        steps.push(Step::Event(Event::Progress { stage: stage.to_owned(), message }));
    }

    fn sign_of_life(&mut self, steps: &mut Steps) {
        if !std::mem::replace(&mut self.answers, true) {
            steps.push(Step::Answering);
        }
    }

    fn finish(&mut self, result: Result<(), Failure>, steps: &mut Steps) {
        if !std::mem::replace(&mut self.done, true) {
            steps.push(Step::Finished(result));
        }
    }
}

/// Whether an MCP server asks for a permission: with fields to fill in it asks a person for more.
fn is_permission(params: &Value) -> bool {
    let fields = params["requestedSchema"]["properties"].as_object().map_or(0, Map::len);
    fields == 0 && params["mode"] == "form"
}

/// What a person can be asked to allow.
fn permission(id: &Value, method: &str, params: &Value) -> Option<Permission> {
    let (name, what, input) = match method {
        "item/commandExecution/requestApproval" => {
            let input = json!({"command": params["command"], "cwd": params["cwd"]});
            ("commandExecution".to_owned(), &params["command"], input)
        }
        // What is to be changed was told with the use of the tool.
        "item/fileChange/requestApproval" => ("fileChange".to_owned(), &params["reason"], Value::Null),
        "item/permissions/requestApproval" => {
            ("permissions".to_owned(), &params["reason"], params["permissions"].clone())
        }
        "mcpServer/elicitation/request" if is_permission(params) => {
            let words =
                [&params["serverName"], &params["_meta"]["tool_name"]].into_iter().filter_map(Value::as_str);
            let name = words.collect::<Vec<_>>().join(".");
            (name, &params["message"], params["_meta"]["tool_params"].clone())
        }
        _ => return None,
    };
    let title = match what.as_str() {
        Some(what) => format!("{name}: {what}"),
        None => name.clone(),
    };
    Some(Permission { id: id.to_string(), tool_use: text(&params["itemId"]).to_owned(), name, title, input })
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

/// The sentence for a question that has no other answer.
pub(super) fn not_answered(method: &str) -> String {
    format!("clinvk does not answer `{method}`")
}

fn request(id: u64, method: &str, params: Value, steps: &mut Steps) {
    steps.push(Step::Send(Rpc::Unmarked.request(id, method, params)));
}

/// Cached input and reasoning are parts of input and output already.
fn figures(value: &Value) -> Usage {
    let tokens = |key: &str| value[key].as_u64().unwrap_or(0);
    Usage {
        input: tokens("inputTokens"),
        output: tokens("outputTokens"),
        cached: tokens("cachedInputTokens"),
        reasoning: tokens("reasoningOutputTokens"),
        cost: None,
    }
}
