//! The few fields of Cluster API's own kinds that are read here (v1beta2). They are never written: what is not named here
//! would be lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{CustomResource, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the group.
pub const GROUP: &str = "cluster.x-k8s.io";

/// A Cluster.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Nothing of it is to be reconciled.
    pub paused: Option<bool>,
}

/// What became of a Cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Facts of the first provisioning.
    pub initialization: Option<ClusterInitialization>,
}

/// Facts of a Cluster's first provisioning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitialization {
    /// Its infrastructure is provisioned.
    pub infrastructure_provisioned: Option<bool>,
    /// Its control plane answers.
    pub control_plane_initialized: Option<bool>,
}

/// A Machine.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Machine",
    namespaced,
    derive = "PartialEq",
    derive = "Default"
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// The Cluster that it belongs to, in its namespace.
    #[serde(default)]
    pub cluster_name: String,
    /// How it becomes a node.
    #[serde(default)]
    pub bootstrap: Bootstrap,
}

/// How a Machine becomes a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// The Secret with its machine config, in its namespace; absent until there is one.
    pub data_secret_name: Option<String>,
}

impl Cluster {
    /// Whether nothing of it is to be reconciled.
    pub fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }
}

/// The owner of this kind in Cluster API's group, by name; its namespace is the owned object's.
pub fn owner<'a, K: kube::Resource>(object: &'a K, kind: &str) -> Option<&'a OwnerReference> {
    object
        .owner_references()
        .iter()
        .find(|owner| owner.kind == kind && owner.api_version.split('/').next() == Some(GROUP))
}
