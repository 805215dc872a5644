//! What machines talk to while they boot: a DHCP proxy beside the site's own DHCP server, TFTP, HTTP, and the agent's
//! gRPC service. Knows no Kubernetes: all that is read of machines and told of them goes through [`Directory`].

mod agent_api;
mod agent_boots;
pub mod dhcp;
mod directory;
#[cfg(test)]
mod fake;
mod files;
mod hint;
pub mod http;
mod limits;
mod metrics;
mod peer;
mod server;
pub mod sightings;
pub mod tftp;

pub use directory::{
    Address, Directory, Environment, NoEnvironment, Progress, RegisterError, Sighting, TOLD_AGENT,
    TOLD_ENVIRONMENT, TOLD_WAIT, UNSERVED, Unavailable,
};
pub use metrics::HttpMetrics;

/// Files that may be open at one time within the bounds of all listeners: each connection with a file that it downloads,
/// each TFTP transfer with its own, and a few hundred for everything else of a manager.
pub const OPEN_FILES: u64 = 2 * server::MAX_CONNECTIONS as u64 + 2 * tftp::MAX_TRANSFERS as u64 + 512;
