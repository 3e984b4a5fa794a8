//! Reads the lines of programs that speak JSON. None is passed over in silence: what cannot be read, the run warns of.

use super::{Step, Steps};
use crate::base::json;
use crate::model::error::{Failure, Kind};
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
                let warning = match self.unreadable {
                    ..=MOST_QUOTED => format!("a line of {program}'s output could not be read: {quote}"),
                    number if number == MOST_QUOTED + 1 => {
                        format!("more lines of {program}'s output could not be read")
                    }
                    _ => return None,
                };
                steps.push(Step::warning(warning));
                None
            }
        }
    }

    /// What it means for the run that a line cannot be read for which one side waits.
    pub(super) fn lost(&self) -> Failure {
        let program = &self.program;
        let sentence =
            format!("a line of {program}'s that clinvk waited for, or has to answer, could not be read");
        Failure::new(Kind::Unreadable, sentence)
    }
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
        assert_eq!(steps[0], Step::warning(message));
    }
}
