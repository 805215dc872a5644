//! Section `machine.qemu` of the fleet file: the virtual machine behind a BMC.

use std::path::{Path, PathBuf};

use hardware_types::BootMode;
use serde::Deserialize;

use super::MachineConfig;

/// Most bytes of a unix socket's path (Linux unix(7), less the closing NUL).
const SOCKET_PATH: usize = 107;
/// Most bytes of a network interface's name (Linux `IFNAMSIZ`, less the closing NUL).
const TAP_NAME: usize = 15;
/// Most bytes of a disk's serial number: VIRTIO 1.2 §5.2.6 and NVMe both have 20.
const DISK_SERIAL: usize = 20;
/// The largest disk, in MiB: 16 TiB, what a file on ext4 can be.
const DISK_SIZE: u64 = 16 * 1024 * 1024;

/// A virtual machine. Its UUID, names, firmware and MAC addresses are the machine's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QemuConfig {
    /// Where its files are: disks, UEFI variables, serial log, QMP socket. Made if missing.
    pub folder: PathBuf,
    /// Memory in MiB.
    #[serde(default = "default_memory")]
    pub memory_mib: u32,
    /// Processor cores.
    #[serde(default = "default_cores")]
    pub cores: u32,
    /// The tap interface of each network card, in the order of `macs`; they exist already.
    #[serde(default)]
    pub taps: Vec<String>,
    /// Who boots from the network; see [`Self::network_boot`].
    pub pxe: Option<Pxe>,
    /// The disks.
    #[serde(default)]
    pub disks: Vec<DiskConfig>,
}

/// Who boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pxe {
    /// The iPXE ROM of the network card.
    Ipxe,
    /// The firmware's own PXE client: the card has no ROM.
    Firmware,
}

/// A disk in a raw file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DiskConfig {
    /// Its file, in the folder unless absolute. Made if missing; used as it is if there.
    pub file: PathBuf,
    /// The size of a file that is made, in MiB.
    pub size_mib: u64,
    /// How it is attached.
    #[serde(default = "default_bus")]
    pub bus: Bus,
    /// Its serial number; NVMe needs one.
    pub serial: Option<String>,
    /// Whether discarded blocks are given back to the host; `false`: the disk offers no discard, and the guest's fails.
    /// QEMU's NVMe disks always offer it.
    #[serde(default = "super::default_true")]
    pub discard: bool,
}

/// How a disk is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// NVMe, one controller each.
    Nvme,
    /// SCSI, all at one virtio-scsi controller.
    Scsi,
}

fn default_memory() -> u32 {
    256
}

fn default_cores() -> u32 {
    1
}

fn default_bus() -> Bus {
    Bus::Virtio
}

impl QemuConfig {
    /// Who boots from the network: as configured, else the ROM under BIOS and the firmware under UEFI.
    pub fn network_boot(&self, firmware: BootMode) -> Pxe {
        self.pxe.unwrap_or(match firmware {
            BootMode::Bios => Pxe::Ipxe,
            BootMode::Uefi => Pxe::Firmware,
        })
    }

    /// Where `file` is.
    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.folder.join(file)
    }

    /// The socket of the QEMU machine protocol.
    pub fn qmp_socket(&self) -> PathBuf {
        self.path("qmp.sock")
    }

    /// What no other machine of the fleet may have too.
    pub(super) fn unique_values(&self) -> impl Iterator<Item = (&'static str, String)> {
        let folder = ("qemu folder", self.folder.display().to_string());
        let taps = self.taps.iter().map(|tap| ("tap", tap.clone()));
        let files = self
            .disks
            .iter()
            .map(|disk| ("disk file", self.path(&disk.file).display().to_string()));
        std::iter::once(folder).chain(taps).chain(files)
    }

    pub(super) fn check(&self, machine: &MachineConfig) -> Result<(), String> {
        let (taps, macs) = (self.taps.len(), machine.macs.len());
        if taps != macs {
            return Err(format!(
                "machine.qemu.taps: {taps} for {macs} macs; want one each, in their order"
            ));
        }
        if let Some(tap) = self.taps.iter().find(|tap| !is_interface_name(tap)) {
            return Err(format!(
                "machine.qemu.taps: {tap:?} is no interface name of 1 to {TAP_NAME} bytes"
            ));
        }
        if !(64..=65536).contains(&self.memory_mib) {
            let memory = self.memory_mib;
            return Err(format!("machine.qemu.memory-mib is {memory}, not 64 to 65536"));
        }
        if !(1..=64).contains(&self.cores) {
            return Err(format!("machine.qemu.cores is {}, not 1 to 64", self.cores));
        }
        if machine.firmware == BootMode::Bios && self.pxe == Some(Pxe::Firmware) {
            return Err(
                "machine.qemu.pxe is \"firmware\", but a BIOS cannot boot from the network by itself".into(),
            );
        }
        let socket = self.qmp_socket();
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH {
            return Err(format!(
                "machine.qemu.folder: the socket {} has a path of {bytes} bytes, a unix socket at most {SOCKET_PATH}",
                socket.display()
            ));
        }
        self.disks.iter().try_for_each(DiskConfig::check)
    }
}

impl DiskConfig {
    fn check(&self) -> Result<(), String> {
        let file = self.file.display();
        if self.file.file_name().is_none() {
            return Err(format!("machine.qemu.disks: \"{file}\" is no file"));
        }
        if !(1..=DISK_SIZE).contains(&self.size_mib) {
            let size = self.size_mib;
            return Err(format!("disk {file}: size-mib is {size}, not 1 to {DISK_SIZE}"));
        }
        match &self.serial {
            Some(serial) if serial.is_empty() || serial.len() > DISK_SERIAL => Err(format!(
                "disk {file}: serial {serial:?} is not 1 to {DISK_SERIAL} bytes"
            )),
            None if self.bus == Bus::Nvme => Err(format!("disk {file}: an NVMe disk needs a \"serial\"")),
            _ if self.bus == Bus::Nvme && !self.discard => Err(format!(
                "disk {file}: discard is false, but an NVMe disk of QEMU always offers it; want bus virtio or scsi"
            )),
            _ => Ok(()),
        }
    }
}

fn is_interface_name(name: &str) -> bool {
    (1..=TAP_NAME).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | ','))
        && name != "."
        && name != ".."
}

#[cfg(test)]
mod tests;
