//! Whose a Server is: what its ServerBinding and the MetalMachine that it names say together, read live.
//!
//! That a binding exists is the lock; it says nothing of what may be done to the machine. Only a MetalMachine that lives
//! and says the same lets it be switched on, and only a mark on the binding lets it be given back.

use std::fmt;

use crate::Time;

/// What a ServerBinding says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The allocation that it was made for; absent on one that is not of this project's making.
    pub allocation: Option<String>,
    /// The mark that permits its release: the id of the allocation that is given back.
    pub mark: Option<String>,
    /// Since when it is being deleted.
    pub deleted: Option<Time>,
}

/// What the MetalMachine that a ServerBinding names says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Its claim.
    pub allocation: Option<String>,
    /// It names the Server as its own: `spec.providerID`.
    pub has_server: bool,
    /// Since when it is being deleted.
    pub deleted: Option<Time>,
    /// The allocation whose system is installed.
    pub installed: Option<String>,
}

/// Who has a Server, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// Nobody: no ServerBinding of its name exists.
    None,
    /// A ServerBinding exists, and nothing is to be done to the machine for it.
    Unconfirmed(Unconfirmed),
    /// A MetalMachine has it.
    Confirmed {
        /// The id of the claim.
        allocation: String,
        /// Its system is installed and was seen as a Node.
        installed: bool,
    },
    /// It is given back: the ServerBinding is marked and deleted, and no MetalMachine holds on to it.
    Released {
        /// The id of the claim that ends.
        allocation: String,
        /// Since when, as far as that can be told: the later of the deletions that say so.
        since: Time,
    },
    /// It was to be given back, and whoever marked the ServerBinding is gone and did not delete it.
    Abandoned,
}

/// Why nothing is done for a ServerBinding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unconfirmed {
    /// It has no allocation id: the original or a human made it.
    NoAllocation,
    /// Its MetalMachine is gone, and did not release it.
    Orphaned,
    /// Its MetalMachine does not name the Server yet.
    NotTaken,
    /// Its MetalMachine has another allocation.
    OtherAllocation,
    /// Its MetalMachine is being deleted and has not released it yet.
    MachineDeleted,
    /// It is being deleted without a mark.
    NotMarked,
    /// It is marked and being deleted, and its MetalMachine holds on to the Server.
    HeldOn,
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAllocation => {
                "its ServerBinding has no annotation metal.sidero.dev/allocation: it was not made by this provider"
            }
            Self::Orphaned => "the MetalMachine of its ServerBinding is gone and did not release it",
            Self::NotTaken => "the MetalMachine of its ServerBinding does not name it yet",
            Self::OtherAllocation => "the MetalMachine of its ServerBinding has another allocation",
            Self::MachineDeleted => "its MetalMachine is being deleted and has not released it yet",
            Self::NotMarked => {
                "its ServerBinding is deleted without a release: the machine stays as it is; delete the MetalMachine to release it"
            }
            Self::HeldOn => "its ServerBinding is released and its MetalMachine still names it",
        })
    }
}

impl Claim {
    /// Who has the Server, by its ServerBinding and the MetalMachine that this one names.
    pub fn of(binding: Option<&Binding>, machine: Option<&Machine>) -> Self {
        let Some(binding) = binding else {
            return Self::None;
        };
        match Self::judged(binding, machine) {
            Ok(claim) => claim,
            Err(why) => Self::Unconfirmed(why),
        }
    }

    /// A ServerBinding of its name exists, one being deleted included.
    pub const fn is_bound(&self) -> bool {
        !matches!(self, Self::None)
    }

    fn judged(binding: &Binding, machine: Option<&Machine>) -> Result<Self, Unconfirmed> {
        let Some(allocation) = &binding.allocation else {
            return Err(Unconfirmed::NoAllocation);
        };
        let is_marked = binding.mark.as_ref() == Some(allocation);
        if let Some(deleted) = binding.deleted {
            // I-11: the mark, and a machine that is being deleted, is gone, or does not name it (roll-back), let it go
            return match machine {
                // nobody is left who could mark it, but a human
                None if !is_marked => Err(Unconfirmed::Orphaned),
                Some(_) if !is_marked => Err(Unconfirmed::NotMarked),
                Some(machine) if machine.deleted.is_none() && machine.has_server => Err(Unconfirmed::HeldOn),
                // a ServerBinding may have been deleted by hand long before
                _ => Ok(Self::Released {
                    allocation: allocation.clone(),
                    since: machine
                        .and_then(|machine| machine.deleted)
                        .map_or(deleted, |at| at.max(deleted)),
                }),
            };
        }
        let Some(machine) = machine else {
            return if is_marked {
                Ok(Self::Abandoned)
            } else {
                Err(Unconfirmed::Orphaned)
            };
        };
        if !machine.is_for(allocation) {
            return Err(Unconfirmed::OtherAllocation);
        }
        if machine.deleted.is_some() {
            return Err(Unconfirmed::MachineDeleted);
        }
        if is_marked || !machine.has_server {
            return Err(Unconfirmed::NotTaken);
        }
        Ok(Self::Confirmed {
            allocation: allocation.clone(),
            installed: machine.installed.as_ref() == Some(allocation),
        })
    }
}

impl Machine {
    fn is_for(&self, allocation: &str) -> bool {
        self.allocation.as_deref() == Some(allocation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn binding() -> Binding {
        Binding {
            allocation: Some("a-1".into()),
            ..Binding::default()
        }
    }

    fn machine() -> Machine {
        Machine {
            allocation: Some("a-1".into()),
            has_server: true,
            ..Machine::default()
        }
    }

    fn confirmed(installed: bool) -> Claim {
        Claim::Confirmed {
            allocation: "a-1".into(),
            installed,
        }
    }

    #[test]
    fn a_claim_needs_a_living_machine_that_says_the_same() {
        let judge = |binding: &Binding, machine: Option<Machine>| Claim::of(Some(binding), machine.as_ref());
        let why = Claim::Unconfirmed;
        assert_eq!(Claim::of(None, None), Claim::None);
        assert_eq!(judge(&binding(), Some(machine())), confirmed(false));
        for (installed, is) in [("a-0", false), ("a-1", true)] {
            let machine = Machine {
                installed: Some(installed.into()),
                ..machine()
            };
            assert_eq!(judge(&binding(), Some(machine)), confirmed(is), "{installed}");
        }
        assert_eq!(
            judge(&Binding::default(), Some(machine())),
            why(Unconfirmed::NoAllocation)
        );
        assert_eq!(judge(&binding(), None), why(Unconfirmed::Orphaned));
        for (change, reason) in [
            (
                Machine {
                    allocation: None,
                    ..machine()
                },
                Unconfirmed::OtherAllocation,
            ),
            (
                Machine {
                    allocation: Some("a-2".into()),
                    ..machine()
                },
                Unconfirmed::OtherAllocation,
            ),
            (
                Machine {
                    deleted: Some(at(5)),
                    ..machine()
                },
                Unconfirmed::MachineDeleted,
            ),
            (
                Machine {
                    has_server: false,
                    ..machine()
                },
                Unconfirmed::NotTaken,
            ),
        ] {
            assert_eq!(judge(&binding(), Some(change)), why(reason));
        }
    }

    #[test]
    fn only_a_mark_and_a_machine_that_lets_go_give_it_back() {
        let deleted = |mark: Option<&str>| Binding {
            mark: mark.map(Into::into),
            deleted: Some(at(5)),
            ..binding()
        };
        let judge = |mark, machine: Option<Machine>| Claim::of(Some(&deleted(mark)), machine.as_ref());
        let released = |since| Claim::Released {
            allocation: "a-1".into(),
            since: at(since),
        };
        let going = Machine {
            deleted: Some(at(7)),
            ..machine()
        };
        let rolled_back = Machine {
            has_server: false,
            ..machine()
        };
        let elsewhere = Machine {
            allocation: Some("a-2".into()),
            has_server: false,
            ..machine()
        };
        for (gone, since) in [
            (None, 5),
            (Some(going.clone()), 7),
            (Some(rolled_back), 5),
            (Some(elsewhere), 5),
        ] {
            assert_eq!(judge(Some("a-1"), gone), released(since));
        }
        assert_eq!(
            judge(Some("a-1"), Some(machine())),
            Claim::Unconfirmed(Unconfirmed::HeldOn)
        );
        for mark in [None, Some("a-0"), Some("")] {
            for (machine, why) in [
                (None, Unconfirmed::Orphaned),
                (Some(going.clone()), Unconfirmed::NotMarked),
            ] {
                assert_eq!(judge(mark, machine), Claim::Unconfirmed(why), "{mark:?}");
            }
        }
        // a mark alone, before the deletion, permits nothing, but that whoever set it is gone
        let marked = Binding {
            deleted: None,
            ..deleted(Some("a-1"))
        };
        assert_eq!(Claim::of(Some(&marked), None), Claim::Abandoned);
        assert_eq!(
            Claim::of(Some(&marked), Some(&machine())),
            Claim::Unconfirmed(Unconfirmed::NotTaken)
        );
    }
}
