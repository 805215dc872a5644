//! What an actor tells whoever watches.

use hardware_types::PowerState;
use lifecycle::Trouble;
use lifecycle::power::{Intent, Outcome};

use crate::credentials::{Permission, Verdict};
use crate::{BmcError, Info};

/// What is known of a BMC and its machine. No field moves because time passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The last power state that was read; none before the first.
    pub power: Option<PowerState>,
    /// The last readings agree on it, and are apart enough to confirm it.
    pub read_twice: bool,
    /// What the BMC says of itself.
    pub info: Option<Info>,
    /// Why the last request failed; none after one that worked.
    pub failure: Option<BmcError>,
    /// Failures in a row.
    pub failures: u32,
    /// What is to be stored of the credentials.
    pub verdict: Verdict,
    /// Whether they may be shown now.
    pub permission: Permission,
    /// Enough BMCs refused this Secret: it is not shown to this one.
    pub secret_disliked: bool,
    /// The intent under way.
    pub progress: Option<Progress>,
    /// The last intent that ended, and how.
    pub ended: Option<(String, Outcome)>,
}

/// An intent under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// As it is stored.
    pub intent: Intent,
    /// What it waits for, for users.
    pub waits_for: String,
}

impl Report {
    /// The condition reason of the last failure.
    pub fn trouble(&self) -> Option<Trouble> {
        self.failure.as_ref().and_then(BmcError::trouble)
    }
}
