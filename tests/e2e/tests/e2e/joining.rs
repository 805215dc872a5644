//! From available to Node: two machines that a real Cluster API takes, that install a system and join its cluster. The
//! system is the lab's own, a stand-in for Talos.

use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::get;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use testbed::lab::{Lab, Machine, NodeEnvironment};
use testbed::{Bed, Object};
use tokio::task::JoinHandle;

use crate::discovery::{Site, end, is, server};
use crate::shell::kubectl;

/// Emulated machines that boot several times, on processors that others use too.
const LONG: Duration = Duration::from_mins(5);
const SOON: Duration = Duration::from_mins(2);
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";
const FLAGS: [&str; 3] = [
    "--power-check-period=1s",
    "--power-cycle-rest=1s",
    "--agent-poll-period=1s",
];
const CAPS_PORT: u16 = 9464;

pub(crate) async fn two_machines_install_once_join_as_nodes_and_stay(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &FLAGS).await?;
    let caps = bed.start_part("caps-controller-manager", bed.caps_controller_manager(CAPS_PORT)?)?;
    let files = Files::serve(bed, site.lab.node_environment(bed)?).await?;
    make_available(bed, &site).await?;
    let url = &files.url;
    let yaml = include_str!("joining/cluster.yaml")
        .replace("KERNEL", &format!("{url}/vmlinuz"))
        .replace("INITRD", &format!("{url}/initramfs.xz"))
        .replace(
            "CA",
            &BASE64_STANDARD.encode(std::fs::read(bed.workload.pki.file("ca.crt"))?),
        )
        .replace("TOKEN", bed.node_token())
        .replace("ENDPOINT", &Lab::BOOT_SERVICES.to_string());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
        "metadata": {
            "namespace": "default", "name": "lab-kubeconfig", "labels": { "cluster.x-k8s.io/cluster-name": "lab" },
        },
        "stringData": { "value": std::fs::read_to_string(bed.workload.kubeconfig())? },
    });
    bed.apply(&kubeconfig.to_string()).await?;
    bed.apply(&yaml).await?;

    // each installs once, onto the disk that its config names
    let disks = [(Machine::First, "/dev/vda"), (Machine::Second, "/dev/nvme0n1")];
    for (machine, disk) in disks {
        site.machines
            .until_serial(machine, &format!("installed on {disk}, nonce "), LONG)
            .await?;
    }
    let mut nodes = Vec::new();
    for machine in Machine::ALL {
        site.until_within(bed, machine, "its Node was seen", LONG, |server| {
            is("phase", &server["status"]["phase"], &json!("Provisioned"))
        })
        .await?;
        nodes.push(node(bed, machine).await?);
    }
    until_running(bed, &["lab"]).await?;
    for (machine, node) in Machine::ALL.into_iter().zip(&nodes) {
        let provider_id = format!("sidero://{}", machine.name());
        is("provider id", &node["spec"]["providerID"], &json!(provider_id))?;
        is(
            "label",
            &node["metadata"]["labels"]["of-the-patch"],
            &json!(machine.bmc()),
        )?;
        by_itself(bed, machine, node)?;
    }

    // the one whose disk is first was given its environment once, and the other one asks until its Node was seen
    let log = site.machines.serial_log(Machine::Second)?;
    ensure!(log.contains("booted from disk"), "{}", tail(&log));
    let boots = binding(bed, Machine::Second).await?;
    is(
        "boots with a config",
        &boots["status"]["config"]["boots"],
        &json!(1),
    )?;
    let before = nonce(&site, Machine::First)?;
    site.machines.power(Machine::First, "reset").await?;
    site.until_within(bed, Machine::First, "it asks and gets its disk", LONG, |server| {
        let what = server["status"]["boot"]["ipxe"]["what"]
            .as_str()
            .unwrap_or_default();
        ensure!(what.starts_with("told to boot its disk"), "{what}");
        Ok(())
    })
    .await?;
    let said = format!("installed earlier, nonce {before}; booted from disk");
    site.machines.until_serial(Machine::First, &said, LONG).await?;

    // what is in a status can be lost, and the managers killed: nothing moves, and all is said again
    let edges = edges(&site).await?;
    erase(bed).await?;
    for manager in [&site.manager, &caps] {
        manager.kill()?;
        manager.begin()?;
    }
    for machine in Machine::ALL {
        site.until_within(bed, machine, "it is said again", SOON, |server| {
            is("phase", &server["status"]["phase"], &json!("Provisioned"))
        })
        .await?;
        until_ready(bed, machine).await?;
    }
    until_running(bed, &["lab"]).await?;
    ensure!(self::edges(&site).await? == edges, "power changed");

    // given back: off, before the Cluster is gone
    delete_cluster(bed).await?;
    for machine in Machine::ALL {
        ensure!(
            binding(bed, machine).await.is_err(),
            "the ServerBinding is there still"
        );
        site.until_within(bed, machine, "it is wiped next", SOON, |server| {
            is("phase", &server["status"]["phase"], &json!("Wiping"))
        })
        .await?;
    }
    let by_itself = caps.stop(Duration::from_secs(11))?;
    ensure!(by_itself, "CAPS did not end by itself:\n{}", caps.log_tail(20));
    end(bed, site).await?;
    for (api, kind, name) in [
        ("metal.sidero.dev/v1alpha2", "ServerClass", "first"),
        ("metal.sidero.dev/v1alpha2", "ServerClass", "second"),
        ("metal.sidero.dev/v1alpha2", "Environment", "lab-node"),
    ] {
        Object::cluster(api, kind, name).delete(bed.client()).await?;
    }
    Object::namespaced("v1", "Secret", "default", "lab-kubeconfig")
        .delete(bed.client())
        .await
}

/// Registered, accepted, wiped and off.
async fn make_available(bed: &Bed, site: &Site) -> anyhow::Result<()> {
    for machine in Machine::ALL {
        site.machines.switch_on(machine).await?;
    }
    for machine in Machine::ALL {
        site.until_within(bed, machine, "it registered", LONG, |server| {
            let serial = &server["spec"]["hardware"]["system"]["serialNumber"];
            is("serial number", serial, &json!(machine.serial_number()))
        })
        .await?;
    }
    let servers = include_str!("../../../testbed/src/first_machines/servers.yaml");
    bed.apply(&servers.replace("ADDRESS", &bed.run().network().inside().to_string()))
        .await?;
    let patch =
        r#"{"spec":{"configPatches":[{"op":"add","path":"/machine/install","value":{"disk":"/dev/vda"}}]}}"#;
    kubectl(
        bed,
        &[
            "patch",
            "server",
            Machine::First.name(),
            "--type=merge",
            "-p",
            patch,
        ],
    )?;
    for machine in Machine::ALL {
        site.until_within(bed, machine, "it is available", LONG, |server| {
            is("phase", &server["status"]["phase"], &json!("Available"))
        })
        .await?;
    }
    Ok(())
}

/// Kernel and initramfs of the lab's node, at the machine's end of the run's network.
struct Files {
    url: String,
    task: JoinHandle<()>,
}

impl Files {
    async fn serve(bed: &Bed, node: NodeEnvironment) -> anyhow::Result<Self> {
        let (kernel, initramfs) = (node.kernel, node.initramfs);
        let router = Router::new()
            .route("/vmlinuz", get(async move || kernel))
            .route("/initramfs.xz", get(async move || initramfs));
        let listener = tokio::net::TcpListener::bind((bed.run().network().outside(), 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the files' server ended: {error}");
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.task.abort();
    }
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

fn nonce(site: &Site, machine: Machine) -> anyhow::Result<String> {
    let log = site.machines.serial_log(machine)?;
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

/// All Machines of these clusters are Running, and there are two.
async fn until_running(bed: &Bed, clusters: &[&str]) -> anyhow::Result<()> {
    let concerned = [
        Object::namespaced(
            "cluster.x-k8s.io/v1beta2",
            "Machine",
            "default",
            "lab-control-plane",
        ),
        server(Machine::First),
        server(Machine::Second),
    ];
    for cluster in clusters {
        bed.wait_for("both Machines are Running", LONG, &concerned, || async {
            let selector = format!("-lcluster.x-k8s.io/cluster-name={cluster}");
            let text = kubectl(
                bed,
                &[
                    "get",
                    "machines",
                    &selector,
                    "-o",
                    "jsonpath={.items[*].status.phase}",
                ],
            )?;
            Ok((text.split_whitespace().collect::<Vec<_>>() == ["Running", "Running"]).then_some(()))
        })
        .await?;
    }
    Ok(())
}

async fn edges(site: &Site) -> anyhow::Result<Vec<Value>> {
    let log = site.machines.get("/power-log").await?;
    let lines = log["entries"].as_array().context("no entries")?;
    Ok(lines.clone())
}

/// As a move does: what is in the status is gone.
async fn erase(bed: &Bed) -> anyhow::Result<()> {
    let gone = json!([{ "op": "remove", "path": "/status" }]).to_string();
    let mut objects = vec![("metalcluster".to_owned(), "lab".to_owned())];
    for machine in Machine::ALL {
        let name = binding(bed, machine).await?["spec"]["metalMachineRef"]["name"].clone();
        objects.push(("metalmachine".into(), name.as_str().unwrap_or_default().into()));
        for kind in ["serverbinding", "server"] {
            objects.push((kind.into(), machine.name().into()));
        }
    }
    for (kind, name) in &objects {
        kubectl(
            bed,
            &[
                "patch",
                kind,
                name,
                "--subresource=status",
                "--type=json",
                "-p",
                &gone,
            ],
        )?;
    }
    Ok(())
}

async fn delete_cluster(bed: &Bed) -> anyhow::Result<()> {
    let cluster = Object::namespaced("cluster.x-k8s.io/v1beta2", "Cluster", "default", "lab");
    cluster.delete(bed.client()).await?;
    let concerned = [cluster.clone(), server(Machine::First), server(Machine::Second)];
    bed.wait_for("the Cluster is gone", LONG, &concerned, || async {
        Ok(cluster.get(bed.client()).await?.is_none().then_some(()))
    })
    .await
}
