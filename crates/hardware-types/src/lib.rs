//! The vocabulary of machines that every other crate shares: names, addresses, power states, boot targets.
//!
//! Plain data with text forms. No clock, no socket, no Kubernetes.

mod identity;
pub mod inventory;
mod power;
pub mod wipe;

pub use identity::{Mac, ParseMacError, ParseServerIdError, ServerId};
pub use inventory::Hardware;
pub use power::{BootMode, BootTarget, ParseWordError, PowerAction, PowerState};
