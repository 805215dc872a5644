//! How MetalMachines of a real Cluster API take Servers and give them back. Machines and Nodes are played by the tests.

pub(crate) mod site;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use testbed::Bed;

use self::site::{ALLOCATION, BY_HAND, Site, condition};
use crate::environments::{Mirror, until_ready};
use crate::power::lab::{A, Lab};

const SOON: Duration = Duration::from_mins(1);
const WIPE_DUE: &str = "metal.sidero.dev/wipe-due";
const WINDOW: &str = "metal.sidero.dev/boot-window";
/// Another one, which the observer does not watch: its ServerBinding is taken away by force.
const ROBBED: &str = "0b5e0000-0000-4000-8000-0000000000aa";

pub(crate) async fn a_machine_that_is_taken_is_switched_on_and_given_back_off(
    bed: &Bed,
) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    let site = Site::start(bed, "taken", A.name, None).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    site.offer(A.name).await?;
    let mirror = Mirror::start(bed).await?;
    mirror.environment(bed, "claims", "vmlinuz", "").await?;
    until_ready(bed, "claims").await?;
    site.class(Some("claims")).await?;
    let patches =
        json!([{ "op": "add", "path": "/machine/network", "value": { "hostname": "of-the-server" } }]);
    lab.patch(A, json!({ "spec": { "configPatches": patches } }))
        .await?;
    site.cluster("taken", &["taken"]).await?;

    // taken: the claim is the same everywhere, and the Server is due to be wiped before anything is booted
    let machine = site.until_taken("taken").await?;
    let allocation = machine.metadata.annotations.clone().unwrap_or_default()[ALLOCATION].clone();
    ensure!(
        machine.data["spec"]["serverRef"]["name"] == A.name,
        "{:?}",
        machine.data
    );
    let binding = site.binding(A.name).await?.context("there is a ServerBinding")?;
    ensure!(binding.metadata.annotations.clone().unwrap_or_default()[ALLOCATION] == allocation);
    ensure!(binding.data["spec"]["serverClassRef"]["name"] == "claims-taken");
    lab.until(A, "it is switched on", SOON, async |_| {
        Ok((lab.edges(A).await? == ["off>on"]).then_some(()))
    })
    .await?;
    let due = lab.annotation(A, WIPE_DUE).await?;
    ensure!(due == Some(format!("1 for {allocation}")), "{due:?}");
    let window = lab.annotation(A, WINDOW).await?.unwrap_or_default();
    ensure!(window.contains(" environment "), "{window}");

    // it asks, and gets its environment with a token
    let asks = || async {
        let url = format!(
            "{}/ipxe?uuid={}&mac=52-54-00-00-00-0a&arch=x86_64",
            lab.services, A.name
        );
        anyhow::Ok(reqwest::get(url).await?.text().await?)
    };
    let script = asks().await?;
    ensure!(
        script.contains("kernel /env/claims/vmlinuz console=ttyS0 talos.config=http://")
            && script.contains("?token="),
        "{script}"
    );
    lab.until(A, "it is said that it loads", SOON, async |object| {
        let status = &object.data["status"];
        ensure!(status["phase"] == "Provisioning", "{status}");
        Ok((status["boot"]["ipxe"]["what"] == "told to boot its environment").then_some(()))
    })
    .await?;

    // its config, patched for class and Server, for the token of its window alone
    let url = script
        .split("talos.config=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let url = url.context("the script has no talos.config")?;
    let fetch = |url: String| async move {
        let answer = reqwest::get(format!("{url}{}", A.name)).await?;
        anyhow::Ok((answer.status().as_u16(), answer.text().await?))
    };
    let url = url.replace(
        ":8081/",
        &format!(":{}/", lab.services.rsplit(':').next().unwrap_or_default()),
    );
    let (status, text) = fetch(url.replace("token=", "token=x")).await?;
    ensure!(
        status == 403 && text.contains("the token is not"),
        "{status}: {text}"
    );
    ensure!(condition(&site.machine("taken").await?, "Ready").0 == "False");
    let (status, _) = fetch(url.replace("token=", "token=x")).await?;
    ensure!(status == 403, "{status}");
    let story = bed.kubectl(&["describe", "server", A.name])?;
    let told = story.matches("Machine config refused").count();
    ensure!(told == 1, "told {told} times:\n{story}");
    let (status, config) = fetch(url.clone()).await?;
    ensure!(status == 200, "{status}: {config}");
    for part in [
        &format!("metal.sidero.dev/uuid={}", A.name),
        "disk: /dev/of-the-class",
        "hostname: of-the-server",
        "type: controlplane",
    ] {
        ensure!(config.contains(part), "no {part} in the config");
    }
    site.until_ready("taken").await?;

    // its Node comes: all the way to Running, and from now on it boots its disk
    site.node(A.name).await?;
    site.until_running("taken").await?;
    lab.until(A, "its window is closed", SOON, async |object| {
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let closed = !annotations.contains_key(WINDOW);
        Ok((closed && object.data["status"]["phase"] == "Provisioned").then_some(()))
    })
    .await?;
    ensure!(asks().await?.ends_with("exit\n"));
    let (status, text) = fetch(url).await?;
    ensure!(status == 403, "{status}: {text}");
    let machine = site.machine("taken").await?;
    for kind in ["Ready", "ServerTaken", "NodeSeen", "ProviderSet"] {
        ensure!(
            condition(&machine, kind).0 == "True",
            "{kind}: {:?}",
            machine.data["status"]
        );
    }
    ensure!(machine.data["status"]["initialization"]["provisioned"] == true);

    // what is lost with the status is said again, and nothing moves
    site.erase_statuses("taken", A.name)?;
    site.until_running("taken").await?;
    site.until_ready("taken").await?;
    ensure!(lab.edges(A).await? == ["off>on"], "{:?}", lab.edges(A).await?);

    // given back: off before the Machine is gone
    site.delete_cluster("taken").await?;
    ensure!(
        lab.edges(A).await?[..2] == ["off>on", "on>off"],
        "{:?}",
        lab.edges(A).await?
    );
    ensure!(site.binding(A.name).await?.is_none());
    lab.until(A, "it is wiped next", SOON, async |object| {
        Ok((object.data["status"]["phase"] == "Wiping").then_some(()))
    })
    .await?;
    site.end().await?;
    lab.end().await
}

pub(crate) async fn of_two_metal_machines_one_gets_the_server_and_the_other_says_why_not(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "two", BY_HAND).await?;
    site.class(None).await?;
    site.cluster("two", &["two-a", "two-b"]).await?;
    let (winner, loser) = site.until_one_of("two-a", "two-b").await?;
    let message = site
        .until_reason(&loser, "ServerTaken", "NoServerAvailable")
        .await?;
    ensure!(message.contains("claims-two"), "{message}");
    site.until_server(BY_HAND, "it is booted for the winner", |server| {
        server.data["status"]["phase"] == "Provisioning"
    })
    .await?;
    // one that never had a Server goes at once
    site.delete_machine(&loser).await?;
    site.until_gone(&loser).await?;
    // the other one's was on, as far as is known: a human says that it is off
    site.delete_machine(&winner).await?;
    site.until_server(BY_HAND, "a human is asked to switch it off", |server| {
        let reason = server.data["status"]["phaseReason"].as_str().unwrap_or_default();
        reason.contains("PowerUnverified")
    })
    .await?;
    ensure!(site.binding(BY_HAND).await?.is_some());
    site.resume("PowerUnverified")?;
    site.until_gone(&winner).await?;
    ensure!(site.binding(BY_HAND).await?.is_none());
    site.delete_cluster("two").await?;
    site.end().await
}

pub(crate) async fn a_binding_that_was_lost_is_made_again(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "lost", ROBBED).await?;
    site.class(None).await?;
    site.cluster("lost", &["lost"]).await?;
    let before = site.until_taken("lost").await?;
    let id = |object: &kube::api::DynamicObject| {
        object.metadata.annotations.clone().unwrap_or_default()[ALLOCATION].clone()
    };
    // lost with all that held it
    let old = site.binding(ROBBED).await?.context("bound")?.metadata.uid;
    bed.kubectl(&[
        "patch",
        "serverbinding",
        ROBBED,
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ])?;
    bed.kubectl(&["delete", "serverbinding", ROBBED, "--wait=false"])?;
    let binding = site
        .until_binding(ROBBED, "it is there again", |binding| binding.metadata.uid != old)
        .await?;
    ensure!(id(&binding) == id(&before));
    site.delete_machine("lost").await?;
    site.resume("PowerUnverified")?;
    site.until_gone("lost").await?;
    site.delete_cluster("lost").await?;
    site.end().await
}

pub(crate) async fn a_server_whose_metal_machine_vanished_is_left_alone_until_a_human_releases_it(
    bed: &Bed,
) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "orphan", BY_HAND).await?;
    site.class(None).await?;
    site.cluster("orphan", &["orphan"]).await?;
    site.until_taken("orphan").await?;
    site.until_server(BY_HAND, "it is booted", |server| {
        server.data["status"]["phase"] == "Provisioning"
    })
    .await?;
    // a word about what does not keep it now is not kept for the day on which it would
    site.resume("Orphaned")?;
    site.until_server(BY_HAND, "the word is taken away", |server| {
        let annotations = server.metadata.annotations.clone().unwrap_or_default();
        !annotations.contains_key("metal.sidero.dev/resume")
    })
    .await?;
    // a Server that is bound is not gone before it is given back
    bed.kubectl(&["delete", "server", BY_HAND, "--wait=false"])?;
    // while nobody looks, the MetalMachine goes without a release
    site.without_caps(async || {
        let gone = r#"{"metadata":{"finalizers":null}}"#;
        bed.kubectl(&["delete", "metalmachine", "orphan", "--wait=false"])?;
        bed.kubectl(&["patch", "metalmachine", "orphan", "--type=merge", "-p", gone])?;
        site.until_gone("orphan").await?;
        site.until_server(BY_HAND, "it is left alone", |server| {
            let reason = condition(server, "HandsOff").1;
            server.data["status"]["phase"] == "HandsOff" && reason == "Orphaned"
        })
        .await
    })
    .await?;
    let server = site.server(BY_HAND).await?;
    ensure!(server.metadata.deletion_timestamp.is_some() && site.binding(BY_HAND).await?.is_some());
    for word in ["Orphaned", "PowerUnverified"] {
        if word == "PowerUnverified" {
            site.until_server(BY_HAND, "a human is asked to switch it off", |server| {
                let reason = server.data["status"]["phaseReason"].as_str().unwrap_or_default();
                reason.contains(word)
            })
            .await?;
        }
        site.resume(word)?;
    }
    site.until_server_gone(BY_HAND).await?;
    ensure!(site.binding(BY_HAND).await?.is_none());
    site.delete_cluster("orphan").await?;
    site.end().await
}

pub(crate) async fn a_pause_stops_taking_and_giving_back(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start_by_hand(bed, "pause", BY_HAND).await?;
    site.class(None).await?;
    bed.kubectl(&["annotate", "server", BY_HAND, "metal.sidero.dev/pause="])?;
    site.cluster("pause", &["pause"]).await?;
    // a Server that is paused is not offered
    site.until_reason("pause", "ServerTaken", "NoServerAvailable")
        .await?;
    bed.kubectl(&["annotate", "metalmachine", "pause", "cluster.x-k8s.io/paused="])?;
    site.until_reason("pause", "Paused", "Paused").await?;
    bed.kubectl(&["annotate", "server", BY_HAND, "metal.sidero.dev/pause-"])?;
    site.until_server(BY_HAND, "it is Available", |server| {
        server.data["status"]["phase"] == "Available"
    })
    .await?;
    ensure!(site.binding(BY_HAND).await?.is_none(), "taken in a pause");
    bed.kubectl(&["annotate", "metalmachine", "pause", "cluster.x-k8s.io/paused-"])?;
    site.until_taken("pause").await?;
    // a Cluster that is paused gives nothing back
    site.pause_cluster("pause", true)?;
    site.until_reason("pause", "Paused", "Paused").await?;
    bed.kubectl(&["delete", "metalmachine", "pause", "--wait=false"])?;
    site.until_server(BY_HAND, "it is left alone", |server| {
        server.data["status"]["phase"] == "HandsOff"
    })
    .await?;
    let binding = site.binding(BY_HAND).await?.context("bound")?;
    ensure!(
        binding.metadata.deletion_timestamp.is_none(),
        "released in a pause"
    );
    site.pause_cluster("pause", false)?;
    site.resume("PowerUnverified")?;
    site.until_gone("pause").await?;
    site.delete_cluster("pause").await?;
    site.end().await
}
