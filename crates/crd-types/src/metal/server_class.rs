//! ServerClass: which machines a MetalMachine may take, and what those have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BootFromDiskMethod, Hardware, ReclaimPolicy};
use crate::ConfigPatch;
use crate::words::is_default;

/// Which machines belong to the class, and what they have in common.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "ServerClass",
    plural = "serverclasses",
    status = "ServerClassStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "ServerClass is a set of machines that a MetalMachine may take one from, chosen by hardware and labels."
)]
#[serde(rename_all = "camelCase")]
pub struct ServerClassSpec {
    /// Environment to boot, by name, for machines that name none themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_ref: Option<ObjectReference>,
    /// Which machines belong to the class, by hardware; none given matches all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifiers: Option<Qualifiers>,
    /// Which machines belong to the class, by the labels of their Server; empty matches all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// JSON patches (RFC 6902) of the machine config, before the machine's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<ConfigPatch>,
    /// Strategic merge patches of the machine config, as YAML or JSON text, before the machine's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategic_patches: Vec<String>,
    /// How iPXE hands over to the disk, for machines that do not say: `ipxe-exit`, `http-404` or `ipxe-sanboot`.
    /// Empty: the manager's flag decides.
    #[serde(default, skip_serializing_if = "is_default")]
    pub boot_from_disk_method: BootFromDiskMethod,
    /// What becomes of a machine that was taken through this class when a cluster lets it go, unless its Server says.
    /// `Recycle` (default): wiped and offered again. `Retain`: kept as it is for a human to look at; not implemented
    /// in this version and refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,
}

/// Hardware and labels to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Qualifiers {
    /// A machine matches if it has all the fields of any one item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hardware: Vec<Hardware>,
    /// A machine matches if its Server has any one of these labels. Older form; `selector` says more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_selectors: Vec<BTreeMap<String, String>>,
}

/// The machines of the class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerClassStatus {
    /// Names of the Servers that can be taken.
    pub servers_available: Vec<String>,
    /// Names of the Servers that clusters have.
    pub servers_in_use: Vec<String>,
}
