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

/// What the simulator calls the log of a machine's console; it appends.
const SERIAL_LOG: &str = "serial.log";

/// A machine of the lab. Every other one is of the same kind.
///
/// The 1st, 3rd, 5th: BIOS, two network cards, boots from the network first, its disk knows no discard; IPMI.
/// The 2nd, 4th, 6th: UEFI with its own network boot, boots from the disk first, which is NVMe and discards; Redfish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine(usize);

impl Machine {
    /// The first: IPMI at port 623 of the run's address.
    pub const FIRST: Self = Self(0);
    /// The second: Redfish at port 8443 of the run's address.
    pub const SECOND: Self = Self(1);
    /// The two that there are unless more are asked for.
    pub const BOTH: [Self; 2] = [Self::FIRST, Self::SECOND];
    /// Most machines of a lab.
    pub const MOST: u8 = 6;

    /// The first so many, [`MOST`](Self::MOST) at most.
    pub fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..count.min(NAMES.len())).map(Self)
    }

    /// Its SMBIOS UUID, which is its Server's name.
    pub fn name(self) -> &'static str {
        NAMES[self.0].0
    }

    /// Its BMC's name in the simulator.
    pub fn bmc(self) -> &'static str {
        NAMES[self.0].1
    }

    /// Its SMBIOS serial number.
    pub fn serial_number(self) -> String {
        format!("SN-000{}", self.number())
    }

    /// The serial number of its disk, of [`DISK_SIZE`](Self::DISK_SIZE).
    pub fn disk_serial_number(self) -> String {
        format!("DISK-000{}", self.number())
    }

    /// Bytes of its disk.
    pub const DISK_SIZE: u64 = 1 << 30;

    /// How its system calls that disk.
    pub fn disk_device(self) -> &'static str {
        if self.has_bios() {
            "/dev/vda"
        } else {
            "/dev/nvme0n1"
        }
    }

    /// The addresses of its network cards.
    pub fn macs(self) -> Vec<String> {
        let before = self.0 + self.0.div_ceil(2);
        (1..=self.cards())
            .map(|card| format!("52:54:00:77:00:{:02x}", before + card))
            .collect()
    }

    /// Where its BMC is, as `spec.bmc.endpoint` says it, if the run has this address.
    pub fn bmc_endpoint(self, address: Ipv4Addr) -> String {
        let scheme = if self.has_bios() { "ipmi" } else { "redfish" };
        format!("{scheme}://{address}:{}", self.bmc_port())
    }

    /// BIOS and IPMI, or else UEFI and Redfish.
    pub fn has_bios(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// The port of its BMC, at the run's address.
    pub fn bmc_port(self) -> usize {
        let pair = self.0 / 2;
        match (self.has_bios(), pair) {
            (true, 0) => 623,
            (true, _) => 6230 + pair,
            (false, _) => 8443 + pair,
        }
    }

    fn number(self) -> usize {
        self.0 + 1
    }

    fn cards(self) -> usize {
        if self.has_bios() { 2 } else { 1 }
    }

    /// The taps of its network cards.
    fn taps(self) -> Vec<String> {
        (0..self.cards())
            .map(|card| format!("m{}-nic{card}", self.number()))
            .collect()
    }

    /// Its entry in the simulator's fleet file.
    fn entry(self, address: Ipv4Addr, folder: &Path) -> Value {
        let [front, model, firmware] = if self.has_bios() {
            ["ipmi", "Model-X", "bios"]
        } else {
            ["redfish", "Model-Y", "uefi"]
        };
        let mut disk = json!({
            "file": "disk0.raw", "size-mib": Self::DISK_SIZE >> 20, "serial": self.disk_serial_number(),
            "bus": "nvme",
        });
        let mut qemu = json!({
            "folder": folder_of(folder, self), "memory-mib": 512, "taps": self.taps(),
        });
        if self.has_bios() {
            disk["bus"] = json!("virtio");
            disk["discard"] = json!(false);
        } else {
            qemu["pxe"] = json!("firmware");
        }
        qemu["disks"] = json!([disk]);
        let order = if self.has_bios() {
            ["network", "disk"]
        } else {
            ["disk", "network"]
        };
        json!({
            "name": self.bmc(),
            front: { "listen": format!("{address}:{}", self.bmc_port()) },
            "machine": {
                "uuid": self.name(), "manufacturer": "Metal Corp", "model": model, "serial": self.serial_number(),
                "firmware": firmware, "macs": self.macs(), "boot-order": order, "qemu": qemu,
            },
        })
    }
}

/// UUID and BMC of each machine.
const NAMES: [(&str, &str); Machine::MOST as usize] = [
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0001", "rack1-u01"),
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0002", "rack1-u02"),
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0003", "rack1-u03"),
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0004", "rack1-u04"),
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0005", "rack1-u05"),
    ("0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c0006", "rack1-u06"),
];

/// The simulator with its machines, which are off. Dropping it stops all of them.
#[derive(Debug)]
pub struct Machines {
    simulator: Process,
    http: reqwest::Client,
    control: String,
    folder: PathBuf,
}

impl Machines {
    /// Makes their taps, starts the simulator and waits until it answers.
    pub async fn plug_in(bed: &Bed, lab: &Lab, machines: &[Machine]) -> anyhow::Result<Self> {
        let folder = bed.run().folder().join("machines");
        for machine in machines.iter().copied() {
            show_console(
                &bed.run().folder().join("log"),
                &folder_of(&folder, machine),
                machine,
            )
            .with_context(|| format!("cannot make the console's log of {}", machine.bmc()))?;
            for tap in machine.taps() {
                lab.tap(&tap)?;
            }
        }
        let inside = bed.run().network().inside();
        let program = bed.bmc_sim("fleet", &fleet(inside, &folder, machines), CONTROL_PORT)?;
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
        disk::make_used(&self.disk(machine), Machine::DISK_SIZE)
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
    folder.join(machine.number().to_string())
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
fn fleet(address: Ipv4Addr, folder: &Path, machines: &[Machine]) -> String {
    let bmcs: Vec<_> = machines
        .iter()
        .map(|machine| machine.entry(address, folder))
        .collect();
    let user =
        |name: &str, role: &str| json!({ "name": name, "password": format!("{name}-secret"), "role": role });
    let users = [user("admin", "administrator"), user("operator", "operator")];
    json!({ "version": 1, "users": users, "bmcs": bmcs }).to_string()
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

    #[test]
    fn no_two_machines_share_anything() {
        let machines: Vec<_> = Machine::first(99).collect();
        assert_eq!(machines.len(), NAMES.len());
        let text = fleet(Ipv4Addr::LOCALHOST, Path::new("/run/machines"), &machines);
        let fleet: Value = serde_json::from_str(&text).unwrap();
        let mut all = Vec::new();
        for (machine, entry) in machines.iter().zip(fleet["bmcs"].as_array().unwrap()) {
            let of = &entry["machine"];
            let front = if machine.has_bios() { "ipmi" } else { "redfish" };
            all.extend([
                &entry["name"],
                &of["uuid"],
                &of["serial"],
                &of["qemu"]["folder"],
                &entry[front]["listen"],
                &of["qemu"]["disks"][0]["serial"],
            ]);
            all.extend(of["macs"].as_array().unwrap());
            all.extend(of["qemu"]["taps"].as_array().unwrap());
        }
        let all: Vec<_> = all.iter().map(|value| value.as_str().unwrap()).collect();
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(all.len(), different.len(), "{all:?}");
        assert_eq!(all.len(), 6 * NAMES.len() + 2 * (3 * 2 + 3));
    }
}
