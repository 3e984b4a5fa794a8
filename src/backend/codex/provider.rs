//! Who serves codex's models, as far as its settings can be changed for one thread.

use serde_json::Value;

/// Codex's own providers: their settings are fixed.
const BUILT_IN: &[&str] = &["amazon-bedrock", "lmstudio", "ollama", "ollama-chat", "openai"];

/// So many requests to a server that fails are one attempt of codex's where its settings are fixed.
pub(super) const REQUESTS: u32 = 5;

/// The provider in codex's settings that the user has made.
pub(super) fn of_user(config: &Value) -> Option<&str> {
    let name = config["model_provider"].as_str()?;
    (config["model_providers"][name].is_object() && !BUILT_IN.contains(&name)).then_some(name)
}
