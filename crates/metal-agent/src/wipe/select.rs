//! Which disks are the machine's own, so that a wipe may touch them, as `/sys` shows it.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path};

use hardware_types::inventory::Disk;

use crate::inventory::{disks, names, number, text};

/// Partitions in `/sys` count these, whatever the disk's own blocks are.
const SECTOR: u64 = 512;

/// A disk that a wipe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) disk: Disk,
    /// Partitions that the kernel knows, in bytes.
    pub(crate) partitions: Vec<Range<u64>>,
    /// Devices on top of it, such as `dm-0`.
    pub(crate) holders: Vec<String>,
    /// It was named, so it is wiped whatever it is.
    pub(crate) included: bool,
    /// Why it is left alone.
    pub(crate) refusal: Option<Refusal>,
}

/// Why a disk is left alone unless it is named. Others may be using it, or it may come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    ReadOnly,
    Removable,
    FibreChannel,
    Iscsi,
    Fabrics(String),
    Multipath(String),
    /// Two disks say that they are the same one.
    SeveralPaths(String),
    Cluster(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Removable => f.write_str("its medium is removable"),
            Self::FibreChannel => {
                f.write_str("it is reached over Fibre Channel or SRP, where other machines may use it")
            }
            Self::Iscsi => f.write_str("it is reached by iSCSI, where other machines may use it"),
            Self::Fabrics(transport) => {
                write!(
                    f,
                    "it is reached by NVMe over {transport}, where other machines may use it"
                )
            }
            Self::Multipath(map) => write!(f, "it is a path of the multipath device {map}"),
            Self::SeveralPaths(other) => {
                write!(
                    f,
                    "{other} is the same disk on another path: such disks are often shared"
                )
            }
            Self::Cluster(name) => write!(f, "it has a {name} on it, which other machines may use"),
        }
    }
}

/// All disks below a folder that is `/sys`, in order; those whose world wide identifier is `included` are never refused.
pub(crate) fn select(sys: &Path, included: &[String]) -> Vec<Target> {
    let block = sys.join("block");
    let included: Vec<String> = included.iter().map(|wwid| bare(wwid)).collect();
    let disks = disks::read(&block);
    let mut by_wwid: HashMap<String, Vec<String>> = HashMap::new();
    for disk in disks.iter().filter(|disk| !disk.wwid.is_empty()) {
        by_wwid
            .entry(bare(&disk.wwid))
            .or_default()
            .push(disk.device_name.clone());
    }
    let targets = disks.into_iter().map(|disk| {
        let name = disk.device_name.trim_start_matches("/dev/");
        let folder = block.join(name);
        let wwid = bare(&disk.wwid);
        let named = !wwid.is_empty() && included.contains(&wwid);
        let twin = by_wwid
            .get(&wwid)
            .into_iter()
            .flatten()
            .find(|other| **other != disk.device_name);
        let refusal = match twin {
            _ if named => None,
            Some(other) => Some(Refusal::SeveralPaths(other.clone())),
            None => refusal(&block, &folder),
        };
        Target {
            partitions: partitions(&folder),
            holders: holders(&folder),
            included: named,
            refusal,
            disk,
        }
    });
    targets.collect()
}

/// A world wide identifier without the words that tools put before it: `naa.5000…`, `wwn-0x5000…`, `0x5000…`, `5000…`.
fn bare(wwid: &str) -> String {
    let mut wwid = wwid.trim().to_ascii_lowercase();
    while let Some(rest) = ["wwn-", "naa.", "eui.", "0x"]
        .iter()
        .find_map(|word| wwid.strip_prefix(word))
    {
        wwid = rest.to_owned();
    }
    wwid
}

fn refusal(block: &Path, folder: &Path) -> Option<Refusal> {
    let is_set = |file| number::<u8>(&folder.join(file)) == Some(1);
    if is_set("ro") {
        return Some(Refusal::ReadOnly);
    }
    if is_set("removable") {
        return Some(Refusal::Removable);
    }
    scsi_transport(folder)
        .or_else(|| nvme_transport(folder))
        .or_else(|| multipath(block, folder))
}

/// The way to a SCSI disk is in its place among the devices: a remote port (FC, SRP) or an iSCSI session.
fn scsi_transport(folder: &Path) -> Option<Refusal> {
    let place = fs::canonicalize(folder).ok()?;
    place.components().find_map(|component| match component {
        Component::Normal(name) => match name.to_str()? {
            name if name.starts_with("rport-") => Some(Refusal::FibreChannel),
            name if is_numbered(name, "session") => Some(Refusal::Iscsi),
            _ => None,
        },
        _ => None,
    })
}

/// The transport of a namespace's controller, or of the controllers of its subsystem where the kernel joins paths.
fn nvme_transport(folder: &Path) -> Option<Refusal> {
    let device = folder.join("device");
    let controllers = names(&device)
        .into_iter()
        .filter(|name| is_numbered(name, "nvme"));
    let mut transports = std::iter::once(text(&device.join("transport")))
        .chain(controllers.map(|name| text(&device.join(name).join("transport"))));
    let other = transports.find(|transport| !transport.is_empty() && transport != "pcie")?;
    Some(Refusal::Fabrics(other))
}

fn multipath(block: &Path, folder: &Path) -> Option<Refusal> {
    let map = holders(folder).into_iter().find(|holder| {
        let dm = block.join(holder).join("dm/uuid");
        text(&dm).starts_with("mpath-")
    })?;
    Some(Refusal::Multipath(map))
}

/// Devices on top of a disk or of one of its partitions.
fn holders(folder: &Path) -> Vec<String> {
    let parts = names(folder)
        .into_iter()
        .filter(|name| folder.join(name).join("partition").exists());
    let mut holders = names(&folder.join("holders"));
    holders.extend(parts.flat_map(|part| names(&folder.join(part).join("holders"))));
    holders
}

fn partitions(folder: &Path) -> Vec<Range<u64>> {
    let parts = names(folder).into_iter().map(|name| folder.join(name));
    let parts = parts.filter(|part| part.join("partition").exists());
    let range = |part: std::path::PathBuf| {
        let start = number::<u64>(&part.join("start"))?.saturating_mul(SECTOR);
        let length = number::<u64>(&part.join("size"))?.saturating_mul(SECTOR);
        Some(start..start.saturating_add(length))
    };
    parts.filter_map(range).collect()
}

/// Whether a name is this word and a number.
fn is_numbered(name: &str, word: &str) -> bool {
    let digits = name.strip_prefix(word).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
