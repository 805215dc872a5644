//! Writes the initramfs that a machine of the lab boots: a newc archive, as the kernel unpacks it
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use cpio::newc::{Builder, trailer};

/// Folders on which the init mounts something.
const MOUNT_POINTS: [&str; 4] = ["dev", "proc", "sys", "tmp"];

/// Types of files, as in inode(7).
const CHARACTER_DEVICE: u32 = 0o020_000;
const FOLDER: u32 = 0o040_000;
const REGULAR_FILE: u32 = 0o100_000;

/// An archive in the making.
#[derive(Debug)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Initramfs {
    /// With `init` as the first program, and the console that it is started with.
    pub(super) fn new(init: &[u8]) -> io::Result<Self> {
        let mut this = Self {
            bytes: Vec::new(),
            folders: BTreeSet::new(),
            entries: 0,
        };
        for folder in MOUNT_POINTS {
            this.folder(folder)?;
        }
        // Character device 5, 1; without it the kernel starts init with nothing to write to.
        let console = Builder::new("dev/console").rdev_major(5).rdev_minor(1);
        this.add(console, CHARACTER_DEVICE | 0o600, &[])?;
        this.file("init", 0o755, init)?;
        Ok(this)
    }

    /// A file at `path`, which is relative to the root, with these permissions and in folders that are made.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(parent)?;
        }
        let file = Builder::new(path);
        self.add(file, REGULAR_FILE | mode, content)
    }

    /// The whole archive.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        trailer(self.bytes)
    }

    /// A folder and all above it: the kernel makes none that the archive does not have.
    fn folder(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || !self.folders.insert(path.to_owned()) {
            return Ok(());
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent)?;
        }
        let folder = Builder::new(path);
        self.add(folder, FOLDER | 0o755, &[])
    }

    fn add(&mut self, entry: Builder, mode: u32, content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "newc files end at 4 GiB"))?;
        // Entries with the same number would be hard links of each other.
        self.entries += 1;
        let mut writer = entry.ino(self.entries).mode(mode).write(&mut self.bytes, size);
        writer.write_all(content)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device and content of an entry.
    type Entry = (String, u32, (u32, u32), Vec<u8>);

    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(bytes).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                return entries;
            }
            let device = (entry.rdev_major(), entry.rdev_minor());
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let mut content = Vec::new();
            io::Read::read_to_end(&mut reader, &mut content).unwrap();
            entries.push((name, mode, device, content));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_once() {
        let mut archive = Initramfs::new(b"#!").unwrap();
        archive.file("lib/modules/6.1/a.ko", 0o644, b"abc").unwrap();
        archive.file("lib/modules/6.1/b.ko", 0o644, b"").unwrap();
        let entries = read(&archive.finish().unwrap());
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "dev",
                "proc",
                "sys",
                "tmp",
                "dev/console",
                "init",
                "lib",
                "lib/modules",
                "lib/modules/6.1",
                "lib/modules/6.1/a.ko",
                "lib/modules/6.1/b.ko"
            ]
        );
        assert_eq!(entries[9].3, b"abc");
    }

    #[test]
    fn init_is_a_program_and_the_console_a_device() {
        let entries = read(&Initramfs::new(b"#!").unwrap().finish().unwrap());
        let entry = |wanted: &str| entries.iter().find(|(name, ..)| name == wanted).unwrap().clone();
        assert_eq!(entry("init"), ("init".into(), 0o100_755, (0, 0), b"#!".to_vec()));
        assert_eq!(
            entry("dev/console"),
            ("dev/console".into(), 0o020_600, (5, 1), Vec::new())
        );
        assert_eq!(entry("proc").1, 0o040_755);
    }
}
