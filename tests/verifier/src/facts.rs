//! The facts of a run, as the demo writes them.

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::finding::Finding;

/// The version of the format that is read here.
pub const VERSION: u64 = 1;

/// What a run wrote. Fields that are not known here are passed over.
#[derive(Debug, Clone, Deserialize)]
pub struct Facts {
    /// The machines that were plugged in.
    pub machines: Vec<Machine>,
    /// What the run says it did, and when that was complete.
    pub steps: Vec<StepDone>,
    /// The disks, read from outside.
    pub disks: Vec<Reading>,
    /// The simulator's power log, verbatim.
    pub power: Vec<Line>,
    /// What a watch saw of the API, by time of arrival.
    pub objects: Vec<Change>,
}

/// A machine behind a simulated BMC.
#[derive(Debug, Clone, Deserialize)]
pub struct Machine {
    /// Its UUID: the name of its Server.
    pub server: String,
    /// The BMC's name in the power log.
    pub bmc: String,
    /// Its disk.
    pub disk: Disk,
}

/// A machine's disk.
#[derive(Debug, Clone, Deserialize)]
pub struct Disk {
    /// Serial number.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A step of the main job that is complete.
#[derive(Debug, Clone, Deserialize)]
pub struct StepDone {
    /// When it was complete.
    pub t: Timestamp,
    /// Its name, see [`Step`].
    pub name: String,
}

/// The steps of the main job, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The machines are there, off, and nobody knows them.
    PluggedIn,
    /// A human switched them on, and they are Servers.
    Registered,
    /// They were accepted, wiped and switched off.
    Available,
    /// Each is a Machine of the Cluster that is Running.
    Running,
    /// The workers were scaled to 0: theirs was given back.
    Returned,
    /// The workers were scaled to 1.
    RunningAgain,
    /// The Cluster was deleted and all machines were given back.
    Deleted,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 7] = [
        Self::PluggedIn,
        Self::Registered,
        Self::Available,
        Self::Running,
        Self::Returned,
        Self::RunningAgain,
        Self::Deleted,
    ];

    /// Its name in the facts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PluggedIn => "plugged-in",
            Self::Registered => "registered",
            Self::Available => "available",
            Self::Running => "running",
            Self::Returned => "returned",
            Self::RunningAgain => "running-again",
            Self::Deleted => "deleted",
        }
    }

    /// The step of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// The one that follows.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step > self)
    }
}

/// Some blocks of a disk, read from outside.
#[derive(Debug, Clone, Deserialize)]
pub struct Reading {
    /// When.
    pub t: Timestamp,
    /// The name of the step after which it was read.
    pub after: String,
    /// Which machine's disk.
    pub server: String,
    /// What was read.
    pub blocks: Vec<Block>,
}

/// A block of a disk.
#[derive(Debug, Clone, Deserialize)]
pub struct Block {
    /// What lies there, for a reader.
    pub place: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// A wipe must zero it: it lies at an end of the disk, or of a partition that was on it when it was plugged in.
    pub edge: bool,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

/// A line of the simulator's power log.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// When, exactly.
    pub t: Timestamp,
    /// The BMC's name.
    pub bmc: String,
    /// The BMC user, or `machine` for the machine itself.
    pub actor: String,
    /// Whence it came: `ipmi://…`, `redfish://…`, `control://…` or `machine`.
    pub source: String,
    /// What was asked.
    pub verb: String,
    /// Whether a command arrived or something changed.
    pub event: LineEvent,
    /// What was before.
    pub before: String,
    /// What is now; absent for a command that arrived.
    pub after: Option<String>,
    /// What the BMC answered, or what made the change.
    pub cause: String,
}

/// Whether a line tells of a command or of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineEvent {
    /// A command arrived. Nothing need follow.
    Received,
    /// Something changed.
    Effect,
}

/// A change of an object, as a watch saw it.
#[derive(Debug, Clone, Deserialize)]
pub struct Change {
    /// When it arrived at the watch.
    pub t: Timestamp,
    /// What kind of object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid: a new uid under an old name is another object.
    pub uid: String,
    /// Whether it is there.
    pub event: ObjectEvent,
    /// `status.phase`, of those that have one.
    pub phase: Option<String>,
    /// `status.power` of a Server.
    pub power: Option<String>,
    /// The Server that it is about.
    pub server: Option<String>,
    /// Name of the Node of a Machine.
    pub node: Option<String>,
    /// Uid of the Machine that owns a MetalMachine.
    pub owner: Option<String>,
    /// Its deletion was asked for.
    #[serde(default)]
    pub deleting: bool,
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the kinds of the API")]
pub enum Kind {
    Server,
    ServerBinding,
    MetalMachine,
    Machine,
    Node,
    Cluster,
    /// A kind that no check looks at.
    #[serde(other)]
    Other,
}

/// Whether an object is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectEvent {
    /// It is there, as this says.
    Seen,
    /// It is gone from the API.
    Gone,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl Facts {
    /// Reads them.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        // first, since the rest of another version may not be readable at all
        let Version { version } = serde_json::from_str(text).context("these are no facts of a run")?;
        ensure!(
            version == VERSION,
            "the facts are of version {version}, this verifier reads version {VERSION}"
        );
        let mut facts: Self = serde_json::from_str(text).context("these are no facts of a run")?;
        // Several watches note what they see: two of them may be out of order by the time that a note takes.
        facts.objects.sort_by_key(|change| change.t);
        Ok(facts)
    }

    /// The machine with this Server.
    pub fn machine(&self, server: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.server == server)
    }

    /// When a step was complete.
    pub fn completed(&self, step: Step) -> Option<Timestamp> {
        let done = self.steps.iter().find(|done| done.name == step.name());
        done.map(|done| done.t)
    }

    /// When these steps were complete; one that is missing is a failure of the check that needs it.
    pub(crate) fn moments<const N: usize>(
        &self,
        steps: [Step; N],
        finding: &mut Finding,
    ) -> Option<[Timestamp; N]> {
        let mut moments = [Timestamp::UNIX_EPOCH; N];
        let mut complete = true;
        for (moment, step) in moments.iter_mut().zip(steps) {
            let t = self.completed(step);
            finding.fail_if(t.is_none(), || format!("step `{}` is missing", step.name()));
            complete &= t.is_some();
            *moment = t.unwrap_or_default();
        }
        complete.then_some(moments)
    }
}
