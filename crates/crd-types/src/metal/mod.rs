//! Group `metal.sidero.dev`: machines, what they boot, and which of them a cluster may take. All cluster-scoped.

mod environment;
mod hardware;
pub mod members;
mod server;
mod server_class;

pub use environment::{Asset, AssetCondition, Environment, EnvironmentSpec, EnvironmentStatus, Kernel};
pub use hardware::{
    Compute, Hardware, Memory, MemoryModule, Network, NetworkInterface, Processor, Storage, StorageDevice,
    System,
};
pub use server::{
    Bmc, BmcCredentials, BmcStatus, BmcTls, BootFromDiskMethod, BootSighting, BootStatus, CredentialSource,
    ManagementApi, Mode, NodeAddress, Password, Phase, PxeMode, ReclaimPolicy, SecretKeyRef, Server,
    ServerSpec, ServerStatus, Wipe, WipeDisks, WipeMethod, WipeStatus, WipedDisk,
};
pub use server_class::{Qualifiers, ServerClass, ServerClassSpec, ServerClassStatus};

/// Name of the group.
pub const GROUP: &str = "metal.sidero.dev";
