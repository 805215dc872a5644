//! From accepted to available: disks that were used, wiped by a real agent and looked at from outside; and what makes a
//! wipe fail.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use testbed::Bed;
use testbed::lab::{Found, Machine, Mark};

use crate::discovery::{Site, end, is, server};

/// Two machines that boot, wipe and are switched off on emulated processors; about 60 s alone.
const WIPED: Duration = Duration::from_mins(5);
/// One that is known.
const REGISTERED: Duration = Duration::from_mins(2);
/// Short, so that the test is.
const FLAGS: [&str; 3] = [
    "--power-check-period=1s",
    "--power-cycle-rest=1s",
    "--agent-poll-period=1s",
];

pub(crate) async fn an_accepted_machine_is_wiped_switched_off_and_available(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &FLAGS).await?;
    let mut marks = Vec::new();
    for machine in Machine::ALL {
        marks.push((machine, site.machines.mark_disk(machine)?));
        site.machines.switch_on(machine).await?;
    }
    for machine in Machine::ALL {
        let registered = |server: &Value| {
            let serial = &server["spec"]["hardware"]["system"]["serialNumber"];
            is("serial number", serial, &json!(machine.serial_number()))
        };
        site.until_within(bed, machine, "it registered", REGISTERED, registered).await?;
    }
    // The first one is off when it is accepted. The agent of the second one waits, and is told to wipe without another boot.
    site.machines.power(Machine::First, "off").await?;
    site.machines.until_serial(Machine::Second, "not accepted", REGISTERED).await?;
    let servers = include_str!("../../../testbed/src/first_machines/servers.yaml");
    bed.apply(&servers.replace("ADDRESS", &bed.run().network().inside().to_string())).await?;
    for machine in Machine::ALL {
        let available = |server: &Value| is("phase", &server["status"]["phase"], &json!("Available"));
        site.until_within(bed, machine, "it is available", WIPED, available).await?;
        says_what_was_done(bed, machine).await?;
    }
    let boots = [(Machine::First, 2), (Machine::Second, 1)];
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
    let object = server(machine).get(bed.client()).await?.context("no such Server")?;
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
    is("serial number", &disk["serialNumber"], &json!(machine.disk_serial_number()))?;
    is("result", &disk["result"], &json!("Wiped"))?;
    is("partitions", &disk["partitions"], &json!(2))?;
    is("discarded", &disk["discarded"], &json!(machine == Machine::Second))?;
    // both ends of the disk and of two partitions, the first of which begins where the disk's first MiB ends
    is("zeroed bytes", &disk["zeroedBytes"], &json!(6 << 20))?;
    let remains = disk["remains"].as_str().unwrap_or_default();
    anyhow::ensure!(remains.contains("data may be recoverable"), "{disk}");
    Ok(())
}

/// The simulator's record: so many power-ons, the first by a human, and off at the end by the manager.
async fn was_switched(site: &Site, machine: Machine, boots: usize) -> anyhow::Result<()> {
    let log = site.machines.get("/power-log").await?;
    let log = log["entries"].as_array().context("the power log has no entries")?;
    let ours = log.iter().filter(|line| line["bmc"] == machine.bmc() && line["event"] == "effect");
    let edges: Vec<_> = ours
        .filter(|line| line["before"] != line["after"])
        .filter_map(|line| Some((line["actor"].as_str()?, line["after"].as_str()?)))
        .filter(|(_, after)| ["on", "off"].contains(after))
        .collect();
    let ons = edges.iter().filter(|(_, after)| *after == "on").count();
    anyhow::ensure!(ons == boots, "{} was switched on {ons} times: {edges:?}", machine.bmc());
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
        let want = if mark.is_metadata || machine == Machine::Second {
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
        anyhow::ensure!(bytes.iter().all(|byte| *byte == 0), "{}: {place} is there", machine.bmc());
    }
    Ok(())
}

/// The token stands on the kernel command line, which the console shows; the manager says it nowhere.
fn shows_no_token(site: &Site) -> anyhow::Result<()> {
    let console = site.machines.serial_log(Machine::First)?;
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
