//! A disk in memory that fails as disks do.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use super::device::{ALIGNMENT, Device};

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Discards do as they should.
    Discards,
    /// A discard is taken and nothing happens.
    DiscardsNothing,
    /// Each write and read handles one block.
    Short,
    /// Writes of the block at this offset are taken and forgotten.
    Forgets(u64),
    /// The block at this offset can be neither read nor written.
    Bad(u64),
    /// The block at this offset can be written once, not read any more.
    Unreadable(u64),
    /// Nothing becomes durable.
    NoFlush,
    /// Nothing ever answers, until it is let go.
    Hangs,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) bytes: Vec<u8>,
    pub(super) written: Vec<Range<u64>>,
    pub(super) discarded: Vec<Range<u64>>,
    released: bool,
}

/// A handle on the disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(super) struct FakeDisk {
    state: Arc<(Mutex<State>, Condvar)>,
    pub(super) fault: Fault,
    pub(super) block: u64,
}

impl FakeDisk {
    pub(super) fn new(bytes: Vec<u8>, fault: Fault) -> Self {
        let state = State {
            bytes,
            ..State::default()
        };
        Self {
            state: Arc::new((Mutex::new(state), Condvar::new())),
            fault,
            block: 512,
        }
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }

    /// Lets go whoever waits for a disk that hangs.
    pub(super) fn release(&self) {
        self.state().released = true;
        self.state.1.notify_all();
    }

    /// Checks what direct IO demands; returns how many bytes are handled.
    fn access(&self, offset: u64, buffer: &[u8], bad: Option<u64>) -> io::Result<usize> {
        if self.fault == Fault::Hangs {
            let waiting = self.state.1.wait_while(self.state(), |state| !state.released);
            drop(waiting.unwrap());
            return Err(io::ErrorKind::TimedOut.into());
        }
        let length = buffer.len() as u64;
        assert!(length > 0 && offset + length <= self.size(), "{offset} {length}");
        assert_eq!(
            (offset % self.block, length % self.block),
            (0, 0),
            "{offset} {length}"
        );
        assert_eq!(buffer.as_ptr().align_offset(ALIGNMENT) % self.block as usize, 0);
        match bad {
            Some(bad) if bad == offset => Err(io::Error::from_raw_os_error(5)),
            // as far as the medium is well
            Some(bad) if (offset..offset + length).contains(&bad) => Ok((bad - offset) as usize),
            _ if self.fault == Fault::Short => Ok(self.block as usize),
            _ => Ok(buffer.len()),
        }
    }
}

impl Device for FakeDisk {
    fn size(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    fn block(&self) -> u64 {
        self.block
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bad = match self.fault {
            Fault::Bad(bad) => Some(bad),
            Fault::Unreadable(bad) if !self.state().written.is_empty() => Some(bad),
            _ => None,
        };
        let length = self.access(offset, buffer, bad)?;
        buffer[..length].copy_from_slice(&self.state().bytes[offset as usize..][..length]);
        Ok(length)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let bad = match self.fault {
            Fault::Bad(bad) => Some(bad),
            _ => None,
        };
        let length = self.access(offset, bytes, bad)?;
        let block = self.block as usize;
        let mut state = self.state();
        let at = offset as usize;
        let kept = match self.fault {
            Fault::Forgets(lost) if (offset..offset + length as u64).contains(&lost) => {
                let lost = lost as usize;
                Some((lost, state.bytes[lost..][..block].to_vec()))
            }
            _ => None,
        };
        state.bytes[at..][..length].copy_from_slice(&bytes[..length]);
        if let Some((lost, old)) = kept {
            state.bytes[lost..][..block].copy_from_slice(&old);
        }
        state.written.push(offset..offset + length as u64);
        Ok(length)
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.state();
        match self.fault {
            Fault::Discards => state.bytes[offset as usize..][..length as usize].fill(0),
            Fault::DiscardsNothing => (),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        state.discarded.push(offset..offset + length);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if self.fault == Fault::NoFlush {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}
