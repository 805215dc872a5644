//! Why a config or a patch was not taken, without a word of its content.

use std::fmt;

/// What is wrong with a config or a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchError(String);

impl PatchError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// YAML that cannot be read. Of the reader's text only the place is kept: the rest may quote what it read.
    pub(crate) fn unread(error: &serde_saphyr::Error) -> Self {
        Self(match error.location() {
            Some(at) => format!("it is no YAML: line {}, column {}", at.line(), at.column()),
            None => "it is no YAML, or has too much of it".into(),
        })
    }

    /// The same, of this part.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        Self(format!("{part}: {}", self.0))
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatchError {}
