//! MCP servers for a run: what the agents' own configurations call `mcpServers`.

/// A server whose tools an agent has in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    /// The name that its tools go by.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
}

/// How an agent reaches an MCP server.
#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    /// A program that the agent starts, on its standard input and output.
    Stdio {
        command: String,
        args: Vec<String>,
        /// Variables besides those that it inherits from the agent.
        env: Vec<(String, String)>,
    },
    /// Streamable HTTP.
    Http { url: String, headers: Vec<(String, String)> },
    /// Server-sent events, the protocol's older way.
    Sse { url: String, headers: Vec<(String, String)> },
}
