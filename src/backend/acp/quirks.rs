//! What differs from one agent to the next in a protocol that all of them speak.

use super::{failure, tools};
use crate::backend::Ended;
use crate::base::json::{Value, text};
use crate::model::error::Failure;

/// One agent. Where it has nothing of its own it does as the protocol says.
pub(in crate::backend) trait Quirks: Send {
    /// What sentences call it.
    fn name(&self) -> &str;

    /// It has said who it is: whether that is good enough.
    fn greeted(&self, _info: &Value) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether several sessions can be begun at once in one process.
    fn begins_several(&self) -> bool {
        true
    }

    /// What a line that is no message means for the run, where it means something.
    fn overheard(&self, _line: &str) -> Option<Failure> {
        None
    }

    /// A piece of the answer that is the agent's own note about itself: its stage and what is told instead.
    fn note(&self, update: &Value) -> Option<(&'static str, String)> {
        note(update)
    }

    /// A piece of the model's thinking, without what the agent adds.
    fn thought<'a>(&self, piece: &'a str) -> &'a str {
        piece
    }

    fn tool_name<'a>(&self, call: &'a Value) -> &'a str {
        tools::name(call)
    }

    /// A tool has answered this.
    fn tool_ended(&mut self, _output: &str) {}

    /// What an error of the protocol means.
    fn failed(&self, error: &Value) -> Failure {
        failure::of_error(error)
    }

    /// What it means that the program has ended.
    fn exited(&self, ended: &Ended) -> Failure {
        failure::of_end(ended)
    }

    /// What the end of a turn means, where it means something else than in the protocol. `no_model`: none has answered.
    fn ended(&self, _reason: &str, _no_model: bool) -> Option<Failure> {
        None
    }

    /// What the reader of a good answer has to know.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An agent without anything of its own: one that the configuration declares.
pub(super) struct Plain(pub(super) String);

impl Quirks for Plain {
    fn name(&self) -> &str {
        &self.0
    }
}

/// The stage of a note that the agent tries again, and the answer begins anew.
pub(super) const RETRY: &str = "retry";

/// What some agents put into the answer and is none, as pieces of its own: marked as such, or without an id where those of
/// models have one.
fn note(update: &Value) -> Option<(&'static str, String)> {
    let (piece, ours) = (text(&update["content"]["text"]), &update["_meta"]["claudeCode"]);
    let sentence = piece.trim();
    let is_retry = sentence.starts_with("Info: ") && sentence.ends_with("Retrying...");
    let is_warning = ["Warning: ", "Config warning: "].iter().any(|mark| piece.starts_with(mark))
        && piece.ends_with("\n\n");
    let is_notice =
        piece.starts_with("Model metadata for `") || (is_warning && piece.contains("Model metadata for `"));
    let stage = match () {
        () if ours["kind"] == "informational" => "notice",
        () if update["messageId"].is_string() => return None,
        () if is_retry => RETRY,
        () if is_notice => "notice",
        () if is_warning => "warning",
        () => return None,
    };
    Some((stage, sentence.to_owned()))
}
