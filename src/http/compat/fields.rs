//! Reads the fields of a JSON object, and remembers which: what is not read has no effect, and is named.

use super::Effect::{self, Emulated, Honoured, Refused};
use crate::http::front::errors::Fault;
use serde_json::{Map, Value};

/// The fields of `/chat/completions` that have an effect.
pub(crate) const OF_CHAT: &[(&str, Effect)] = &[
    ("messages", Honoured),
    ("model", Honoured),
    ("stream", Honoured),
    ("stream_options", Honoured),
    ("max_completion_tokens", Honoured),
    ("max_tokens", Honoured),
    ("reasoning_effort", Honoured),
    ("response_format", Emulated),
    ("tools", Emulated),
    ("tool_choice", Emulated),
    ("n", Refused),
    ("function_call", Refused),
];

pub(crate) const OF_COMPLETIONS: &[(&str, Effect)] = &[
    ("prompt", Honoured),
    ("model", Honoured),
    ("stream", Honoured),
    ("stream_options", Honoured),
    ("max_tokens", Honoured),
    ("n", Refused),
];

pub(crate) const OF_RESPONSES: &[(&str, Effect)] = &[
    ("input", Honoured),
    ("instructions", Honoured),
    ("model", Honoured),
    ("stream", Honoured),
    ("previous_response_id", Honoured),
    ("store", Honoured),
    ("max_output_tokens", Honoured),
    ("reasoning", Honoured),
    ("text", Emulated),
    ("tools", Emulated),
    ("tool_choice", Emulated),
    ("background", Refused),
    ("conversation", Refused),
    ("prompt", Refused),
];

pub(crate) const OF_MESSAGES: &[(&str, Effect)] = &[
    ("messages", Honoured),
    ("system", Honoured),
    ("model", Honoured),
    ("stream", Honoured),
    ("max_tokens", Honoured),
    ("output_config", Emulated),
    ("output_format", Emulated),
    ("tools", Emulated),
    ("tool_choice", Emulated),
];

/// The fields of one object. A `null` is the same as nothing: clients write both.
pub(crate) struct Fields<'a> {
    object: Option<&'a Map<String, Value>>,
    known: &'static [(&'static str, Effect)],
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// `known`: those that may be read.
    pub(crate) fn of(value: &'a Value, known: &'static [(&'static str, Effect)]) -> Fields<'a> {
        Fields { object: value.as_object(), known, read: Vec::new() }
    }

    /// The field, whatever it is.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        debug_assert!(self.known.iter().any(|(known, _)| *known == name), "`{name}` is in no table");
        self.read.push(name);
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// A field that is text.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be a string"));
        self.get(name).map(|value| value.as_str().ok_or_else(invalid)).transpose()
    }

    /// A field that is true or false; false where it is missing.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be true or false"));
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(invalid))
    }

    /// A number of tokens. Some clients write it with a decimal point.
    pub(crate) fn tokens(&mut self, name: &'static str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 1.0);
        match whole {
            // More than fits is no limit in practice; `as` saturates.
            Some(number) => Ok(Some(number as u32)),
            None => Err(Fault::invalid(name, format!("{name} must be a positive integer"))),
        }
    }

    /// How many answers are wanted: there is only ever one.
    pub(crate) fn only_one(&mut self, name: &'static str) -> Result<(), Fault> {
        match self.get(name) {
            None => Ok(()),
            Some(value) if value.as_f64() == Some(1.0) => Ok(()),
            Some(value) if value.as_f64().is_some_and(|number| number > 1.0) => {
                Err(Fault::unsupported(name, format!("{name} must be 1: a run has one answer")))
            }
            Some(_) => Err(Fault::invalid(name, format!("{name} must be 1"))),
        }
    }

    /// The names of the fields that say something and were not read.
    pub(crate) fn ignored(self) -> Vec<String> {
        let fields = self.object.into_iter().flatten();
        fields
            .filter(|(name, value)| !value.is_null() && !self.read.contains(&name.as_str()))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
