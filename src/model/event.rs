//! What a run says while it goes: one vocabulary for all backends, and who listens to it.

use crate::model::outcome::Outcome;
use serde_json::Value;
use std::io;

/// One thing that happened in a run, in the order in which it happened.
///
/// The answer is the concatenation of all `Text`: dialogues put a blank line between separate messages, so
/// that text, JSON and streamed output are folds of the same events and cannot disagree.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The backend is up and has named itself. Sent before any text, and again where another model answers.
    Started {
        /// The model that answers, where the backend names it.
        model: Option<String>,
        /// The backend's own session id.
        session: Option<String>,
    },
    /// A piece of the answer.
    Text(String),
    /// So many characters at the end of the answer are void: it broke off, and begins anew from there. A listener that has
    /// passed them on already cannot take them back.
    Void(usize),
    /// A piece of the model's reasoning.
    Thinking(String),
    /// The agent uses a tool.
    ToolUse {
        /// The backend's id of this use; the result carries it again.
        id: String,
        /// The tool's name as the backend has it.
        name: String,
        /// What the tool is asked to do, in the tool's own shape.
        input: Value,
        /// The `ToolUse` that started the sub-agent whose doing it is.
        parent: Option<String>,
    },
    /// What the tool answered.
    ToolResult {
        /// The id of the `ToolUse`.
        id: String,
        /// The tool's name; empty where the backend does not repeat it.
        name: String,
        /// The tool's answer as text.
        output: String,
        /// The tool failed or was refused.
        is_error: bool,
        /// The `ToolUse` that started the sub-agent whose doing it is.
        parent: Option<String>,
    },
    /// Another model answers from here on.
    Model {
        name: String,
        /// A sentence that says why.
        why: String,
    },
    /// The agent needed a permission and did not get it.
    PermissionDenied {
        /// The tool and what it was to do, as people read it.
        what: String,
    },
    /// What the agent means to do, step by step; a later one replaces an earlier one.
    Plan(Vec<PlanEntry>),
    /// Something worth knowing that is not part of the answer: a retry, a stage, a vendor's warning.
    Progress {
        /// A short word: `retry`, `warning`, `TRUNCATED` ...
        stage: String,
        /// The sentence.
        message: String,
    },
    /// Tokens used by this run so far; a later one replaces an earlier one.
    Usage(Usage),
    /// One line as the backend wrote it, before it is understood: only where the caller asked for it (`Control::lines`).
    Line(String),
    /// The run has its outcome, and nothing comes behind it; the child may still be flushing. From exec it says the
    /// failure and the exit code, and the engine puts in the rest.
    Done(Box<Outcome>),
}

/// One step of an agent's plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// `high`, `medium` or `low`; empty where the agent does not say.
    pub priority: String,
    /// `pending`, `in_progress` or `completed`.
    pub status: String,
}

/// What an agent asks a person to allow.
#[derive(Debug, Clone, PartialEq)]
pub struct Permission {
    /// The dialogue's own name of the question; the answer carries it again.
    pub id: String,
    /// The id of the `Event::ToolUse` that waits for the answer; empty where there is none.
    pub tool_use: String,
    /// The tool's name as the backend has it.
    pub name: String,
    /// What the tool is to do, as people read it.
    pub title: String,
    /// What the tool is asked to do, in the tool's own shape.
    pub input: Value,
}

/// What a tool is asked to do, in the order in which people want to know it.
const TOLD_OF_INPUT: &[&str] = &[
    "command",
    "file_path",
    "absolute_path",
    "notebook_path",
    "path",
    "dir_path",
    "pattern",
    "query",
    "url",
    "description",
    "prompt",
    "title",
];

/// What a tool does, as people read it in one line: its name, and the one thing of its input that says most.
pub(crate) fn title_of_tool(name: &str, input: &Value) -> String {
    let words = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            parts.map(|parts| parts.join(" "))
        }
        _ => None,
    };
    let told = TOLD_OF_INPUT.iter().find_map(|member| words(&input[*member]));
    match told.as_deref().and_then(|words| words.lines().next()) {
        Some(line) if line.chars().count() <= LONGEST_QUOTE => format!("{name}: {line}"),
        Some(line) => format!("{name}: {}...", line.chars().take(LONGEST_QUOTE).collect::<String>()),
        None => name.to_owned(),
    }
}

impl Event {
    /// The sentence about it that the reader of the answer has to see; none where there is nothing to see.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Event::Progress { stage, message } if stage == "warning" || stage == TRUNCATED => {
                Some(message.clone())
            }
            Event::Model { why, .. } => Some(why.clone()),
            Event::PermissionDenied { what } => {
                let end = what.char_indices().nth(LONGEST_QUOTE).map_or(what.len(), |(at, _)| at);
                let dots = if end < what.len() { "..." } else { "" };
                Some(format!("permission denied: {}{dots}", &what[..end]))
            }
            _ => None,
        }
    }

    /// It is a part of what was asked for, or may have had effects: once a client has it, there is no way back.
    pub(crate) fn delivers(&self) -> bool {
        match self {
            Event::Text(_)
            | Event::Void(_)
            | Event::Thinking(_)
            | Event::ToolUse { .. }
            | Event::ToolResult { .. } => true,
            Event::Done(_)
            | Event::Started { .. }
            | Event::Model { .. }
            | Event::PermissionDenied { .. }
            | Event::Plan(_)
            | Event::Progress { .. }
            | Event::Usage(_)
            | Event::Line(_) => false,
        }
    }

    /// Does to the answer so far what this means for it.
    pub fn add_to(&self, answer: &mut String) {
        match self {
            Event::Text(text) => answer.push_str(text),
            Event::Void(characters) => drop_end(answer, *characters),
            _ => {}
        }
    }
}

/// So many characters of what an agent was not allowed to do are quoted: it may be a whole file.
const LONGEST_QUOTE: usize = 200;
/// Takes so many characters off the end of a text.
fn drop_end(text: &mut String, characters: usize) {
    if let Some(before) = characters.checked_sub(1) {
        let end = text.char_indices().rev().nth(before).map_or(0, |(at, _)| at);
        text.truncate(end);
    }
}

/// What has to stand between void text, which was passed on, and the text in its place.
pub(crate) fn seam(text: &str) -> &'static str {
    if text.starts_with("\n\n") { "" } else { "\n\n" }
}

/// The stage of a `Progress` for what the agent says while it works and is no part of its answer.
pub const COMMENTARY: &str = "commentary";

/// The stage of a `Progress` that says that the answer was cut at a limit of tokens.
pub const TRUNCATED: &str = "truncated";

/// Tokens of one run. Cached input and reasoning output are *parts* of `input` and `output`, never added again.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// All input tokens, cached ones included.
    pub input: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Input tokens that came from the vendor's cache.
    pub cached: u64,
    /// Output tokens spent on reasoning, where the backend tells.
    pub reasoning: u64,
    /// US dollars, where the backend tells.
    pub cost: Option<f64>,
}

impl Usage {
    /// Input and output together.
    pub(crate) fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// The tokens of both.
    pub(crate) fn plus(self, other: Usage) -> Usage {
        self.combine(other, u64::saturating_add)
    }

    /// The tokens that are more than the other's.
    pub(crate) fn minus(self, other: Usage) -> Usage {
        self.combine(other, u64::saturating_sub)
    }

    fn combine(self, other: Usage, with: fn(u64, u64) -> u64) -> Usage {
        Usage {
            input: with(self.input, other.input),
            output: with(self.output, other.output),
            cached: with(self.cached, other.cached),
            reasoning: with(self.reasoning, other.reasoning),
            cost: None,
        }
    }
}

/// A sum of dollars, which stays a number: JSON has no infinity.
pub(crate) fn dollars(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}

/// Hears a run: a printer, a stream, one who collects the answer. An `Err` stops the run: the reader is gone, or it is an
/// `Error` of ours that says why.
pub trait Listener {
    /// A run of this backend begins, in this session of ours where it has one. Said before anything else.
    fn begin(&mut self, _backend: &str, _session: Option<&str>) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Whether a person allows what the agent asks for: only where one is there (`Task::attended`). The run waits meanwhile.
    fn permission(&mut self, _asked: &Permission) -> io::Result<bool> {
        Ok(false)
    }

    /// A moment has passed without an event: a terminal redraws its spinner, a stream writes its keep-alive.
    fn idle(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::json;

    #[test]
    fn a_title_says_what_is_done_in_one_line() {
        for (name, input, told) in [
            ("Bash", json!({"command": "ls -l\nrm x", "description": "lists"}), "Bash: ls -l"),
            ("commandExecution", json!({"command": ["ls", "-l"], "cwd": "/"}), "commandExecution: ls -l"),
            ("Read", json!({"file_path": "/a/b"}), "Read: /a/b"),
            ("Task", json!({"n": 1}), "Task"),
            ("x", json!({"command": ""}), "x"),
            ("x", Value::Null, "x"),
        ] {
            assert_eq!(title_of_tool(name, &input), told);
        }
        let long = title_of_tool("Bash", &json!({"command": "é".repeat(500)}));
        assert_eq!(long.chars().count(), "Bash: ...".len() + LONGEST_QUOTE);
    }
}
