//! Erases one disk by method `auto`: discard, zeros over both ends of the disk and of each partition, read back.

use std::cell::Cell;
use std::io;
use std::ops::Range;

use hardware_types::wipe::Erased;

use super::cluster;
use super::device::{Buffer, Device};
use super::partitions::{self, Partition, Read};

/// How much of each end is overwritten; also how much is written or read at once.
pub(crate) const EDGE: u64 = 1 << 20;
/// A disk is discarded in so many parts at most, so that one that is slow at it shows that it lives.
const DISCARD_PARTS: u64 = 64;
/// Parts are multiples of this, which every disk's granularity divides.
const DISCARD_UNIT: u64 = 1 << 30;

/// Why a disk is not erased.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EraseError {
    /// Some access failed.
    #[error("cannot {action} at offset {offset}: {source}")]
    Access {
        action: &'static str,
        offset: u64,
        source: io::Error,
    },
    /// What was written may not have reached the disk.
    #[error("cannot make the zeros durable: {0}")]
    Flush(io::Error),
    /// The disk did not keep what was written.
    #[error("the byte at offset {offset} reads back as {value:#04x} after zeros were written")]
    NotZero { offset: u64, value: u8 },
}

/// The partitions that the tables on a disk name.
pub(crate) fn scan(device: &impl Device) -> Result<Vec<Partition>, EraseError> {
    looking(device, "read the partition table", |read| {
        partitions::scan(read, device.size(), device.block())
    })
}

/// The cluster file system that is on a disk or on one of its partitions.
pub(crate) fn cluster(
    device: &impl Device,
    partitions: &[Range<u64>],
) -> Result<Option<&'static str>, EraseError> {
    looking(device, "look for a file system", |read| {
        let starts = partitions.iter().map(|range| range.start);
        for start in std::iter::once(0).chain(starts) {
            if let Some(name) = cluster::file_system(read, start)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    })
}

/// Reads a disk for some purpose; an error says where.
fn looking<T>(
    device: &impl Device,
    purpose: &'static str,
    look: impl FnOnce(&Read<'_>) -> io::Result<T>,
) -> Result<T, EraseError> {
    let last = Cell::new(0);
    let read = |offset, length| {
        last.set(offset);
        read(device, offset, length)
    };
    look(&read).map_err(|source| access(purpose, last.get())(source))
}

/// Bytes of a disk, wherever they begin and end; fewer where the disk ends.
fn read(device: &impl Device, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let end = offset.saturating_add(length).min(device.size());
    let whole = aligned(&(offset..end), device);
    let mut buffer = Buffer::new(usize::try_from(whole.end - whole.start).unwrap_or_default());
    let bytes = buffer.first((whole.end - whole.start) as usize);
    read_fully(device, whole.start, bytes).map_err(|(_, error)| error)?;
    let skipped = (offset.min(end) - whole.start.min(end)) as usize;
    Ok(bytes[skipped..][..end.saturating_sub(offset) as usize].to_vec())
}

/// Erases a disk with these partitions. `done` hears how many more bytes were dealt with, [`work`] in all.
///
/// Both ends of the disk come last and are never discarded: they hold the tables by which a wipe that was interrupted
/// finds the partitions again.
pub(crate) fn erase(
    device: &impl Device,
    partitions: &[Range<u64>],
    done: &mut dyn FnMut(u64),
) -> Result<Erased, EraseError> {
    let plan = Plan::new(device, partitions);
    let discarded = discard(device, &plan.middle, done);
    let mut buffer = Buffer::new(EDGE as usize);
    let chunks = || plan.ranges.iter().flat_map(chunks);
    let zeros = buffer.first(EDGE as usize);
    for chunk in chunks() {
        let length = chunk.end - chunk.start;
        write_fully(device, chunk.start, &zeros[..length as usize])?;
        done(length);
    }
    device.flush().map_err(EraseError::Flush)?;
    let mut zeroed_bytes = 0;
    for chunk in chunks() {
        let length = chunk.end - chunk.start;
        read_back(device, chunk.start, buffer.first(length as usize))?;
        zeroed_bytes += length;
        done(length);
    }
    Ok(Erased {
        discarded,
        zeroed_bytes,
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
    })
}

/// The bytes that [`erase`] deals with: what is discarded, written and read.
pub(crate) fn work(device: &impl Device, partitions: &[Range<u64>]) -> u64 {
    let Plan { middle, ranges } = Plan::new(device, partitions);
    let zeroed: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    (middle.end - middle.start) + 2 * zeroed
}

/// Which bytes are discarded, and which overwritten, in this order.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    middle: Range<u64>,
    ranges: Vec<Range<u64>>,
}

impl Plan {
    fn new(device: &impl Device, partitions: &[Range<u64>]) -> Self {
        let disk = 0..device.size();
        let [head, tail] = edges(&disk).map(|edge| aligned(&edge, device));
        let middle = head.end..tail.start.max(head.end);
        let inner = partitions.iter().flat_map(edges).map(|edge| {
            let edge = aligned(&edge, device);
            edge.start.max(middle.start)..edge.end.min(middle.end)
        });
        let mut ranges = merge(inner.collect());
        ranges.extend(merge(vec![tail, head]));
        Self { middle, ranges }
    }
}

/// The first and the last [`EDGE`] of a range; they overlap in a small one.
fn edges(range: &Range<u64>) -> [Range<u64>; 2] {
    let length = EDGE.min(range.end.saturating_sub(range.start));
    [range.start..range.start + length, range.end - length..range.end]
}

/// The blocks that a range touches.
fn aligned(range: &Range<u64>, device: &impl Device) -> Range<u64> {
    let block = device.block().max(1);
    let start = range.start / block * block;
    let end = range.end.div_ceil(block).saturating_mul(block).min(device.size());
    start.min(end)..end
}

/// The same bytes in ranges that are in order and do not touch.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// A range in parts of [`EDGE`].
fn chunks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let Range { start, end } = *range;
    let starts = (start..end).step_by(EDGE as usize);
    starts.map(move |start| start..end.min(start + EDGE))
}

/// Whether the disk took it all; the first refusal ends it, and stops nothing else.
fn discard(device: &impl Device, range: &Range<u64>, done: &mut dyn FnMut(u64)) -> bool {
    let part = ((range.end - range.start) / DISCARD_PARTS)
        .next_multiple_of(DISCARD_UNIT)
        .max(DISCARD_UNIT);
    let mut taken = true;
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min((start / part + 1) * part);
        taken = taken && device.discard(start, end - start).is_ok();
        done(end - start);
        start = end;
    }
    taken
}

fn write_fully(device: &impl Device, offset: u64, bytes: &[u8]) -> Result<(), EraseError> {
    let mut written = 0;
    while written < bytes.len() {
        let at = offset + written as u64;
        match retried(|| device.write(at, &bytes[written..])).map_err(access("write", at))? {
            0 => return Err(access("write", at)(io::ErrorKind::WriteZero.into())),
            more => written += more,
        }
    }
    Ok(())
}

fn read_back(device: &impl Device, offset: u64, bytes: &mut [u8]) -> Result<(), EraseError> {
    // what the disk leaves alone is no zero
    bytes.fill(0xff);
    read_fully(device, offset, bytes).map_err(|(at, source)| access("read back", at)(source))?;
    if is_zero(bytes) {
        return Ok(());
    }
    let at = bytes.iter().take_while(|byte| **byte == 0).count();
    Err(EraseError::NotZero {
        offset: offset + at as u64,
        value: bytes.get(at).copied().unwrap_or_default(),
    })
}

/// By blocks, which even a debug build compares quickly.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Fills the buffer; an error comes with its offset.
fn read_fully(device: &impl Device, offset: u64, bytes: &mut [u8]) -> Result<(), (u64, io::Error)> {
    let mut read = 0;
    while read < bytes.len() {
        let at = offset + read as u64;
        match retried(|| device.read(at, &mut bytes[read..])).map_err(|error| (at, error))? {
            0 => return Err((at, io::ErrorKind::UnexpectedEof.into())),
            more => read += more,
        }
    }
    Ok(())
}

/// Once more when a signal came between.
fn retried(mut access: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match access() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            done => return done,
        }
    }
}

fn access(action: &'static str, offset: u64) -> impl FnOnce(io::Error) -> EraseError {
    move |source| EraseError::Access {
        action,
        offset,
        source,
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
mod tests;
