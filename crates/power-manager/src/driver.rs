//! The drivers, and how one is chosen where the user did not.

mod ipmi;
mod probe;
mod redfish;

pub use self::ipmi::{IpmiBmc, IpmiCredentials};
pub use self::probe::{Choice, Undecided, probe};
pub use self::redfish::RedfishBmc;
