//! How many messages are answered: over all, and per NIC.

use std::num::NonZeroU32;

use governor::Quota;
use hardware_types::Mac;

use crate::limits::{self, Exceeded};

/// Answers allowed: a burst, then so many per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Answers per second to one NIC.
    pub per_mac: NonZeroU32,
    /// Burst to one NIC.
    pub burst_per_mac: NonZeroU32,
    /// Answers per second over all.
    pub overall: NonZeroU32,
    /// Burst over all.
    pub burst_overall: NonZeroU32,
}

impl Default for Quotas {
    /// A boot takes about five answers in its first seconds; a thousand machines may be switched on together.
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            per_mac: number(2),
            burst_per_mac: number(20),
            overall: number(500),
            burst_overall: number(2000),
        }
    }
}

pub(super) struct Limits(limits::Limits<Mac>);

impl Limits {
    pub(super) fn new(quotas: Quotas) -> Self {
        let per_mac = Quota::per_second(quotas.per_mac).allow_burst(quotas.burst_per_mac);
        let overall = Quota::per_second(quotas.overall).allow_burst(quotas.burst_overall);
        Self(limits::Limits::new(per_mac, overall))
    }

    /// Whether one more answer to `mac` is within the limits, or which of them it exceeds.
    pub(super) fn admit(&self, mac: Mac) -> Result<(), &'static str> {
        self.0.admit(&mac).map_err(|exceeded| match exceeded {
            Exceeded::Own => "limit-mac",
            Exceeded::Overall => "limit-overall",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SWEEP;

    fn quotas(per_mac: u32, overall: u32) -> Quotas {
        let number = |n| NonZeroU32::new(n).unwrap();
        Quotas {
            per_mac: NonZeroU32::MIN,
            burst_per_mac: number(per_mac),
            overall: NonZeroU32::MIN,
            burst_overall: number(overall),
        }
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac::new([2, 0, a, b, c, d])
    }

    #[test]
    fn one_nic_gets_its_burst_and_another_is_not_hurt() {
        let limits = Limits::new(quotas(3, 100));
        for _ in 0..3 {
            assert_eq!(limits.admit(mac(1)), Ok(()));
        }
        assert_eq!(limits.admit(mac(1)), Err("limit-mac"));
        assert_eq!(limits.admit(mac(2)), Ok(()));
    }

    #[test]
    fn all_together_get_the_overall_burst() {
        let limits = Limits::new(quotas(3, 10));
        let admitted = (0..20).filter(|n| limits.admit(mac(*n)).is_ok()).count();
        assert_eq!(admitted, 10);
        assert_eq!(limits.admit(mac(99)), Err("limit-overall"));
    }

    #[test]
    fn the_table_does_not_grow_with_nics_that_came_once() {
        let fast = NonZeroU32::new(1_000_000_000).unwrap();
        let limits = Limits::new(Quotas {
            per_mac: fast,
            burst_per_mac: NonZeroU32::MIN,
            overall: fast,
            burst_overall: fast,
        });
        for n in 0..SWEEP * 4 {
            assert_eq!(limits.admit(mac(n)), Ok(()));
        }
        assert!(limits.0.len() <= SWEEP as usize, "{} NICs kept", limits.0.len());
    }
}
