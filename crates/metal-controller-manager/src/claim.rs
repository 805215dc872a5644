//! A live look at who has a Server: its ServerBinding, the MetalMachine that this one names, and their pauses.

use crd_types::cluster_api::Cluster;
use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::names::annotations::machine::{ALLOCATION, INSTALLED};
use crd_types::names::annotations::{RELEASE, cluster_api};
use crd_types::names::{PROVIDER_ID_PREFIX, labels};
use kube::{Api, Client, ResourceExt as _};
use lifecycle::claim::{self, Claim, Unconfirmed};

use crate::server::observed::time;

/// What was seen, one read each, in the order binding, MetalMachine, Cluster.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Who has the Server.
    pub(crate) claim: Claim,
    /// The ServerBinding of the Server's name.
    pub(crate) binding: Option<ServerBinding>,
    /// The MetalMachine that it names.
    pub(crate) machine: Option<MetalMachine>,
    /// The MetalMachine, or the Cluster that it belongs to, is paused.
    pub(crate) paused: bool,
}

impl Look {
    /// Boots in which the machine fetched its config, for whoever has it now.
    pub(crate) fn config_boots(&self) -> u32 {
        let status = self.binding.as_ref().and_then(|binding| binding.status.as_ref());
        let config = status.and_then(|status| status.config.as_ref());
        config
            .and_then(|config| u32::try_from(config.boots).ok())
            .unwrap_or_default()
    }

    /// Its binding's MetalMachine is gone.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.claim == Claim::Unconfirmed(Unconfirmed::Orphaned)
    }
}

/// Looks at who has the Server called `server`.
pub(crate) async fn look(client: &Client, server: &str) -> Result<Look, kube::Error> {
    let binding = Api::<ServerBinding>::all(client.clone()).get_opt(server).await?;
    let machine = match &binding {
        Some(binding) => named(client, binding).await?,
        None => None,
    };
    let paused = match &machine {
        Some(machine) => {
            machine.annotations().contains_key(cluster_api::PAUSED) || is_paused(client, machine).await?
        }
        None => false,
    };
    let says = machine.as_ref().map(|machine| said(machine, server));
    Ok(Look {
        claim: Claim::of(binding.as_ref().map(told).as_ref(), says.as_ref()),
        binding,
        machine,
        paused,
    })
}

/// The MetalMachine that a binding names. Not by its uid: a move gives a new one, and the allocation tells them apart.
async fn named(client: &Client, binding: &ServerBinding) -> Result<Option<MetalMachine>, kube::Error> {
    let reference = &binding.spec.metal_machine_ref;
    let (Some(namespace), Some(name)) = (&reference.namespace, &reference.name) else {
        return Ok(None);
    };
    Api::<MetalMachine>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
}

async fn is_paused(client: &Client, machine: &MetalMachine) -> Result<bool, kube::Error> {
    let (Some(name), Some(namespace)) = (machine.labels().get(labels::CLUSTER_NAME), machine.namespace())
    else {
        return Ok(false);
    };
    let cluster = Api::<Cluster>::namespaced(client.clone(), &namespace)
        .get_opt(name)
        .await?;
    Ok(cluster.is_some_and(|cluster| {
        cluster.is_paused() || cluster.annotations().contains_key(cluster_api::PAUSED)
    }))
}

fn told(binding: &ServerBinding) -> claim::Binding {
    let annotation = |key: &str| binding.annotations().get(key).cloned();
    claim::Binding {
        allocation: annotation(ALLOCATION),
        mark: annotation(RELEASE),
        deleted: binding.metadata.deletion_timestamp.as_ref().map(time),
    }
}

fn said(machine: &MetalMachine, server: &str) -> claim::Machine {
    let annotation = |key: &str| machine.annotations().get(key).cloned();
    let provider_id = machine.spec.provider_id.as_deref();
    claim::Machine {
        allocation: annotation(ALLOCATION),
        has_server: provider_id.and_then(|id| id.strip_prefix(PROVIDER_ID_PREFIX)) == Some(server),
        deleted: machine.metadata.deletion_timestamp.as_ref().map(time),
        installed: annotation(INSTALLED),
    }
}
