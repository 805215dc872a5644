//! Group `infrastructure.cluster.x-k8s.io`: what Cluster API asks of an infrastructure provider, and the claim on a Server.

mod metal_cluster;
mod metal_machine;
mod metal_machine_template;
mod server_binding;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use metal_cluster::{ControlPlaneEndpoint, MetalCluster, MetalClusterSpec, MetalClusterStatus};
pub use metal_machine::{
    MachineAddress, MachineAddressType, MetalMachine, MetalMachineSpec, MetalMachineStatus,
};
pub use metal_machine_template::{
    MetalMachineTemplate, MetalMachineTemplateResource, MetalMachineTemplateSpec, MetalMachineTemplateStatus,
};
pub use server_binding::{ServedConfig, ServerBinding, ServerBindingSpec, ServerBindingStatus, SideroLink};

/// Name of the group.
pub const GROUP: &str = "infrastructure.cluster.x-k8s.io";

/// Facts of the first provisioning, which are never taken back (Cluster API contract v1beta2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Initialization {
    /// Whether the infrastructure is provisioned; once true it stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}
