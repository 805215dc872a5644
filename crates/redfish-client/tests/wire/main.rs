//! What the client puts on the wire, against a scripted server that records every byte's meaning.

mod bounds;
mod fence;
mod power;
mod server;
mod sessions;
mod tls;
mod writes;
