//! The tools, and the fields that each takes. They are those of requests over HTTP, read by the same readers. What is told of
//! them is a choice: all of it becomes a part of the conversations of those who may call them.

use super::{Offer, work};
use crate::backend::Trust;
use crate::base::collect::inserted;
use crate::base::json::{Value, json};
use crate::batch::compare::OfCompare;
use crate::batch::{OfTask, Settings};
use crate::engine::request::{OfSession, Request};
use crate::model::fields::{Field, Fields};
use crate::model::task::{Approval, Effort, Sandbox};
use crate::session::Status;
use serde_json::Map;

/// A tool.
pub(super) struct Tool {
    pub(super) name: &'static str,
    title: &'static str,
    help: &'static str,
    /// It changes nothing, and asks no agent.
    reads_only: bool,
    /// The properties that it takes.
    fields: fn() -> Map<String, Value>,
    /// Those that it cannot do without.
    needs: &'static [&'static str],
    pub(super) run: work::Run,
}

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "prompt",
        title: "Ask an agent",
        help: "Asks another AI agent, and gives its answer. It works in the same directory, sees nothing of this conversation, and \
               can be asked further by the `session_id` that comes with the answer.",
        reads_only: false,
        fields: || {
            let names = ["prompt", "backend", "session_id", "ephemeral", "fallback", "replay", "wait_secs"];
            told::<(Request, OfSession)>(&[&names, OPTIONS].concat())
        },
        needs: &["prompt"],
        run: work::prompt,
    },
    Tool {
        name: "compare",
        title: "Ask several agents the same",
        help: "Puts one prompt to several AI agents side by side, and gives all answers and whether they agree.",
        reads_only: false,
        fields: || {
            let names = ["prompt", "backends", "all_backends", "sequential", "race"];
            told::<(Request, OfCompare)>(&[&names, OPTIONS].concat())
        },
        needs: &["prompt"],
        run: work::compare,
    },
    Tool {
        name: "parallel",
        title: "Run several tasks",
        help: "Runs several prompts, several at once, each by the AI agent that it names. A task begins when those that it depends \
               on are done, and has their answers in place of `{{ID.output}}`.",
        reads_only: false,
        fields: || {
            let mut properties = told::<Settings>(&["max_parallel", "fail_fast"]);
            let names = ["prompt", "backend", "id", "depends_on"];
            let task = told::<(Request, OfTask)>(&[&names, OPTIONS].concat());
            let task = json!({"type": "object", "properties": Value::Object(task), "required": ["prompt"]});
            let tasks = json!({"type": "array", "items": task, "description": "what is to be done"});
            properties.insert("tasks".to_owned(), tasks);
            properties
        },
        needs: &["tasks"],
        run: work::parallel,
    },
    Tool {
        name: "sessions",
        title: "List conversations",
        help: "Lists the conversations with agents in this directory, the newest first; with `id`: that one, and what was said in it.",
        reads_only: true,
        fields: || told::<work::Wanted>(&["id", "search", "backend", "tag", "status", "limit"]),
        needs: &[],
        run: work::sessions,
    },
];

/// The options of a prompt that agents are told of.
const OPTIONS: &[&str] = &[
    "model",
    "workdir",
    "approval_mode",
    "sandbox_mode",
    "append_system_prompt",
    "json_schema",
    "effort",
    "timeout_secs",
];

pub(super) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// The tools as a client lists them.
pub(super) fn listed(offer: &Offer<'_>) -> Vec<Value> {
    let there = format!("Agents that are there: {}.", there(offer).join(", "));
    let listed = |tool: &Tool| {
        let help = if tool.reads_only { tool.help.to_owned() } else { format!("{} {there}", tool.help) };
        json!({
            "name": tool.name,
            "title": tool.title,
            "description": help,
            "inputSchema": {"type": "object", "properties": Value::Object((tool.fields)()), "required": tool.needs},
            "annotations": {"title": tool.title, "readOnlyHint": tool.reads_only, "openWorldHint": !tool.reads_only},
        })
    };
    TOOLS.iter().map(listed).collect()
}

/// The backends that calls may ask and that are installed.
fn there(offer: &Offer<'_>) -> Vec<String> {
    let engine = offer.engine;
    let is_there = |name: &String| {
        !engine.disabled.contains(name)
            && offer.policy.backend(name).is_ok()
            && engine.registry.get(name).is_ok_and(|backend| engine.locate(&*backend, Trust::All).is_some())
    };
    engine.registry.names().into_iter().filter(is_there).collect()
}

/// The fields of these names as properties of a schema.
fn told<T: Fields>(names: &[&str]) -> Map<String, Value> {
    let mut fields = Vec::new();
    T::list(&mut fields);
    let is_told = |field: &&Field| names.contains(&field.name);
    let property = |field: &Field| {
        let mut property = schema(field.kind);
        property["description"] = json!(field.help);
        (field.name.to_owned(), property)
    };
    inserted(fields.iter().filter(is_told).map(property))
}

/// A field's type as a schema.
fn schema(kind: &str) -> Value {
    let one_of = |words: &[&str]| json!({"type": "string", "enum": words});
    match kind {
        "bool" => json!({"type": "boolean"}),
        "u32" | "usize" => json!({"type": "integer", "minimum": 0}),
        "Workers" => json!({"type": "integer", "minimum": 1}),
        "Value" => json!({"type": "object"}),
        "Vec<String>" => json!({"type": "array", "items": {"type": "string"}}),
        "Word<Approval>" => one_of(Approval::WORDS),
        "Word<Sandbox>" => one_of(Sandbox::WORDS),
        "Word<Effort>" => one_of(Effort::WORDS),
        "Word<Status>" => one_of(Status::WORDS),
        // A time too: its help says how it is written.
        _ => json!({"type": "string"}),
    }
}
