//! Plays a recorded dialogue back to a `Dialogue`: what it says, which events come out, how it ends.

use clinvk::backend::{Dialogue, Ended, Step, Steps};
use clinvk::model::error::Failure;
use clinvk::model::event::{Event, Permission, Usage};
use std::path::PathBuf;

/// The text of a file below `tests/data`.
pub fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What came of a recorded dialogue.
#[derive(Debug, Default)]
pub struct Played {
    /// Every line that was said to the child.
    pub said: Vec<String>,
    /// Every event.
    pub events: Vec<Event>,
    /// What a person was asked to allow.
    pub asked: Vec<Permission>,
    /// How it ended; `None` when the recording was over first.
    pub result: Option<Result<(), Failure>>,
}

impl Played {
    /// The answer: all text that is not void.
    pub fn text(&self) -> String {
        let mut answer = String::new();
        self.events.iter().for_each(|event| event.add_to(&mut answer));
        answer
    }

    /// The last usage.
    pub fn usage(&self) -> Option<Usage> {
        self.events
            .iter()
            .rev()
            .find_map(|event| if let Event::Usage(usage) = event { Some(*usage) } else { None })
    }

    /// The kind of the failure, as its word; `ok` for success, `-` for no end.
    pub fn ending(&self) -> &'static str {
        match &self.result {
            None => "-",
            Some(Ok(())) => "ok",
            Some(Err(failure)) => failure.kind.word(),
        }
    }

    pub fn take(&mut self, steps: Steps) {
        for step in steps {
            match step {
                Step::Send(line) => self.said.push(line),
                Step::SendRaw(text) => self.said.push(text.to_string()),
                Step::Event(event) => self.events.push(event),
                Step::Ask(permission) => self.asked.push(permission),
                Step::Finished(result) => self.result = self.result.take().or(Some(result)),
                Step::CloseStdin | Step::Asked | Step::Answering | Step::Alarm(_) | Step::Use { .. } => {}
            }
        }
    }
}

/// Whether a step only warns, e.g. of a line that could not be read.
pub fn is_warning(step: &Step) -> bool {
    matches!(step, Step::Event(Event::Progress { stage, .. }) if stage == "warning")
}

/// Lets the dialogue hear the child's lines of a log in the format of `shared/transcripts` (`   0.123 < line`), up to its end
/// or the first `Finished`. A log of bare lines (a one-way `stdout`) is heard as it is, and then its end.
pub fn play(dialogue: &mut dyn Dialogue, log: &str) -> Played {
    let two_way = log.lines().any(|line| line.get(9..11) == Some("> "));
    let mut played = Played::default();
    let mut steps = Steps::new();
    dialogue.start(&mut steps);
    played.take(std::mem::take(&mut steps));
    for line in log.lines() {
        let heard = if !two_way {
            line
        } else if line.get(9..11) == Some("< ") {
            &line[11..]
        } else {
            continue;
        };
        dialogue.line(heard, &mut steps);
        played.take(std::mem::take(&mut steps));
        if played.result.is_some() {
            return played;
        }
    }
    if !two_way {
        dialogue.eof(&Ended { code: Some(0), ..Ended::default() }, &mut steps);
        played.take(steps);
    }
    played
}
