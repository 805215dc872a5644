//! Power through real managers: what BMCs are told, and what users read.

pub(crate) mod lab;

use std::time::Duration;

use anyhow::Context;
use kube::ResourceExt;
use serde_json::json;
use testbed::Bed;

use self::lab::{A, B, C, Lab};
use crate::played::Played;
use crate::registration::mac;

/// Reading, claiming, two readings 3 s apart for off and again for on.
const COMMAND: Duration = Duration::from_secs(40);
const POWERED: &str = "metal.sidero.dev/powered";
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn credentials_show_power_driver_and_firmware(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": false })).await?;
    // Nothing is trusted blindly: the condition shows the fingerprint to compare and set.
    let bmc = json!({ "tls": {} });
    lab.server(B, "good", json!({ "accepted": false, "bmc": bmc }))
        .await?;
    let untrusted = lab
        .until_condition(B, "BMCReachable", "CertificateNotTrusted", SOON)
        .await?;
    let is_fingerprint = |word: &&str| word.len() == 95 && word.split(':').count() == 32;
    let mut words = untrusted.split(|c: char| !c.is_ascii_hexdigit() && c != ':');
    let fingerprint = words
        .find(is_fingerprint)
        .with_context(|| format!("no fingerprint in: {untrusted}"))?;
    lab.patch(
        B,
        json!({ "spec": { "bmc": { "tls": { "fingerprint": fingerprint } } } }),
    )
    .await?;

    lab.control("/bmcs/b/power", json!({ "verb": "on" })).await?;
    for (server, row) in [(A, ["off", "ipmi"]), (B, ["on", "redfish"])] {
        lab.until(server, "its row says what it is", SOON, async |_| {
            let table = bed.kubectl(&["get", "servers", server.name])?;
            let cells: Vec<_> = table
                .lines()
                .last()
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            let has = |word: &str| cells.iter().any(|cell| cell == word);
            anyhow::ensure!(row.iter().all(|word| has(word)), "{table}");
            Ok(Some(()))
        })
        .await?;
        let status = lab.status(server).await?;
        let firmware = status["bmc"]["firmware"]
            .as_str()
            .context("no firmware")?
            .to_owned();
        assert!(
            bed.kubectl(&["get", "servers", server.name])?.contains(&firmware),
            "{firmware}"
        );
        assert_eq!(status["phase"], "Discovered");
        lab.until_condition(server, "BMCReachable", "Connected", SOON)
            .await?;
        assert_eq!(lab.commands(server).await?, Vec::<String>::new());
    }
    lab.end().await
}

pub(crate) async fn a_cycle_is_exactly_off_and_on(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    for server in [A, B] {
        lab.control(
            &format!("/bmcs/{}/power", server.bmc),
            json!({ "verb": "on", "actor": "operator" }),
        )
        .await?;
        lab.server(server, "good", json!({ "accepted": true })).await?;
        lab.annotate(server, "metal.sidero.dev/power", Some("cycle"))
            .await?;
    }
    for server in [A, B] {
        lab.until_condition(server, "PowerCommand", "Done", COMMAND)
            .await?;
        assert_eq!(lab.commands(server).await?, ["off", "on"]);
        assert_eq!(lab.edges(server).await?, ["off>on", "on>off", "off>on"]);
        assert_eq!(lab.annotation(server, "metal.sidero.dev/power").await?, None);
        assert_eq!(lab.status(server).await?["power"], "on");
    }
    let events = bed.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"])?;
    assert!(events.contains("Server power cycled."), "{events}");

    // A word that is no verb is named, and nothing comes of it.
    lab.annotate(A, "metal.sidero.dev/power", Some("explode")).await?;
    let why = lab
        .until_condition(A, "PowerCommand", "InvalidRequest", SOON)
        .await?;
    assert!(why.contains("\"explode\""), "{why}");
    assert_eq!(lab.commands(A).await?, ["off", "on"]);
    lab.end().await
}

pub(crate) async fn a_wrong_password_is_shown_once_whoever_leads(bed: &Bed) -> anyhow::Result<()> {
    let mut lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    lab.secret("bad", "guess").await?;
    lab.server(A, "bad", json!({ "accepted": false })).await?;
    lab.server(B, "good", json!({ "accepted": false })).await?;
    lab.until_condition(A, "BMCReachable", "CredentialsRefused", SOON)
        .await?;
    lab.until_power(B, "off").await?;
    assert_eq!(lab.counter(A, "logins-refused").await?, 1);

    lab.manager.kill()?;
    lab.manager.begin()?;
    // The new process has read the neighbour, and the machine itself as far as it may.
    lab.control("/bmcs/b/power", json!({ "verb": "on" })).await?;
    lab.until_power(B, "on").await?;
    lab.until_seen_anew(A, "on").await?;
    assert_eq!(lab.counter(A, "logins-refused").await?, 1, "after a restart");

    let follower = lab.another_manager()?;
    lab.until_follows(&follower).await?;
    let killed = std::mem::replace(&mut lab.manager, follower);
    killed.kill()?;
    lab.control("/bmcs/b/power", json!({ "verb": "off" })).await?;
    lab.until_power(B, "off").await?;
    lab.until_seen_anew(A, "off").await?;
    assert_eq!(
        lab.counter(A, "logins-refused").await?,
        1,
        "after a change of leader"
    );

    lab.secret("bad", "admin-secret").await?;
    lab.until_condition(A, "BMCReachable", "Connected", SOON).await?;
    assert_eq!(lab.counter(A, "logins-refused").await?, 1);
    lab.end().await
}

pub(crate) async fn nothing_is_sent_to_a_machine_that_is_not_ours_to_power(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": false })).await?;
    lab.annotate(A, "metal.sidero.dev/power", Some("cycle")).await?;
    let why = lab.until_condition(A, "PowerCommand", "Waiting", SOON).await?;
    assert!(why.contains("spec.accepted"), "{why}");
    // It is read all the same: whether credentials work is seen before anything is at stake.
    lab.until_power(A, "off").await?;

    lab.server(B, "good", json!({ "accepted": true })).await?;
    lab.until_power(B, "off").await?;
    lab.annotate(B, "metal.sidero.dev/installation", Some("elsewhere"))
        .await?;
    lab.until_condition(B, "HandsOff", "Foreign", SOON).await?;
    lab.annotate(B, "metal.sidero.dev/power", Some("on")).await?;
    lab.until_condition(B, "PowerCommand", "Waiting", SOON).await?;

    // A BMC that names its machine otherwise may be another machine's: a human decides.
    lab.server(C, "good", json!({ "accepted": true })).await?;
    lab.until_condition(C, "HandsOff", "Conflict", SOON).await?;
    let chosen = lab.status(C).await?["bmc"].clone();
    assert_eq!(chosen["driver"], "ipmi");
    assert_eq!(chosen["reason"], "it has no Redfish service and answers IPMI");
    lab.annotate(C, "metal.sidero.dev/power", Some("on")).await?;
    lab.until_condition(C, "PowerCommand", "Waiting", SOON).await?;

    let paused = json!({ "metadata": { "annotations": { "metal.sidero.dev/pause": "" } }, "spec": { "accepted": true } });
    lab.patch(A, paused).await?;
    lab.until_condition(A, "HandsOff", "Paused", SOON).await?;
    let why = lab.until_condition(A, "PowerCommand", "Waiting", SOON).await?;
    assert!(why.contains("paused"), "{why}");
    for server in [A, B] {
        assert_eq!(lab.commands(server).await?, Vec::<String>::new());
    }
    assert_eq!(
        lab.annotation(A, "metal.sidero.dev/power").await?.as_deref(),
        Some("cycle")
    );

    // What waited is done once it may be: of a machine that is off, a cycle is on.
    lab.annotate(A, "metal.sidero.dev/pause", None).await?;
    lab.annotate(C, "metal.sidero.dev/resume", Some("Conflict"))
        .await?;
    lab.until_condition(A, "PowerCommand", "Done", COMMAND).await?;
    assert_eq!(lab.commands(A).await?, ["on"]);
    assert_eq!(lab.status(A).await?["phase"], "Accepted");
    lab.until_condition(C, "PowerCommand", "Done", COMMAND).await?;
    assert_eq!(lab.commands(C).await?, ["on"]);
    assert_eq!(lab.annotation(C, "metal.sidero.dev/resume").await?, None);
    lab.end().await
}

pub(crate) async fn a_dead_bmc_is_named_and_its_neighbour_is_not_delayed(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    for server in [A, B] {
        lab.server(server, "good", json!({ "accepted": true })).await?;
        lab.until_power(server, "off").await?;
    }
    lab.fault(A, "hang", json!({})).await?;
    let why = lab
        .until_condition(A, "BMCReachable", "Unreachable", SOON * 2)
        .await?;
    assert!(
        why.contains("ipmi://") && why.contains("spec.bmc.endpoint"),
        "{why}"
    );
    assert_eq!(lab.status(A).await?["power"], "unknown");

    let begin = std::time::Instant::now();
    lab.annotate(B, "metal.sidero.dev/power", Some("on")).await?;
    lab.until_condition(B, "PowerCommand", "Done", SOON).await?;
    println!(
        "the neighbour was switched on and read back in {:?}",
        begin.elapsed()
    );
    lab.until(A, "it is tried again", COMMAND, async |object| {
        let text = lab::condition(object, "BMCReachable").1;
        Ok(text.contains("failures in a row").then_some(()))
    })
    .await?;
    lab.clear_faults(A).await?;
    lab.until_condition(A, "BMCReachable", "Connected", SOON * 2)
        .await?;
    lab.until_power(A, "off").await?;
    assert_eq!(
        (lab.commands(A).await?, lab.commands(B).await?),
        (vec![], vec!["on".to_owned()])
    );
    lab.end().await
}

pub(crate) async fn a_request_that_was_claimed_is_carried_out_once(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.secret("good", "admin-secret").await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    // As a process leaves it that died before it stored the intent, and then one that died after.
    for _ in 0..2 {
        lab.annotate(A, "metal.sidero.dev/power", Some("on 00000000000000aa"))
            .await?;
        lab.until(A, "the request is taken", SOON, async |object| {
            let status = &object.data["status"];
            let taken = object.annotations().get("metal.sidero.dev/power").is_none();
            Ok((taken && status["powerIntent"]["id"] == "00000000000000aa").then_some(()))
        })
        .await?;
        lab.until_condition(A, "PowerCommand", "Done", COMMAND).await?;
        assert_eq!(lab.commands(A).await?, ["on"]);
    }
    // The fact that it is on by our will is gone once it is off again.
    assert_eq!(
        lab.annotation(A, POWERED).await?.as_deref(),
        Some("00000000000000aa")
    );
    lab.annotate(A, "metal.sidero.dev/power", Some("off")).await?;
    lab.until(A, "it is not powered any more", COMMAND, async |object| {
        Ok((!object.annotations().contains_key(POWERED)).then_some(()))
    })
    .await?;
    assert_eq!(lab.commands(A).await?, ["on", "off"]);
    assert_eq!(lab.status(A).await?["power"], "off");
    lab.end().await
}

pub(crate) async fn a_killed_manager_finishes_a_cycle_without_doubling_it(bed: &Bed) -> anyhow::Result<()> {
    let lab = Lab::start(bed).await?;
    lab.half_cycled(A).await?;
    lab.manager.kill()?;
    lab.manager.begin()?;
    lab.until_condition(A, "PowerCommand", "Done", COMMAND).await?;
    assert_eq!(lab.commands(A).await?, ["off", "on"]);
    lab.end().await
}

/// From power-on to the question what to boot; past it the machine is switched off.
const BOOT: &str = "--server-reboot-timeout=8s";

pub(crate) async fn a_boot_that_never_asks_ends_off_and_the_second_try_is_wiped(
    bed: &Bed,
) -> anyhow::Result<()> {
    let lab = Lab::start_with(bed, &[BOOT, "--power-reset-deadline=4s"]).await?;
    lab.secret("good", "admin-secret").await?;
    let mut machine = Played::registers(&lab.services, A.name, mac(0xa), &[]).await?;
    lab.fault(A, "ignore-override", json!({ "next": 1 })).await?;
    lab.server(A, "good", json!({ "accepted": true })).await?;
    let (twice, thrice) = (Duration::from_mins(2), Duration::from_mins(1));
    // The firmware passes over the override: it runs its disk, asks nothing, and is switched off at the deadline.
    lab.until(A, "its second boot is into the network", twice, async |object| {
        let tried = object.data["status"]["powerIntent"]["id"]
            .as_str()
            .unwrap_or_default();
        Ok(tried.ends_with("-reset-2").then_some(()))
    })
    .await?;
    let edges = lab.edges(A).await?;
    anyhow::ensure!(edges[..3] == ["off>on", "on>off", "off>on"], "{edges:?}");
    machine.boots().await?;
    let generation = machine.until_ordered().await?;
    let wiped = machine.reports(generation, &[]).await?;
    anyhow::ensure!(wiped.done, "{wiped:?}");
    lab.until(A, "it is available", thrice, async |object| {
        let phase = &object.data["status"]["phase"];
        anyhow::ensure!(
            phase == "Available",
            "phase {phase}: {}",
            object.data["status"]["phaseReason"]
        );
        Ok(Some(()))
    })
    .await?;
    anyhow::ensure!(lab.edges(A).await?.last().is_some_and(|edge| edge == "on>off"));
    anyhow::ensure!(lab.annotation(A, POWERED).await?.is_none());
    lab.end().await
}
