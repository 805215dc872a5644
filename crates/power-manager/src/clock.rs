//! The one injected clock.

use std::time::{SystemTime, UNIX_EPOCH};

use lifecycle::Time;
use tokio::time::Instant;

/// Time since the Unix epoch that only moves forward: the system's clock is read once, then the monotonic one counts.
/// In tests with paused time it moves as that does.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Time,
    start: Instant,
}

impl Clock {
    /// A clock that goes by the system's clock as it is now.
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Time::default().after(since_epoch))
    }

    /// A clock that shows `base` now.
    pub fn starting_at(base: Time) -> Self {
        Self {
            base,
            start: Instant::now(),
        }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.base.after(self.start.elapsed())
    }

    /// The runtime's instant for a time of this clock; times before its start are its start.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + time.since(self.base)
    }
}
