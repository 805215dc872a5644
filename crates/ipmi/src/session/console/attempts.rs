//! When to send, when to send again, when to give up.

use std::time::Duration;

use super::{Delivery, Timing};

#[derive(Debug)]
pub(super) struct Attempts {
    timing: Timing,
    sent: u32,
    until: Duration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Send,
    WaitUntil(Duration),
    Exhausted,
}

impl Attempts {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            sent: 0,
            until: Duration::ZERO,
        }
    }

    /// `Once` is one attempt that waits as long as all those of `Retry` together.
    pub(super) fn for_delivery(timing: Timing, delivery: Delivery) -> Self {
        Self::new(match delivery {
            Delivery::Retry => timing,
            Delivery::Once => {
                let n = timing.attempts.max(1);
                Timing {
                    first_wait: timing
                        .first_wait
                        .saturating_mul(n.saturating_mul(n.saturating_add(1)) / 2),
                    attempts: 1,
                }
            }
        })
    }

    pub(super) fn turn(&mut self, now: Duration) -> Turn {
        if self.sent > 0 && now < self.until {
            return Turn::WaitUntil(self.until);
        }
        if self.sent >= self.timing.attempts.max(1) {
            return Turn::Exhausted;
        }
        self.sent += 1;
        self.until = now.saturating_add(self.timing.first_wait.saturating_mul(self.sent));
        Turn::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_nth_attempt_waits_n_times_as_long_and_the_last_wait_counts_too() {
        let mut attempts = Attempts::new(Timing {
            first_wait: SECOND,
            attempts: 2,
        });
        assert_eq!(attempts.turn(SECOND), Turn::Send);
        assert_eq!(attempts.turn(SECOND), Turn::WaitUntil(2 * SECOND));
        assert_eq!(attempts.turn(2 * SECOND), Turn::Send);
        assert_eq!(attempts.turn(3 * SECOND), Turn::WaitUntil(4 * SECOND));
        assert_eq!(attempts.turn(4 * SECOND), Turn::Exhausted);
    }

    #[test]
    fn once_is_sent_once_and_waits_for_the_sum() {
        let timing = Timing {
            first_wait: SECOND,
            attempts: 4,
        };
        let mut attempts = Attempts::for_delivery(timing, Delivery::Once);
        assert_eq!(attempts.turn(Duration::ZERO), Turn::Send);
        assert_eq!(attempts.turn(9 * SECOND), Turn::WaitUntil(10 * SECOND));
        assert_eq!(attempts.turn(10 * SECOND), Turn::Exhausted);
    }
}
