//! What a wipe is told, and what it certifies, disk by disk.

use std::time::Duration;

/// What an agent is told to wipe: every disk that is the machine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WipeOrder {
    /// Which wipe of this machine it is, counted from 1; all that is said of it carries the number.
    pub generation: u64,
    /// World wide identifiers of disks that are wiped although they are of a kind that is left alone.
    pub include_wwids: Vec<String>,
    /// Pause between heartbeats.
    pub heartbeat: Duration,
}

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskWipe {
    /// Device node, such as `/dev/sda`.
    pub device_name: String,
    /// Model.
    pub model: String,
    /// Serial number; empty if the disk says none.
    pub serial: String,
    /// World wide identifier; empty if the disk says none.
    pub wwid: String,
    /// Size in bytes.
    pub size: u64,
    /// What became of it.
    pub result: DiskResult,
}

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskResult {
    /// Erased and read back.
    Wiped(Erased),
    /// Left alone on purpose: why.
    Refused(String),
    /// Not erased, or not as it was read back: what, where.
    Failed(String),
}

/// What was done to a disk that was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// The disk took a discard of all its blocks.
    pub discarded: bool,
    /// Bytes that were written with zeros and read back as zeros.
    pub zeroed_bytes: u64,
    /// Partitions whose both ends are among them.
    pub partitions: u32,
}

impl Erased {
    /// What may be left on the disk, in words for whoever has to answer for it. No claim is made for a byte that was
    /// not read back.
    pub const fn remains(self) -> &'static str {
        if self.discarded {
            "metadata removed, the rest discarded on the disk's own word: data may be recoverable, no NIST SP 800-88 claim"
        } else {
            "metadata removed, the rest not erased: data may be recoverable, no NIST SP 800-88 claim"
        }
    }
}

/// What a wipe certifies: all disks that the agent found, and what became of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Which wipe of this machine it is.
    pub generation: u64,
    /// Every disk that was found.
    pub disks: Vec<DiskWipe>,
}
