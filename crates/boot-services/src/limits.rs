//! How often something is answered: to each who asks, and over all.

use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// So often the table of who asked is swept: without that it only grows.
pub(crate) const SWEEP: u32 = 1024;
/// Most keys in a table. While so many asked of late, a key's own limit is not asked: a flood of invented keys can
/// neither fill the memory nor shut out those that are true.
pub(crate) const MAX_KEYS: usize = 16 * 1024;

/// The limit that is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    /// Of the one who asks.
    Own,
    /// Of all together.
    Overall,
}

/// A limit for each who asks.
pub(crate) struct Keyed<K: Hash + Eq + Clone> {
    own: DefaultKeyedRateLimiter<K>,
    asked: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    pub(crate) fn new(own: Quota) -> Self {
        Self {
            own: RateLimiter::keyed(own),
            asked: AtomicU32::new(0),
        }
    }

    /// Whether one more answer to `key` is within its limit.
    pub(crate) fn admit(&self, key: &K) -> Result<(), Exceeded> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.own.retain_recent();
            self.own.shrink_to_fit();
        }
        if self.own.len() >= MAX_KEYS {
            return Ok(());
        }
        self.own.check_key(key).map_err(|_| Exceeded::Own)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }
}

/// A limit for each who asks, and one over all.
pub(crate) struct Limits<K: Hash + Eq + Clone> {
    own: Keyed<K>,
    overall: DefaultDirectRateLimiter,
}

impl<K: Hash + Eq + Clone> Limits<K> {
    pub(crate) fn new(own: Quota, overall: Quota) -> Self {
        Self {
            own: Keyed::new(own),
            overall: RateLimiter::direct(overall),
        }
    }

    /// Whether one more answer to `key` is within the limits. Its own is asked first: one that asks on and on takes
    /// nothing from the others.
    pub(crate) fn admit(&self, key: &K) -> Result<(), Exceeded> {
        self.own.admit(key)?;
        self.overall.check().map_err(|_| Exceeded::Overall)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn quota(burst: u32) -> Quota {
        Quota::per_hour(NonZeroU32::MIN).allow_burst(NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn one_that_asks_on_and_on_takes_nothing_from_the_others() {
        let limits = Limits::new(quota(3), quota(10));
        let refused = (0..1000)
            .filter(|_| limits.admit(&0) == Err(Exceeded::Own))
            .count();
        assert_eq!(refused, 997);
        for key in 1..8 {
            assert_eq!(limits.admit(&key), Ok(()));
        }
        assert_eq!(limits.admit(&8), Err(Exceeded::Overall));
    }

    #[test]
    fn a_flood_of_invented_keys_is_bounded_and_shuts_nobody_out() {
        let keyed = Keyed::new(quota(1));
        for key in 0..2 * MAX_KEYS {
            assert_eq!(keyed.admit(&key), Ok(()));
        }
        assert_eq!(keyed.len(), MAX_KEYS);
    }
}
