//! Real Kubernetes and Cluster API on one machine, for tests and the demo: etcd, two API servers, the controller
//! manager, Cluster API's core and the Talos bootstrap provider run as processes in a network namespace of their own.
//!
//! A [`Bed`] is everything of one run. It starts in about ten seconds, several runs fit beside each other, and what a
//! killed run leaves behind is removed when the next one starts ([`leftovers`]).

mod bed;
pub mod cluster_api;
mod control_plane;
pub mod demo;
mod kubectl;
pub mod lab;
pub mod leftovers;
pub mod main_job;
mod network;
pub mod objects;
pub mod observer;
mod pki;
mod process;
pub mod proxy;
mod run;
mod wait;

pub use bed::{Bed, Tools};
pub use control_plane::ControlPlane;
pub use lab::Lab;
pub use network::{Network, Place};
pub use objects::Object;
pub use observer::{Observer, Scope};
pub use pki::Pki;
pub use process::{Process, Program};
pub use run::{Run, Slot};
pub use wait::until;
