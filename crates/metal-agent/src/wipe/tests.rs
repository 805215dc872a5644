use hardware_types::inventory::Disk;
use hardware_types::wipe::Erased;

use super::fake::{FakeDisk, Fault};
use super::partitions::tests::gpt;
use super::*;

mod loop_device;

const MIB: usize = 1 << 20;

fn target(name: &str) -> Target {
    Target {
        disk: Disk {
            device_name: format!("/dev/{name}"),
            serial: format!("serial of {name}"),
            size: 8 << 20,
            ..Disk::default()
        },
        partitions: Vec::new(),
        holders: Vec::new(),
        included: false,
        refusal: None,
    }
}

fn disk(fault: Fault) -> FakeDisk {
    FakeDisk::new(vec![0xa5; 8 * MIB], fault)
}

/// Wipes the disks with these names; those not among the fake ones are in use.
async fn certificate(targets: Vec<Target>, disks: &[(&'static str, FakeDisk)]) -> (Certificate, Progress) {
    let disks = disks.to_vec();
    let open = move |path: &Path| {
        let disk = disks
            .iter()
            .find(|(name, _)| path == Path::new("/dev").join(name));
        disk.map(|(_, disk)| disk.clone())
            .ok_or(io::ErrorKind::ResourceBusy.into())
    };
    let (sender, receiver) = watch::channel(Progress::default());
    let certificate = wipe(7, targets, open, &sender).await;
    (certificate, receiver.borrow().clone())
}

fn failure(disk: &DiskWipe) -> &str {
    match &disk.result {
        DiskResult::Failed(reason) => reason,
        other => panic!("{} is {other:?}", disk.device_name),
    }
}

#[tokio::test]
async fn one_disks_failure_stops_no_other_and_each_is_reported_by_name() {
    let removable = Target {
        refusal: Some(Refusal::Removable),
        ..target("sdc")
    };
    let used = Target {
        holders: vec!["dm-0".into(), "md1".into()],
        ..target("sdd")
    };
    let targets = vec![
        target("sda"),
        target("sdb"),
        removable,
        used,
        target("sde"),
        target("sdf"),
    ];
    let disks = [
        ("sda", disk(Fault::Bad(0))),
        ("sdb", disk(Fault::Forgets(512))),
        ("sdc", disk(Fault::None)),
        ("sde", disk(Fault::Discards)),
    ];
    let (certificate, progress) = certificate(targets, &disks).await;
    assert_eq!(certificate.generation, 7);
    let names = certificate.disks.iter().map(|disk| disk.device_name.as_str());
    let want = [
        "/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/sdf",
    ];
    assert_eq!(names.collect::<Vec<_>>(), want);
    let disk = |index: usize| &certificate.disks[index];
    assert!(failure(disk(0)).contains("cannot read the partition table at offset 0"));
    assert!(failure(disk(1)).contains("the byte at offset 512 reads back as 0xa5"));
    assert_eq!(
        disk(2).result,
        DiskResult::Refused("its medium is removable".into())
    );
    assert!(
        disks[2].1.state().written.is_empty(),
        "a refused disk is not touched"
    );
    assert_eq!(failure(disk(3)), "cannot open it: in use by dm-0, md1");
    let erased = Erased {
        discarded: true,
        zeroed_bytes: 2 << 20,
        partitions: 0,
    };
    assert_eq!(disk(4).result, DiskResult::Wiped(erased));
    assert_eq!(
        (disk(4).serial.as_str(), disk(4).size),
        ("serial of sde", 8 << 20)
    );
    assert!(
        failure(disk(5)).starts_with("cannot open it: "),
        "{}",
        failure(disk(5))
    );
    assert_eq!(progress.percent(), 100);
    assert_eq!(progress.doing(), "5 of 5 disks done");
}

#[tokio::test]
async fn a_partition_that_only_the_backup_table_names_is_found() {
    let last = (8 * MIB / 512) as u64 - 1;
    let mut bytes = vec![0xa5; 8 * MIB];
    bytes[..MIB].fill(0);
    bytes[7 * MIB..].fill(0);
    let mib = (MIB / 512) as u64;
    gpt(
        &mut bytes,
        512,
        last,
        1,
        last - 32,
        &[([1; 16], 2 * mib, 6 * mib - 1)],
    );
    let disk = FakeDisk::new(bytes, Fault::None);
    let kernel = Target {
        // the same partition counts once, and one that begins beyond the end is none
        partitions: vec![2 << 20..6 << 20, 9 << 20..10 << 20],
        ..target("sda")
    };
    let (certificate, _) = certificate(vec![kernel], &[("sda", disk.clone())]).await;
    let erased = Erased {
        discarded: false,
        zeroed_bytes: 4 << 20,
        partitions: 1,
    };
    assert_eq!(certificate.disks[0].result, DiskResult::Wiped(erased));
    let firsts: Vec<_> = disk.state().bytes.chunks(MIB).map(|mib| mib[0]).collect();
    assert_eq!(firsts, [0, 0xa5, 0, 0xa5, 0xa5, 0, 0xa5, 0]);
}

#[tokio::test]
async fn a_disk_with_a_cluster_file_system_is_left_alone_unless_it_is_named() {
    let mut bytes = vec![0; 8 * MIB];
    bytes[2 * MIB + (64 << 10)..][..4].copy_from_slice(b"\x01\x16\x19\x70");
    let disk = FakeDisk::new(bytes, Fault::None);
    let shared = Target {
        partitions: vec![2 << 20..4 << 20],
        ..target("sda")
    };
    let named = Target {
        included: true,
        ..shared.clone()
    };
    let disks = [("sda", disk.clone())];
    let (left, _) = certificate(vec![shared], &disks).await;
    let reason = "it has a GFS2 on it, which other machines may use";
    assert_eq!(left.disks[0].result, DiskResult::Refused(reason.into()));
    assert!(disk.state().written.is_empty());
    let (wiped, _) = certificate(vec![named], &disks).await;
    assert!(matches!(wiped.disks[0].result, DiskResult::Wiped(_)), "{wiped:?}");
}

#[tokio::test]
async fn a_disk_that_hangs_fails_at_its_deadline() {
    let disk = disk(Fault::Hangs);
    let open = {
        let disk = disk.clone();
        move |_: &Path| Ok(disk.clone())
    };
    let result = watched(target("sda"), open, Duration::from_millis(50), &|_| ()).await;
    disk.release();
    let reason = "no progress for 0 min at 0 %: the disk hangs";
    assert_eq!(result, DiskResult::Failed(reason.into()));
}

#[test]
fn progress_counts_all_disks_alike_and_shows_those_at_work() {
    let disks = [Stage::Ended, Stage::At(40), Stage::At(7), Stage::Waiting]
        .into_iter()
        .enumerate();
    let progress = Progress {
        disks: disks
            .map(|(index, stage)| (format!("/dev/nvme{index}n1"), stage))
            .collect(),
    };
    assert_eq!(progress.percent(), 36);
    assert_eq!(
        progress.doing(),
        "1 of 4 disks done, /dev/nvme1n1 at 40 %, /dev/nvme2n1 at 7 %"
    );
    assert_eq!(Progress::default().percent(), 0);
    let many = Progress {
        disks: (0..99)
            .map(|index| (format!("/dev/nvme{index}n1"), Stage::At(1)))
            .collect(),
    };
    assert!(many.doing().len() <= MAX_TEXT);
}
