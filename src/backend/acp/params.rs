//! What an agent is asked in a turn: a task in the protocol's words.

use super::choices::Choice;
use super::client::Offers;
use super::permission::Answers;
use crate::base::json::Value;
use crate::config::{SystemBy, UsageOf};
use crate::model::mcp::McpServer;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Default)]
pub(in crate::backend) struct TurnParams {
    pub(in crate::backend) prompt: Vec<Value>,
    pub(in crate::backend) dir: String,
    pub(in crate::backend) answers: Answers,
    /// What we offer to do for the agent.
    pub(in crate::backend) offers: Offers,
    /// Further directories.
    pub(in crate::backend) add_dirs: Vec<String>,
    pub(in crate::backend) servers: Vec<McpServer>,
    /// Members of the request that opens a session: a system prompt in the agent's own way.
    pub(in crate::backend) session: Value,
    /// How the system prompt gets to the agent, where there is one.
    pub(in crate::backend) system_by: Option<SystemBy>,
    /// The agent's session that goes on.
    pub(in crate::backend) resume: Option<String>,
    pub(in crate::backend) auth_method: Option<String>,
    pub(in crate::backend) choices: VecDeque<(Choice, String)>,
    pub(in crate::backend) usage: UsageOf,
    pub(in crate::backend) failure_texts: Vec<String>,
    /// How long each answer may take before the prompt is sent, and the key that says so.
    pub(in crate::backend) start_limit: Option<(Duration, String)>,
    /// The agent's session shall not outlive the turn.
    pub(in crate::backend) ephemeral: bool,
    /// What the agent lacks is a warning.
    pub(in crate::backend) lenient: bool,
    /// The prompt is a command of the agent's: then there is an answer without a model.
    pub(in crate::backend) is_command: bool,
}
