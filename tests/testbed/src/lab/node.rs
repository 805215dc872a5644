//! Makes what the lab's own node boots from: the environment that installs it, and the boot image that it installs, which
//! starts on BIOS and on UEFI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use node_image::image;

use super::Lab;
use super::assets::{built, initramfs_of, read};
use crate::Bed;

/// Where the boot partition begins: bytes, and sectors of 512.
const BOOT: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// The partition of the node's state, behind the image.
const STATE: u64 = node_image::state::MAX_SIZE as u64;
/// Code of a BIOS boot record, before its table of partitions.
const RECORD: usize = 440;
const COMMAND_LINE: &str = "console=ttyS0 panic=10 lab.boot=disk";
const SYSLINUX_RECORD: &str = "/usr/lib/syslinux/mbr/mbr.bin";
/// What makes a kernel and its initramfs one program of UEFI.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Kernel and initramfs of an Environment whose machines install the lab's own node.
#[derive(Debug)]
pub struct NodeEnvironment {
    /// The kernel.
    pub kernel: Vec<u8>,
    /// The initramfs, with the boot image in it.
    pub initramfs: Vec<u8>,
}

impl NodeEnvironment {
    /// The kernel arguments of such an Environment.
    pub const ARGUMENTS: [&str; 3] = ["console=ttyS0", "panic=10", "initrd=initramfs.xz"];
}

impl Lab {
    /// Makes them, from the node as `cargo xtask test agent` built it.
    pub fn node_environment(&self, bed: &Bed) -> anyhow::Result<NodeEnvironment> {
        let kernel = bed.tools().kernel();
        let init = built("node-image")?;
        let folder = self.folder.join("node");
        fs::create_dir_all(&folder)?;
        let small = initramfs_of(&kernel, &init, &[])?;
        let boot = boot_image(&folder, &kernel.join("vmlinuz"), &small)?;
        Ok(NodeEnvironment {
            kernel: read(&kernel.join("vmlinuz"))?,
            initramfs: initramfs_of(&kernel, &init, &[("install.img", &image::encode(&boot))])?,
        })
    }
}

/// A disk's first [`image::SIZE`] bytes: a table of two partitions, and a FAT file system with both ways to boot.
fn boot_image(folder: &Path, kernel: &Path, initramfs: &[u8]) -> anyhow::Result<Vec<u8>> {
    let place = |name: &str| folder.join(name);
    let disk = place("disk.raw");
    let file = fs::File::create(&disk)?;
    file.set_len(image::SIZE + STATE)?;
    let (start, state) = (BOOT / SECTOR, image::SIZE / SECTOR);
    let table = format!("{start},{},c,*\n{state},{},83\n", state - start, STATE / SECTOR);
    let script = place("table");
    fs::write(&script, table)?;
    run(Command::new("sfdisk")
        .arg("--quiet")
        .arg(&disk)
        .stdin(fs::File::open(&script)?))?;
    let blocks = ((image::SIZE - BOOT) / 1024).to_string();
    run(Command::new("mkfs.vfat")
        .args(["-F", "16", "--offset", &start.to_string()])
        .arg(&disk)
        .arg(&blocks))?;

    let (initrd, configuration, uefi) = (place("initrd"), place("syslinux.cfg"), place("uki.efi"));
    fs::write(&initrd, initramfs)?;
    let text =
        format!("DEFAULT node\nLABEL node\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {COMMAND_LINE}\n");
    fs::write(&configuration, text)?;
    unified(folder, kernel, &initrd, &uefi)?;
    let at = format!("{}@@{BOOT}", disk.display());
    run(Command::new("mmd").args(["-i", &at, "::/EFI", "::/EFI/BOOT"]))?;
    for (from, to) in [
        (kernel.to_owned(), "::/vmlinuz"),
        (initrd, "::/initrd"),
        (configuration, "::/syslinux.cfg"),
        (uefi, "::/EFI/BOOT/BOOTX64.EFI"),
    ] {
        run(Command::new("mcopy").args(["-i", &at]).arg(from).arg(to))?;
    }
    run(Command::new("syslinux")
        .args(["--install", "--offset", &BOOT.to_string()])
        .arg(&disk))?;

    let mut bytes = read(&disk)?;
    bytes.truncate(usize::try_from(image::SIZE)?);
    let record = read(Path::new(SYSLINUX_RECORD))?;
    let record = record.get(..RECORD).unwrap_or(&record);
    bytes[..record.len()].copy_from_slice(record);
    fs::remove_file(&disk)?;
    Ok(bytes)
}

/// One program of UEFI: stub, command line, kernel and initramfs, each a section at its own address.
fn unified(folder: &Path, kernel: &Path, initrd: &Path, out: &Path) -> anyhow::Result<()> {
    let (release, line) = (folder.join("os-release"), folder.join("cmdline"));
    fs::write(&release, "ID=lab-node\n")?;
    fs::write(&line, COMMAND_LINE)?;
    let sections: [(&str, &PathBuf, u32); 4] = [
        (".osrel", &release, 0x2_0000),
        (".cmdline", &line, 0x3_0000),
        (".linux", &kernel.to_owned(), 0x200_0000),
        (".initrd", &initrd.to_owned(), 0x300_0000),
    ];
    let mut command = Command::new("objcopy");
    for (name, file, address) in sections {
        command
            .arg("--add-section")
            .arg(format!("{name}={}", file.display()));
        command
            .arg("--change-section-vma")
            .arg(format!("{name}={address:#x}"));
    }
    run(command.arg(STUB).arg(out))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    // Debian users other than root lack the sbin folders.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = command.env("PATH", path).output();
    let output =
        output.with_context(|| format!("cannot run {shown}: `cargo xtask tools` installs what it needs"))?;
    ensure!(
        output.status.success(),
        "{shown} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
