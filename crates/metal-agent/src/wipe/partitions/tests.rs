use proptest::prelude::*;

use super::*;

const SIZE: usize = 8 << 20;

fn scanned(disk: &[u8], block: u64) -> Vec<Partition> {
    let read = |offset: u64, length: u64| {
        let end = offset + length;
        assert!(end <= disk.len() as u64, "read up to {end}");
        Ok(disk[offset as usize..end as usize].to_vec())
    };
    scan(&read, disk.len() as u64, block).unwrap()
}

fn ranges(disk: &[u8], block: u64) -> Vec<Range<u64>> {
    scanned(disk, block)
        .into_iter()
        .map(|partition| partition.range)
        .collect()
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..][..bytes.len()].copy_from_slice(bytes);
}

/// One of a GPT's two headers with its entries; entries begin at a block and are (type, first block, last block).
pub(in crate::wipe) fn gpt(
    disk: &mut [u8],
    block: usize,
    header: u64,
    other: u64,
    entries: u64,
    list: &[([u8; 16], u64, u64)],
) {
    let at = header as usize * block;
    put(disk, at, b"EFI PART");
    put(disk, at + 32, &other.to_le_bytes());
    put(disk, at + 72, &entries.to_le_bytes());
    put(disk, at + 80, &128u32.to_le_bytes());
    put(disk, at + 84, &128u32.to_le_bytes());
    for (index, (kind, first, last)) in list.iter().enumerate() {
        let at = entries as usize * block + index * 128;
        put(disk, at, kind);
        put(disk, at + 32, &first.to_le_bytes());
        put(disk, at + 40, &last.to_le_bytes());
    }
}

fn mbr(disk: &mut [u8], at: usize, entries: &[(u8, u32, u32)]) {
    put(disk, at + 510, b"\x55\xaa");
    for (index, (kind, start, count)) in entries.iter().enumerate() {
        let at = at + 446 + index * 16;
        disk[at + 4] = *kind;
        put(disk, at + 8, &start.to_le_bytes());
        put(disk, at + 12, &count.to_le_bytes());
    }
}

#[test]
fn a_gpt_is_read_with_blocks_of_512_and_of_4096_bytes_whatever_the_disk_has() {
    for block in [512, 4096] {
        let mut disk = vec![0; SIZE];
        gpt(
            &mut disk,
            block,
            1,
            2047,
            2,
            &[([1; 16], 256, 511), ([2; 16], 512, 512)],
        );
        let block = block as u64;
        let want = vec![256 * block..512 * block, 512 * block..513 * block];
        let want: Vec<_> = want
            .into_iter()
            .filter(|range| range.end <= SIZE as u64)
            .collect();
        for of_disk in BLOCKS {
            assert_eq!(ranges(&disk, of_disk), want);
        }
    }
}

#[test]
fn the_backup_at_the_end_is_enough() {
    let mut disk = vec![0; SIZE];
    let last = SIZE as u64 / 512 - 1;
    gpt(&mut disk, 512, last, 1, last - 32, &[([1; 16], 2048, 4095)]);
    assert_eq!(ranges(&disk, 512), [1 << 20..2 << 20]);
}

#[test]
fn the_backup_of_a_disk_that_has_grown_is_found_where_the_header_says() {
    let mut disk = vec![0; SIZE];
    gpt(&mut disk, 512, 1, 8000, 2, &[]);
    gpt(&mut disk, 512, 8000, 1, 7968, &[([1; 16], 2048, 4095)]);
    assert_eq!(ranges(&disk, 512), [1 << 20..2 << 20]);
}

#[test]
fn a_partition_beyond_the_end_is_cut_and_one_before_its_start_is_none() {
    let mut disk = vec![0; SIZE];
    let list = [
        ([1; 16], 2048, u64::MAX),
        ([1; 16], 4096, 4000),
        ([1; 16], u64::MAX, u64::MAX),
    ];
    gpt(&mut disk, 512, 1, u64::MAX, 2, &list);
    assert_eq!(ranges(&disk, 512), [1 << 20..SIZE as u64]);
}

#[test]
fn a_master_boot_record_is_read_with_its_chain_of_logical_partitions() {
    let mut disk = vec![0; SIZE];
    mbr(&mut disk, 0, &[(0x83, 2048, 2048), (0x05, 4096, 8192)]);
    mbr(&mut disk, 4096 * 512, &[(0x83, 64, 1024), (0x05, 4096, 2048)]);
    mbr(&mut disk, 8192 * 512, &[(0x82, 128, 512)]);
    let blocks = [2048..4096, 4096..12288, 4160..5184, 8320..8832];
    assert_eq!(
        ranges(&disk, 512),
        blocks.map(|range| range.start * 512..range.end * 512)
    );
}

#[test]
fn a_chain_that_leads_back_ends() {
    let mut disk = vec![0; SIZE];
    mbr(&mut disk, 0, &[(0x0f, 2048, 8192)]);
    mbr(&mut disk, 2048 * 512, &[(0x83, 1, 1), (0x05, 2048, 1)]);
    mbr(&mut disk, 4096 * 512, &[(0x83, 1, 1), (0x05, 0, 1)]);
    assert_eq!(ranges(&disk, 512).len(), 3);
}

#[test]
fn a_protective_entry_and_a_file_systems_boot_sector_are_no_partitions() {
    let mut disk = vec![0; SIZE];
    mbr(&mut disk, 0, &[(0xee, 1, 16383)]);
    assert_eq!(ranges(&disk, 512), []);
    mbr(&mut disk, 0, &[(0x83, 2048, 2048)]);
    disk[446 + 16] = 0x41; // code, where an entry's status would be
    assert_eq!(ranges(&disk, 512), []);
}

#[test]
fn the_type_of_a_partition_names_its_cluster_file_system() {
    let mut disk = vec![0; SIZE];
    let guid = |text: &str| uuid::Uuid::parse_str(text).unwrap().to_bytes_le();
    let list = [
        (guid("37AFFC90-EF7D-4E96-91C3-2D7AE055B174"), 2048, 4095),
        (guid("AA31E02A-400F-11DB-9590-000C2911D1B8"), 4096, 6143),
        (guid("0FC63DAF-8483-4772-8E79-3D69D8477DE4"), 6144, 8191),
    ];
    gpt(&mut disk, 512, 1, 2, 2, &list);
    let clusters = scanned(&disk, 512).into_iter().map(|partition| partition.cluster);
    assert_eq!(clusters.collect::<Vec<_>>(), [Some("GPFS"), Some("VMFS"), None]);
    let mut disk = vec![0; SIZE];
    mbr(&mut disk, 0, &[(0xfb, 2048, 2048)]);
    assert_eq!(scanned(&disk, 512)[0].cluster, Some("VMFS"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Reads stay on the disk and partitions too, whatever a table says.
    #[test]
    fn any_bytes_are_a_table(
        mut disk in prop::collection::vec(any::<u8>(), 0..40).prop_map(|blocks| blocks.iter().flat_map(|b| [*b; 512]).collect::<Vec<u8>>()),
        bytes in prop::collection::vec(any::<u8>(), 92),
        entry_size in 0u32..300,
        entries in prop::collection::vec((0usize..4, any::<u8>(), any::<u32>(), any::<u32>()), 4),
    ) {
        if disk.len() >= 1024 {
            put(&mut disk, 512, &bytes);
            put(&mut disk, 512, b"EFI PART");
            put(&mut disk, 512 + 84, &entry_size.to_le_bytes());
            let table: Vec<_> = entries.iter().map(|(_, kind, start, count)| (*kind, *start % 64, *count)).collect();
            mbr(&mut disk, 0, &table);
        }
        for block in BLOCKS {
            for partition in scanned(&disk, block) {
                prop_assert!(partition.range.end <= disk.len() as u64);
            }
        }
    }
}
