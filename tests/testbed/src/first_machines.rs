//! The first machines of the main job: two that boot for real, behind an IPMI and a Redfish BMC, and the manager that
//! discovers, wipes and powers them.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::lab::{Lab, Machine, Machines};
use crate::objects::Object;
use crate::{Bed, Process};

const METAL: &str = "metal.sidero.dev/v1alpha2";
/// Where the manager's health listener is: 9440 is Cluster API's here.
const HEALTH_PORT: u16 = 9450;

/// Two machines, their network and what serves them. Dropping it stops all of it.
pub struct FirstMachines {
    // Stopped in this order: the manager talks to the machines, both are in the network.
    _manager: Process,
    machines: Machines,
    _lab: Lab,
}

impl FirstMachines {
    /// Starts the network, the manager and the simulator. Both machines are off and nobody knows them yet.
    pub async fn plug_in(bed: &Bed, lab: Lab) -> anyhow::Result<Self> {
        let manager = bed.start_part("metal-controller-manager", lab.manager(bed, HEALTH_PORT)?)?;
        let machines = Machines::plug_in(bed, &lab).await?;
        Ok(Self {
            _manager: manager,
            machines,
            _lab: lab,
        })
    }

    /// The machines' Servers.
    pub fn servers() -> [Object; 2] {
        Machine::ALL.map(|machine| Object::cluster(METAL, "Server", machine.name()))
    }

    /// Switches both on past their BMCs, as somebody at the rack would, and waits until each is a Server with inventory
    /// and an address.
    pub async fn switch_on(&self, bed: &Bed, deadline: Duration) -> anyhow::Result<()> {
        for machine in Machine::ALL {
            self.machines.switch_on(machine).await?;
        }
        until(bed, "both are Servers", deadline, |server| {
            let serial = &server["spec"]["hardware"]["system"]["serialNumber"];
            let address = &server["status"]["addresses"][0]["address"];
            anyhow::ensure!(
                serial.is_string() && address.is_string(),
                "serial number {serial}, address {address}"
            );
            Ok(())
        })
        .await
    }

    /// Applies a Secret and accepts both Servers with their BMCs, and waits until both are wiped, off and available. Their
    /// agents run, and get their orders without another boot.
    pub async fn accept(&self, bed: &Bed, deadline: Duration) -> anyhow::Result<()> {
        let text = include_str!("first_machines/servers.yaml");
        bed.apply(&text.replace("ADDRESS", &bed.run().network().inside().to_string()))
            .await?;
        until(bed, "both are wiped, off and available", deadline, |server| {
            let status = &server["status"];
            let (phase, power) = (&status["phase"], &status["power"]);
            anyhow::ensure!(
                phase == "Available" && power == "off",
                "phase {phase}, power {power}"
            );
            Ok(())
        })
        .await
    }
}

async fn until(
    bed: &Bed,
    what: &str,
    deadline: Duration,
    holds: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let servers = FirstMachines::servers();
    bed.wait_for(what, deadline, &servers, || async {
        for server in &servers {
            let object = server
                .get(bed.client())
                .await?
                .with_context(|| format!("no {server}"))?;
            holds(&object.data).with_context(|| server.to_string())?;
        }
        Ok(Some(()))
    })
    .await
}
