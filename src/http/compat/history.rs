//! What a conversation is recognised by when a client sends it again with a turn more: a digest of all that was said.

use super::{Chat, Part, Role, Turn};
use crate::base::sha256;
use crate::http::state::reuse::Key;

/// Whose a conversation is, and with whom.
#[derive(Debug, Clone, Default)]
pub(super) struct Parties {
    pub(crate) owner: Option<String>,
    pub(crate) backend: String,
    pub(crate) model: Option<String>,
}

impl Parties {
    /// The key of a conversation so far, in which these turns were said.
    pub(crate) fn key(&self, chat: &Chat, turns: &[Turn]) -> Key {
        let (owner, model) = (self.owner.as_deref().unwrap_or(""), self.model.as_deref().unwrap_or(""));
        let begin = [owner, &self.backend, model, &chat.system.join("\n\n")];
        turns.iter().fold(digest(&[], begin.iter().map(|part| part.as_bytes())), |before, turn| {
            let parts = parts(turn);
            digest(&before, parts.iter().map(Vec::as_slice))
        })
    }

    pub(crate) fn key_of_response(&self, id: &str) -> Key {
        let owner = self.owner.as_deref().unwrap_or("");
        digest(b"response", [owner.as_bytes(), id.as_bytes()].into_iter())
    }
}

/// The turns that a history which goes on will have: the answer behind what was asked.
pub(super) fn with_answer(turns: &[Turn], answer: &str) -> Vec<Turn> {
    let answer = Turn { role: Role::Assistant, name: None, parts: vec![Part::Text(answer.into())] };
    turns.iter().cloned().chain([answer]).collect()
}

/// A turn as bytes, its texts together as one: clients cut them as they like.
fn parts(turn: &Turn) -> Vec<Vec<u8>> {
    let role: &[u8] = match turn.role {
        Role::User => b"user",
        Role::Assistant => b"assistant",
    };
    let mut text = String::new();
    let mut all = vec![role.to_vec(), turn.name.clone().unwrap_or_default().into_bytes()];
    for part in &turn.parts {
        match part {
            Part::Text(piece) => text += piece,
            Part::Image(image) => all.push(image.data.to_vec()),
            other => all.push(format!("{other:?}").into_bytes()),
        }
    }
    all.push(text.trim().as_bytes().to_vec());
    all
}

/// The digest of what was before and of these parts, each with its length, so that no two lists look alike.
fn digest<'a>(before: &[u8], parts: impl Iterator<Item = &'a [u8]>) -> Key {
    let mut bytes = before.to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    sha256::digest(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::json;
    use crate::http::compat::{Dialect, chat::ChatCompletions};
    use serde_json::Value;

    fn read(messages: Value) -> Chat {
        ChatCompletions.read(&json!({"model": "m", "messages": messages})).unwrap()
    }

    #[test]
    fn a_history_that_goes_on_has_the_key_of_what_was_answered() {
        let system = json!({"role": "system", "content": "brief"});
        let first = read(json!([system, {"role": "user", "content": "one"}]));
        let with = |owner: Option<&str>, backend: &str, model: Option<&str>| Parties {
            owner: owner.map(str::to_owned),
            backend: backend.to_owned(),
            model: model.map(str::to_owned),
        };
        let parties = with(None, "b", None);
        let answered = parties.key(&first, &with_answer(&first.turns, "eins\n"));
        let texts = json!([{"type": "text", "text": "ei"}, {"type": "text", "text": "ns"}]);
        let next = read(json!([
            system, {"role": "user", "content": "one"}, {"role": "assistant", "content": texts}, {"role": "user", "content": "two"},
        ]));
        let before = &next.turns[..next.turns.len() - 1];
        assert_eq!(parties.key(&next, before), answered);
        for (owner, backend, model) in [(Some("k"), "b", None), (None, "c", None), (None, "b", Some("m"))] {
            assert_ne!(with(owner, backend, model).key(&next, before), answered);
        }
        let other =
            read(json!([{"role": "user", "content": "one"}, {"role": "assistant", "content": "eins"}]));
        assert_ne!(parties.key(&other, &other.turns), answered, "another system prompt");
    }
}
