//! The simulator's one clock: it follows real time (or tokio's paused time) and can be set forward by a test.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::machine::SimTime;

/// A clock shared by all BMCs of a fleet.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
    offset: watch::Sender<Duration>,
}

impl Clock {
    /// The furthest that one step may set the clock forward.
    pub const MAX_STEP: Duration = Duration::from_hours(366 * 24);

    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: Timestamp::now(),
            offset: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Time since the start, jumps included.
    pub fn now(&self) -> SimTime {
        self.started.elapsed().saturating_add(*self.offset.borrow())
    }

    /// The date of `time`.
    pub fn date(&self, time: SimTime) -> Timestamp {
        // out of range only after thousands of years of jumps
        self.started_at.checked_add(time).unwrap_or(Timestamp::MAX)
    }

    /// Test control: sets the clock forward, as if `step` had passed. Everything that falls due happens now.
    pub fn advance(&self, step: Duration) {
        self.offset
            .send_modify(|offset| *offset = offset.saturating_add(step.min(Self::MAX_STEP)));
    }

    /// Waits until `time`; forever for `None`.
    pub async fn sleep_until(&self, time: Option<SimTime>) {
        let Some(time) = time else {
            return std::future::pending().await;
        };
        let mut offset = self.offset.subscribe();
        loop {
            let left = time.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // the sender lives as long as `self`
                _ = offset.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_sleeper_wakes_when_the_clock_is_set_forward() {
        let clock = Clock::start();
        let (started, before) = (Instant::now(), clock.now());
        tokio::join!(clock.sleep_until(Some(MINUTE)), async { clock.advance(MINUTE) });
        assert!(clock.now() >= before + MINUTE);
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "no real minute passed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn dates_follow_the_clock() {
        let clock = Clock::start();
        let before = clock.date(clock.now());
        clock.advance(MINUTE);
        assert!(clock.date(clock.now()).duration_since(before).as_secs() >= 60);
        for _ in 0..20_000 {
            clock.advance(Clock::MAX_STEP);
        }
        assert_eq!(clock.date(clock.now()), Timestamp::MAX);
    }
}
