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
            Self::Clean => f.write_str("it is wiped and free"),
            Self::Dirty => f.write_str("it is accepted and its disks are to be wiped first"),
        }
    }
}

/// What a machine boots; `None` is one that nobody knows.
pub fn answer(view: Option<&View>) -> Answer {
    let Some(view) = view else {
        return Answer::Agent;
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
                Answer::Agent
            }
        }
        View { clean: true, .. } => Answer::Disk(Why::Clean),
        _ => Answer::Wait(Why::Dirty),
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

fn list(macs: &[Mac]) -> String {
    if macs.is_empty() {
        return "none".into();
    }
    let texts: Vec<_> = macs.iter().map(Mac::to_string).collect();
    texts.join(", ")
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
        assert_eq!(answer(None), Answer::Agent);
        let by_hand = View {
            registered: false,
            ..view()
        };
        assert_eq!(answer(Some(&by_hand)), Answer::Agent);
        assert_eq!(answer(Some(&view())), Answer::Disk(Why::NotAccepted));
        let bound = View {
            bound: true,
            ..by_hand
        };
        assert_eq!(answer(Some(&bound)), Answer::Disk(Why::Bound));
    }

    #[test]
    fn an_accepted_machine_waits_until_it_is_clean() {
        assert_eq!(answer(Some(&accepted())), Answer::Wait(Why::Dirty));
        let clean = View {
            clean: true,
            ..accepted()
        };
        assert_eq!(answer(Some(&clean)), Answer::Disk(Why::Clean));
    }

    #[test]
    fn a_machine_in_hands_off_gets_its_disk_and_its_agent_no_orders() {
        for view in every() {
            let Some(reason) = hands_off(&view.observed) else {
                continue;
            };
            assert_eq!(
                answer(Some(&view)),
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
            assert!(matches!(answer(Some(&view)), Answer::Disk(_)), "{view:?}");
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
