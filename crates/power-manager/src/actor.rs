//! One task per BMC: all that is sent to it goes through here, one thing at a time (I-6).

mod report;
mod task;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hardware_types::ServerId;
use lifecycle::Timings;
use lifecycle::power::Intent;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::report::{Progress, Report};
use self::task::{Actor, Order};
use crate::credentials::{CredentialKey, Ledger, Verdict};
use crate::{Bmc, Clock, Gate, Limits};

/// Keeps intents where a successor finds them.
pub trait IntentStore: Send + Sync + 'static {
    /// Stores the intent. `Ok` only when it is stored: the command is sent next.
    fn store(&self, server: ServerId, intent: &Intent)
    -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why an intent was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not now; worth another try.
    #[error("the power intent was not stored: {0}")]
    Retry(String),
    /// The Server is gone, or has another intent by now: this one is given up.
    #[error("the power intent is not the Server's any more: {0}")]
    Replaced(String),
}

/// What all actors share.
pub struct Parts<S> {
    /// Where intents are stored.
    pub store: Arc<S>,
    /// How often BMCs are asked.
    pub limits: Arc<Limits>,
    /// What BMCs say of each Secret.
    pub ledger: Ledger,
    /// The clock.
    pub clock: Clock,
}

impl<S> Clone for Parts<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            limits: self.limits.clone(),
            ledger: self.ledger.clone(),
            clock: self.clock,
        }
    }
}

/// What an actor needs to know of its BMC.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The machine.
    pub server: ServerId,
    /// Endpoint and version of the Secret.
    pub key: CredentialKey,
    /// What was stored of the credentials.
    pub verdict: Option<Verdict>,
    /// Deadlines of power commands, as this platform needs them.
    pub timings: Timings,
    /// How often the power state is read when nothing is under way. Below 57 s: BMCs end an IPMI session that is idle for
    /// 60 s ± 3 s (IPMI 2.0 §6.12.15).
    pub poll: Duration,
    /// First and longest wait after a failure when nothing is under way.
    pub backoff: (Duration, Duration),
}

impl Settings {
    /// A BMC of which nothing is known, with the defaults: power read every 45 s, back-off from 2 s to 5 min.
    pub fn new(server: ServerId, key: CredentialKey) -> Self {
        Self {
            server,
            key,
            verdict: None,
            timings: Timings::default(),
            poll: Duration::from_secs(45),
            backoff: (Duration::from_secs(2), Duration::from_mins(5)),
        }
    }
}

/// An actor at work. Dropping it stops the actor at once; [`Handle::stop`] lets it close its session.
pub struct Handle {
    orders: mpsc::Sender<Order>,
    report: watch::Receiver<Report>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Orders that wait while the BMC is being talked to. There is one intent per Server, so there are never many.
const QUEUE: usize = 16;

/// Starts the actor of one BMC. `gate` is the one that its driver asks.
pub fn spawn<B: Bmc, S: IntentStore>(bmc: B, gate: Gate, settings: Settings, parts: Parts<S>) -> Handle {
    let (orders, received) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let (actor, report) = Actor::new(bmc, gate, settings, parts);
    let task = tokio::spawn(actor.run(received, stop.clone()));
    Handle {
        orders,
        report,
        stop,
        task,
    }
}

/// The actor has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the power manager has stopped")]
pub struct Stopped;

impl Handle {
    /// Carries an intent out, from wherever it stands. It must be the one that is stored for the Server; one that was
    /// under way is given up for it.
    pub async fn carry_out(&self, intent: Intent) -> Result<(), Stopped> {
        self.order(Order::CarryOut(Box::new(intent))).await
    }

    /// Gives up whatever is under way: nothing more is sent for it.
    pub async fn give_up(&self) -> Result<(), Stopped> {
        self.order(Order::GiveUp).await
    }

    /// The machine was seen booting (DHCP, iPXE, agent): what shows a reset where its BMC does not.
    pub async fn booted(&self) -> Result<(), Stopped> {
        self.order(Order::Booted).await
    }

    /// Reads the power state now, whatever the back-off says.
    pub async fn refresh(&self) -> Result<(), Stopped> {
        self.order(Order::Refresh).await
    }

    /// Shows the credentials again: a user asked for it.
    pub async fn retry_credentials(&self) -> Result<(), Stopped> {
        self.order(Order::RetryCredentials).await
    }

    async fn order(&self, order: Order) -> Result<(), Stopped> {
        self.orders.send(order).await.map_err(|_| Stopped)
    }

    /// What the actor knows; changes only when something did.
    pub fn report(&self) -> watch::Receiver<Report> {
        self.report.clone()
    }

    /// Stops the actor: what is being sent is let go, the session is closed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // it can only have panicked, and then there is nothing to close
        let _ = (&mut self.task).await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
