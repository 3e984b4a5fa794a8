//! The answer as it is told: what claude streams, what it confirms, and what of it is void because it broke off.

use crate::backend::{Step, Steps};
use crate::model::event::Event;

/// What of the answer was told.
#[derive(Default)]
pub(super) struct Answer {
    /// Text of the current block that was told and not yet confirmed by a whole one: claude streams a message, then sends
    /// it whole, block by block; where only the whole one comes, its missing part has to be told.
    sent: String,
    /// Characters of the whole answer, of the current message, and of what is not confirmed; with the gaps before them.
    pub(super) characters: usize,
    of_message: usize,
    unconfirmed: usize,
    /// The next text belongs to another message than the last.
    pub(super) new_message: bool,
    /// The current message was stopped because the model must not say it.
    pub(super) refused: bool,
}

impl Answer {
    /// After a broken connection claude asks again, and after a refusal it may too: a refused message is withheld, of
    /// any other one only that is lost which was not confirmed.
    pub(super) fn begin_message(&mut self, steps: &mut Steps) {
        let lost = if std::mem::take(&mut self.refused) { self.of_message } else { self.unconfirmed };
        self.void(lost, steps);
        (self.new_message, self.of_message) = (true, 0);
    }

    /// A block is whole.
    pub(super) fn confirm(&mut self, whole: &str, steps: &mut Steps) {
        match whole.strip_prefix(self.sent.as_str()).map(str::to_owned) {
            Some(missing) => self.tell(&missing, steps),
            // It comes from another try than what was streamed.
            None => {
                self.void(self.unconfirmed, steps);
                self.tell(whole, steps);
            }
        }
        (self.sent, self.unconfirmed) = (String::new(), 0);
    }

    fn void(&mut self, characters: usize, steps: &mut Steps) {
        if characters > 0 {
            steps.push(Step::Event(Event::Void(characters)));
        }
        self.characters -= characters;
        self.of_message -= characters;
        (self.sent, self.unconfirmed, self.new_message) = (String::new(), 0, true);
    }

    pub(super) fn tell(&mut self, piece: &str, steps: &mut Steps) {
        if piece.is_empty() {
            return;
        }
        let is_first = self.characters == 0;
        let gap = if std::mem::take(&mut self.new_message) && !is_first { "\n\n" } else { "" };
        steps.push(Step::Event(Event::Text(format!("{gap}{piece}"))));
        self.sent.push_str(piece);
        let characters = gap.len() + piece.chars().count();
        self.characters += characters;
        self.of_message += characters;
        self.unconfirmed += characters;
    }
}
