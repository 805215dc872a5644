//! From accepted to available: disks that were used, wiped by a real agent and looked at from outside; and what makes a
//! wipe fail.

use std::time::Duration;

use agent_protocol::api::Order;
use anyhow::Context;
use serde_json::{Value, json};
use testbed::Bed;
use testbed::lab::{Found, Machine, Mark};
use testbed::main_job::servers;
use tonic::Code;

use crate::discovery::{Site, end, is, server};
use crate::played::Played;
use crate::registration::{self, id, mac};

/// Two machines that boot, wipe and are switched off on emulated processors; about 60 s alone.
const WIPED: Duration = Duration::from_mins(5);
/// One that is known.
const REGISTERED: Duration = Duration::from_mins(2);
/// Disks of a machine that a test plays.
const DISKS: [&str; 2] = ["sda", "sdb"];
/// Short, so that the test is.
const FLAGS: [&str; 3] = [
    "--power-check-period=1s",
    "--power-cycle-rest=1s",
    "--agent-poll-period=1s",
];

pub(crate) async fn an_accepted_machine_is_wiped_switched_off_and_available(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &FLAGS).await?;
    let mut marks = Vec::new();
    for machine in Machine::BOTH {
        marks.push((machine, site.machines.mark_disk(machine)?));
        site.machines.switch_on(machine).await?;
    }
    for machine in Machine::BOTH {
        let registered = |server: &Value| {
            let serial = &server["spec"]["hardware"]["system"]["serialNumber"];
            is("serial number", serial, &json!(machine.serial_number()))
        };
        site.until_within(bed, machine, "it registered", REGISTERED, registered)
            .await?;
    }
    // The first one is off when it is accepted. The agent of the second one waits, and is told to wipe without another boot.
    site.machines.power(Machine::FIRST, "off").await?;
    site.machines
        .until_serial(Machine::SECOND, "not accepted", REGISTERED)
        .await?;
    bed.apply(&servers(&Machine::BOTH, bed.run().network().inside()))
        .await?;
    for machine in Machine::BOTH {
        let available = |server: &Value| is("phase", &server["status"]["phase"], &json!("Available"));
        site.until_within(bed, machine, "it is available", WIPED, available)
            .await?;
        says_what_was_done(bed, machine).await?;
    }
    let boots = [(Machine::FIRST, 2), (Machine::SECOND, 1)];
    for (machine, boots) in boots {
        was_switched(&site, machine, boots).await?;
    }
    for (machine, marks) in &marks {
        looks_wiped(&site, *machine, marks)?;
    }
    shows_no_token(&site)?;
    end(bed, site).await
}

/// Facts, status and certificate of a machine that was wiped.
async fn says_what_was_done(bed: &Bed, machine: Machine) -> anyhow::Result<()> {
    let object = server(machine)
        .get(bed.client())
        .await?
        .context("no such Server")?;
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let fact = |key: &str| annotations.get(&format!("metal.sidero.dev/{key}")).cloned();
    anyhow::ensure!(
        fact("wipe-due").as_deref() == Some("1") && fact("wipe-done").as_deref() == Some("1"),
        "{annotations:?}"
    );
    anyhow::ensure!(
        fact("powered").is_none() && fact("boot-window").is_none(),
        "{annotations:?}"
    );
    let status = &object.data["status"];
    for (field, want) in [("isClean", true), ("ready", true), ("inUse", false)] {
        is(field, &status[field], &json!(want))?;
    }
    is("power", &status["power"], &json!("off"))?;
    let wipe = &status["wipe"];
    is("generation", &wipe["generation"], &json!(1))?;
    is("method", &wipe["method"], &json!("auto"))?;
    anyhow::ensure!(
        wipe["startedAt"].is_string() && wipe["finishedAt"].is_string(),
        "{wipe}"
    );
    let disks = wipe["disks"].as_array().context("no certificate")?;
    anyhow::ensure!(disks.len() == 1, "{wipe}");
    let disk = &disks[0];
    is(
        "serial number",
        &disk["serialNumber"],
        &json!(machine.disk_serial_number()),
    )?;
    is("result", &disk["result"], &json!("Wiped"))?;
    is("partitions", &disk["partitions"], &json!(2))?;
    is(
        "discarded",
        &disk["discarded"],
        &json!(machine == Machine::SECOND),
    )?;
    // both ends of the disk and of two partitions, the first of which begins where the disk's first MiB ends
    is("zeroed bytes", &disk["zeroedBytes"], &json!(6 << 20))?;
    let remains = disk["remains"].as_str().unwrap_or_default();
    anyhow::ensure!(remains.contains("data may be recoverable"), "{disk}");
    Ok(())
}

/// The simulator's record: so many power-ons, the first by a human, and off at the end by the manager.
async fn was_switched(site: &Site, machine: Machine, boots: usize) -> anyhow::Result<()> {
    let log = site.machines.get("/power-log").await?;
    let log = log["entries"]
        .as_array()
        .context("the power log has no entries")?;
    let ours = log
        .iter()
        .filter(|line| line["bmc"] == machine.bmc() && line["event"] == "effect");
    let edges: Vec<_> = ours
        .filter(|line| line["before"] != line["after"])
        .filter_map(|line| Some((line["actor"].as_str()?, line["after"].as_str()?)))
        .filter(|(_, after)| ["on", "off"].contains(after))
        .collect();
    let ons = edges.iter().filter(|(_, after)| *after == "on").count();
    anyhow::ensure!(
        ons == boots,
        "{} was switched on {ons} times: {edges:?}",
        machine.bmc()
    );
    anyhow::ensure!(
        edges.first() == Some(&("operator", "on")) && edges.last() == Some(&("admin", "off")),
        "{edges:?}"
    );
    Ok(())
}

/// The disk's file, read past the machine: nothing is left by which partitions, volumes or file systems are found. What
/// lies between stays where the disk cannot discard.
fn looks_wiped(site: &Site, machine: Machine, marks: &[Mark]) -> anyhow::Result<()> {
    anyhow::ensure!(marks.len() == 7, "{marks:?}");
    for mark in marks {
        let found = site.machines.look(machine, mark)?;
        let want = if mark.is_metadata || machine == Machine::SECOND {
            Found::Zeros
        } else {
            Found::Mark
        };
        anyhow::ensure!(
            found == want,
            "{}: {} at {} is {found:?}, not {want:?}",
            machine.bmc(),
            mark.place,
            mark.offset
        );
    }
    for (place, offset) in [("partition table", 512), ("its backup", (1 << 30) - 512)] {
        let bytes = site.machines.read_disk(machine, offset, 512)?;
        anyhow::ensure!(
            bytes.iter().all(|byte| *byte == 0),
            "{}: {place} is there",
            machine.bmc()
        );
    }
    Ok(())
}

/// The token stands on the kernel command line, which the console shows; the manager says it nowhere.
fn shows_no_token(site: &Site) -> anyhow::Result<()> {
    let console = site.machines.serial_log(Machine::FIRST)?;
    let token = console
        .split("sidero.token=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .context("the console shows no token")?;
    anyhow::ensure!(token.len() > 20, "{token:?} is no token");
    anyhow::ensure!(
        !site.manager.log()?.contains(token),
        "the manager's log has the token in it"
    );
    Ok(())
}

pub(crate) async fn a_disk_that_vanished_fails_the_wipe_until_it_is_waived(bed: &Bed) -> anyhow::Result<()> {
    let site = registration::Site::start(bed, &[]).await?;
    let mut machine = Played::registers(&site.url, &id(7), mac(7), &DISKS).await?;
    let early = machine.beats(1).await?;
    anyhow::ensure!(
        early
            .as_ref()
            .is_err_and(|no| no.code() == Code::FailedPrecondition),
        "{early:?}"
    );
    machine.accept(bed)?;
    let generation = machine.until_ordered().await?;
    anyhow::ensure!(generation == 1, "wipe {generation} is ordered");
    machine
        .beats(1)
        .await?
        .context("a heartbeat of the wipe that is due")?;
    site.until_server(&machine.id, "its progress is shown", |server| {
        server["status"]["wipe"]["progress"] == "50 %: /dev/sda" && server["status"]["phase"] == "Wiping"
    })
    .await?;

    let missing = machine.reports(1, &["sda"]).await?;
    anyhow::ensure!(
        !missing.done && missing.reason.contains("serial-sdb"),
        "{missing:?}"
    );
    site.until_server(&machine.id, "the missing disk is named", |server| {
        let why = server["status"]["phaseReason"].as_str().unwrap_or_default();
        server["status"]["phase"] == "Error" && why.contains("/dev/sdb (serial number serial-sdb)")
    })
    .await?;
    let told = machine.polls().await?;
    anyhow::ensure!(
        told.order() == Order::Wait && told.reason.contains("failed"),
        "{told:?}"
    );

    // A human says that it is gone for good: the wipe that was done counts.
    let waiver = r#"{"spec":{"wipe":{"waivedSerialNumbers":["serial-sdb"]}}}"#;
    bed.kubectl(&["patch", "server", &machine.id, "--type=merge", "-p", waiver])?;
    site.until_server(&machine.id, "it is available, by hand", |server| {
        let why = server["status"]["phaseReason"].as_str().unwrap_or_default();
        server["status"]["phase"] == "Available" && why.contains("no BMC can say")
    })
    .await?;
    // The window is closed: the token is dead, and the agent restarts the machine.
    let late = machine.beats(1).await?;
    anyhow::ensure!(
        late.as_ref().is_err_and(|no| no.code() == Code::PermissionDenied),
        "{late:?}"
    );
    let told = machine.polls().await?;
    anyhow::ensure!(told.order() == Order::Reboot, "{told:?}");
    let story = bed.kubectl(&["describe", "server", &machine.id])?;
    for event in ["Wipe failed", "Server wiped via agent."] {
        anyhow::ensure!(story.contains(event), "{story}");
    }
    site.forget(&[&machine.id]).await
}

pub(crate) async fn a_machine_that_somebody_has_is_not_wiped(bed: &Bed) -> anyhow::Result<()> {
    let site = registration::Site::start(bed, &[]).await?;
    let mut machine = Played::registers(&site.url, &id(8), mac(7), &DISKS).await?;
    let claim = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachine",
        "metadata": { "namespace": "default", "name": "worker-8" },
        "spec": { "serverRef": { "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "name": machine.id } },
    });
    bed.apply(&claim.to_string()).await?;
    machine.accept(bed)?;
    site.until_server(&machine.id, "it is said who has it", |server| {
        let why = server["status"]["phaseReason"].as_str().unwrap_or_default();
        why.contains("MetalMachine default/worker-8 names this Server")
    })
    .await?;
    let told = machine.polls().await?;
    anyhow::ensure!(told.token.is_empty() && told.order() == Order::Wait, "{told:?}");
    let claim = testbed::Object::namespaced(
        "infrastructure.cluster.x-k8s.io/v1alpha3",
        "MetalMachine",
        "default",
        "worker-8",
    );
    claim.delete(bed.client()).await?;
    let nudge = ["annotate", "server", &machine.id, "test.example/nudge=1"];
    bed.kubectl(&nudge)?;
    anyhow::ensure!(machine.until_ordered().await? == 1);
    site.forget(&[&machine.id]).await
}
