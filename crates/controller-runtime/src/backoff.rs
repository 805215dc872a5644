//! Pauses between tries, for each object its own: exponential, capped, with jitter, begun anew by a user's edit.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tokio::time::Instant;

/// A pause is cut by up to this part of itself, so that objects that failed together do not retry together.
const JITTER: f64 = 0.25;
/// Objects not heard of for this many caps are forgotten: they were deleted, or nobody tries any more.
const FORGET_AFTER_CAPS: u32 = 4;

/// How pauses grow.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// After the first failure. Doubles with each further one.
    pub first: Duration,
    /// No pause is longer.
    pub cap: Duration,
}

impl Default for Pauses {
    /// 1 s up to 1 min.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_mins(1),
        }
    }
}

/// The failures of every object of one kind.
#[derive(Debug)]
pub struct Backoff {
    pauses: Pauses,
    requests: &'static [&'static str],
    failing: Mutex<HashMap<String, Failing>>,
}

#[derive(Debug)]
struct Failing {
    edition: u64,
    failures: u32,
    last: Instant,
    until: Instant,
}

impl Backoff {
    /// `requests` are the annotations by which users ask for something: a change of one is an edit, as a change of
    /// the spec is. What we write ourselves is none.
    pub fn new(pauses: Pauses, requests: &'static [&'static str]) -> Self {
        Self {
            pauses,
            requests,
            failing: Mutex::default(),
        }
    }

    /// Notes a failure; returns the pause before the next try.
    pub fn failed<K: Resource>(&self, object: &K) -> Duration {
        let (edition, now) = (self.edition(object), Instant::now());
        let mut failing = self.lock();
        failing.retain(|_, entry| now < entry.last + self.pauses.cap * FORGET_AFTER_CAPS);
        let entry = failing
            .entry(key(object))
            .and_modify(|entry| {
                if entry.edition != edition {
                    entry.failures = 0;
                }
            })
            .or_insert(Failing {
                edition,
                failures: 0,
                last: now,
                until: now,
            });
        // 2^20 first pauses are above any cap; a larger exponent would only overflow.
        let factor = 1 << entry.failures.min(20);
        let whole = self.pauses.first.saturating_mul(factor).min(self.pauses.cap);
        let pause = whole.mul_f64(1.0 - JITTER * rand::random::<f64>());
        *entry = Failing {
            edition,
            failures: entry.failures.saturating_add(1),
            last: now,
            until: now + pause,
        };
        pause
    }

    /// Forgets the object's failures.
    pub fn succeeded<K: Resource>(&self, object: &K) {
        self.lock().remove(&key(object));
    }

    /// Failures in a row of this edition of the object.
    pub fn failures<K: Resource>(&self, object: &K) -> u32 {
        let edition = self.edition(object);
        self.lock()
            .get(&key(object))
            .filter(|entry| entry.edition == edition)
            .map_or(0, |entry| entry.failures)
    }

    /// What is left of the pause, for a reconcile that something else than the pause's end has started: writing the
    /// failure into the status does. None when a try is due.
    pub fn remaining<K: Resource>(&self, object: &K) -> Option<Duration> {
        let (edition, now) = (self.edition(object), Instant::now());
        self.lock()
            .get(&key(object))
            .filter(|entry| entry.edition == edition && now < entry.until)
            .map(|entry| entry.until - now)
    }

    fn edition<K: Resource>(&self, object: &K) -> u64 {
        let mut hasher = DefaultHasher::new();
        object.meta().generation.hash(&mut hasher);
        for request in self.requests {
            object.annotations().get(*request).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The uid, so that an object that was made again begins anew; the name where a test gave none.
fn key<K: Resource>(object: &K) -> String {
    object
        .uid()
        .unwrap_or_else(|| format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use tokio::time::advance;

    use super::*;

    const POWER: &str = "example.org/power";

    fn backoff() -> Backoff {
        Backoff::new(Pauses::default(), &[POWER])
    }

    fn object(uid: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            uid: Some(uid.into()),
            generation: Some(1),
            ..ObjectMeta::default()
        };
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    #[test]
    fn pauses_double_up_to_the_cap_with_jitter_below() {
        let (backoff, object) = (backoff(), object("a"));
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
            let pause = backoff.failed(&object);
            assert!(
                pause <= whole && pause >= whole.mul_f64(0.75),
                "{pause:?} of {whole:?}"
            );
        }
        for _ in 0..100 {
            assert!(backoff.failed(&object) <= Duration::from_mins(1));
        }
        let pauses: Vec<_> = (0..5).map(|_| backoff.failed(&object)).collect();
        assert!(
            pauses.iter().any(|pause| *pause != pauses[0]),
            "no jitter: {pauses:?}"
        );
    }

    #[test]
    fn objects_fail_each_for_itself_and_success_forgets() {
        let (backoff, a, b) = (backoff(), object("a"), object("b"));
        for _ in 0..5 {
            backoff.failed(&a);
        }
        assert!(backoff.failed(&b) <= Duration::from_secs(1));
        assert_eq!((backoff.failures(&a), backoff.failures(&b)), (5, 1));
        backoff.succeeded(&a);
        assert_eq!((backoff.failures(&a), backoff.failures(&b)), (0, 1));
        assert!(backoff.failed(&a) <= Duration::from_secs(1));
    }

    #[test]
    fn an_edit_of_the_spec_or_a_request_begins_anew_but_our_own_writes_do_not() {
        let (backoff, mut object) = (backoff(), object("a"));
        let fail_much = |object: &ConfigMap| {
            for _ in 0..5 {
                backoff.failed(object);
            }
            assert!(backoff.remaining(object).is_some());
        };
        fail_much(&object);
        object.metadata.resource_version = Some("77".into());
        object
            .annotations_mut()
            .insert("example.org/fact".into(), "ours".into());
        assert_eq!(backoff.failures(&object), 5);
        assert!(backoff.remaining(&object).is_some());

        object.metadata.generation = Some(2);
        assert_eq!((backoff.failures(&object), backoff.remaining(&object)), (0, None));
        assert!(backoff.failed(&object) <= Duration::from_secs(1));

        fail_much(&object);
        object.annotations_mut().insert(POWER.into(), "on".into());
        assert_eq!(backoff.remaining(&object), None);
        assert!(backoff.failed(&object) <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_and_what_nobody_tries_is_forgotten() {
        let (backoff, a, b) = (backoff(), object("a"), object("b"));
        let pause = backoff.failed(&a);
        assert_eq!(backoff.remaining(&a), Some(pause));
        advance(pause).await;
        assert_eq!(backoff.remaining(&a), None);
        assert_eq!(backoff.failures(&a), 1);
        advance(Duration::from_mins(4)).await;
        backoff.failed(&b);
        assert_eq!(backoff.failures(&a), 0);
        assert_eq!(backoff.lock().len(), 1);
    }
}
