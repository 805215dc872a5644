//! The kernel's block device: direct IO, discard and the lock, on a loop device.

use std::fs;
use std::process::Command;

use super::*;
use crate::wipe::device::BlockDevice;

/// A loop device over a file; gone with it.
struct Loop {
    file: tempfile::NamedTempFile,
    device: String,
}

impl Loop {
    fn new(bytes: &[u8], block: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", block])
            .arg(file.path())
            .output();
        let made = made.expect("losetup is missing: apt-get install util-linux");
        let fix = "this test needs loop devices: run `modprobe loop` as root, and the tests as root";
        assert!(
            made.status.success(),
            "{fix}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let device = String::from_utf8(made.stdout).unwrap().trim().into();
        Self { file, device }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

#[tokio::test]
async fn a_block_device_is_erased_past_every_cache() {
    for block in ["512", "4096"] {
        let mut bytes = vec![0xa5; 8 * MIB];
        bytes[..MIB].fill(0);
        let blocks_per_mib = (MIB / 512) as u64;
        gpt(
            &mut bytes,
            512,
            1,
            2,
            2,
            &[([1; 16], 3 * blocks_per_mib, 6 * blocks_per_mib - 1)],
        );
        let image = Loop::new(&bytes, block);
        let mut target = target("loop");
        target.disk.device_name.clone_from(&image.device);
        let (progress, _) = watch::channel(Progress::default());
        let certificate = wipe(1, vec![target], BlockDevice::open, &progress).await;
        let erased = Erased {
            discarded: true,
            zeroed_bytes: 4 << 20,
            partitions: 1,
        };
        assert_eq!(certificate.disks[0].result, DiskResult::Wiped(erased), "{block}");
        let bytes = fs::read(image.file.path()).unwrap();
        assert!(
            bytes.len() == 8 * MIB && bytes.iter().all(|byte| *byte == 0),
            "{block}"
        );
    }
}

#[test]
fn a_block_device_in_use_is_not_opened() {
    let image = Loop::new(&vec![0; 1 << 20], "512");
    let path = Path::new(&image.device);
    let held = BlockDevice::open(path).unwrap();
    assert_eq!((held.size(), held.block()), (1 << 20, 512));
    let refused = BlockDevice::open(path).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    drop(held);
    BlockDevice::open(path).unwrap();
}
