//! The first machines of the main job: two simulated ones, behind an IPMI and a Redfish BMC, and the manager that powers them.

use std::time::Duration;

use anyhow::Context;

use crate::first_cluster::condition;
use crate::objects::Object;
use crate::{Bed, Process};

const METAL: &str = "metal.sidero.dev/v1alpha2";
/// Where the simulator's control API listens.
const CONTROL_PORT: u16 = 6200;
/// Where the manager's health listener is: 9440 is Cluster API's here.
const HEALTH_PORT: u16 = 9450;

/// Two machines and what powers them. Dropping it stops both processes.
pub struct FirstMachines {
    // Stopped first: it talks to the other.
    _manager: Process,
    _simulator: Process,
}

impl FirstMachines {
    /// The machines' names, which are their UUIDs.
    pub const NAMES: [&str; 2] = [
        "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0001",
        "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0002",
    ];

    /// Starts the simulator and the manager. Both machines are off and nobody knows them yet.
    pub fn plug_in(bed: &Bed) -> anyhow::Result<Self> {
        let fleet = in_run(bed, include_str!("first_machines/fleet.yaml"));
        let simulator = bed.start_part("bmc-sim", bed.bmc_sim("fleet", &fleet, CONTROL_PORT)?)?;
        let manager = bed.start_part(
            "metal-controller-manager",
            bed.metal_controller_manager(HEALTH_PORT)?,
        )?;
        Ok(Self {
            _manager: manager,
            _simulator: simulator,
        })
    }

    /// The machines' Servers.
    pub fn servers() -> [Object; 2] {
        Self::NAMES.map(|name| Object::cluster(METAL, "Server", name))
    }

    /// Applies a Secret and two accepted Servers with their BMCs, and waits until their power state is known.
    pub async fn until_power_is_shown(&self, bed: &Bed, deadline: Duration) -> anyhow::Result<()> {
        bed.apply(&in_run(bed, include_str!("first_machines/servers.yaml")))
            .await?;
        Self::until_power(bed, "off", deadline).await
    }

    /// Asks for both to be switched on, and waits until that was read back.
    pub async fn switch_on(&self, bed: &Bed, deadline: Duration) -> anyhow::Result<()> {
        for server in Self::servers() {
            server
                .annotate(bed.client(), "metal.sidero.dev/power", "on")
                .await?;
        }
        let servers = Self::servers();
        bed.wait_for("both power commands are done", deadline, &servers, || async {
            for server in &servers {
                let object = server
                    .get(bed.client())
                    .await?
                    .with_context(|| format!("no {server}"))?;
                let done = condition(&object.data, "PowerCommand");
                anyhow::ensure!(
                    done.as_deref() == Some("True"),
                    "{server}: PowerCommand is {done:?}"
                );
            }
            Ok(Some(()))
        })
        .await?;
        Self::until_power(bed, "on", deadline).await
    }

    async fn until_power(bed: &Bed, power: &str, deadline: Duration) -> anyhow::Result<()> {
        let servers = Self::servers();
        let what = format!("both Servers are {power}");
        bed.wait_for(&what, deadline, &servers, || async {
            for server in &servers {
                let object = server
                    .get(bed.client())
                    .await?
                    .with_context(|| format!("no {server}"))?;
                let shown = &object.data["status"]["power"];
                anyhow::ensure!(shown == power, "{server} is {shown}");
            }
            Ok(Some(()))
        })
        .await
    }
}

/// The text with the address of the run's network in it.
fn in_run(bed: &Bed, text: &str) -> String {
    text.replace("ADDRESS", &bed.run().network().inside().to_string())
}
