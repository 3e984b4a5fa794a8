//! What codex asks: for a permission, which the approval mode answers or leaves to a person, and for what only a person could
//! give. Every question gets an answer, or codex would wait for ever.

use crate::backend::jsonrpc::{METHOD_NOT_FOUND, Rpc};
use crate::backend::{Step, Steps};
use crate::base::json::{json, text};
use crate::model::event::{Event, Permission};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The questions of a run.
pub(super) struct Questions {
    /// What is asked is granted, else refused.
    accept: bool,
    /// A person is asked instead.
    attended: bool,
    /// What a person is asked at the moment, by the question's own id.
    undecided: BTreeMap<String, Asked>,
}

/// One question.
struct Asked {
    id: Value,
    method: String,
    params: Value,
}

impl Questions {
    pub(super) fn new(accept: bool, attended: bool) -> Questions {
        Questions { accept, attended, undecided: BTreeMap::new() }
    }

    pub(super) fn asked(&mut self, id: Value, method: String, params: Value, steps: &mut Steps) {
        let asked = Asked { id, method, params };
        match asked.permission().filter(|_| self.attended) {
            Some(permission) => {
                self.undecided.insert(permission.id.clone(), asked);
                steps.push(Step::Ask(permission));
            }
            None => asked.answer(self.accept, steps),
        }
    }

    /// A person has answered.
    pub(super) fn permitted(&mut self, id: &str, allowed: bool, steps: &mut Steps) {
        self.undecided.remove(id).into_iter().for_each(|asked| asked.answer(allowed, steps));
    }
}

impl Asked {
    /// What a person can be asked to allow.
    fn permission(&self) -> Option<Permission> {
        let params = &self.params;
        let (name, what, input) = match self.method.as_str() {
            "item/commandExecution/requestApproval" => {
                let input = json!({"command": params["command"], "cwd": params["cwd"]});
                ("commandExecution".to_owned(), &params["command"], input)
            }
            // What is to be changed was told with the use of the tool.
            "item/fileChange/requestApproval" => ("fileChange".to_owned(), &params["reason"], Value::Null),
            "item/permissions/requestApproval" => {
                ("permissions".to_owned(), &params["reason"], params["permissions"].clone())
            }
            "mcpServer/elicitation/request" if self.is_of_permission() => {
                let words = [&params["serverName"], &params["_meta"]["tool_name"]];
                let name = words.into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".");
                (name, &params["message"], params["_meta"]["tool_params"].clone())
            }
            _ => return None,
        };
        let title = what.as_str().map_or(name.clone(), |what| format!("{name}: {what}"));
        let tool_use = text(&params["itemId"]).to_owned();
        Some(Permission { id: self.id.to_string(), tool_use, name, title, input })
    }

    /// Whether an MCP server asks for a permission: with fields to fill in it asks a person for more.
    fn is_of_permission(&self) -> bool {
        let fields = self.params["requestedSchema"]["properties"].as_object().map_or(0, Map::len);
        fields == 0 && self.params["mode"] == "form"
    }

    fn answer(&self, accept: bool, steps: &mut Steps) {
        let (id, params) = (self.id.clone(), &self.params);
        let decision = json!({"decision": if accept { "accept" } else { "decline" }});
        let refused = |what: &str| (!accept).then(|| what.to_owned());
        let (result, denied) = match self.method.as_str() {
            "item/commandExecution/requestApproval" => {
                (decision, refused(params["command"].as_str().unwrap_or("a command")))
            }
            "item/fileChange/requestApproval" => (decision, refused("a change of files that needs approval")),
            "item/permissions/requestApproval" => {
                let granted = if accept { params["permissions"].clone() } else { json!({}) };
                (json!({"permissions": granted, "scope": "turn"}), refused("more permissions"))
            }
            "mcpServer/elicitation/request" if accept && self.is_of_permission() => {
                (json!({"action": "accept", "content": {}}), None)
            }
            "mcpServer/elicitation/request" => {
                let what = params["message"].as_str().unwrap_or("what an MCP server asked");
                (json!({"action": "decline", "content": null}), Some(what.to_owned()))
            }
            "item/tool/requestUserInput" => {
                steps.push(Step::warning("no answer: codex asked a person"));
                (json!({"answers": {}}), None)
            }
            method => return steps.push(Step::Send(unanswered(id, method))),
        };
        steps.push(Step::Send(Rpc::Unmarked.answer(id, result)));
        steps.extend(denied.map(|what| Step::Event(Event::PermissionDenied { what })));
    }
}

/// The answer to a question that has no other.
pub(super) fn unanswered(id: Value, method: &str) -> String {
    Rpc::Unmarked.error(id, METHOD_NOT_FOUND, &format!("clinvk does not answer `{method}`"))
}
