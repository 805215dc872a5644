//! How Servers are given back: only by a mark, off before the Machine is gone, and at the deadline if nothing confirms that.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use testbed::Bed;
use testbed::proxy::Proxy;

use crate::claims::site::{ALLOCATION, BY_HAND, Site, condition};
use crate::power::lab::{A, Lab};
use crate::registration;

const SOON: Duration = Duration::from_mins(1);
const QUARANTINED: &str = "metal.sidero.dev/quarantined";

/// A machine that is on and a Node of a cluster.
pub(crate) async fn joined<'a>(
    bed: &'a Bed,
    name: &'static str,
    flags: &[&str],
    proxy: Option<&Proxy>,
) -> anyhow::Result<(Lab<'a>, Site<'a>)> {
    let lab = Lab::start_behind(bed, flags, proxy).await?;
    let site = Site::start(bed, name, A.name, None).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    site.offer(A.name).await?;
    site.class(None).await?;
    site.cluster(name, &[name]).await?;
    site.until_taken(name).await?;
    lab.until(A, "it is switched on", SOON, async |_| {
        Ok((lab.edges(A).await? == ["off>on"]).then_some(()))
    })
    .await?;
    site.node(A.name).await?;
    site.until_running(name).await?;
    Ok((lab, site))
}

pub(crate) async fn what_nothing_confirms_ends_at_the_deadline_and_off_arrives_once_the_bmc_is_back(
    bed: &Bed,
) -> anyhow::Result<()> {
    let (lab, site) = joined(bed, "dead", &["--release-deadline=20s"], None).await?;
    // without another member of the control plane Cluster API would keep the Node
    site.cluster("dead", &["dead-next"]).await?;
    lab.fault(A, "hang", json!({})).await?;
    lab.until_condition(A, "BMCReachable", "Unreachable", SOON)
        .await?;
    site.delete_machine("dead").await?;
    // until the deadline everything stays, and says why
    let message = site
        .until_message("dead", "ServerTaken", "PowerOffUnconfirmed", "BMC")
        .await?;
    ensure!(message.contains(A.name), "{message}");
    ensure!(site.has_node().await?, "the Node is gone before its machine");
    ensure!(site.binding(A.name).await?.is_some(), "not bound any more");
    site.until_gone("dead").await?;
    site.until_server(A.name, "it is in quarantine", |server| {
        let (status, reason, _) = condition(server, "Quarantined");
        server.data["status"]["phase"] == "Quarantined"
            && (&*status, &*reason) == ("True", "PowerOffUnconfirmed")
    })
    .await?;
    ensure!(site.binding(A.name).await?.is_none());
    site.until_no_node().await?;
    let recorded = lab.annotation(A, QUARANTINED).await?;
    ensure!(recorded.is_some() && lab.edges(A).await? == ["off>on"]);
    // nobody else gets it
    site.until_reason("dead-next", "ServerTaken", "NoServerAvailable")
        .await?;
    lab.clear_faults(A).await?;
    lab.until(A, "it is switched off and wiped next", SOON, async |object| {
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let is_wiped_next = object.data["status"]["phase"] == "Wiping";
        Ok((is_wiped_next && !annotations.contains_key(QUARANTINED)).then_some(()))
    })
    .await?;
    let edges = lab.edges(A).await?;
    ensure!(edges[..2] == ["off>on", "on>off"], "{edges:?}");
    site.delete_cluster("dead").await?;
    site.end().await?;
    lab.end().await
}

pub(crate) async fn a_binding_that_is_deleted_by_hand_changes_nothing_until_its_machine_is_deleted(
    bed: &Bed,
) -> anyhow::Result<()> {
    let (lab, site) = joined(bed, "unmarked", &[], None).await?;
    bed.kubectl(&["delete", "serverbinding", A.name, "--wait=false"])?;
    let message = site
        .until_reason("unmarked", "ServerTaken", "BindingDeleted")
        .await?;
    ensure!(message.contains("delete the Machine"), "{message}");
    site.until_server(A.name, "it says that it stays", |server| {
        let reason = server.data["status"]["phaseReason"].as_str().unwrap_or_default();
        reason.contains("deleted without a release") && server.data["status"]["inUse"] == true
    })
    .await?;
    let binding = site.binding(A.name).await?.context("it is gone")?;
    ensure!(binding.metadata.deletion_timestamp.is_some());
    ensure!(lab.edges(A).await? == ["off>on"], "{:?}", lab.edges(A).await?);
    // the way out
    site.delete_cluster("unmarked").await?;
    let edges = lab.edges(A).await?;
    ensure!(edges[..2] == ["off>on", "on>off"], "{edges:?}");
    ensure!(site.binding(A.name).await?.is_none());
    site.end().await?;
    lab.end().await
}

pub(crate) async fn a_machine_that_never_had_a_server_goes_at_once_unless_its_cluster_is_paused(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start(bed, "never", BY_HAND, None).await?;
    site.class(None).await?;
    site.cluster("never", &["never-a", "never-b"]).await?;
    for name in ["never-a", "never-b"] {
        site.until_reason(name, "ServerTaken", "NoServerAvailable")
            .await?;
    }
    site.delete_machine("never-a").await?;
    site.until_gone("never-a").await?;
    // nobody owns this one
    let alone = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachine",
        "metadata": { "namespace": "default", "name": "never-owned" },
        "spec": { "serverRef": { "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "name": BY_HAND } },
    });
    bed.apply(&alone.to_string()).await?;
    site.until_reason("never-owned", "ServerTaken", "Waiting").await?;
    bed.kubectl(&["delete", "metalmachine", "never-owned", "--wait=false"])?;
    site.until_gone("never-owned").await?;
    site.pause_cluster("never", true)?;
    site.until_reason("never-b", "Paused", "Paused").await?;
    bed.kubectl(&["delete", "metalmachine", "never-b", "--wait=false"])?;
    site.until_reason("never-b", "Paused", "Paused").await?;
    ensure!(
        site.machine("never-b")
            .await?
            .metadata
            .deletion_timestamp
            .is_some()
    );
    site.pause_cluster("never", false)?;
    site.until_gone("never-b").await?;
    site.delete_cluster("never").await?;
    site.end().await
}

pub(crate) async fn a_server_is_given_back_though_its_machine_object_is_gone(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "ownerless", BY_HAND).await?;
    site.class(None).await?;
    site.cluster("ownerless", &["ownerless"]).await?;
    site.until_taken("ownerless").await?;
    let machine = "machines.cluster.x-k8s.io";
    bed.kubectl(&["delete", machine, "ownerless", "--wait=false"])?;
    let gone = r#"{"metadata":{"finalizers":null}}"#;
    bed.kubectl(&["patch", machine, "ownerless", "--type=merge", "-p", gone])?;
    site.until_message(
        "ownerless",
        "ServerTaken",
        "PowerOffUnconfirmed",
        "PowerUnverified",
    )
    .await?;
    site.resume("PowerUnverified")?;
    site.until_gone("ownerless").await?;
    ensure!(site.binding(BY_HAND).await?.is_none());
    site.delete_cluster("ownerless").await?;
    site.end().await
}

pub(crate) async fn a_marked_binding_whose_metal_machine_is_gone_is_deleted_and_a_boot_ends_the_release(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "marked", BY_HAND).await?;
    site.class(None).await?;
    site.cluster("marked", &["marked"]).await?;
    let machine = site.until_taken("marked").await?;
    let allocation = machine.metadata.annotations.unwrap_or_default()[ALLOCATION].clone();
    site.until_server(BY_HAND, "it is booted", |server| {
        server.data["status"]["phase"] == "Provisioning"
    })
    .await?;
    // CAPS dies between the mark and the deletion, and never comes back for this one
    site.without_caps(async || {
        let mark = format!("metal.sidero.dev/release={allocation}");
        bed.kubectl(&["annotate", "serverbinding", BY_HAND, &mark])?;
        let gone = r#"{"metadata":{"finalizers":null}}"#;
        bed.kubectl(&["delete", "metalmachine", "marked", "--wait=false"])?;
        bed.kubectl(&["patch", "metalmachine", "marked", "--type=merge", "-p", gone])?;
        site.until_gone("marked").await?;
        site.until_binding(BY_HAND, "it is deleted", |binding| {
            binding.metadata.deletion_timestamp.is_some()
        })
        .await
        .map(drop)
    })
    .await?;
    site.until_server(BY_HAND, "it is to be switched off by hand", |server| {
        let reason = server.data["status"]["phaseReason"].as_str().unwrap_or_default();
        reason.contains("PowerUnverified")
    })
    .await?;
    // whoever restarts it does as well: it asks what to boot, and waits
    site.until_released_by_boot(BY_HAND).await?;
    ensure!(site.binding(BY_HAND).await?.is_none());
    site.delete_cluster("marked").await?;
    site.end().await
}

/// Of no machine, and of no Server.
const STRANDED: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c00dd";

pub(crate) async fn what_is_given_back_of_a_server_that_does_not_exist_is_let_go(
    bed: &Bed,
) -> anyhow::Result<()> {
    let manager = registration::Site::start(bed, &["--release-deadline=3s"]).await?;
    let binding = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": {
            "name": STRANDED, "finalizers": ["metal.sidero.dev/release"],
            "annotations": { "metal.sidero.dev/allocation": "a-1", "metal.sidero.dev/release": "a-1" },
        },
        "spec": { "metalMachineRef": { "kind": "MetalMachine", "namespace": "default", "name": "gone" } },
    });
    bed.apply(&binding.to_string()).await?;
    // the wait of kubectl ends when it is gone
    bed.kubectl(&["delete", "serverbinding", STRANDED, "--timeout=60s"])?;
    drop(manager);
    Ok(())
}
