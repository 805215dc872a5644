//! Machines that boot for real: firmware, DHCP, loader, iPXE, kernel, agent, until each is a Server.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use testbed::lab::{Lab, Machine, Machines};
use testbed::{Bed, Object, Process};

/// A health port of its own.
const HEALTH: u16 = 9460;
/// What the site's DHCP server leases.
const LEASES: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 200));
/// Firmware and kernel on an emulated processor that others use too; about 15 s alone.
const BOOTED: Duration = Duration::from_mins(2);

/// The lab with a manager that boots machines.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) machines: Machines,
    pub(crate) manager: Process,
}

impl Site {
    pub(crate) async fn start(bed: &Bed, flags: &[&str]) -> anyhow::Result<Self> {
        for machine in Machine::BOTH {
            // A test that failed may have left it.
            server(machine).delete(bed.client()).await?;
        }
        let lab = Lab::start(bed).await?;
        let program = lab.manager(bed, HEALTH)?;
        let manager = bed.start_part("metal-controller-manager", program.args(flags.iter().copied()))?;
        let machines = Machines::plug_in(bed, &lab, &Machine::BOTH).await?;
        Ok(Self {
            lab,
            machines,
            manager,
        })
    }

    /// Waits until the machine's Server says so; the error shows the machine's console too.
    async fn until(
        &self,
        bed: &Bed,
        machine: Machine,
        what: &str,
        holds: impl Fn(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.until_within(bed, machine, what, BOOTED, holds).await
    }

    pub(crate) async fn until_within(
        &self,
        bed: &Bed,
        machine: Machine,
        what: &str,
        deadline: Duration,
        holds: impl Fn(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let what = format!("{}: {what}", machine.bmc());
        bed.wait_for(&what, deadline, &[server(machine)], || async {
            let object = server(machine)
                .get(bed.client())
                .await?
                .context("no such Server")?;
            holds(&object.data).map(Some)
        })
        .await
        .with_context(|| format!("its console ends:\n{}", self.console_tail(machine)))
    }

    fn console_tail(&self, machine: Machine) -> String {
        let text = self.machines.serial_log(machine).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

pub(crate) fn server(machine: Machine) -> Object {
    Object::cluster("metal.sidero.dev/v1alpha2", "Server", machine.name())
}

pub(crate) fn is(what: &str, value: &Value, want: &Value) -> anyhow::Result<()> {
    anyhow::ensure!(value == want, "{what} is {value}, not {want}");
    Ok(())
}

/// What the machine's Server must say of it: all of this is in the fleet file, none of it was told to the manager.
fn is_discovered(machine: Machine, server: &Value) -> anyhow::Result<()> {
    let hardware = &server["spec"]["hardware"];
    is("accepted", &server["spec"]["accepted"], &json!(false))?;
    is("uuid", &hardware["system"]["uuid"], &json!(machine.name()))?;
    is(
        "manufacturer",
        &hardware["system"]["manufacturer"],
        &json!("Metal Corp"),
    )?;
    is(
        "serial number",
        &hardware["system"]["serialNumber"],
        &json!(machine.serial_number()),
    )?;
    is("processors", &hardware["compute"]["processorCount"], &json!(1))?;
    is("cores", &hardware["compute"]["totalCoreCount"], &json!(1))?;
    is("memory modules", &hardware["memory"]["moduleCount"], &json!(1))?;
    is(
        "memory of the first",
        &hardware["memory"]["modules"][0]["size"],
        &json!(512),
    )?;
    is("disks", &hardware["storage"]["deviceCount"], &json!(1))?;
    let disk = &hardware["storage"]["devices"][0];
    is("disk size", &disk["size"], &json!(1_u64 << 30))?;
    is(
        "disk serial number",
        &disk["serialNumber"],
        &json!(machine.disk_serial_number()),
    )?;
    let interfaces = hardware["network"]["interfaces"]
        .as_array()
        .context("no interfaces")?;
    let mut macs: Vec<_> = interfaces
        .iter()
        .filter_map(|interface| interface["mac"].as_str())
        .collect();
    macs.sort_unstable();
    anyhow::ensure!(macs == machine.macs(), "MAC addresses are {macs:?}");
    let addresses = server["status"]["addresses"].as_array().context("no addresses")?;
    let leased = |address: &&Value| {
        let address = address["address"]
            .as_str()
            .and_then(|text| text.parse::<Ipv4Addr>().ok());
        address.is_some_and(|address| (LEASES.0..=LEASES.1).contains(&address))
    };
    let internal = addresses
        .iter()
        .find(leased)
        .with_context(|| format!("addresses are {addresses:?}"))?;
    is("type of the address", &internal["type"], &json!("InternalIP"))
}

pub(crate) async fn two_machines_that_are_switched_on_become_servers(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &[]).await?;
    let capture = site.lab.capture("discovery").await?;
    let begun = std::time::Instant::now();
    for machine in Machine::BOTH {
        site.machines.switch_on(machine).await?;
    }
    for machine in Machine::BOTH {
        site.until(
            bed,
            machine,
            "it is a Server with inventory and address",
            |server| is_discovered(machine, server),
        )
        .await?;
        println!(
            "{} is a Server after {:.1} s",
            machine.bmc(),
            begun.elapsed().as_secs_f64()
        );
    }
    // The agent waits to be accepted, and says so where a human looks.
    for machine in Machine::BOTH {
        site.machines
            .until_serial(machine, "not accepted", BOOTED)
            .await?;
    }

    // The simulator's record: both were switched on by a human, once.
    for machine in Machine::BOTH {
        let log = site.machines.get("/power-log").await?;
        let log = log["entries"]
            .as_array()
            .context("the power log has no entries")?;
        let edges: Vec<_> = log
            .iter()
            .filter(|line| line["bmc"] == machine.bmc() && line["event"] == "effect" && line["after"] == "on")
            .collect();
        anyhow::ensure!(edges.len() == 1 && edges[0]["actor"] == "operator", "{edges:?}");
    }

    // The UEFI machine loaded iPXE by TFTP, with its own PXE client; the other one has iPXE in its ROM.
    capture.finish()?;
    let reads = capture.lines("udp dst port 69")?;
    anyhow::ensure!(reads.iter().any(|line| line.contains("snp.efi")), "{reads:?}");
    anyhow::ensure!(!reads.iter().any(|line| line.contains("undionly")), "{reads:?}");
    let offers = capture.lines("udp and src host 10.77.0.3 and src port 67")?;
    anyhow::ensure!(!offers.is_empty(), "no offer of the DHCP proxy was seen");
    for machine in Machine::BOTH {
        site.until(bed, machine, "each step of its boot is told", |server| {
            let boot = &server["status"]["boot"];
            is(
                "iPXE's answer",
                &boot["ipxe"]["what"],
                &json!("told to boot the agent"),
            )?;
            // iPXE in a ROM asks for an address as often as it likes: that is no step of a boot
            let has_dhcp = boot["dhcp"]["at"].is_string();
            anyhow::ensure!(has_dhcp == (machine == Machine::SECOND), "{boot}");
            anyhow::ensure!(boot["agent"]["at"].is_string(), "{boot}");
            Ok(())
        })
        .await?;
    }
    end(bed, site).await
}

pub(crate) async fn a_machine_that_nobody_accepts_goes_on_to_its_disk(bed: &Bed) -> anyhow::Result<()> {
    let site = Site::start(bed, &["--agent-wait=2s", "--agent-poll-period=1s"]).await?;
    site.machines.switch_on(Machine::FIRST).await?;
    let disk = "told to boot its disk: it is registered and not accepted";
    site.until(bed, Machine::FIRST, "it was told to boot its disk", |server| {
        let asked = server["status"]["boot"]["ipxe"]["what"]
            .as_str()
            .unwrap_or_default();
        anyhow::ensure!(asked.starts_with(disk), "the last answer was {asked:?}");
        Ok(())
    })
    .await?;
    // It restarted itself: nobody sent a command.
    let log = site.machines.get("/power-log").await?;
    let log = log["entries"]
        .as_array()
        .context("the power log has no entries")?;
    let received: Vec<_> = log.iter().filter(|line| line["event"] == "received").collect();
    anyhow::ensure!(
        received.iter().all(|line| line["actor"] == "operator"),
        "{received:?}"
    );
    anyhow::ensure!(
        log.iter().any(|line| line["cause"] == "host restarted itself"),
        "{log:?}"
    );
    end(bed, site).await
}

pub(crate) async fn end(bed: &Bed, site: Site) -> anyhow::Result<()> {
    let by_itself = site.manager.stop(Duration::from_secs(11))?;
    anyhow::ensure!(
        by_itself,
        "the manager did not end by itself:\n{}",
        site.manager.log_tail(20)
    );
    drop(site);
    for machine in Machine::BOTH {
        server(machine).delete(bed.client()).await?;
    }
    Ok(())
}
