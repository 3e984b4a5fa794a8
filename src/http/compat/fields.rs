//! Reads the fields of a request's body, and remembers which: what is not read has no effect, and is named.

use super::{FieldTable, Tool};
use crate::http::front::errors::Fault;
use serde_json::Value;

/// The fields of one body. A `null` is the same as nothing: clients write both.
pub(crate) struct Fields<'a> {
    body: &'a Value,
    table: FieldTable,
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(body: &'a Value, table: FieldTable) -> Fields<'a> {
        Fields { body, table, read: Vec::new() }
    }

    /// The field, whatever it is.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        debug_assert!(self.table.iter().any(|(_, names)| names.contains(&name)), "`{name}` is in no table");
        self.read.push(name);
        self.body.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be a string"));
        self.get(name).map(|value| value.as_str().ok_or_else(invalid)).transpose()
    }

    /// The model as the client names it; empty where it names none.
    pub(crate) fn model(&mut self) -> Result<String, Fault> {
        Ok(self.text("model")?.unwrap_or_default().to_owned())
    }

    /// A list that has to have something in it.
    pub(crate) fn list(&mut self, name: &'static str) -> Result<&'a [Value], Fault> {
        let list = self.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
        list.map(Vec::as_slice)
            .ok_or_else(|| Fault::invalid(name, format!("{name} must be a non-empty array")))
    }

    /// A field that is true or false; false where it is missing.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<bool, Fault> {
        let invalid = || Fault::invalid(name, format!("{name} must be true or false"));
        self.get(name).map_or(Ok(false), |value| value.as_bool().ok_or_else(invalid))
    }

    /// Whether the stream has to end with the usage.
    pub(crate) fn include_usage(&mut self) -> bool {
        self.get("stream_options").is_some_and(|options| options["include_usage"] == true)
    }

    /// A number of tokens. Some clients write it with a decimal point.
    pub(crate) fn tokens(&mut self, name: &'static str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 1.0) {
            // More than fits is no limit in practice; `as` saturates.
            Some(number) => Ok(Some(number as u32)),
            None => Err(Fault::invalid(name, format!("{name} must be a positive integer"))),
        }
    }

    /// How many answers are wanted: there is only ever one.
    pub(crate) fn one_answer(&mut self) -> Result<(), Fault> {
        match self.get("n").map(|value| value.as_f64()) {
            None | Some(Some(1.0)) => Ok(()),
            Some(Some(number)) if number > 1.0 => {
                Err(Fault::unsupported("n", "n must be 1: a run has one answer"))
            }
            Some(_) => Err(Fault::invalid("n", "n must be 1")),
        }
    }

    /// The tools of which `tool_choice` forces one; where it forces none, neither field has an effect.
    pub(crate) fn forced(
        &mut self,
        forced: fn(&Value, &Value) -> Result<Vec<Tool>, Fault>,
    ) -> Result<Vec<Tool>, Fault> {
        let tools = forced(&self.body["tool_choice"], &self.body["tools"])?;
        if !tools.is_empty() {
            self.read.extend(["tool_choice", "tools"]);
        }
        Ok(tools)
    }

    /// The names of the fields that say something and were not read.
    pub(crate) fn ignored(self) -> Vec<String> {
        let fields = self.body.as_object().into_iter().flatten();
        fields
            .filter(|(name, value)| !value.is_null() && !self.read.contains(&name.as_str()))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
