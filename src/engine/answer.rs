//! An answer that has to follow a schema: the one check of every surface. Vendors promise it, and do not always keep it.

use crate::base::schema;
use crate::model::error::{Failure, Kind};
use serde_json::Value;

/// So many characters of a wrong answer are quoted.
const LONGEST_QUOTE: usize = 200;

/// The JSON in an answer, as it was written and as it is.
///
/// # Errors
/// `Unreadable`, when there is none in it or it does not follow the schema.
pub fn formed<'a>(schema: &Value, answer: &'a str) -> Result<(&'a str, Value), Failure> {
    let unreadable = |why: String| {
        let quote: String = answer.chars().take(LONGEST_QUOTE).collect();
        Failure::new(Kind::Unreadable, format!("the answer is not what was asked for: {why}: {quote}"))
    };
    let (text, value) = schema::json_of(answer).ok_or_else(|| unreadable("it has no JSON".to_owned()))?;
    schema::check(schema, &value).map_err(unreadable)?;
    Ok((text, value))
}
