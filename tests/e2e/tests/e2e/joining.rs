//! From plugged in to Nodes and back to the pool: the main job, on machines that a real Cluster API takes, that install a
//! system and join its cluster. The system is the lab's own, a stand-in for Talos.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use testbed::lab::{Machine, Machines};
use testbed::main_job::facts::Collector;
use testbed::main_job::{self, Audience, Job, Step, server};
use testbed::{Bed, Object};

use crate::claims::site::erase_status;
use crate::discovery::is;

/// Emulated machines that boot several times, on processors that others use too.
const LONG: Duration = Duration::from_mins(5);
const SOON: Duration = Duration::from_mins(2);
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";

pub(crate) async fn machines_go_from_plugged_in_to_nodes_and_back_to_the_pool(
    bed: &Bed,
) -> anyhow::Result<()> {
    for machine in Machine::BOTH {
        // A test that failed may have left it.
        server(machine).delete(bed.client()).await?;
    }
    let mut test = Test { facts: None };
    let job = main_job::run(bed, 2, &mut test).await?;
    let facts = test.facts.context("nothing was collected")?;
    let path = bed.run().folder().join("log/facts.json");
    facts.write(&job, &path).await?;
    let verdict = main_job::verify(&path)?;
    ensure!(verdict.good, "{}", verdict.text);
    println!("{}", verdict.text);
    job.end().await
}

/// Looks closer than a spectator can.
struct Test {
    facts: Option<Collector>,
}

impl Audience for Test {
    fn tell(&mut self, _line: &str) {}

    async fn after(&mut self, step: Step, job: &Job<'_>) -> anyhow::Result<()> {
        self.facts
            .get_or_insert_with(|| Collector::start(job))
            .after(step, job)?;
        match step {
            Step::Running => {
                each_is_a_node_by_itself(job).await?;
                each_boots_its_disk_from_now_on(job).await?;
                nothing_moves_when_statuses_are_lost(job).await
            }
            // what was given back is nobody's: off before its ServerBinding and its Machine were gone says the verifier
            Step::Returned => is_not_bound(job, Machine::SECOND).await,
            Step::Deleted => {
                is_not_bound(job, Machine::FIRST).await?;
                is_not_bound(job, Machine::SECOND).await
            }
            Step::PluggedIn | Step::Registered | Step::Available | Step::RunningAgain => Ok(()),
        }
    }
}

async fn each_is_a_node_by_itself(job: &Job<'_>) -> anyhow::Result<()> {
    for (machine, label) in [(Machine::FIRST, "control-plane"), (Machine::SECOND, "workers")] {
        // installed once, onto the disk that its config names
        let disk = machine.disk_device();
        job.machines
            .until_serial(machine, &format!("installed on {disk}, nonce "), LONG)
            .await?;
        until(job, machine, "its Node was seen", |server| {
            is("phase", &server["status"]["phase"], &json!("Provisioned"))
        })
        .await?;
        let node = node(job.bed, machine).await?;
        let provider_id = format!("sidero://{}", machine.name());
        is("provider id", &node["spec"]["providerID"], &json!(provider_id))?;
        is(
            "label",
            &node["metadata"]["labels"]["of-the-patch"],
            &json!(label),
        )?;
        by_itself(job.bed, machine, &node)?;
    }
    Ok(())
}

/// The one whose disk is first was given its environment once, and the other one asks until its Node was seen.
async fn each_boots_its_disk_from_now_on(job: &Job<'_>) -> anyhow::Result<()> {
    let log = job.machines.serial_log(Machine::SECOND)?;
    ensure!(log.contains("booted from disk"), "{}", tail(&log));
    let boots = binding(job.bed, Machine::SECOND).await?;
    is(
        "boots with a config",
        &boots["status"]["config"]["boots"],
        &json!(1),
    )?;
    let first = Machine::FIRST;
    let before = nonce(&job.machines, first)?;
    server(first)
        .annotate(job.bed.client(), "metal.sidero.dev/reboot", "")
        .await?;
    until(job, first, "it asks and gets its disk", |server| {
        let what = server["status"]["boot"]["ipxe"]["what"]
            .as_str()
            .unwrap_or_default();
        ensure!(what.starts_with("told to boot its disk"), "{what}");
        Ok(())
    })
    .await?;
    let said = format!("installed earlier, nonce {before}; booted from disk");
    job.machines.until_serial(first, &said, LONG).await
}

/// What is in a status can be lost, and the managers killed: nothing moves, and all is said again.
async fn nothing_moves_when_statuses_are_lost(job: &Job<'_>) -> anyhow::Result<()> {
    let edges = edges(&job.machines).await?;
    erase(job.bed).await?;
    for manager in [&job.manager, &job.caps] {
        manager.kill()?;
        manager.begin()?;
    }
    for machine in Machine::BOTH {
        until(job, machine, "it is said again", |server| {
            is("phase", &server["status"]["phase"], &json!("Provisioned"))
        })
        .await?;
        until_ready(job.bed, machine).await?;
    }
    job.until_running(2).await?;
    ensure!(self::edges(&job.machines).await? == edges, "power changed");
    Ok(())
}

async fn until(
    job: &Job<'_>,
    machine: Machine,
    what: &str,
    holds: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    job.until_each(what, &[machine], |_, server| holds(server)).await
}

async fn is_not_bound(job: &Job<'_>, machine: Machine) -> anyhow::Result<()> {
    let found = binding(job.bed, machine).await;
    ensure!(found.is_err(), "the ServerBinding is there still: {found:?}");
    Ok(())
}

/// The Node of a machine.
async fn node(bed: &Bed, machine: Machine) -> anyhow::Result<Value> {
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(bed.workload.client().clone());
    let list = kube::api::ListParams::default().labels(&format!("metal.sidero.dev/uuid={}", machine.name()));
    let found = nodes.list(&list).await?.items;
    ensure!(found.len() == 1, "{} Nodes of {}", found.len(), machine.name());
    Ok(serde_json::to_value(&found[0])?)
}

/// The Node was made by the machine: from its own address, with the credential of its config.
fn by_itself(bed: &Bed, machine: Machine, node: &Value) -> anyhow::Result<()> {
    let addresses = node["status"]["addresses"].as_array().context("no addresses")?;
    let own = addresses
        .iter()
        .find(|address| address["type"] == "InternalIP")
        .context("no InternalIP")?;
    let events = bed.workload.audit()?;
    let made = events.iter().filter(|event| {
        event["verb"] == "create"
            && event["user"]["username"] == "lab:node"
            && event["sourceIPs"][0] == own["address"]
            && event["responseStatus"]["code"] == 201
    });
    ensure!(
        made.count() == 1,
        "{}: no Node was made by lab:node from {}",
        machine.bmc(),
        own["address"]
    );
    Ok(())
}

fn nonce(machines: &Machines, machine: Machine) -> anyhow::Result<String> {
    let log = machines.serial_log(machine)?;
    let installs: Vec<_> = log
        .lines()
        .filter(|line| line.contains("installed on "))
        .collect();
    ensure!(installs.len() == 1, "{installs:?}");
    let nonce = installs[0].split("nonce ").nth(1).context("no nonce")?;
    Ok(nonce.trim().to_owned())
}

fn tail(log: &str) -> &str {
    &log[log.floor_char_boundary(log.len().saturating_sub(1500))..]
}

async fn binding(bed: &Bed, machine: Machine) -> anyhow::Result<Value> {
    let binding = Object::cluster(INFRASTRUCTURE, "ServerBinding", machine.name());
    let found = binding.get(bed.client()).await?;
    Ok(found.with_context(|| format!("no {binding}"))?.data)
}

/// The MetalMachine that has a machine.
async fn metal_machine(bed: &Bed, machine: Machine) -> anyhow::Result<Object> {
    let reference = &binding(bed, machine).await?["spec"]["metalMachineRef"];
    let name = reference["name"].as_str().context("no name")?;
    Ok(Object::namespaced(
        INFRASTRUCTURE,
        "MetalMachine",
        "default",
        name,
    ))
}

async fn until_ready(bed: &Bed, machine: Machine) -> anyhow::Result<()> {
    let object = metal_machine(bed, machine).await?;
    let concerned = [object.clone(), server(machine)];
    bed.wait_for("its MetalMachine is Ready", SOON, &concerned, || async {
        let found = object.get(bed.client()).await?.context("it is gone")?;
        let provisioned = found.data["status"]["initialization"]["provisioned"] == true;
        Ok((provisioned && found.data["status"]["ready"] == true).then_some(()))
    })
    .await
}

async fn edges(machines: &Machines) -> anyhow::Result<Vec<Value>> {
    let log = machines.get("/power-log").await?;
    let lines = log["entries"].as_array().context("no entries")?;
    Ok(lines.clone())
}

/// What is in the status of all objects of ours is gone.
async fn erase(bed: &Bed) -> anyhow::Result<()> {
    erase_status(bed, "metalcluster", "lab")?;
    for machine in Machine::BOTH {
        let name = binding(bed, machine).await?["spec"]["metalMachineRef"]["name"].clone();
        erase_status(bed, "metalmachine", name.as_str().unwrap_or_default())?;
        for kind in ["serverbinding", "server"] {
            erase_status(bed, kind, machine.name())?;
        }
    }
    Ok(())
}
