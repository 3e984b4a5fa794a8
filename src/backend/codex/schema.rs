//! Which schemas OpenAI takes, to which codex hands them as strict ones.

use crate::base::json::{Value, json};

/// What is not known in a strict schema.
const UNKNOWN: &[&str] = &[
    "allOf",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "then",
];

/// Whether a schema is a strict one: every object has exactly its properties, and there is nothing in it that is not known
/// there.
pub(super) fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let is_closed = match members.get("properties").and_then(Value::as_object) {
                None => members.get("type") != Some(&json!("object")),
                Some(properties) => {
                    let required = members.get("required").and_then(Value::as_array);
                    let is_required =
                        |name: &String| required.is_some_and(|names| names.iter().any(|known| known == name));
                    members.get("additionalProperties") == Some(&json!(false))
                        && properties.keys().all(is_required)
                }
            };
            // The names of properties are no keywords.
            let below = members.iter().flat_map(|(name, value)| match (name.as_str(), value) {
                ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                    schemas.values().collect()
                }
                ("enum" | "const", _) => Vec::new(),
                _ => vec![value],
            });
            is_closed
                && !members.keys().any(|name| UNKNOWN.contains(&name.as_str()))
                && below.into_iter().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}
