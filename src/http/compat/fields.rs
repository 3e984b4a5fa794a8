//! Reads the fields of a JSON object, and remembers which: what is not read has no effect, and is named.

use crate::http::faults::Fault;
use crate::task::words;
use serde_json::{Map, Value};

words! {
    /// What becomes of a field.
    Use {
        /// It has the effect that the vendor describes, as far as the backend has anything for it.
        Honoured = "honoured",
        /// Where the backend has nothing for it, it is asked for in words, and what comes of it is checked.
        Emulated = "emulated",
        /// It has no effect.
        Ignored = "ignored",
        /// What it asks for cannot be had, and what one would get instead is something else.
        Refused = "refused",
    }
}

/// The fields of an endpoint that the vendor describes, by name. Those that stand in no table are ignored.
pub type Table = &'static [(&'static str, Use)];

/// The fields of one object. A `null` is the same as nothing: clients write both.
pub(super) struct Fields<'a> {
    object: Option<&'a Map<String, Value>>,
    table: Table,
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, table: Table) -> Fields<'a> {
        Fields { object: value.as_object(), table, read: Vec::new() }
    }

    /// The field, whatever it is.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        let is_in_table = |(known, of)| known == name && of != Use::Ignored;
        debug_assert!(self.table.iter().copied().any(is_in_table), "{name} is read, and not in its table");
        self.read.push(name);
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// A field that is text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be a string"));
        self.get(name).map(|value| value.as_str().ok_or_else(invalid)).transpose()
    }

    /// A field that is true or false; false where it is missing.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be true or false"));
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(invalid))
    }

    /// A number of tokens. Some clients write it with a decimal point.
    pub(super) fn tokens(&mut self, name: &'static str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 1.0);
        match whole {
            // More than fits is no limit in practice; `as` saturates.
            Some(number) => Ok(Some(number as u32)),
            None => Err(Fault::invalid(name, format!("{name} must be a positive integer"))),
        }
    }

    /// How many answers are wanted: there is only ever one.
    pub(super) fn only_one(&mut self, name: &'static str) -> Result<(), Fault> {
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
    pub(super) fn ignored(self) -> Vec<String> {
        let fields = self.object.into_iter().flatten();
        fields
            .filter(|(name, value)| !value.is_null() && !self.read.contains(&name.as_str()))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
