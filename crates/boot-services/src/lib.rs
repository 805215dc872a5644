//! What machines talk to while they boot. Knows no Kubernetes: all it reads and reports goes through [`Directory`].

mod directory;

pub use directory::{Address, Directory, RegisterError, Sighting, Unavailable};
