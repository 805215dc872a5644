//! Why a Server stands where it stands, in words for users.

use std::fmt;

use crate::HandsOff;

/// Why a Server stands where it stands, and what it waits for. The text changes when the situation does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Why {
    /// See [`HandsOff`].
    HandsOff(HandsOff),
    /// An annotation that is ours cannot be read.
    BadFact(String),
    /// Nobody accepted it.
    NotAccepted,
    /// A cluster has it.
    Bound,
    /// Accepted, and its machine never reported here.
    NotRegistered,
    /// Something names it that a live look found.
    Named(String),
    /// The wipe is raised, or its window is about to open.
    WipeBegins,
    /// A window for something else is open.
    OtherWindow,
    /// Nothing was heard for as long as a window may be open.
    WindowLapsed,
    /// No BMC: a human must boot it.
    PressButton,
    /// Its BMC does not answer.
    BmcSilent,
    /// A power command is under way.
    Powering,
    /// On, and expected to ask what to boot.
    Booting {
        /// Which attempt.
        attempt: u32,
    },
    /// It asked, and loads the agent.
    AgentLoads,
    /// Its agent runs, and gets its orders when it asks.
    AgentRuns,
    /// It never asked what to boot.
    NoBoot {
        /// Which attempt.
        attempt: u32,
    },
    /// Every attempt to boot the agent failed.
    NeverBooted,
    /// The agent wipes: how far it is.
    Wiping(String),
    /// The wipe ended badly.
    WipeFailed(String),
    /// The wipe is done.
    WipeDone,
    /// It is being switched off.
    SwitchingOff,
    /// It was not confirmed off, and that is tried again.
    OffUnconfirmed,
    /// A user switched it on.
    OnByRequest,
    /// Free, and kept out of clusters.
    Cordoned,
    /// Free, and nothing can say whether it is off.
    PowerUnverified,
    /// Free, and its BMC does not say that it is off.
    PowerUnknown,
    /// Free.
    Free,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HandsOff(reason) => return reason.fmt(f),
            Self::BadFact(what) => return write!(f, "{what}; correct or remove it"),
            Self::Named(what) => {
                return write!(
                    f,
                    "not wiped: {what} names this Server; delete that, or let it have the machine"
                );
            }
            Self::Booting { attempt } => {
                return write!(
                    f,
                    "switched on to boot the agent from the network (attempt {attempt}), waiting for it to ask what to boot"
                );
            }
            Self::NoBoot { attempt } => {
                return write!(
                    f,
                    "it did not boot from the network within the boot deadline (attempt {attempt}): switched off, since it may run what is on its disk"
                );
            }
            Self::Wiping(progress) if progress.is_empty() => "its agent wipes the disks",
            Self::Wiping(progress) => return write!(f, "its agent wipes the disks: {progress}"),
            Self::WipeFailed(error) => return write!(f, "the wipe failed: {error}"),
            Self::NotAccepted => "not accepted: set spec.accepted to true to let it be powered and wiped",
            Self::Bound => "a cluster has it",
            Self::NotRegistered => {
                "accepted, and its machine has not reported here: nothing is wiped before; boot it from the network"
            }
            Self::WipeBegins => "its disks are to be wiped",
            Self::OtherWindow => "a boot window for something else is open although a wipe is due",
            Self::WindowLapsed => {
                "the wipe got no sign of life for as long as a boot window is open: switch the machine off (annotation metal.sidero.dev/power: off) to have it tried again"
            }
            Self::PressButton => {
                "no BMC is configured: switch the machine on and have it boot from the network, to be wiped"
            }
            Self::BmcSilent => "waiting for its BMC: condition BMCReachable says why",
            Self::Powering => "being powered to boot the agent: condition PowerCommand says how far",
            Self::AgentLoads => "it asked what to boot and loads the agent",
            Self::AgentRuns => "its agent runs and gets its orders when it asks next",
            Self::NeverBooted => {
                "it never booted from the network: put network first in its boot order and switch it on, or ask again by annotation metal.sidero.dev/power: on"
            }
            Self::WipeDone => "its disks are wiped",
            Self::SwitchingOff => "wiped, being switched off",
            Self::OffUnconfirmed => {
                "wiped, and not confirmed off: tried again; condition PowerCommand says what was read"
            }
            Self::OnByRequest => {
                "wiped, and on because a user asked for it: not offered to clusters until it is switched off by annotation metal.sidero.dev/power: off"
            }
            Self::Cordoned => "wiped and off, and kept out of new clusters by spec.cordoned",
            Self::PowerUnverified => "wiped; no BMC can say whether it is off",
            Self::PowerUnknown => {
                "wiped, and its BMC does not say that it is off: condition BMCReachable says why"
            }
            Self::Free => "wiped, off and free",
        })
    }
}
