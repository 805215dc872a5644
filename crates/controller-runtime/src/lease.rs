//! Leader election on a `coordination.k8s.io/v1` Lease: at most one process acts, by its own monotonic clock.
//!
//! The rules are those of Kubernetes' own components, so both exclude each other on one Lease. A record expires when
//! it has not changed for its duration *as this process saw it*: no clocks are compared. Every write carries the
//! `resourceVersion` that was read, so the API server arbitrates. A holder believes in its lease until
//! [`Timings::renew_deadline`] after it *sent* the last write that succeeded, others wait for the whole
//! [`Timings::lease_duration`] after they *saw* it: between the two nobody acts.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::process::DRAIN;
use crate::telemetry::causes;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_secs(2);
/// Pause between two attempts to give it back.
const RELEASE_RETRY: Duration = Duration::from_millis(100);
/// Pauses between two looks grow by up to this part of themselves, so that candidates do not march in step.
const JITTER: f64 = 0.2;
/// Requests that fit into the renew deadline, so that one lost packet does not cost the lease.
const REQUESTS_PER_DEADLINE: u32 = 3;

/// Durations of an election. All candidates of a lease should agree on them.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// Others wait this long for a holder that they hear nothing of. Whole seconds: the record has no fractions.
    pub lease_duration: Duration,
    /// A holder acts no longer than this after the last renewal that succeeded. The difference to `lease_duration`
    /// is the margin for what is under way and for clocks of different speed.
    pub renew_deadline: Duration,
    /// Pause between renewals, and between a follower's looks.
    pub retry_period: Duration,
}

impl Default for Timings {
    /// 15 s, 10 s and 2 s, as Kubernetes' own components have them.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why [`Elector::new`] refuses timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    /// The record holds whole seconds, at least one.
    #[error("lease duration {0:?} is not a whole number of seconds above zero")]
    NotWholeSeconds(Duration),
    /// A holder would act when another may have taken over.
    #[error("renew deadline {renew:?} must be shorter than the lease duration {lease:?}")]
    NoMargin {
        /// The renew deadline.
        renew: Duration,
        /// The lease duration.
        lease: Duration,
    },
    /// One missed renewal would cost the lease.
    #[error("renew deadline {renew:?} must be more than twice the retry period {retry:?}")]
    NoSecondTry {
        /// The renew deadline.
        renew: Duration,
        /// The retry period.
        retry: Duration,
    },
}

impl Timings {
    fn check(&self) -> Result<(), TimingsError> {
        let (lease, renew, retry) = (self.lease_duration, self.renew_deadline, self.retry_period);
        if lease.is_zero() || lease.subsec_nanos() != 0 || lease.as_secs() > i32::MAX as u64 {
            Err(TimingsError::NotWholeSeconds(lease))
        } else if renew >= lease {
            Err(TimingsError::NoMargin { renew, lease })
        } else if renew <= retry * 2 {
            Err(TimingsError::NoSecondTry { renew, retry })
        } else {
            Ok(())
        }
    }
}

/// Answers, from any thread and without waiting, whether this process may act right now.
#[derive(Clone)]
pub struct Leadership(Basis);

#[derive(Clone)]
enum Basis {
    Lease(watch::Receiver<Option<Instant>>),
    Unelected,
}

impl Leadership {
    /// For a process that runs without election: it is told to be the only one.
    pub fn unelected() -> Self {
        Self(Basis::Unelected)
    }

    /// Whether the lease is held at this instant. It turns false at the renew deadline by the clock alone, however
    /// stuck the elector or the whole runtime may be; the margin up to the takeover by another is
    /// `lease_duration - renew_deadline`.
    pub fn holds(&self) -> bool {
        match &self.0 {
            Basis::Lease(until) => until.borrow().is_some_and(|until| Instant::now() < until),
            Basis::Unelected => true,
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("holds", &self.holds())
            .finish()
    }
}

/// An identity that no other process has, a restart of this one included. `instance` is the pod's name or the host's.
pub fn unique_identity(instance: &str) -> String {
    format!("{instance}_{:016x}", rand::random::<u64>())
}

/// One candidate for one Lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    timings: Timings,
    seen: Option<Seen>,
    held_until: watch::Sender<Option<Instant>>,
}

/// The record as last seen.
struct Seen {
    lease: Lease,
    holder: Option<String>,
    expires: Instant,
}

/// Where an attempt left this candidate.
enum Standing {
    Leads,
    Follows { expires: Instant },
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Elector {
    /// A candidate for the Lease `namespace/name`. `identity` must be [unique](unique_identity).
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timings: Timings,
    ) -> Result<Self, TimingsError> {
        timings.check()?;
        Ok(Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            timings,
            seen: None,
            held_until: watch::Sender::new(None),
        })
    }

    /// A handle for those who act.
    pub fn leadership(&self) -> Leadership {
        Leadership(Basis::Lease(self.held_until.subscribe()))
    }

    /// Campaigns, runs `work` while the lease is held, and campaigns again when it was lost.
    ///
    /// `work` gets the token of its term: cancelled when the lease is lost or `stop` is. It then has [`DRAIN`] to
    /// end, or is dropped; the next term starts only afterwards. On `stop` the lease is kept until `work` has ended
    /// and then given back. Returns after `stop`, or when `work` ends by itself, with its result.
    pub async fn run<W, F, E>(mut self, stop: CancellationToken, mut work: W) -> Result<(), E>
    where
        W: FnMut(CancellationToken) -> F,
        F: Future<Output = Result<(), E>>,
    {
        let result = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                () = self.campaign() => {}
            }
            info!(lease = %self.name, identity = %self.identity, "leads");
            let term = stop.child_token();
            let result = self.lead(&term, work(term.clone())).await;
            let lost = term.is_cancelled() && !stop.is_cancelled();
            if !lost || result.is_err() {
                break result;
            }
        };
        self.release().await;
        result
    }

    /// Returns when the lease is held.
    async fn campaign(&mut self) {
        loop {
            let pause = self
                .timings
                .retry_period
                .mul_f64(1.0 + JITTER * rand::random::<f64>());
            let pause = match self.attempt().await {
                Ok(Standing::Leads) => return,
                // Not later than when the record expires: a takeover need not wait for the next look.
                Ok(Standing::Follows { expires }) => pause.min(
                    expires.saturating_duration_since(Instant::now())
                        + self.timings.retry_period.mul_f64(JITTER * rand::random::<f64>()),
                ),
                Err(error) => {
                    warn!(lease = %self.name, error = causes(&error), "cannot campaign");
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews until the work has ended, or the lease is lost and the work drained.
    async fn lead<E>(
        &mut self,
        term: &CancellationToken,
        work: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        let mut work = pin!(work);
        let mut overdue = pin!(async {
            term.cancelled().await;
            sleep(DRAIN).await;
        });
        tokio::select! {
            result = &mut work => return result,
            () = &mut overdue => {}
            () = self.keep() => {
                warn!(lease = %self.name, "lost");
                term.cancel();
                tokio::select! {
                    result = &mut work => return result,
                    () = &mut overdue => {}
                }
            }
        }
        error!(lease = %self.name, "work did not end within {DRAIN:?} of its term and is dropped");
        Ok(())
    }

    /// Renews the lease; returns when it is lost.
    async fn keep(&mut self) {
        loop {
            let Some(until) = *self.held_until.borrow() else {
                return;
            };
            let retry = self.timings.retry_period;
            let renewal = async {
                sleep(retry).await;
                self.attempt().await
            };
            match timeout_at(until, renewal).await {
                Ok(Ok(Standing::Leads)) => {}
                Ok(Ok(Standing::Follows { .. })) | Err(_) => return,
                Ok(Err(error)) => warn!(lease = %self.name, error = causes(&error), "cannot renew"),
            }
        }
    }

    /// Writes our name into the record where the rules permit.
    async fn attempt(&mut self) -> Result<Standing, AttemptError> {
        // What a holder wrote last is most likely what is there: one request instead of two.
        if let Some(seen) = &self.seen
            && seen.holder.as_ref() == Some(&self.identity)
        {
            match self.write(Some(seen.lease.clone())).await {
                Ok(()) => return Ok(Standing::Leads),
                Err(error) => {
                    debug!(lease = %self.name, error = causes(&error), "cannot renew without a look");
                }
            }
        }
        let found = self.bounded(self.api.get_opt(&self.name)).await?;
        if let Some(lease) = &found {
            self.observe(lease);
        }
        // A record that somebody deleted still binds for as long as it would have.
        if let Some(seen) = &self.seen
            && seen
                .holder
                .as_ref()
                .is_some_and(|holder| *holder != self.identity)
            && Instant::now() < seen.expires
        {
            self.held_until.send_replace(None);
            return Ok(Standing::Follows {
                expires: seen.expires,
            });
        }
        self.write(found).await?;
        Ok(Standing::Leads)
    }

    /// Writes our name over the record as it was read, or creates it. From success on the lease is held.
    async fn write(&mut self, found: Option<Lease>) -> Result<(), AttemptError> {
        let parameters = PostParams::default();
        let exists = found.is_some();
        let ours = self.signed(found.unwrap_or_else(|| self.unsigned()));
        let sent = Instant::now();
        let written = if exists {
            self.bounded(self.api.replace(&self.name, &parameters, &ours))
                .await?
        } else {
            self.bounded(self.api.create(&parameters, &ours)).await?
        };
        self.observe(&written);
        self.held_until
            .send_replace(Some(sent + self.timings.renew_deadline));
        Ok(())
    }

    /// Notes when a record was first seen. Any write counts as a sign of life, whatever its times say.
    fn observe(&mut self, lease: &Lease) {
        let version = lease.resource_version();
        if self
            .seen
            .as_ref()
            .is_some_and(|seen| seen.lease.resource_version() == version)
        {
            return;
        }
        let (holder, seconds) = lease.spec.as_ref().map_or((None, None), |spec| {
            (spec.holder_identity.clone(), spec.lease_duration_seconds)
        });
        // The duration is the holder's promise, so the record's own counts.
        let duration = seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timings.lease_duration, Duration::from_secs);
        self.seen = Some(Seen {
            lease: lease.clone(),
            holder: holder.filter(|holder| !holder.is_empty()),
            expires: Instant::now() + duration,
        });
    }

    fn unsigned(&self) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: None }
    }

    /// The record with our name, everything that is not the election's left as it is.
    fn signed(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(now.clone());
        }
        spec.lease_duration_seconds = i32::try_from(self.timings.lease_duration.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    /// Gives the lease back, so that a follower need not wait for its end.
    async fn release(&mut self) {
        // First of all nobody here acts any more.
        self.held_until.send_replace(None);
        let released = async {
            while let Err(error) = self.give_back().await {
                debug!(lease = %self.name, error = causes(&error), "cannot release yet");
                sleep(RELEASE_RETRY).await;
            }
        };
        if timeout(RELEASE, released).await.is_err() {
            warn!(lease = %self.name, "not released: a follower has to wait for its end");
        }
    }

    async fn give_back(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        match &mut lease.spec {
            Some(spec) if spec.holder_identity.as_ref() == Some(&self.identity) => {
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            _ => return Ok(()),
        }
        self.api
            .replace(&self.name, &PostParams::default(), &lease)
            .await?;
        info!(lease = %self.name, "released");
        Ok(())
    }

    async fn bounded<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, AttemptError> {
        let limit = self.timings.renew_deadline / REQUESTS_PER_DEADLINE;
        match timeout(limit, request).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(AttemptError::Late(limit)),
        }
    }
}
