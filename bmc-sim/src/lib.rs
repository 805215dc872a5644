//! Simulated BMCs: IPMI and Redfish front ends over simulated machines, with faults and a power log.

pub mod clock;
pub mod machine;
pub mod verb;
