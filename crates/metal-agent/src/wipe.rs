//! Erases the disks of a machine, several at once, and says what became of each.
//!
//! One disk's failure stops no other. A disk that shows no progress for [`PATIENCE`] has failed, although the thread
//! that waits for it cannot be ended.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use agent_protocol::MAX_TEXT;
use futures::stream::{self, StreamExt as _};
use hardware_types::wipe::{Certificate, DiskResult, DiskWipe};
use tokio::sync::watch;
use tokio::time::timeout;

mod cluster;
mod device;
mod erase;
mod partitions;
mod select;

pub(crate) use device::BlockDevice;
use device::Device;
use erase::EraseError;
pub(crate) use select::select;
use select::{Refusal, Target};

/// How many disks are erased at once.
const AT_ONCE: usize = 8;
/// A disk that shows no progress for so long has failed.
const PATIENCE: Duration = Duration::from_mins(10);

/// How far a wipe is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every disk that is to be erased: device node and how far it is.
    pub disks: Vec<(String, Stage)>,
}

/// How far one disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not begun.
    Waiting,
    /// So many percent of the work done.
    At(u32),
    /// Erased, refused after a look at it, or failed.
    Ended,
}

impl Progress {
    /// How far the wipe is as a whole, 0 to 100; all disks count alike.
    pub fn percent(&self) -> u32 {
        let percent = |stage: &Stage| match stage {
            Stage::Waiting => 0,
            Stage::At(percent) => u64::from(*percent),
            Stage::Ended => 100,
        };
        let sum: u64 = self.disks.iter().map(|(_, stage)| percent(stage)).sum();
        u32::try_from(sum.checked_div(self.disks.len() as u64).unwrap_or(0)).unwrap_or(100)
    }

    /// What is being done, for people; as long as a text of a report may be.
    pub fn doing(&self) -> String {
        let ended = self
            .disks
            .iter()
            .filter(|(_, stage)| *stage == Stage::Ended)
            .count();
        let mut text = format!("{ended} of {} disks done", self.disks.len());
        for (device, stage) in &self.disks {
            if let Stage::At(percent) = stage {
                write!(text, ", {device} at {percent} %").ok();
            }
        }
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text
    }
}

/// Opens a disk by its device node.
pub(crate) trait Open<D>: Fn(&Path) -> io::Result<D> + Clone + Send + 'static {}
impl<D, F: Fn(&Path) -> io::Result<D> + Clone + Send + 'static> Open<D> for F {}

/// Erases these disks, those apart that are refused. `progress` hears how far it is.
pub(crate) async fn wipe<D: Device>(
    generation: u64,
    targets: Vec<Target>,
    open: impl Open<D>,
    progress: &watch::Sender<Progress>,
) -> Certificate {
    let names = targets.iter().filter(|target| target.refusal.is_none());
    progress.send_replace(Progress {
        disks: names
            .map(|target| (target.disk.device_name.clone(), Stage::Waiting))
            .collect(),
    });
    let disks = stream::iter(targets).map(async |target: Target| {
        let disk = target.disk.clone();
        let set = |stage| {
            progress.send_modify(|progress| {
                let mut disks = progress.disks.iter_mut();
                if let Some((_, place)) = disks.find(|(name, _)| *name == disk.device_name) {
                    *place = stage;
                }
            });
        };
        let result = match &target.refusal {
            Some(refusal) => DiskResult::Refused(refusal.to_string()),
            None => watched(target, open.clone(), PATIENCE, &set).await,
        };
        set(Stage::Ended);
        DiskWipe {
            device_name: disk.device_name,
            model: disk.model,
            serial: disk.serial,
            wwid: disk.wwid,
            size: disk.size,
            result,
        }
    });
    Certificate {
        generation,
        disks: disks.buffered(AT_ONCE).collect().await,
    }
}

/// Erases one disk on a thread of its own, while it shows progress.
async fn watched<D: Device>(
    target: Target,
    open: impl Open<D>,
    patience: Duration,
    set: &impl Fn(Stage),
) -> DiskResult {
    set(Stage::At(0));
    let (alive, mut signs) = watch::channel(0);
    let mut work = tokio::task::spawn_blocking(move || {
        let device = match open(Path::new(&target.disk.device_name)) {
            Ok(device) => device,
            Err(error) => return Err(cannot_open(&target, &error)),
        };
        one(&device, &target, &mut |percent| {
            alive.send_replace(percent);
        })
        .map_err(|error| error.to_string())
    });
    loop {
        tokio::select! {
            ended = &mut work => return match ended {
                Ok(result) => result.unwrap_or_else(DiskResult::Failed),
                Err(error) => DiskResult::Failed(format!("the work on it broke off: {error}")),
            },
            sign = timeout(patience, signs.changed()), if signs.has_changed().is_ok() => {
                if sign.is_err() {
                    let (at, minutes) = (*signs.borrow(), patience.as_secs() / 60);
                    return DiskResult::Failed(format!("no progress for {minutes} min at {at} %: the disk hangs"));
                }
                set(Stage::At(*signs.borrow_and_update()));
            },
        }
    }
}

fn cannot_open(target: &Target, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ResourceBusy && !target.holders.is_empty() {
        return format!("cannot open it: in use by {}", target.holders.join(", "));
    }
    format!("cannot open it: {error}")
}

/// Erases one disk unless its contents show that others use it. `done` hears how far it is, in percent, and whenever
/// something was done.
fn one(device: &impl Device, target: &Target, done: &mut dyn FnMut(u32)) -> Result<DiskResult, EraseError> {
    let named = erase::scan(device)?;
    let kernels = target
        .partitions
        .iter()
        .map(|range| range.start..range.end.min(device.size()));
    let mut partitions: Vec<Range<u64>> = kernels
        .chain(named.iter().map(|partition| partition.range.clone()))
        .collect();
    partitions.retain(|range| range.start < range.end);
    partitions.sort_unstable_by_key(|range| (range.start, range.end));
    partitions.dedup();
    if !target.included {
        let typed = named.iter().find_map(|partition| partition.cluster);
        let cluster = match typed {
            None => erase::cluster(device, &partitions)?,
            typed => typed,
        };
        if let Some(name) = cluster {
            return Ok(DiskResult::Refused(Refusal::Cluster(name).to_string()));
        }
    }
    let work = erase::work(device, &partitions).max(1);
    let mut bytes = 0;
    let erased = erase::erase(device, &partitions, &mut |more| {
        bytes += more;
        done(u32::try_from(u128::from(bytes) * 100 / u128::from(work)).unwrap_or(100));
    })?;
    Ok(DiskResult::Wiped(erased))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of bytes is meant")]
mod tests;
