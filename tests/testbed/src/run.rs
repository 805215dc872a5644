//! One run of the test bed on this machine: its number, its folder, and what a dead run left behind.
//!
//! A run holds the lock of one slot for as long as its process lives; the kernel drops the lock with the process,
//! however that ends. Everything a run makes carries its slot's number, so whoever takes the base lock next can
//! tell what belongs to nobody any more, and removes it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::leftovers;
use crate::network::Network;

/// Runs that may be alive at once on one machine; each has its own subnet.
const SLOTS: u8 = 64;

/// The number of a run: names its folder, network namespace and subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u8);

impl Slot {
    /// All slots of the machine.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// The folder of this slot's run.
    pub fn folder(self) -> PathBuf {
        base().join(self.0.to_string())
    }

    /// Takes the slot's lock unless a living run holds it.
    fn try_lock(self) -> anyhow::Result<Option<File>> {
        let path = base().join(format!("{}.lock", self.0));
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Whether a living run holds this slot.
    pub fn is_live(self) -> bool {
        matches!(self.try_lock(), Ok(None))
    }
}

/// Where runs live: on disk, since etcd preallocates 120 MB and machines have disks.
fn base() -> &'static Path {
    Path::new("/var/tmp/metal-testbed")
}

/// Makes the folder of all runs. Nobody else may own it: we write there as root.
fn make_base() -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let path = base();
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make {}", path.display()));
        }
        _ => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        bail!("{} is not root's own folder: remove it", path.display());
    }
    Ok(())
}

/// Keeps other runs from starting, and so from cleaning up, until it is dropped.
pub(crate) fn lock_base() -> anyhow::Result<File> {
    let path = base().join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    lock.lock()?;
    Ok(lock)
}

/// A run that is alive: its slot's lock, folder and network. Dropping it removes everything it made.
#[derive(Debug)]
pub struct Run {
    slot: Slot,
    network: Network,
    _lock: File,
}

impl Run {
    /// Removes what dead runs left, then takes the lowest free slot and makes its folder and network.
    ///
    /// # Errors
    /// Not root, no free slot, or the network namespace cannot be made; each says what to do.
    pub fn start() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("the test bed makes network namespaces and must run as root: sudo -E cargo xtask …");
        }
        make_base()?;
        let _base_lock = lock_base()?;
        let mut free = None;
        for slot in Slot::all() {
            // A run makes its folder first and removes it last.
            let used = slot.folder().exists();
            if !used && free.is_some() {
                continue;
            }
            let Some(lock) = slot.try_lock()? else { continue };
            if used && let Err(error) = leftovers::remove(slot) {
                // One slot that cannot be cleaned must not stop the others.
                eprintln!("run {} is dead and not all of it goes away: {error:#}", slot.0);
                continue;
            }
            free = free.or(Some((slot, lock)));
        }
        let (slot, lock) =
            free.with_context(|| format!("all {SLOTS} slots under {} are in use", base().display()))?;
        fs::create_dir_all(slot.folder().join("log"))?;
        // From here on what was made is removed, however far it came.
        let run = Self {
            slot,
            network: Network::of(slot),
            _lock: lock,
        };
        run.network.create()?;
        Ok(run)
    }

    /// The number of this run.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The folder of this run: logs, keys, kubeconfigs, databases.
    pub fn folder(&self) -> PathBuf {
        self.slot.folder()
    }

    /// The network of this run.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The lock is still held: nobody else removes the same things.
        if let Err(error) = leftovers::remove(self.slot) {
            eprintln!("the next run will remove what is left of this one: {error:#}");
        }
    }
}
