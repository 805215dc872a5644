//! IPMI 2.0 over LAN: messages, RMCP+ sessions for both roles, a UDP client.
//!
//! * [`codec`]: bytes of a datagram to structs and back.
//! * [`command`]: the commands that hardware control needs, as typed requests and responses for both roles.
//! * [`session`]: the session machines, [`session::console`] and [`session::bmc`]. No sockets, clocks or random
//!   sources inside.
//! * [`client`]: the console's machine on a UDP socket.
//!
//! Cipher suites 17 and 3 are spoken, nothing weaker.

pub mod client;
pub mod codec;
pub mod command;
mod crypto;
pub mod fuzz;
pub mod session;
#[cfg(test)]
mod testdata;
mod types;

pub use crypto::SealError;
pub use types::{CipherSuite, Privilege, Secret, TooLong, UserName};
