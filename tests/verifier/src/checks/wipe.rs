//! What was on the disks is gone when the API says so, and only because something was there this proves anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::facts::{Block, Facts, Machine, Reading, Step};
use crate::finding::Finding;
use crate::history::{bound, given_back};
use crate::time::shown;

/// Both ends of the disk and of one partition.
const LEAST_EDGES: usize = 4;
/// Longest block that is compared: a wrong length must not make us hash for hours.
const LONGEST: u64 = 16 << 20;
/// `registered` needs no reading: nothing may have touched the disk yet, and `available` shows what did.
const READ_AFTER: [Step; 6] = [
    Step::PluggedIn,
    Step::Available,
    Step::Running,
    Step::Returned,
    Step::RunningAgain,
    Step::Deleted,
];

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("wipe");
    let moments = facts.moments([Step::Running, Step::Returned, Step::RunningAgain], &mut finding);
    let Some([running, returned, again]) = moments else {
        return finding.end("");
    };
    let given_back = given_back(facts, running, returned);
    finding.fail_if(given_back.is_empty(), || {
        "no machine was given back between `running` and `returned`".into()
    });
    let (bound_first, bound_again) = (bound(facts, running), bound(facts, again));
    let zeros = Zeros::of(facts);
    let mut wiped = 0;
    for machine in &facts.machines {
        let Some(disk) = Disk::read(facts, machine, &mut finding) else {
            continue;
        };
        disk.has_content(&zeros, &mut finding);
        let server = machine.server.as_str();
        let mut free_at = vec![Step::Available, Step::Deleted];
        free_at.extend(given_back.contains(server).then_some(Step::Returned));
        for step in free_at {
            wiped += disk.is_wiped(step, &zeros, &mut finding);
        }
        for (step, bound) in [(Step::Running, &bound_first), (Step::RunningAgain, &bound_again)] {
            if bound.contains(server) {
                disk.is_installed(step, &zeros, &mut finding);
            }
        }
    }
    finding.looked(wiped);
    finding.end(format!(
        "{} disks had content, {wiped} blocks at the ends of disks and partitions were zeros after `available`, `returned` \
         ({} given back) and `deleted`, and a system was installed in between",
        facts.machines.len(),
        given_back.len()
    ))
}

/// What a block of zeros hashes to, by its length.
struct Zeros(BTreeMap<u64, String>);

impl Zeros {
    fn of(facts: &Facts) -> Self {
        let blocks = facts.disks.iter().flat_map(|reading| &reading.blocks);
        let lengths: BTreeSet<_> = blocks
            .map(|block| block.length)
            .filter(|length| *length <= LONGEST)
            .collect();
        Self(
            lengths
                .into_iter()
                .map(|length| (length, hash_of_zeros(length)))
                .collect(),
        )
    }

    fn are_in(&self, block: &Block) -> bool {
        let zeros = self.0.get(&block.length);
        zeros.is_some_and(|zeros| zeros.eq_ignore_ascii_case(&block.sha256))
    }
}

fn hash_of_zeros(length: u64) -> String {
    const CHUNK: [u8; 4096] = [0; 4096];
    let mut hash = Sha256::new();
    let mut left = length;
    while left > 0 {
        let now = left.min(CHUNK.len() as u64);
        hash.update(&CHUNK[..now as usize]);
        left -= now;
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").ok(); // a String takes all
    }
    text
}

/// The readings of one disk, all of the same places.
struct Disk<'a> {
    machine: &'a Machine,
    readings: BTreeMap<Step, &'a Reading>,
    before: &'a Reading,
}

impl<'a> Disk<'a> {
    fn read(facts: &'a Facts, machine: &'a Machine, finding: &mut Finding) -> Option<Self> {
        let name = name(machine);
        let mut readings = BTreeMap::new();
        for step in READ_AFTER {
            let of_step = facts
                .disks
                .iter()
                .filter(|reading| reading.server == machine.server && reading.after == step.name());
            let found: Vec<_> = of_step.collect();
            let [reading] = found[..] else {
                let times = found.len();
                finding.fail(format!("{name} was read {times} times after `{}`", step.name()));
                continue;
            };
            let next = step.next().and_then(|next| facts.completed(next));
            let early = facts.completed(step).is_some_and(|t| reading.t < t);
            let late = next.is_some_and(|t| reading.t > t);
            finding.fail_if(early || late, || {
                let t = shown(reading.t);
                format!(
                    "{name} was read at {t}: not between `{}` and the step that follows",
                    step.name()
                )
            });
            readings.insert(step, reading);
        }
        let before = *readings.get(&Step::PluggedIn)?;
        let disk = Self {
            machine,
            readings,
            before,
        };
        disk.has_places(finding);
        Some(disk)
    }

    /// Enough places, on the disk, the same in each reading.
    fn has_places(&self, finding: &mut Finding) {
        let name = name(self.machine);
        let edges: BTreeSet<_> = edges(self.before).map(|block| block.offset).collect();
        finding.fail_if(edges.len() < LEAST_EDGES, || {
            let number = edges.len();
            format!(
                "{name} has {number} edge blocks, {LEAST_EDGES} are the least that show a wipe: edge is missing"
            )
        });
        for block in &self.before.blocks {
            let end = block.offset.checked_add(block.length);
            let fits = end.is_some_and(|end| end <= self.machine.disk.bytes);
            finding.fail_if(block.length == 0 || block.length > LONGEST || !fits, || {
                format!("{name}: {} is no block that can be judged", describe(&[block]))
            });
        }
        let places = places(self.before);
        for (step, reading) in &self.readings {
            let now = self::places(reading);
            finding.fail_if(now != places || reading.blocks.len() != places.len(), || {
                format!(
                    "{name}: after `{}` other places were read than after `plugged-in`",
                    step.name()
                )
            });
        }
    }

    fn has_content(&self, zeros: &Zeros, finding: &mut Finding) {
        let empty: Vec<_> = edges(self.before).filter(|block| zeros.are_in(block)).collect();
        finding.fail_if(!empty.is_empty(), || {
            format!(
                "{} was zeros before anybody wiped it, so that zeros prove nothing: {}",
                name(self.machine),
                describe(&empty)
            )
        });
    }

    /// How many blocks were compared.
    fn is_wiped(&self, step: Step, zeros: &Zeros, finding: &mut Finding) -> usize {
        let Some(reading) = self.readings.get(&step) else {
            return 0;
        };
        let edges: Vec<_> = edges(reading).collect();
        let left: Vec<_> = edges
            .iter()
            .copied()
            .filter(|block| !zeros.are_in(block))
            .collect();
        finding.fail_if(!left.is_empty(), || {
            format!(
                "{} is not wiped after `{}`: {} of {} edge blocks are not zeros: {}",
                name(self.machine),
                step.name(),
                left.len(),
                edges.len(),
                describe(&left)
            )
        });
        edges.len()
    }

    /// Something is on it that was not there before, nor came of a wipe.
    fn is_installed(&self, step: Step, zeros: &Zeros, finding: &mut Finding) {
        let Some(reading) = self.readings.get(&step) else {
            return;
        };
        let is_old = |block: &Block| {
            let same = |old: &&Block| (old.offset, old.length) == (block.offset, block.length);
            let old = self.before.blocks.iter().find(same);
            old.is_none_or(|old| old.sha256.eq_ignore_ascii_case(&block.sha256))
        };
        let new = reading
            .blocks
            .iter()
            .any(|block| !zeros.are_in(block) && !is_old(block));
        finding.fail_if(!new, || {
            format!(
                "nothing was installed on {}: after `{}` each block is zeros or what it was when plugged in",
                name(self.machine),
                step.name()
            )
        });
    }
}

fn name(machine: &Machine) -> String {
    format!("disk {} of {}", machine.disk.serial, machine.bmc)
}

fn edges(reading: &Reading) -> impl Iterator<Item = &Block> {
    reading.blocks.iter().filter(|block| block.edge)
}

fn places(reading: &Reading) -> BTreeSet<(u64, u64, bool)> {
    let place = |block: &Block| (block.offset, block.length, block.edge);
    reading.blocks.iter().map(place).collect()
}

fn describe(blocks: &[&Block]) -> String {
    let one = |block: &&Block| format!("{} ({} bytes at {})", block.place, block.length, block.offset);
    blocks.iter().map(one).collect::<Vec<_>>().join(", ")
}
