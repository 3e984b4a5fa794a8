//! Reads the lines of programs that speak JSON. None is passed over in silence: what cannot be read, the run warns of.

use super::{Step, Steps};
use crate::base::json;
use crate::model::event::Event;
use serde_json::Value;

/// As many unreadable lines are quoted; of more it is only said that there are some.
const MOST_QUOTED: usize = 5;
/// So many characters of a line are quoted.
const LONGEST_QUOTE: usize = 200;

/// Reads the lines of one program.
pub(super) struct Reader {
    program: String,
    unreadable: usize,
}

impl Reader {
    /// `program`: what its warnings call it.
    pub(super) fn new(program: &str) -> Reader {
        Reader { program: program.to_owned(), unreadable: 0 }
    }

    /// The message in a line: an object or a list. None in a blank line; none, and a warning, in one that cannot be read.
    /// Whether the program waits for an answer to such a line is for its dialogue to judge.
    pub(super) fn read(&mut self, line: &str, steps: &mut Steps) -> Option<Value> {
        if line.trim().is_empty() {
            return None;
        }
        match json::from_str(line) {
            Ok(message @ (Value::Object(_) | Value::Array(_))) => Some(message),
            Ok(_) | Err(_) => {
                self.unreadable += 1;
                let program = &self.program;
                let quote: String = line.chars().take(LONGEST_QUOTE).collect();
                match self.unreadable {
                    ..=MOST_QUOTED => {
                        warn(format!("a line of {program}'s output could not be read: {quote}"), steps);
                    }
                    number if number == MOST_QUOTED + 1 => {
                        warn(format!("more lines of {program}'s output could not be read"), steps);
                    }
                    _ => {}
                }
                None
            }
        }
    }
}

fn warn(message: String, steps: &mut Steps) {
    steps.push(Step::Event(Event::Progress { stage: "warning".to_owned(), message }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// faults.md A6.
    #[test]
    fn no_line_is_passed_over_in_silence() {
        for (line, read, warned) in [
            (r#"{"a":1}"#, true, false),
            (r#"{"a":"\ud83d"}"#, true, false),
            ("\u{feff}{}", true, false),
            ("[1]", true, false),
            ("", false, false),
            (" \t", false, false),
            (r#"{"a":"#, false, true),
            ("Debugger attached.", false, true),
            ("7", false, true),
        ] {
            let mut steps = Steps::new();
            assert_eq!(Reader::new("claude").read(line, &mut steps).is_some(), read, "{line}");
            assert_eq!(!steps.is_empty(), warned, "{line}");
        }
        let (mut reader, mut steps) = (Reader::new("claude"), Steps::new());
        (0..1000).for_each(|_| drop(reader.read(&"é".repeat(500), &mut steps)));
        assert_eq!(steps.len(), MOST_QUOTED + 1);
        let message = format!("a line of claude's output could not be read: {}", "é".repeat(LONGEST_QUOTE));
        assert_eq!(steps[0], Step::Event(Event::Progress { stage: "warning".to_owned(), message }));
    }
}
