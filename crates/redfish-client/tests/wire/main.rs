//! What the client puts on the wire, against a scripted server that records every byte's meaning.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod bounds;
mod fence;
mod power;
mod server;
mod sessions;
mod tls;
mod writes;
