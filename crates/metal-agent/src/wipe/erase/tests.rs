use proptest::prelude::*;

use super::super::fake::{FakeDisk, Fault};
use super::*;

const MIB: u64 = EDGE;

fn disk(mib: u64, fault: Fault) -> FakeDisk {
    FakeDisk::new(vec![0xa5; (mib * MIB) as usize], fault)
}

/// The ranges of a disk that have a byte of the old pattern left, in MiB.
fn left(disk: &FakeDisk) -> Vec<Range<u64>> {
    let state = disk.state();
    let mib = |index: usize| index as u64..index as u64 + 1;
    let chunks = state.bytes.chunks(MIB as usize).enumerate();
    merge(
        chunks
            .filter(|(_, chunk)| !is_zero(chunk))
            .map(|(index, _)| mib(index))
            .collect(),
    )
}

#[test]
fn both_ends_of_the_disk_and_of_each_partition_are_zeroed_and_the_rest_is_left() {
    let disk = disk(20, Fault::None);
    let partitions = [MIB..6 * MIB, 8 * MIB..20 * MIB - 17 * 512];
    let mut heard = 0;
    let erased = erase(&disk, &partitions, &mut |more| heard += more).unwrap();
    assert_eq!(left(&disk), [2..5, 6..8, 9..19]);
    // of the last tail 17 blocks are not the disk's own tail too
    let zeroed_bytes = 5 * MIB + 17 * 512;
    assert_eq!(
        erased,
        Erased {
            discarded: false,
            zeroed_bytes,
            partitions: 2
        }
    );
    assert_eq!(heard, work(&disk, &partitions));
}

#[test]
fn the_ends_of_the_disk_come_last_and_are_not_discarded() {
    let disk = disk(20, Fault::Discards);
    let erased = erase(&disk, &[2 * MIB..6 * MIB, MIB / 2..2 * MIB], &mut |_| ()).unwrap();
    assert!(erased.discarded);
    assert_eq!(left(&disk), []);
    let state = disk.state();
    assert_eq!(state.discarded, [MIB..19 * MIB]);
    assert_eq!(state.written.last_chunk(), Some(&[0..MIB, 19 * MIB..20 * MIB]));
    let inner = &state.written[..state.written.len() - 2];
    assert!(
        inner
            .iter()
            .all(|range| range.start >= MIB && range.end <= 19 * MIB),
        "{inner:?}"
    );
}

#[test]
fn a_discard_that_does_nothing_changes_no_claim_about_zeros() {
    let disk = disk(8, Fault::DiscardsNothing);
    let erased = erase(&disk, &[3 * MIB..5 * MIB], &mut |_| ()).unwrap();
    assert_eq!((erased.discarded, erased.zeroed_bytes), (true, 4 * MIB));
    assert_eq!(left(&disk), [1..3, 5..7]);
}

#[test]
fn small_disks_are_zeroed_whole() {
    for blocks in [1, 7, 2048, 3000, 4096] {
        let disk = FakeDisk::new(vec![0xa5; blocks * 512], Fault::Discards);
        let erased = erase(&disk, &[512..1024], &mut |_| ()).unwrap();
        assert_eq!(erased.zeroed_bytes, blocks as u64 * 512);
        assert_eq!(left(&disk), []);
        assert_eq!(disk.state().discarded, []);
    }
}

#[test]
fn a_large_disk_is_discarded_in_parts_that_show_progress() {
    let parts = |size: u64| {
        let parts = std::cell::RefCell::new(Vec::new());
        discard(&Huge(size, &parts), &(MIB..size - MIB), &mut |_| ());
        parts.into_inner()
    };
    let small = parts(3 << 30);
    assert_eq!(small, [MIB..1 << 30, 1 << 30..2 << 30, 2 << 30..(3 << 30) - MIB]);
    let large = parts(20_000_588_955_648);
    assert!((60..=65).contains(&large.len()), "{}", large.len());
    assert!(
        large
            .windows(2)
            .all(|pair| pair[0].end == pair[1].start && pair[0].end.is_multiple_of(1 << 30))
    );
}

/// A disk of any size, to be discarded only.
struct Huge<'a>(u64, &'a std::cell::RefCell<Vec<Range<u64>>>);

impl Device for Huge<'_> {
    fn size(&self) -> u64 {
        self.0
    }
    fn block(&self) -> u64 {
        512
    }
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        unreachable!()
    }
    fn write(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        unreachable!()
    }
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.1.borrow_mut().push(offset..offset + length);
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        unreachable!()
    }
}

#[test]
fn every_fault_is_named_with_its_place() {
    let at = 2 * MIB + 5 * 512;
    let cases = [
        (
            Fault::Forgets(at),
            "the byte at offset 2099712 reads back as 0xa5 after zeros were written",
        ),
        (
            Fault::Bad(at),
            "cannot write at offset 2099712: Input/output error",
        ),
        (
            Fault::Unreadable(at),
            "cannot read back at offset 2099712: Input/output error",
        ),
        (
            Fault::NoFlush,
            "cannot make the zeros durable: Input/output error",
        ),
    ];
    for (fault, text) in cases {
        let disk = disk(8, fault);
        let error = erase(&disk, &[2 * MIB..4 * MIB], &mut |_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{fault:?}: {error}");
    }
    // what is on the disk is a fault only where it has to be read
    let error = scan(&disk(8, Fault::Bad(512))).unwrap_err().to_string();
    assert!(
        error.contains("cannot read the partition table at offset 512"),
        "{error}"
    );
}

#[test]
fn any_bytes_of_a_disk_are_read_through_whole_blocks() {
    let bytes: Vec<u8> = (0..16384u32).map(|index| (index % 251) as u8).collect();
    let mut disk = FakeDisk::new(bytes.clone(), Fault::Short);
    disk.block = 4096;
    for (offset, length) in [(0, 1), (4095, 2), (4096, 4096), (511, 9000), (16383, 1)] {
        let want = &bytes[offset as usize..][..length as usize];
        assert_eq!(read(&disk, offset, length).unwrap(), want, "{offset} {length}");
    }
    assert_eq!(read(&disk, 16000, 9000).unwrap(), bytes[16000..]);
    assert_eq!(read(&disk, 16384, 1).unwrap(), b"");
    assert_eq!(read(&disk, u64::MAX, 1).unwrap(), b"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_there_was_both_ends_of_everything_are_zero_and_what_is_certified_was_written(
        blocks in 1u64..3000,
        block in prop::sample::select(vec![512u64, 4096]),
        partitions in prop::collection::vec((0u64..12_000_000, 0u64..12_000_000), 0..5),
        fault in prop::sample::select(vec![Fault::None, Fault::Discards, Fault::DiscardsNothing]),
    ) {
        let size = blocks * 4096;
        let mut disk = FakeDisk::new(vec![0xa5; size as usize], fault);
        disk.block = block;
        let partitions: Vec<_> = partitions
            .into_iter()
            .map(|(one, other)| (one.min(other) % size)..(one.max(other) % size))
            .filter(|range| range.start < range.end)
            .collect();
        let erased = erase(&disk, &partitions, &mut |_| ()).unwrap();
        let state = disk.state();
        let whole = 0..size;
        for range in partitions.iter().chain([&whole]) {
            for edge in edges(range) {
                prop_assert!(is_zero(&state.bytes[edge.start as usize..edge.end as usize]), "{edge:?} of {range:?}");
            }
        }
        let written: u64 = state.written.iter().map(|range| range.end - range.start).sum();
        prop_assert_eq!(erased.zeroed_bytes, written);
        let distinct: u64 = merge(state.written.clone()).iter().map(|range| range.end - range.start).sum();
        prop_assert_eq!(distinct, written, "nothing is written twice");
    }
}
