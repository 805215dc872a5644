//! Why a Server stands where it stands, in words for users.

use std::fmt;

use super::MAX_CONFIG_BOOTS;
use crate::HandsOff;
use crate::claim::Unconfirmed;

/// Why a Server stands where it stands, and what it waits for. The text changes when the situation does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Why {
    /// See [`HandsOff`].
    HandsOff(HandsOff),
    /// An annotation that is ours cannot be read.
    BadFact(String),
    /// Nobody accepted it.
    NotAccepted,
    /// Somebody has it, and nothing is done for them.
    Unconfirmed(Unconfirmed),
    /// Its environment is to be booted.
    Provisions,
    /// Somebody took it although it is not clean.
    TakenUnclean,
    /// It is on, nobody here switched it on, and it is to be installed.
    OnUnasked,
    /// It is on, and has not asked what to boot for as long as this window is open.
    EnvironmentDue,
    /// It asked, and loads its environment.
    EnvironmentLoads,
    /// It asked, and its environment cannot be had.
    Unserved(String),
    /// It fetched its config.
    ConfigServed {
        /// In so many boots.
        boots: u32,
    },
    /// It fetched its config in too many boots.
    ManyBoots,
    /// Its Node was seen.
    Installed,
    /// It is given back.
    Releases,
    /// It is given back, and a human must switch it off.
    SwitchOffByHand,
    /// It was given back, no BMC reads its power, and it asked what to boot since.
    StartedAgain,
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
    /// Every attempt to boot from the network failed.
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
            Self::Unconfirmed(why) => return why.fmt(f),
            Self::ConfigServed { boots } => {
                return write!(
                    f,
                    "it fetched its machine config (boot {boots} of {MAX_CONFIG_BOOTS}) and installs; waiting for its Node"
                );
            }
            Self::Unserved(why) => return write!(f, "it asked what to boot and asks again: {why}"),
            Self::ManyBoots => {
                return write!(
                    f,
                    "it fetched its machine config in {MAX_CONFIG_BOOTS} boots and its Node was not seen: its console says why; delete its Machine to have another one"
                );
            }
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
                    "switched on to boot from the network (attempt {attempt}), waiting for it to ask what to boot"
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
            Self::Provisions => "a MetalMachine has it, and it is to boot its cluster's system",
            Self::TakenUnclean => {
                "a MetalMachine has it although its disks are not wiped: nothing is booted; delete the MetalMachine"
            }
            Self::OnUnasked => {
                "a MetalMachine has it, and it is on although nobody here switched it on: switch it off to have it installed"
            }
            Self::EnvironmentDue => {
                "its boot window was lost and is open again: it gets its cluster's system when it asks what to boot"
            }
            Self::EnvironmentLoads => "it asked what to boot and loads its cluster's system",
            Self::Installed => "its Node was seen",
            Self::Releases => "given back by its MetalMachine",
            Self::SwitchOffByHand => {
                "given back by its MetalMachine, and no BMC is configured: switch it off and say so by annotation metal.sidero.dev/resume: PowerUnverified, or restart it and have it boot from the network"
            }
            Self::StartedAgain => "given back, and it has started again since: nobody's system runs",
            Self::NotRegistered => {
                "accepted, and its machine has not reported here: nothing is wiped before; boot it from the network"
            }
            Self::WipeBegins => "its disks are to be wiped",
            Self::OtherWindow => "a boot window for its wipe is open although a MetalMachine has it: nothing is booted",
            Self::WindowLapsed => {
                "the wipe got no sign of life for as long as a boot window is open: switch the machine off (annotation metal.sidero.dev/power: off) to have it tried again"
            }
            Self::PressButton => {
                "no BMC is configured: switch the machine on and have it boot from the network"
            }
            Self::BmcSilent => "waiting for its BMC: condition BMCReachable says why",
            Self::Powering => "being powered to boot from the network: condition PowerCommand says how far",
            Self::AgentLoads => "it asked what to boot and loads the agent",
            Self::AgentRuns => "its agent runs and gets its orders when it asks next",
            Self::NeverBooted => {
                "it never booted from the network: put network first in its boot order and switch it on, or ask again by annotation metal.sidero.dev/power: on"
            }
            Self::WipeDone => "its disks are wiped",
            Self::SwitchingOff => "no more needed, being switched off",
            Self::OffUnconfirmed => {
                "not confirmed off: tried again; condition PowerCommand says what was read"
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
