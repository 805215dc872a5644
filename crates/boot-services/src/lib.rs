//! What machines talk to while they boot: a DHCP proxy beside the site's own DHCP server, TFTP, HTTP, and the agent's
//! gRPC service. Knows no Kubernetes: all that is read of machines and told of them goes through [`Directory`].

mod agent_api;
pub mod dhcp;
mod directory;
#[cfg(test)]
mod fake;
mod files;
mod hint;
pub mod http;
mod limits;
mod metrics;
mod server;
pub mod sightings;
pub mod tftp;

pub use directory::{Address, Directory, RegisterError, Sighting, Unavailable};
pub use metrics::HttpMetrics;
