//! ServerBinding: the claim of a MetalMachine on the Server of the same name; that it exists is the lock.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// Who has the Server, and what is known of its node.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "ServerBinding",
    plural = "serverbindings",
    status = "ServerBindingStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "ServerBinding says that a MetalMachine has the Server of the same name. While it exists nobody else can take it."
)]
#[serde(rename_all = "camelCase")]
pub struct ServerBindingSpec {
    /// The MetalMachine that has the Server: kind, namespace, name and uid.
    pub metal_machine_ref: ObjectReference,
    /// The ServerClass that the Server was taken through; absent when the MetalMachine named the Server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_class_ref: Option<ObjectReference>,
    /// The node's end of the WireGuard tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siderolink: Option<SideroLink>,
    /// Addresses of the node, from its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Hostname of the node, from its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// The node's end of the WireGuard tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideroLink {
    /// Address of the node in the tunnel, with prefix length.
    pub address: String,
    /// Public key of the node, in base64.
    pub public_key: String,
}

/// What became of the claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerBindingStatus {
    /// Whether a Server of this name exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// How often the machine fetched its config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ServedConfig>,
    /// How far the node's installation is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How often the machine fetched its config, counted by boots: after three a human is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedConfig {
    /// Boots in which it did.
    #[serde(default)]
    pub boots: i32,
    /// The last of them: when the machine asked what to boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Time>,
    /// When it was last fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_at: Option<Time>,
}
