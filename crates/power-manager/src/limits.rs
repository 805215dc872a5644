//! How often BMCs are asked: each by itself, and all together.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::InMemoryState;
use governor::state::direct::NotKeyed;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

/// Operations allowed: a burst, then so many per second. An operation is a reading, a command or an override, with its log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Operations per second at one BMC.
    pub per_bmc: NonZeroU32,
    /// Burst at one BMC.
    pub burst_per_bmc: NonZeroU32,
    /// Operations per second over all BMCs.
    pub overall: NonZeroU32,
    /// Burst over all BMCs.
    pub burst_overall: NonZeroU32,
}

impl Default for Quotas {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            per_bmc: number(2),
            burst_per_bmc: number(8),
            overall: number(200),
            burst_overall: number(200),
        }
    }
}

/// The runtime's clock, so that paused time moves the limits as well.
#[derive(Debug, Clone)]
struct RuntimeClock(Instant);

impl GovernorClock for RuntimeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type PerBmc = RateLimiter<String, DashMapStateStore<String>, RuntimeClock, NoOpMiddleware<Nanos>>;
type Overall = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Nanos>>;

/// The limits that all actors share.
pub struct Limits {
    clock: RuntimeClock,
    per_bmc: PerBmc,
    overall: Overall,
    admitted: AtomicU64,
}

/// So often the table of BMCs is swept: without that it only grows.
const SWEEP: u64 = 4096;

impl Limits {
    /// Limits with these quotas.
    pub fn new(quotas: Quotas) -> Self {
        let clock = RuntimeClock(Instant::now());
        let per_bmc = Quota::per_second(quotas.per_bmc).allow_burst(quotas.burst_per_bmc);
        let overall = Quota::per_second(quotas.overall).allow_burst(quotas.burst_overall);
        Self {
            per_bmc: RateLimiter::new(per_bmc, DashMapStateStore::default(), clock.clone()),
            overall: RateLimiter::direct_with_clock(overall, clock.clone()),
            admitted: AtomicU64::new(0),
            clock,
        }
    }

    /// Waits until the BMC may be asked once more. Its own limit comes first: who waits for it takes nothing from the others.
    pub async fn admit(&self, bmc: &str) {
        if self.admitted.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.per_bmc.retain_recent();
            self.per_bmc.shrink_to_fit();
        }
        let key = bmc.to_owned();
        while let Err(not_until) = self.per_bmc.check_key(&key) {
            sleep(not_until.wait_time_from(self.clock.now()).max(TICK)).await;
        }
        while let Err(not_until) = self.overall.check() {
            sleep(not_until.wait_time_from(self.clock.now()).max(TICK)).await;
        }
    }
}

/// The runtime's timers know milliseconds.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn quotas(per_bmc: u32, overall: u32) -> Quotas {
        let number = |n| NonZeroU32::new(n).unwrap();
        Quotas {
            per_bmc: number(per_bmc),
            burst_per_bmc: number(2),
            overall: number(overall),
            burst_overall: number(4),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_bmc_gets_its_burst_and_then_its_rate() {
        let limits = Limits::new(quotas(1, 100));
        let start = Instant::now();
        for _ in 0..5 {
            limits.admit("a").await;
        }
        let took = start.elapsed();
        assert!(
            took >= Duration::from_secs(3) && took < Duration::from_millis(3100),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_get_theirs_however_many_they_are() {
        let limits = Arc::new(Limits::new(quotas(100, 2)));
        let start = Instant::now();
        let all: Vec<_> = (0..10)
            .map(|n| {
                let limits = limits.clone();
                tokio::spawn(async move { limits.admit(&n.to_string()).await })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        let took = start.elapsed();
        assert!(
            took >= Duration::from_secs(3) && took < Duration::from_millis(3100),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_bmc_at_its_limit_takes_nothing_from_its_neighbour() {
        let limits = Arc::new(Limits::new(quotas(1, 100)));
        let busy = tokio::spawn({
            let limits = limits.clone();
            async move {
                for _ in 0..50 {
                    limits.admit("busy").await;
                }
            }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        limits.admit("neighbour").await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        busy.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_bmcs_are_forgotten() {
        let limits = Limits::new(quotas(1, 100));
        for n in 0..3 {
            limits.admit(&n.to_string()).await;
        }
        assert_eq!(limits.per_bmc.len(), 3);
        sleep(Duration::from_mins(1)).await;
        limits.admitted.store(SWEEP - 1, Ordering::Relaxed);
        limits.admit("new").await;
        assert_eq!(limits.per_bmc.len(), 1);
    }
}
