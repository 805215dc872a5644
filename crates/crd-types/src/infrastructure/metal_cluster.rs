//! MetalCluster: the infrastructure of a Cluster, which for bare metal is its API endpoint.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Initialization;
use crate::Condition;

/// What a cluster needs of its infrastructure.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "MetalCluster",
    plural = "metalclusters",
    namespaced,
    category = "cluster-api",
    status = "MetalClusterStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MetalCluster is the infrastructure of a Cluster: the address of its API."
)]
#[serde(rename_all = "camelCase")]
pub struct MetalClusterSpec {
    /// Where the API of the cluster is reached. The address is the user's to provide: a load balancer, a virtual IP
    /// or a DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ControlPlaneEndpoint>,
}

/// Where an API server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlPlaneEndpoint {
    /// Host name or IP address.
    #[schemars(length(max = 512))]
    pub host: String,
    /// TCP port.
    pub port: i32,
}

/// What became of the infrastructure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetalClusterStatus {
    /// Whether the infrastructure is ready (Cluster API contract v1beta1).
    pub ready: bool,
    /// Facts of the first provisioning (Cluster API contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// What goes on with the cluster's infrastructure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
