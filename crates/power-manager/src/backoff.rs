//! How long to wait after a failure.

use std::time::Duration;

use rand::RngExt as _;

/// Exponential back-off with jitter: the n-th wait is a random time between half and all of `first · 2ⁿ⁻¹`, at most `cap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            failures: 0,
        }
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets all failures.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; how long to wait after it.
    pub fn failed(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(self.cap);
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_at_most_half_of_jitter() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_mins(5));
        for longest in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let longest = Duration::from_secs(longest);
            let wait = backoff.failed();
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?} of {longest:?}");
        }
        assert_eq!(backoff.failures(), 10);
        backoff.reset();
        assert!(backoff.failed() <= Duration::from_secs(2));
    }
}
