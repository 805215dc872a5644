//! Kubernetes glue of the managers: who may act ([`lease`]), how a controller is run ([`controller`], [`backoff`]),
//! who writes what ([`writer`], [`events`]), how a process finds the API server and reads its flags ([`client`],
//! [`flags`]), what it shows and how it ends ([`health`], [`telemetry`], [`process`]).

pub mod backoff;
pub mod client;
pub mod controller;
pub mod events;
pub mod flags;
pub mod health;
pub mod lease;
pub mod process;
pub mod telemetry;
pub mod writer;

#[cfg(test)]
mod scripted;
