//! The text of an answer as an agent tells it, piece by piece: where one message ends and the next begins, and what of it is
//! void because the agent began anew.

use crate::backend::{Step, Steps};
use crate::base::json::{Value, text};
use crate::model::event::Event;

/// So many bytes of a message's beginning, and of a piece, are remembered, to know them again.
const REMEMBERED: usize = 4 << 10;
/// What is shorter may well be said twice.
const SAID_TWICE: usize = 8;

/// The answer so far.
#[derive(Default)]
pub(super) struct AnswerText {
    /// Something was told that is more than blanks.
    pub(super) says_something: bool,
    /// Characters that were told and are not void.
    told: usize,
    /// The next text belongs to another message than the last.
    is_new_message: bool,
    message: OneMessage,
    /// The message before this one, with nothing between them: this may be the same, told again.
    earlier: Option<OneMessage>,
    /// The beginning of the last piece, and how many characters it added.
    last: (String, usize),
}

/// One message.
#[derive(Default)]
struct OneMessage {
    /// The agent's own id of it.
    id: String,
    /// Its beginning, up to `REMEMBERED`, and where its pieces end in that.
    text: String,
    cuts: Vec<usize>,
    /// It is longer than what is remembered of it.
    is_longer: bool,
    /// All its characters, with what stands between it and the message before.
    characters: usize,
}

impl AnswerText {
    /// The last piece that was told.
    pub(super) fn last(&self) -> &str {
        &self.last.0
    }

    /// Something else was told: what follows is another message.
    pub(super) fn interrupted(&mut self) {
        self.is_new_message = self.told > 0;
        self.earlier = None;
    }

    pub(super) fn tell(&mut self, piece: &str, id: &Value, steps: &mut Steps) {
        if piece.is_empty() {
            return;
        }
        let id = text(id);
        if !id.is_empty() && !self.message.id.is_empty() && id != self.message.id && !self.is_new_message {
            self.is_new_message = self.told > 0;
            self.earlier = Some(std::mem::take(&mut self.message)).filter(|earlier| !earlier.is_longer);
        }
        let gap = if std::mem::take(&mut self.is_new_message) {
            self.message = OneMessage::default();
            "\n\n"
        } else {
            ""
        };
        if !id.is_empty() {
            id.clone_into(&mut self.message.id);
        }
        self.says_something |= !piece.trim().is_empty();
        let told = format!("{gap}{piece}");
        let characters = told.chars().count();
        self.told += characters;
        self.message.add(piece, characters);
        self.last = (beginning(piece).to_owned(), characters);
        steps.push(Step::Answering);
        steps.push(Step::Event(Event::Text(told)));
        self.drop_what_is_told_again(steps);
    }

    /// What the agent says again from the beginning of a message it had said before. It has tried again.
    fn drop_what_is_told_again(&mut self, steps: &mut Steps) {
        let Some(earlier) = &self.earlier else { return };
        if self.message.text.len() < earlier.text.len() {
            if !earlier.text.starts_with(&self.message.text) {
                self.earlier = None;
            }
            return;
        }
        if self.message.text.starts_with(&earlier.text) && !self.message.is_longer {
            self.void(earlier.characters + self.message.characters, steps);
            let gap = if self.told > 0 { "\n\n" } else { "" };
            let again = format!("{gap}{}", self.message.text);
            self.message.characters = again.chars().count();
            self.told += self.message.characters;
            steps.push(Step::Event(Event::Text(again)));
        }
        self.earlier = None;
    }

    /// The agent says that it tries again: what it has told of this message is void.
    pub(super) fn begin_anew(&mut self, steps: &mut Steps) {
        self.void(self.message.characters, steps);
        self.message = OneMessage::default();
        self.is_new_message = self.told > 0;
    }

    /// The last piece is void: it is no answer but says why there is none.
    pub(super) fn drop_last(&mut self, steps: &mut Steps) {
        let (_, characters) = std::mem::take(&mut self.last);
        self.void(characters, steps);
    }

    fn void(&mut self, characters: usize, steps: &mut Steps) {
        if characters > 0 {
            self.told = self.told.saturating_sub(characters);
            steps.push(Step::Event(Event::Void(characters)));
        }
    }

    /// Whether the message repeats its own beginning, from the end of a piece on: a model may do so, or an agent that has
    /// tried again without saying so.
    pub(super) fn repeats_itself(&self) -> bool {
        let text = &self.message.text;
        self.message.cuts.iter().any(|cut| *cut >= SAID_TWICE && text[*cut..].starts_with(&text[..*cut]))
    }
}

impl OneMessage {
    fn add(&mut self, piece: &str, characters: usize) {
        self.characters += characters;
        self.is_longer |= self.text.len() + piece.len() > REMEMBERED;
        if !self.is_longer {
            self.text += piece;
            self.cuts.push(self.text.len());
        }
    }
}

fn beginning(piece: &str) -> &str {
    let end = (0..=REMEMBERED.min(piece.len())).rev().find(|at| piece.is_char_boundary(*at));
    &piece[..end.unwrap_or(0)]
}
