//! The gate before everything: whether a Server may be touched at all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::IdentityVerdict;

/// What is known of a Server when a decision about it is due.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// `spec.accepted`.
    pub accepted: bool,
    /// The pause annotation is set on the Server or on what owns it.
    pub paused: bool,
    /// The installation that owns the Server by its annotation; `None` until the controller has written it.
    pub installation: Option<String>,
    /// This installation: UID of the namespace `kube-system` of the management cluster.
    pub here: String,
    /// What its BMC's identity says.
    pub identity: IdentityVerdict,
    /// A human looked at an identity that is merely different, and resumed.
    pub identity_confirmed: bool,
    /// Its binding's MetalMachine vanished without releasing it: see [`crate::claim::Unconfirmed::Orphaned`].
    pub orphaned: bool,
    /// It is on although nobody here switched it on: see [`crate::server::is_unexpectedly_on`].
    pub unexpectedly_on: bool,
}

/// Why a Server is left alone: nothing is written to its BMC, its agent gets no orders, it cannot be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HandsOff {
    /// A human, or Cluster API, paused it.
    Paused,
    /// It belongs to another installation, or left this one.
    Foreign,
    /// Its binding's MetalMachine vanished without releasing it.
    Orphaned,
    /// It is on although nobody here switched it on.
    UnexpectedPower,
    /// Its BMC says that it is another machine.
    Conflict,
}

impl HandsOff {
    /// The word that users read, and write into the `resume` annotation.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Paused => "Paused",
            Self::Foreign => "Foreign",
            Self::Orphaned => "Orphaned",
            Self::UnexpectedPower => "UnexpectedPower",
            Self::Conflict => "Conflict",
        }
    }
}

impl fmt::Display for HandsOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Paused => "paused: remove the pause to go on",
            Self::Foreign => "owned by another installation: the annotation take-over brings it here",
            Self::Orphaned => "the MetalMachine of its ServerBinding vanished without releasing it: resume with Orphaned to release it",
            Self::UnexpectedPower => {
                "it is on and nobody here switched it on: switch it off, or resume with UnexpectedPower"
            }
            Self::Conflict => {
                "its BMC says that it is another machine: correct spec.bmc.endpoint (an IPMI GUID that is nobody's is settled by resume with Conflict)"
            }
        })
    }
}

/// Why no command may be sent to a Server's BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It is in hands-off.
    #[error("hands off, {0}")]
    HandsOff(HandsOff),
    /// Nobody accepted it.
    #[error("not accepted: set spec.accepted to true to let it be powered")]
    NotAccepted,
}

/// Whether the Server must be left alone, and why. Asked first, by every plan, boot answer and agent order (invariant I-5).
/// A pause wins over everything.
pub fn hands_off(observed: &Observed) -> Option<HandsOff> {
    if observed.paused {
        return Some(HandsOff::Paused);
    }
    // None is a Server that nobody owns yet; any other value is somebody else's, `moved` included
    if observed
        .installation
        .as_ref()
        .is_some_and(|owner| *owner != observed.here)
    {
        return Some(HandsOff::Foreign);
    }
    if observed.orphaned {
        return Some(HandsOff::Orphaned);
    }
    match observed.identity {
        IdentityVerdict::Contradicts => Some(HandsOff::Conflict), // I-13
        IdentityVerdict::Different if !observed.identity_confirmed => Some(HandsOff::Conflict),
        _ if observed.unexpectedly_on => Some(HandsOff::UnexpectedPower),
        IdentityVerdict::Different | IdentityVerdict::Same | IdentityVerdict::Unknown => None,
    }
}

/// Whether a command may be sent to the Server's BMC (invariants I-1, I-5, I-13).
pub fn may_command(observed: &Observed) -> Result<(), Refusal> {
    match hands_off(observed) {
        Some(reason) => Err(Refusal::HandsOff(reason)),
        None if !observed.accepted => Err(Refusal::NotAccepted),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Observed {
        Observed {
            accepted: true,
            paused: false,
            installation: Some("here".into()),
            here: "here".into(),
            identity: IdentityVerdict::Same,
            identity_confirmed: false,
            orphaned: false,
            unexpectedly_on: false,
        }
    }

    #[test]
    fn an_accepted_server_of_ours_may_be_commanded() {
        assert_eq!(may_command(&ours()), Ok(()));
        let unmarked = Observed {
            installation: None,
            identity: IdentityVerdict::Unknown,
            ..ours()
        };
        assert_eq!(may_command(&unmarked), Ok(()));
    }

    #[test]
    fn a_server_that_nobody_accepted_is_refused() {
        let unaccepted = Observed {
            accepted: false,
            ..ours()
        };
        assert_eq!(may_command(&unaccepted), Err(Refusal::NotAccepted));
    }

    #[test]
    fn a_pause_wins_over_every_other_reason() {
        let everything = Observed {
            accepted: false,
            paused: true,
            installation: Some("moved".into()),
            identity: IdentityVerdict::Contradicts,
            ..ours()
        };
        assert_eq!(hands_off(&everything), Some(HandsOff::Paused));
    }

    #[test]
    fn another_installation_and_one_that_moved_away_are_foreign() {
        for owner in ["elsewhere", "moved", ""] {
            let foreign = Observed {
                installation: Some(owner.into()),
                ..ours()
            };
            assert_eq!(hands_off(&foreign), Some(HandsOff::Foreign), "{owner:?}");
        }
    }

    #[test]
    fn a_server_whose_metal_machine_vanished_is_left_alone() {
        let orphaned = Observed {
            orphaned: true,
            ..ours()
        };
        assert_eq!(hands_off(&orphaned), Some(HandsOff::Orphaned));
    }

    #[test]
    fn a_human_settles_a_different_identity_but_never_a_contradicting_one() {
        for (identity, identity_confirmed, expected) in [
            (IdentityVerdict::Different, false, Some(HandsOff::Conflict)),
            (IdentityVerdict::Different, true, None),
            (IdentityVerdict::Contradicts, false, Some(HandsOff::Conflict)),
            (IdentityVerdict::Contradicts, true, Some(HandsOff::Conflict)),
        ] {
            let observed = Observed {
                identity,
                identity_confirmed,
                ..ours()
            };
            assert_eq!(
                hands_off(&observed),
                expected,
                "{identity:?}, confirmed {identity_confirmed}"
            );
        }
    }
}
