//! Answers that have to be JSON, and tools that have to be called. No vendor's program calls a client's tools, so a forced
//! call is an answer that has to follow the schema of the tool's arguments. Tools that are not forced stay unused.

use super::{Chat, Forced, Format, Reply, Tool};
use crate::base::json::{self, json};
use crate::engine::answer;
use crate::http::front::errors::Fault;
use crate::model::error::Failure;
use serde_json::Value;

/// The schema that the answer has to follow, for backends that know how.
pub fn schema(chat: &Chat) -> Option<Value> {
    match (&chat.forced, &chat.format) {
        (Some(forced), _) => Some(forced.schema()),
        (None, Format::Schema { schema, .. }) => Some(schema.clone()),
        // Any object would do, and programs that are given such a schema answer with an empty one.
        (None, Format::JsonObject | Format::Text) => None,
    }
}

/// What the model is told besides the prompt; none where any text will do. `native`: the backend sees to the schema itself.
pub fn instruction(chat: &Chat, native: bool) -> Option<String> {
    const ONLY: &str = "and nothing else: no other text, no code fence.";
    let following = |schema: &Value| {
        if native { String::new() } else { format!("\nIt has to follow this JSON schema:\n{schema}") }
    };
    match (&chat.forced, &chat.format) {
        (Some(forced), _) => {
            let tools: String =
                forced.tools.iter().map(|tool| format!("\n- {}: {}", tool.name, tool.description)).collect();
            let what = match forced.tools.as_slice() {
                [tool] => format!("You call the tool `{}`: answer with its arguments as one JSON object", tool.name),
                _ => "You call the tool that suits best: answer with one JSON object that has its name and arguments"
                    .to_owned(),
            };
            Some(format!("{what} {ONLY}\nThe tools:{tools}{}", following(&forced.schema())))
        }
        (None, Format::Schema { schema, .. }) => {
            Some(format!("Answer with JSON {ONLY}{}", following(schema)))
        }
        (None, Format::JsonObject) => Some(format!("Answer with one JSON object {ONLY}")),
        (None, Format::Text) => None,
    }
}

/// The answer of a backend as what was asked for.
pub fn reply(chat: &Chat, answer: &str) -> Result<Reply, Failure> {
    if chat.forced.is_none() && chat.format == Format::Text {
        return Ok(Reply::Text(answer.to_owned()));
    }
    let wanted = schema(chat).unwrap_or_else(|| json!({"type": "object"}));
    let (text, value) = answer::formed(&wanted, answer)?;
    match chat.forced.as_ref().map(|forced| forced.tools.as_slice()) {
        None => Ok(Reply::Text(text.to_owned())),
        Some([tool]) => Ok(Reply::Tool { name: tool.name.clone(), arguments: text.to_owned() }),
        Some(_) => {
            let call = &value[CALL];
            let name = json::text(&call["name"]).to_owned();
            Ok(Reply::Tool { name, arguments: call["arguments"].to_string() })
        }
    }
}

/// Where the call stands in the answer when there is a choice of tools: vendors want an object at the root.
const CALL: &str = "call";

impl Forced {
    /// The schema of the arguments; where there is a choice of tools, of an object with the name of one and its arguments.
    pub fn schema(&self) -> Value {
        if let [tool] = self.tools.as_slice() {
            return tool.schema.clone();
        }
        let calls = self.tools.iter().enumerate().map(|(index, tool)| {
            let mut arguments = tool.schema.clone();
            let place = format!("#/properties/{CALL}/anyOf/{index}/properties/arguments");
            move_references(&mut arguments, &place);
            json!({
                "type": "object",
                "properties": {"name": {"type": "string", "enum": [tool.name]}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        });
        json!({
            "type": "object",
            "properties": {CALL: {"anyOf": calls.collect::<Vec<Value>>()}},
            "required": [CALL],
            "additionalProperties": false,
        })
    }
}

/// References within a schema that stands elsewhere now.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(target) if name == "$ref" && target.starts_with('#') => {
                        *target = format!("{place}{}", &target[1..]);
                    }
                    other => move_references(other, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

/// The format in a field of that name: all dialects have the same three, with the schema in one of two places.
pub(crate) fn format(format: Option<&Value>, param: &'static str) -> Result<Format, Fault> {
    let Some(format) = format else { return Ok(Format::Text) };
    match format["type"].as_str() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::JsonObject),
        Some("json_schema") => {
            let place = if format["json_schema"].is_object() { &format["json_schema"] } else { format };
            let schema = place["schema"].clone();
            if !schema.is_object() {
                return Err(Fault::invalid(param, format!("{param} has no schema")));
            }
            Ok(Format::Schema { name: json::text(&place["name"]).to_owned(), schema })
        }
        Some(other) => Err(Fault::unsupported(param, format!("{param} of type `{other}` is not supported"))),
        None => Err(Fault::invalid(param, format!("{param} has no type"))),
    }
}

/// The tools that OpenAI's `tool_choice` forces. `/chat/completions` nests what `/responses` does not.
pub(crate) fn forced_by_openai(choice: &Value, tools: &Value) -> Result<Option<Forced>, Fault> {
    let name_of = |tool: &Value| {
        let function = if tool["function"].is_object() { &tool["function"] } else { tool };
        json::text(&function["name"]).to_owned()
    };
    let allowed = if choice["allowed_tools"].is_object() { &choice["allowed_tools"] } else { choice };
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("required" | "any"), _) => forced(openai_tools(tools), None).map(Some),
        (_, Some("function")) => forced(openai_tools(tools), Some(&[name_of(choice)])).map(Some),
        (_, Some("allowed_tools")) if allowed["mode"] == "required" => {
            let names: Vec<String> = allowed["tools"].as_array().into_iter().flatten().map(name_of).collect();
            forced(openai_tools(tools), Some(&names)).map(Some)
        }
        (_, Some("allowed_tools")) | (Some(_), _) => Ok(None),
        (_, Some(other)) => Err(not_callable(other)),
        (None, None) if choice.is_null() => Ok(None),
        (None, None) => {
            Err(Fault::invalid("tool_choice", "tool_choice must be a word or an object with a type"))
        }
    }
}

pub(crate) fn forced_by_anthropic(choice: &Value, tools: &Value) -> Result<Option<Forced>, Fault> {
    let list = tools.as_array().into_iter().flatten();
    // Those with a type of their own, and no schema, are Anthropic's to run.
    let tools =
        list.filter(|tool| tool["input_schema"].is_object()).map(|tool| Tool::of(tool, "input_schema"));
    match choice["type"].as_str() {
        Some("any") => forced(tools.collect(), None).map(Some),
        Some("tool") => {
            let name = json::text(&choice["name"]).to_owned();
            forced(tools.collect(), Some(&[name])).map(Some)
        }
        Some("auto" | "none") => Ok(None),
        Some(other) => Err(not_callable(other)),
        None if choice.is_null() => Ok(None),
        None => Err(Fault::invalid("tool_choice", "tool_choice must be an object with a type")),
    }
}

fn not_callable(kind: &str) -> Fault {
    let message = format!("tool_choice of type `{kind}` is not supported: only functions can be called");
    Fault::unsupported("tool_choice", message)
}

/// The tools of these names, all where none are named.
fn forced(tools: Vec<Tool>, names: Option<&[String]>) -> Result<Forced, Fault> {
    let is_meant = |tool: &Tool| names.is_none_or(|names| names.contains(&tool.name));
    let meant: Vec<Tool> = tools.into_iter().filter(is_meant).collect();
    match (meant.is_empty(), names) {
        (false, _) => Ok(Forced { tools: meant }),
        (true, None) => {
            Err(Fault::invalid("tool_choice", "tool_choice forces a call, and tools has no function"))
        }
        (true, Some(names)) => {
            let names = names.join("`, `");
            Err(Fault::invalid("tool_choice", format!("tool_choice names `{names}`, which is not in tools")))
        }
    }
}

/// The functions among OpenAI's tools, those in namespaces too.
fn openai_tools(tools: &Value) -> Vec<Tool> {
    let list = tools.as_array().into_iter().flatten();
    list.flat_map(|tool| match tool["type"].as_str() {
        Some("namespace") => openai_tools(&tool["tools"]),
        Some("function") if tool["function"].is_object() => vec![Tool::of(&tool["function"], "parameters")],
        Some("function") => vec![Tool::of(tool, "parameters")],
        _ => Vec::new(),
    })
    .collect()
}

impl Tool {
    fn of(tool: &Value, schema: &str) -> Tool {
        let words = |name: &str| json::text(&tool[name]).to_owned();
        let schema = match &tool[schema] {
            Value::Object(members) if !members.is_empty() => tool[schema].clone(),
            // A tool without arguments.
            _ => json!({"type": "object", "properties": {}}),
        };
        Tool { name: words("name"), description: words("description"), schema }
    }
}
