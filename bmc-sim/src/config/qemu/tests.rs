use std::time::Duration;

use crate::config::{Bus, FleetConfig, Pxe, QemuConfig};

const FLEET: &str = "\
version: 1
users:
  - {name: admin, password: admin-secret, role: administrator}
bmcs:
  - name: one
    ipmi: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384432
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-1
      firmware: bios
      macs: [52:54:00:00:00:01, 52:54:00:00:00:02]
      qemu:
        folder: machines/one
        memory-mib: 512
        taps: [tap0, tap1]
        disks:
          - {file: disk0.raw, size-mib: 64, serial: DISK-0, discard: false}
          - {file: /var/disks/disk1.raw, size-mib: 1, bus: nvme, serial: DISK-1}
  - name: two
    ipmi: {listen: 127.0.0.1:0}
    machine:
      uuid: 4c4c4544-0039-3010-8048-b7c04f384433
      manufacturer: Metal Corp
      model: Model-X
      serial: SN-2
      firmware: uefi
      timings: {post: 2s}
      qemu: {folder: machines/two}
";

fn qemu(fleet: &FleetConfig, bmc: usize) -> &QemuConfig {
    fleet.bmcs[bmc].machine.qemu.as_ref().unwrap()
}

#[test]
fn the_section_gives_values_and_defaults() {
    let fleet: FleetConfig = FLEET.parse().unwrap();
    let (one, two) = (qemu(&fleet, 0), qemu(&fleet, 1));
    assert_eq!((one.memory_mib, one.cores), (512, 1));
    assert_eq!((two.memory_mib, two.cores), (256, 1));
    let disks: Vec<_> = one
        .disks
        .iter()
        .map(|disk| (one.path(&disk.file).display().to_string(), disk.bus, disk.discard))
        .collect();
    assert_eq!(
        disks,
        [
            ("machines/one/disk0.raw".to_owned(), Bus::Virtio, false),
            ("/var/disks/disk1.raw".to_owned(), Bus::Nvme, true),
        ]
    );
    assert_eq!(
        one.network_boot(fleet.bmcs[0].machine.firmware),
        Pxe::Ipxe,
        "a BIOS has no PXE client"
    );
    assert_eq!(two.network_boot(fleet.bmcs[1].machine.firmware), Pxe::Firmware);
}

#[test]
fn the_self_test_is_qemus_own_unless_one_is_asked_for() {
    let fleet: FleetConfig = FLEET.parse().unwrap();
    assert_eq!(fleet.bmcs[0].machine.settings().timings.post, Duration::ZERO);
    assert_eq!(
        fleet.bmcs[1].machine.settings().timings.post,
        Duration::from_secs(2)
    );
}

#[test]
fn what_is_wrong_is_named() {
    let long = "f".repeat(99); // with "/qmp.sock" one byte too many
    let long_folder = format!("folder: {long}");
    for (from, to, texts) in [
        ("[tap0, tap1]", "[tap0]", &["\"one\"", "taps: 1 for 2 macs"][..]),
        ("[tap0, tap1]", "[tap0, tap0]", &["same tap: tap0"]),
        ("tap1", "a-name-too-long-x", &["\"a-name-too-long-x\"", "15"]),
        ("tap1", "'a b'", &["\"a b\""]),
        ("memory-mib: 512", "memory-mib: 63", &["memory-mib is 63"]),
        ("memory-mib: 512", "memory-mib: 65537", &["memory-mib is 65537"]),
        ("memory-mib: 512", "cores: 0", &["cores is 0"]),
        ("memory-mib: 512", "pxe: firmware", &["pxe", "BIOS"]),
        ("memory-mib: 512", "memory: 512", &["memory", "line 16"]),
        ("size-mib: 64", "size-mib: 0", &["disk0.raw", "size-mib is 0"]),
        ("size-mib: 64", "size-mib: 16777217", &["size-mib is 16777217"]),
        ("serial: DISK-0", "serial: ''", &["disk0.raw", "\"\""]),
        (
            "serial: DISK-0",
            "serial: 123456789-123456789-1",
            &["\"123456789-123456789-1\"", "20"],
        ),
        (", serial: DISK-1", "", &["disk1.raw", "NVMe"]),
        (
            "serial: DISK-1",
            "serial: DISK-1, discard: false",
            &["disk1.raw", "discard is false", "NVMe"],
        ),
        ("bus: nvme", "bus: sata", &["sata"]),
        ("file: disk0.raw", "file: ''", &["\"\" is no file"]),
        (
            "machines/two",
            "machines/one",
            &["same qemu folder: machines/one"],
        ),
        (
            "/var/disks/disk1.raw",
            "disk0.raw",
            &["same disk file: machines/one/disk0.raw"],
        ),
        ("folder: machines/one", &long_folder, &["108 bytes", "107", &long]),
    ] {
        let text = FLEET.replacen(from, to, 1);
        assert_ne!(text, FLEET, "{from}");
        let error = text.parse::<FleetConfig>().unwrap_err().to_string();
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in: {error}");
        }
    }
}

#[test]
fn bounds_themselves_are_good() {
    let long_folder = format!("folder: {}", "f".repeat(98));
    for (from, to) in [
        ("memory-mib: 512", "memory-mib: 64"),
        ("memory-mib: 512", "memory-mib: 65536"),
        ("size-mib: 64", "size-mib: 16777216"),
        ("tap1", "15-bytes-of-tap"),
        ("serial: DISK-0", "serial: 123456789-123456789-"),
        ("folder: machines/one", &long_folder),
    ] {
        let text = FLEET.replacen(from, to, 1);
        text.parse::<FleetConfig>()
            .unwrap_or_else(|error| panic!("{to}: {error}"));
    }
}

#[test]
fn the_example_of_the_docs_is_a_fleet() {
    let docs = include_str!("../../../../docs/bmc-sim.md");
    let (_, example) = docs.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let fleet: FleetConfig = example.parse().unwrap();
    assert_eq!(qemu(&fleet, 0).taps.len(), 2);
}
