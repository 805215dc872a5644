//! What travels in one UDP datagram: bytes to structs and back, no keys, no state.

mod bytes;
mod lan;
mod packet;
mod setup;
#[cfg(test)]
mod tests;

pub mod asf;

pub use bytes::DecodeError;
pub(crate) use bytes::Reader;
pub use lan::{Address, BMC_ADDRESS, CONSOLE_ADDRESS, LanMessage};
pub(crate) use packet::rmcp_plus_header;
pub use packet::{Datagram, Ipmi15, PayloadType, RmcpPlus};
pub use setup::{
    Algorithms, OpenSessionRequest, OpenSessionResponse, Rakp1, Rakp2, Rakp2Body, Rakp3, Rakp4, Role,
    SessionGrant, StatusCode,
};
