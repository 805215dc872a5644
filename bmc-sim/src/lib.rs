//! Simulated BMCs: IPMI and Redfish front ends over simulated machines, with faults and a power log.
//!
//! ```text
//!  ipmi_front ──┐                       ┌── machine   pure: power, boot override, boots
//!               ├── bmc (one per BMC) ──┼── users, fault
//!  redfish_front┤                       ├── power_log one JSON line per command and per edge
//!  control ─────┘                       └── backend   what the machine really is: memory, or qemu
//! ```
//!
//! [`config`] reads the fleet file, [`fleet`] runs all of it on one [`clock`], [`cli`] is the program.

pub mod backend;
pub mod bmc;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod fault;
pub mod fleet;
pub mod ipmi_front;
pub mod machine;
pub mod power_log;
pub mod qemu;
pub mod redfish_front;
pub mod users;
pub mod verb;
