//! A real Cluster API on the test bed: what it reconciles, refuses, and survives.

pub(crate) mod first_cluster;

use std::time::Duration;

use testbed::{Bed, Object};

use self::first_cluster::FirstCluster;

const SOON: Duration = Duration::from_secs(90);

pub(crate) async fn a_cluster_waits_for_its_metal_cluster(bed: &Bed) -> anyhow::Result<()> {
    let cluster = FirstCluster::new("default", "waits");
    cluster.apply(bed).await?;
    cluster.until_it_waits(bed, SOON).await?;
    delete(bed, &cluster).await
}

pub(crate) async fn bad_objects_are_refused_by_the_real_webhooks(bed: &Bed) -> anyhow::Result<()> {
    let cluster = "
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {namespace: default, name: bad}
spec:
  clusterNetwork: {pods: {cidrBlocks: [nonsense]}}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: MetalCluster, name: bad}
";
    let talos = "
apiVersion: bootstrap.cluster.x-k8s.io/v1alpha3
kind: TalosConfig
metadata: {namespace: default, name: bad}
spec: {generateType: worker, hostname: {source: nonsense}}
";
    for yaml in [cluster, talos] {
        let error = bed.apply(yaml).await.expect_err("a webhook should refuse this");
        assert!(format!("{error:#}").contains("nonsense"), "{error:#}");
    }
    Ok(())
}

pub(crate) async fn a_killed_manager_goes_on_where_it_was(bed: &Bed) -> anyhow::Result<()> {
    let manager = bed.part("cluster-api")?;
    manager.kill()?;
    let cluster = FirstCluster::new("default", "orphan");
    // Its webhooks are gone with it, so nothing can be applied meanwhile.
    let error = cluster.apply(bed).await.expect_err("no webhook answers");
    assert!(format!("{error:#}").contains("webhook"), "{error:#}");
    manager.begin()?;
    bed.until_manager_ready("cluster-api").await?;
    cluster.apply(bed).await?;
    cluster.until_it_waits(bed, SOON).await?;
    delete(bed, &cluster).await
}

pub(crate) async fn the_api_server_and_etcd_come_back_with_their_data(bed: &Bed) -> anyhow::Result<()> {
    bed.apply("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: default, name: kept}, data: {a: b}}")
        .await?;
    for part in ["management-etcd", "management-apiserver"] {
        bed.part(part)?.kill()?;
        bed.part(part)?.begin()?;
        let kept = Object::namespaced("v1", "ConfigMap", "default", "kept");
        let data = bed
            .wait_for(part, SOON, &[], || kept.get(bed.client()))
            .await?
            .data["data"]
            .clone();
        assert_eq!(data["a"], "b", "after a restart of {part}");
    }
    // Custom resources are served a moment later; whoever comes next relies on them.
    let cluster = FirstCluster::new("default", "nobody").cluster();
    bed.wait_for("Clusters are served", SOON, &[], async || {
        cluster.get(bed.client()).await.map(Some)
    })
    .await
    .map(|_| ())
}

/// Deletes the cluster. Nothing holds its Metal objects yet, so all of it goes.
async fn delete(bed: &Bed, cluster: &FirstCluster) -> anyhow::Result<()> {
    cluster.cluster().delete(bed.client()).await?;
    let gone = async || Ok(cluster.cluster().get(bed.client()).await?.is_none().then_some(()));
    bed.wait_for("the Cluster is gone", SOON, &cluster.objects(), gone)
        .await
}
