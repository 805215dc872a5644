//! A manager that is killed, at the step at which that hurts most: held there by a simulated BMC, or by a proxy before the
//! API server. Its successor goes on: one change of power each, and nothing is doubled.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use testbed::Bed;
use testbed::proxy::{Hold, Proxy, Seen};

use crate::claims::site::{ALLOCATION, BY_HAND, Site};
use crate::played::Played;
use crate::power::lab::{A, Lab};
use crate::registration::mac;
use crate::releases::joined;

const SOON: Duration = Duration::from_mins(1);
/// Half of it passes before a command whose effect is missing is sent again.
const POWER: [&str; 2] = ["--power-on-deadline=10s", "--power-off-deadline=10s"];
const WIPE_DONE: &str = "metal.sidero.dev/wipe-done";

fn patches(seen: &Seen, path: &str, body: &str) -> bool {
    seen.method == "PATCH" && seen.path.contains(path) && seen.body.contains(body)
}

async fn accepted_and_off<'a>(bed: &'a Bed, proxy: Option<&Proxy>) -> anyhow::Result<Lab<'a>> {
    let lab = Lab::start_behind(bed, &POWER, proxy).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    lab.until_power(A, "off").await?;
    Ok(lab)
}

pub(crate) async fn an_intent_that_was_stored_and_not_sent_is_sent_once(bed: &Bed) -> anyhow::Result<()> {
    let proxy = Proxy::start(bed).await?;
    let lab = accepted_and_off(bed, Some(&proxy)).await?;
    // the API server has it, and the manager does not know that: it sends nothing
    proxy.hold(Hold::Answer, |seen| {
        patches(seen, "/status", "\"powerIntent\"") && seen.body.contains("\"attempt\":1")
    });
    lab.annotate(A, "metal.sidero.dev/power", Some("on")).await?;
    proxy.until_held(SOON).await?;
    lab.manager.kill()?;
    let intent = lab.status(A).await?["powerIntent"].clone();
    ensure!(intent["attempt"] == 1 && intent["outcome"].is_null(), "{intent}");
    let commands = lab.commands(A).await?;
    ensure!(commands.is_empty(), "{commands:?}");
    lab.manager.begin()?;
    lab.until_condition(A, "PowerCommand", "Done", SOON).await?;
    let (commands, edges) = (lab.commands(A).await?, lab.edges(A).await?);
    ensure!(
        commands == ["on"] && edges == ["off>on"],
        "{commands:?} {edges:?}"
    );
    lab.end().await
}

pub(crate) async fn a_command_whose_reply_was_lost_with_its_manager_is_not_sent_again(
    bed: &Bed,
) -> anyhow::Result<()> {
    let lab = accepted_and_off(bed, None).await?;
    lab.fault(A, "reply-loss", json!({ "verbs": ["on"], "next": 1 }))
        .await?;
    lab.annotate(A, "metal.sidero.dev/power", Some("on")).await?;
    lab.until(A, "it was sent", SOON, async |_| {
        Ok((lab.commands(A).await? == ["on"]).then_some(()))
    })
    .await?;
    lab.manager.kill()?;
    lab.manager.begin()?;
    lab.until_condition(A, "PowerCommand", "Done", SOON).await?;
    let (commands, edges) = (lab.commands(A).await?, lab.edges(A).await?);
    ensure!(
        commands == ["on"] && edges == ["off>on"],
        "{commands:?} {edges:?}"
    );
    lab.end().await
}

pub(crate) async fn a_follower_goes_on_with_a_cycle_and_doubles_nothing(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    let follower = lab.another_manager()?;
    lab.until_follows(&follower).await?;
    lab.half_cycled(A).await?;
    lab.manager.kill()?;
    lab.until_condition(A, "PowerCommand", "Done", SOON).await?;
    ensure!(
        lab.commands(A).await? == ["off", "on"],
        "{:?}",
        lab.commands(A).await?
    );
    ensure!(follower.log()?.contains("leads"), "{}", follower.log_tail(10));
    // both at once: the one that comes back follows
    lab.manager.begin()?;
    lab.annotate(A, "metal.sidero.dev/power", Some("off")).await?;
    lab.until(A, "it is off", SOON, async |object| {
        let status = &object.data["status"];
        let done = status["powerIntent"]["action"] == "off" && status["powerIntent"]["outcome"] == "done";
        Ok(done.then_some(()))
    })
    .await?;
    ensure!(lab.commands(A).await? == ["off", "on", "off"]);
    ensure!(
        follower.stop(Duration::from_secs(11))?,
        "{}",
        follower.log_tail(20)
    );
    lab.end().await
}

pub(crate) async fn a_claim_that_was_not_finished_takes_the_server_it_bound(bed: &Bed) -> anyhow::Result<()> {
    let proxy = Proxy::start(bed).await?;
    let site = Site::start_by_hand_behind(bed, "between", BY_HAND, &proxy).await?;
    site.class(None).await?;
    proxy.hold(Hold::Request, |seen| {
        patches(seen, "/metalmachines/between", "\"providerID\"")
    });
    site.cluster("between", &["between"]).await?;
    proxy.until_held(SOON).await?;
    site.caps.kill()?;
    let binding = site.binding(BY_HAND).await?.context("it is not bound")?;
    let machine = site.machine("between").await?;
    ensure!(machine.data["spec"]["providerID"].is_null());
    site.caps.begin()?;
    let machine = site.until_taken("between").await?;
    ensure!(machine.data["spec"]["serverRef"]["name"] == BY_HAND);
    let now = site.binding(BY_HAND).await?.context("it is not bound")?;
    ensure!(now.metadata.uid == binding.metadata.uid, "it was bound anew");
    let id = |object: &kube::api::DynamicObject| {
        object.metadata.annotations.clone().unwrap_or_default()[ALLOCATION].clone()
    };
    ensure!(id(&now) == id(&machine));
    site.resume_after_deletion("between").await?;
    site.delete_cluster("between").await?;
    site.end().await
}

pub(crate) async fn a_wipe_that_goes_on_is_not_begun_anew(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start_with(bed, &["--agent-grace=1s"]).await?;
    lab.secret("good", "admin-secret").await?;
    let mut machine = Played::registers(&lab.services, A.name, mac(0xa), &["sda"]).await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    lab.until(A, "it is switched on", SOON, async |_| {
        Ok((lab.edges(A).await? == ["off>on"]).then_some(()))
    })
    .await?;
    machine.boots().await?;
    let generation = machine.until_ordered().await?;
    machine.beats(generation).await??;
    lab.manager.kill()?;
    lab.manager.begin()?;
    // the same order, the same token, no other boot
    lab.until(A, "its agent is heard again", SOON, async |_| {
        Ok(machine.beats(generation).await.ok().and_then(Result::ok))
    })
    .await?;
    ensure!(machine.until_ordered().await? == generation);
    let done = machine.reports(generation, &["sda"]).await?;
    ensure!(done.done, "{done:?}");
    lab.until(A, "it is available", SOON, async |object| {
        Ok((object.data["status"]["phase"] == "Available").then_some(()))
    })
    .await?;
    ensure!(lab.annotation(A, WIPE_DONE).await? == Some(generation.to_string()));
    // its token is of a window that is closed
    let late = machine.beats(generation).await?;
    ensure!(late.is_err(), "an outlived token is taken");
    let story = bed.kubectl(&["describe", "server", A.name])?;
    let told = story.matches("Report of a wipe refused").count();
    ensure!(told == 1, "told {told} times:\n{story}");
    let edges = lab.edges(A).await?;
    ensure!(edges == ["off>on", "on>off"], "{edges:?}");
    lab.end().await
}

pub(crate) async fn a_release_that_was_not_finished_is_finished_once(bed: &Bed) -> anyhow::Result<()> {
    let proxy = Proxy::start(bed).await?;
    let (lab, site) = joined(bed, "midway", &POWER, Some(&proxy)).await?;
    // off and confirmed, and the ServerBinding is not let go yet
    proxy.hold(Hold::Request, |seen| {
        patches(seen, "/serverbindings/", "\"finalizers\"")
    });
    site.delete_machine("midway").await?;
    proxy.until_held(SOON).await?;
    lab.manager.kill()?;
    let edges = lab.edges(A).await?;
    ensure!(edges == ["off>on", "on>off"], "{edges:?}");
    ensure!(site.binding(A.name).await?.is_some());
    lab.manager.begin()?;
    site.until_gone("midway").await?;
    lab.until(A, "it is wiped next", SOON, async |object| {
        Ok((object.data["status"]["phase"] == "Wiping").then_some(()))
    })
    .await?;
    let edges = lab.edges(A).await?;
    ensure!(
        edges[..2] == ["off>on", "on>off"] && edges.len() <= 3,
        "{edges:?}"
    );
    site.delete_cluster("midway").await?;
    site.end().await?;
    lab.end().await
}

pub(crate) async fn what_is_missing_is_named(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    let site = Site::start(bed, "missing", A.name, None).await?;
    // a Secret
    lab.server(A, "nowhere", json!({ "accepted": true })).await?;
    let text = lab
        .until_condition(A, "BMCReachable", "CredentialsMissing", SOON)
        .await?;
    ensure!(text.contains("default/bmc-nowhere"), "{text}");
    lab.secret("nowhere", "admin-secret").await?;
    lab.until_power(A, "off").await?;
    site.offer(A.name).await?;
    // a class
    site.cluster("missing", &["missing"]).await?;
    let text = site.until_reason("missing", "ServerTaken", "NotFound").await?;
    ensure!(
        text.contains("ServerClass claims-missing does not exist"),
        "{text}"
    );
    // an Environment: said when its machine asks in vain
    site.class(Some("nowhere")).await?;
    site.until_taken("missing").await?;
    lab.until(A, "it is switched on", SOON, async |_| {
        Ok((lab.edges(A).await? == ["off>on"]).then_some(()))
    })
    .await?;
    lab.until_condition(A, "PowerCommand", "Done", SOON).await?;
    let url = format!(
        "{}/ipxe?uuid={}&mac=52-54-00-00-00-0a&arch=x86_64",
        lab.services, A.name
    );
    let answer = reqwest::get(&url).await?;
    ensure!(answer.status().as_u16() == 404, "{answer:?}");
    site.until_reads(A.name, "Provisioning", "nowhere").await?;
    site.delete_cluster("missing").await?;
    site.end().await?;
    lab.end().await
}
