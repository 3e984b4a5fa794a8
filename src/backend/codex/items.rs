//! What the items of a turn are, and the events that they become: messages, thoughts, uses of tools, and what came of them.

use super::answer::MessageText;
use crate::backend::{Step, Steps};
use crate::base::collect::inserted;
use crate::base::json::{string, text};
use crate::model::event::{COMMENTARY, Event};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The items of this turn.
#[derive(Default)]
pub(super) struct Items {
    /// The answer has to be JSON: it is told once, whole, at the end.
    json: bool,
    /// The model has given a sign of life.
    answers: bool,
    answer: MessageText,
    /// Messages that are no part of the answer, and what the last of them said.
    asides: BTreeSet<String>,
    aside: String,
    /// Commands that have not ended, by the ids of their items.
    commands: BTreeMap<String, String>,
    /// Tools whose use was told.
    tools: BTreeSet<String>,
    /// Reasoning that came in pieces.
    thoughts: BTreeSet<String>,
}

impl Items {
    pub(super) fn new(json: bool) -> Items {
        Items { json, ..Items::default() }
    }

    /// What codex notifies of an item: that it is there, a piece of it, or that it is complete.
    pub(super) fn notified(&mut self, method: &str, params: &Value, steps: &mut Steps) {
        let (id, piece) = (text(&params["itemId"]), text(&params["delta"]));
        match method {
            "item/started" => self.started(&params["item"], steps),
            "item/completed" => self.completed(&params["item"], steps),
            "item/agentMessage/delta" => self.message(id, piece, steps),
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => self.thought(id, piece, steps),
            "item/reasoning/summaryPartAdded" if params["summaryIndex"].as_u64().is_some_and(|at| at > 0) => {
                steps.push(Step::Event(Event::Thinking("\n\n".to_owned())));
            }
            _ => {}
        }
    }

    fn started(&mut self, item: &Value, steps: &mut Steps) {
        if item["type"] != "userMessage" {
            self.sign_of_life(steps);
        }
        if let (true, Some(id)) = (is_aside(item), string(&item["id"])) {
            self.asides.insert(id);
        }
        if let ("commandExecution", Some(id)) = (text(&item["type"]), string(&item["id"])) {
            self.commands.insert(id, text(&item["command"]).to_owned());
        }
        self.tell_tool(item, steps);
    }

    /// A piece of the message of that id.
    fn message(&mut self, id: &str, piece: &str, steps: &mut Steps) {
        self.sign_of_life(steps);
        if !self.asides.contains(id) {
            let piece = self.answer.piece(id, piece);
            self.tell(piece, steps);
        }
    }

    /// A piece of the reasoning of that id.
    fn thought(&mut self, id: &str, piece: &str, steps: &mut Steps) {
        self.sign_of_life(steps);
        self.thoughts.insert(id.to_owned());
        steps.push(Step::Event(Event::Thinking(piece.to_owned())));
    }

    fn completed(&mut self, item: &Value, steps: &mut Steps) {
        let id = text(&item["id"]);
        self.commands.remove(id);
        match item["type"].as_str() {
            Some("agentMessage") if self.asides.contains(id) => {
                text(&item["text"]).clone_into(&mut self.aside);
                steps.push(Step::progress(COMMENTARY, self.aside.clone()));
            }
            Some("agentMessage") => {
                let rest = self.answer.end(id, text(&item["text"]));
                self.tell(rest, steps);
            }
            Some("reasoning") if !self.thoughts.contains(id) => {
                let parts =
                    [&item["summary"], &item["content"]].into_iter().filter_map(Value::as_array).flatten();
                let whole = parts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n");
                steps.extend((!whole.is_empty()).then_some(Step::Event(Event::Thinking(whole))));
            }
            _ => {
                self.tell_tool(item, steps);
                let Some((name, _)) = tool(item) else { return };
                let ((output, is_error), id) = (tool_result(item), id.to_owned());
                steps.push(Step::Event(Event::ToolResult { id, name, output, is_error, parent: None }));
            }
        }
    }

    /// The turn is over. One that has marked nothing as its answer: that is the last that it said. Commands that still run
    /// end with it.
    pub(super) fn end(&mut self, steps: &mut Steps) {
        if self.answer.last().is_empty() {
            let last = self.answer.end("", &std::mem::take(&mut self.aside));
            self.tell(last, steps);
        }
        for command in std::mem::take(&mut self.commands).into_values() {
            let message =
                format!("a command was still running when the answer came, and was ended: {command}");
            steps.push(Step::warning(message));
        }
    }

    /// The last message. Only this has to follow a schema.
    pub(super) fn answer(&self) -> &str {
        self.answer.last()
    }

    pub(super) fn uses_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    pub(super) fn sign_of_life(&mut self, steps: &mut Steps) {
        if !std::mem::replace(&mut self.answers, true) {
            steps.push(Step::Answering);
        }
    }

    /// Tells the use of a tool, once.
    fn tell_tool(&mut self, item: &Value, steps: &mut Steps) {
        let (Some((name, input)), Some(id)) = (tool(item), string(&item["id"])) else { return };
        if self.tools.insert(id.clone()) {
            steps.push(Step::Event(Event::ToolUse { id, name, input, parent: None }));
        }
    }

    fn tell(&self, piece: Option<String>, steps: &mut Steps) {
        if !self.json {
            steps.extend(piece.map(|piece| Step::Event(Event::Text(piece))));
        }
    }
}

/// Whether a message is no part of the answer: what the model says while it works, and what it sends by a tool. Models that
/// do not tell say the answer.
fn is_aside(item: &Value) -> bool {
    item["type"] == "agentMessage" && (item["phase"] == "commentary" || item["delivery"] == "async")
}

/// The name of the tool that an item is the use of, and what it is asked.
fn tool(item: &Value) -> Option<(String, Value)> {
    let kind = item["type"].as_str()?;
    let only = |keys: &[&str]| -> Value {
        let members = keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())));
        Value::Object(inserted(members))
    };
    let named = |key: &str| item[key].as_str().unwrap_or(kind).to_owned();
    Some(match kind {
        "commandExecution" => (kind.to_owned(), only(&["command", "cwd"])),
        "fileChange" => (kind.to_owned(), only(&["changes"])),
        "mcpToolCall" => (format!("{}.{}", named("server"), named("tool")), item["arguments"].clone()),
        "dynamicToolCall" => (named("tool"), item["arguments"].clone()),
        "collabAgentToolCall" => (named("tool"), only(&["prompt", "model", "receiverThreadIds"])),
        "subAgentActivity" if item["kind"] != "completed" => {
            (kind.to_owned(), only(&["kind", "agentPath", "model"]))
        }
        "webSearch" => (kind.to_owned(), only(&["query", "action"])),
        "imageView" => (kind.to_owned(), only(&["path"])),
        "imageGeneration" => (kind.to_owned(), only(&["revisedPrompt"])),
        "sleep" => (kind.to_owned(), only(&["durationMs"])),
        _ => return None,
    })
}

/// What a tool answered, and whether that was a failure.
fn tool_result(item: &Value) -> (String, bool) {
    let texts = |list: &Value, key: &str| {
        let texts = list.as_array().into_iter().flatten().filter_map(|part| part[key].as_str());
        texts.collect::<Vec<_>>().join("\n")
    };
    let output = match item["type"].as_str() {
        Some("commandExecution") => string(&item["aggregatedOutput"]).unwrap_or_default(),
        Some("fileChange") => texts(&item["changes"], "path"),
        Some("mcpToolCall") => {
            string(&item["error"]["message"]).unwrap_or_else(|| texts(&item["result"]["content"], "text"))
        }
        Some("dynamicToolCall") => texts(&item["contentItems"], "text"),
        Some("imageGeneration") => string(&item["savedPath"]).unwrap_or_default(),
        _ => String::new(),
    };
    // A command that exits with anything but 0 is `failed`, too.
    (output, matches!(item["status"].as_str(), Some("failed" | "declined")))
}
