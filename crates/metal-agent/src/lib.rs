//! First process of a machine that booted to be discovered: it says what the machine is, then does as it is told.
//!
//! [`agent::run`] is the whole story over the trait [`Host`]; [`Machine`] is the host that the kernel gives to its first
//! process. Only [`wipe`] writes to a disk, and only on an order that carries a generation.

pub mod agent;
pub mod arguments;
pub mod dhcp;
mod host;
pub mod inventory;
mod machine;
pub mod modules;
pub mod network;
pub mod wipe;

pub use host::Host;
pub use machine::Machine;
