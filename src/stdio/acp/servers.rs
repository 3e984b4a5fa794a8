//! MCP servers as this protocol lists them: with names for people, and with pairs where configurations have objects.

use crate::base::json::{Value, json, text};
use crate::model::mcp::{self, McpServer};
use crate::stdio::Refusal;

/// The servers of a list; none is none.
pub(super) fn read(list: &Value) -> Result<Vec<McpServer>, Refusal> {
    let servers = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(servers) => servers,
        _ => return Err(Refusal::bad_params("`mcpServers` is a list")),
    };
    let mut described = json!({});
    for server in servers {
        let name = plain(text(&server["name"]));
        if !described[&name].is_null() {
            return Err(Refusal::bad_params(format!("`mcpServers`: two servers are named `{name}`")));
        }
        described[name] = configured(server)?;
    }
    mcp::read(&described.to_string())
        .map_err(|problem| Refusal::bad_params(format!("`mcpServers`: {problem}")))
}

/// The name as it can be a part of the names of tools.
fn plain(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' })
        .collect()
}

/// A server as configurations have it.
fn configured(server: &Value) -> Result<Value, Refusal> {
    let mut described = json!({});
    for member in ["type", "command", "args", "url"] {
        if !server[member].is_null() {
            described[member] = server[member].clone();
        }
    }
    for member in ["env", "headers"] {
        let mut pairs = json!({});
        for pair in server[member].as_array().into_iter().flatten() {
            pairs[text(&pair["name"])] = pair["value"].clone();
        }
        match &server[member] {
            Value::Array(list) if list.is_empty() => {}
            Value::Array(_) => described[member] = pairs,
            Value::Null => {}
            _ => {
                return Err(Refusal::bad_params(format!(
                    "`mcpServers`: `{member}` is a list of names and values"
                )));
            }
        }
    }
    Ok(described)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mcp::Transport;

    #[test]
    fn a_list_becomes_servers_or_an_error_that_says_what_is_wrong() {
        let server = |name: &str, transport| McpServer { name: name.to_owned(), transport };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let stdio = Transport::Stdio {
            command: "/bin/x".to_owned(),
            args: vec!["-a".to_owned()],
            env: vec![pair("K", "v")],
        };
        let http = Transport::Http { url: "https://x".to_owned(), headers: vec![pair("A", "b")] };
        let sse = Transport::Sse { url: "https://x".to_owned(), headers: vec![] };
        let list = json!([
            {"name": "My files", "command": "/bin/x", "args": ["-a"], "env": [{"name": "K", "value": "v"}]},
            {"type": "http", "name": "b", "url": "https://x", "headers": [{"name": "A", "value": "b"}]},
            {"type": "sse", "name": "c", "url": "https://x", "headers": []},
        ]);
        assert_eq!(read(&list), Ok(vec![server("My-files", stdio), server("b", http), server("c", sse)]));
        assert_eq!(read(&Value::Null), Ok(vec![]));
        for (list, problem) in [
            (json!({}), "`mcpServers` is a list"),
            (
                json!([{"name": "a", "command": "x"}, {"name": "a", "command": "x"}]),
                "`mcpServers`: two servers are named `a`",
            ),
            (
                json!([{"name": "a", "command": "x", "env": {"K": "v"}}]),
                "`mcpServers`: `env` is a list of names and values",
            ),
            (json!([{"name": "a", "args": []}]), "there is neither `command` nor `url`"),
            (
                json!([{"name": "a", "command": "x", "args": [1]}]),
                "invalid type: integer `1`, expected a string",
            ),
            (json!([{"command": "x"}]), "a name has 1 to 40 letters"),
            (json!([{"name": "a", "type": "acp", "id": "1"}]), "unknown word `acp`"),
        ] {
            let refused = format!("{:?}", read(&list).unwrap_err());
            assert!(refused.contains(problem), "{list}: {refused}");
        }
    }
}
