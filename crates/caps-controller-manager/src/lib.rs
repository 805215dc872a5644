//! Cluster API's infrastructure provider on a management cluster: MetalClusters and MetalMachines take Servers through
//! ServerBindings and never touch a Server or a BMC. What a MetalMachine does next is decided in `lifecycle::machine`.

mod args;
mod conditions;
mod manager;
mod metal_cluster;
mod metal_machine;
mod server_binding;
mod workload;

pub use args::Args;
pub use manager::run;
