//! The MetalCluster controller: bare metal has nothing to provision for a cluster but an address, which is its user's.

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::backoff::Backoff;
use controller_runtime::controller::Reconciler;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::cluster_api::{Cluster, owner};
use crd_types::infrastructure::{Initialization, MetalCluster, MetalClusterStatus};
use crd_types::names::annotations::cluster_api::PAUSED;
use crd_types::names::{conditions as names, finalizers};
use kube::runtime::controller::Action;
use kube::{Api, Client, ResourceExt as _};

use crate::conditions::condition;

/// Until it is looked again for what no watch tells.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// Why a MetalCluster was not brought further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetalClusterError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot read its Cluster: {0}")]
    Read(#[from] kube::Error),
}

pub(crate) struct MetalClusters {
    pub(crate) client: Client,
    pub(crate) writer: Writer,
    pub(crate) backoff: Backoff,
}

impl Reconciler for MetalClusters {
    type Object = MetalCluster;
    type Error = MetalClusterError;
    const NAME: &'static str = "metalcluster";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, metal: Arc<MetalCluster>) -> Result<Action, MetalClusterError> {
        let cluster = self.cluster(&metal).await?;
        let paused =
            metal.annotations().contains_key(PAUSED) || cluster.as_ref().is_some_and(Cluster::is_paused);
        let deleted = metal.metadata.deletion_timestamp.is_some();
        if deleted {
            if !paused {
                self.writer
                    .finalizer(&*metal, finalizers::METAL_CLUSTER, false)
                    .await?;
            }
            return Ok(Action::requeue(LOOK_AGAIN));
        }
        if cluster.is_some() && !paused {
            let held = self.writer.finalizer(&*metal, finalizers::METAL_CLUSTER, true);
            if held.await?.is_some() {
                return Ok(Action::await_change());
            }
        }
        let status = status(&metal, cluster.is_some(), paused);
        self.writer.status(&*metal, &status).await?;
        Ok(match cluster {
            Some(_) => Action::await_change(),
            None => Action::requeue(LOOK_AGAIN),
        })
    }
}

impl MetalClusters {
    async fn cluster(&self, metal: &MetalCluster) -> Result<Option<Cluster>, kube::Error> {
        let (Some(owner), Some(namespace)) = (owner(metal, "Cluster"), metal.namespace()) else {
            return Ok(None);
        };
        Api::namespaced(self.client.clone(), &namespace)
            .get_opt(&owner.name)
            .await
    }
}

/// What is said of it. What was once provisioned stays so.
fn status(metal: &MetalCluster, owned: bool, paused: bool) -> MetalClusterStatus {
    let endpoint = metal.spec.control_plane_endpoint.as_ref();
    let endpoint = endpoint.filter(|endpoint| !endpoint.host.is_empty() && endpoint.port > 0);
    let was = metal.status.as_ref().is_some_and(|status| status.ready);
    let (ready, reason, message) = match endpoint {
        _ if paused => (was, names::PAUSED, "paused: nothing is decided anew".to_owned()),
        _ if !owned => (was, names::WAITING, "waiting for a Cluster to own it".to_owned()),
        Some(endpoint) => (
            true,
            names::ENDPOINT_SET,
            format!("the API is at {}:{}", endpoint.host, endpoint.port),
        ),
        None => (
            was,
            names::ENDPOINT_MISSING,
            "set spec.controlPlaneEndpoint: the address of the API is the user's to provide".to_owned(),
        ),
    };
    let told = ready && (paused || endpoint.is_some() && owned);
    MetalClusterStatus {
        ready,
        initialization: Some(Initialization {
            provisioned: Some(ready),
        }),
        conditions: vec![
            condition(metal, names::READY, told, reason, &message),
            paused_condition(metal, paused),
        ],
    }
}

/// Whether nothing is done for `object`.
pub(crate) fn paused_condition<K: kube::Resource>(object: &K, paused: bool) -> crd_types::Condition {
    let (reason, message) = if paused {
        (names::PAUSED, "it or its Cluster is paused")
    } else {
        (names::NOT_PAUSED, "it is reconciled")
    };
    crd_types::Condition {
        severity: None,
        ..condition(object, names::PAUSED, paused, reason, message)
    }
}

#[cfg(test)]
mod tests {
    use crd_types::ConditionStatus;
    use crd_types::infrastructure::{ControlPlaneEndpoint, MetalClusterSpec};

    use super::*;

    fn metal(endpoint: Option<(&str, i32)>) -> MetalCluster {
        let control_plane_endpoint = endpoint.map(|(host, port)| ControlPlaneEndpoint {
            host: host.into(),
            port,
        });
        MetalCluster::new(
            "c",
            MetalClusterSpec {
                control_plane_endpoint,
            },
        )
    }

    fn ready(status: &MetalClusterStatus) -> (bool, ConditionStatus, String) {
        let provisioned = status.initialization.and_then(|init| init.provisioned);
        assert_eq!(provisioned, Some(status.ready));
        let condition = &status.conditions[0];
        (
            status.ready,
            condition.status.clone(),
            condition.reason.clone().unwrap(),
        )
    }

    #[test]
    fn it_is_ready_once_its_endpoint_is_set_and_never_takes_that_back() {
        let set = metal(Some(("10.0.0.1", 6443)));
        let yes = (true, ConditionStatus::True, "EndpointSet".to_owned());
        assert_eq!(ready(&status(&set, true, false)), yes);
        let reason = |metal: &MetalCluster, owned| ready(&status(metal, owned, false));
        assert_eq!(
            reason(&set, false),
            (false, ConditionStatus::False, "Waiting".into())
        );
        for nowhere in [None, Some(("", 6443)), Some(("10.0.0.1", 0))] {
            let mut metal = metal(nowhere);
            let no = (false, ConditionStatus::False, "EndpointMissing".to_owned());
            assert_eq!(reason(&metal, true), no);
            metal.status = Some(status(&set, true, false));
            assert!(reason(&metal, true).0, "once provisioned");
        }
    }
}
