//! The columns of `kubectl get`: is it usable, is it on, who has it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

/// One column.
pub(super) struct Column {
    name: &'static str,
    type_: &'static str,
    path: &'static str,
    description: &'static str,
    wide: bool,
}

const fn text(name: &'static str, path: &'static str, description: &'static str) -> Column {
    Column {
        name,
        type_: "string",
        path,
        description,
        wide: false,
    }
}

const fn boolean(name: &'static str, path: &'static str, description: &'static str) -> Column {
    Column {
        type_: "boolean",
        ..text(name, path, description)
    }
}

const AGE: Column = Column {
    type_: "date",
    ..text(
        "Age",
        ".metadata.creationTimestamp",
        "Time since the object was created",
    )
};

const CLUSTER: Column = text(
    "Cluster",
    r".metadata.labels.cluster\.x-k8s\.io/cluster-name",
    "Cluster that this belongs to",
);

impl Column {
    /// Shown by `-o wide` only.
    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The column as the CRD has it.
    pub(super) fn definition(&self) -> CustomResourceColumnDefinition {
        CustomResourceColumnDefinition {
            name: self.name.into(),
            type_: self.type_.into(),
            json_path: self.path.into(),
            description: Some(self.description.into()),
            priority: self.wide.then_some(1),
            format: None,
        }
    }
}

pub(super) const ENVIRONMENT: &[Column] = &[
    text("Kernel", ".spec.kernel.url", "URL of the kernel"),
    text("Initrd", ".spec.initrd.url", "URL of the initramfs"),
    text(
        "Ready",
        r#".status.conditions[?(@.type=="Ready")].status"#,
        "Whether the files are downloaded and can be booted",
    ),
    AGE,
];

pub(super) const SERVER_CLASS: &[Column] = &[
    text(
        "Available",
        ".status.serversAvailable",
        "Machines that can be taken",
    ),
    text("In Use", ".status.serversInUse", "Machines that clusters have"),
    AGE,
];

pub(super) const SERVER: &[Column] = &[
    text(
        "Hostname",
        ".spec.hostname",
        "Hostname that the machine registered with",
    ),
    text("BMC IP", ".spec.bmc.endpoint", "Address of the BMC").wide(),
    boolean(
        "Accepted",
        ".spec.accepted",
        "Whether the machine may be powered, wiped and used",
    ),
    boolean(
        "Cordoned",
        ".spec.cordoned",
        "Whether the machine is kept out of new clusters",
    ),
    boolean(
        "Allocated",
        ".status.inUse",
        "Whether a cluster has the machine; the ServerBinding of the same name says which",
    ),
    boolean(
        "Clean",
        ".status.isClean",
        "Whether the disks are wiped and unused since",
    ),
    text(
        "Power",
        ".status.power",
        "Last power state seen: on, off or unknown",
    ),
    boolean("Ready", ".status.ready", "Whether the machine can be used"),
    text(
        "Driver",
        ".status.bmc.driver",
        "What is spoken with the BMC: ipmi or redfish",
    ),
    text("Firmware", ".status.bmc.firmware", "Firmware version of the BMC"),
    AGE,
];

pub(super) const METAL_CLUSTER: &[Column] = &[
    CLUSTER,
    boolean("Ready", ".status.ready", "Whether the infrastructure is ready"),
    text(
        "Endpoint",
        ".spec.controlPlaneEndpoint.host",
        "Host of the cluster's API",
    )
    .wide(),
    AGE,
];

pub(super) const METAL_MACHINE: &[Column] = &[
    text("Ready", ".status.ready", "Whether the machine is provisioned"),
    CLUSTER,
    text(
        "Machine",
        r#".metadata.ownerReferences[?(@.kind=="Machine")].name"#,
        "Machine that this belongs to",
    ),
    text("Server", ".spec.serverRef.name", "Server that was taken"),
    AGE,
];

pub(super) const SERVER_BINDING: &[Column] = &[
    text("Ready", ".status.ready", "Whether the Server exists"),
    text("Server", ".metadata.name", "Server that is taken").wide(),
    text(
        "ServerClass",
        ".spec.serverClassRef.name",
        "Class that it was taken through",
    )
    .wide(),
    text(
        "MetalMachine",
        ".spec.metalMachineRef.name",
        "MetalMachine that has it",
    ),
    CLUSTER,
    AGE,
];
