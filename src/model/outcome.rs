//! How a run went.

use crate::model::error::Failure;
use crate::model::event::Usage;
use std::time::Duration;

/// How a run went that a backend really did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The backend's name.
    pub backend: String,
    /// The model that answered, or the one that was asked for where the backend does not say.
    pub model: Option<String>,
    /// The backend's own session id.
    pub backend_session: Option<String>,
    pub session: Option<String>,
    /// Why our session could not be saved: the answer is there all the same.
    pub session_failure: Option<Failure>,
    /// What it used.
    pub usage: Usage,
    /// From start to result.
    pub duration: Duration,
    /// The backend's exit status: its own where it has ended, else 0 for success and 1 for a failure.
    pub exit_code: i32,
    /// What went wrong; none is success.
    pub failure: Option<Failure>,
    /// What was left out or is worth knowing.
    pub warnings: Vec<String>,
    /// How often the agent needed a permission and did not get it.
    pub permission_denials: u64,
    /// The answer was cut at a limit of tokens.
    pub truncated: bool,
    /// Who was asked before and could not answer for now, and why (`fallback`).
    pub tried: Vec<(String, Failure)>,
}
