//! What a machine really is, behind its model: memory only, or a virtual machine ([`crate::qemu`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::machine::BootDevice;

/// Counts the starts of a host, so that news from an earlier one is recognised.
pub type Run = u64;

/// What a host did by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    /// Switched itself off.
    ShutDown,
    /// Restarted: it is stopped, and wants to be started again.
    Restarted,
}

/// A host that can be started and stopped. No method may block: an implementation with real work queues it.
///
/// There is no reset: a reset is a stop, the model's self test, and a start with a newly chosen boot order.
pub trait Backend: Send + Sync {
    /// Starts the host; it tries `order` in order. Its later [`HostEvent`]s carry `run`.
    fn power_on(&self, run: Run, order: &[BootDevice]);
    /// Stops the host at once.
    fn power_off(&self);
    /// Asks the host to shut down; it may take its time, or never do.
    fn shut_down(&self);
}

/// Where a back end reports what its host did.
pub type HostEvents = UnboundedSender<(Run, HostEvent)>;

/// A host that exists in memory only: it boots whatever it is given, and shuts down when asked.
pub struct InMemory {
    clock: Arc<Clock>,
    shut_down_takes: Duration,
    run: AtomicU64,
    events: HostEvents,
}

impl InMemory {
    /// A host that needs `shut_down_takes` from being asked until it is off.
    pub fn new(clock: Arc<Clock>, shut_down_takes: Duration, events: HostEvents) -> Self {
        Self {
            clock,
            shut_down_takes,
            run: AtomicU64::new(0),
            events,
        }
    }
}

impl Backend for InMemory {
    fn power_on(&self, run: Run, _order: &[BootDevice]) {
        self.run.store(run, Ordering::Relaxed);
    }

    fn power_off(&self) {}

    fn shut_down(&self) {
        let (clock, events) = (self.clock.clone(), self.events.clone());
        let (run, due) = (
            self.run.load(Ordering::Relaxed),
            self.clock.now() + self.shut_down_takes,
        );
        tokio::spawn(async move {
            clock.sleep_until(Some(due)).await;
            // the BMC is gone when the simulator ends
            events.send((run, HostEvent::ShutDown)).ok();
        });
    }
}
