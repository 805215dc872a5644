//! The vocabulary of machines that every other crate shares: names, addresses, power states, boot targets.
//!
//! Plain data with text forms. No clock, no socket, no Kubernetes.

mod identity;
mod power;

pub use identity::{Mac, ParseMacError, ParseServerIdError, ServerId};
pub use power::{BootMode, BootTarget, ParseWordError, PowerAction, PowerState};
