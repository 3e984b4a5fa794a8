//! An answer that is there as a whole: how long it may be, and whether it follows a schema. Every surface has its answers
//! checked here. Vendors promise to follow a schema, and do not always do it.

use crate::base::schema;
use crate::model::error::{Error, Failure, Kind};
use crate::model::event::Event;
use serde_json::Value;
use std::io;

/// The longest answer that is kept until its end, in bytes.
const MOST_ANSWER: usize = 64 << 20;

/// So many characters of a wrong answer are quoted.
const LONGEST_QUOTE: usize = 200;

/// Keeps an answer until its end.
#[derive(Default)]
pub(crate) struct Collector {
    /// The answer so far; nothing of one that is too long.
    pub(crate) text: String,
    is_full: bool,
}

impl Collector {
    /// Does to the answer what this means for it.
    ///
    /// # Errors
    /// When it is too long. A listener that returns that stops its run, and `Engine::run` says why.
    pub(crate) fn add(&mut self, event: &Event) -> io::Result<()> {
        if !self.is_full {
            event.add_to(&mut self.text);
            self.is_full = self.text.len() > MOST_ANSWER;
        }
        if self.is_full {
            // Half an answer could be taken for one.
            self.text = String::new();
            return Err(io::Error::other(Error::AnswerTooLong));
        }
        Ok(())
    }
}

/// The JSON in an answer, as it was written and as it is.
///
/// # Errors
/// `Unreadable`, when there is none in it or it does not follow the schema.
pub(crate) fn formed<'a>(schema: &Value, answer: &'a str) -> Result<(&'a str, Value), Failure> {
    let unreadable = |why: String| {
        let quote: String = answer.chars().take(LONGEST_QUOTE).collect();
        Failure::new(Kind::Unreadable, format!("the answer is not what was asked for: {why}: {quote}"))
    };
    let (text, value) = schema::json_of(answer).ok_or_else(|| unreadable("it has no JSON".to_owned()))?;
    schema::check(schema, &value).map_err(unreadable)?;
    Ok((text, value))
}
