//! The boot image without its zeros: how it travels in the initramfs that installs it.

use std::io::{self, Write};

/// What a sparse image begins with.
const MAGIC: &[u8; 8] = b"LABIMG 1";
/// Zeros are left out in whole blocks.
const BLOCK: usize = 4096;

/// Bytes of the boot image on a disk; the state's partition begins where it ends.
pub const SIZE: u64 = 64 << 20;

/// Why bytes are no sparse image, or why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Not what [`encode`] makes.
    #[error("the boot image in this initramfs is damaged: {0}")]
    Damaged(&'static str),
    /// The disk did not take it.
    #[error("cannot write the boot image: {0}")]
    Write(#[from] io::Error),
}

/// Leaves out blocks of zeros: magic, then parts of offset, length (both u32, little endian) and bytes, then an empty part
/// whose offset is the image's size.
pub fn encode(image: &[u8]) -> Vec<u8> {
    let mut sparse = MAGIC.to_vec();
    let mut part = |offset: usize, bytes: &[u8]| {
        sparse.extend((offset as u32).to_le_bytes());
        sparse.extend((bytes.len() as u32).to_le_bytes());
        sparse.extend(bytes);
    };
    let is_data = |at: usize| {
        image[at..image.len().min(at + BLOCK)]
            .iter()
            .any(|byte| *byte != 0)
    };
    let mut at = 0;
    while at < image.len() {
        let first = at;
        while at < image.len() && is_data(at) {
            at += BLOCK;
        }
        if at > first {
            part(first, &image[first..at.min(image.len())]);
        }
        at += BLOCK;
    }
    part(image.len(), &[]);
    sparse
}

/// Writes the whole image, with its zeros: what stood on the disk may not show through. Returns its size in bytes.
pub fn write(mut sparse: &[u8], disk: &mut impl Write) -> Result<u64, ImageError> {
    sparse = sparse
        .strip_prefix(MAGIC)
        .ok_or(ImageError::Damaged("it does not begin as one"))?;
    let cut = || ImageError::Damaged("it is cut off");
    let mut at = 0;
    loop {
        let (offset, rest) = sparse.split_first_chunk::<4>().ok_or_else(cut)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*length));
        let hole = u64::from(offset)
            .checked_sub(at)
            .ok_or(ImageError::Damaged("its parts are out of order"))?;
        io::copy(&mut io::Read::take(io::repeat(0), hole), disk)?;
        let (bytes, rest) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
        disk.write_all(bytes)?;
        at = u64::from(offset) + u64::from(length);
        if length == 0 {
            return Ok(at);
        }
        sparse = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(sparse: &[u8]) -> Result<Vec<u8>, ImageError> {
        let mut disk = Vec::new();
        let size = write(sparse, &mut disk)?;
        assert_eq!(size, disk.len() as u64);
        Ok(disk)
    }

    #[test]
    fn zeros_are_left_out_and_come_back() {
        let mut image = vec![0; 1 << 20];
        image[0] = 1;
        image[BLOCK * 7 + 5] = 2;
        image[BLOCK * 8] = 3;
        let sparse = encode(&image);
        assert!(sparse.len() < 4 * BLOCK, "{}", sparse.len());
        assert!(read_back(&sparse).unwrap() == image);
    }

    #[test]
    fn an_image_that_is_cut_off_or_something_else_is_refused() {
        let sparse = encode(&[1; 100]);
        for length in 0..sparse.len() {
            assert!(read_back(&sparse[..length]).is_err(), "{length} bytes");
        }
        let mut backwards = MAGIC.to_vec();
        backwards.extend([8, 0, 0, 0, 1, 0, 0, 0, 9]);
        backwards.extend([0; 8]);
        assert!(matches!(read_back(&backwards), Err(ImageError::Damaged(why)) if why.contains("order")));
    }

    proptest! {
        #[test]
        fn any_image_comes_back(blocks in proptest::collection::vec(any::<bool>(), 0..6), tail in 0..BLOCK) {
            let mut image: Vec<u8> = blocks.iter().flat_map(|full| vec![u8::from(*full); BLOCK]).collect();
            image.extend(vec![1; tail]);
            prop_assert!(read_back(&encode(&image)).unwrap() == image);
        }
    }
}
