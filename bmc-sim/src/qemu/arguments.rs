//! The command line of QEMU, as a pure function of the machine and its boot order.

use hardware_types::BootMode;

use crate::config::{Bus, DiskConfig, MachineConfig, Pxe, QemuConfig};
use crate::machine::BootDevice;

/// The firmware of UEFI machines, as Debian's package `ovmf` has it.
const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The machine's UEFI variables, in its folder.
pub(super) const UEFI_VARS: &str = "uefi-vars.fd";
/// The machine's serial console, in its folder.
pub(super) const SERIAL_LOG: &str = "serial.log";

/// The arguments of QEMU for one power-on of the machine `name`, which tries `order`.
///
/// The boot order becomes boot indexes: network cards and disks each in their own order; a device that is not in
/// `order` gets none and is not booted. A machine told to enter its set-up menu boots nothing.
///
/// A guest's reset stops QEMU like its shutdown does (`-no-reboot`), and neither ends it (`-no-shutdown`), so that
/// every boot is a new process with indexes of its own and no event is lost. For that reason it also starts paused
/// (`-S`): QMP tells no event before it is spoken to.
pub fn arguments(
    name: &str,
    machine: &MachineConfig,
    qemu: &QemuConfig,
    order: &[BootDevice],
) -> Vec<String> {
    let mut all = Arguments(Vec::new());
    all.add("-name", name);
    all.board(machine, qemu);
    // KVM is not tried: where it is nested it boots some guests and not others
    for (option, value) in [("-accel", "tcg"), ("-cpu", "max"), ("-display", "none")] {
        all.add(option, value);
    }
    all.add("-m", &qemu.memory_mib.to_string());
    all.add("-smp", &qemu.cores.to_string());
    for flag in [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-no-shutdown",
        "-S",
    ] {
        all.0.push(flag.into());
    }
    all.add("-boot", "strict=on");
    all.smbios(machine);
    all.consoles(qemu);
    all.network_cards(machine, qemu, first_index(order, BootDevice::Network, qemu));
    all.disks(qemu, first_index(order, BootDevice::Disk, qemu));
    all.0
}

/// The boot index of the first device of a kind; `None` where the kind is not to be booted.
fn first_index(order: &[BootDevice], kind: BootDevice, qemu: &QemuConfig) -> Option<usize> {
    if order.first() == Some(&BootDevice::Setup) {
        return None;
    }
    let position = order.iter().position(|device| *device == kind)?;
    let before = order.iter().take(position).map(|device| match device {
        BootDevice::Network => qemu.taps.len(),
        BootDevice::Disk => qemu.disks.len(),
        BootDevice::Cd | BootDevice::Setup => 0,
    });
    Some(1 + before.sum::<usize>())
}

/// A value of a QEMU option list: a comma within is doubled.
fn escaped(value: impl std::fmt::Display) -> String {
    value.to_string().replace(',', ",,")
}

struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, option: &str, value: &str) {
        self.0.extend([option.to_owned(), value.to_owned()]);
    }

    fn board(&mut self, machine: &MachineConfig, qemu: &QemuConfig) {
        match machine.firmware {
            // without graphics SeaBIOS and iPXE speak on the serial console
            BootMode::Bios => self.add("-M", "pc,graphics=off"),
            BootMode::Uefi => {
                self.add("-M", "q35");
                let vars = escaped(qemu.path(UEFI_VARS).display());
                self.add(
                    "-drive",
                    &format!("if=pflash,unit=0,format=raw,readonly=on,file={UEFI_CODE}"),
                );
                self.add("-drive", &format!("if=pflash,unit=1,format=raw,file={vars}"));
            }
        }
    }

    fn smbios(&mut self, machine: &MachineConfig) {
        self.add("-uuid", &machine.uuid.to_string());
        let [manufacturer, model, serial] =
            [&machine.manufacturer, &machine.model, &machine.serial].map(escaped);
        let uefi = match machine.firmware {
            BootMode::Bios => "",
            BootMode::Uefi => ",uefi=on",
        };
        let version = env!("CARGO_PKG_VERSION");
        for table in [
            format!("type=0,vendor=bmc-sim,version={version}{uefi}"),
            format!("type=1,manufacturer={manufacturer},product={model},serial={serial}"),
            format!("type=2,manufacturer={manufacturer},product={model},serial={serial}"),
            format!("type=3,manufacturer={manufacturer},serial={serial}"),
        ] {
            self.add("-smbios", &table);
        }
    }

    fn consoles(&mut self, qemu: &QemuConfig) {
        let socket = escaped(qemu.qmp_socket().display());
        let log = escaped(qemu.path(SERIAL_LOG).display());
        self.add("-chardev", &format!("socket,id=qmp,path={socket}"));
        self.add("-mon", "chardev=qmp,mode=control");
        self.add("-chardev", &format!("file,id=serial,path={log},append=on"));
        self.add("-serial", "chardev:serial");
    }

    fn network_cards(&mut self, machine: &MachineConfig, qemu: &QemuConfig, first_index: Option<usize>) {
        let rom = match qemu.network_boot(machine.firmware) {
            Pxe::Ipxe => "",
            Pxe::Firmware => ",romfile=",
        };
        for (n, (mac, tap)) in machine.macs.iter().zip(&qemu.taps).enumerate() {
            let boot = boot_index(first_index, n);
            self.add(
                "-netdev",
                &format!("tap,id=net{n},ifname={tap},script=no,downscript=no"),
            );
            self.add(
                "-device",
                &format!("virtio-net-pci,netdev=net{n},mac={mac}{rom}{boot}"),
            );
        }
    }

    fn disks(&mut self, qemu: &QemuConfig, first_index: Option<usize>) {
        if qemu.disks.iter().any(|disk| disk.bus == Bus::Scsi) {
            self.add("-device", "virtio-scsi-pci,id=scsi");
        }
        for (n, disk) in qemu.disks.iter().enumerate() {
            self.add("-drive", &drive(n, disk, qemu));
            // where a disk does not offer discard, the guest's fails; ignoring it behind an offer would lie
            let device = match (disk.bus, disk.discard) {
                (Bus::Virtio, true) => "virtio-blk-pci",
                (Bus::Virtio, false) => "virtio-blk-pci,discard=off",
                (Bus::Nvme, _) => "nvme",
                (Bus::Scsi, true) => "scsi-hd,bus=scsi.0",
                (Bus::Scsi, false) => "scsi-hd,bus=scsi.0,discard_granularity=0",
            };
            let serial = disk
                .serial
                .as_ref()
                .map(|serial| format!(",serial={}", escaped(serial)));
            let (serial, boot) = (serial.unwrap_or_default(), boot_index(first_index, n));
            self.add("-device", &format!("{device},drive=disk{n}{serial}{boot}"));
        }
    }
}

fn drive(n: usize, disk: &DiskConfig, qemu: &QemuConfig) -> String {
    let file = escaped(qemu.path(&disk.file).display());
    let discard = if disk.discard { "unmap" } else { "ignore" };
    format!("if=none,id=disk{n},file={file},format=raw,discard={discard}")
}

fn boot_index(first: Option<usize>, n: usize) -> String {
    first
        .map(|first| format!(",bootindex={}", first + n))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
