//! What a Server says, as the decisions of `lifecycle` take it.

use std::sync::Arc;

use crd_types::metal::Server;
use crd_types::names::annotations;
use hardware_types::ServerId;
use kube::ResourceExt as _;
use kube::runtime::reflector::Store;
use lifecycle::{BmcIdentity, IdentityVerdict, Observed, compare_identity};
use power_manager::Info;

/// Where this manager runs.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// UID of the namespace `kube-system`: names the installation.
    pub(crate) installation: String,
}

/// Facts for the gate.
pub(crate) fn observe(server: &Server, site: &Site, identity: Identity) -> Observed {
    let annotation = |key: &str| server.annotations().get(key);
    Observed {
        accepted: server.spec.accepted,
        paused: annotation(annotations::PAUSE).is_some()
            || annotation(annotations::cluster_api::PAUSED).is_some(),
        installation: annotation(annotations::server::INSTALLATION).cloned(),
        here: site.installation.clone(),
        identity: identity.verdict,
        identity_confirmed: identity.confirmed,
    }
}

/// What the BMC's identity says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) verdict: IdentityVerdict,
    pub(crate) confirmed: bool,
}

/// Compares what a BMC says of itself with its Server.
pub(crate) fn identify(server: &Server, info: Option<&Info>, servers: &Store<Server>) -> Identity {
    let identity = info.and_then(|info| info.identity);
    let others = || {
        let all: Vec<Arc<Server>> = servers.state();
        all.iter()
            .filter(|other| other.metadata.uid != server.metadata.uid)
            .filter_map(|other| other.name_any().parse().ok())
            .collect::<Vec<ServerId>>()
    };
    let Ok(id) = server.name_any().parse() else {
        return Identity {
            verdict: IdentityVerdict::Unknown,
            confirmed: false,
        };
    };
    // The others are only asked about where it is not plain that it is this one.
    let verdict = match compare_identity(id, identity, &[]) {
        IdentityVerdict::Different => compare_identity(id, identity, &others()),
        plain => plain,
    };
    let status = server.status.as_ref().and_then(|status| status.bmc.as_ref());
    let confirmed = status.and_then(|bmc| bmc.confirmed_guid.as_ref());
    Identity {
        verdict,
        confirmed: confirmed.is_some() && confirmed == identity.map(guid).as_ref(),
    }
}

/// The identity as users read it.
pub(crate) fn guid(identity: BmcIdentity) -> String {
    match identity {
        BmcIdentity::RedfishSystem(uuid) => uuid.to_string(),
        BmcIdentity::IpmiGuid(bytes) => format!("{:032x}", u128::from_be_bytes(bytes)),
    }
}
