//! A prompt as the protocol has it: blocks of text, pictures and links.

use crate::base::json::{Value, json};
use crate::model::task::Task;

/// Agents take a first text that begins with one of these for a command, blanks before it or not.
const COMMAND_MARKS: [char; 2] = ['/', '$'];

/// A text of its own before the prompt, which says nothing and which no agent skips: a zero width space.
const NOTHING: &str = "\u{200b}";

/// What keeps a prompt that begins like a command from being one.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::backend) enum Guards {
    /// A text before it: only the first is looked at.
    Before,
    /// One before and one behind it: who looks at the first and who at the last is not known.
    Around,
}

/// The blocks of a task's prompt. Only what stands before the first picture can be a command.
pub(in crate::backend) fn blocks(task: &Task, guards: Guards, uri: &dyn Fn(&str) -> String) -> Vec<Value> {
    let images = task
        .images
        .iter()
        .map(|image| json!({"type": "image", "mimeType": image.mime, "data": image.base64()}));
    if task.interpret {
        return with_links(&task.prompt, uri).into_iter().chain(images).collect();
    }
    let is_like_command = begins_like_a_command(&task.prompt);
    let before = (is_like_command && task.images.is_empty()).then(|| text_block(NOTHING));
    let behind = (is_like_command && guards == Guards::Around).then(|| text_block(" "));
    images.chain(before).chain([text_block(&task.prompt)]).chain(behind).collect()
}

pub(super) fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub(in crate::backend) fn begins_like_a_command(prompt: &str) -> bool {
    // A byte order mark is a blank to agents in JavaScript, not to Rust.
    prompt.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with(COMMAND_MARKS)
}

/// A prompt in which `@path` is a link. The protocol leaves finding them to us; what such a file is, whether it may be
/// read, and that a name of nothing stays as it is, is the agent's own affair.
fn with_links(prompt: &str, uri: &dyn Fn(&str) -> String) -> Vec<Value> {
    let (mut blocks, mut rest, mut at_word) = (Vec::new(), prompt, true);
    let mut from = 0;
    while let Some(found) = rest[from..].chars().next() {
        if found != '@' || !at_word {
            (at_word, from) = (found.is_whitespace(), from + found.len_utf8());
            continue;
        }
        let (path, length) = path_at(&rest[from + 1..]);
        if !path.is_empty() {
            blocks.extend((from > 0).then(|| text_block(&rest[..from])));
            blocks.push(json!({"type": "resource_link", "uri": uri(&path), "name": path}));
            (rest, from) = (&rest[from + 1 + length..], 0);
        } else {
            from += 1;
        }
        at_word = false;
    }
    blocks.extend((!rest.is_empty() || blocks.is_empty()).then(|| text_block(rest)));
    blocks
}

/// The path that a text begins with, as gemini's terminal cuts it, and how long it is as written: a backslash makes the
/// next character a part of the path.
fn path_at(text: &str) -> (String, usize) {
    let mut path = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match (c, next) {
            ('\\', Some(next)) => {
                path.push(next);
                chars.next();
            }
            ('.', next) if next.is_none_or(char::is_whitespace) => return (path, at),
            (',' | ';' | '!' | '?' | '(' | ')' | '[' | ']' | '{' | '}', _) => return (path, at),
            (c, _) if c.is_whitespace() => return (path, at),
            (c, _) => path.push(c),
        }
    }
    (path, text.len())
}
