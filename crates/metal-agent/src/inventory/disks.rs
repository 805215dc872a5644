//! Disks, from `/sys/block`.

use std::path::Path;

use hardware_types::inventory::{Disk, DiskKind};

use super::{names, number, text};

/// Block devices that are no disks: tapes and generic SCSI, optical drives, and what software makes of other devices.
const NO_DISKS: [&str; 7] = ["sg", "sr", "loop", "md", "dm-", "ram", "zram"];
/// `/sys/block/*/size` counts these, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// Reads the disks below a folder that is `/sys/block`.
pub(crate) fn read(block: &Path) -> Vec<Disk> {
    let disks = names(block)
        .into_iter()
        .filter(|name| !NO_DISKS.iter().any(|prefix| name.starts_with(prefix)));
    disks.filter_map(|name| disk(&block.join(&name), &name)).collect()
}

fn disk(folder: &Path, name: &str) -> Option<Disk> {
    let first = |files: &[&str]| {
        let mut texts = files.iter().map(|file| text(&folder.join(file)));
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    };
    let size = number::<u64>(&folder.join("size"))?.saturating_mul(SECTOR);
    // one path of a multipath NVMe disk, which stands there as a whole too
    let hidden = number::<u8>(&folder.join("hidden")) == Some(1);
    (size > 0 && !hidden).then(|| Disk {
        kind: kind(folder, name),
        size,
        model: first(&["device/model"]),
        // virtio's is beside the queue, SCSI's only in its vital product data
        serial: [first(&["serial", "device/serial"]), page80(folder)]
            .into_iter()
            .find(|serial| !serial.is_empty())
            .unwrap_or_default(),
        name: first(&["device/name"]),
        device_name: format!("/dev/{name}"),
        uuid: first(&["uuid", "device/uuid"]),
        wwid: first(&["wwid", "device/wwid"]),
    })
}

fn kind(folder: &Path, name: &str) -> DiskKind {
    if name.starts_with("nvme") {
        return DiskKind::Nvme;
    }
    if name.starts_with("mmcblk") {
        return DiskKind::Sd;
    }
    match number::<u8>(&folder.join("queue/rotational")) {
        Some(0) => DiskKind::Ssd,
        Some(_) => DiskKind::Hdd,
        None => DiskKind::Unknown,
    }
}

/// Unit serial number (SPC-4 §7.8.15): four bytes of header, then the text.
fn page80(folder: &Path) -> String {
    let page = std::fs::read(folder.join("device/vpd_pg80")).unwrap_or_default();
    super::clean(&String::from_utf8_lossy(page.get(4..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn disks_are_told_apart_by_name_and_rotation() {
        let block = tree(&[
            ("vda/size", "2097152\n"),
            ("vda/queue/rotational", "1\n"),
            ("vda/serial", "VIRT-1\n"),
            ("sda/size", "4096\n"),
            ("sda/queue/rotational", "0\n"),
            ("sda/device/model", "QEMU HARDDISK   \n"),
            ("sda/device/vpd_pg80", "\0\u{7f}\0\u{6}SCSI-1"),
            ("sda/device/wwid", "naa.5000c50015ea71ad\n"),
            ("nvme0n1/size", "8\n"),
            ("nvme0c0n1/size", "8\n"),
            ("nvme0c0n1/hidden", "1\n"),
            ("nvme0n1/queue/rotational", "0\n"),
            ("nvme0n1/wwid", "eui.0025388b710116a1\n"),
            ("nvme0n1/uuid", "0b2a5d8e-1111-4222-8333-444455556666\n"),
            ("nvme0n1/device/serial", "NVME-1  \n"),
            ("mmcblk0/size", "16\n"),
            ("mmcblk0/device/name", "SD32G\n"),
            ("xvda/size", "16\n"),
        ]);
        let disks = read(block.path());
        let seen: Vec<_> = disks
            .iter()
            .map(|disk| {
                (
                    disk.device_name.as_str(),
                    disk.kind,
                    disk.size,
                    disk.serial.as_str(),
                )
            })
            .collect();
        let want = [
            ("/dev/mmcblk0", DiskKind::Sd, 8192, ""),
            ("/dev/nvme0n1", DiskKind::Nvme, 4096, "NVME-1"),
            ("/dev/sda", DiskKind::Ssd, 2_097_152, "SCSI-1"),
            ("/dev/vda", DiskKind::Hdd, 1 << 30, "VIRT-1"),
            ("/dev/xvda", DiskKind::Unknown, 8192, ""),
        ];
        assert_eq!(seen, want);
        assert_eq!(disks[0].name, "SD32G");
        assert_eq!(disks[1].wwid, "eui.0025388b710116a1");
        assert_eq!(disks[1].uuid, "0b2a5d8e-1111-4222-8333-444455556666");
        assert_eq!(disks[2].model, "QEMU HARDDISK");
        assert_eq!(disks[2].wwid, "naa.5000c50015ea71ad");
    }

    #[test]
    fn what_is_no_disk_or_empty_is_left_out() {
        let names = ["sg0", "sr0", "loop0", "md127", "dm-0", "ram3", "zram0"];
        let files: Vec<_> = names.iter().map(|name| format!("{name}/size")).collect();
        let mut files: Vec<_> = files.iter().map(|file| (file.as_str(), "2048")).collect();
        files.extend([("sdb/size", "0\n"), ("sdc/size", "nonsense"), ("vda/size", "1")]);
        let disks = read(tree(&files).path());
        assert_eq!(disks.len(), 1, "{disks:?}");
        assert_eq!(disks[0].device_name, "/dev/vda");
    }
}
