//! Two simulated machines on the lab's network that really boot, behind an IPMI and a Redfish BMC.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::Lab;
use super::disk::{self, Found, Mark};
use crate::wait::until;
use crate::{Bed, Process};

/// Where the simulator's control API listens.
const CONTROL_PORT: u16 = 6200;
/// How long the simulator may take to start, and to answer.
const ANSWERS: Duration = Duration::from_secs(20);

/// Bytes of each machine's disk.
const DISK_SIZE: u64 = 1 << 30;

/// What the simulator calls the log of a machine's console; it appends.
const SERIAL_LOG: &str = "serial.log";

/// The taps that the fleet file names.
const TAPS: [&str; 3] = ["m1-nic0", "m1-nic1", "m2-nic0"];

/// A machine of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// BIOS, two network cards, boots from the network first, its disk knows no discard; IPMI at port 623 of the run's address.
    First,
    /// UEFI with its own network boot, boots from the disk first, which is NVMe and discards; Redfish at port 8443 of the run's address.
    Second,
}

impl Machine {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// Its SMBIOS UUID, which is its Server's name.
    pub fn name(self) -> &'static str {
        [
            "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0001",
            "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0002",
        ][self.at()]
    }

    /// Its BMC's name in the simulator.
    pub fn bmc(self) -> &'static str {
        ["rack1-u01", "rack1-u02"][self.at()]
    }

    /// Its SMBIOS serial number.
    pub fn serial_number(self) -> &'static str {
        ["SN-0001", "SN-0002"][self.at()]
    }

    /// The serial number of its disk, of 1 GiB.
    pub fn disk_serial_number(self) -> &'static str {
        ["DISK-0001", "DISK-0002"][self.at()]
    }

    /// The addresses of its network cards.
    pub fn macs(self) -> &'static [&'static str] {
        match self {
            Self::First => &["52:54:00:77:00:01", "52:54:00:77:00:02"],
            Self::Second => &["52:54:00:77:00:03"],
        }
    }

    fn at(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// The simulator with both machines, which are off. Dropping it stops all of them.
#[derive(Debug)]
pub struct Machines {
    simulator: Process,
    http: reqwest::Client,
    control: String,
    folder: PathBuf,
}

impl Machines {
    /// Makes their taps, starts the simulator and waits until it answers.
    pub async fn plug_in(bed: &Bed, lab: &Lab) -> anyhow::Result<Self> {
        let folder = bed.run().folder().join("machines");
        for machine in Machine::ALL {
            show_console(
                &bed.run().folder().join("log"),
                &folder_of(&folder, machine),
                machine,
            )
            .with_context(|| format!("cannot make the console's log of {}", machine.bmc()))?;
        }
        for tap in TAPS {
            lab.tap(tap)?;
        }
        let inside = bed.run().network().inside();
        let program = bed.bmc_sim("fleet", &fleet(inside, &folder), CONTROL_PORT)?;
        let this = Self {
            simulator: bed.start_part("bmc-sim", program)?,
            http: reqwest::Client::builder().timeout(ANSWERS).build()?,
            control: format!("http://{inside}:{CONTROL_PORT}"),
            folder,
        };
        let answers = || async { this.get("/bmcs").await.map(|_| Some(())) };
        this.simulator.until_ready(ANSWERS, answers).await?;
        Ok(this)
    }

    /// Switches a machine on, as the BMC user `operator` would, past its BMC and the faults of that.
    pub async fn switch_on(&self, machine: Machine) -> anyhow::Result<()> {
        self.power(machine, "on").await
    }

    /// Sends a power verb (`on`, `off`, `soft-off`, `cycle`, `reset`) past the BMC, in the name of `operator`.
    pub async fn power(&self, machine: Machine, verb: &str) -> anyhow::Result<()> {
        let url = format!("{}/bmcs/{}/power", self.control, machine.bmc());
        let body = json!({ "verb": verb, "actor": "operator" });
        answer(self.http.post(&url).json(&body), &url).await.map(drop)
    }

    /// What the simulator's control API answers to a GET, such as `/bmcs/rack1-u01` or `/power-log`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.control);
        answer(self.http.get(&url), &url).await
    }

    /// Waits until the serial console of a machine has shown `text`; the error shows how the console ends.
    pub async fn until_serial(&self, machine: Machine, text: &str, deadline: Duration) -> anyhow::Result<()> {
        let what = format!("{} shows {text:?} on its serial console", machine.bmc());
        let shown = || async { Ok(self.serial_log(machine)?.contains(text).then_some(())) };
        until(&what, deadline, shown).await.with_context(|| {
            let log = self.serial_log(machine).unwrap_or_default();
            let end = log.floor_char_boundary(log.len().saturating_sub(1500));
            format!("the serial console of {} ends:\n{}", machine.bmc(), &log[end..])
        })
    }

    /// All that a machine wrote to its serial console since it was plugged in. Empty before its first boot.
    pub fn serial_log(&self, machine: Machine) -> anyhow::Result<String> {
        let path = folder_of(&self.folder, machine).join(SERIAL_LOG);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The file that is a machine's disk.
    pub fn disk(&self, machine: Machine) -> PathBuf {
        folder_of(&self.folder, machine).join("disk0.raw")
    }

    /// Makes a machine's disk one that was used: partitioned, with marks at its ends, in its middle and at both ends of each
    /// partition. The machine must be off.
    pub fn mark_disk(&self, machine: Machine) -> anyhow::Result<[Mark; 7]> {
        disk::make_used(&self.disk(machine), DISK_SIZE)
    }

    /// What stands at a mark of a machine's disk now, read past the machine.
    pub fn look(&self, machine: Machine, mark: &Mark) -> anyhow::Result<Found> {
        mark.look(&self.disk(machine))
    }

    /// Bytes of a machine's disk, read past the machine.
    pub fn read_disk(&self, machine: Machine, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        disk::read(&self.disk(machine), offset, length)
    }

    /// The simulator, to stop, kill or start again.
    pub fn simulator(&self) -> &Process {
        &self.simulator
    }
}

fn folder_of(folder: &Path, machine: Machine) -> PathBuf {
    folder.join((machine.at() + 1).to_string())
}

/// Makes the log of a machine's console, and one of the run's logs of it: shown and kept as the others are.
fn show_console(logs: &Path, folder: &Path, machine: Machine) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let serial = folder.join(SERIAL_LOG);
    fs::write(&serial, "")?;
    let link = logs.join(format!("{}-console.log", machine.bmc()));
    fs::remove_file(&link).ok();
    symlink(serial, link)
}

/// The simulator's fleet file.
fn fleet(address: Ipv4Addr, folder: &Path) -> String {
    include_str!("fleet.yaml")
        .replace("ADDRESS", &address.to_string())
        .replace("FOLDER", &folder.display().to_string())
}

/// The JSON of an answer; the error of one that is none, or that refuses, names the address.
async fn answer(request: reqwest::RequestBuilder, url: &str) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    anyhow::ensure!(status.is_success(), "{url} answers {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("{url} answers {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> [Value; 2] {
        let text = fleet(Ipv4Addr::LOCALHOST, Path::new("/run/machines"));
        let fleet: Value = serde_saphyr::from_str(&text).unwrap();
        [0, 1].map(|at| fleet["bmcs"][at].clone())
    }

    #[test]
    fn the_fleet_file_says_what_the_machines_say_of_themselves() {
        for (machine, bmc) in Machine::ALL.into_iter().zip(machines()) {
            assert_eq!(bmc["name"], machine.bmc());
            assert_eq!(bmc["machine"]["uuid"], machine.name());
            assert_eq!(bmc["machine"]["serial"], machine.serial_number());
            assert_eq!(bmc["machine"]["macs"], json!(machine.macs()));
            let disk = &bmc["machine"]["qemu"]["disks"][0];
            assert_eq!(disk["serial"], machine.disk_serial_number());
            assert_eq!(disk["size-mib"], DISK_SIZE >> 20);
            let folder = folder_of(Path::new("/run/machines"), machine);
            assert_eq!(bmc["machine"]["qemu"]["folder"], folder.display().to_string());
        }
    }

    #[test]
    fn each_network_card_has_a_tap_that_is_made() {
        let mut taps = Vec::new();
        for bmc in machines() {
            let of_machine = bmc["machine"]["qemu"]["taps"].as_array().unwrap().clone();
            assert_eq!(of_machine.len(), bmc["machine"]["macs"].as_array().unwrap().len());
            taps.extend(of_machine);
        }
        assert_eq!(json!(taps), json!(TAPS));
    }

    #[test]
    fn nothing_in_the_fleet_file_is_left_to_fill_in() {
        let [first, second] = machines();
        assert_eq!(first["ipmi"]["listen"], "127.0.0.1:623");
        assert_eq!(second["redfish"]["listen"], "127.0.0.1:8443");
        let text = json!([first, second]).to_string();
        assert!(!text.contains("ADDRESS") && !text.contains("FOLDER"), "{text}");
    }
}
