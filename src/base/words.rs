//! Closed lists of words that users type.

/// Values that have names which users type.
pub(crate) trait Worded: Sized {
    /// Every name.
    fn words() -> &'static [&'static str];
    /// The value of that name; `None` for any other.
    fn of_word(word: &str) -> Option<Self>;
}

/// An enum whose values have names that users type; unknown names are errors that list the known ones.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order in which help lists them.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// Every word that `parse` takes, in the order of `ALL`.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that users type.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value of that word; `None` for any other.
            pub fn parse(word: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }

        impl $crate::base::words::Worded for $name {
            fn words() -> &'static [&'static str] {
                Self::WORDS
            }

            fn of_word(word: &str) -> Option<$name> {
                Self::parse(word)
            }
        }
    };
}
pub(crate) use words;
