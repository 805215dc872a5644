//! MetalMachine: the infrastructure of a Machine, which is a Server it takes.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Initialization;
use crate::Condition;
use crate::words::{words, words_schema};

/// Which Server to take, and the one that was taken.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha3",
    kind = "MetalMachine",
    plural = "metalmachines",
    namespaced,
    category = "cluster-api",
    status = "MetalMachineStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MetalMachine is the infrastructure of a Machine: a Server that it takes."
)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineSpec {
    /// Name of the machine for Cluster API, `sidero://<Server>`; written once a Server is taken.
    #[serde(rename = "providerID", default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The Server to take, by name, or the one that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_ref: Option<ObjectReference>,
    /// The ServerClass to take a Server from, by name, when `serverRef` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_class_ref: Option<ObjectReference>,
}

/// What became of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetalMachineStatus {
    /// Whether the machine is provisioned (Cluster API contract v1beta1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Facts of the first provisioning (Cluster API contract v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Addresses of the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Not written: a machine that failed is reported by its conditions and retried. Kept for objects that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Not written: a machine that failed is reported by its conditions and retried. Kept for objects that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// What goes on with the machine and what it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One address of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineAddress {
    /// Kind of address.
    #[serde(rename = "type")]
    pub type_: MachineAddressType,
    /// The address.
    #[schemars(length(min = 1, max = 256))]
    pub address: String,
}

words! {
    /// Kind of a machine's address.
    MachineAddressType {
        /// Name that the machine gives itself.
        Hostname = "Hostname",
        /// IP address reached from outside.
        ExternalIp = "ExternalIP",
        /// IP address in the machines' own network.
        InternalIp = "InternalIP",
        /// DNS name resolved outside.
        ExternalDns = "ExternalDNS",
        /// DNS name resolved in the machines' own network.
        InternalDns = "InternalDNS",
    }
}
words_schema!(
    MachineAddressType,
    |words| schemars::json_schema!({ "type": "string", "enum": words })
);
