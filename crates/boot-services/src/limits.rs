//! How often something is answered: over all, and to each who asks.

use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// So often the table of who asked is swept: without that it only grows.
pub(crate) const SWEEP: u32 = 1024;

/// The limit that is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// Of the one who asks.
    Own,
    /// Of all together.
    Overall,
}

pub(crate) struct Limits<K: Hash + Eq + Clone> {
    own: DefaultKeyedRateLimiter<K>,
    overall: DefaultDirectRateLimiter,
    asked: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limits<K> {
    pub(crate) fn new(own: Quota, overall: Quota) -> Self {
        Self {
            own: RateLimiter::keyed(own),
            overall: RateLimiter::direct(overall),
            asked: AtomicU32::new(0),
        }
    }

    /// Whether one more answer to `key` is within the limits. The overall limit is asked first: it bounds how fast
    /// invented keys fill the table.
    pub(crate) fn admit(&self, key: &K) -> Result<(), Exceeded> {
        self.overall.check().map_err(|_| Exceeded::Overall)?;
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.own.retain_recent();
            self.own.shrink_to_fit();
        }
        self.own.check_key(key).map_err(|_| Exceeded::Own)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }
}
