//! Who answers an agent's questions of permission, and what: the approval and sandbox modes, or a person.

use crate::base::json::{Value, json};
use crate::model::task::{Approval, Sandbox, Task, ToolUse};

/// What a task says to questions of permission.
#[derive(Clone, Default)]
pub(in crate::backend) struct Answers {
    pub(super) approval: Approval,
    reading_only: bool,
    /// Tools that need no yes.
    allowed: Vec<String>,
    /// What only reads needs no yes either.
    reads: bool,
    /// A person can be asked.
    attended: bool,
}

/// What becomes of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    Allow,
    Refuse,
    /// A person decides.
    Ask,
}

impl Answers {
    pub(in crate::backend) fn of(task: &Task) -> Answers {
        Answers {
            approval: task.approval,
            reading_only: task.sandbox == Sandbox::ReadOnly,
            allowed: task.allowed_tools.clone().unwrap_or_default(),
            reads: false,
            attended: task.attended,
        }
    }

    /// For an agent that cannot be told in another way which tools there are.
    pub(super) fn with_bounds_of(task: &Task) -> Answers {
        match task.tools {
            ToolUse::AsConfigured => Answers::of(task),
            bound => Answers {
                approval: Approval::Always,
                reading_only: true,
                reads: bound == ToolUse::ReadOnly,
                attended: false,
                ..Answers::of(task)
            },
        }
    }

    /// `kind`: the protocol's word for what the tool does.
    pub(super) fn verdict(&self, kind: &str, name: &str) -> Verdict {
        let changes = !only_reads(kind);
        let by_mode = match self.approval {
            Approval::None => true,
            Approval::Auto => kind == "edit",
            Approval::Default | Approval::Always => self.reads && !changes,
        };
        let forbidden = self.reading_only && changes;
        // Under `read-only` a list only chooses.
        let is_listed = !self.reading_only && self.allowed.iter().any(|allowed| allowed == name);
        if is_listed || (by_mode && !forbidden) {
            Verdict::Allow
        } else if self.attended && !forbidden {
            Verdict::Ask
        } else {
            Verdict::Refuse
        }
    }
}

/// Whether the protocol's word for what a tool does says that it changes nothing.
pub(super) fn only_reads(kind: &str) -> bool {
    matches!(kind, "read" | "search" | "fetch" | "think")
}

/// The outcome that says yes or no for this once: by the kinds of the options, their ids are any words. Where none fits the
/// question is cancelled, which all agents take for a no.
pub(super) fn outcome(options: &Value, is_allowed: bool) -> Value {
    let wanted = if is_allowed { "allow_once" } else { "reject_once" };
    let mut options = options.as_array().into_iter().flatten();
    let chosen = options.find(|option| option["kind"] == wanted && option["optionId"].is_string());
    match chosen {
        Some(option) => json!({"outcome": "selected", "optionId": option["optionId"]}),
        None => json!({"outcome": "cancelled"}),
    }
}
