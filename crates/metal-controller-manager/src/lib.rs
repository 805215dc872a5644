//! The controllers of the metal group on a management cluster: what they decide is in `lifecycle`, how BMCs are talked
//! to in `power-manager`; here both meet the API server.

mod args;
mod bmcs;
mod boot;
mod claim;
mod environment;
mod fence;
mod intents;
mod keep;
mod manager;
mod server;
mod server_binding;
mod server_class;

pub use args::Args;
pub use manager::run;
