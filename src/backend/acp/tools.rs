//! An agent's uses of tools: what is known of each, because questions and results may name no more than its id.

use super::Quirks;
use crate::backend::{Step, Steps};
use crate::base::json::{Value, json, text};
use crate::model::event::Event;
use std::collections::BTreeMap;

/// The uses so far, by their ids.
#[derive(Default)]
pub(super) struct ToolCalls(BTreeMap<String, ToolCall>);

/// One use of a tool.
#[derive(Default)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) title: String,
    pub(super) kind: String,
    pub(super) input: Value,
    is_told: bool,
    has_ended: bool,
}

impl ToolCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of a use by now, with what this update or question says of it.
    pub(super) fn hear(&mut self, agent: &dyn Quirks, update: &Value) -> &mut ToolCall {
        let id = text(&update["toolCallId"]);
        let is_new = !self.0.contains_key(id);
        let call = self.0.entry(id.to_owned()).or_default();
        id.clone_into(&mut call.id);
        let put = |to: &mut String, words: &str| {
            if !words.is_empty() {
                words.clone_into(to);
            }
        };
        if call.name.is_empty() || !update["_meta"].is_null() {
            put(&mut call.name, agent.tool_name(update));
        }
        put(&mut call.title, text(&update["title"]));
        put(&mut call.kind, text(&update["kind"]));
        if is_new || says_more(&update["rawInput"]) {
            call.input = input(update);
        }
        call
    }

    pub(super) fn get(&mut self, id: &str) -> Option<&mut ToolCall> {
        self.0.get_mut(id)
    }

    /// Tells those whose arguments never came.
    pub(super) fn tell_all(&mut self, steps: &mut Steps) {
        self.0.values_mut().for_each(|call| call.tell(steps));
    }
}

impl ToolCall {
    /// What it is to do, as people read it.
    pub(super) fn what(&self) -> String {
        match self.title.as_str() {
            title if title.is_empty() || title == self.name => format!("{} {}", self.name, self.input),
            title => format!("{} {title}", self.name),
        }
    }

    /// Tells the use, once. Its arguments may come with a later update.
    pub(super) fn tell(&mut self, steps: &mut Steps) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        steps.push(Step::Answering);
        let (id, name, input) = (self.id.clone(), self.name.clone(), self.input.clone());
        steps.push(Step::Event(Event::ToolUse { id, name, input, parent: None }));
    }

    /// Tells what came of it, once: after a no some agents say so too, and some do not.
    pub(super) fn end(&mut self, output: String, is_error: bool, steps: &mut Steps) {
        self.tell(steps);
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let (id, name) = (self.id.clone(), self.name.clone());
        steps.push(Step::Event(Event::ToolResult { id, name, output, is_error, parent: None }));
    }
}

/// Whether the arguments of a use are still to come: some agents announce it before the model has written them.
pub(super) fn is_announced(update: &Value) -> bool {
    !says_more(&update["rawInput"]) && update["status"] == "pending"
}

fn says_more(input: &Value) -> bool {
    input.as_object().is_some_and(|input| !input.is_empty())
}

/// The tool's name, where agents that have one in mind put it: as their own member, or as the title where that is one word;
/// else the kind of tool.
pub(super) fn name(call: &Value) -> &str {
    let own =
        [&call["_meta"]["claudeCode"]["toolName"], &call["_meta"]["toolName"], &call["_meta"]["tool_name"]];
    let title = text(&call["title"]);
    match own.into_iter().find_map(Value::as_str) {
        Some(name) => name,
        None if !title.is_empty() && !title.contains([' ', '/']) => title,
        None => text(&call["kind"]),
    }
}

/// What a tool is asked to do: its arguments, or where it has none a title and places.
fn input(call: &Value) -> Value {
    if call["rawInput"].is_object() {
        return call["rawInput"].clone();
    }
    let mut input = json!({"title": call["title"], "kind": call["kind"]});
    let places: Vec<&Value> =
        call["locations"].as_array().into_iter().flatten().map(|place| &place["path"]).collect();
    if !places.is_empty() {
        input["paths"] = json!(places);
    }
    input
}

/// A tool's answer: texts, and for an edit what was done to which file; else what it returned.
pub(super) fn output(update: &Value) -> String {
    let words = |item: &Value| match text(&item["type"]) {
        "diff" => format!("{} {}", item["_meta"]["kind"].as_str().unwrap_or("edit"), text(&item["path"])),
        _ => text(&item["content"]["text"]).to_owned(),
    };
    let told = update["content"].as_array().into_iter().flatten().map(words).collect::<Vec<_>>().join("\n");
    match &update["rawOutput"] {
        _ if !told.is_empty() => told,
        Value::Null => told,
        Value::String(words) => words.clone(),
        other => other.to_string(),
    }
}
