//! Partitions that any table on a disk names, read more leniently than a kernel reads them.
//!
//! A kernel believes a table only if all of it is well; what is being erased has no such right. A first MiB that was
//! zeroed leaves the backup of a GPT, which still names where every file system of the last tenant begins. So each
//! header that says it is one is followed, whatever its checksums.

use std::io;
use std::ops::Range;

/// Block sizes for which tables are written.
const BLOCKS: [u64; 2] = [512, 4096];
/// Most bytes of a GPT's entries that are read; a usual table has 16 KiB.
const MAX_ENTRIES: u64 = 1 << 20;
/// Most links of a chain of logical partitions that are followed.
const MAX_LOGICAL: usize = 256;

/// Partition type of a member of an IBM GPFS, as it stands on disk (37AFFC90-EF7D-4E96-91C3-2D7AE055B174).
const GPFS: [u8; 16] = *b"\x90\xfc\xaf\x37\x7d\xef\x96\x4e\x91\xc3\x2d\x7a\xe0\x55\xb1\x74";
/// Partition type of a VMware VMFS (AA31E02A-400F-11DB-9590-000C2911D1B8).
const VMFS: [u8; 16] = *b"\x2a\xe0\x31\xaa\x0f\x40\xdb\x11\x95\x90\x00\x0c\x29\x11\xd1\xb8";

/// A partition as a table names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Bytes of the disk.
    pub(crate) range: Range<u64>,
    /// The cluster file system that its type says it belongs to.
    pub(crate) cluster: Option<&'static str>,
}

/// Reads `length` bytes at an offset.
pub(crate) type Read<'a> = dyn Fn(u64, u64) -> io::Result<Vec<u8>> + 'a;

/// All partitions that the tables of a disk of `size` bytes name, in order; ranges may overlap. `block` is the disk's
/// logical block.
pub(crate) fn scan(read: &Read<'_>, size: u64, block: u64) -> io::Result<Vec<Partition>> {
    let disk = Disk { read, size };
    let mut found = disk.mbr(block)?;
    for block in BLOCKS {
        found.extend(disk.gpt(block)?);
    }
    found.retain(|partition| !partition.range.is_empty());
    found.sort_unstable_by_key(|partition| (partition.range.start, partition.range.end, partition.cluster));
    found.dedup();
    Ok(found)
}

struct Disk<'a> {
    read: &'a Read<'a>,
    size: u64,
}

impl Disk<'_> {
    /// Bytes at an offset; none beyond the end.
    fn bytes(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.size.saturating_sub(offset));
        if length == 0 {
            return Ok(Vec::new());
        }
        (self.read)(offset, length)
    }

    /// As much of a range as the disk has.
    fn clamp(&self, start: u64, end: u64) -> Range<u64> {
        start.min(self.size)..end.min(self.size)
    }

    /// GUID partition table (UEFI 2.10 §5.3): at the second block, at the last, and where either says that the other is.
    fn gpt(&self, block: u64) -> io::Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        let mut at = vec![block, (self.size / block).saturating_sub(1).saturating_mul(block)];
        let mut next = 0;
        while let Some(offset) = at.get(next).copied() {
            next += 1;
            let Some(header) = GptHeader::parse(&self.bytes(offset, block)?) else {
                continue;
            };
            let other = header.alternate.saturating_mul(block);
            if at.len() < 4 && !at.contains(&other) {
                at.push(other);
            }
            let entries = self.bytes(header.entries.saturating_mul(block), header.length())?;
            for entry in entries.chunks_exact(header.entry_size) {
                let kind = &entry[..16];
                if kind.iter().all(|byte| *byte == 0) {
                    continue;
                }
                let first = number(entry, 32, 8);
                let last = number(entry, 40, 8);
                let cluster = match kind {
                    kind if kind == GPFS => Some("GPFS"),
                    kind if kind == VMFS => Some("VMFS"),
                    _ => None,
                };
                let end = last.saturating_add(1).saturating_mul(block);
                let range = self.clamp(first.saturating_mul(block), end);
                partitions.push(Partition { range, cluster });
            }
        }
        Ok(partitions)
    }

    /// The table of a PC's master boot record (UEFI 2.10 §5.2.1), with the chain of logical partitions.
    fn mbr(&self, block: u64) -> io::Result<Vec<Partition>> {
        let mut partitions = Vec::new();
        for entry in mbr_entries(&self.bytes(0, block)?) {
            let start = entry.start.saturating_mul(block);
            partitions.push(self.mbr_partition(&entry, start, block));
            if entry.is_extended() {
                self.logical(start, block, &mut partitions)?;
            }
        }
        Ok(partitions)
    }

    /// Logical partitions: each link of the chain has a partition, placed from the link, and the next link, placed from
    /// the first.
    fn logical(&self, base: u64, block: u64, partitions: &mut Vec<Partition>) -> io::Result<()> {
        let mut link = base;
        for _ in 0..MAX_LOGICAL {
            let mut next = None;
            for entry in mbr_entries(&self.bytes(link, block)?).into_iter().take(2) {
                let start = entry.start.saturating_mul(block);
                if entry.is_extended() {
                    next = Some(base.saturating_add(start));
                } else {
                    partitions.push(self.mbr_partition(&entry, link.saturating_add(start), block));
                }
            }
            match next {
                Some(next) if next > link => link = next,
                _ => break,
            }
        }
        Ok(())
    }

    fn mbr_partition(&self, entry: &MbrEntry, start: u64, block: u64) -> Partition {
        let length = entry.count.saturating_mul(block);
        Partition {
            range: self.clamp(start, start.saturating_add(length)),
            cluster: (entry.kind == 0xfb).then_some("VMFS"),
        }
    }
}

/// What a GPT's header says of the rest.
struct GptHeader {
    /// Block of the other header.
    alternate: u64,
    /// Block at which the entries begin.
    entries: u64,
    entry_size: usize,
    count: u64,
}

impl GptHeader {
    fn parse(block: &[u8]) -> Option<Self> {
        let sized = block.len() >= 92 && block.starts_with(b"EFI PART");
        let entry_size = number(block.get(..92)?, 84, 4);
        // 128 · 2ⁿ; an absurd one is no table
        (sized && (128..=4096).contains(&entry_size)).then(|| Self {
            alternate: number(block, 32, 8),
            entries: number(block, 72, 8),
            entry_size: entry_size as usize,
            count: number(block, 80, 4),
        })
    }

    fn length(&self) -> u64 {
        (self.count * self.entry_size as u64).min(MAX_ENTRIES)
    }
}

struct MbrEntry {
    kind: u8,
    /// Blocks, from where depends on the kind of table.
    start: u64,
    count: u64,
}

impl MbrEntry {
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

/// The entries in use of a boot record; none if it is not one. A GPT's protective entry is none either.
fn mbr_entries(block: &[u8]) -> Vec<MbrEntry> {
    let Some([table @ .., 0x55, 0xaa]) = block.get(446..512) else {
        return Vec::new();
    };
    let entries = table.chunks_exact(16);
    // the boot sector of a FAT file system has the signature too, and code in the table's place
    if entries.clone().any(|entry| entry[0] & 0x7f != 0) {
        return Vec::new();
    }
    let entries = entries.map(|entry| MbrEntry {
        kind: entry[4],
        start: number(entry, 8, 4),
        count: number(entry, 12, 4),
    });
    entries
        .filter(|entry| !matches!(entry.kind, 0 | 0xee) && entry.count > 0)
        .collect()
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(length).rev();
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
pub(super) mod tests;
