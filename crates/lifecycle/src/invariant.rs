//! The invariants, watched from outside: what no sequence of decisions, crashes and faults may lead to.
//!
//! A [`Monitor`] is told facts from the API and lines of the BMCs' power logs, in the order of their times, and answers with
//! the first violation. It shares no code with the decisions that it watches: models, property tests and the observer of
//! real runs feed the same one.

mod disks;
mod monitor;
mod release;
mod violation;

pub use monitor::{Event, Fact, Monitor, Tolerance};
pub use release::Hold;
pub use violation::{Holder, Violation, Write};

#[cfg(test)]
mod tests;
