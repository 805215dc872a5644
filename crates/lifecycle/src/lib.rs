//! What a machine does next: decisions as pure functions over plain data, and the invariants that none of them may break.
//!
//! No clock, no socket, no Kubernetes. Whoever calls brings the time and what was observed; the answer says what to do,
//! and when it says "wait" it says why, in words that reach a user.

pub mod boot;
pub mod claim;
pub mod facts;
mod gate;
mod identity;
pub mod invariant;
pub mod machine;
pub mod power;
pub mod server;
mod time;
mod timings;
mod trouble;
pub mod wipe;

pub use gate::{HandsOff, Observed, Refusal, hands_off, may_command};
pub use identity::{BmcIdentity, IdentityVerdict, compare_identity};
pub use time::Time;
pub use timings::{PlatformTimings, Timings};
pub use trouble::Trouble;
