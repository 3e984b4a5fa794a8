//! Checks a JSON value against a JSON schema, and finds the JSON in an answer. A subset: what structured answers use.
//! `pattern` is not in it (there is no regular expression here), and `format` is a remark, as the standard allows.

use super::json;
use crate::base::collect::inserted;
use serde_json::{Map, Value};
use std::cmp::Ordering::{self, Equal, Greater, Less};
use std::collections::BTreeSet;

/// How deep schema and value are followed. serde_json reads no more than 128 levels.
const DEEPEST: usize = 100;
/// How much a check looks at. A hostile schema, of references to references, would never end.
const MOST_STEPS: usize = 1_000_000;

const TOO_MUCH: &str = "the schema goes too deep, or the value is too large for it";

/// Whether a value follows a schema.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    Checker { root: schema, steps: 0 }.check(schema, value, &mut Vec::new(), 0)
}

struct Checker<'a> {
    /// What references are relative to.
    root: &'a Value,
    steps: usize,
}

/// A step into a value.
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

type Path<'a> = Vec<Step<'a>>;

fn wrong(path: &[Step], what: &str) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Member(name) => format!(".{name}"),
        Step::Item(index) => format!("[{index}]"),
    });
    format!("at ${}: {what}", steps.collect::<String>())
}

impl<'a> Checker<'a> {
    fn check(
        &mut self,
        schema: &'a Value,
        value: &'a Value,
        path: &mut Path<'a>,
        depth: usize,
    ) -> Result<(), String> {
        self.steps += 1 + schema["enum"].as_array().map_or(0, Vec::len);
        if depth > DEEPEST || self.steps > MOST_STEPS {
            return Err(wrong(path, TOO_MUCH));
        }
        let members = match schema {
            Value::Object(members) => members,
            Value::Bool(false) => return Err(wrong(path, "expected nothing here")),
            Value::Bool(true) => return Ok(()),
            _ => return Err(wrong(path, "the schema is neither an object nor true or false")),
        };
        if let Some(target) = members.get("$ref") {
            let schema = self
                .target(target)
                .ok_or_else(|| wrong(path, &format!("the schema refers to {target}, which is not in it")))?;
            self.check(schema, value, path, depth + 1)?;
        }
        shape(members, value).map_err(|expected| wrong(path, &expected))?;
        self.combined(members, value, path, depth)?;
        match value {
            Value::Object(object) => self.object(members, object, path, depth),
            Value::Array(items) => self.array(members, items, path, depth),
            _ => Ok(()),
        }
    }

    /// What a local reference means.
    fn target(&self, target: &Value) -> Option<&'a Value> {
        self.root.pointer(target.as_str()?.strip_prefix('#')?)
    }

    fn combined(
        &mut self,
        schema: &'a Map<String, Value>,
        value: &'a Value,
        path: &mut Path<'a>,
        depth: usize,
    ) -> Result<(), String> {
        let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
        for schema in list("allOf").into_iter().flatten() {
            self.check(schema, value, path, depth + 1)?;
        }
        if let Some(schemas) = list("anyOf") {
            let mut first = None;
            if !schemas.iter().any(|schema| self.fits(schema, value, path, depth, &mut first)) {
                return Err(wrong(
                    path,
                    &format!("expected one of {} schemas{}", schemas.len(), because(first)),
                ));
            }
        }
        if let Some(schemas) = list("oneOf") {
            let mut first = None;
            let fitting =
                schemas.iter().filter(|schema| self.fits(schema, value, path, depth, &mut first)).count();
            if fitting != 1 {
                let why = if fitting == 0 { because(first) } else { String::new() };
                let count = schemas.len();
                return Err(wrong(
                    path,
                    &format!("expected exactly one of {count} schemas, found {fitting}{why}"),
                ));
            }
        }
        if schema.get("not").is_some_and(|schema| self.fits(schema, value, path, depth, &mut None)) {
            return Err(wrong(path, "expected anything but what `not` says"));
        }
        // A check that was given up says nothing about `not` and its like.
        if self.steps > MOST_STEPS { Err(wrong(path, TOO_MUCH)) } else { Ok(()) }
    }

    fn fits(
        &mut self,
        schema: &'a Value,
        value: &'a Value,
        path: &mut Path<'a>,
        depth: usize,
        first: &mut Option<String>,
    ) -> bool {
        let length = path.len();
        let result = self.check(schema, value, path, depth + 1);
        path.truncate(length);
        match result {
            Ok(()) => true,
            Err(why) => {
                first.get_or_insert(why);
                false
            }
        }
    }

    fn object(
        &mut self,
        schema: &'a Map<String, Value>,
        object: &'a Map<String, Value>,
        path: &mut Path<'a>,
        depth: usize,
    ) -> Result<(), String> {
        for name in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !object.contains_key(name) {
                return Err(wrong(path, &format!("expected a property `{name}`")));
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        // Which names `patternProperties` takes is not known here.
        let others = schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties"));
        for (name, value) in object {
            let known = properties.and_then(|properties| properties.get(name));
            path.push(Step::Member(name));
            match (known, others) {
                (None, Some(Value::Bool(false))) => {
                    return Err(wrong(path, "expected no property of this name"));
                }
                (Some(schema), _) | (None, Some(schema)) => self.check(schema, value, path, depth + 1)?,
                (None, None) => {}
            }
            path.pop();
        }
        Ok(())
    }

    fn array(
        &mut self,
        schema: &'a Map<String, Value>,
        items: &'a [Value],
        path: &mut Path<'a>,
        depth: usize,
    ) -> Result<(), String> {
        // Before 2020 a list of schemas stood in `items`.
        let (first, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            (None, Some(Value::Array(first))) => (Some(first), None),
            (first, rest) => (first.and_then(Value::as_array), rest),
        };
        for (index, item) in items.iter().enumerate() {
            let Some(schema) = first.and_then(|first| first.get(index)).or(rest) else { break };
            path.push(Step::Item(index));
            self.check(schema, item, path, depth + 1)?;
            path.pop();
        }
        Ok(())
    }
}

fn because(why: Option<String>) -> String {
    why.map(|why| format!(" (the first: {why})")).unwrap_or_default()
}

/// Everything that a value shows without looking into it; else what was expected.
fn shape(schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    if let Some(kind) = schema.get("type") {
        let kinds: Vec<&str> = match kind {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        if !kinds.iter().any(|kind| is_of_kind(value, kind)) {
            return Err(format!("expected {}, found {}", kinds.join(" or "), kind_of(value)));
        }
    }
    if let Some(only) = schema.get("const").filter(|only| !same(only, value)) {
        return Err(format!("expected {only}, found {value}"));
    }
    let choices = schema.get("enum").and_then(Value::as_array);
    if choices.is_some_and(|choices| !choices.iter().any(|choice| same(choice, value))) {
        return Err(format!("expected one of {}, found {value}", Value::from(choices.cloned())));
    }
    let length = match value {
        Value::String(text) => Some(("Length", text.chars().count())),
        Value::Array(items) => Some(("Items", items.len())),
        Value::Object(members) => Some(("Properties", members.len())),
        _ => None,
    };
    if let Some((what, length)) = length {
        let bound = |which: &str| schema.get(&format!("{which}{what}")).and_then(Value::as_f64);
        let length = length as f64;
        if bound("min").is_some_and(|least| length < least) || bound("max").is_some_and(|most| length > most)
        {
            return Err(format!("min{what} or max{what} does not allow {length}"));
        }
    }
    match value {
        Value::Number(_) => number(schema, value),
        Value::Array(items) if schema.get("uniqueItems") == Some(&Value::Bool(true)) => {
            let again = repeated(items);
            again.map_or(Ok(()), |item| Err(format!("expected no item twice, found {item} again")))
        }
        _ => Ok(()),
    }
}

fn number(schema: &Map<String, Value>, value: &Value) -> Result<(), String> {
    for (keyword, refused) in [
        ("minimum", &[Some(Less)][..]),
        ("maximum", &[Some(Greater)]),
        ("exclusiveMinimum", &[Some(Less), Some(Equal)]),
        ("exclusiveMaximum", &[Some(Greater), Some(Equal)]),
    ] {
        let Some(bound) = schema.get(keyword).filter(|bound| bound.is_number()) else { continue };
        if refused.contains(&compare(value, bound)) {
            return Err(format!("{keyword} {bound} does not allow {value}"));
        }
    }
    let Some(step) = schema.get("multipleOf") else { return Ok(()) };
    let is_multiple = match (whole(value), whole(step)) {
        (_, Some(0)) => true,
        (Some(value), Some(step)) => value % step == 0,
        _ => {
            let times = value.as_f64().unwrap_or(0.0) / step.as_f64().unwrap_or(1.0);
            // 0.3 is a multiple of 0.1, whatever binary fractions say.
            (times - times.round()).abs() < 1e-9 * times.abs().max(1.0)
        }
    };
    if is_multiple { Ok(()) } else { Err(format!("expected a multiple of {step}, found {value}")) }
}

/// A number without a fraction, `1.0` too.
fn whole(value: &Value) -> Option<i128> {
    let float = || {
        value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e18).map(|float| float as i128)
    };
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).or_else(float)
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Whether two values are the same; numbers by what they are worth.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => compare(a, b) == Some(Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The first item that is the same as an earlier one.
fn repeated(items: &[Value]) -> Option<&Value> {
    let mut seen = BTreeSet::new();
    items.iter().find(|item| !seen.insert(plain(item).to_string()))
}

/// A value with its numbers by what they are worth: `1.0` is `1`.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(_) => match whole(value).and_then(|whole| i64::try_from(whole).ok()) {
            Some(whole) => Value::from(whole),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            Value::Object(inserted(members.iter().map(|(name, value)| (name.clone(), plain(value)))))
        }
        other => other.clone(),
    }
}

fn is_of_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        kind => kind_of(value) == kind,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The JSON in an answer, as it was written and as it is: the whole answer, else what is in a code fence, else the longest
/// object or list in the prose around it.
pub fn json_of(answer: &str) -> Option<(&str, Value)> {
    let whole = |text: &'_ str| json::from_str::<Value>(text.trim()).ok();
    if let Some(value) = whole(answer) {
        return Some((answer.trim(), value));
    }
    // Behind each fence, what stands up to the next; the first line is the language.
    let fenced = answer.split("```").skip(1).step_by(2);
    let inner = fenced.map(|block| block.split_once('\n').map_or(block, |(_, inner)| inner));
    if let Some(found) = inner.filter_map(|text| Some((text.trim(), whole(text)?))).next() {
        return Some(found);
    }
    /// An answer has some braces in its prose, not thousands.
    const MOST_BEGINNINGS: usize = 100;
    let mended = json::mend(answer);
    let (mut best, mut at): (Option<(&str, Value)>, usize) = (None, 0);
    for _ in 0..MOST_BEGINNINGS {
        let Some(begin) = answer[at..].find(['{', '[']).map(|found| at + found) else { break };
        let mut values = serde_json::Deserializer::from_str(&mended[begin..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let text = &answer[begin..begin + values.byte_offset()];
                at = begin + text.len();
                if best.as_ref().is_none_or(|(longest, _)| text.len() > longest.len()) {
                    best = Some((text, value));
                }
            }
            _ => at = begin + 1,
        }
    }
    best
}
