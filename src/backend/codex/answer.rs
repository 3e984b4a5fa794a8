//! The text of an answer as it is told: messages apart, nothing twice.

/// Joins the pieces of codex's messages.
///
/// When a connection breaks in the middle of a message, codex begins it again as a new one and leaves the old one
/// without an end. What was told of the old one is held back while the new one repeats it.
#[derive(Default)]
pub(super) struct Answer {
    /// The message that is being heard.
    item: String,
    /// All that was heard of it.
    heard: String,
    /// It has come to its end.
    ended: bool,
    /// What was told of this message, or of the aborted one that it repeats so far.
    told: String,
    /// `heard` is a beginning of `told`, and shorter.
    repeating: bool,
    /// What goes before the next piece.
    separator: &'static str,
}

/// Between two messages.
const BLANK_LINE: &str = "\n\n";

impl Answer {
    /// A piece of a message; gives what is to be told.
    pub(super) fn piece(&mut self, item: &str, piece: &str) -> Option<String> {
        if item != self.item || self.ended {
            self.begin(item);
        }
        let before = self.heard.len();
        self.heard.push_str(piece);
        if !self.repeating {
            self.told.push_str(piece);
            return self.tell(piece.to_owned());
        }
        let expected = &self.told[before..];
        if expected.len() > piece.len() && expected.starts_with(piece) {
            return None;
        }
        self.repeating = false;
        let rest = piece.strip_prefix(expected).map(str::to_owned);
        self.told.clone_from(&self.heard);
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
        let rest = whole.strip_prefix(self.heard.as_str()).unwrap_or_default().to_owned();
        let mut told = self.piece(item, &rest);
        if self.repeating && !self.heard.is_empty() {
            // It is shorter than the one that it replaces.
            self.told.clone_from(&self.heard);
            told = self.diverge();
        }
        self.ended = true;
        told
    }

    /// The last message.
    pub(super) fn last(&self) -> &str {
        &self.heard
    }

    fn begin(&mut self, item: &str) {
        item.clone_into(&mut self.item);
        self.heard.clear();
        self.repeating = !self.ended && !self.told.is_empty();
        if !self.repeating {
            self.separator = if self.told.is_empty() { self.separator } else { BLANK_LINE };
            self.told.clear();
        }
        self.ended = false;
    }

    fn diverge(&mut self) -> Option<String> {
        self.separator = BLANK_LINE;
        self.tell(self.heard.clone())
    }

    fn tell(&mut self, text: String) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.separator).to_owned() + &text)
    }
}
