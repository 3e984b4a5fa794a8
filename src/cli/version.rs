//! `clinvk version`.

use serde_json::json;

/// The version line, or the facts as JSON.
pub fn text(as_json: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    // Set by the Makefile; a build from an archive has none.
    let commit = option_env!("SOURCE_COMMIT").unwrap_or("unknown");
    if as_json {
        let features = ["claude", "codex", "gemini", "command", "echo"];
        format!("{}\n", json!({"version": version, "commit": commit, "features": features}))
    } else {
        format!("clinvk {version} ({commit})\n")
    }
}
