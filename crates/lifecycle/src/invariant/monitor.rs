//! The monitor: events in, the first violation out.

use std::collections::BTreeMap;
use std::time::Duration;

use hardware_types::{PowerState, ServerId};

use crate::power::{Command, Intent, Outcome, Stage};
use crate::{HandsOff, IdentityVerdict, Time};

/// A mutating command, as a BMC received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// A power command.
    Power(Command),
    /// A boot override was set or cleared.
    BootOverride,
    /// Anything else: users, passwords, BMC reset.
    Other,
}

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
}

/// What was done that must never be. The name of the invariant comes first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// I-1: a machine that nobody accepted was power-cycled.
    #[error("I-1: {server} got {write:?} although it is not accepted")]
    NotAccepted {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
    },
    /// I-5: a BMC write in hands-off.
    #[error("I-5: {server} got {write:?} although it is in hands-off ({reason:?})")]
    HandsOff {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
        /// Why it was to be left alone.
        reason: HandsOff,
    },
    /// I-6: a command that no stored, unfinished attempt covers: sent before it was stored, sent twice, or beside another.
    #[error("I-6: {server} got {write:?}, which no stored attempt covers")]
    NotStored {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
    },
    /// I-6: a command of a replica that does not hold the lease.
    #[error("I-6: {server} got {write:?} from {replica:?}, which does not hold the lease")]
    NotLeader {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
        /// Who sent it.
        replica: String,
    },
    /// I-10: done was reported and not read back.
    #[error("I-10: {server} was reported {wanted} by {id:?}, which was not read back")]
    NotReadBack {
        /// The machine.
        server: ServerId,
        /// The intent's id.
        id: String,
        /// The state that was reported.
        wanted: PowerState,
    },
    /// I-13: a command to a BMC whose identity contradicts the Server.
    #[error("I-13: {server} got {write:?} although its BMC says that it is another machine")]
    WrongMachine {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
    },
}

/// What the monitor allows for, since facts and commands reach it by different ways.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tolerance {
    /// A command may arrive this long after the fact that forbids it: it was past the gate already.
    pub in_flight: Duration,
    /// Two readings that confirm a state are at least this far apart.
    pub reading_gap: Duration,
}

/// Watches the invariants I-1 (power), I-5 (BMC writes), I-6, I-10 and I-13.
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
        }
        Ok(())
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
        if let Some(replica) = replica {
            self.holds_lease(server, write, replica, at)?;
        }
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
    fn read(&mut self, power: PowerState, at: Time) {
        self.run = Some(match self.run {
            Some((known, first, _)) if known == power => (power, first, at),
            _ => (power, at, at),
        });
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
