//! Whether this replica may send at all, asked right before every datagram and request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a datagram or request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading, logging in and out.
    Read,
    /// A power command, a boot override: anything that changes the machine.
    Write,
}

/// Why nothing may be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fenced(pub String);

/// Who may send. Asked often and at the last moment, so it must answer at once, from memory.
///
/// Invariants I-1, I-5 and I-6: a replica without the lease sends nothing; a Server that [`lifecycle::may_command`] refuses gets no
/// writes.
/// Asking and sending are not one step: at most the one datagram already past the fence still goes out, and a later reading absorbs it.
pub trait Fence: Send + Sync + 'static {
    /// Whether a datagram or request may go to this BMC now.
    fn check(&self, access: Access) -> Result<(), Fenced>;
}

/// The fence of one BMC, with what its driver is doing at the moment: retransmissions know no more than that they are sent.
#[derive(Clone)]
pub struct Gate {
    fence: Arc<dyn Fence>,
    writing: Arc<AtomicBool>,
}

impl Gate {
    /// A gate before which nothing is being written.
    pub fn new(fence: Arc<dyn Fence>) -> Self {
        Self {
            fence,
            writing: Arc::default(),
        }
    }

    /// Asks the fence for what the driver is doing.
    pub fn check(&self) -> Result<(), Fenced> {
        let writing = self.writing.load(Ordering::Relaxed);
        self.fence
            .check(if writing { Access::Write } else { Access::Read })
    }

    /// Asks the fence before something is begun that will write.
    pub(crate) fn may_write(&self) -> Result<(), Fenced> {
        self.fence.check(Access::Write)
    }

    /// Declares that what is sent changes the machine, until the guard is dropped. One driver does one thing at a time.
    #[must_use]
    pub(crate) fn writing(&self) -> Writing {
        self.writing.store(true, Ordering::Relaxed);
        Writing(self.writing.clone())
    }
}

/// While it lives, what is sent is a write.
pub(crate) struct Writing(Arc<AtomicBool>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
