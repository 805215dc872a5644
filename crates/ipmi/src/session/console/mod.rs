//! The console's side of RMCP+: opens a session, sends commands in it, pairs each with its own answer.

mod attempts;
mod error;
mod opening;
mod outside;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::Random;
use crate::command::CompletionCode;
use crate::types::{Privilege, Secret, UserName};

pub use error::{CommandName, ErrorKind, OpenError, PrivilegeRefusal, Refusal, RequestError, Withheld};
pub use opening::Opening;
pub use outside::{OutsideError, OutsideRequest, Ping};
pub use session::Session;

/// An exchange of datagrams that ends with an output. Whoever drives it sends what it says, hands it every datagram
/// that comes from the BMC, and calls [`Machine::step`] again after each of these and when the time has come.
pub trait Machine {
    /// What it ends with.
    type Output;

    /// What to do now. `now` is the time since any fixed moment and must not go back.
    fn step(&mut self, now: Duration, random: Random<'_>) -> Step<Self::Output>;

    /// Takes one datagram. What does not belong to this exchange is ignored.
    fn receive(&mut self, datagram: &[u8]);
}

/// What the driver of a [`Machine`] does next.
#[derive(Debug)]
pub enum Step<T> {
    /// Send this datagram, then step again.
    Send(Vec<u8>),
    /// Step again when a datagram has come, or at this time.
    WaitUntil(Duration),
    /// It is over. What further steps return means nothing.
    Done(T),
}

/// How often a datagram is sent and how long an answer may take: the n-th attempt waits n times `first_wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Wait after the first attempt.
    pub first_wait: Duration,
    /// Attempts, at least one.
    pub attempts: u32,
}

impl Default for Timing {
    /// 1 + 2 + 3 + 4 = 10 s.
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            attempts: 4,
        }
    }
}

/// Whether a command may be sent again when no answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// One datagram, whatever happens: for power commands, clears and password changes. Without an answer the outcome
    /// is unknown ([`RequestError::NoReply`]) and the state must be read.
    Once,
    /// The same request (same rqSeq) under new session sequence numbers: for reads and idempotent writes.
    Retry,
}

/// Who logs in, and as what.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub user: UserName,
    /// The user's password.
    pub password: Secret,
    /// Kg, where the BMC has one.
    pub kg: Option<Secret>,
    /// The privilege that the session shall have.
    pub privilege: Privilege,
}

/// What a BMC answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What became of the command.
    pub code: CompletionCode,
    /// Response data after the completion code.
    pub data: Vec<u8>,
}
