//! Answers that have to be JSON, and tools that have to be called. No vendor's program calls a client's tools, so a forced
//! call is an answer that has to follow the schema of the tool's arguments. Tools that are not forced stay unused.

use super::{Chat, Format, Reply, Tool};
use crate::base::json::{self, json};
use crate::engine::answer;
use crate::http::front::errors::Fault;
use crate::model::error::Failure;
use serde_json::Value;

/// The schema that the answer has to follow, for backends that know how.
pub fn schema(chat: &Chat) -> Option<Value> {
    match (chat.forced.as_slice(), &chat.format) {
        ([], Format::Schema(schema)) => Some(schema.clone()),
        // Any object would do, and programs that are given such a schema answer with an empty one.
        ([], Format::JsonObject | Format::Text) => None,
        ([tool], _) => Some(tool.schema.clone()),
        (tools, _) => Some(schema_of_call(tools)),
    }
}

/// What is said to the model besides the prompt; none where any text will do. `schema` is what the answer has to follow, where
/// the backend does not see to that itself.
pub fn instruction(chat: &Chat, schema: Option<&Value>) -> Option<String> {
    const ONLY: &str = "and nothing else: no other text, no code fence.";
    let following =
        schema.map(|schema| format!("\nIt has to follow this JSON schema:\n{schema}")).unwrap_or_default();
    let what = match (chat.forced.as_slice(), &chat.format) {
        ([], Format::Text) => return None,
        ([], Format::JsonObject) => return Some(format!("Answer with one JSON object {ONLY}")),
        ([], Format::Schema(_)) => return Some(format!("Answer with JSON {ONLY}{following}")),
        ([tool], _) => {
            format!("You call the tool `{}`: answer with its arguments as one JSON object", tool.name)
        }
        _ => "You call the tool that suits best: answer with one JSON object that has its name and arguments"
            .to_owned(),
    };
    let tools = chat.forced.iter().map(|tool| format!("\n- {}: {}", tool.name, tool.description));
    Some(format!("{what} {ONLY}\nThe tools:{}{following}", tools.collect::<String>()))
}

/// The answer of a backend as what was asked for.
pub fn reply(chat: &Chat, answer: &str) -> Result<Reply, Failure> {
    if chat.is_free() {
        return Ok(Reply::Text(answer.to_owned()));
    }
    let wanted = schema(chat).unwrap_or_else(|| json!({"type": "object"}));
    let (text, value) = answer::formed(&wanted, answer)?;
    Ok(match chat.forced.as_slice() {
        [] => Reply::Text(text.to_owned()),
        [tool] => Reply::Tool { name: tool.name.clone(), arguments: text.to_owned() },
        _ => Reply::Tool {
            name: json::text(&value[CALL]["name"]).to_owned(),
            arguments: value[CALL]["arguments"].to_string(),
        },
    })
}

/// Where the call stands in the answer when there is a choice of tools: vendors want an object at the root.
const CALL: &str = "call";

/// The schema of an object with the name of one of these tools and its arguments.
fn schema_of_call(tools: &[Tool]) -> Value {
    let calls = tools.iter().enumerate().map(|(index, tool)| {
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
            Ok(Format::Schema(schema))
        }
        Some(other) => Err(Fault::unsupported(param, format!("{param} of type `{other}` is not supported"))),
        None => Err(Fault::invalid(param, format!("{param} has no type"))),
    }
}

/// The tools of which OpenAI's `tool_choice` forces one. `/chat/completions` nests what `/responses` does not.
pub(crate) fn forced_by_openai(choice: &Value, tools: &Value) -> Result<Vec<Tool>, Fault> {
    let name_of = |tool: &Value| {
        let function = if tool["function"].is_object() { &tool["function"] } else { tool };
        json::text(&function["name"]).to_owned()
    };
    let allowed = if choice["allowed_tools"].is_object() { &choice["allowed_tools"] } else { choice };
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("required" | "any"), _) => any_of(openai_tools(tools)),
        (_, Some("function")) => named(openai_tools(tools), &[name_of(choice)]),
        (_, Some("allowed_tools")) if allowed["mode"] == "required" => {
            let names: Vec<String> = allowed["tools"].as_array().into_iter().flatten().map(name_of).collect();
            named(openai_tools(tools), &names)
        }
        (_, Some("allowed_tools")) | (Some(_), _) => Ok(Vec::new()),
        (None, kind) => none_of(choice, kind, "a word or an object with a type"),
    }
}

pub(crate) fn forced_by_anthropic(choice: &Value, tools: &Value) -> Result<Vec<Tool>, Fault> {
    // Those with a type of their own, and no schema, are Anthropic's to run.
    let callable = tools.as_array().into_iter().flatten().filter(|tool| tool["input_schema"].is_object());
    let tools = callable.map(|tool| Tool::of(tool, "input_schema")).collect();
    match choice["type"].as_str() {
        Some("any") => any_of(tools),
        Some("tool") => named(tools, &[json::text(&choice["name"]).to_owned()]),
        Some("auto" | "none") => Ok(Vec::new()),
        kind => none_of(choice, kind, "an object with a type"),
    }
}

/// A choice that forces no function: none where there is no choice, else it is one that nothing here can follow.
fn none_of(choice: &Value, kind: Option<&str>, form: &str) -> Result<Vec<Tool>, Fault> {
    match kind {
        Some(kind) => {
            let message =
                format!("tool_choice of type `{kind}` is not supported: only functions can be called");
            Err(Fault::unsupported("tool_choice", message))
        }
        None if choice.is_null() => Ok(Vec::new()),
        None => Err(Fault::invalid("tool_choice", format!("tool_choice must be {form}"))),
    }
}

fn any_of(tools: Vec<Tool>) -> Result<Vec<Tool>, Fault> {
    let none = || Fault::invalid("tool_choice", "tool_choice forces a call, and tools has no function");
    if tools.is_empty() { Err(none()) } else { Ok(tools) }
}

fn named(mut tools: Vec<Tool>, names: &[String]) -> Result<Vec<Tool>, Fault> {
    tools.retain(|tool| names.contains(&tool.name));
    let none = || format!("tool_choice names `{}`, which is not in tools", names.join("`, `"));
    if tools.is_empty() { Err(Fault::invalid("tool_choice", none())) } else { Ok(tools) }
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
