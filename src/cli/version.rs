//! `clinvk version`.

use crate::base::json::json;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Set by the Makefile; a build from an archive has none.
fn commit() -> &'static str {
    option_env!("SOURCE_COMMIT").unwrap_or("unknown")
}

/// The version in a line.
pub(crate) fn text() -> String {
    format!("clinvk {VERSION} ({})\n", commit())
}

/// The same as data.
pub(crate) fn data() -> Value {
    let features = ["claude", "codex", "gemini", "command", "echo"];
    json!({"version": VERSION, "commit": commit(), "features": features})
}
