//! The values of a request's fields that are more than a word, a number or a text: how each is read.

use crate::base::time;
use crate::model::mcp::McpSource;
use crate::model::task::Image;
use crate::session::bounds;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// Metadata within its bounds, or little beyond them: a value that is far too long is refused before anything is made of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairs(pub Map<String, Value>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        /// No value within the bounds is longer, whatever of it is escaped.
        const LONGEST: usize = bounds::PAIR_VALUE * r"\ud83d\ude00".len() + r#""""#.len();
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    let text = map.next_value::<Box<RawValue>>()?;
                    if text.get().len() > LONGEST || pairs.len() > bounds::PAIRS {
                        let (most, pairs) = (bounds::PAIR_VALUE, bounds::PAIRS);
                        let problem =
                            format!("at most {pairs} pairs are kept, of at most {most} characters each");
                        return Err(A::Error::custom(problem));
                    }
                    pairs.insert(name, serde_json::from_str(text.get()).map_err(A::Error::custom)?);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// `all`, or a list of tools.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools(pub Option<Vec<String>>);

impl Tools {
    /// Reads `all` or names with commas between them.
    pub(crate) fn of_words(words: &str) -> Tools {
        Tools((words != "all").then(|| list(words)))
    }
}

impl<'de> Deserialize<'de> for Tools {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tools, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(words) => Ok(Tools::of_words(&words)),
            other => serde_json::from_value(other).map(|names| Tools(Some(names))).map_err(D::Error::custom),
        }
    }
}

/// MCP servers from one source or several.
#[derive(Debug, Clone, PartialEq)]
pub struct Servers(pub Vec<McpSource>);

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Servers, D::Error> {
        McpSource::deserialize(deserializer).map(|source| Servers(vec![source]))
    }
}

impl Servers {
    /// It asks for none: those that are configured are left out.
    pub(crate) fn is_none(&self) -> bool {
        self.0.iter().all(|source| matches!(source, McpSource::Servers(servers) if servers.is_empty()))
    }
}

/// A picture: a file's name, or what is in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// The file's name.
    File(String),
    /// The picture itself.
    Data(Image),
}

impl<'de> Deserialize<'de> for Picture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Picture, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if let Value::String(name) = value {
            return Ok(Picture::File(name));
        }
        let data = value["data"].as_str().ok_or_else(|| D::Error::custom("expected {media_type, data}"))?;
        let image = Image::from_base64(data).map_err(D::Error::custom)?;
        match value["media_type"].as_str() {
            Some(declared) if declared != image.mime => {
                Err(D::Error::custom(format!("the data is {}, not {declared}", image.mime)))
            }
            _ => Ok(Picture::Data(image)),
        }
    }
}

/// A time limit: a number of seconds, or a text such as `90s`, `5m` or `1d`; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let word = match Value::deserialize(deserializer)? {
            Value::String(word) => word,
            other => other.to_string(),
        };
        let expected = || D::Error::custom(format!("expected seconds or a text such as 90s, found `{word}`"));
        limit(&word).map(Span).ok_or_else(expected)
    }
}

/// Words with commas between them.
pub(crate) fn list(words: &str) -> Vec<String> {
    words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The longest time limit: more would overflow the clock's arithmetic somewhere.
const LONGEST: Duration = Duration::from_secs(31_536_000);

/// A time limit as text: `90s`, `5m`, `1d`, or a number of seconds; `0` is none. `None` for anything else, and for more than
/// a year.
pub(crate) fn limit(word: &str) -> Option<Duration> {
    time::duration(word).filter(|limit| *limit <= LONGEST)
}
