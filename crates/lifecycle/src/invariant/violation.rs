//! What was done that must never be, and what was done to a BMC when it was.

use hardware_types::{PowerState, ServerId};

use crate::HandsOff;
use crate::power::Command;

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

/// Who has a Server that was wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A ServerBinding of its name exists.
    Binding,
    /// A MetalMachine names it.
    MetalMachine,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Binding => "a ServerBinding for it exists",
            Self::MetalMachine => "a MetalMachine names it",
        })
    }
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
    /// I-1: a machine that nobody accepted is wiped.
    #[error("I-1: {server} is wiped (generation {generation}) although it is not accepted")]
    WipedUnaccepted {
        /// The machine.
        server: ServerId,
        /// The generation of the wipe.
        generation: u64,
    },
    /// I-2: a machine that somebody has was wiped.
    #[error("I-2: {server} was wiped (generation {generation}) although {holder}")]
    WipedWhileHeld {
        /// The machine.
        server: ServerId,
        /// The generation of the wipe.
        generation: u64,
        /// Who has it.
        holder: Holder,
    },
    /// I-3: two machines got one Server.
    #[error("I-3: {server} is the Server of {count} MetalMachines")]
    TwoOwners {
        /// The machine.
        server: ServerId,
        /// How many have it.
        count: usize,
    },
    /// I-3: one machine got two Servers.
    #[error("I-3: {server} is one of {count} Servers that are bound to its MetalMachine")]
    TwoServers {
        /// The machine.
        server: ServerId,
        /// How many that one has.
        count: usize,
    },
    /// I-4: a Server became Available whose disks are not wiped for their present generation.
    #[error("I-4: {server} became Available although generation {due} is to be wiped and {done} was")]
    AvailableUnwiped {
        /// The machine.
        server: ServerId,
        /// The generation that must be wiped; 0: none was ever raised.
        due: u64,
        /// The generation that was; 0: none.
        done: u64,
    },
    /// I-4: a Server became Available whose machine is on, or is not known to be off.
    #[error("I-4: {server} became Available although {why}")]
    AvailablePowered {
        /// The machine.
        server: ServerId,
        /// What speaks against its being off.
        why: String,
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
    #[error("I-6: {server} got {write:?} from {replica}, which does not hold the lease")]
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
    /// I-11: a machine was switched off for a ServerBinding that is deleted without a mark.
    #[error("I-11: {server} got {write:?} although its ServerBinding is deleted without a release")]
    OffWithoutMark {
        /// The machine.
        server: ServerId,
        /// What its BMC got.
        write: Write,
    },
    /// I-11: a ServerBinding let its machine go before that was confirmed off, or the release deadline was recorded.
    #[error("I-11: {server} was let go although {why}")]
    LetGoPowered {
        /// The machine.
        server: ServerId,
        /// What speaks against its being off.
        why: String,
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

impl Violation {
    /// The machine.
    pub const fn server(&self) -> ServerId {
        match self {
            Self::NotAccepted { server, .. }
            | Self::WipedUnaccepted { server, .. }
            | Self::WipedWhileHeld { server, .. }
            | Self::TwoOwners { server, .. }
            | Self::TwoServers { server, .. }
            | Self::AvailableUnwiped { server, .. }
            | Self::AvailablePowered { server, .. }
            | Self::HandsOff { server, .. }
            | Self::NotStored { server, .. }
            | Self::NotLeader { server, .. }
            | Self::NotReadBack { server, .. }
            | Self::OffWithoutMark { server, .. }
            | Self::LetGoPowered { server, .. }
            | Self::WrongMachine { server, .. } => *server,
        }
    }

    /// The invariant's name, such as `I-1`.
    pub const fn invariant(&self) -> &'static str {
        match self {
            Self::NotAccepted { .. } | Self::WipedUnaccepted { .. } => "I-1",
            Self::WipedWhileHeld { .. } => "I-2",
            Self::TwoOwners { .. } | Self::TwoServers { .. } => "I-3",
            Self::AvailableUnwiped { .. } | Self::AvailablePowered { .. } => "I-4",
            Self::HandsOff { .. } => "I-5",
            Self::NotStored { .. } | Self::NotLeader { .. } => "I-6",
            Self::NotReadBack { .. } => "I-10",
            Self::OffWithoutMark { .. } | Self::LetGoPowered { .. } => "I-11",
            Self::WrongMachine { .. } => "I-13",
        }
    }
}
