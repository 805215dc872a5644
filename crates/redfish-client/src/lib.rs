//! A lenient, typed Redfish client (DSP0266, DSP0268) for what a machine's life needs: power, boot override, accounts.
//!
//! * Every property is optional and read by itself: what a BMC writes wrongly costs one [`Warning`].
//! * Resources are found by the links that the BMC gives; [`Client::get`] reads any of them as JSON.
//! * [`BeforeSend`] is asked right before every request.
//! * Failures come in classes ([`Cause`]) that say whether a change may have arrived ([`Error::maybe_sent`]).
//! * Secrets are in no `Debug`, no error and no log line.

mod client;
mod decode;
mod endpoint;
mod error;
mod fuzz;
mod manager;
mod messages;
mod resources;
mod secret;
mod session;
mod system;
mod tls;
mod transport;
mod write;

pub use client::{Client, Options};
pub use decode::Warning;
pub use endpoint::{Endpoint, Link, ParseEndpointError};
pub use error::{Cause, Error, Reach};
pub use fuzz::fuzz;
pub use messages::{Message, Messages};
pub use resources::{Account, Boot, Manager, Override, Reset, ResetAction, Resource, ServiceRoot, System};
pub use secret::{Credentials, Secret};
pub use tls::{CaBundle, CaBundleError, Fingerprint, ParseFingerprintError, TlsPolicy};
pub use transport::{BeforeSend, Transport, TransportError};
pub use write::{Accepted, Task};
