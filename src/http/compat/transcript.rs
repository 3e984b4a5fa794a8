//! A conversation as one prompt. Vendors' programs take one prompt a run, while these clients send the whole history with
//! each request. One turn is sent as it is; a history becomes a transcript, in which nothing is left out.

use super::{Chat, Part, Role, Turn};
use crate::http::front::errors::Fault;
use crate::model::fields::Text;
use crate::model::task::Image;
use serde_json::Value;
use std::borrow::Cow;

/// What goes to a backend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rendered {
    /// The system prompt.
    pub system: Option<String>,
    pub prompt: Text,
    /// The pictures that go with it, as the transcript counts them.
    pub images: Vec<Image>,
}

/// A conversation as system prompt, prompt and pictures.
pub fn render(chat: &Chat) -> Rendered {
    let (system, prompt) = texts(chat);
    Rendered { system, prompt, images: images(chat).cloned().collect() }
}

fn images(chat: &Chat) -> impl Iterator<Item = &Image> {
    let parts = chat.turns.iter().flat_map(|turn| &turn.parts);
    parts.filter_map(|part| match part {
        Part::Image(image) => Some(image),
        _ => None,
    })
}

/// The system prompt and the prompt.
fn texts(chat: &Chat) -> (Option<String>, Text) {
    let system = Some(chat.system.join("\n\n")).filter(|system| !system.is_empty());
    // Where there is only one picture, or none, it is clear which one is meant; but no backend takes a prompt of nothing.
    let is_image = |part: &Part| matches!(part, Part::Image(_));
    let has_words = chat.turns.iter().flat_map(|turn| &turn.parts).any(|part| !is_image(part));
    let marks = chat.turns.len() > 1 || images(chat).nth(1).is_some() || !has_words;
    let mut writer = Writer { fence: fence(chat), images: 0, marks };
    match chat.turns.as_slice() {
        // Some ask with system text alone.
        [] => (None, system.unwrap_or_default().into()),
        [turn] if turn.role == Role::User && !turn.parts.iter().any(is_of_tool) => {
            if let [Part::Text(text)] = &turn.parts[..] {
                // Not copied: it may be long.
                return (system, text.clone());
            }
            let pieces: Vec<Cow<'_, str>> = turn.parts.iter().filter_map(|part| writer.part(part)).collect();
            (system, pieces.join("\n\n").into())
        }
        turns => (system, writer.history(turns).into()),
    }
}

/// Calls of tools and their results have lines of their own; whatever else is said stands below its speaker.
fn is_of_tool(part: &Part) -> bool {
    matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. })
}

/// The conversation with its estimate, which counts the tools that the client offers too.
pub(crate) fn estimated(mut chat: Chat, tools: &Value, param: &'static str) -> Result<Chat, Fault> {
    /// What a picture of a usual size costs.
    const PICTURE: u64 = 1500;
    /// What is around a request.
    const FRAME: u64 = 4;
    let (system, prompt) = texts(&chat);
    let pictures = images(&chat).count() as u64;
    if prompt.trim().is_empty() && pictures == 0 {
        return Err(Fault::invalid(param, format!("{param} has no text")));
    }
    let tools = if tools.is_null() { 0 } else { tokens(&tools.to_string()) };
    let texts = tokens(&prompt) + system.as_deref().map_or(0, tokens);
    chat.estimate = FRAME + texts + tools + PICTURE * pictures;
    Ok(chat)
}

/// About how many tokens a text has: four ASCII characters are one, and others (mostly Chinese, Japanese, Korean) one each.
fn tokens(text: &str) -> u64 {
    // Each begins with such a byte.
    let others = text.bytes().filter(|byte| *byte >= 0xc0).count() as u64;
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    ascii.div_ceil(4) + others
}

/// A run of `=` that is longer than all in what is said, so that no prompt can forge a heading.
fn fence(chat: &Chat) -> String {
    let longest = chat
        .turns
        .iter()
        .flat_map(|turn| &turn.parts)
        .filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            Part::Document { text, .. } | Part::ToolResult { text, .. } => Some(text),
            Part::ToolCall { arguments, .. } => Some(arguments),
            Part::Image(_) => None,
        })
        .flat_map(|text| text.as_bytes().split(|byte| *byte != b'=').map(<[u8]>::len))
        .max();
    "=".repeat(longest.map_or(3, |length| length.max(2) + 1))
}

struct Writer {
    fence: String,
    /// How many pictures there were so far.
    images: usize,
    /// Where a picture stood is marked.
    marks: bool,
}

impl Writer {
    fn history(&mut self, turns: &[Turn]) -> String {
        let (last, earlier) = turns.split_last().expect("the caller has matched the empty conversation");
        let mut written: Vec<Cow<'_, str>> = vec!["This is our conversation so far.".into()];
        for turn in earlier {
            self.turn(turn, "", &mut written);
        }
        let (when, order) = match (last.role, last.parts.last()) {
            // The beginning of an answer that the client wants to have completed.
            (Role::Assistant, _) => {
                ("", Some("go on exactly where the assistant stopped, and repeat nothing"))
            }
            (Role::User, Some(Part::ToolResult { .. })) => (", now", Some("go on as the assistant")),
            (Role::User, _) => (", now", None),
        };
        self.turn(last, when, &mut written);
        written.extend(order.map(|order| self.line(order).into()));
        written.join("\n\n")
    }

    fn turn<'t>(&mut self, turn: &'t Turn, when: &str, written: &mut Vec<Cow<'t, str>>) {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let name = turn.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let mut is_headed = false;
        for part in &turn.parts {
            if !is_of_tool(part) && !is_headed {
                written.push(self.line(&format!("{role}{name}{when}")).into());
            }
            is_headed = !is_of_tool(part);
            written.extend(self.part(part));
        }
    }

    fn line(&self, words: &str) -> String {
        let one_line: String =
            words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        format!("{0} {one_line} {0}", self.fence)
    }

    fn part<'t>(&mut self, part: &'t Part) -> Option<Cow<'t, str>> {
        let written = match part {
            Part::Text(text) => return Some((&**text).into()),
            Part::Image(_) => {
                self.images += 1;
                return self.marks.then(|| format!("[image {}]", self.images).into());
            }
            Part::Document { name, text } => {
                let (begin, end) = (format!("document {name}"), format!("end of document {name}"));
                format!("{}\n{text}\n{}", self.line(&begin), self.line(&end))
            }
            Part::ToolCall { id, name, arguments } => {
                format!("{}\n{arguments}", self.line(&format!("the assistant calls tool {name} ({id})")))
            }
            Part::ToolResult { id, text, is_error } => {
                let what = if *is_error { "error" } else { "result" };
                format!("{}\n{text}", self.line(&format!("{what} of tool call {id}")))
            }
        };
        Some(written.into())
    }
}
