//! What is gemini's own in the Agent Client Protocol.
//!
//! Gemini tells failures as successes: an answer that broke off, was empty or blocked ends with `end_turn`, and only the
//! missing usage gives it away. Before that it may have tried again: then the pieces of the answer come again, without
//! any mark. They are told as they come: what repeats itself may be what the model wanted to say.

use super::{OLDEST, failure};
use crate::backend::acp::Quirks;
use crate::backend::{Ended, too_old};
use crate::base::json::{Value, text};
use crate::model::error::{Failure, Kind};
use crate::model::task::Task;

/// What gemini answers of a command that outlives its tool's use.
const IN_BACKGROUND: &str = "Command moved to background";

/// What gemini prints, on standard output and not as JSON, when it wants a person to log in.
const LOGIN_PAGE: &str = "Please visit the following URL to authorize";

pub(super) struct GeminiQuirks {
    max_turns: Option<u32>,
    /// Commands that went on in the background.
    in_background: u32,
    /// It has these only where it trusts the folder, and drops them in silence where it does not.
    has_servers: bool,
}

impl GeminiQuirks {
    pub(super) fn new(task: &Task) -> GeminiQuirks {
        GeminiQuirks { max_turns: task.max_turns, in_background: 0, has_servers: !task.mcp.is_empty() }
    }
}

impl Quirks for GeminiQuirks {
    fn name(&self) -> &str {
        "gemini"
    }

    fn greeted(&self, info: &Value) -> Result<(), Failure> {
        too_old("gemini", text(&info["version"]), OLDEST).map_or(Ok(()), Err)
    }

    /// Each waits for a lock that the others hold, every time twice as long.
    fn begins_several(&self) -> bool {
        false
    }

    fn overheard(&self, line: &str) -> Option<Failure> {
        let sentence = "gemini is not logged in: run `gemini` in a terminal, or set GEMINI_API_KEY";
        (line.contains(LOGIN_PAGE) && !line.starts_with('{')).then(|| Failure::new(Kind::Login, sentence))
    }

    /// Gemini's own note about itself, in the middle of the answer.
    fn note(&self, update: &Value) -> Option<(&'static str, String)> {
        match text(&update["content"]["text"]).strip_prefix("[MODE_UPDATE] ")? {
            mode @ ("default" | "autoEdit" | "yolo" | "plan") => {
                Some(("mode", format!("gemini is in mode {mode} now")))
            }
            _ => None,
        }
    }

    /// A thought without a headline has an empty one.
    fn thought<'a>(&self, piece: &'a str) -> &'a str {
        piece.strip_prefix("****\n").unwrap_or(piece)
    }

    /// Only the id of a use carries its tool's name: `write_file__...` when the model uses it, `read_many_files-TIME-NUMBER`
    /// when gemini itself does.
    fn tool_name<'a>(&self, call: &'a Value) -> &'a str {
        let id = text(&call["toolCallId"]);
        let by_model = id.split_once("__").map(|(name, _)| name);
        let by_gemini = || id.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        match by_model.unwrap_or_else(by_gemini) {
            name if name.is_empty() || name == id => text(&call["kind"]),
            name => name,
        }
    }

    fn tool_ended(&mut self, output: &str) {
        self.in_background += u32::from(output.starts_with(IN_BACKGROUND));
    }

    fn failed(&self, error: &Value) -> Failure {
        failure::of_error(error)
    }

    fn exited(&self, ended: &Ended) -> Failure {
        failure::of_end(ended)
    }

    fn ended(&self, reason: &str, no_model: bool) -> Option<Failure> {
        let (kind, sentence) = match reason {
            "end_turn" if no_model => (
                Kind::Unreadable,
                "gemini gave up: the model's answer broke off, was empty or was blocked (gemini does not say which)".to_owned(),
            ),
            "max_tokens" => {
                (Kind::ContextTooLong, "the prompt is too long: it exceeds the context window of the model".to_owned())
            }
            "max_turn_requests" => (
                Kind::TurnLimit,
                match self.max_turns {
                    Some(turns) => format!("the limit of {turns} turns was used up"),
                    None => "gemini stopped the model, which repeated itself or used up gemini's own turn limit".to_owned(),
                },
            ),
            // It goes on after a no.
            "cancelled" => (Kind::Cancelled, "gemini was cancelled".to_owned()),
            _ => return None,
        };
        Some(Failure::new(kind, sentence))
    }

    fn warnings(&self) -> Vec<String> {
        // They do not wake the model, and the end of the run ends them. Which of them still run it does not say.
        let background = match self.in_background {
            0 => None,
            commands => {
                Some(format!("{commands} commands went to the background: what still runs of them was ended"))
            }
        };
        let servers = self.has_servers.then(|| {
            "gemini has the MCP servers of this run only where it trusts the folder, and does not say whether it does".to_owned()
        });
        background.into_iter().chain(servers).collect()
    }
}
