//! The lab's own node: a stand-in for Talos, whose images cannot be had offline. It honours `talos.config=`, installs itself
//! to a disk, and registers with its cluster as a Node. It runs no workloads.

pub mod config;
pub mod image;
pub mod kubernetes;
pub mod node;
pub mod state;
