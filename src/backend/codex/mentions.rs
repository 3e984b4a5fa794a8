//! What in a prompt means a skill to codex: `$name`, and `[$name](path)`.

use crate::base::collect::inserted;
use std::collections::BTreeSet;

/// What codex takes for the name after a `$`.
fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':')));
    &text[..end.unwrap_or(text.len())]
}

/// Every name that follows a `$`.
pub(super) fn mentioned(prompt: &str) -> BTreeSet<&str> {
    let names = prompt.match_indices('$').map(|(at, _)| name_at(&prompt[at + 1..]));
    inserted(names.filter(|name| !name.is_empty()))
}

/// The prompt in pieces between which no `[$name](path to a skill)` is left: that form loads the file whatever its
/// name is. The model gets the same text, as several parts of one message.
pub(super) fn unlinked(prompt: &str) -> Vec<&str> {
    let is_link = |at: &usize| {
        let rest = &prompt[at + 2..];
        let name = name_at(rest);
        let target = rest[name.len()..].strip_prefix(']').map(str::trim_start);
        !name.is_empty() && target.is_some_and(|target| target.starts_with('('))
    };
    let (mut pieces, mut from) = (Vec::new(), 0);
    for at in prompt.match_indices("[$").map(|(at, _)| at).filter(is_link) {
        pieces.push(&prompt[from..at + 2]);
        from = at + 2;
    }
    pieces.push(&prompt[from..]);
    pieces
}
