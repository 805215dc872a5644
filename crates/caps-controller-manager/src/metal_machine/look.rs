//! What is seen of a MetalMachine: itself, who owns it, its ServerBinding, and what it could take.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crd_types::cluster_api::{Cluster, Machine, owner};
use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::metal::members::{Members, is_available};
use crd_types::metal::{Server, ServerClass};
use crd_types::names::annotations::machine::ALLOCATION;
use crd_types::names::annotations::{RELEASE, cluster_api};
use crd_types::names::{PROVIDER_ID_PREFIX, finalizers, labels};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use lifecycle::machine::{Binding, Found, Lack, Observed, Wants};

use super::{Bound, MetalMachineError, MetalMachines};

/// Objects of one list call.
const PAGE: u32 = 500;

/// All that is decided on, and what it was read from.
pub(super) struct Look {
    pub(super) observed: Observed,
    pub(super) binding: Bound,
    /// Namespace and name of its Cluster.
    pub(super) cluster: Option<(String, String)>,
}

impl MetalMachines {
    pub(super) async fn look(&self, machine: &MetalMachine) -> Result<Look, MetalMachineError> {
        let namespace = machine.namespace().unwrap_or_default();
        let owner = match owner(machine, "Machine") {
            Some(owner) => {
                let machines = Api::<Machine>::namespaced(self.client.clone(), &namespace);
                machines.get_opt(&owner.name).await?
            }
            None => None,
        };
        let label = machine.labels().get(labels::CLUSTER_NAME).cloned();
        let name = owner
            .as_ref()
            .map(|owner| owner.spec.cluster_name.clone())
            .or(label);
        let cluster = match &name {
            Some(name) => {
                let clusters = Api::<Cluster>::namespaced(self.client.clone(), &namespace);
                clusters.get_opt(name).await?
            }
            None => None,
        };
        let binding = self.binding(machine).await?;
        let annotation = |key: &str| machine.annotations().get(key).cloned();
        let cluster_is_paused = cluster.as_ref().is_some_and(|cluster| {
            cluster.is_paused() || cluster.annotations().contains_key(cluster_api::PAUSED)
        });
        let wants = wants(machine);
        let mut observed = Observed {
            paused: cluster_is_paused || annotation(cluster_api::PAUSED).is_some(),
            deleted: machine.metadata.deletion_timestamp.is_some(),
            moving: annotation(cluster_api::DELETE_FOR_MOVE).is_some(),
            lacks: lacks(owner.as_ref(), cluster.as_ref()),
            held: machine
                .finalizers()
                .iter()
                .any(|finalizer| finalizer == finalizers::METAL_MACHINE),
            allocation: annotation(ALLOCATION),
            server: server_of(machine),
            missing: self.is_missing(&wants),
            wants,
            binding: binding.as_ref().map(|binding| told(binding, machine)),
            candidates: Vec::new(),
        };
        if observed.server.is_none() && observed.binding.is_none() {
            observed.candidates = self.candidates(machine, &observed.wants);
        }
        Ok(Look {
            observed,
            binding,
            cluster: name.map(|name| (namespace, name)),
        })
    }

    /// The ServerBinding of its Server; before it has one, that which it made. Read live: a cache may not know yet what
    /// was just made, and a second one would be made then.
    async fn binding(&self, machine: &MetalMachine) -> Result<Bound, kube::Error> {
        let bindings = Api::<ServerBinding>::all(self.client.clone());
        if let Some(server) = server_of(machine) {
            return bindings.get_opt(&server).await;
        }
        if !machine.annotations().contains_key(ALLOCATION) {
            return Ok(None);
        }
        let mut page = ListParams::default().limit(PAGE);
        if let Some(cluster) = machine.labels().get(labels::CLUSTER_NAME) {
            page = page.labels(&format!("{}={cluster}", labels::CLUSTER_NAME));
        }
        loop {
            let list = bindings.list(&page).await?;
            let ours = list.items.into_iter().find(|binding| is_ours(binding, machine));
            if ours.is_some() {
                return Ok(ours);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(None),
            }
        }
    }

    fn is_missing(&self, wants: &Wants) -> bool {
        match wants {
            Wants::Nothing => false,
            Wants::Server(server) => self.servers.get(&ObjectRef::new(server)).is_none(),
            Wants::Class(class) => self.classes.get(&ObjectRef::new(class)).is_none(),
        }
    }

    /// What it could take, as the caches have it. Each MetalMachine begins at another one, so that many do not race.
    fn candidates(&self, machine: &MetalMachine, wants: &Wants) -> Vec<String> {
        match wants {
            Wants::Nothing => Vec::new(),
            Wants::Server(server) => {
                let known = self.servers.get(&ObjectRef::new(server));
                let free = known.filter(|server| is_available(server));
                free.map(|_| server.clone()).into_iter().collect()
            }
            Wants::Class(class) => {
                let class = self.classes.get(&ObjectRef::new(class));
                let Some(members) = class.and_then(|class| Members::of(&class).ok()) else {
                    return Vec::new();
                };
                let all = self.servers.state();
                let taken = self.named_by_others(machine);
                let free = all.iter().filter(|server| {
                    is_available(server) && members.have(server) && !taken.contains(&server.name_any())
                });
                let mut names: Vec<_> = free.map(|server| server.name_any()).collect();
                names.sort();
                if !names.is_empty() {
                    let mut hasher = DefaultHasher::new();
                    machine.uid().hash(&mut hasher);
                    let at = hasher.finish() % u64::try_from(names.len()).unwrap_or(1);
                    names.rotate_left(usize::try_from(at).unwrap_or_default());
                }
                names
            }
        }
    }

    /// Servers that other MetalMachines name, as the cache has it: one that would be given back again is not tried.
    fn named_by_others(&self, machine: &MetalMachine) -> BTreeSet<String> {
        let all = self.machines.state();
        let others = all.iter().filter(|other| other.uid() != machine.uid());
        others
            .flat_map(|other| {
                let named = named(other.spec.server_ref.as_ref()).map(Into::into);
                [named, server_of(other)]
            })
            .flatten()
            .collect()
    }

    /// A live look at the Server, and at all other MetalMachines.
    pub(super) async fn found(
        &self,
        machine: &MetalMachine,
        look: &Look,
        server: &str,
    ) -> Result<Found, kube::Error> {
        let found = Api::<Server>::all(self.client.clone()).get_opt(server).await?;
        let in_class = match &look.observed.wants {
            Wants::Class(name) => {
                let class = Api::<ServerClass>::all(self.client.clone()).get_opt(name).await?;
                let members = class.and_then(|class| Members::of(&class).ok());
                members.is_some_and(|members| found.as_ref().is_some_and(|server| members.have(server)))
            }
            Wants::Server(_) | Wants::Nothing => true,
        };
        let allocation = look.observed.allocation.as_deref();
        let is_named = matches!(&look.observed.wants, Wants::Server(_));
        Ok(Found {
            exists: found
                .as_ref()
                .is_some_and(|server| server.metadata.deletion_timestamp.is_none()),
            available: found.as_ref().is_some_and(is_offered),
            in_class,
            rival: self.has_rival(machine, server, is_named).await?,
            due_for_another: found
                .as_ref()
                .is_some_and(|server| is_due_for_another(server, allocation)),
        })
    }

    /// Whether another MetalMachine has the Server; or its user names it for another one, and for this one not.
    async fn has_rival(
        &self,
        machine: &MetalMachine,
        server: &str,
        is_named: bool,
    ) -> Result<bool, kube::Error> {
        let machines = Api::<MetalMachine>::all(self.client.clone());
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = machines.list(&page).await?;
            let rival = list.items.iter().any(|other| {
                let has = server_of(other).as_deref() == Some(server);
                let names = named(other.spec.server_ref.as_ref()) == Some(server);
                other.uid() != machine.uid() && (has || names && !is_named)
            });
            if rival {
                return Ok(true);
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(false),
            }
        }
    }
}

/// Offered, or offered until the ServerBinding was there that is looked at now: its controller may have seen it already.
fn is_offered(server: &Server) -> bool {
    let status = server.status.as_ref();
    let is_clean = status.and_then(|status| status.is_clean) == Some(true);
    let is_ready = status.and_then(|status| status.ready) == Some(true);
    server.spec.accepted && !server.spec.cordoned.unwrap_or(false) && is_clean && is_ready
}

/// Whether a wipe of it is due and not done, for whomever but this allocation.
fn is_due_for_another(server: &Server, allocation: Option<&str>) -> bool {
    use crd_types::names::annotations::server::{WIPE_DONE, WIPE_DUE};
    let annotation = |key: &str| server.annotations().get(key).map(String::as_str);
    let Some(due) = annotation(WIPE_DUE) else {
        return false;
    };
    let (generation, holder) = due.split_once(" for ").unwrap_or((due, ""));
    annotation(WIPE_DONE) != Some(generation) && Some(holder) != allocation
}

/// The Server that a MetalMachine has.
pub(crate) fn server_of(machine: &MetalMachine) -> Option<String> {
    let provider_id = machine.spec.provider_id.as_deref()?;
    provider_id.strip_prefix(PROVIDER_ID_PREFIX).map(Into::into)
}

pub(super) fn named(reference: Option<&ObjectReference>) -> Option<&str> {
    reference?.name.as_deref().filter(|name| !name.is_empty())
}

fn wants(machine: &MetalMachine) -> Wants {
    match (
        named(machine.spec.server_ref.as_ref()),
        named(machine.spec.server_class_ref.as_ref()),
    ) {
        (Some(server), _) => Wants::Server(server.into()),
        (None, Some(class)) => Wants::Class(class.into()),
        (None, None) => Wants::Nothing,
    }
}

fn lacks(owner: Option<&Machine>, cluster: Option<&Cluster>) -> Option<Lack> {
    let Some(owner) = owner else {
        return Some(Lack::Machine);
    };
    let Some(cluster) = cluster else {
        return Some(Lack::Cluster);
    };
    let status = cluster.status.as_ref();
    let facts = status.and_then(|status| status.initialization);
    if facts.and_then(|facts| facts.infrastructure_provisioned) != Some(true) {
        return Some(Lack::Infrastructure);
    }
    owner
        .spec
        .bootstrap
        .data_secret_name
        .is_none()
        .then_some(Lack::Bootstrap)
}

/// A binding is its own by name and allocation: a move gives another uid.
fn is_ours(binding: &ServerBinding, machine: &MetalMachine) -> bool {
    let reference = &binding.spec.metal_machine_ref;
    let allocation = machine.annotations().get(ALLOCATION);
    reference.name == machine.metadata.name
        && reference.namespace == machine.metadata.namespace
        && allocation.is_some()
        && binding.annotations().get(ALLOCATION) == allocation
}

fn told(binding: &ServerBinding, machine: &MetalMachine) -> Binding {
    Binding {
        server: binding.name_any(),
        is_ours: is_ours(binding, machine),
        marked: binding.annotations().get(RELEASE) == machine.annotations().get(ALLOCATION),
        deleted: binding.metadata.deletion_timestamp.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wipe_that_is_due_for_somebody_else_is_seen_in_the_facts() {
        let due = |facts: &[(&str, &str)]| {
            let mut server = Server::default();
            for (key, value) in facts {
                let key = format!("metal.sidero.dev/{key}");
                server.annotations_mut().insert(key, (*value).into());
            }
            is_due_for_another(&server, Some("a-1"))
        };
        assert!(!due(&[]));
        assert!(!due(&[("wipe-due", "2"), ("wipe-done", "2")]));
        assert!(!due(&[("wipe-due", "2 for a-0"), ("wipe-done", "2")]));
        assert!(!due(&[("wipe-due", "2 for a-1"), ("wipe-done", "1")]));
        assert!(due(&[("wipe-due", "2 for a-0"), ("wipe-done", "1")]));
        assert!(due(&[("wipe-due", "2"), ("wipe-done", "1")]));
        assert!(due(&[("wipe-due", "1")]));
    }
}
