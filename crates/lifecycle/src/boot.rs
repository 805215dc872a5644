//! What a machine boots when it asks, what its agent is told, and whether its report of itself is believed.
//!
//! A boot answer other than *disk* is as serious as a power command: it decides which system gets the machine's disks.

use std::fmt;
use std::time::Duration;

use hardware_types::Mac;

use crate::claim::{Claim, Unconfirmed};
use crate::facts::{Purpose, Window};
use crate::server::MAX_CONFIG_BOOTS;
use crate::{HandsOff, Observed, hands_off};

/// What is known of a machine that asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// For the gate.
    pub observed: Observed,
    /// A ServerBinding of its name exists, one being deleted included.
    pub bound: bool,
    /// That ServerBinding is marked and being deleted.
    pub released: bool,
    /// Its disks are wiped and unused since.
    pub clean: bool,
    /// MAC addresses that its agent reported; empty as long as no agent did.
    pub macs: Vec<Mac>,
    /// It has an inventory.
    pub registered: bool,
    /// The inventory is its own agent's, who reported it here.
    pub reported: bool,
    /// The boot that it may do now.
    pub window: Option<Window>,
    /// Generation of the wipe that is due and not done.
    pub wipe_due: Option<u64>,
    /// The allocation for which that was raised.
    pub wipe_due_for: Option<String>,
    /// The wipe that is due ended badly, and the machine did not boot since.
    pub wipe_failed: bool,
    /// A BMC switches it on and off.
    pub has_driver: bool,
    /// It boots its environment from the network each time, as its user wants it.
    pub environment_always: bool,
}

impl View {
    /// It is in the window of its environment, as far as the Server alone says.
    fn environment_window(&self) -> Option<&Window> {
        self.window
            .as_ref()
            .filter(|window| window.purpose == Purpose::Environment && self.observed.accepted)
    }

    fn has_environment_always(&self) -> bool {
        self.environment_always && self.observed.accepted
    }

    /// Whether it may have come by this interface. Of a machine that never reported none is known.
    fn may_have(&self, mac: Option<Mac>) -> bool {
        self.macs.is_empty() || mac.is_some_and(|mac| self.macs.contains(&mac))
    }

    /// The window in which it is wiped.
    fn agent_window(&self) -> Option<&Window> {
        self.window
            .as_ref()
            .filter(|window| window.purpose == Purpose::Agent && self.observed.accepted && !self.clean)
    }
}

/// What the agent can still do for a machine that did not register yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prospect {
    /// One more machine may be registered.
    pub has_room: bool,
    /// How often it was given the agent within the last hour.
    pub agent_boots: u32,
}

/// Boots of the agent within an hour; after that it is not to be expected that it registers.
pub const MAX_AGENT_BOOTS: u32 = 3;

/// What the machine is to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The agent.
    Agent {
        /// With the token of its window, so that it gets orders.
        with_token: bool,
    },
    /// The environment of the cluster that has it, if a live look confirms that: see [`environment`].
    Environment,
    /// What is on its disk.
    Disk(Why),
    /// Nothing yet: ask again.
    Wait(Why),
}

/// Why a machine gets its disk, or waits, or why its agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It is left alone.
    HandsOff(HandsOff),
    /// A cluster has it, and no boot is due.
    Bound,
    /// A cluster gives it back: what is on its disk is nobody's any more.
    Released,
    /// A ServerBinding of its name exists, and nothing is done for it.
    Unconfirmed(Unconfirmed),
    /// It fetched its config in too many boots.
    ManyBoots,
    /// Its agent ran once, and nobody accepted it since.
    NotAccepted,
    /// Nobody knows it, and no more machines are registered.
    NoRoom,
    /// Its agent ran [`MAX_AGENT_BOOTS`] times within the hour, and did not register.
    AgentInVain,
    /// It is wiped and free.
    Clean,
    /// It is accepted, and its wipe has not begun.
    Dirty,
    /// It is wiped, and switched off next.
    Wiped,
    /// Its wipe ended badly.
    WipeFailed,
    /// It came by a network interface that its Server does not have.
    StrangeInterface,
    /// Something has the machine that a live look found.
    Claimed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandsOff(reason) => write!(f, "left alone, {reason}"),
            Self::Bound => f.write_str("a cluster has it and no boot is due"),
            Self::Released => f.write_str("its cluster gives it back, and it is switched off next"),
            Self::Unconfirmed(why) => why.fmt(f),
            Self::ManyBoots => write!(
                f,
                "it fetched its machine config in {MAX_CONFIG_BOOTS} boots and its Node was not seen"
            ),
            Self::NotAccepted => {
                f.write_str("it is registered and not accepted: set spec.accepted to true to use it")
            }
            Self::NoRoom => f.write_str(
                "as many machines are registered and not accepted as are allowed: accept or delete some",
            ),
            Self::AgentInVain => write!(
                f,
                "its agent ran {MAX_AGENT_BOOTS} times within an hour and did not register: its console says why"
            ),
            Self::Clean => f.write_str("it is wiped and free"),
            Self::Dirty => f.write_str("it is accepted and its disks are to be wiped first"),
            Self::Wiped => f.write_str("its disks are wiped and it is switched off next"),
            Self::WipeFailed => f.write_str("its wipe failed: status.phaseReason of its Server says why"),
            Self::StrangeInterface => {
                f.write_str("it booted by a network interface that its Server does not have")
            }
            Self::Claimed => f.write_str("a ServerBinding or a MetalMachine names it: it is not wiped"),
        }
    }
}

/// What a machine boots that came by this interface; without a view it is one that nobody knows.
pub fn answer(view: Option<&View>, mac: Option<Mac>, prospect: Prospect) -> Answer {
    let Some(view) = view else {
        return if prospect.has_room {
            first_boot(prospect)
        } else {
            Answer::Disk(Why::NoRoom)
        };
    };
    if let Some(reason) = hands_off(&view.observed) {
        // I-5; what is on the disk of a machine that is being wiped is half erased
        return if view.window.is_some() {
            Answer::Wait(Why::HandsOff(reason))
        } else {
            Answer::Disk(Why::HandsOff(reason))
        };
    }
    match view {
        // a live look tells whether what it ran is nobody's: see [`environment`]
        View {
            released: true,
            observed: Observed { accepted: true, .. },
            ..
        } => Answer::Environment,
        // without a window it has the environment each time that its user wants it so, whatever interface it came by
        View { bound: true, .. } => match (view.environment_window(), view.has_environment_always()) {
            (Some(_), false) if !view.may_have(mac) => Answer::Wait(Why::StrangeInterface),
            (Some(_), _) | (None, true) => Answer::Environment,
            (None, false) => Answer::Disk(Why::Bound),
        },
        View {
            observed: Observed { accepted: false, .. },
            registered,
            ..
        } => {
            // once: a stranger's machine goes on to its own system
            if *registered {
                Answer::Disk(Why::NotAccepted)
            } else {
                first_boot(prospect)
            }
        }
        View { clean: true, .. } => Answer::Disk(Why::Clean),
        _ if view.agent_window().is_some() => Answer::Agent {
            with_token: mac.is_some_and(|mac| view.macs.contains(&mac)),
        },
        // by hand or from elsewhere: it has to say first what it is, and gets no orders
        View { reported: false, .. } => first_boot(prospect),
        _ => Answer::Wait(Why::Dirty),
    }
}

/// Whether a machine gets the environment of who has it, by a live look at all of them; otherwise what it gets. It is as
/// destructive an answer as a wipe (I-2, I-5, I-9). The environment comes with the token of its window, if one is open.
pub fn environment(view: &View, claim: &Claim, config_boots: u32) -> Result<(), Answer> {
    if let Some(reason) = hands_off(&view.observed) {
        let why = Why::HandsOff(reason);
        return Err(match view.window {
            Some(_) => Answer::Wait(why),
            None => Answer::Disk(why),
        });
    }
    let (allocation, installed) = match claim {
        Claim::Confirmed {
            allocation,
            installed,
        } => (allocation, *installed),
        Claim::Unconfirmed(why) => return Err(Answer::Disk(Why::Unconfirmed(*why))),
        // its wipe is next: it waits for that, or for being switched off
        Claim::Released { .. } | Claim::Abandoned => return Err(Answer::Wait(Why::Released)),
        Claim::None => return Err(Answer::Disk(Why::Bound)),
    };
    if installed {
        return if view.has_environment_always() {
            Ok(())
        } else {
            Err(Answer::Disk(Why::Bound))
        };
    }
    let is_due = view.wipe_due_for.as_ref() == Some(allocation); // raised before anything of it may happen
    if view.environment_window().is_none() || !is_due {
        return Err(Answer::Disk(Why::Bound));
    }
    if config_boots >= MAX_CONFIG_BOOTS {
        return Err(Answer::Disk(Why::ManyBoots));
    }
    Ok(())
}

/// The agent until it has registered, a few times: a machine that cannot register goes on to its own system, too.
fn first_boot(prospect: Prospect) -> Answer {
    if prospect.agent_boots < MAX_AGENT_BOOTS {
        Answer::Agent { with_token: false }
    } else {
        Answer::Disk(Why::AgentInVain)
    }
}

/// What an agent is told that asks what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Ask again.
    Wait(Why),
    /// Restart the machine.
    Reboot(Why),
    /// Ask again at once with the token of the window.
    TakeToken,
    /// Wipe this generation, if a live look finds that nothing has the machine.
    Wipe(u64),
}

/// How an agent shows which machine it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The interface that it says it booted from.
    pub mac: Option<Mac>,
    /// It has the token of the window that is open.
    pub token: bool,
}

/// What the agent of a machine does next. It has waited this long since it registered.
pub fn order(view: &View, shown: Credentials, waited: Duration, limit: Duration) -> Order {
    if let Some(reason) = hands_off(&view.observed) {
        return Order::Wait(Why::HandsOff(reason)); // I-5: no orders
    }
    match view {
        View { bound: true, .. } => Order::Reboot(Why::Bound), // I-2
        View {
            observed: Observed { accepted: false, .. },
            ..
        } => {
            // I-1
            if waited < limit {
                Order::Wait(Why::NotAccepted)
            } else {
                Order::Reboot(Why::NotAccepted)
            }
        }
        View {
            clean: true,
            has_driver: true,
            ..
        } => Order::Wait(Why::Wiped),
        View { clean: true, .. } => Order::Reboot(Why::Clean),
        _ => within_window(view, shown),
    }
}

/// Whoever has a MAC address of the machine gets the token, as from `/ipxe`; whoever has the token gets orders (I-9).
fn within_window(view: &View, shown: Credentials) -> Order {
    let (Some(_), Some(generation)) = (view.agent_window(), view.wipe_due) else {
        return Order::Wait(Why::Dirty);
    };
    match shown {
        Credentials { token: true, .. } if view.wipe_failed => Order::Wait(Why::WipeFailed),
        Credentials { token: true, .. } => Order::Wipe(generation),
        Credentials { mac: Some(mac), .. } if view.macs.contains(&mac) => Order::TakeToken,
        Credentials { .. } => Order::Wait(Why::StrangeInterface),
    }
}

/// Why what an agent says of a wipe is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdered {
    /// No window, or not its token.
    #[error("no wipe was ordered of the machine that this token is for: boot it again")]
    NoToken,
    /// It is another wipe than the one that is due.
    #[error("wipe {reported} is reported, {} is due", .due.map_or_else(|| "none".into(), |due| due.to_string()))]
    Generation {
        /// What is reported.
        reported: u64,
        /// What is due.
        due: Option<u64>,
    },
    /// It is left alone, not accepted, or a cluster has it.
    #[error("nothing is taken of the wipe: {0}")]
    NotOurs(Why),
}

/// Whether what an agent says of this wipe is taken (I-1, I-2, I-5, I-9).
pub fn take_wipe(view: &View, token: bool, generation: u64) -> Result<(), NotOrdered> {
    if let Some(reason) = hands_off(&view.observed) {
        return Err(NotOrdered::NotOurs(Why::HandsOff(reason)));
    }
    if view.bound {
        return Err(NotOrdered::NotOurs(Why::Bound));
    }
    if !view.observed.accepted {
        return Err(NotOrdered::NotOurs(Why::NotAccepted));
    }
    if !token || view.agent_window().is_none() {
        return Err(NotOrdered::NoToken);
    }
    if view.wipe_due != Some(generation) {
        return Err(NotOrdered::Generation {
            reported: generation,
            due: view.wipe_due,
        });
    }
    Ok(())
}

/// Why a machine's report of itself is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is left alone.
    #[error("the Server is left alone, {0}")]
    HandsOff(HandsOff),
    /// Of accepted machines nothing is taken without the token of their boot window.
    #[error("the Server is accepted: a report without a boot token changes nothing about it")]
    Accepted,
    /// A cluster has it.
    #[error("a cluster has the machine: a report changes nothing about it")]
    Bound,
    /// Another machine has this UUID.
    #[error(
        "another machine with this UUID is registered: it has the MAC addresses {}, this one has {}; correct the UUID in the firmware of one of them",
        list(.known),
        list(.reported)
    )]
    Conflict {
        /// What the Server has.
        known: Vec<Mac>,
        /// What the report has.
        reported: Vec<Mac>,
    },
}

/// Most MAC addresses that a text names: a report is anybody's, and may have hundreds.
const MAX_LISTED: usize = 8;

fn list(macs: &[Mac]) -> String {
    if macs.is_empty() {
        return "none".into();
    }
    let texts: Vec<_> = macs.iter().take(MAX_LISTED).map(Mac::to_string).collect();
    let more = macs.len().saturating_sub(MAX_LISTED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    texts.join(", ") + &more
}

/// What of a machine's report of itself is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taken {
    /// All of it.
    Inventory,
    /// Its network interfaces: it came by one that its Server does not have.
    Interfaces,
    /// Nothing: what is known of an accepted machine is what its wipe is judged by.
    Nothing,
}

/// What is taken of a report about a known machine. Anybody can send one: it creates an unaccepted Server or brings
/// inventory of one (I-1). `reported` are the MAC addresses of the machine, the one that it booted from included.
pub fn take_report(view: &View, reported: &[Mac]) -> Result<Taken, NotTaken> {
    if let Some(reason) = hands_off(&view.observed) {
        return Err(NotTaken::HandsOff(reason));
    }
    if view.bound {
        return Err(NotTaken::Bound);
    }
    if !view.macs.is_empty() && !reported.iter().any(|mac| view.macs.contains(mac)) {
        return Err(NotTaken::Conflict {
            known: view.macs.clone(),
            reported: reported.to_vec(),
        });
    }
    if !view.observed.accepted || !view.reported {
        return Ok(Taken::Inventory);
    }
    let is_new = reported.iter().any(|mac| !view.macs.contains(mac));
    Ok(if is_new && view.agent_window().is_some() {
        Taken::Interfaces
    } else {
        Taken::Nothing
    })
}

/// Whether the addresses that an agent reports are taken.
pub fn take_addresses(view: &View, token: bool) -> Result<(), NotTaken> {
    if let Some(reason) = hands_off(&view.observed) {
        return Err(NotTaken::HandsOff(reason));
    }
    if view.bound {
        return Err(NotTaken::Bound);
    }
    let has_token = token && view.agent_window().is_some();
    if view.observed.accepted && !has_token {
        return Err(NotTaken::Accepted);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
