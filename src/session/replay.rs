//! Hands a conversation on as text: to another backend, or to a new session of the same one.

use super::model::Turn;
use std::collections::VecDeque;

/// The newest turns of a conversation: as many as have at most so many characters together.
pub(crate) struct Past {
    limit: usize,
    /// Each with its number of characters.
    kept: VecDeque<(String, usize)>,
    length: usize,
    left_out: u64,
}

impl Past {
    /// Nothing was said yet. `limit`: most characters.
    pub(crate) fn new(limit: usize) -> Past {
        Past { limit, kept: VecDeque::new(), length: 0, left_out: 0 }
    }

    /// The next turn. One that failed is no part of the conversation.
    pub(crate) fn hear(&mut self, turn: &Turn) {
        if turn.error.is_some() {
            return;
        }
        let text = format!("User:\n{}\n\nAssistant:\n{}\n\n", turn.prompt, turn.answer);
        let length = text.chars().count();
        self.kept.push_back((text, length));
        self.length += length;
        while self.length > self.limit {
            let Some((_, length)) = self.kept.pop_front() else { return };
            self.length -= length;
            self.left_out += 1;
        }
    }

    /// How many turns were heard.
    pub(crate) fn turns(&self) -> u64 {
        self.kept.len() as u64 + self.left_out
    }

    /// How many of the oldest are left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The prompt with the conversation in front of it. The prompt itself is never cut.
    pub(crate) fn before(&self, prompt: &str) -> String {
        if self.kept.is_empty() {
            return prompt.to_owned();
        }
        let cut = match self.left_out {
            0 => String::new(),
            left_out => format!(" ({left_out} older turns are left out)"),
        };
        let conversation: String = self.kept.iter().map(|(text, _)| text.as_str()).collect();
        format!("This is our conversation so far{cut}:\n\n{conversation}Now the user says:\n\n{prompt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Tokens;

    fn turn(prompt: &str, answer: &str) -> Turn {
        let (prompt, answer) = (prompt.into(), answer.to_owned());
        let (time, backend, model, usage) = (String::new(), "echo".to_owned(), None, Tokens::default());
        Turn {
            time,
            backend,
            model,
            prompt,
            answer,
            truncated: false,
            usage,
            duration_seconds: None,
            kind: None,
            error: None,
        }
    }

    #[test]
    fn the_oldest_turns_are_left_out_first_and_that_is_said() {
        let turns = [turn("one", "1"), turn("two", "2"), turn("three", "3")];
        let whole = "This is our conversation so far:\n\nUser:\none\n\nAssistant:\n1\n\nUser:\ntwo\n\nAssistant:\n2\n\n\
                     User:\nthree\n\nAssistant:\n3\n\nNow the user says:\n\nfour";
        let prompt = |limit| {
            let mut past = Past::new(limit);
            turns.iter().for_each(|turn| past.hear(turn));
            assert_eq!(past.turns(), 3);
            (past.before("four"), past.left_out())
        };
        assert_eq!(prompt(1000), (whole.to_owned(), 0));
        let (text, left_out) = prompt(40);
        assert_eq!((text.contains("three"), text.contains("two"), left_out), (true, false, 2), "{text}");
        assert_eq!(prompt(3), ("four".to_owned(), 3));
    }
}
