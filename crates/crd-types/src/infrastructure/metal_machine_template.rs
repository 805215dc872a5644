//! MetalMachineTemplate: the MetalMachines that a MachineDeployment or a control plane makes.
//!
//! Its spec is immutable; an admission policy of the deployment enforces it, since a CEL rule in the schema could not
//! let Cluster API's dry runs of a ClusterClass pass.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MetalMachineSpec;

/// The template; immutable.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "MetalMachineTemplate",
    plural = "metalmachinetemplates",
    namespaced,
    category = "cluster-api",
    status = "MetalMachineTemplateStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MetalMachineTemplate is what the MetalMachines of a MachineDeployment or a control plane are made from."
)]
pub struct MetalMachineTemplateSpec {
    /// The MetalMachine to make.
    pub template: MetalMachineTemplateResource,
}

/// The MetalMachine to make.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetalMachineTemplateResource {
    /// Spec of the MetalMachine.
    pub spec: MetalMachineSpec,
}

/// Empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetalMachineTemplateStatus {}
