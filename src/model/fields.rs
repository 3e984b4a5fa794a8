//! Objects that people write by hand, in files and in requests: read field by field from a table, so that a misspelt
//! name is an error that says which one was meant, and an error in a value says in which field.

use crate::base::text::nearest;
use crate::base::words::Worded;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// A field as it is described to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// What else it may be called.
    pub aliases: &'static [&'static str],
    /// The type of its value.
    pub kind: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
}

/// A struct that takes fields by name.
pub trait Fields: Default {
    /// Appends every field.
    fn list(fields: &mut Vec<Field>);

    /// Appends every field's name.
    fn names(names: &mut Vec<&'static str>) {
        let mut fields = Vec::new();
        Self::list(&mut fields);
        names.extend(fields.iter().map(|field| field.name));
    }

    /// Takes the value of a field of its own; `false`, without touching the value, for any other name.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;

    /// The same, with what is missing taken from another.
    fn or(self, other: &Self) -> Self;
}

/// No fields.
impl Fields for () {
    fn list(_: &mut Vec<Field>) {}

    fn take<'de, M: MapAccess<'de>>(&mut self, _: &str, _: &mut M) -> Result<bool, M::Error> {
        Ok(false)
    }

    fn or(self, (): &Self) {}
}

/// Both sets of fields in one object.
impl<A: Fields, B: Fields> Fields for (A, B) {
    fn list(fields: &mut Vec<Field>) {
        A::list(fields);
        B::list(fields);
    }

    fn take<'de, M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error> {
        Ok(self.0.take(name, map)? || self.1.take(name, map)?)
    }

    fn or(self, other: &Self) -> Self {
        (self.0.or(&other.0), self.1.or(&other.1))
    }
}

/// An object with exactly the fields of `T`; `null` is the same as not there.
#[derive(Debug, Default, Clone)]
pub struct Object<T>(pub T);

impl<'de, T: Fields> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Fields> Visitor<'de> for Reader<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
                let (mut taken, mut seen) = (T::default(), Vec::new());
                while let Some(name) = map.next_key::<String>()? {
                    if seen.contains(&name) {
                        return Err(A::Error::custom(format!("field `{name}` stands there twice")));
                    }
                    if !taken.take(&name, &mut map)? {
                        return Err(unknown::<T, A::Error>(&name));
                    }
                    seen.push(name);
                }
                Ok(Object(taken))
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

fn unknown<T: Fields, E: Error>(name: &str) -> E {
    let mut names = Vec::new();
    T::names(&mut names);
    E::custom(match nearest(name, names.iter().copied()) {
        Some(near) => format!("unknown field `{name}`: did you mean `{near}`?"),
        None => format!("unknown field `{name}`: known are {}", names.join(", ")),
    })
}

/// Takes one value; `null` is none. The error names the field.
///
/// # Errors
/// When the value is no `T`.
pub(crate) fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    name: &str,
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    // A position behind the message is found there again by serde_json.
    map.next_value::<Option<T>>().map_err(|error| A::Error::custom(format!("`{name}`: {error}")))
}

/// A text that may be long: however many hold it, it is there once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text(pub Arc<str>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<S: Into<Arc<str>>> From<S> for Text {
    fn from(text: S) -> Text {
        Text(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            // Not by way of a `String`: that would be one more copy of it.
            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::from(text))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// A word from a closed list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Word<T>(pub T);

impl<'de, T: Worded> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::of_word(&word).map(Word).ok_or_else(|| {
            let known = T::words();
            D::Error::custom(match nearest(&word, known.iter().copied()) {
                Some(near) => format!("unknown word `{word}`: did you mean `{near}`?"),
                None => format!("unknown word `{word}`: known are {}", known.join(", ")),
            })
        })
    }
}

/// Makes a struct and its `Fields`. A line is `name: Type, "help";`; the struct has `Option<Type>`.
macro_rules! fields {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($field:ident $(= $alias:literal)?: $type:ty, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        $vis struct $name { $(#[doc = $help] pub $field: Option<$type>,)* }

        impl $crate::model::fields::Fields for $name {
            fn list(fields: &mut Vec<$crate::model::fields::Field>) {
                fields.extend([$($crate::model::fields::Field {
                    name: stringify!($field),
                    aliases: &[$($alias)?],
                    kind: stringify!($type),
                    help: $help,
                }),*]);
            }

            fn take<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match name {
                    $(stringify!($field) $(| $alias)? => self.$field = $crate::model::fields::value(name, map)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn or(self, other: &Self) -> Self {
                Self { $($field: self.$field.or_else(|| other.$field.clone()),)* }
            }
        }
    };
}
pub(crate) use fields;
