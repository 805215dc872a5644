//! The power manager against simulated BMCs, over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod failures;
mod identity;
mod power;
mod swapped;
mod world;
