//! The monitor: events in, the first violation out.

use std::collections::BTreeMap;
use std::time::Duration;

use hardware_types::{PowerState, ServerId};

use super::disks::Disks;
use super::release::{Hold, Machine, Release};
use super::violation::{Violation, Write};
use crate::power::{Command, Intent, Outcome, Stage};
use crate::server::WINDOW_PREFIX;
use crate::{HandsOff, IdentityVerdict, Time};

/// Something that was seen of one Server, or of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub fact: Fact,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// API: this replica holds the lease now; `None`: nobody does.
    Lease(Option<String>),
    /// API: whether the Server is accepted.
    Accepted(ServerId, bool),
    /// API: the Server is in hands-off, or no longer.
    HandsOff(ServerId, Option<HandsOff>),
    /// What the BMC's identity said.
    Identity(ServerId, IdentityVerdict),
    /// API: `status.powerIntent` was stored.
    Intent(ServerId, Intent),
    /// Power log: a mutating command of ours arrived at the BMC. Commands of other actors are none of our business and not reported.
    Received {
        /// The machine.
        server: ServerId,
        /// What.
        write: Write,
        /// The replica that sent it, where that can be told.
        replica: Option<String>,
    },
    /// Power log: the machine's power changed, by whatever cause.
    Power(ServerId, PowerState),
    /// The manager read this power state.
    Reading(ServerId, PowerState),
    /// API: the generation whose wipe must be done (annotation `wipe-due`).
    WipeDue(ServerId, u64),
    /// API: the generation that was wiped (annotation `wipe-done`).
    WipeDone(ServerId, u64),
    /// API: an agent's heartbeat or report about the wipe of this generation was recorded.
    Wiping(ServerId, u64),
    /// API: a ServerBinding of its name exists, one that is being deleted included.
    Bound(ServerId, bool),
    /// API: how it stands with that ServerBinding. Told after [`Fact::Bound`].
    Held(ServerId, Hold),
    /// API: its last release is recorded to have ended at its deadline (annotation `quarantined`).
    Quarantined(ServerId, bool),
    /// API: a MetalMachine names it.
    Claimed(ServerId, bool),
    /// API: so many MetalMachines have it, by their `spec.providerID`.
    Owners(ServerId, usize),
    /// API: the MetalMachine that its ServerBinding is for has so many, this one included, that are not given back.
    BindingsOfOwner(ServerId, usize),
    /// API: it is on by our will and not yet confirmed off (annotation `powered`).
    Powered(ServerId, Option<String>),
    /// API: it has a power driver (`spec.bmc`).
    HasDriver(ServerId, bool),
    /// API: its agent registered it.
    HadAgent(ServerId, bool),
    /// API: it is offered to clusters. Of one version of a Server this is told last, since the other facts prove it.
    Available(ServerId, bool),
    /// API: the Server was deleted. One of the same name is another one, of the same machine.
    Deleted(ServerId),
}

impl Fact {
    /// The Server that it is about; none for the lease.
    pub const fn server(&self) -> Option<ServerId> {
        match self {
            Self::Lease(_) => None,
            Self::Accepted(server, _)
            | Self::HandsOff(server, _)
            | Self::Identity(server, _)
            | Self::Intent(server, _)
            | Self::Received { server, .. }
            | Self::Power(server, _)
            | Self::Reading(server, _)
            | Self::WipeDue(server, _)
            | Self::WipeDone(server, _)
            | Self::Wiping(server, _)
            | Self::Bound(server, _)
            | Self::Held(server, _)
            | Self::Quarantined(server, _)
            | Self::Claimed(server, _)
            | Self::Owners(server, _)
            | Self::BindingsOfOwner(server, _)
            | Self::Powered(server, _)
            | Self::HasDriver(server, _)
            | Self::HadAgent(server, _)
            | Self::Available(server, _)
            | Self::Deleted(server) => Some(*server),
        }
    }
}

/// What the monitor allows for, since facts and commands reach it by different ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tolerance {
    /// A command may arrive this long after the fact that forbids it: it was past the gate already.
    pub in_flight: Duration,
    /// Two readings that confirm a state are at least this far apart.
    pub reading_gap: Duration,
}

/// Watches the invariants I-1, I-2, I-3, I-4, I-5 (BMC writes), I-6, I-10, I-11 and I-13.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Monitor {
    tolerance: Tolerance,
    /// Who holds the lease, and since when.
    lease: Option<(Option<String>, Time)>,
    /// Replicas that lost the lease and have used up the one datagram that may have been past the fence.
    spent: Vec<String>,
    servers: BTreeMap<ServerId, Seen>,
}

/// What is known of one Server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Seen {
    accepted: bool,
    unaccepted_since: Time,
    hands_off: Option<(HandsOff, Time)>,
    contradicted_since: Option<Time>,
    intent: Option<Intent>,
    /// The attempt whose command arrived: stage and number.
    received: Option<(Stage, u32)>,
    /// When the last command of ours arrived.
    received_at: Time,
    power: Option<(PowerState, Time)>,
    /// The run of equal readings since the last command: state, first, last.
    run: Option<(PowerState, Time, Time)>,
    disks: Disks,
    release: Release,
}

impl Monitor {
    /// A monitor that has seen nothing: no Server is accepted, nobody holds the lease.
    pub fn new(tolerance: Tolerance) -> Self {
        Self {
            tolerance,
            lease: None,
            spent: Vec::new(),
            servers: BTreeMap::new(),
        }
    }

    /// Takes in the next event.
    pub fn observe(&mut self, event: Event) -> Result<(), Violation> {
        let at = event.at;
        match event.fact {
            Fact::Lease(holder) => {
                self.lease = Some((holder, at));
                self.spent.clear();
            }
            Fact::Accepted(server, accepted) => {
                let seen = self.server(server);
                if seen.accepted && !accepted {
                    seen.unaccepted_since = at;
                }
                seen.accepted = accepted;
            }
            Fact::HandsOff(server, reason) => {
                let seen = self.server(server);
                seen.hands_off = reason.map(|reason| (reason, seen.hands_off.map_or(at, |(_, since)| since)));
            }
            Fact::Identity(server, verdict) => {
                let seen = self.server(server);
                let contradicts = verdict == IdentityVerdict::Contradicts;
                seen.contradicted_since = contradicts.then(|| seen.contradicted_since.unwrap_or(at));
            }
            Fact::Intent(server, intent) => return self.stored(server, intent, at),
            Fact::Received {
                server,
                write,
                replica,
            } => return self.received(server, write, replica, at),
            Fact::Power(server, power) => self.server(server).power = Some((power, at)),
            Fact::Reading(server, power) => self.server(server).read(power, at),
            Fact::WipeDue(server, generation) => self.server(server).disks.due = generation,
            Fact::WipeDone(server, generation) => return self.server(server).disks.wiped(server, generation),
            Fact::Wiping(server, generation) => return self.wiping(server, generation, at),
            Fact::Bound(server, bound) => self.server(server).disks.bound = bound,
            Fact::Claimed(server, claimed) => self.server(server).disks.claimed = claimed,
            Fact::Owners(server, count) if count > 1 => {
                return Err(Violation::TwoOwners { server, count });
            }
            Fact::BindingsOfOwner(server, count) if count > 1 => {
                return Err(Violation::TwoServers { server, count });
            }
            Fact::Owners(..) | Fact::BindingsOfOwner(..) => {}
            Fact::Held(server, hold) => return self.held(server, hold, at),
            Fact::Quarantined(server, quarantined) => self.server(server).release.quarantined = quarantined,
            Fact::Powered(server, id) => self.server(server).powered(id),
            Fact::HasDriver(server, has) => self.server(server).disks.has_driver = has,
            Fact::HadAgent(server, had) => self.server(server).disks.had_agent = had,
            Fact::Available(server, available) => return self.offered(server, available, at),
            Fact::Deleted(server) => self.server(server).forget(at),
        }
        Ok(())
    }

    fn wiping(&mut self, server: ServerId, generation: u64, at: Time) -> Result<(), Violation> {
        let grace = self.tolerance.in_flight;
        let seen = self.server(server);
        if !seen.accepted && at > seen.unaccepted_since.after(grace) {
            return Err(Violation::WipedUnaccepted { server, generation });
        }
        seen.disks.wiping(server, generation)
    }

    fn offered(&mut self, server: ServerId, available: bool, at: Time) -> Result<(), Violation> {
        let grace = self.tolerance.in_flight;
        let seen = self.server(server);
        let power = seen.power.filter(|(_, since)| at > since.after(grace));
        seen.disks
            .offered(server, available, power.map(|(power, _)| power))
    }

    fn held(&mut self, server: ServerId, hold: Hold, at: Time) -> Result<(), Violation> {
        let grace = self.tolerance.in_flight;
        let seen = self.server(server);
        let power = seen.power.filter(|(_, since)| at > since.after(grace));
        let machine = Machine {
            powered: seen.disks.powered.as_deref(),
            power: power.map(|(power, _)| power),
            has_driver: seen.disks.has_driver,
            is_foreign: seen
                .hands_off
                .is_some_and(|(reason, _)| reason == HandsOff::Foreign),
        };
        seen.release.held(server, hold, machine)
    }

    fn server(&mut self, server: ServerId) -> &mut Seen {
        self.servers.entry(server).or_default()
    }

    fn received(
        &mut self,
        server: ServerId,
        write: Write,
        replica: Option<String>,
        at: Time,
    ) -> Result<(), Violation> {
        let grace = self.tolerance.in_flight;
        let seen = self.server(server);
        let late = |since: Time| at > since.after(grace);
        if !seen.accepted && late(seen.unaccepted_since) {
            return Err(Violation::NotAccepted { server, write });
        }
        if let Some((reason, since)) = seen.hands_off
            && late(since)
        {
            return Err(Violation::HandsOff {
                server,
                write,
                reason,
            });
        }
        if seen.contradicted_since.is_some_and(late) {
            return Err(Violation::WrongMachine { server, write });
        }
        match replica {
            Some(replica) => self.holds_lease(server, write, replica, at)?,
            None => self.somebody_holds_lease(server, write, at)?,
        }
        let seen = self.server(server);
        let is_off = matches!(write, Write::Power(Command::Off | Command::SoftOff));
        if is_off && seen.release.is_unmarked() && !seen.is_asked_for() {
            return Err(Violation::OffWithoutMark { server, write });
        }
        if !seen.covers(write) {
            return Err(Violation::NotStored { server, write });
        }
        seen.received_at = at;
        seen.run = None;
        Ok(())
    }

    /// A replica without the lease sends nothing, the one datagram apart that was past the fence when the lease went.
    fn holds_lease(
        &mut self,
        server: ServerId,
        write: Write,
        replica: String,
        at: Time,
    ) -> Result<(), Violation> {
        let Some((holder, since)) = &self.lease else {
            return Err(Violation::NotLeader {
                server,
                write,
                replica,
            });
        };
        if holder.as_ref() == Some(&replica) {
            return Ok(());
        }
        if at > since.after(self.tolerance.in_flight) || self.spent.contains(&replica) {
            return Err(Violation::NotLeader {
                server,
                write,
                replica,
            });
        }
        self.spent.push(replica);
        Ok(())
    }

    /// Where nobody knows which replica sent it, one must hold the lease.
    fn somebody_holds_lease(&self, server: ServerId, write: Write, at: Time) -> Result<(), Violation> {
        match &self.lease {
            Some((None, since)) if at > since.after(self.tolerance.in_flight) => Err(Violation::NotLeader {
                server,
                write,
                replica: "some replica".into(),
            }),
            _ => Ok(()),
        }
    }

    fn stored(&mut self, server: ServerId, intent: Intent, at: Time) -> Result<(), Violation> {
        let gap = self.tolerance.reading_gap;
        let seen = self.server(server);
        let is_new = seen.intent.as_ref().is_none_or(|known| known.id != intent.id);
        if is_new {
            seen.received = None;
        }
        let reports_done = intent.outcome == Some(Outcome::Done) && intent.stage != Stage::Reset;
        let already_known = seen
            .intent
            .as_ref()
            .is_some_and(|known| !is_new && known.outcome.is_some());
        let wanted = intent.stage.command().leads_to();
        if reports_done && !already_known && !seen.was_read_back(wanted, at, gap) {
            return Err(Violation::NotReadBack {
                server,
                id: intent.id,
                wanted,
            });
        }
        seen.intent = Some(intent);
        Ok(())
    }
}

impl Seen {
    /// The Server is deleted; its machine is what it was.
    fn forget(&mut self, at: Time) {
        let before = std::mem::take(self);
        *self = Self {
            unaccepted_since: at,
            received_at: before.received_at,
            power: before.power,
            disks: before.disks.of_deleted(),
            release: before.release,
            ..Self::default()
        };
    }

    fn read(&mut self, power: PowerState, at: Time) {
        self.run = Some(match self.run {
            Some((known, first, _)) if known == power => (power, first, at),
            _ => (power, at, at),
        });
    }

    fn powered(&mut self, id: Option<String>) {
        if id.is_some() {
            self.release.powered();
        }
        self.disks.powered = id;
    }

    /// A user asked for the command that is under way.
    fn is_asked_for(&self) -> bool {
        let under_way = self.intent.as_ref().filter(|intent| intent.outcome.is_none());
        under_way.is_some_and(|intent| !intent.id.starts_with(WINDOW_PREFIX))
    }

    /// Whether a stored, unfinished attempt covers the write, which uses it up.
    fn covers(&mut self, write: Write) -> bool {
        let Some(intent) = self.intent.as_ref().filter(|intent| intent.outcome.is_none()) else {
            return false;
        };
        match write {
            Write::Power(command) => {
                let attempt = (intent.stage, intent.attempt);
                let fits =
                    intent.attempt > 0 && intent.stage.command() == command && self.received != Some(attempt);
                self.received = Some(attempt);
                fits
            }
            Write::BootOverride => intent.boot.is_some() && intent.attempt > 0,
            Write::Other => false,
        }
    }

    /// Whether two readings could be, or were, made of the state: by the readings where they are reported, and by the
    /// machine's own power where it is known, which must have been so for a gap.
    fn was_read_back(&self, wanted: PowerState, at: Time, gap: Duration) -> bool {
        let machine = self.power.is_none_or(|(power, since)| {
            power == wanted && at >= since.after(gap) && at >= self.received_at.after(gap)
        });
        let readings = self
            .run
            .is_none_or(|(power, first, last)| power == wanted && last >= first.after(gap));
        machine && readings && (self.power.is_some() || self.run.is_some())
    }
}
