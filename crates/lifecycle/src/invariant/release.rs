//! The rules about giving a machine back: only a mark lets it be switched off, and it is not let go before it is off (I-11).

use hardware_types::{PowerState, ServerId};

use super::violation::Violation;

/// How it stands with a Server's ServerBinding; the default is that there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hold {
    /// It holds the machine: its finalizer is there.
    pub holds: bool,
    /// It is marked as given back.
    pub marked: bool,
    /// It is being deleted.
    pub deleted: bool,
}

/// What is known of a machine when its ServerBinding lets it go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// By whose will it is on, as long as it was not confirmed off.
    pub(super) powered: Option<&'a str>,
    /// By its power log, where it is known to be so for long.
    pub(super) power: Option<PowerState>,
    pub(super) has_driver: bool,
    /// It is another installation's.
    pub(super) is_foreign: bool,
}

/// What is known of a Server's release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Release {
    hold: Hold,
    /// It was switched on since this ServerBinding holds it.
    was_on: bool,
    /// A release that ended at its deadline is recorded.
    pub(super) quarantined: bool,
}

impl Release {
    /// Its ServerBinding is being deleted, and nobody gave the machine back.
    pub(super) const fn is_unmarked(&self) -> bool {
        self.hold.deleted && !self.hold.marked
    }

    /// It is on by our will.
    pub(super) const fn powered(&mut self) {
        self.was_on |= self.hold.holds;
    }

    /// Its ServerBinding is so now.
    pub(super) fn held(
        &mut self,
        server: ServerId,
        hold: Hold,
        machine: Machine<'_>,
    ) -> Result<(), Violation> {
        let lets_go = self.hold.holds && !hold.holds;
        let was_on = self.was_on || machine.powered.is_some();
        self.was_on = hold.holds && was_on;
        self.hold = hold;
        if !lets_go || self.quarantined || machine.is_foreign {
            return Ok(());
        }
        let why = match (machine.powered, machine.power) {
            (Some(id), _) => format!("it was powered by {id:?} and was not confirmed off"),
            (None, Some(PowerState::On)) if was_on && machine.has_driver => "its machine is on".to_owned(),
            _ => return Ok(()),
        };
        Err(Violation::LetGoPowered { server, why })
    }
}
