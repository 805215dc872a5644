//! The kinds of both API groups: their types, their validation and the CRD manifests made from them.
//!
//! Types are tolerant readers: one object that an older release stored, or a newer one wrote, must never keep a
//! watch from listing the others. So closed sets of words keep unknown ones, and numbers have the width of the schema.
//! What makes no sense is refused on write by the API server, through the schema.
//!
//! A client, retries and caches live elsewhere; this crate has no I/O but the `crds` binary.

pub mod cluster_api;
mod condition;
pub mod crds;
pub mod infrastructure;
pub mod metal;
pub mod names;
mod patch;
mod words;

pub use condition::{Condition, ConditionStatus};
pub use patch::{ConfigPatch, PatchOp};

#[cfg(test)]
mod tests;
