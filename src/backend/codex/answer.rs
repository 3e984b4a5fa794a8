//! The text of an answer as it is told: messages apart, nothing twice.

/// Joins the pieces of codex's messages.
///
/// When a connection breaks in the middle of a message, codex begins it again as a new one and leaves the old one
/// without an end. What was told of the old one is held back while the new one repeats it.
#[derive(Default)]
pub(super) struct MessageText {
    /// The message that is being heard.
    item: String,
    /// All that was heard of it.
    received: String,
    /// It has come to its end.
    ended: bool,
    /// What was told of this message, or of the aborted one that it repeats so far.
    sent: String,
    /// `received` is a beginning of `sent`, and shorter.
    repeating: bool,
    /// What goes before the next piece.
    separator: &'static str,
}

/// Between two messages.
const BLANK_LINE: &str = "\n\n";

impl MessageText {
    /// A piece of a message; gives what is to be told.
    pub(super) fn piece(&mut self, item: &str, piece: &str) -> Option<String> {
        if item != self.item || self.ended {
            self.begin(item);
        }
        let before = self.received.len();
        self.received.push_str(piece);
        if !self.repeating {
            self.sent.push_str(piece);
            return self.tell(piece.to_owned());
        }
        let expected = &self.sent[before..];
        if expected.len() > piece.len() && expected.starts_with(piece) {
            return None;
        }
        self.repeating = false;
        let rest = piece.strip_prefix(expected).map(str::to_owned);
        self.sent.clone_from(&self.received);
        match rest {
            Some(rest) => self.tell(rest),
            None => self.diverge(),
        }
    }

    /// The end of a message and its whole text, of which some may never have come in pieces.
    pub(super) fn end(&mut self, item: &str, whole: &str) -> Option<String> {
        if item == self.item && self.ended {
            return None;
        }
        if item != self.item {
            self.begin(item);
        }
        let rest = whole.strip_prefix(self.received.as_str()).unwrap_or_default().to_owned();
        let mut sent = self.piece(item, &rest);
        if self.repeating && !self.received.is_empty() {
            // It is shorter than the one that it replaces.
            self.sent.clone_from(&self.received);
            sent = self.diverge();
        }
        self.ended = true;
        sent
    }

    /// The last message.
    pub(super) fn last(&self) -> &str {
        &self.received
    }

    fn begin(&mut self, item: &str) {
        item.clone_into(&mut self.item);
        self.received.clear();
        self.repeating = !self.ended && !self.sent.is_empty();
        if !self.repeating {
            self.separator = if self.sent.is_empty() { self.separator } else { BLANK_LINE };
            self.sent.clear();
        }
        self.ended = false;
    }

    fn diverge(&mut self) -> Option<String> {
        self.separator = BLANK_LINE;
        self.tell(self.received.clone())
    }

    fn tell(&mut self, text: String) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.separator).to_owned() + &text)
    }
}
