//! What a power command does next.
//!
//! [`step`] is asked again whenever time has passed or a reading came in, and whoever asks does just what it says:
//!
//! * [`Step::Send`]: store the intent, and only when it is stored send the command, once. Whatever becomes of the reply,
//!   the next thing is a reading. A process that dies in between leaves an intent that may or may not have been sent;
//!   the next one reads first and finds out.
//! * [`Step::Read`]: read the power state at that time, and tell the user why.
//! * [`Step::End`]: store the intent with its outcome.

mod intent;
mod readings;
mod step;
mod words;

pub use intent::{BootOrder, Command, Intent, Outcome, OverrideSeen, Stage};
pub use readings::{BootMark, Reading, Readings};
pub use step::{Observed, Step, step};
pub use words::{Unconfirmed, Wait};

#[cfg(test)]
mod tests;
