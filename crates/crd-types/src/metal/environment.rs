//! Environment: the kernel, initramfs and kernel arguments that a machine boots.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kernel, initramfs and kernel arguments to boot.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "Environment",
    plural = "environments",
    status = "EnvironmentStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Environment is what a machine boots over the network: a kernel, an initramfs and kernel arguments."
)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSpec {
    /// The kernel and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// The initramfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<Asset>,
}

/// A kernel to download, and its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// URL to download the kernel from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-512 of the kernel in hexadecimal; empty or absent means that it is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// Kernel command line, one argument an item, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// A file to download.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// URL to download the file from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-512 of the file in hexadecimal; empty or absent means that it is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
}

/// What became of the downloads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentStatus {
    /// One condition for each file, told apart by its URL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<AssetCondition>,
}

/// Whether one file is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetCondition {
    /// URL of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-512 that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// True when the file can be booted, else False.
    pub status: String,
    /// Always Ready.
    #[serde(rename = "type")]
    pub type_: String,
    /// Why the file cannot be booted, and what to do about it. Absent when it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
