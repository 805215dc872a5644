//! What a machine boots when it asks, what its agent is told, and whether its report of itself is believed.
//!
//! A boot answer other than *disk* is as serious as a power command: it decides which system gets the machine's disks.

use std::fmt;
use std::time::Duration;

use hardware_types::Mac;

use crate::{HandsOff, Observed, hands_off};

/// What is known of a machine that asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// For the gate.
    pub observed: Observed,
    /// A ServerBinding of its name exists, one being deleted included.
    pub bound: bool,
    /// Its disks are wiped and unused since.
    pub clean: bool,
    /// MAC addresses that its agent reported; empty as long as no agent did.
    pub macs: Vec<Mac>,
    /// An agent reported its inventory.
    pub registered: bool,
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
    Agent,
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
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandsOff(reason) => write!(f, "left alone, {reason}"),
            Self::Bound => f.write_str("a cluster has it and no boot is due"),
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
        }
    }
}

/// What a machine boots; without a view it is one that nobody knows.
pub fn answer(view: Option<&View>, prospect: Prospect) -> Answer {
    let Some(view) = view else {
        return if prospect.has_room {
            first_boot(prospect)
        } else {
            Answer::Disk(Why::NoRoom)
        };
    };
    if let Some(reason) = hands_off(&view.observed) {
        return Answer::Disk(Why::HandsOff(reason)); // I-5
    }
    match view {
        View { bound: true, .. } => Answer::Disk(Why::Bound),
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
        _ => Answer::Wait(Why::Dirty),
    }
}

/// The agent until it has registered, a few times: a machine that cannot register goes on to its own system, too.
fn first_boot(prospect: Prospect) -> Answer {
    if prospect.agent_boots < MAX_AGENT_BOOTS {
        Answer::Agent
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
}

/// What the agent of a machine does next. It has waited this long since it registered.
pub fn order(view: &View, waited: Duration, limit: Duration) -> Order {
    if let Some(reason) = hands_off(&view.observed) {
        return Order::Wait(Why::HandsOff(reason)); // I-5: no orders
    }
    match view {
        View { bound: true, .. } => Order::Reboot(Why::Bound),
        View {
            observed: Observed { accepted: false, .. },
            ..
        } => {
            if waited < limit {
                Order::Wait(Why::NotAccepted)
            } else {
                Order::Reboot(Why::NotAccepted)
            }
        }
        View { clean: true, .. } => Order::Reboot(Why::Clean),
        _ => Order::Wait(Why::Dirty),
    }
}

/// Why a machine's report of itself is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is left alone.
    #[error("the Server is left alone, {0}")]
    HandsOff(HandsOff),
    /// Reports about accepted machines are only taken within a boot window.
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

/// Whether a report without token about a known machine is taken. Anybody can send one: it creates an unaccepted Server
/// or brings inventory of one, nothing else (I-1).
pub fn take_report(view: &View, reported: &[Mac]) -> Result<(), NotTaken> {
    if let Some(reason) = hands_off(&view.observed) {
        return Err(NotTaken::HandsOff(reason));
    }
    if view.bound {
        return Err(NotTaken::Bound);
    }
    if view.observed.accepted {
        return Err(NotTaken::Accepted);
    }
    if !view.macs.is_empty() && !reported.iter().any(|mac| view.macs.contains(mac)) {
        return Err(NotTaken::Conflict {
            known: view.macs.clone(),
            reported: reported.to_vec(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityVerdict;

    const LIMIT: Duration = Duration::from_mins(10);
    const OURS: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const SECOND: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
    const STRANGE: Mac = Mac::new([2, 0, 0, 0, 0, 9]);
    const NEW: Prospect = Prospect {
        has_room: true,
        agent_boots: 0,
    };

    fn view() -> View {
        View {
            observed: Observed {
                accepted: false,
                paused: false,
                installation: Some("here".into()),
                here: "here".into(),
                identity: IdentityVerdict::Unknown,
                identity_confirmed: false,
                unexpectedly_on: false,
            },
            bound: false,
            clean: false,
            macs: vec![OURS, SECOND],
            registered: true,
        }
    }

    fn paused(mut view: View) -> View {
        view.observed.paused = true;
        view
    }

    fn accepted() -> View {
        let mut view = view();
        view.observed.accepted = true;
        view
    }

    /// Every combination of the facts.
    fn every() -> impl Iterator<Item = View> {
        (0..64_u8).map(|bits| {
            let bit = |at: u8| bits & (1 << at) != 0;
            let mut view = view();
            view.observed.accepted = bit(0);
            view.observed.paused = bit(1);
            view.bound = bit(2);
            view.clean = bit(3);
            view.registered = bit(4);
            view.observed.identity = if bit(5) {
                IdentityVerdict::Contradicts
            } else {
                IdentityVerdict::Unknown
            };
            view
        })
    }

    #[test]
    fn an_unaccepted_machine_gets_the_agent_once_and_its_disk_afterwards() {
        assert_eq!(answer(None, NEW), Answer::Agent);
        let by_hand = View {
            registered: false,
            ..view()
        };
        assert_eq!(answer(Some(&by_hand), NEW), Answer::Agent);
        assert_eq!(answer(Some(&view()), NEW), Answer::Disk(Why::NotAccepted));
        let bound = View {
            bound: true,
            ..by_hand
        };
        assert_eq!(answer(Some(&bound), NEW), Answer::Disk(Why::Bound));
    }

    #[test]
    fn an_unknown_machine_gets_its_disk_where_no_more_are_registered() {
        let full = Prospect {
            has_room: false,
            ..NEW
        };
        assert_eq!(answer(None, full), Answer::Disk(Why::NoRoom));
        let by_hand = View {
            registered: false,
            ..view()
        };
        assert_eq!(answer(Some(&by_hand), full), Answer::Agent, "it has its room");
    }

    #[test]
    fn a_machine_that_does_not_register_gets_its_disk_after_the_third_boot_of_the_agent() {
        let by_hand = View {
            registered: false,
            ..view()
        };
        let boots = |agent_boots| Prospect { agent_boots, ..NEW };
        for known in [None, Some(&by_hand)] {
            assert_eq!(answer(known, boots(2)), Answer::Agent);
            assert_eq!(answer(known, boots(3)), Answer::Disk(Why::AgentInVain));
            assert_eq!(answer(known, boots(u32::MAX)), Answer::Disk(Why::AgentInVain));
        }
        assert_eq!(
            answer(Some(&accepted()), boots(3)),
            Answer::Wait(Why::Dirty),
            "it is not about the agent's first boot"
        );
    }

    #[test]
    fn an_accepted_machine_waits_until_it_is_clean() {
        assert_eq!(answer(Some(&accepted()), NEW), Answer::Wait(Why::Dirty));
        let clean = View {
            clean: true,
            ..accepted()
        };
        assert_eq!(answer(Some(&clean), NEW), Answer::Disk(Why::Clean));
    }

    #[test]
    fn a_machine_in_hands_off_gets_its_disk_and_its_agent_no_orders() {
        for view in every() {
            let Some(reason) = hands_off(&view.observed) else {
                continue;
            };
            assert_eq!(
                answer(Some(&view), NEW),
                Answer::Disk(Why::HandsOff(reason)),
                "{view:?}"
            );
            let order = order(&view, LIMIT, LIMIT);
            assert_eq!(order, Order::Wait(Why::HandsOff(reason)), "{view:?}");
            let taken = take_report(&view, &[OURS]);
            assert_eq!(taken, Err(NotTaken::HandsOff(reason)), "{view:?}");
        }
    }

    #[test]
    fn a_bound_machine_never_gets_anything_but_its_disk() {
        for view in every().filter(|view| view.bound) {
            assert!(matches!(answer(Some(&view), NEW), Answer::Disk(_)), "{view:?}");
            assert!(take_report(&view, &[OURS]).is_err(), "{view:?}");
        }
    }

    #[test]
    fn the_agent_of_an_unaccepted_machine_waits_up_to_the_limit_and_reboots() {
        let last = LIMIT.saturating_sub(Duration::from_millis(1));
        assert_eq!(order(&view(), last, LIMIT), Order::Wait(Why::NotAccepted));
        assert_eq!(order(&view(), LIMIT, LIMIT), Order::Reboot(Why::NotAccepted));
        assert_eq!(order(&accepted(), LIMIT, LIMIT), Order::Wait(Why::Dirty));
        let taken = View {
            bound: true,
            ..accepted()
        };
        assert_eq!(order(&taken, Duration::ZERO, LIMIT), Order::Reboot(Why::Bound));
    }

    #[test]
    fn a_refusal_names_eight_mac_addresses_and_counts_the_others() {
        let macs: Vec<_> = (10..30).map(|n| Mac::new([2, 0, 0, 0, 0, n])).collect();
        let text = |count: usize| take_report(&view(), &macs[..count]).unwrap_err().to_string();
        assert!(
            text(8).contains("02:00:00:00:00:11;") && !text(8).contains("more"),
            "{}",
            text(8)
        );
        let long = text(20);
        assert!(long.contains("02:00:00:00:00:11 and 12 more;"), "{long}");
        assert!(!long.contains("02:00:00:00:00:12"), "{long}");
    }

    #[test]
    fn a_report_is_taken_of_an_unaccepted_machine_with_a_known_mac_only() {
        assert_eq!(take_report(&view(), &[STRANGE, SECOND]), Ok(()));
        let unknown = View {
            macs: Vec::new(),
            ..view()
        };
        assert_eq!(take_report(&unknown, &[STRANGE]), Ok(()));
        assert_eq!(take_report(&accepted(), &[OURS]), Err(NotTaken::Accepted));
        let conflict = take_report(&view(), &[STRANGE]).unwrap_err().to_string();
        for text in ["02:00:00:00:00:01", "02:00:00:00:00:09"] {
            assert!(conflict.contains(text), "{conflict}");
        }
        assert!(take_report(&view(), &[]).is_err());
        assert!(take_report(&paused(view()), &[OURS]).is_err());
    }
}
