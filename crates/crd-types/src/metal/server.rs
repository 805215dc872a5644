//! Server: one machine, what is asked of it and what was seen of it.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Hardware;
use crate::words::{free, is_default, only_first, pattern, words, words_schema};
use crate::{Condition, ConfigPatch};

/// What is asked of a machine, and its inventory.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "metal.sidero.dev",
    version = "v1alpha2",
    kind = "Server",
    plural = "servers",
    status = "ServerStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Server is one machine. Its name is the machine's SMBIOS system UUID, in canonical lower-case text."
)]
#[serde(rename_all = "camelCase")]
pub struct ServerSpec {
    /// Environment to boot, by name; goes before the class's and before `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_ref: Option<ObjectReference>,
    /// Inventory, as the agent reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<Hardware>,
    /// Hostname that the machine registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How to reach the machine's BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Bmc>,
    /// HTTP power API of a test machine, in place of a BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management_api: Option<ManagementApi>,
    /// JSON patches (RFC 6902) of the machine config, after the class's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<ConfigPatch>,
    /// Strategic merge patches of the machine config, as YAML or JSON text, after the class's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategic_patches: Vec<String>,
    /// Whether the machine may be powered, wiped and used; false when left out. Accepting a machine erases its disks.
    #[schemars(extend("default" = false))]
    pub accepted: bool,
    /// Keeps the machine out of new clusters; one that has it keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<bool>,
    /// Boots the environment at every network boot, even once a system is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pxe_boot_always: Option<bool>,
    /// How iPXE hands over to the disk: `ipxe-exit`, `http-404` or `ipxe-sanboot`. Empty: the class decides, then the
    /// manager's flag.
    #[serde(default, skip_serializing_if = "is_default")]
    pub boot_from_disk_method: BootFromDiskMethod,
    /// How a network boot is asked of the BMC: `bios` or `uefi`. Empty: as the manager finds best.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pxe_mode: PxeMode,
    /// `managed` (default): powered, wiped, allocated. `adopted`: power and inventory only, never wiped, never
    /// allocated; not implemented in this version and refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// What becomes of the machine when a cluster lets it go. `Recycle`: wiped and offered again. `Retain`: kept as it
    /// is for a human to look at; not implemented in this version and refused. Absent: the class's, else `Recycle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// Which disks a wipe erases, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<Wipe>,
}

words! {
    /// How iPXE hands over to the disk.
    #[derive(Default)]
    BootFromDiskMethod {
        /// Not chosen here.
        #[default]
        Unset = "",
        /// `exit`: the firmware tries its next boot device.
        IpxeExit = "ipxe-exit",
        /// The script is answered with 404.
        Http404 = "http-404",
        /// `sanboot` of the first disk.
        IpxeSanboot = "ipxe-sanboot",
    }
}
words_schema!(BootFromDiskMethod, pattern);

words! {
    /// How a network boot is asked of the BMC.
    #[derive(Default)]
    PxeMode {
        /// Not chosen here.
        #[default]
        Unset = "",
        /// Legacy BIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
    }
}
words_schema!(PxeMode, pattern);

words! {
    /// What the managers may do with a machine. Anything but `Managed` must be left alone.
    Mode {
        /// Powered, wiped and allocated.
        Managed = "managed",
        /// Power and inventory only.
        Adopted = "adopted",
    }
}
words_schema!(Mode, only_first);

words! {
    /// What becomes of a machine when a cluster lets it go. Anything but `Recycle` must not be wiped.
    ReclaimPolicy {
        /// Wiped and offered again.
        Recycle = "Recycle",
        /// Kept as it is.
        Retain = "Retain",
    }
}
words_schema!(ReclaimPolicy, only_first);

words! {
    /// Which disks a wipe erases.
    WipeDisks {
        /// Every disk that is the machine's own.
        All = "all",
        /// The disk that the system is installed to.
        Install = "install",
        /// None.
        None = "none",
    }
}
words_schema!(WipeDisks, only_first);

words! {
    /// How a wipe erases a disk.
    WipeMethod {
        /// As fast as leaves no trace of partitions, volumes and file systems.
        Auto = "auto",
        /// By the disk's own means of erasure, else all of it with zeros.
        Secure = "secure",
        /// Discard only.
        Discard = "discard",
        /// All of it with zeros.
        Zero = "zero",
        /// Only what partitions, volumes and file systems are found by.
        Metadata = "metadata",
    }
}
words_schema!(WipeMethod, only_first);

/// Which disks a wipe erases, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wipe {
    /// `all` (default) the machine's own disks; `install`: only the one that the system is installed to; `none`. Only
    /// `all` is implemented in this version, the others are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<WipeDisks>,
    /// `auto` (default): fast; `secure`, `discard`, `zero` or `metadata`. Only `auto` is implemented in this version,
    /// the others are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<WipeMethod>,
    /// World wide identifiers of disks that are wiped although they are of a kind that is left alone: reached by a
    /// network, shared, removable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_wwids: Vec<String>,
    /// Serial numbers of disks that the inventory has and the machine has no more: a wipe does not wait for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived_serial_numbers: Vec<String>,
}

/// How to reach a BMC, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bmc {
    /// Host name or IP address of the BMC, or a URL that picks the protocol: `ipmi://HOST[:PORT]`,
    /// `redfish://HOST[:PORT]` or `redfish+http://HOST[:PORT]`, the last two with the path of a System behind it where
    /// the BMC has several. A bare host without `port` and `interface` is asked what it speaks.
    pub endpoint: String,
    /// UDP port of IPMI; absent or 0 means 623.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// User name. Goes before `userFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the user name is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_from: Option<CredentialSource>,
    /// Password, readable by everyone who can read the Server: prefer `passFrom`. Goes before `passFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Password>,
    /// Where the password is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass_from: Option<CredentialSource>,
    /// IPMI interface: `lanplus` (IPMI 2.0) when absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What makes the certificate of a Redfish BMC trustworthy. Absent: nothing does, and the machine waits with a
    /// condition that shows the fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BmcTls>,
}

/// What makes a BMC's certificate trustworthy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcTls {
    /// SHA-256 fingerprint of the certificate, in hexadecimal digits with or without colons. Goes before
    /// `insecureSkipVerify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Trusts every certificate: whoever is in the network's path reads the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// A password that stands in a spec; its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Where a user name or password is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSource {
    /// The key of a Secret that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// One key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Key in the Secret's data.
    pub key: String,
}

/// HTTP power API of a test machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagementApi {
    /// Address of the API as `host:port`.
    pub endpoint: String,
}

/// What was seen of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Whether the machine can be used, or is used and healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Whether a ServerBinding of the same name exists, that is whether a cluster has the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<bool>,
    /// Whether the disks are wiped and unused since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_clean: Option<bool>,
    /// What goes on with the machine and what it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Addresses that the agent reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Last power state seen: on, off or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<String>,
    /// Where the machine stands: Discovered, Accepted, Wiping, Available, Allocated, Provisioning, Provisioned, Releasing,
    /// Quarantined, HandsOff or Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why it stands there, and what may be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_reason: Option<String>,
    /// What was found out about the BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcStatus>,
    /// What the machine was seen booting. Written by the boot services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootStatus>,
    /// The wipe under way, or the last one, with its certificate. Written by the boot services as the agent reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<WipeStatus>,
    /// The manager's own record of the power command under way, or of the last one: what a successor needs to go on.
    /// Its form may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "own_record")]
    pub power_intent: Option<Value>,
}

fn own_record(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

words! {
    /// Where a machine stands.
    Phase {
        /// Known, and nobody accepted it.
        Discovered = "Discovered",
        /// Accepted.
        Accepted = "Accepted",
        /// Its disks are to be wiped, or are being wiped.
        Wiping = "Wiping",
        /// Wiped, switched off and free.
        Available = "Available",
        /// A MetalMachine has it, and nothing is done for it yet.
        Allocated = "Allocated",
        /// It boots its cluster's system, or is installed.
        Provisioning = "Provisioning",
        /// It is a Node of its cluster.
        Provisioned = "Provisioned",
        /// It is given back by its MetalMachine.
        Releasing = "Releasing",
        /// It was given back before it was confirmed off; nobody gets it before it is.
        Quarantined = "Quarantined",
        /// Nothing goes on without a human; `phaseReason` says what is to be done.
        Error = "Error",
        /// Left alone; the condition of this name says why.
        HandsOff = "HandsOff",
    }
}
words_schema!(Phase, free);

/// What a machine was seen booting, step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootStatus {
    /// Its firmware last asked for a boot file. iPXE does not count, not even in a ROM: it asks without a boot, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<BootSighting>,
    /// iPXE last asked what to boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipxe: Option<BootSighting>,
    /// The agent reported; while it waits, every ten minutes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<BootSighting>,
}

/// One step of a boot. Repeats within seconds are not recorded again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootSighting {
    /// When.
    pub at: Time,
    /// What was asked and answered.
    pub what: String,
}

/// A wipe: how far it is, and what it certifies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeStatus {
    /// Which wipe of this machine it is.
    #[schemars(range(min = 1))]
    pub generation: i64,
    /// When the agent began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the agent was last heard of while it wiped; moves once in a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// When the agent reported its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How the disks were erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What became of each disk that the agent found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<WipedDisk>,
}

/// What became of one disk in a wipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipedDisk {
    /// Device node at that time.
    pub device_name: String,
    /// Model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// World wide identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwid: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// Wiped, Refused (left alone on purpose) or Failed.
    pub result: String,
    /// Why it was refused, or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it took a discard of all its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<bool>,
    /// Bytes that were written with zeros and read back as zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeroed_bytes: Option<i64>,
    /// Partitions whose both ends are among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// What may be left on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<String>,
}

/// What was found out about a BMC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcStatus {
    /// What is spoken with it: ipmi or redfish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Why that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Where it is, as the spec was understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Manufacturer of the machine by Redfish, of the BMC by IPMI (its IANA number where the name is not known).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Model of the machine by Redfish, product number of the BMC by IPMI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Firmware version of the BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The GUID that the BMC has instead of the machine's UUID, once a human confirmed that it is this machine's BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_guid: Option<String>,
    /// What the BMC said of the credentials; it is asked again only when endpoint or Secret change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<BmcCredentials>,
}

/// What a BMC said of credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BmcCredentials {
    /// Where they were shown.
    pub endpoint: String,
    /// Which they were: the Secrets with their resourceVersion, or the generation of the spec that holds them.
    pub source: String,
    /// Whether the BMC accepted them at least once.
    pub proved: bool,
    /// Refusals since it last accepted them.
    #[schemars(range(min = 0))]
    pub refusals: i32,
    /// When it last refused them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Time>,
}

/// One address of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAddress {
    /// Kind of address, such as InternalIP.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    pub address: String,
}
