//! A request as the native API takes it.

use crate::base::json::json;
use crate::base::words::Worded;
use crate::engine::request::{Pairs, Picture, Request, Servers, Span, Tools};
use crate::model::fields::Word;
use crate::model::mcp::{McpServer, McpSource, Transport};
use serde_json::{Map, Value};
use std::time::Duration;

/// The fields that are set. What is in files has to be in the request already (`Request::carried`); how the answer is sent
/// is no part of it.
pub(crate) fn body(request: &Request) -> Map<String, Value> {
    let Request {
        backend,
        prompt,
        model,
        workdir,
        approval_mode,
        sandbox_mode,
        output_format: _,
        system_prompt,
        append_system_prompt,
        max_turns,
        max_tokens,
        allowed_tools,
        denied_tools,
        add_dirs,
        json_schema,
        images,
        files,
        effort,
        ephemeral,
        extra,
        lenient,
        interpret,
        no_project_config,
        mcp,
        timeout_secs,
        stall_secs,
        first_byte_secs,
        fallback,
        tags,
        metadata,
        verbose: _,
        dry_run,
    } = request;
    let given: Value = json!({
        "backend": backend,
        "prompt": prompt,
        "model": model,
        "workdir": workdir,
        "approval_mode": (word(approval_mode)),
        "sandbox_mode": (word(sandbox_mode)),
        "system_prompt": system_prompt,
        "append_system_prompt": append_system_prompt,
        "max_turns": max_turns,
        "max_tokens": max_tokens,
        "allowed_tools": (allowed_tools.as_ref().map(tools)),
        "denied_tools": denied_tools,
        "add_dirs": add_dirs,
        "json_schema": json_schema,
        "images": (images.as_ref().map(|images| images.iter().map(picture).collect::<Vec<Value>>())),
        "files": files,
        "effort": (word(effort)),
        "ephemeral": ephemeral,
        "extra": extra,
        "lenient": lenient,
        "interpret": interpret,
        "no_project_config": no_project_config,
        "mcp": (mcp.as_ref().map(servers)),
        "timeout_secs": (timeout_secs.map(|Span(limit)| span(limit))),
        "stall_secs": (stall_secs.map(|Span(limit)| span(limit))),
        "first_byte_secs": (first_byte_secs.map(|Span(limit)| span(limit))),
        "fallback": fallback,
        "tags": tags,
        "metadata": (metadata.as_ref().map(|Pairs(pairs)| pairs)),
        "dry_run": dry_run,
    });
    let Value::Object(given) = given else { return Map::new() };
    given.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// A length of time as the API reads it.
pub(crate) fn span(limit: Duration) -> String {
    format!("{}ms", limit.as_millis())
}

fn word<T: Worded + Copy + PartialEq>(given: &Option<Word<T>>) -> Option<&'static str> {
    let Word(given) = given.as_ref()?;
    T::words().iter().copied().find(|word| T::of_word(word).as_ref() == Some(given))
}

fn tools(Tools(tools): &Tools) -> Value {
    tools.as_ref().map_or_else(|| json!("all"), |tools| json!(tools))
}

fn picture(picture: &Picture) -> Value {
    match picture {
        Picture::Data(image) => json!({"media_type": image.mime, "data": image.base64()}),
        Picture::File(name) => json!(name),
    }
}

fn servers(Servers(sources): &Servers) -> Value {
    let mut object = Map::new();
    for source in sources {
        match source {
            McpSource::Servers(servers) => {
                object.extend(servers.iter().map(|server| (server.name.clone(), server_json(server))));
            }
            McpSource::File(name) => return json!(name),
        }
    }
    Value::Object(object)
}

fn server_json(server: &McpServer) -> Value {
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<Map<String, Value>>()
    };
    match &server.transport {
        Transport::Stdio { command, args, env } => {
            json!({"type": "stdio", "command": command, "args": args, "env": (pairs(env))})
        }
        Transport::Http { url, headers } => json!({"type": "http", "url": url, "headers": (pairs(headers))}),
        Transport::Sse { url, headers } => json!({"type": "sse", "url": url, "headers": (pairs(headers))}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fields::{Field, Fields, Object};

    #[test]
    fn every_field_is_sent_as_it_is_read() {
        let text = r#"{
            "backend": "b", "prompt": "p", "model": "m", "workdir": "/w", "approval_mode": "auto",
            "sandbox_mode": "read-only", "output_format": "json", "system_prompt": "s", "append_system_prompt": "a",
            "max_turns": 1, "max_tokens": 2, "allowed_tools": ["x"], "denied_tools": ["y"], "add_dirs": ["/d"],
            "json_schema": {"type": "object"}, "images": [{"media_type": "image/gif", "data": "R0lGODg="}], "files": ["f"],
            "effort": "xhigh", "ephemeral": true, "extra": ["--x"], "lenient": true, "interpret": false,
            "no_project_config": true, "timeout_secs": "1500ms", "stall_secs": 7, "first_byte_secs": "1d", "fallback": ["c:m"],
            "mcp": {"h": {"type": "http", "url": "http://h", "headers": {"A": "b"}},
                    "s": {"type": "stdio", "command": "c", "args": ["1"], "env": {"K": "v"}}},
            "tags": ["t"], "metadata": {"k": 1}, "verbose": true, "dry_run": false
        }"#;
        let read = |text: &str| {
            let Object(request): Object<Request> = serde_json::from_str(text).unwrap();
            request
        };
        let request = read(text);
        let sent = body(&request);
        let again = Request {
            output_format: request.output_format,
            verbose: request.verbose,
            ..read(&Value::Object(sent.clone()).to_string())
        };
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
        let mut fields: Vec<Field> = Vec::new();
        Request::list(&mut fields);
        let names =
            fields.iter().map(|field| field.name).filter(|name| !["output_format", "verbose"].contains(name));
        assert_eq!(names.filter(|name| !sent.contains_key(*name)).collect::<Vec<_>>(), [""; 0]);
        assert!(body(&Request::default()).is_empty());
    }
}
