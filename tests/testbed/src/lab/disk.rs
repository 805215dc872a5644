//! What was on a disk before a wipe: a partition table and marks at known places, and what is found there afterwards.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::LINUX_FS;

/// Bytes of a block, which the partition table counts in.
const BLOCK: u64 = 512;
/// Blocks of the backup of the partition table, at the disk's end.
const BACKUP_TABLE: u64 = 33;
/// Bytes of the partition table, at the disk's begin.
const TABLE: u64 = 34 * BLOCK;
const MIB: u64 = 1 << 20;

/// The partitions: name, first byte, bytes. The disk's middle lies between them.
const PARTITIONS: [(&str, u64, u64); 2] = [("first", MIB, 256 * MIB), ("second", 640 * MIB, 256 * MIB)];

/// A place on a disk, with bytes that are nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What the place is.
    pub place: &'static str,
    /// Its first byte, from the disk's begin.
    pub offset: u64,
    /// Whether a partition table, a volume or a file system is found by what stands here: in the first or last MiB of the disk
    /// or of a partition.
    pub is_metadata: bool,
}

/// What stands at a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The mark, untouched.
    Mark,
    /// Zeros only.
    Zeros,
    /// Something else, or only part of the mark.
    Other,
}

impl Mark {
    /// Bytes of a mark.
    pub const LENGTH: usize = 4096;

    /// What was written there.
    pub fn bytes(&self) -> Vec<u8> {
        let line = format!("{} of a disk that was not wiped\n", self.place);
        line.bytes().cycle().take(Self::LENGTH).collect()
    }

    /// All marks of a disk of `size` bytes.
    fn all(size: u64) -> [Self; 7] {
        let length = Self::LENGTH as u64;
        let [(_, first, first_size), (_, second, second_size)] = PARTITIONS;
        let table_end = TABLE.next_multiple_of(length);
        let backup = size - (BACKUP_TABLE * BLOCK).next_multiple_of(length);
        [
            ("head", table_end, true),
            ("middle", size / 2, false),
            ("tail", backup - length, true),
            ("head of the first partition", first, true),
            ("tail of the first partition", first + first_size - length, true),
            ("head of the second partition", second, true),
            (
                "tail of the second partition",
                second + second_size - length,
                true,
            ),
        ]
        .map(|(place, offset, is_metadata)| Self {
            place,
            offset,
            is_metadata,
        })
    }

    /// What stands there in the file that is the disk.
    pub(super) fn look(&self, disk: &Path) -> anyhow::Result<Found> {
        let bytes = read(disk, self.offset, Self::LENGTH)?;
        Ok(if bytes == self.bytes() {
            Found::Mark
        } else if bytes.iter().all(|byte| *byte == 0) {
            Found::Zeros
        } else {
            Found::Other
        })
    }
}

/// Bytes of the file that is a disk.
pub(super) fn read(disk: &Path, offset: u64, length: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let file = File::open(disk).with_context(|| format!("cannot open {}", disk.display()))?;
    file.read_exact_at(&mut bytes, offset)
        .with_context(|| format!("cannot read {length} bytes at {offset} of {}", disk.display()))?;
    Ok(bytes)
}

/// Makes a disk of `size` bytes that was used: two partitions (GPT), and the marks. What it was before is gone.
pub(super) fn make_used(disk: &Path, size: u64) -> anyhow::Result<[Mark; 7]> {
    let marks = Mark::all(size);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(disk)
        .with_context(|| format!("cannot make {}", disk.display()))?;
    file.set_len(size)?;
    partition(&file, size).with_context(|| format!("cannot partition {}", disk.display()))?;
    for mark in marks {
        file.write_all_at(&mark.bytes(), mark.offset)?;
    }
    file.sync_all()?;
    Ok(marks)
}

fn partition(mut file: &File, size: u64) -> anyhow::Result<()> {
    let blocks = u32::try_from(size / BLOCK - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(blocks).overwrite_lba0(&mut file)?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(file, None)?;
    for (name, offset, size) in PARTITIONS {
        let id = table
            .find_next_partition_id()
            .context("the partition table is full")?;
        table.add_partition_at(name, id, offset / BLOCK, size / BLOCK, LINUX_FS, 0)?;
    }
    table.write()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1024 * MIB;

    fn disk() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.raw");
        (folder, disk)
    }

    #[test]
    fn a_used_disk_has_the_partitions_whose_ends_are_marked() {
        let (_folder, disk) = disk();
        let marks = make_used(&disk, SIZE).unwrap();
        let table = GptConfig::new().open(&disk).unwrap();
        assert!(table.primary_header().is_ok() && table.backup_header().is_ok());
        let mut ends = Vec::new();
        for partition in table.partitions().values() {
            ends.push(partition.first_lba * BLOCK);
            ends.push((partition.last_lba + 1) * BLOCK - Mark::LENGTH as u64);
        }
        let marked: Vec<_> = marks[3..].iter().map(|mark| mark.offset).collect();
        assert_eq!(ends, marked);
    }

    #[test]
    fn metadata_marks_are_within_a_mebibyte_of_an_end_and_the_others_are_not() {
        let mut ends = vec![(0, SIZE)];
        ends.extend(PARTITIONS.map(|(_, offset, size)| (offset, offset + size)));
        for mark in Mark::all(SIZE) {
            let end = mark.offset + Mark::LENGTH as u64;
            let near = ends.iter().any(|(first, last)| {
                (*first..first + MIB).contains(&mark.offset) || (last - MIB..=*last).contains(&end)
            });
            assert_eq!(near, mark.is_metadata, "{mark:?}");
        }
    }

    #[test]
    fn each_mark_is_told_from_zeros_and_from_any_other_bytes() {
        let (_folder, disk) = disk();
        let marks = make_used(&disk, SIZE).unwrap();
        let look = |mark: &Mark| mark.look(&disk).unwrap();
        assert!(marks.iter().all(|mark| look(mark) == Found::Mark));
        let file = File::options().write(true).open(&disk).unwrap();
        file.write_all_at(&[0; Mark::LENGTH - 1], marks[0].offset)
            .unwrap();
        file.write_all_at(&[0; Mark::LENGTH], marks[1].offset).unwrap();
        let found: Vec<_> = marks.iter().map(look).collect();
        assert_eq!(found[..3], [Found::Other, Found::Zeros, Found::Mark]);
        let past_the_end = read(&disk, SIZE, 1).unwrap_err().to_string();
        assert!(past_the_end.contains(&SIZE.to_string()), "{past_the_end}");
    }
}
