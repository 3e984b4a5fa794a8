//! What the items of a turn are: messages, uses of tools, and what came of them.

use crate::base::collect::inserted;
use crate::base::json::string;
use serde_json::Value;

/// Whether a message is no part of the answer: what the model says while it works, and what it sends by a tool. Models that
/// do not tell say the answer.
pub(super) fn is_aside(item: &Value) -> bool {
    item["type"] == "agentMessage" && (item["phase"] == "commentary" || item["delivery"] == "async")
}

/// The name of the tool that an item is the use of, and what it is asked.
pub(super) fn tool(item: &Value) -> Option<(String, Value)> {
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
pub(super) fn tool_result(item: &Value) -> (String, bool) {
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
