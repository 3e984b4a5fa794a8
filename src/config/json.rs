//! Strict JSON with positions: serde_json says whether a text is JSON, and this says where in it each member stands,
//! which serde_json forgets, and whether one stands there twice, which it forgives.

use super::path::Path;
use serde_json::Value;
use std::collections::BTreeSet;

/// Line and column of a character, both from 1.
pub(super) type Position = (usize, usize);

/// What is wrong with a text, and where.
pub(super) type Problem = (Position, String);

/// One member of an object.
pub(super) struct Member<'a> {
    /// The names that lead to it.
    pub(crate) path: Path,
    /// Where its name stands.
    pub(crate) key_at: Position,
    /// Where its value stands.
    pub(crate) value_at: Position,
    /// Its value as written.
    pub(crate) json: &'a str,
}

impl Member<'_> {
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(self.json).expect("it is a part of valid JSON")
    }
}

/// All members of the object that the text is, at every depth: an object before what is in it. Objects in lists are
/// not looked into.
pub(super) fn members(text: &str) -> Result<Vec<Member<'_>>, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| syntax(text, &error))?;
    let mut scanner = Scanner { text, at: 0, members: Vec::new() };
    scanner.space();
    if !value.is_object() {
        return Err((position(text, scanner.at), "expected an object: `{ ... }`".to_owned()));
    }
    scanner.object(&mut Path::new());
    let mut seen = BTreeSet::new();
    match scanner.members.iter().find(|member| !seen.insert(&member.path)) {
        Some(twice) => {
            Err((twice.key_at, format!("key `{}` stands here for the second time", twice.path.join("."))))
        }
        None => Ok(scanner.members),
    }
}

fn syntax(text: &str, error: &serde_json::Error) -> Problem {
    let sentence = error.to_string();
    let reason = sentence.rsplit_once(" at line ").map_or(sentence.as_str(), |(reason, _)| reason);
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // serde_json counts bytes, from 1; at the end of a line it says 0 on the next
    let mut offset = (line + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    (position(text, offset), format!("not valid JSON: {reason}"))
}

fn position(text: &str, offset: usize) -> Position {
    let before = &text[..offset];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Walks over text that is known to be valid JSON, byte by byte.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    members: Vec<Member<'a>>,
}

impl<'a> Scanner<'a> {
    /// From `{` to behind its `}`.
    fn object(&mut self, path: &mut Path) {
        self.at += 1;
        loop {
            self.space();
            match self.byte() {
                b'"' => self.member(path),
                b',' => self.at += 1,
                _ => break,
            }
        }
        self.at += 1;
    }

    fn member(&mut self, path: &mut Path) {
        let key_at = position(self.text, self.at);
        let key = self.string();
        path.push(serde_json::from_str(key).expect("it is a string of valid JSON"));
        self.space();
        self.at += 1; // the colon
        self.space();
        let start = self.at;
        let value_at = position(self.text, start);
        let index = self.members.len();
        self.members.push(Member { path: path.clone(), key_at, value_at, json: "" });
        match self.byte() {
            b'{' => self.object(path),
            _ => self.skip(),
        }
        self.members[index].json = &self.text[start..self.at];
        path.pop();
    }

    /// Past a value that is no object.
    fn skip(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.byte() {
                b'"' => _ = self.string(),
                b',' | b'}' | b']' if depth == 0 => return,
                b'[' | b'{' => (depth, self.at) = (depth + 1, self.at + 1),
                b']' | b'}' => (depth, self.at) = (depth - 1, self.at + 1),
                _ if depth == 0 && self.byte().is_ascii_whitespace() => return,
                _ => self.at += 1,
            }
        }
    }

    /// Past a string, which is returned with its quotes.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        while self.byte() != b'"' {
            self.at += if self.byte() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        &self.text[start..self.at]
    }

    fn space(&mut self) {
        while self.text[self.at..].starts_with([' ', '\t', '\n', '\r']) {
            self.at += 1;
        }
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }
}
