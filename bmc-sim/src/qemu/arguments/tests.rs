use super::*;
use crate::config::FleetConfig;
use crate::machine::BootDevice::{Cd, Disk, Network, Setup};

const BIOS: &str = "\
version: 1
users: [{name: admin, password: admin-secret, role: administrator}]
bmcs:
  - name: rack1-u01
    ipmi: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal, Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      macs: [52:54:00:00:00:01, 52:54:00:00:00:02]
      qemu:
        folder: /m/one
        taps: [tap0, tap1]
        disks:
          - {file: disk0.raw, size-mib: 64, serial: DISK-0}
          - {file: disk1.raw, size-mib: 64, bus: scsi, discard: false}
          - {file: disk2.raw, size-mib: 64, discard: false}
          - {file: '/d/a,b.raw', size-mib: 64, bus: nvme, serial: DISK-2}
";

/// The arguments of the machine in `fleet`, an option and its value a line.
fn lines(fleet: &str, order: &[BootDevice]) -> Vec<String> {
    let fleet: FleetConfig = fleet.parse().unwrap();
    let bmc = &fleet.bmcs[0];
    let all = arguments(&bmc.name, &bmc.machine, bmc.machine.qemu.as_ref().unwrap(), order);
    let mut lines: Vec<String> = Vec::new();
    for argument in all {
        match lines.last_mut() {
            Some(line) if !argument.starts_with('-') => {
                line.push(' ');
                line.push_str(&argument);
            }
            _ => lines.push(argument),
        }
    }
    lines
}

/// Which device has which boot index, in their order.
fn boot_indexes(fleet: &str, order: &[BootDevice]) -> Vec<String> {
    let mut found: Vec<(u32, String)> = lines(fleet, order)
        .iter()
        .filter_map(|line| {
            let (device, index) = line.split_once(",bootindex=")?;
            let (_, id) = device.split_once("netdev=").or(device.split_once("drive="))?;
            Some((index.parse().unwrap(), id.split(',').next().unwrap().to_owned()))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(index, id)| format!("{index} {id}"))
        .collect()
}

#[test]
fn a_bios_machine_speaks_on_its_serial_console_and_boots_with_ipxe() {
    assert_eq!(
        lines(BIOS, &[Network, Disk]),
        [
            "-name rack1-u01",
            "-M pc,graphics=off",
            "-accel tcg",
            "-cpu max",
            "-display none",
            "-m 256",
            "-smp 1",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-no-shutdown",
            "-S",
            "-boot strict=on",
            "-uuid 4c4c4544-0039-3010-8048-b7c04f384432",
            &format!(
                "-smbios type=0,vendor=bmc-sim,version={}",
                env!("CARGO_PKG_VERSION")
            ),
            "-smbios type=1,manufacturer=Metal,, Corp,product=Model-X,serial=SN-1",
            "-smbios type=2,manufacturer=Metal,, Corp,product=Model-X,serial=SN-1",
            "-smbios type=3,manufacturer=Metal,, Corp,serial=SN-1",
            "-chardev socket,id=qmp,path=/m/one/qmp.sock",
            "-mon chardev=qmp,mode=control",
            "-chardev file,id=serial,path=/m/one/serial.log,append=on",
            "-serial chardev:serial",
            "-netdev tap,id=net0,ifname=tap0,script=no,downscript=no",
            "-device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,bootindex=1",
            "-netdev tap,id=net1,ifname=tap1,script=no,downscript=no",
            "-device virtio-net-pci,netdev=net1,mac=52:54:00:00:00:02,bootindex=2",
            "-device virtio-scsi-pci,id=scsi",
            "-drive if=none,id=disk0,file=/m/one/disk0.raw,format=raw,discard=unmap",
            "-device virtio-blk-pci,drive=disk0,serial=DISK-0,bootindex=3",
            "-drive if=none,id=disk1,file=/m/one/disk1.raw,format=raw,discard=ignore",
            "-device scsi-hd,bus=scsi.0,discard_granularity=0,drive=disk1,bootindex=4",
            "-drive if=none,id=disk2,file=/m/one/disk2.raw,format=raw,discard=ignore",
            "-device virtio-blk-pci,discard=off,drive=disk2,bootindex=5",
            "-drive if=none,id=disk3,file=/d/a,,b.raw,format=raw,discard=unmap",
            "-device nvme,drive=disk3,serial=DISK-2,bootindex=6",
        ]
    );
}

#[test]
fn a_uefi_machine_has_variables_of_its_own_and_the_firmwares_pxe_client() {
    let uefi = BIOS.replace("firmware: bios", "firmware: uefi");
    let all = lines(&uefi, &[Disk]);
    for wanted in [
        "-M q35",
        "-drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
        "-drive if=pflash,unit=1,format=raw,file=/m/one/uefi-vars.fd",
        "-device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,romfile=",
    ] {
        assert!(all.iter().any(|line| line == wanted), "{wanted}: {all:#?}");
    }
    let with_rom = uefi.replace("taps:", "pxe: ipxe\n        taps:");
    let all = lines(&with_rom, &[Disk]);
    assert!(!all.iter().any(|line| line.contains("romfile")), "{all:#?}");
}

#[test]
fn boot_indexes_follow_the_order_and_leave_out_what_is_not_in_it() {
    for (order, wanted) in [
        (
            &[Network, Disk][..],
            &["1 net0", "2 net1", "3 disk0", "4 disk1", "5 disk2", "6 disk3"][..],
        ),
        (
            &[Disk, Network],
            &["1 disk0", "2 disk1", "3 disk2", "4 disk3", "5 net0", "6 net1"],
        ),
        (&[Disk], &["1 disk0", "2 disk1", "3 disk2", "4 disk3"]),
        (&[Network], &["1 net0", "2 net1"]),
        (&[Cd, Network], &["1 net0", "2 net1"]),
        (
            &[Network, Disk, Network],
            &["1 net0", "2 net1", "3 disk0", "4 disk1", "5 disk2", "6 disk3"],
        ),
        (&[Setup, Network, Disk], &[]),
        (&[], &[]),
    ] {
        assert_eq!(boot_indexes(BIOS, order), wanted, "{order:?}");
    }
}

#[test]
fn size_follows_the_section() {
    let big = BIOS.replace("taps:", "memory-mib: 1024\n        cores: 4\n        taps:");
    let all = lines(&big, &[Disk]);
    for wanted in ["-m 1024", "-smp 4"] {
        assert!(all.iter().any(|line| line == wanted), "{wanted}: {all:#?}");
    }
}
