//! Powers machines through their BMCs, without knowing Kubernetes.
//!
//! ```text
//!  Intent ──► actor (one task per BMC) ──► lifecycle::power::step ──► store, send once, read back
//!               │  credentials, back-off, limits        │
//!               └──────── Bmc trait ◄── driver: ipmi | redfish ◄── Fence, before every datagram and request
//! ```
//!
//! What it needs from whoever runs it are two traits: [`IntentStore`] keeps an intent before its command is sent, and [`Fence`]
//! says whether this replica may send at all.

mod actor;
mod backoff;
mod bmc;
mod clock;
pub mod credentials;
pub mod driver;
mod endpoint;
mod error;
mod fence;
mod limits;

pub use actor::{Handle, IntentStore, Parts, Progress, Report, Settings, Stopped, StoreError, spawn};
pub use backoff::Backoff;
pub use bmc::{Bmc, BootSetting, Info, Status};
pub use clock::Clock;
pub use endpoint::{Endpoint, EndpointError, EndpointSpec};
pub use error::BmcError;
pub use fence::{Access, Fence, Fenced, Gate};
pub use limits::{Limits, Quotas};
