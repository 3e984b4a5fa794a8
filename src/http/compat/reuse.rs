//! Conversations that were answered before and may go on: a history that extends one of them resumes the vendor's session
//! and sends the new turn alone. Knows keys and sessions; what becomes of a session is its caller's affair.

use super::{Chat, Part, Role, Turn};
use crate::sha256;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What a conversation is recognised by.
pub type Key = [u8; 32];

/// The conversations.
pub struct Reuse {
    kept: Mutex<HashMap<String, Kept>>,
    memory: Duration,
    most: usize,
}

struct Kept {
    keys: Vec<Key>,
    at: Instant,
}

/// A session with all by which it is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: String,
    /// What it was recognised by.
    pub keys: Vec<Key>,
}

impl Reuse {
    /// At most so many, each for so long; nothing is kept for no time.
    pub fn new(memory: Duration, most: usize) -> Reuse {
        Reuse { kept: Mutex::default(), memory, most }
    }

    /// Conversations are kept at all.
    pub fn is_on(&self) -> bool {
        !self.memory.is_zero() && self.most > 0
    }

    /// The session that a key means. It stays.
    pub fn find(&self, key: &Key) -> Option<Found> {
        let kept = self.kept();
        let session = self.meant(&kept, key)?;
        Some(Found { keys: kept.get(&session)?.keys.clone(), session })
    }

    /// Takes out the session that a key means: it goes on for one only.
    pub fn take(&self, key: &Key) -> Option<Found> {
        let mut kept = self.kept();
        let session = self.meant(&kept, key)?;
        let Kept { keys, .. } = kept.remove(&session)?;
        Some(Found { session, keys })
    }

    /// Takes out a session, however it may be recognised.
    pub fn release(&self, session: &str) {
        self.kept().remove(session);
    }

    /// Keeps a session under these keys. Returns those that have to go for it.
    pub fn keep(&self, session: String, keys: Vec<Key>) -> Vec<String> {
        let mut kept = self.kept();
        kept.insert(session, Kept { keys, at: Instant::now() });
        let mut gone = Vec::new();
        while kept.len() > self.most {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.at).map(|(session, _)| session.clone());
            gone.extend(oldest.inspect(|session| _ = kept.remove(session)));
        }
        gone
    }

    /// Takes out those whose time is over, or all.
    pub fn expired(&self, all: bool) -> Vec<String> {
        let (mut kept, mut gone) = (self.kept(), Vec::new());
        kept.retain(|session, kept| {
            let stays = !all && kept.at.elapsed() < self.memory;
            if !stays {
                gone.push(session.clone());
            }
            stays
        });
        gone
    }

    fn meant(&self, kept: &HashMap<String, Kept>, key: &Key) -> Option<String> {
        let fresh = |kept: &Kept| kept.keys.contains(key) && kept.at.elapsed() < self.memory;
        kept.iter().find(|(_, kept)| fresh(kept)).map(|(session, _)| session.clone())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The key of a conversation so far: whose it is, with whom, and all that was said, turn by turn.
pub fn key(owner: Option<&str>, backend: &str, model: Option<&str>, chat: &Chat, turns: &[Turn]) -> Key {
    let begin = [owner.unwrap_or(""), backend, model.unwrap_or(""), &chat.system.join("\n\n")];
    turns.iter().fold(digest(&[], begin.iter().map(|part| part.as_bytes())), |before, turn| {
        let parts = parts(turn);
        digest(&before, parts.iter().map(Vec::as_slice))
    })
}

/// The key of a response by its id.
pub fn key_of_response(owner: Option<&str>, id: &str) -> Key {
    digest(b"response", [owner.unwrap_or("").as_bytes(), id.as_bytes()].into_iter())
}

/// The turns that a history which goes on will have: the answer behind what was asked.
pub fn with_answer(turns: &[Turn], answer: &str) -> Vec<Turn> {
    let answer = Turn { role: Role::Assistant, name: None, parts: vec![Part::Text(answer.to_owned())] };
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
            Part::Image(image) => all.push(image.data.clone()),
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
    use crate::http::compat::{Dialect, chat::Completions};
    use serde_json::{Value, json};

    fn read(messages: Value) -> Chat {
        Completions.read(&json!({"model": "m", "messages": messages})).unwrap()
    }

    #[test]
    fn a_history_that_goes_on_has_the_key_of_what_was_answered() {
        let system = json!({"role": "system", "content": "brief"});
        let first = read(json!([system, {"role": "user", "content": "one"}]));
        let answered = key(None, "b", None, &first, &with_answer(&first.turns, "eins\n"));
        let texts = json!([{"type": "text", "text": "ei"}, {"type": "text", "text": "ns"}]);
        let next = read(json!([
            system, {"role": "user", "content": "one"}, {"role": "assistant", "content": texts}, {"role": "user", "content": "two"},
        ]));
        let before = &next.turns[..next.turns.len() - 1];
        assert_eq!(key(None, "b", None, &next, before), answered);
        for (owner, backend, model) in [(Some("k"), "b", None), (None, "c", None), (None, "b", Some("m"))] {
            assert_ne!(key(owner, backend, model, &next, before), answered);
        }
        let other =
            read(json!([{"role": "user", "content": "one"}, {"role": "assistant", "content": "eins"}]));
        assert_ne!(key(None, "b", None, &other, &other.turns), answered, "another system prompt");
    }

    #[test]
    fn a_session_goes_on_once_and_the_oldest_goes_first() {
        let reuse = Reuse::new(Duration::from_secs(60), 2);
        let keys: Vec<Key> = (0..4).map(|number| [number; 32]).collect();
        assert!(reuse.keep("a".to_owned(), vec![keys[0], keys[1]]).is_empty());
        assert!(reuse.keep("b".to_owned(), vec![keys[2]]).is_empty());
        assert_eq!(reuse.keep("c".to_owned(), vec![keys[3]]), ["a"]);
        let take = |key: &Key| reuse.take(key).map(|taken| taken.session);
        let found = Found { session: "b".to_owned(), keys: vec![keys[2]] };
        assert_eq!((reuse.find(&keys[2]), take(&keys[1])), (Some(found), None));
        assert_eq!((take(&keys[2]), take(&keys[2])), (Some("b".to_owned()), None));
        assert!(reuse.keep("d".to_owned(), Vec::new()).is_empty());
        reuse.release("d");
        assert_eq!(reuse.expired(false), Vec::<String>::new());
        assert_eq!(reuse.expired(true), ["c"]);
        assert!(!Reuse::new(Duration::ZERO, 2).is_on());
    }
}
