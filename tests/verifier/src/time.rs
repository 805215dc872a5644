//! Moments, and how exactly they are known.

use jiff::{SignedDuration, Timestamp};

/// A change of an object arrives at the watch this long after it happened, at the latest, on a busy machine. Power times
/// are exact, and all clocks are one. So an order of two events is doubted only if they are closer than this; a machine
/// that is switched off ten seconds after it was given back is not excused.
pub(crate) const WATCH_LAG: SignedDuration = SignedDuration::from_secs(3);

pub(crate) fn later(t: Timestamp, by: SignedDuration) -> Timestamp {
    t.checked_add(by).unwrap_or(Timestamp::MAX)
}

pub(crate) fn earlier(t: Timestamp, by: SignedDuration) -> Timestamp {
    t.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// As the facts write it, so that a reader can search for it.
pub(crate) fn shown(t: Timestamp) -> String {
    format!("{t:.3}")
}
