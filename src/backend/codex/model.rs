//! The model behind an alias: codex itself has a list, newest first, and its names change with every generation.

use serde_json::Value;

/// An alias of ours for a kind of model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Alias {
    /// What users type.
    pub(super) name: &'static str,
    /// How the names of that kind end.
    ending: &'static str,
    /// The model of that kind that was there when this was written, for a codex that does not tell.
    known: &'static str,
}

/// Those that the list decides. `balanced` is codex's own default.
const ALIASES: [Alias; 2] = [
    Alias { name: "fast", ending: "-luna", known: "gpt-6-luna" },
    Alias { name: "best", ending: "-astra", known: "gpt-6.2-astra" },
];

/// What the aliases stand for in a task: themselves where the list decides.
pub(super) fn aliases() -> [(&'static str, &'static str); 3] {
    let [fast, best] = ALIASES.map(|alias| (alias.name, alias.name));
    [fast, ("balanced", ""), best]
}

pub(super) fn alias(name: &str) -> Option<Alias> {
    ALIASES.into_iter().find(|alias| alias.name == name)
}

/// The newest model of the alias's kind in codex's list.
pub(super) fn behind(alias: Alias, list: &Value) -> &str {
    let models = list.as_array().into_iter().flatten().filter(|model| model["hidden"] != true);
    let mut names = models.filter_map(|model| model["model"].as_str());
    names.find(|name| name.ends_with(alias.ending)).unwrap_or(alias.known)
}

/// Whether a model in codex's list has the effort above `max`.
pub(super) fn has_ultra(list: &Value, model: &str) -> bool {
    let models = list.as_array().into_iter().flatten();
    let mut efforts = models
        .filter(|known| known["model"] == model)
        .flat_map(|known| known["supportedReasoningEfforts"].as_array().into_iter().flatten());
    efforts.any(|effort| effort["reasoningEffort"] == "ultra")
}
