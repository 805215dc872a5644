//! What a developer sees: a wait that fails explains itself, a kubeconfig opens the test bed from a terminal.

use std::time::Duration;

use testbed::{Bed, Object};

use crate::clusters::first_cluster::FirstCluster;

pub(crate) async fn a_failed_wait_shows_objects_conditions_and_logs(bed: &Bed) -> anyhow::Result<()> {
    let cluster = FirstCluster::new("default", "shown");
    cluster.apply(bed).await?;
    cluster.until_it_waits(bed, Duration::from_secs(90)).await?;
    let waits = "InfrastructureReady=False NotReady: MetalCluster status.initialization.provisioned is false";
    let says = async || {
        Ok(cluster
            .cluster()
            .story(bed.client())
            .await
            .contains(waits)
            .then_some(()))
    };
    bed.wait_for(
        "the Cluster says what it waits for",
        Duration::from_secs(30),
        &[],
        says,
    )
    .await?;
    let nobody = Object::namespaced("v1", "Secret", "default", "nobody");
    let never = || async { Ok(None::<()>) };
    let concerned = [cluster.cluster(), nobody];
    let error = bed
        .wait_for("pigs fly", Duration::from_millis(200), &concerned, never)
        .await
        .expect_err("never");
    let text = format!("{error:#}");
    for part in [
        "pigs fly: not so after 0.2 s",
        "Cluster default/shown:\n",
        waits,
        "Secret default/nobody: there is none",
        "log of cluster-api ends:\n",
        "log of management-apiserver ends:\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    cluster.cluster().delete(bed.client()).await
}

pub(crate) async fn the_written_kubeconfigs_work_from_a_terminal(bed: &Bed) -> anyhow::Result<()> {
    let namespaces = bed.kubectl(&["get", "namespaces"])?;
    assert!(namespaces.contains("capi-system"), "{namespaces}");
    let workload = bed.workload.kubeconfig().display().to_string();
    let namespaces = bed.kubectl(&["--kubeconfig", &workload, "get", "namespaces"])?;
    assert!(
        namespaces.contains("kube-system") && !namespaces.contains("capi-system"),
        "{namespaces}"
    );
    Ok(())
}
