//! What the agent on a machine and the boot services say to each other.
//!
//! The messages are generated from `proto/api.proto`; [`Registration`] is what they mean, checked. A machine that has not
//! been accepted can send anything: every list, text and number has a bound, and an error names what broke it.

mod address;
mod registration;
mod wipe;

pub use address::why_not_reachable;
pub use registration::{Invalid, MAX_ITEMS, MAX_TEXT, Registration, server_id};
pub use wipe::{Token, certificate};

/// Messages, client and server of package `api`, generated.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod api {
    tonic::include_proto!("api");
}
