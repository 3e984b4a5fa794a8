//! Strict JSON with positions: where in a text each member stands, which serde_json forgets, and whether one stands there
//! twice, which it forgives.

use super::path::Path;
use crate::base::json;
use serde_json::Value;
use serde_json::value::RawValue;
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
    if !value.is_object() {
        let start = text.len() - text.trim_start().len();
        return Err((position(text, start), "expected an object: `{ ... }`".to_owned()));
    }
    let (mut members, mut seen) = (Vec::new(), BTreeSet::new());
    collect(text, text, &mut Path::new(), &mut members);
    match members.iter().find(|member| !seen.insert(&member.path)) {
        Some(twice) => {
            Err((twice.key_at, format!("key `{}` stands here for the second time", twice.path.join("."))))
        }
        None => Ok(members),
    }
}

/// Collects the members of an object that is a part of the text.
fn collect<'t>(text: &'t str, object: &'t str, path: &mut Path, members: &mut Vec<Member<'t>>) {
    let offset = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
    let mut end = offset(object);
    let found =
        json::members::<&RawValue>(object.as_bytes(), |_| true).expect("it is an object of valid JSON");
    for (name, value) in found {
        let json::Member::Known(value) = value else { continue };
        let json = value.get();
        // The next quote behind the value before is that of the name.
        let key = end + text[end..].find('"').expect("a member has a name");
        path.push(name);
        let (key_at, value_at) = (position(text, key), position(text, offset(json)));
        members.push(Member { path: path.clone(), key_at, value_at, json });
        if json.starts_with('{') {
            collect(text, json, path, members);
        }
        path.pop();
        end = offset(json) + json.len();
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
