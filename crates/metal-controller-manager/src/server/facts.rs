//! What a Server says, as the decisions of `lifecycle` take it.

use std::sync::Arc;

use crd_types::ConditionStatus;
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::Server;
use crd_types::names::{annotations, conditions};
use hardware_types::{Mac, ServerId};
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use lifecycle::boot::View;
use lifecycle::facts::Facts;
use lifecycle::{BmcIdentity, HandsOff, IdentityVerdict, Observed, compare_identity, hands_off};
use power_manager::Info;

use super::observed::{facts, is_clean, is_registered, wipe_failed};
use super::status::condition;

/// Where this manager runs.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// UID of the namespace `kube-system`: names the installation.
    pub(crate) installation: String,
}

/// Facts for the gate that the Server alone tells.
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
        orphaned: false,
        unexpectedly_on: false,
    }
}

/// Whether the leader found this reason to leave the Server alone, which only it can see.
pub(crate) fn is_left_alone_for(server: &Server, reason: HandsOff) -> bool {
    let hands_off = condition(server.status.as_ref(), conditions::HANDS_OFF);
    hands_off.is_some_and(|condition| {
        condition.status == ConditionStatus::True && condition.reason.as_deref() == Some(reason.reason())
    })
}

/// Whether it is another installation's, paused or not.
pub(crate) fn is_foreign(server: &Server, site: &Site) -> bool {
    let observed = Observed {
        paused: false,
        ..observe(server, site, Identity::UNKNOWN)
    };
    hands_off(&observed) == Some(HandsOff::Foreign)
}

/// How a Server is bound, as a cache has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bond {
    /// Nobody has it.
    None,
    /// A ServerBinding of its name exists.
    Bound,
    /// It exists, is marked and is being deleted.
    Released,
}

impl From<bool> for Bond {
    /// Where a live look tells the rest.
    fn from(bound: bool) -> Self {
        if bound { Self::Bound } else { Self::None }
    }
}

impl Bond {
    /// By the metadata of the ServerBinding of its name.
    pub(crate) fn of(binding: Option<&PartialObjectMeta<ServerBinding>>) -> Self {
        let Some(binding) = binding else {
            return Self::None;
        };
        let annotations = binding.annotations();
        let mark = annotations.get(annotations::RELEASE);
        let is_marked = mark.is_some() && mark == annotations.get(annotations::machine::ALLOCATION);
        if is_marked && binding.metadata.deletion_timestamp.is_some() {
            Self::Released
        } else {
            Self::Bound
        }
    }
}

/// What a boot answer is decided on. Every replica answers, and only the leader asks BMCs who they are: a machine that it
/// found to be another one is known by the condition.
pub(crate) fn boot_view(server: &Server, site: &Site, bond: Bond) -> View {
    let mut identity = Identity::UNKNOWN;
    if is_left_alone_for(server, HandsOff::Conflict) {
        identity.verdict = IdentityVerdict::Contradicts;
    }
    // A fact that cannot be read proves nothing: no window, no wipe.
    let facts = facts(server).ok();
    View {
        observed: Observed {
            orphaned: is_left_alone_for(server, HandsOff::Orphaned),
            unexpectedly_on: is_left_alone_for(server, HandsOff::UnexpectedPower),
            ..observe(server, site, identity)
        },
        bound: bond != Bond::None,
        released: bond == Bond::Released,
        clean: is_clean(server),
        macs: macs(server).collect(),
        registered: server.spec.hardware.is_some(),
        reported: is_registered(server),
        wipe_due: facts.as_ref().and_then(Facts::undone),
        wipe_due_for: facts.as_ref().and_then(Facts::undone_for).map(Into::into),
        wipe_failed: wipe_failed(server),
        window: facts.and_then(|facts| facts.window),
        has_driver: server.spec.bmc.is_some(),
        environment_always: server.spec.pxe_boot_always == Some(true),
    }
}

/// The machine's MAC addresses, as its agent reported them.
pub(crate) fn macs(server: &Server) -> impl Iterator<Item = Mac> {
    let network = server
        .spec
        .hardware
        .iter()
        .filter_map(|hardware| hardware.network.as_ref());
    let interfaces = network.flat_map(|network| &network.interfaces);
    interfaces.filter_map(|interface| interface.mac.as_ref()?.parse().ok())
}

/// What the BMC's identity says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) verdict: IdentityVerdict,
    pub(crate) confirmed: bool,
}

impl Identity {
    /// As long as nobody was asked, or where nothing was said.
    const UNKNOWN: Self = Self {
        verdict: IdentityVerdict::Unknown,
        confirmed: false,
    };
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
        return Identity::UNKNOWN;
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

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use uuid::Uuid;

    use super::*;

    const NAME: &str = "4c4c4544-0039-3010-8048-b7c04f384432";
    const OTHER: &str = "4c4c4544-0039-3010-8048-b7c04f384433";

    fn server(name: &str, annotations: &[(&str, &str)]) -> Server {
        let mut server = Server::new(name, crd_types::metal::ServerSpec::default());
        server.metadata.uid = Some(name.into());
        for (key, value) in annotations {
            server.annotations_mut().insert((*key).into(), (*value).into());
        }
        server
    }

    fn reason(annotations: &[(&str, &str)]) -> Option<HandsOff> {
        let site = Site {
            installation: "here".into(),
        };
        let identity = Identity::UNKNOWN;
        hands_off(&observe(&server(NAME, annotations), &site, identity))
    }

    #[test]
    fn both_pauses_and_another_installation_are_seen() {
        assert_eq!(reason(&[]), None);
        for pause in [annotations::PAUSE, annotations::cluster_api::PAUSED] {
            assert_eq!(reason(&[(pause, "")]), Some(HandsOff::Paused), "{pause}");
        }
        let owner = annotations::server::INSTALLATION;
        assert_eq!(reason(&[(owner, "here")]), None);
        assert_eq!(reason(&[(owner, "elsewhere")]), Some(HandsOff::Foreign));
    }

    #[test]
    fn a_guid_is_another_servers_or_is_confirmed_by_a_human_and_by_its_value() {
        let (servers, mut writer) = reflector::store();
        let mut ours = server(NAME, &[]);
        for server in [ours.clone(), server(OTHER, &[])] {
            writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(server));
        }
        let says = |server: &Server, uuid: &str| {
            let guid = uuid.parse::<Uuid>().unwrap().into_bytes();
            let info = Info {
                identity: Some(BmcIdentity::IpmiGuid(guid)),
                ..Info::default()
            };
            let identity = identify(server, Some(&info), &servers);
            (identity.verdict, identity.confirmed)
        };
        let nobodys = "11111111-2222-4333-8444-555555555555";
        assert_eq!(says(&ours, NAME), (IdentityVerdict::Same, false));
        assert_eq!(says(&ours, OTHER), (IdentityVerdict::Contradicts, false));
        assert_eq!(says(&ours, nobodys), (IdentityVerdict::Different, false));
        let bmc = crd_types::metal::BmcStatus {
            confirmed_guid: Some(nobodys.replace('-', "")),
            ..Default::default()
        };
        ours.status.get_or_insert_default().bmc = Some(bmc);
        assert_eq!(says(&ours, nobodys), (IdentityVerdict::Different, true));
        let another = nobodys.replace('5', "6");
        assert_eq!(says(&ours, &another), (IdentityVerdict::Different, false));
    }
}
