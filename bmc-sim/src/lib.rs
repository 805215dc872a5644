//! Simulated BMCs: IPMI and Redfish front ends over simulated machines, with faults and a power log.

pub mod backend;
pub mod bmc;
pub mod clock;
pub mod config;
pub mod fault;
pub mod machine;
pub mod power_log;
pub mod redfish_front;
pub mod users;
pub mod verb;
