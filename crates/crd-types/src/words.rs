//! Closed sets of words in a spec or status, which keep a word they do not know.
//!
//! The API server refuses unknown words on write. They are read all the same: from objects stored before the rule
//! existed, and after a downgrade. `Other` is never a default: whoever matches decides what an unknown word means.

use schemars::{Schema, json_schema};

/// Defines the enum, its text form and its serde form (the word itself). The schema is the caller's.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A word that this release does not know.
            Other(String),
        }

        impl $name {
            /// The words that this release knows.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word as it stands in the object.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Other(word),
                }
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().into()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// Implements `JsonSchema` by a function from the known words to a schema.
macro_rules! words_schema {
    ($name:ident, $schema:expr) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let schema: fn(&[&str]) -> schemars::Schema = $schema;
                schema(Self::WORDS)
            }
        }
    };
}

pub(crate) use {words, words_schema};

/// For `skip_serializing_if`: whether the field says nothing.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One of `words`, by a pattern: unlike an `enum`, its error prints `Invalid value: "explode"`, which scripts look for.
pub(crate) fn pattern(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "pattern": format!("^({})$", words.join("|")) })
}

/// Any string: the words are a convention of the writers.
pub(crate) fn free(_: &[&str]) -> Schema {
    json_schema!({ "type": "string" })
}

/// One of `words`, of which only the first is implemented.
///
/// The others are refused rather than missing from the schema: an unknown field is pruned with a mere warning, and a
/// machine that its owner meant to protect would be wiped.
pub(crate) fn only_first(words: &[&str]) -> Schema {
    let implemented = words.first().copied().unwrap_or_default();
    json_schema!({
        "type": "string",
        "enum": words,
        "x-kubernetes-validations": [{
            "rule": format!("self == '{implemented}'"),
            "message": format!("not implemented in this version, only {implemented} is"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    words! {
        /// For the tests.
        Colour {
            /// Unset.
            Unset = "",
            /// Red.
            Red = "red",
        }
    }

    fn parse(json: &str) -> Colour {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn words_are_read_and_written_as_they_stand() {
        for (json, want) in [
            (r#""""#, Colour::Unset),
            (r#""red""#, Colour::Red),
            (r#""rot""#, Colour::Other("rot".into())),
        ] {
            assert_eq!(parse(json), want);
            assert_eq!(serde_json::to_string(&want).unwrap(), json);
        }
    }

    #[test]
    fn a_word_in_another_case_is_another_word() {
        assert_eq!(parse(r#""Red""#), Colour::Other("Red".into()));
    }

    #[test]
    fn what_is_no_string_is_refused() {
        assert!(serde_json::from_str::<Colour>("1").is_err());
    }

    #[test]
    fn the_pattern_admits_exactly_the_words() {
        assert_eq!(pattern(Colour::WORDS).get("pattern").unwrap(), "^(|red)$");
    }
}
