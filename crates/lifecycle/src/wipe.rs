//! Whether a wipe counts: every disk that the machine is known to have is in its certificate, and none failed.

use std::fmt;

use hardware_types::inventory::Disk;
use hardware_types::wipe::{Certificate, DiskResult, DiskWipe};

/// Why a wipe does not count. All disks concerned are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Disks that were not erased, and why.
    failed: Vec<String>,
    /// Disks of the inventory that the agent did not find.
    vanished: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.failed.is_empty() {
            parts.push(format!(
                "{}; annotation metal.sidero.dev/power: cycle tries again",
                self.failed.join("; ")
            ));
        }
        if !self.vanished.is_empty() {
            parts.push(format!(
                "the machine no longer has {}: put it back, or waive it by its serial number in spec.wipe.waivedSerialNumbers, and ask for metal.sidero.dev/power: cycle",
                self.vanished.join(" and ")
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

/// Whether the wipe counts for a machine with these disks in its inventory. One that is gone counts as wiped only if its
/// serial number is among the `waived`: it may come back, with all that is on it.
pub fn verdict(inventory: &[Disk], certificate: &Certificate, waived: &[String]) -> Result<(), Failure> {
    let failed = certificate.disks.iter().filter_map(|disk| match &disk.result {
        DiskResult::Failed(reason) => Some(format!("{} was not wiped: {reason}", name(disk))),
        DiskResult::Wiped(_) | DiskResult::Refused(_) => None,
    });
    let is_waived = |disk: &Disk| !disk.serial.is_empty() && waived.contains(&disk.serial);
    let mut found: Vec<_> = certificate.disks.iter().collect();
    let vanished = inventory.iter().filter(|known| {
        // each line of the certificate is one disk: two alike in the inventory need two
        match found.iter().position(|disk| is_same(known, disk)) {
            Some(at) => {
                found.swap_remove(at);
                false
            }
            None => !is_waived(known),
        }
    });
    let failure = Failure {
        vanished: vanished.map(known_name).collect(),
        failed: failed.collect(),
    };
    if failure.failed.is_empty() && failure.vanished.is_empty() {
        Ok(())
    } else {
        Err(failure)
    }
}

/// By the surest name that the inventory has: device nodes change from boot to boot.
fn is_same(known: &Disk, disk: &DiskWipe) -> bool {
    if !known.serial.is_empty() {
        known.serial == disk.serial && known.size == disk.size
    } else if !known.wwid.is_empty() {
        known.wwid == disk.wwid
    } else {
        known.model == disk.model && known.size == disk.size && disk.serial.is_empty()
    }
}

fn name(disk: &DiskWipe) -> String {
    described(&disk.device_name, &disk.serial)
}

fn known_name(disk: &Disk) -> String {
    described(&disk.device_name, &disk.serial)
}

fn described(device: &str, serial: &str) -> String {
    if serial.is_empty() {
        format!("disk {device}")
    } else {
        format!("disk {device} (serial number {serial})")
    }
}

#[cfg(test)]
mod tests {
    use hardware_types::wipe::Erased;

    use super::*;

    fn known(device: &str, serial: &str) -> Disk {
        Disk {
            device_name: device.into(),
            serial: serial.into(),
            model: "M".into(),
            size: 1 << 30,
            ..Disk::default()
        }
    }

    fn wiped(device: &str, serial: &str, result: DiskResult) -> DiskWipe {
        DiskWipe {
            device_name: device.into(),
            model: "M".into(),
            serial: serial.into(),
            wwid: String::new(),
            size: 1 << 30,
            result,
        }
    }

    fn done() -> DiskResult {
        DiskResult::Wiped(Erased {
            discarded: false,
            zeroed_bytes: 2 << 20,
            partitions: 0,
        })
    }

    fn certificate(disks: Vec<DiskWipe>) -> Certificate {
        Certificate { generation: 1, disks }
    }

    #[test]
    fn disks_are_found_again_by_serial_number_whatever_they_are_called_now() {
        let inventory = [known("/dev/sda", "A"), known("/dev/sdb", "B")];
        let swapped = certificate(vec![
            wiped("/dev/sda", "B", done()),
            wiped("/dev/sdb", "A", DiskResult::Refused("removable".into())),
            wiped("/dev/sdc", "NEW", done()),
        ]);
        assert_eq!(verdict(&inventory, &swapped, &[]), Ok(()));
    }

    #[test]
    fn a_disk_that_vanished_is_named_unless_it_is_waived() {
        let inventory = [known("/dev/sda", "A"), known("/dev/sdb", "B")];
        let one = certificate(vec![wiped("/dev/sda", "A", done())]);
        let failure = verdict(&inventory, &one, &[]).unwrap_err().to_string();
        assert!(
            failure.contains("/dev/sdb (serial number B)") && !failure.contains("/dev/sda"),
            "{failure}"
        );
        assert_eq!(verdict(&inventory, &one, &["B".into()]), Ok(()));
        // an empty waiver waives no disk without a serial number
        assert!(verdict(&[known("/dev/sda", "")], &certificate(vec![]), &[String::new()]).is_err());
    }

    #[test]
    fn disks_without_a_name_of_their_own_are_counted() {
        let inventory = [known("/dev/sda", ""), known("/dev/sdb", "")];
        let one = vec![wiped("/dev/sda", "", done())];
        assert!(verdict(&inventory, &certificate(one.clone()), &[]).is_err());
        let two = [one, vec![wiped("/dev/sdb", "", done())]].concat();
        assert_eq!(verdict(&inventory, &certificate(two), &[]), Ok(()));
    }

    #[test]
    fn a_disk_that_failed_fails_the_wipe_and_every_one_is_named() {
        let inventory = [known("/dev/sda", "A")];
        let bad = |device, serial| wiped(device, serial, DiskResult::Failed("byte 0 is 7".into()));
        let failure = verdict(
            &inventory,
            &certificate(vec![bad("/dev/sda", "A"), bad("/dev/sdz", "")]),
            &[],
        );
        let failure = failure.unwrap_err().to_string();
        for text in ["/dev/sda (serial number A)", "disk /dev/sdz", "byte 0 is 7"] {
            assert!(failure.contains(text), "{failure}");
        }
    }
}
