//! JSON, read and written.
//!
//! Read as real programs and files have it: what JSON forbids and is certain in its sense is taken all the same. A lone half
//! of a surrogate pair (`JSON.stringify` writes one for a cut emoji) is U+FFFD, and a byte order mark is nothing.
//!
//! Written with the keys in the order in which they stand, because the clients' tests and eyes compare texts so
//! (serde_json's map sorts them).

use super::text::without_mark;
use serde::de::{Deserialize, DeserializeOwned, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Result, Value};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Reads a text.
///
/// # Errors
/// When it is no JSON, or no `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    from_slice(text.as_bytes())
}

/// Reads bytes. Only what is no JSON as it stands is looked through for something to mend.
///
/// # Errors
/// When they are no JSON, or no `T`.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let text = without_mark(text);
    serde_json::from_slice(text).or_else(|error| match mended(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(mended) => serde_json::from_slice(&mended),
    })
}

/// A text for readers that need more of it than its value. Every character stays where it is.
pub fn mend(text: &str) -> Cow<'_, str> {
    match mended(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(mended) => Cow::Owned(String::from_utf8(mended).expect("escapes are ASCII")),
    }
}

/// Every lone surrogate escape as `\ufffd`. Whole pairs and escaped backslashes are left as they are; a backslash stands in
/// strings only.
pub fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    let escape = |at: usize| -> Option<u32> {
        let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut at) = (Cow::Borrowed(text), 0);
    while let Some(found) = text[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        at += match escape(at) {
            Some(0xd800..=0xdbff) if matches!(escape(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.to_mut()[at..at + 6].copy_from_slice(br"\ufffd");
                6
            }
            Some(_) => 6,
            // What is escaped may be a backslash itself, or the text may end with one.
            None => 2.min(text.len() - at),
        };
    }
    mended
}

/// A JSON text that is already written.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(String);

/// Writes JSON with its keys as they stand. A value is one token: a literal, a name, a nested object or list, or an
/// expression in parentheses.
macro_rules! ordered {
    ({ $($key:literal : $value:tt),* $(,)? }) => {
        $crate::base::json::Json::object([$(($key, $crate::base::json::ordered!($value))),*])
    };
    ([ $($item:tt),* $(,)? ]) => {
        $crate::base::json::Json::from(Vec::<$crate::base::json::Json>::from([$($crate::base::json::ordered!($item)),*]))
    };
    (null) => { $crate::base::json::Json::null() };
    (( $value:expr )) => { $crate::base::json::Json::from($value) };
    ($value:expr) => { $crate::base::json::Json::from($value) };
}
pub(crate) use ordered;

impl Json {
    pub fn null() -> Json {
        Json("null".to_owned())
    }

    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
        let empty = Json("{}".to_owned());
        members.into_iter().fold(empty, |object, (key, value)| object.with(key, value))
    }

    /// The object with one member more at its end.
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Json {
        self.0.pop();
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Piece by piece: the value may be long.
        self.0 += &Json::from(key).0;
        self.0.push(':');
        self.0 += &value.into().0;
        self.0.push('}');
        self
    }

    /// The object with another object's members behind its own.
    pub fn and(mut self, other: Json) -> Json {
        self.0.pop();
        let members = &other.0[1..];
        let comma = if self.0.len() > 1 && members.len() > 1 { "," } else { "" };
        self.0 += &format!("{comma}{members}");
        self
    }

    /// The text for the wire. Line separators that some clients cut lines at (U+2028, U+2029, U+0085) are escaped: they
    /// can only stand in strings, where their escapes mean the same.
    pub fn text(self) -> String {
        let cuts = |letter: char| matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}');
        if !self.0.contains(cuts) {
            return self.0;
        }
        let escaped = |letter: char| match letter {
            letter if cuts(letter) => format!("\\u{:04x}", letter as u32),
            other => other.to_string(),
        };
        self.0.chars().map(escaped).collect()
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Json {
        Json(value.to_string())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::from(&Value::from(text))
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Json {
        Json::from(text.as_str())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::from(text.as_str())
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Json {
        Json(number.to_string())
    }
}

impl From<bool> for Json {
    fn from(truth: bool) -> Json {
        Json(truth.to_string())
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Json {
        let items: Vec<String> = items.into_iter().map(|item| item.0).collect();
        Json(format!("[{}]", items.join(",")))
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or_else(Json::null, Into::into)
    }
}

/// About how many bytes the values of a JSON text take in memory besides their texts. One that is all structure takes fifty
/// times its length and more.
pub fn weight(text: &[u8]) -> usize {
    /// A place in a list that grows by doubling, or a member's key and value.
    const PLACE: usize = 96;
    /// The first node of a map, which has room for eleven members.
    const MAP: usize = 640;
    let (mut weight, mut in_string, mut bytes) = (0, false, text.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => _ = bytes.next(),
            b'"' => in_string = !in_string,
            b'[' | b',' | b':' if !in_string => weight += PLACE,
            b'{' if !in_string => weight += MAP,
            _ => {}
        }
    }
    weight
}

/// A member of an object that is read for some of its members alone.
pub enum Member<T> {
    Known(T),
    /// Another one that says something: its value was skipped.
    Skipped,
}

/// The members of an object that are known, and the names of some others that say something: a client may send as many of
/// those as it likes.
///
/// # Errors
/// When it is no JSON, or no object; the latter is a data error.
pub fn members<'t, T: Deserialize<'t>>(
    text: &'t [u8],
    is_known: impl Fn(&str) -> bool,
) -> Result<Vec<(String, Member<T>)>> {
    /// More are not told of.
    const MOST_SKIPPED: usize = 64;
    struct Reader<K, T>(K, PhantomData<T>);
    impl<'t, K: Fn(&str) -> bool, T: Deserialize<'t>> Visitor<'t> for Reader<K, T> {
        type Value = Vec<(String, Member<T>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let (mut members, mut skipped) = (Vec::new(), 0);
            while let Some(name) = map.next_key::<String>()? {
                if (self.0)(&name) {
                    members.push((name, Member::Known(map.next_value()?)));
                } else if map.next_value::<Option<IgnoredAny>>()?.is_some() && skipped < MOST_SKIPPED {
                    skipped += 1;
                    members.push((name, Member::Skipped));
                }
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let members = deserializer.deserialize_map(Reader(is_known, PhantomData))?;
    deserializer.end().map(|()| members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_in_the_order_in_which_they_are_written() {
        let (name, none) = ("z\"", None::<&str>);
        let json = ordered!({"z": name, "a": {"y": [1u64, null, (2 + 3u64)], "b": none}, "e": {}, "l": []});
        assert_eq!(
            json.with("m", true).text(),
            r#"{"z":"z\"","a":{"y":[1,null,5],"b":null},"e":{},"l":[],"m":true}"#
        );
    }

    #[test]
    fn separators_at_which_clients_cut_lines_are_escaped() {
        let text = Json::from("a\u{2028}b\u{2029}c\u{85}d\re\nf é").text();
        assert_eq!(text, r#""a\u2028b\u2029c\u0085d\re\nf é""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "a\u{2028}b\u{2029}c\u{85}d\re\nf é");
    }

    /// faults.md A6 and C2.
    #[test]
    fn what_is_certain_in_its_sense_is_read() {
        for (sent, heard) in [
            (r#""cut \ud83d""#, "cut \u{fffd}"),
            (r#""\uDE00 low""#, "\u{fffd} low"),
            (r#""\ud83d\ude00 pair""#, "😀 pair"),
            (r#""\uD83D\uDE00 pair""#, "😀 pair"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\\ud83d""#, r"\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\\\\ud83d""#, r"\\ud83d"),
            (r#""plain é""#, "plain é"),
            ("\u{feff}\"marked\"", "marked"),
            ("\u{feff}\"marked \\ud83d\"", "marked \u{fffd}"),
        ] {
            assert_eq!(from_str::<String>(sent).unwrap(), heard, "{sent}");
        }
        let pair: Vec<String> = from_str(r#"["\ud83d","\ude00"]"#).unwrap();
        assert_eq!(pair, ["\u{fffd}", "\u{fffd}"]);
    }

    #[test]
    fn what_is_no_json_is_none() {
        for sent in [
            &b"\\"[..],
            br"\u",
            br"\ud8",
            br#""\u+123""#,
            br#""\ud83d\u""#,
            br#""\ud83d"#,
            b"\"\\\xff\"",
            b"",
            b"\xef\xbb\xbf",
        ] {
            assert!(from_slice::<Value>(sent).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn what_is_structure_weighs_and_what_is_text_does_not() {
        for (text, weighs) in [
            (r#""[{,:\"[""#.to_owned(), 0..1),
            (format!("[{}1]", "1,".repeat(999)), 64_000..100_000),
            (format!("[{}{{}}]", r#"{"a":1},"#.repeat(999)), 640_000..900_000),
            (format!(r#"["{}"]"#, "x,".repeat(999)), 1..100),
        ] {
            let weight = weight(text.as_bytes());
            assert!(weighs.contains(&weight), "{weight}: {text:.40}");
        }
    }

    #[test]
    fn what_is_not_known_is_skipped_and_some_of_it_is_named() {
        let text = br#"{"a": [1], "junk": {"x": [1, [2]]}, "nothing": null, "b": 2, "a": 3}"#;
        let members = members::<Value>(text, |name| name.len() == 1).unwrap();
        let told: Vec<String> = members
            .into_iter()
            .map(|(name, member)| match member {
                Member::Known(value) => format!("{name}={value}"),
                Member::Skipped => name,
            })
            .collect();
        assert_eq!(told, ["a=[1]", "junk", "b=2", "a=3"]);
        let many: Vec<String> = (0..1000).map(|number| format!("\"n{number}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(super::members::<Value>(many.as_bytes(), |_| false).unwrap().len(), 64);
        assert!(super::members::<Value>(b"[1]", |_| true).is_err_and(|error| error.is_data()));
        assert!(super::members::<Value>(b"{} x", |_| true).is_err());
    }

    #[test]
    fn characters_stay_where_they_are() {
        let (sent, plain) = ("{\"é\": \"\\ud83d\"\n", "{\"é\": \"x\"}");
        assert_eq!(mend(sent), "{\"é\": \"\\ufffd\"\n");
        assert!(matches!(mend(plain), Cow::Borrowed(_)));
        let error = from_str::<Value>(sent).unwrap_err();
        assert_eq!((error.line(), error.column()), (2, 0));
    }
}
