//! Kubernetes glue of the managers: who may act ([`lease`]), how a controller is run ([`controller`], [`backoff`]),
//! who writes what ([`writer`], [`events`]), and what a process shows and how it ends ([`health`], [`telemetry`],
//! [`process`]).

pub mod backoff;
pub mod controller;
pub mod events;
pub mod health;
pub mod lease;
pub mod process;
pub mod telemetry;
pub mod writer;

#[cfg(test)]
mod scripted;
