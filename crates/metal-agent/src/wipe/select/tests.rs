use std::os::unix::fs::symlink;

use super::*;
use crate::inventory::tests::tree;

/// What becomes of each disk below a `/sys` with these files.
fn refusals(files: &[(&str, &str)], included: &[&str]) -> Vec<(String, Option<String>)> {
    let included: Vec<String> = included.iter().map(ToString::to_string).collect();
    let targets = select(tree(files).path(), &included).into_iter();
    let each = targets.map(|target| (target.disk.device_name, target.refusal.map(|why| why.to_string())));
    each.collect()
}

fn refusal(files: &[(&str, &str)]) -> Option<String> {
    let mut all = refusals(&[files, &[("block/sda/size", "2048")]].concat(), &[]);
    assert_eq!(all.len(), 1);
    all.remove(0).1
}

#[test]
fn a_disk_of_the_machines_own_is_wiped() {
    assert_eq!(
        refusal(&[("block/sda/ro", "0"), ("block/sda/removable", "0\n")]),
        None
    );
}

#[test]
fn read_only_and_removable_disks_are_refused() {
    assert_eq!(refusal(&[("block/sda/ro", "1\n")]).unwrap(), "it is read-only");
    assert_eq!(
        refusal(&[("block/sda/removable", "1\n")]).unwrap(),
        "its medium is removable"
    );
}

#[test]
fn a_disk_on_a_network_is_refused_by_its_place_among_the_devices() {
    let place = |way: &str| {
        let folder = format!("devices/pci0000:00/0000:3b:00.0/host7/{way}/target7:0:0/7:0:0:1/block/sda");
        let sys = tree(&[(&format!("{folder}/size"), "2048")]);
        std::fs::create_dir(sys.path().join("block")).unwrap();
        symlink(sys.path().join(folder), sys.path().join("block/sda")).unwrap();
        select(sys.path(), &[]).remove(0).refusal
    };
    assert_eq!(place("rport-7:0-3"), Some(Refusal::FibreChannel));
    assert_eq!(place("session1"), Some(Refusal::Iscsi));
    assert_eq!(place("port-7:0/end_device-7:0"), None);
    assert_eq!(place("session"), None);
}

#[test]
fn nvme_is_the_machines_own_only_over_pcie() {
    let nvme = |files: &[(&str, &str)]| {
        let files = [files, &[("block/nvme0n1/size", "2048")]].concat();
        refusals(&files, &[]).remove(0).1
    };
    assert_eq!(nvme(&[("block/nvme0n1/device/transport", "pcie\n")]), None);
    assert!(
        nvme(&[("block/nvme0n1/device/transport", "tcp\n")])
            .unwrap()
            .contains("NVMe over tcp")
    );
    // where the kernel joins paths, the device is the subsystem and its controllers are below
    let local = ("block/nvme0n1/device/nvme0/transport", "pcie\n");
    assert_eq!(nvme(&[local]), None);
    assert!(nvme(&[local, ("block/nvme0n1/device/nvme1/transport", "rdma\n")]).is_some());
}

#[test]
fn a_path_of_a_multipath_device_is_refused_also_when_only_its_wwid_tells() {
    let map = [
        ("block/sda/holders/dm-0/x", ""),
        ("block/dm-0/dm/uuid", "mpath-3600508b4\n"),
    ];
    assert!(refusal(&map).unwrap().contains("multipath device dm-0"));
    let crypt = [
        ("block/sda/holders/dm-0/x", ""),
        ("block/dm-0/dm/uuid", "CRYPT-LUKS2-1\n"),
    ];
    assert_eq!(
        refusal(&crypt),
        None,
        "it is refused by the kernel when it is opened"
    );
    let twins = [
        ("block/sda/size", "2048"),
        ("block/sda/device/wwid", "naa.5000c50015ea71ad"),
        ("block/sdb/size", "2048"),
        ("block/sdb/device/wwid", "naa.5000C50015EA71AD"),
        ("block/sdc/size", "2048"),
        ("block/sdc/device/wwid", ""),
        ("block/sdd/size", "2048"),
    ];
    let all = refusals(&twins, &[]);
    assert!(all[0].1.as_ref().unwrap().contains("/dev/sdb is the same disk"));
    assert!(all[1].1.as_ref().unwrap().contains("/dev/sda is the same disk"));
    assert_eq!(
        (&all[2].1, &all[3].1),
        (&None, &None),
        "no identifier is not the same one"
    );
}

#[test]
fn a_disk_that_is_named_is_wiped_whatever_it_is() {
    let files = [
        ("block/sda/size", "2048"),
        ("block/sda/removable", "1"),
        ("block/sda/device/wwid", "naa.5000c50015ea71ad\n"),
        ("block/sdb/size", "2048"),
        ("block/sdb/removable", "1"),
    ];
    for name in [
        "naa.5000c50015ea71ad",
        "0x5000C50015EA71AD",
        " wwn-0x5000c50015ea71ad",
        "5000c50015ea71ad",
    ] {
        let all = refusals(&files, &[name]);
        assert_eq!(all[0].1, None, "{name}");
        assert!(all[1].1.is_some());
    }
    for other in ["", "naa.", "naa.5000c50015ea71a"] {
        assert!(
            refusals(&files, &[other])
                .iter()
                .all(|(_, refusal)| refusal.is_some()),
            "{other:?}"
        );
    }
}

#[test]
fn partitions_and_holders_are_the_kernels() {
    let sys = tree(&[
        ("block/vda/size", "8192"),
        ("block/vda/queue/rotational", "1"),
        ("block/vda/vda1/partition", "1"),
        ("block/vda/vda1/start", "2048\n"),
        ("block/vda/vda1/size", "1024\n"),
        ("block/vda/vda2/partition", "2"),
        ("block/vda/vda2/start", "4096\n"),
        ("block/vda/vda2/size", "4096\n"),
        ("block/vda/vda2/holders/md0/x", ""),
        ("block/vda/holders/dm-1/x", ""),
    ]);
    let target = select(sys.path(), &[]).remove(0);
    assert_eq!(target.partitions, [1 << 20..3 << 19, 2 << 20..4 << 20]);
    assert_eq!(target.holders, ["dm-1", "md0"]);
}
