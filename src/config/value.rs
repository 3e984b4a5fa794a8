//! The types that a key can have: how a value is checked, read from text, and turned into its Rust type.

use crate::base::collect::inserted;
use crate::base::json::{self, json};
use crate::base::text::nearest;
use crate::base::words::words;
use crate::model::error::Kind;
use crate::model::task::{Approval, OutputFormat, Sandbox, ToolUse};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What a key takes. Its `Display` ends the sentence "expected ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Yes or no.
    Flag,
    /// A whole number within bounds.
    Number {
        /// The smallest one.
        min: u64,
        /// The largest one.
        max: u64,
    },
    Text,
    Word(&'static [&'static str]),
    /// One of these words, or the empty text for none of them.
    WordOrNone(&'static [&'static str]),
    /// A list of texts.
    List,
    /// `all`, or a list of texts.
    AllOrList,
    /// Names with a text each.
    Map,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted =
            |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        match self {
            Type::Flag => f.write_str("`true` or `false`"),
            Type::Number { min, max: u64::MAX } => write!(f, "a whole number from {min}"),
            Type::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Type::Text => f.write_str("a text"),
            Type::Word(words) => write!(f, "one of {}", quoted(words)),
            Type::WordOrNone(words) => write!(f, "an empty text or one of {}", quoted(words)),
            Type::List => f.write_str("a list of texts"),
            Type::AllOrList => f.write_str("`all` or a list of texts"),
            Type::Map => f.write_str("an object of texts"),
        }
    }
}

impl Type {
    /// The value in its one form, where it is of this type; the sentence that says why not otherwise.
    pub(super) fn check(&self, value: &Value) -> Result<Value, String> {
        let fits = match (self, value) {
            (Type::Flag, Value::Bool(_)) | (Type::Text, Value::String(_)) => true,
            (Type::Number { min, max }, Value::Number(number)) => {
                number.as_u64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            (Type::WordOrNone(_), Value::String(word)) if word.is_empty() => true,
            (Type::Word(words) | Type::WordOrNone(words), Value::String(word)) => {
                words.contains(&word.as_str())
            }
            (Type::AllOrList, Value::String(text)) if text.trim() != "all" => return self.parse(text),
            (Type::AllOrList, Value::String(_)) => return Ok(json!("all")),
            (Type::AllOrList, Value::Array(items)) if *items == ["all"] => return Ok(json!("all")),
            (Type::List | Type::AllOrList, Value::Array(items)) => items.iter().all(Value::is_string),
            (Type::Map, Value::Object(entries)) => entries.values().all(Value::is_string),
            _ => false,
        };
        if fits { Ok(value.clone()) } else { Err(self.refusal(value)) }
    }

    /// Reads the text of a variable or of `config set`: lists with commas or as JSON, maps as `name=value` or JSON.
    pub(super) fn parse(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        let as_json = || json::from_str(trimmed).map_err(|error| format!("not valid JSON: {error}"));
        let parts = || trimmed.split(',').map(str::trim).filter(|part| !part.is_empty());
        let value = match self {
            Type::Flag => match trimmed {
                "true" | "1" => json!(true),
                "false" | "0" => json!(false),
                _ => json!(text),
            },
            Type::Number { .. } => {
                trimmed.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number))
            }
            Type::Text => json!(text),
            Type::Word(_) | Type::WordOrNone(_) => json!(trimmed),
            Type::List | Type::AllOrList if trimmed.starts_with('[') => as_json()?,
            Type::List | Type::AllOrList => json!(parts().collect::<Vec<_>>()),
            Type::Map if trimmed.starts_with('{') => as_json()?,
            Type::Map => parts()
                .map(|part| part.split_once('=').map(|(name, value)| (name.to_owned(), json!(value))))
                .collect::<Option<_>>()
                .map_or_else(|| json!(text), Value::Object),
        };
        self.check(&value)
    }

    fn refusal(&self, value: &Value) -> String {
        let hint = match (self, value) {
            (Type::Word(words) | Type::WordOrNone(words), Value::String(word)) => {
                nearest(word, words.iter().copied()).map(|near| format!(": did you mean `{near}`?"))
            }
            (Type::List | Type::AllOrList, Value::Array(_)) | (Type::Map, Value::Object(_)) => {
                Some(" with something else in it".to_owned())
            }
            _ => None,
        };
        format!("expected {self}, found {}{}", found(value), hint.unwrap_or_default())
    }
}

/// How a sentence names a value that is not what was expected.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        _ => format!("`{value}`"),
    }
}

/// A Rust type that a key's value is read into.
pub(super) trait Setting: Sized {
    /// What the file may say.
    const TYPE: Type;
    /// The value, when it was checked against `TYPE`.
    fn read(value: &Value) -> Option<Self>;
}

impl Setting for bool {
    const TYPE: Type = Type::Flag;
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Setting for String {
    const TYPE: Type = Type::Text;
    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Setting for Vec<String> {
    const TYPE: Type = Type::List;
    fn read(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::read).collect()
    }
}

/// `None` is `all`.
impl Setting for Option<Vec<String>> {
    const TYPE: Type = Type::AllOrList;
    fn read(value: &Value) -> Option<Self> {
        if value == "all" { Some(None) } else { Vec::read(value).map(Some) }
    }
}

impl Setting for BTreeMap<String, String> {
    const TYPE: Type = Type::Map;
    fn read(value: &Value) -> Option<Self> {
        let texts = value.as_object()?.iter();
        let texts: Option<Vec<_>> =
            texts.map(|(name, text)| Some((name.clone(), String::read(text)?))).collect();
        texts.map(inserted)
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl Setting for $number {
            const TYPE: Type = Type::Number { min: 0, max: <$number>::MAX as u64 };
            fn read(value: &Value) -> Option<Self> {
                value.as_u64()?.try_into().ok()
            }
        }
    )+};
}
numbers!(u8, u16, u32, u64, usize);

words! {
    /// Whether a prompt takes standard input without being asked to.
    StdinUse {
        /// What is piped in goes with the prompt.
        Auto = "auto",
        /// Only `-` reads it.
        Never = "never",
    }
}

words! {
    /// How a declared backend gets the prompt.
    PromptBy {
        /// On its standard input.
        Stdin = "stdin",
        /// As its last argument.
        Arg = "arg",
    }
}

words! {
    /// How a declared backend is talked to.
    Protocol {
        /// Prompt in, answer out.
        Command = "command",
        /// The Agent Client Protocol.
        Acp = "acp",
    }
}

words! {
    /// How an agent that speaks ACP gets a system prompt.
    SystemBy {
        /// In front of the prompt: the agent has no way of its own.
        Prompt = "prompt",
        /// `_meta.systemPrompt` of `session/new`.
        Meta = "meta",
        /// `systemPrompt` of `session/new`.
        Session = "session",
    }
}

words! {
    /// What the numbers of tokens count that an agent gives with an answer.
    #[derive(Default)]
    UsageOf {
        /// This answer.
        #[default]
        Turn = "turn",
        /// All answers of the session.
        Total = "total",
        /// Nothing of use.
        None = "none",
    }
}

words! {
    /// What a declared backend prints.
    AnswerAs {
        /// The answer itself.
        Text = "text",
        /// JSON, one object a line, in which `fields` finds things.
        Jsonl = "jsonl",
    }
}

words! {
    /// Where a launcher starts a program, and how it takes its words.
    LauncherType {
        /// On this machine, with our files and variables.
        Local = "local",
        /// Elsewhere, and it passes the words on as they stand.
        Exec = "exec",
        /// Elsewhere, and it hands the words to a shell there.
        Shell = "shell",
    }
}

macro_rules! word_settings {
    ($($word:ty),+) => {$(
        impl Setting for $word {
            const TYPE: Type = Type::Word(<$word>::WORDS);
            fn read(value: &Value) -> Option<Self> {
                <$word>::parse(value.as_str()?)
            }
        }

        impl Setting for Option<$word> {
            const TYPE: Type = Type::WordOrNone(<$word>::WORDS);
            fn read(value: &Value) -> Option<Self> {
                match value.as_str()? {
                    "" => Some(None),
                    word => <$word>::parse(word).map(Some),
                }
            }
        }
    )+};
}
word_settings!(
    Approval,
    Sandbox,
    OutputFormat,
    StdinUse,
    PromptBy,
    AnswerAs,
    Protocol,
    SystemBy,
    UsageOf,
    LauncherType,
    ToolUse,
    Kind
);
