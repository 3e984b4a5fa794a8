//! Backends: what a task becomes for each of them, and what their dialogues mean.

mod acp;
mod agents;
mod claude;
mod client_tools;
mod codex;
mod declared;
mod fuzz;
mod gemini;
mod kept;
mod launchers;
mod options;

use clinvk::model::mcp::{McpServer, Transport};

/// An MCP server of each transport.
fn servers() -> Vec<McpServer> {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    [
        (
            "docs",
            Transport::Stdio {
                command: "docs-server".to_owned(),
                args: vec!["--all".to_owned()],
                env: pair("TOKEN", "secret"),
            },
        ),
        ("web", Transport::Http { url: "https://h/mcp".to_owned(), headers: pair("A", "b") }),
        ("old", Transport::Sse { url: "https://h/sse".to_owned(), headers: Vec::new() }),
    ]
    .map(|(name, transport)| McpServer { name: name.to_owned(), transport })
    .to_vec()
}
