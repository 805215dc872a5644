//! Names that other software, stored objects and users match on. Changing one breaks them.

/// Finalizers.
pub mod finalizers {
    /// On Server: it goes when no ServerBinding of its name exists.
    pub const SERVER: &str = "storage.finalizers.server.k8s.io";
    /// On MetalCluster.
    pub const METAL_CLUSTER: &str = "metalcluster.infrastructure.cluster.x-k8s.io";
    /// On MetalMachine: it goes when its ServerBinding is gone.
    pub const METAL_MACHINE: &str = "metalmachine.infrastructure.cluster.x-k8s.io";
    /// On ServerBinding: it goes when the machine is off, or the release ended otherwise.
    pub const RELEASE: &str = "metal.sidero.dev/release";
}

/// Labels.
pub mod labels {
    /// On a workload cluster's Node: name of its Server.
    pub const NODE_SERVER: &str = "metal.sidero.dev/uuid";
    /// On everything of a Cluster: its name.
    pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
    /// On a CRD or object: `clusterctl move` takes it along.
    pub const MOVE: &str = "clusterctl.cluster.x-k8s.io/move";
    /// On a CRD: `clusterctl move` takes its objects along, and all that they own.
    pub const MOVE_HIERARCHY: &str = "clusterctl.cluster.x-k8s.io/move-hierarchy";
}

/// Annotations.
pub mod annotations {
    /// Durable facts about a Server; written by the Server controller alone.
    pub mod server {
        /// UID of namespace `kube-system` of the management cluster that owns the Server, or `moved`.
        pub const INSTALLATION: &str = "metal.sidero.dev/installation";
        /// Generation whose wipe must be done before the Server is clean, and for which allocation it was raised.
        pub const WIPE_DUE: &str = "metal.sidero.dev/wipe-due";
        /// Generation that was wiped and read back.
        pub const WIPE_DONE: &str = "metal.sidero.dev/wipe-done";
        /// Window or intent by which the machine is on and not yet confirmed off.
        pub const POWERED: &str = "metal.sidero.dev/powered";
        /// The boot that the machine may do now.
        pub const BOOT_WINDOW: &str = "metal.sidero.dev/boot-window";
        /// Allocation whose release ended before the machine was confirmed off, and when. Nobody gets it before it is.
        pub const QUARANTINED: &str = "metal.sidero.dev/quarantined";
    }

    /// Durable facts about a MetalMachine; each holds an allocation id. Written by the MetalMachine controller alone.
    pub mod machine {
        /// The claim; the ServerBinding carries it too.
        pub const ALLOCATION: &str = "metal.sidero.dev/allocation";
        /// The machine config was fetched.
        pub const CONFIG_SERVED: &str = "metal.sidero.dev/config-served";
        /// The system is installed and its Node was seen.
        pub const INSTALLED: &str = "metal.sidero.dev/installed";
    }

    /// On ServerBinding: the mark that permits its release; holds the allocation id.
    pub const RELEASE: &str = "metal.sidero.dev/release";

    /// On Server: leave the machine alone, until the user removes it.
    pub const PAUSE: &str = "metal.sidero.dev/pause";

    /// Requests of a user; each is removed once it is recorded elsewhere.
    pub mod request {
        /// Reset the machine, whatever the value.
        pub const REBOOT: &str = "metal.sidero.dev/reboot";
        /// `on`, `off` or `cycle`.
        pub const POWER: &str = "metal.sidero.dev/power";
        /// Take the inventory again.
        pub const INSPECT: &str = "metal.sidero.dev/inspect";
        /// Install the machine again.
        pub const REINSTALL: &str = "metal.sidero.dev/reinstall";
        /// Go on in spite of the reason that is the value.
        pub const RESUME: &str = "metal.sidero.dev/resume";
        /// Take over the Server of the installation that is the value.
        pub const TAKE_OVER: &str = "metal.sidero.dev/take-over";
    }

    /// Annotations of Cluster API.
    pub mod cluster_api {
        /// The object is not to be reconciled.
        pub const PAUSED: &str = "cluster.x-k8s.io/paused";
        /// The object is deleted because it was moved to another management cluster.
        pub const DELETE_FOR_MOVE: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";
    }
}

/// Types and reasons of conditions.
pub mod conditions {
    /// The object does its work.
    pub const READY: &str = "Ready";
    /// The object is paused.
    pub const PAUSED: &str = "Paused";

    /// On Server: False while it is restarted for a wipe and wiped, True afterwards.
    pub const POWER_CYCLE: &str = "PowerCycle";
    /// Reason of `PowerCycle` False.
    pub const IN_PROGRESS: &str = "InProgress";
    /// On Server: whether its BMC answers and takes the credentials.
    pub const BMC_REACHABLE: &str = "BMCReachable";
    /// Reason of `BMCReachable` True.
    pub const CONNECTED: &str = "Connected";
    /// Reason of `BMCReachable` False: nothing was asked yet.
    pub const CONNECTING: &str = "Connecting";
    /// Reason of `BMCReachable` False: the spec cannot be used.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Reason of `BMCReachable` False: a Secret or a key in it is missing or cannot be used.
    pub const CREDENTIALS_MISSING: &str = "CredentialsMissing";
    /// Reason of `BMCReachable` False: other BMCs refused the same Secret, so it is not shown to this one.
    pub const CREDENTIALS_WITHHELD: &str = "CredentialsWithheld";
    /// On Server: True while it is left alone; the reason says why. Absent otherwise.
    pub const HANDS_OFF: &str = "HandsOff";
    /// On Server: True while it was given back without being confirmed off, and is nobody's before it is. Absent otherwise.
    pub const QUARANTINED: &str = "Quarantined";
    /// Reason of `Quarantined` and, as long as a MetalMachine waits for it, of its `ServerTaken`.
    pub const POWER_OFF_UNCONFIRMED: &str = "PowerOffUnconfirmed";
    /// On Server: False while a power command is under way or has not been confirmed, True once it was.
    pub const POWER_COMMAND: &str = "PowerCommand";
    /// Reason of `PowerCommand` True: the effect was read back.
    pub const DONE: &str = "Done";
    /// Reason of `PowerCommand` False: the effect was not read back within the deadline.
    pub const UNCONFIRMED: &str = "Unconfirmed";
    /// Reason of `PowerCommand` False: a request waits and nothing is sent for it.
    pub const WAITING: &str = "Waiting";
    /// Reason of `PowerCommand` False: a request says nothing that can be done.
    pub const INVALID_REQUEST: &str = "InvalidRequest";

    /// On Server: True once the installed system was seen.
    pub const PXE_BOOTED: &str = "PXEBooted";
    /// Its reason: the system's Node was seen.
    pub const INSTALLED: &str = "Installed";

    /// On ServerBinding and MetalMachine: the node read its config.
    pub const TALOS_CONFIG_LOADED: &str = "TalosConfigLoaded";
    /// Reason of `TalosConfigLoaded` False.
    pub const TALOS_CONFIG_LOAD_FAILED: &str = "TalosConfigLoadFailed";
    /// On ServerBinding and MetalMachine: the node found its config valid.
    pub const TALOS_CONFIG_VALIDATED: &str = "TalosConfigValidated";
    /// Reason of `TalosConfigValidated` False.
    pub const TALOS_CONFIG_VALIDATION_FAILED: &str = "TalosConfigValidationFailed";
    /// On ServerBinding and MetalMachine: the system is installed to disk.
    pub const TALOS_INSTALLED: &str = "TalosInstalled";
    /// Reason of `TalosInstalled` False: it goes on.
    pub const TALOS_INSTALLATION_IN_PROGRESS: &str = "TalosInstallationInProgress";
    /// Reason of `TalosInstalled` False: it failed.
    pub const TALOS_INSTALLATION_FAILED: &str = "TalosInstallationFailed";

    /// On ServerBinding: the node fetched its config. Written by the metadata service.
    pub const CONFIG_SERVED: &str = "ConfigServed";
    /// On ServerBinding: the workload Node was seen. Written by the MetalMachine controller.
    pub const NODE_SEEN: &str = "NodeSeen";
    /// On ServerBinding: the Server is let go. Written by the Server controller.
    pub const RELEASED: &str = "Released";

    /// On MetalMachine: the workload Node carries the provider ID.
    pub const PROVIDER_SET: &str = "ProviderSet";
    /// Reason of `ProviderSet` False.
    pub const PROVIDER_UPDATE_FAILED: &str = "ProviderUpdateFailed";

    /// Reason: it is reconciled.
    pub const NOT_PAUSED: &str = "NotPaused";
    /// On MetalCluster: reason, the address of the API is there.
    pub const ENDPOINT_SET: &str = "EndpointSet";
    /// On MetalCluster: reason, it is not.
    pub const ENDPOINT_MISSING: &str = "EndpointMissing";
    /// On MetalMachine: it has a Server, or why not.
    pub const SERVER_TAKEN: &str = "ServerTaken";
}

/// Reasons of events; recorded on the Server where nothing else is said.
pub mod events {
    /// Power: what was done and what failed.
    pub const SERVER_MANAGEMENT: &str = "Server Management";
    /// Taken through a class, or given back.
    pub const SERVER_ALLOCATION: &str = "Server Allocation";
    /// Taken by name.
    pub const SERVER_ASSIGNMENT: &str = "Server Assignment";
    /// Registered by its agent.
    pub const SERVER_REGISTRATION: &str = "Server Registration";
    /// Wiped by its agent.
    pub const SERVER_WIPE: &str = "Server Wipe";
    /// BMC address or credentials reported by its agent.
    pub const BMC_UPDATE: &str = "BMC Update";
    /// On Environment: what became of its files.
    pub const ENVIRONMENT_DOWNLOAD: &str = "Environment Download";
    /// On ServerClass: its selector says nothing that can be matched.
    pub const INVALID_SELECTOR: &str = "Invalid Selector";
}

/// Name of the ServerClass that holds every accepted Server.
pub const SERVER_CLASS_ANY: &str = "any";
/// Name of the Environment for Servers that name none.
pub const ENVIRONMENT_DEFAULT: &str = "default";
/// A provider ID is this and the name of a Server.
pub const PROVIDER_ID_PREFIX: &str = "sidero://";
