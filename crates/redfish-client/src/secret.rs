//! Texts that must not be seen: wiped when dropped, never printed.

use std::fmt;

use zeroize::Zeroizing;

/// A password. `Debug` does not show it and it has no `Display`; its memory is wiped when it is dropped.
///
/// The copies that TLS and socket buffers make while a request is on its way are outside of this promise.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for whoever has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whom the client is at the BMC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the account; shown in errors.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_user_and_not_the_password() {
        let credentials = Credentials {
            username: "operator".into(),
            password: Secret::new("tr0ub4dor"),
        };
        let text = format!("{credentials:?}");
        assert!(text.contains("operator") && !text.contains("tr0ub4dor"), "{text}");
    }
}
