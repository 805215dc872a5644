//! The observer of the invariants finds what a manager must never do: each violation is committed here, at its source, with
//! the managers' own credentials and from their address.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::{Bed, Object, Place, Scope, observer};

const METAL: &str = "metal.sidero.dev/v1alpha2";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";
/// Past the observer's window and what it allows for commands in flight.
const FOUND: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(20);
const CONTROL: u16 = 6201;

/// What is violated on which Server; its name begins as those of all Servers on which tests do such things.
const PLANTED: [(&str, &str); 8] = [
    ("I-1", "0b5e0000-0000-4000-8000-000000000001"),
    ("I-2", "0b5e0000-0000-4000-8000-000000000002"),
    ("I-3", "0b5e0000-0000-4000-8000-000000000003"),
    ("I-4", "0b5e0000-0000-4000-8000-000000000004"),
    ("I-6", "0b5e0000-0000-4000-8000-000000000006"),
    ("I-10", "0b5e0000-0000-4000-8000-000000000010"),
    ("I-11", "0b5e0000-0000-4000-8000-000000000011"),
    ("I-13", "0b5e0000-0000-4000-8000-000000000013"),
];
/// Two MetalMachines that have the Server of I-3.
const OWNERS: [&str; 2] = ["planted-a", "planted-b"];
/// The machine behind the BMC to which the Server of I-13 leads.
const ANOTHER: &str = "0b5e0000-0000-4000-8000-000000000014";

pub(crate) async fn each_planted_violation_is_reported_by_its_name(bed: &Bed) -> anyhow::Result<()> {
    let objects: Vec<_> = PLANTED
        .iter()
        .map(|(_, name)| *name)
        .chain([ANOTHER])
        .map(|name| Object::cluster(METAL, "Server", name))
        .chain(["I-2", "I-11"].map(|of| Object::cluster(INFRASTRUCTURE, "ServerBinding", server(of))))
        .chain(OWNERS.map(|name| Object::namespaced(INFRASTRUCTURE, "MetalMachine", "default", name)))
        .collect();
    let observer = bed.observe(Scope::Planted).await?;
    let simulator = bed.start_part("bmc-sim-planted", bed.bmc_sim("planted", &fleet(bed), CONTROL)?)?;
    let listens = || async { Ok(ipmitool(bed, "I-6", &["power", "status"]).ok()) };
    bed.wait_for("the simulator listens", SOON, &[], listens).await?;

    for (invariant, name) in PLANTED {
        create(bed, name, Some(port(invariant)), invariant != "I-1").await?;
    }
    create(bed, ANOTHER, None, false).await?;
    for (invariant, finalizers) in [("I-2", json!([])), ("I-11", json!(["metal.sidero.dev/release"]))] {
        let binding = json!({"apiVersion": INFRASTRUCTURE, "kind": "ServerBinding",
            "metadata": {"name": server(invariant), "finalizers": finalizers},
            "spec": {"metalMachineRef": {"kind": "MetalMachine", "namespace": "default", "name": invariant}}});
        bed.apply(&binding.to_string()).await?;
    }
    ensure!(observer.violations().is_empty(), "nothing was violated yet");

    let manager = bed.manager_client().await?;
    status(&manager, "I-2", json!({"wipe": {"generation": 1}})).await?;
    status(&manager, "I-4", json!({"phase": "Available"})).await?;
    for name in OWNERS {
        let machine = json!({"apiVersion": INFRASTRUCTURE, "kind": "MetalMachine",
            "metadata": {"namespace": "default", "name": name},
            "spec": {"providerID": format!("sidero://{}", server("I-3"))}});
        bed.apply(&machine.to_string()).await?;
    }
    let done =
        json!({"id": "r1", "action": "on", "stage": "on", "entered": 0, "attempt": 1, "outcome": "done"});
    status(&manager, "I-10", json!({ "powerIntent": done })).await?;
    // without a mark: first off, then let go
    let binding = Object::cluster(INFRASTRUCTURE, "ServerBinding", server("I-11"));
    let powered = json!({"metadata": {"annotations": {"metal.sidero.dev/powered": "w-1"}}});
    servers(&manager)
        .patch(server("I-11"), &PatchParams::default(), &Patch::Merge(powered))
        .await?;
    binding.delete(bed.client()).await?;
    // it is off: the BMC refuses, and got the command
    ipmitool(bed, "I-11", &["power", "off"]).ok();
    let free = r#"{"metadata":{"finalizers":null}}"#;
    bed.kubectl(&[
        "patch",
        "serverbinding",
        server("I-11"),
        "--type=merge",
        "-p",
        free,
    ])?;
    ipmitool(bed, "I-1", &["power", "cycle"]).ok();
    ipmitool(bed, "I-6", &["power", "on"])?;
    bed.wait_for("all violations are found", FOUND, &objects, || async {
        // At first it may be one that was in flight when its BMC turned out to be another machine's.
        ipmitool(bed, "I-13", &["power", "on"])?;
        let found: BTreeSet<_> = observer
            .violations()
            .iter()
            .map(|violation| (violation.invariant(), violation.server().to_string()))
            .collect();
        let missing: Vec<_> = PLANTED
            .iter()
            .filter(|(invariant, name)| !found.contains(&(*invariant, (*name).to_owned())))
            .collect();
        ensure!(missing.is_empty(), "not found yet: {missing:?}; found {found:?}");
        Ok(Some(()))
    })
    .await?;
    let verdict = format!(
        "{:#}",
        observer
            .verdict()
            .err()
            .unwrap_or_else(|| anyhow::anyhow!("green"))
    );
    for (invariant, name) in PLANTED {
        ensure!(
            verdict.contains(&format!("{invariant}: {name}")),
            "{invariant} {name}: {verdict}"
        );
    }
    ensure!(verdict.contains("was let go"), "{verdict}");
    drop(simulator);
    for object in objects {
        object.delete(bed.client()).await?;
    }
    Ok(())
}

fn server(invariant: &str) -> &'static str {
    let found = PLANTED.iter().find(|(of, _)| *of == invariant);
    found.map_or("", |(_, name)| name)
}

/// The port of the BMC of a Server.
fn port(invariant: &str) -> u16 {
    let number = invariant
        .trim_start_matches("I-")
        .parse::<u16>()
        .unwrap_or_default();
    6250 + number
}

/// A BMC for each Server. That of I-13 has another Server's machine.
fn fleet(bed: &Bed) -> String {
    let inside = bed.run().network().inside();
    let bmcs = PLANTED.map(|(invariant, name)| {
        let machine = if invariant == "I-13" { ANOTHER } else { name };
        json!({
            "name": invariant,
            "ipmi": {"listen": format!("{inside}:{}", port(invariant))},
            "machine": {"uuid": machine, "manufacturer": "Metal Corp", "model": "Model-X", "serial": invariant,
                "firmware": "bios", "timings": {"on": "1ms", "off": "1ms", "post": "1ms"}},
        })
    });
    let users =
        json!([{"name": observer::MANAGER_USER, "password": "admin-secret", "role": "administrator"}]);
    json!({"version": 1, "users": users, "bmcs": bmcs}).to_string()
}

/// A Server that its agent reported.
async fn create(bed: &Bed, name: &str, port: Option<u16>, accepted: bool) -> anyhow::Result<()> {
    let mut spec = json!({ "accepted": accepted });
    if let Some(port) = port {
        spec["bmc"] = json!({"endpoint": bed.run().network().inside(), "port": port});
    }
    let server = json!({"apiVersion": METAL, "kind": "Server", "metadata": {"name": name}, "spec": spec});
    servers(bed.client())
        .patch(name, &PatchParams::apply("agent-api"), &Patch::Apply(server))
        .await?;
    Ok(())
}

async fn status(client: &Client, invariant: &str, status: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    servers(client)
        .patch_status(server(invariant), &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

fn servers(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", "Server");
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// Speaks to the BMC of a Server as a manager would: as its user and from its address.
fn ipmitool(bed: &Bed, invariant: &str, args: &[&str]) -> anyhow::Result<()> {
    let network = bed.run().network();
    let output = network
        .command(Place::Run, Path::new("ipmitool"))
        .args(["-I", "lanplus", "-C", "17", "-N", "1", "-R", "1"])
        .args([
            "-H",
            &network.inside().to_string(),
            "-p",
            &port(invariant).to_string(),
        ])
        .args(["-U", observer::MANAGER_USER, "-P", "admin-secret"])
        .args(args)
        .output()?;
    ensure!(
        output.status.success(),
        "ipmitool {args:?} to the BMC of {invariant}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
