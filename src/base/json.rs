//! JSON, read and written.
//!
//! Read as real programs and files have it: what JSON forbids and is certain in its sense is taken all the same. A lone half
//! of a surrogate pair (`JSON.stringify` writes one for a cut emoji) is U+FFFD, and a byte order mark is nothing.
//!
//! Written with the keys in the order in which they stand, because the clients' tests and eyes compare texts so
//! (serde_json's map sorts them).

use super::text::without_mark;
use serde::Serialize;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor,
};
use serde_json::{Map, Result};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

pub(crate) use serde_json::Value;

/// Reads a text.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T> {
    from_slice(text.as_bytes())
}

/// Reads bytes. Only what is no JSON as it stands is looked through for something to mend.
pub(crate) fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let text = without_mark(text);
    serde_json::from_slice(text).or_else(|error| match mended(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(mended) => serde_json::from_slice(&mended),
    })
}

/// Reads a text that has to be an object: a list would be taken for the members of a struct, one after the other.
pub fn object_of<T: DeserializeOwned>(text: &str) -> Result<T> {
    match without_mark(text.as_bytes()).trim_ascii_start().starts_with(b"[") {
        true => Err(serde_json::Error::custom("a list in the place of an object")),
        false => from_str(text),
    }
}

/// A text for readers that need more of it than its value. Every character stays where it is.
pub(crate) fn mend(text: &str) -> Cow<'_, str> {
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
pub(crate) struct Json(String);

/// Makes a `Value` from the literal that stands there: `json!({"name": self.name, (key): [1, null]})`. Its work is in functions
/// of their own: written out at each place, as serde_json's macro does it, it would be a tenth of the program.
macro_rules! json {
    (@$to:ident [ $($items:tt)* ]) => { $crate::base::json::json!(@$to items [] $($items)*) };
    (@$to:ident items [$($done:expr,)*]) => {
        $crate::base::json::$to::from(Vec::<$crate::base::json::$to>::from([$($done),*]))
    };
    (@$to:ident items [$($done:expr,)*] $item:tt $(, $($rest:tt)*)?) => {
        $crate::base::json::json!(@$to items [$($done,)* $crate::base::json::json!(@$to $item),] $($($rest)*)?)
    };
    (@$to:ident items [$($done:expr,)*] $item:expr $(, $($rest:tt)*)?) => {
        $crate::base::json::json!(@$to items [$($done,)* $crate::base::json::json!(@$to $item),] $($($rest)*)?)
    };
    (@$to:ident { $($members:tt)* }) => {{
        #[allow(unused_mut)]
        let mut object = <$crate::base::json::$to as $crate::base::json::Object>::empty();
        $crate::base::json::json!(@$to members object $($members)*);
        object
    }};
    (@$to:ident members $object:ident) => {};
    (@$to:ident members $object:ident $key:tt : $value:tt $(, $($rest:tt)*)?) => {
        $crate::base::json::Object::put(&mut $object, $key, $crate::base::json::json!(@$to $value));
        $crate::base::json::json!(@$to members $object $($($rest)*)?);
    };
    (@$to:ident members $object:ident $key:tt : $value:expr $(, $($rest:tt)*)?) => {
        $crate::base::json::Object::put(&mut $object, $key, $crate::base::json::json!(@$to $value));
        $crate::base::json::json!(@$to members $object $($($rest)*)?);
    };
    (@$to:ident null) => { $crate::base::json::$to::from(()) };
    (@Value $value:expr) => { $crate::base::json::value(&$value) };
    (@Json $value:expr) => { $crate::base::json::Json::from($value) };
    ($($literal:tt)+) => { $crate::base::json::json!(@Value $($literal)+) };
}
pub(crate) use json;

/// Makes a text in the same way, with its keys as they stand. What it is given becomes a part of it.
macro_rules! ordered {
    ($($literal:tt)+) => { $crate::base::json::json!(@Json $($literal)+) };
}
pub(crate) use ordered;

/// What is made member by member.
pub(crate) trait Object {
    fn empty() -> Self;
    fn put(&mut self, key: &str, value: Self);
}

impl Object for Value {
    fn empty() -> Value {
        Value::Object(Map::new())
    }

    #[inline(never)]
    fn put(&mut self, key: &str, value: Value) {
        self[key] = value;
    }
}

impl Object for Json {
    fn empty() -> Json {
        Json("{}".to_owned())
    }

    #[inline(never)]
    fn put(&mut self, key: &str, value: Json) {
        self.0.pop();
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0 += &Json::from(key).0;
        self.0.push(':');
        self.append(value.0);
        self.0.push('}');
    }
}

/// A path as JSON has it, where it is there to be read: bytes that are no text become U+FFFD. Serde refuses such a path.
pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a value is as JSON. Those that we have always are something: their keys are strings, and paths in them are of sessions,
/// which have none that is no text, or went through `path`.
#[inline(never)]
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).expect("keys are strings")
}

impl Json {
    /// Puts a text at the end. The longer one of both stays where it is: it may be very long, and would be there twice.
    fn append(&mut self, mut text: String) {
        if text.len() > self.0.len() {
            text.insert_str(0, &self.0);
            self.0 = text;
        } else {
            self.0 += &text;
        }
    }

    /// The object with one member more at its end.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Json {
        self.put(key, value.into());
        self
    }

    /// The object with another object's members behind its own.
    pub(crate) fn and(mut self, other: Json) -> Json {
        self.0.pop();
        let members = &other.0[1..];
        let comma = if self.0.len() > 1 && members.len() > 1 { "," } else { "" };
        self.0 += &format!("{comma}{members}");
        self
    }

    /// The text for the wire.
    pub(crate) fn text(self) -> String {
        on_one_line(self.0)
    }
}

/// A text of JSON without the line separators that some clients cut lines at (U+2028, U+2029, U+0085): they can only stand in
/// strings, where their escapes mean the same.
pub(crate) fn on_one_line(text: String) -> String {
    let escaped = |text: String, cut: char| match text.contains(cut) {
        true => text.replace(cut, &format!("\\u{:04x}", cut as u32)),
        false => text,
    };
    ['\u{85}', '\u{2028}', '\u{2029}'].into_iter().fold(text, escaped)
}

impl From<()> for Json {
    fn from((): ()) -> Json {
        Json("null".to_owned())
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Json {
        Json(value.to_string())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json(serde_json::to_string(text).expect("a text can be written"))
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
        let mut list = Json("[".to_owned());
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                list.0.push(',');
            }
            list.append(item.0);
        }
        list.0.push(']');
        list
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Json {
        value.map_or_else(|| Json::from(()), Into::into)
    }
}

/// A value as a line of its own.
pub(crate) fn line<T: Serialize + ?Sized>(value: &T) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The text of a value; empty where it has none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text of a value, where it has one.
pub(crate) fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Takes a member out of what another program sent: null where there is none, or where nothing could be.
pub(crate) fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// About how many bytes the values of a JSON text take in memory besides their texts. One that is all structure takes fifty
/// times its length and more.
pub(crate) fn weight(text: &[u8]) -> usize {
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
pub(crate) enum Member<T> {
    Known(T),
    /// Another one that says something: its value was skipped.
    Skipped,
}

/// The members of an object that are known, and the names of some others that say something: a client may send as many of
/// those as it likes.
///
/// # Errors
/// When it is no JSON, or no object; the latter is a data error.
pub(crate) fn members<'t, T: Deserialize<'t>>(
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
    fn the_builder_makes_what_serde_jsons_makes() {
        let (name, list, none) = ("z", vec![1, 2], None::<u8>);
        let ours = json!({"b": [null, {"x": [1 + 1, name], "y": {}}, [], list,], "a": none, (name): -1.5, "l": null,});
        let theirs = serde_json::json!({"b": [null, {"x": [1 + 1, name], "y": {}}, [], list,], "a": none, (name): -1.5, "l": null,});
        assert_eq!(ours, theirs);
        assert_eq!(
            [json!(null), json!(list.len() > 1), json!([]), json!({})],
            [Value::Null, Value::Bool(true), Value::Array(vec![]), Value::Object(Map::new())]
        );
    }

    #[test]
    fn keys_stay_in_the_order_in_which_they_are_written() {
        let (name, none) = ("z\"", None::<&str>);
        let json = ordered!({"z": name, "a": {"y": [1u64, null, 2 + 3u64], "b": none}, "e": {}, "l": []});
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
