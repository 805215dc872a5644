//! How a request to a BMC fails.

use lifecycle::Trouble;

/// Why a BMC did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BmcError {
    /// The fence said no: nothing was sent, and the BMC has nothing to do with it.
    #[error("not sent: {0}")]
    Withheld(String),
    /// The BMC failed us.
    #[error("{text}")]
    Failed {
        /// The class of failure: a condition reason.
        trouble: Trouble,
        /// What was attempted, on what, and why it failed. Holds no secret.
        text: String,
    },
}

impl BmcError {
    /// A failure of the BMC, told by an error and its sources.
    pub fn new(trouble: Trouble, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Failed { trouble, text }
    }

    /// Another BMC answers than the one that described itself last: ours is out of reach, and this one gets nothing before it has
    /// described itself (I-13).
    pub(crate) fn replaced(text: String) -> Self {
        let trouble = Trouble::Unreachable;
        Self::Failed { trouble, text }
    }

    /// The class of failure; none when nothing was sent.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Withheld(_) => None,
            Self::Failed { trouble, .. } => Some(*trouble),
        }
    }
}
