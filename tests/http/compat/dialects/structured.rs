//! Answers that have to be JSON, and tools that have to be called.

use super::reading::{asked, user, with};
use super::{CHAT, MESSAGES, RESPONSES};
use clinvk::http::compat::structured::{instruction, reply, schema};
use clinvk::http::compat::{Chat, Format, Reply};
use serde_json::{Value, json};

#[test]
fn formats_are_the_same_in_all_dialects() {
    let wanted = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let plain = json!({"type": "json_schema", "schema": wanted, "name": "P"});
    let nested = json!({"type": "json_schema", "json_schema": {"schema": wanted, "name": "P"}});
    for (path, body) in [
        (CHAT, with(user(json!("hi")), json!({"response_format": nested}))),
        (RESPONSES, json!({"input": "hi", "text": {"format": plain}})),
        (MESSAGES, with(user(json!("hi")), json!({"output_config": {"format": plain}}))),
        (MESSAGES, with(user(json!("hi")), json!({"output_format": plain}))),
    ] {
        let chat = asked(path, body);
        assert_eq!(chat.format, Format::Schema(wanted.clone()));
        assert_eq!(schema(&chat), Some(wanted.clone()));
        assert!(instruction(&chat, schema(&chat).as_ref()).unwrap().contains(&wanted.to_string()));
        assert!(!instruction(&chat, None).unwrap().contains("properties"));
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(reply(&chat, "```json\n{\"a\": 1}\n```"), Ok(text("{\"a\": 1}")), "no code fence");
        for wrong in ["no", "{}", "{\"a\":\"1\"}", ""] {
            assert!(reply(&chat, wrong).is_err(), "{wrong}");
        }
    }
    let object = asked(CHAT, with(user(json!("hi")), json!({"response_format": {"type": "json_object"}})));
    assert_eq!((object.format.clone(), schema(&object)), (Format::JsonObject, None));
    assert_eq!(reply(&object, "Sure: {\"b\":2}."), Ok(Reply::Text("{\"b\":2}".to_owned())));
    assert!(reply(&object, "[1]").is_err());
    let text = asked(CHAT, user(json!("hi")));
    assert_eq!(
        (instruction(&text, None), reply(&text, "{\"b\"")),
        (None, Ok(Reply::Text("{\"b\"".to_owned())))
    );
}

fn openai_tools(nested: bool) -> Value {
    let tool = |name: &str, property: &str| {
        let function = json!({"name": name, "description": format!("makes {property}"), "parameters": {"type": "object",
            "properties": {property: {"$ref": "#/$defs/p"}}, "required": [property], "$defs": {"p": {"type": "integer"}}}});
        if nested {
            json!({"type": "function", "function": function})
        } else {
            with(function, json!({"type": "function"}))
        }
    };
    json!([tool("one", "a"), {"type": "web_search"}, tool("two", "b")])
}

#[test]
fn forced_tools_become_answers_that_are_checked() {
    let names = |chat: &Chat| -> Vec<String> { chat.forced.iter().map(|tool| tool.name.clone()).collect() };
    let body = |path: &str, choice: Value| match path {
        CHAT => with(user(json!("hi")), json!({"tools": openai_tools(true), "tool_choice": choice})),
        RESPONSES => json!({"input": "hi", "tools": openai_tools(false), "tool_choice": choice}),
        _ => {
            let tools = openai_tools(false).to_string().replace("parameters", "input_schema");
            let tools: Value = serde_json::from_str(&tools).unwrap();
            with(user(json!("hi")), json!({"tools": tools, "tool_choice": choice}))
        }
    };
    let function = |name: &str| json!({"type": "function", "name": name, "function": {"name": name}});
    let allowed = |mode: &str| json!({"type": "allowed_tools", "mode": mode, "tools": [function("two")]});
    let nested = |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [function("two")]}});
    let none: [&str; 0] = [];
    for (path, choice, expected) in [
        (CHAT, json!("required"), &["one", "two"][..]),
        (CHAT, function("two"), &["two"]),
        (CHAT, nested("required"), &["two"]),
        (CHAT, nested("auto"), &none),
        (CHAT, json!("auto"), &none),
        (CHAT, json!("none"), &none),
        (CHAT, json!(null), &none),
        (RESPONSES, json!("required"), &["one", "two"]),
        (RESPONSES, function("one"), &["one"]),
        (RESPONSES, allowed("required"), &["two"]),
        (RESPONSES, allowed("auto"), &none),
        (MESSAGES, json!({"type": "any"}), &["one", "two"]),
        (MESSAGES, json!({"type": "tool", "name": "one"}), &["one"]),
        (MESSAGES, json!({"type": "auto"}), &none),
        (MESSAGES, json!({"type": "none"}), &none),
    ] {
        let chat = asked(path, body(path, choice.clone()));
        assert_eq!(names(&chat), expected, "{path} {choice}");
        assert_eq!(instruction(&chat, schema(&chat).as_ref()).is_some(), !expected.is_empty());
    }
    let tool = |name: &str, arguments: &str| {
        Ok(Reply::Tool { name: name.to_owned(), arguments: arguments.to_owned() })
    };
    let one = asked(CHAT, body(CHAT, function("one")));
    assert_eq!(reply(&one, "{\"a\": 1}"), tool("one", "{\"a\": 1}"));
    assert!(reply(&one, "{\"a\": \"x\"}").is_err());
    assert!(reply(&one, "hello").is_err());
    let both = asked(CHAT, body(CHAT, json!("required")));
    assert_eq!(reply(&both, r#"{"call":{"name":"two","arguments":{"b":2}}}"#), tool("two", r#"{"b":2}"#));
    for wrong in [
        r#"{"call":{"name":"two","arguments":{"a":2}}}"#,
        r#"{"call":{"name":"two","arguments":{"b":"2"}}}"#,
        r#"{"call":{"name":"three","arguments":{}}}"#,
        r#"{"b":2}"#,
    ] {
        assert!(reply(&both, wrong).is_err(), "{wrong}");
    }
    assert_eq!(schema(&both).unwrap()["type"], "object", "vendors want an object at the root");
    assert!(instruction(&both, None).unwrap().contains("two: makes b"));
    let bare = json!({"tools": [{"type": "function", "function": {"name": "w"}}], "tool_choice": "required"});
    let bare = asked(CHAT, with(user(json!("hi")), bare));
    assert_eq!(reply(&bare, "{}"), tool("w", "{}"));
    let namespace = json!([{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]}]);
    assert_eq!(
        names(&asked(RESPONSES, json!({"input": "hi", "tools": namespace, "tool_choice": "required"}))),
        ["g"]
    );
}
