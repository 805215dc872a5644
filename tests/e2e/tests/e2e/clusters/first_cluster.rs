//! A Cluster with one stand-alone Talos control-plane Machine.

use std::time::Duration;

use anyhow::Context;

use testbed::{Bed, Object};

const CLUSTER: &str = "cluster.x-k8s.io/v1beta2";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io/v1alpha3";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";

/// A Cluster by namespace and name, with the objects that belong to it.
#[derive(Debug, Clone)]
pub(crate) struct FirstCluster {
    namespace: String,
    name: String,
}

impl FirstCluster {
    /// The cluster `namespace/name`; the namespace exists.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn object(&self, api_version: &str, kind: &str) -> Object {
        Object::namespaced(api_version, kind, &self.namespace, &self.name)
    }

    /// The Cluster itself.
    pub(crate) fn cluster(&self) -> Object {
        self.object(CLUSTER, "Cluster")
    }

    /// Its MetalCluster.
    pub(crate) fn metal_cluster(&self) -> Object {
        self.object(INFRASTRUCTURE, "MetalCluster")
    }

    /// Its control-plane Machine.
    pub(crate) fn machine(&self) -> Object {
        self.object(CLUSTER, "Machine")
    }

    /// The Talos machine config of that Machine.
    pub(crate) fn talos_config(&self) -> Object {
        self.object(BOOTSTRAP, "TalosConfig")
    }

    /// The objects that tell its story, in the order in which it happens.
    pub(crate) fn objects(&self) -> [Object; 3] {
        [self.cluster(), self.machine(), self.talos_config()]
    }

    /// Applies it to the management cluster.
    pub(crate) async fn apply(&self, bed: &Bed) -> anyhow::Result<()> {
        let yaml = include_str!("cluster.yaml")
            .replace("NAMESPACE", &self.namespace)
            .replace("NAME", &self.name);
        let yaml = yaml.replace("ENDPOINT", &bed.run().network().inside().to_string());
        bed.apply(&yaml).await.map(|_| ())
    }

    /// Waits until Cluster API has taken all of it as far as it goes without infrastructure: it has adopted the
    /// MetalCluster, and Cluster, Machine and Talos config each say that they wait for it.
    pub(crate) async fn until_it_waits(&self, bed: &Bed, deadline: Duration) -> anyhow::Result<()> {
        let concerned = [
            self.cluster(),
            self.metal_cluster(),
            self.machine(),
            self.talos_config(),
        ];
        let what = "Cluster, Machine and TalosConfig wait for the infrastructure";
        bed.wait_for(what, deadline, &concerned, || async {
            let get = async |object: Object| {
                object
                    .get(bed.client())
                    .await?
                    .with_context(|| format!("no {object}"))
            };
            let phase = get(self.cluster()).await?.data["status"]["phase"].clone();
            anyhow::ensure!(phase == "Provisioning", "the Cluster's phase is {phase}");
            let owners = get(self.metal_cluster())
                .await?
                .metadata
                .owner_references
                .unwrap_or_default();
            anyhow::ensure!(
                owners.iter().any(|owner| owner.kind == "Cluster"),
                "the MetalCluster has no owner"
            );
            for object in [self.cluster(), self.machine()] {
                let ready = condition(&get(object.clone()).await?.data, "InfrastructureReady");
                anyhow::ensure!(
                    ready.as_deref() == Some("False"),
                    "{object}: InfrastructureReady is {ready:?}"
                );
            }
            let available = condition(&get(self.talos_config()).await?.data, "DataSecretAvailable");
            anyhow::ensure!(
                available.as_deref() == Some("False"),
                "the TalosConfig's DataSecretAvailable is {available:?}"
            );
            Ok(Some(()))
        })
        .await
    }
}

/// The status of the condition `name`, if the object has it.
fn condition(object: &serde_json::Value, name: &str) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == name)?;
    Some(found["status"].as_str()?.to_owned())
}
