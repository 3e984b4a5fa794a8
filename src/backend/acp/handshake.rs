//! What an agent is told of us and says of itself before there is a session: the same for one run and for several that share
//! its process.

use super::client::Offers;
use crate::base::json::{Value, json};
use crate::model::mcp::{McpServer, Transport};

/// What `initialize` is asked with.
pub(super) fn greeting(offers: Offers) -> Value {
    json!({
        "protocolVersion": 1,
        "clientCapabilities": offers.capabilities(),
        "clientInfo": {"name": "clinvk", "version": env!("CARGO_PKG_VERSION")},
    })
}

/// What `authenticate` is asked with.
pub(super) fn authentication(method: &str) -> Value {
    json!({"methodId": method})
}

/// What an agent can do, by its own word.
#[derive(Default)]
pub(super) struct Abilities(Value);

impl Abilities {
    /// As its answer to `initialize` has them.
    pub(super) fn of(greeted: &Value) -> Abilities {
        Abilities(greeted["agentCapabilities"].clone())
    }

    /// Whether it can do this with its sessions.
    pub(super) fn has(&self, ability: &str) -> bool {
        !matches!(self.0["sessionCapabilities"][ability], Value::Null | Value::Bool(false))
    }

    /// The request that goes on with a session, where it has one.
    pub(super) fn going_on(&self) -> Option<&'static str> {
        match self.0["loadSession"] == true {
            _ if self.has("resume") => Some("session/resume"),
            true => Some("session/load"),
            false => None,
        }
    }

    pub(super) fn takes_images(&self) -> bool {
        self.0["promptCapabilities"]["image"] == true
    }

    pub(super) fn reaches(&self, server: &McpServer) -> bool {
        let ways = &self.0["mcpCapabilities"];
        match server.transport {
            Transport::Stdio { .. } => true,
            Transport::Http { .. } => ways["http"] == true,
            Transport::Sse { .. } => ways["sse"] == true,
        }
    }
}
