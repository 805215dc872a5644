//! A disk to be erased: the few things that are done to it, on the kernel's block device.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, ioctl_blksszget};
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};

/// What is done to a disk. Offsets and lengths are bytes, and multiples of [`Device::block`]; so are buffers, which
/// begin at a multiple of [`ALIGNMENT`] in memory.
pub(crate) trait Device {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Bytes of a logical block: the smallest that can be read or written.
    fn block(&self) -> u64;

    /// Reads from the disk itself, past every cache of the kernel; returns how many bytes were read.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes; returns how many bytes were written.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Tells the disk that it may forget. What it reads as afterwards is the disk's own affair.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes durable what was written and empties the kernel's caches of the disk.
    fn flush(&self) -> io::Result<()>;
}

/// Buffers of direct IO begin at such an address; the greatest block for which a kernel asks it is a page.
pub(crate) const ALIGNMENT: usize = 4096;

/// A buffer that direct IO takes.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Zeros.
    pub(crate) fn new(length: usize) -> Self {
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start }
    }

    /// The first bytes of it.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..length]
    }
}

/// A block device that nobody else has: neither a file system nor another device may be on top of it, nor come.
#[derive(Debug)]
pub(crate) struct BlockDevice {
    file: File,
    size: u64,
    block: u64,
}

impl BlockDevice {
    /// Opens a disk for erasing. It fails with `ResourceBusy` while something uses the disk or a partition of it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::EXCL | OFlags::DIRECT;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let block = ioctl_blksszget(&file)?.into();
        Ok(Self { file, size, block })
    }
}

impl Device for BlockDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    #[expect(unsafe_code)]
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        /// `BLKDISCARD` of `linux/fs.h`.
        const DISCARD: Opcode = opcode::none(0x12, 119);
        // SAFETY: BLKDISCARD reads two u64 through its argument, offset and length, and writes nothing there.
        let done = unsafe { ioctl(&self.file, Setter::<DISCARD, [u64; 2]>::new([offset, length])) };
        Ok(done?)
    }

    #[expect(unsafe_code)]
    fn flush(&self) -> io::Result<()> {
        /// `BLKFLSBUF` of `linux/fs.h`.
        const FLUSH_BUFFERS: Opcode = opcode::none(0x12, 97);
        self.file.sync_all()?;
        // SAFETY: BLKFLSBUF has no argument and touches no memory of this process.
        let done = unsafe { ioctl(&self.file, NoArg::<FLUSH_BUFFERS>::new()) };
        Ok(done?)
    }
}
