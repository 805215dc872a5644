//! Signs of file systems that several machines have mounted at once.

use std::io;

use super::partitions::Read;

/// Where each has its mark, from the start of the disk or partition, and the mark.
const MARKS: [(&str, u64, &[u8]); 3] = [
    ("GFS2", 64 << 10, b"\x01\x16\x19\x70"),
    // the volume's header, and the file system's
    ("VMFS", 1 << 20, b"\x0d\xd0\x01\xc0"),
    ("VMFS", 2 << 20, b"\x5e\xf1\xab\x2f"),
];
/// A disk that is a GPFS member without a partition table says so in words, somewhere in its first blocks.
const NSD: (&[u8], u64) = (b"NSD descriptor for", 16 << 10);

/// The cluster file system that begins at an offset.
pub(crate) fn file_system(read: &Read<'_>, start: u64) -> io::Result<Option<&'static str>> {
    for (name, offset, mark) in MARKS {
        if read(start.saturating_add(offset), mark.len() as u64)? == mark {
            return Ok(Some(name));
        }
    }
    let (words, length) = NSD;
    let head = read(start, length)?;
    let is_member = head.windows(words.len()).any(|window| window == words);
    Ok(is_member.then_some("GPFS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found at a start of 4 MiB on an otherwise empty disk with these bytes.
    fn found(at: usize, bytes: &[u8]) -> Option<&'static str> {
        let mut disk = vec![0; 8 << 20];
        disk[at..][..bytes.len()].copy_from_slice(bytes);
        let read = |offset: u64, length: u64| {
            let from = disk.len().min(offset as usize);
            Ok(disk[from..disk.len().min(from + length as usize)].to_vec())
        };
        file_system(&read, 4 << 20).unwrap()
    }

    #[test]
    fn each_is_known_by_its_mark_in_its_place() {
        let start = 4 << 20;
        assert_eq!(found(start + (64 << 10), b"\x01\x16\x19\x70"), Some("GFS2"));
        assert_eq!(found(start + (1 << 20), b"\x0d\xd0\x01\xc0"), Some("VMFS"));
        assert_eq!(found(start + (2 << 20), b"\x5e\xf1\xab\x2f"), Some("VMFS"));
        assert_eq!(
            found(start + 1024, b"NSD descriptor for /dev/sdb created by GPFS"),
            Some("GPFS")
        );
        assert_eq!(
            found(start + 512, b"\x01\x16\x19\x70"),
            None,
            "elsewhere it means nothing"
        );
        assert_eq!(found(0, b""), None);
    }
}
