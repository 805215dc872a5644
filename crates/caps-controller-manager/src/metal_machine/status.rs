//! The Node of a MetalMachine, the facts that are kept of it, and all that is said.

use std::sync::Arc;

use controller_runtime::writer::WriteError;
use crd_types::infrastructure::{
    Initialization, MachineAddress, MachineAddressType, MetalMachine, MetalMachineStatus, ServerBinding,
};
use crd_types::metal::{Phase, Server};
use crd_types::names::annotations::machine::{CONFIG_SERVED, INSTALLED};
use crd_types::names::{PROVIDER_ID_PREFIX, conditions as names, labels};
use crd_types::{Condition, ConditionStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use lifecycle::machine::Why;
use serde_json::json;

use super::look::Look;
use super::{MetalMachineError, MetalMachines};
use crate::conditions::{condition, find};
use crate::metal_cluster::paused_condition;

/// Conditions of the ServerBinding that are shown at the MetalMachine as they are.
const COPIED: [&str; 3] = [
    names::TALOS_CONFIG_LOADED,
    names::TALOS_CONFIG_VALIDATED,
    names::TALOS_INSTALLED,
];

/// What is to be said.
pub(super) struct Told {
    /// Of the condition `ServerTaken`, as one word.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Its Node with the provider id set, or why there is none; `None` where none is to be expected.
    pub(super) node: Option<Result<Arc<Node>, String>>,
}

impl MetalMachines {
    /// What is said while its Server is given back and something keeps that from being confirmed off.
    pub(super) fn off_unconfirmed(&self, why: &Why) -> Option<(&'static str, String)> {
        let Why::Releases(server) = why else {
            return None;
        };
        let object = self.servers.get(&ObjectRef::new(server))?;
        let status = object.status.as_ref()?;
        let is =
            |kind: &str, holds: fn(&Condition) -> bool| find(&status.conditions, kind).is_some_and(holds);
        let paused = is(names::HANDS_OFF, |now| {
            now.status == ConditionStatus::True && now.reason.as_deref() == Some(names::PAUSED)
        });
        let waits = match status.phase {
            Some(Phase::HandsOff | Phase::Error) => true,
            Some(Phase::Releasing) => {
                !object.spec.accepted
                    || object.spec.bmc.is_none()
                    || is(names::BMC_REACHABLE, |now| now.status == ConditionStatus::False)
                    || is(names::POWER_COMMAND, |now| {
                        now.reason.as_deref() == Some(names::UNCONFIRMED)
                    })
            }
            // it has not seen the release yet
            _ => false,
        };
        let reason = status.phase_reason.as_deref().unwrap_or_default();
        let until = if paused {
            "the end of its pause"
        } else {
            "the release deadline"
        };
        waits.then(|| {
            let text = format!(
                "{why}, which is not confirmed; it waits for that until {until}. The Server says: {reason}"
            );
            (names::POWER_OFF_UNCONFIRMED, text)
        })
    }

    /// The Node of its machine, with the provider id that Cluster API knows it by.
    pub(super) async fn node(
        &self,
        machine: &MetalMachine,
        look: &Look,
    ) -> Option<Result<Arc<Node>, String>> {
        let server = look.observed.server.as_deref()?;
        if look.observed.deleted || look.observed.paused {
            return None;
        }
        let cluster = look.cluster.as_ref()?;
        Some(self.find_node(machine, look, server, cluster).await)
    }

    async fn find_node(
        &self,
        machine: &MetalMachine,
        look: &Look,
        server: &str,
        cluster: &(String, String),
    ) -> Result<Arc<Node>, String> {
        let workload = self.workloads.of(cluster, ObjectRef::from_obj(machine)).await?;
        let nodes = workload.nodes()?;
        let node = matching(&nodes, server)?;
        if !is_installed(machine, look) && !lives_since(&node, since(machine, look)) {
            return Err(format!(
                "Node {} is of an earlier life of Server {server}: no sign of it since the machine config was fetched",
                node.name_any()
            ));
        }
        let wanted = format!("{PROVIDER_ID_PREFIX}{server}");
        let present = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
        match present.filter(|present| !present.is_empty()) {
            Some(present) if present == wanted => {}
            Some(present) => {
                return Err(format!(
                    "Node {} has the provider id {present:?}, not {wanted:?}: delete the Node",
                    node.name_any()
                ));
            }
            None => workload.set_provider_id(&node.name_any(), &wanted).await?,
        }
        Ok(node)
    }

    /// Writes the facts that are new; returns whether there was one.
    pub(super) async fn remember(
        &self,
        machine: &MetalMachine,
        look: &Look,
        node: Option<&Result<Arc<Node>, String>>,
    ) -> Result<bool, WriteError> {
        let Some(allocation) = look.observed.allocation.as_deref() else {
            return Ok(false);
        };
        if look.observed.paused || look.observed.deleted || look.observed.server.is_none() {
            return Ok(false);
        }
        let own = look
            .observed
            .binding
            .as_ref()
            .is_some_and(|binding| binding.is_ours);
        let mut facts = Vec::new();
        if own && is_served(look.binding.as_ref()) {
            facts.push((CONFIG_SERVED, Some(allocation)));
        }
        if own && matches!(node, Some(Ok(_))) {
            facts.push((INSTALLED, Some(allocation)));
        }
        Ok(self.writer.annotate(machine, &facts).await?.is_some())
    }

    /// Writes the status, and what its binding is to show of its Node.
    pub(super) async fn say(
        &self,
        machine: &MetalMachine,
        look: &Look,
        told: Told,
    ) -> Result<(), MetalMachineError> {
        if let (Some(binding), Some(own)) = (&look.binding, &look.observed.binding)
            && own.is_ours
            && is_installed(machine, look)
        {
            let seen = condition(
                binding,
                names::NODE_SEEN,
                true,
                names::NODE_SEEN,
                "its Node was seen",
            );
            self.bindings
                .status(binding, &json!({ "conditions": [seen] }))
                .await?;
        }
        let server = look
            .observed
            .server
            .as_ref()
            .and_then(|server| self.servers.get(&ObjectRef::new(server)));
        let status = status(machine, look, &told, server.as_deref());
        self.writer.status(machine, &status).await?;
        Ok(())
    }
}

/// The one Node of a Server: by our label, else by what its kubelet reads of the machine.
fn matching(nodes: &[Arc<Node>], server: &str) -> Result<Arc<Node>, String> {
    let labelled = nodes
        .iter()
        .filter(|node| node.labels().get(labels::NODE_SERVER).map(String::as_str) == Some(server));
    let mut found: Vec<_> = labelled.collect();
    if found.is_empty() {
        found = nodes
            .iter()
            .filter(|node| {
                let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
                info.is_some_and(|info| info.system_uuid.eq_ignore_ascii_case(server))
            })
            .collect();
    }
    match found.as_slice() {
        [] => Err("no matching nodes found".into()),
        [node] => Ok(Arc::clone(node)),
        _ => Err("multiple nodes found with same uuid label".into()),
    }
}

/// Since when a Node of the present allocation can be.
fn since(machine: &MetalMachine, look: &Look) -> Option<Timestamp> {
    let status = look.binding.as_ref().and_then(|binding| binding.status.as_ref());
    let config = status.and_then(|status| status.config.as_ref());
    let served = config.and_then(|config| config.served_at.as_ref());
    served
        .or(machine.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

/// Whether it was made, or its kubelet was heard of, since then: an old Node of the same machine proves nothing.
fn lives_since(node: &Node, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return true };
    let made = node.metadata.creation_timestamp.as_ref();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let heard = conditions
        .into_iter()
        .flatten()
        .filter_map(|condition| condition.last_heartbeat_time.as_ref());
    made.into_iter().chain(heard).any(|time| time.0 >= since)
}

fn is_served(binding: Option<&ServerBinding>) -> bool {
    let status = binding.and_then(|binding| binding.status.as_ref());
    let served = status.and_then(|status| find(&status.conditions, names::CONFIG_SERVED));
    served.is_some_and(|condition| condition.status == ConditionStatus::True)
}

fn is_installed(machine: &MetalMachine, look: &Look) -> bool {
    let allocation = look.observed.allocation.as_ref();
    allocation.is_some() && machine.annotations().get(INSTALLED) == allocation
}

/// All that is said, from facts and what is seen: nothing of it is needed to say it again.
fn status(machine: &MetalMachine, look: &Look, told: &Told, server: Option<&Server>) -> MetalMachineStatus {
    let allocation = look.observed.allocation.as_ref();
    let was_served = allocation.is_some() && machine.annotations().get(CONFIG_SERVED) == allocation;
    let installed = is_installed(machine, look);
    let was = machine.status.as_ref().and_then(|status| status.ready) == Some(true);
    let ready = was_served || installed || was;
    let taken = look.observed.server.is_some();
    let mut conditions = vec![
        paused_condition(machine, look.observed.paused),
        condition(machine, names::SERVER_TAKEN, taken, told.reason, &told.message),
    ];
    let (reason, message) = if installed {
        (names::NODE_SEEN, "its Node was seen".to_owned())
    } else if ready {
        (names::CONFIG_SERVED, "its machine config was fetched".to_owned())
    } else if taken {
        let server = look.observed.server.as_deref().unwrap_or_default();
        let text =
            format!("Server {server} is to boot its system: status.phaseReason of it says how far that is");
        (names::WAITING, text)
    } else {
        (told.reason, told.message.clone())
    };
    conditions.push(condition(machine, names::READY, ready, reason, &message));
    match &told.node {
        Some(Ok(node)) => {
            let text = format!("Node {} has it", node.name_any());
            conditions.push(condition(
                machine,
                names::PROVIDER_SET,
                true,
                names::PROVIDER_SET,
                &text,
            ));
        }
        Some(Err(why)) => {
            let failed = names::PROVIDER_UPDATE_FAILED;
            conditions.push(Condition {
                severity: Some("Warning".into()),
                ..condition(machine, names::PROVIDER_SET, false, failed, why)
            });
        }
        None => conditions.extend(kept(machine, names::PROVIDER_SET)),
    }
    if installed {
        let text = "its Node was seen";
        conditions.push(condition(machine, names::NODE_SEEN, true, names::NODE_SEEN, text));
    }
    let of_binding = look.binding.as_ref().and_then(|binding| binding.status.as_ref());
    let of_binding = of_binding
        .map(|status| &status.conditions[..])
        .unwrap_or_default();
    conditions.extend(COPIED.iter().filter_map(|kind| find(of_binding, kind).cloned()));
    let addresses = match &told.node {
        Some(Ok(node)) => node_addresses(node),
        _ => Vec::new(),
    };
    MetalMachineStatus {
        ready: ready.then_some(true),
        initialization: Some(Initialization {
            provisioned: Some(ready),
        }),
        addresses: if addresses.is_empty() {
            server_addresses(server)
        } else {
            addresses
        },
        conditions,
        ..MetalMachineStatus::default()
    }
}

fn kept(machine: &MetalMachine, kind: &str) -> Option<Condition> {
    find(&machine.status.as_ref()?.conditions, kind).cloned()
}

fn node_addresses(node: &Node) -> Vec<MachineAddress> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let addresses = addresses.into_iter().flatten();
    addresses
        .filter_map(|address| machine_address(&address.type_, &address.address))
        .collect()
}

fn server_addresses(server: Option<&Server>) -> Vec<MachineAddress> {
    let status = server.and_then(|server| server.status.as_ref());
    let addresses = status.map(|status| &status.addresses[..]).unwrap_or_default();
    addresses
        .iter()
        .filter_map(|address| machine_address(&address.type_, &address.address))
        .collect()
}

fn machine_address(kind: &str, address: &str) -> Option<MachineAddress> {
    let type_ = serde_json::from_value(json!(kind)).ok()?;
    let known = !matches!(type_, MachineAddressType::Other(_)) && (1..=256).contains(&address.len());
    known.then(|| MachineAddress {
        type_,
        address: address.into(),
    })
}
