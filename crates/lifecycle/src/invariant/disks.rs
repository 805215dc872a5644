//! The rules about a machine's disks: who may be wiped, and when a machine counts as clean and free (I-1, I-2, I-4).

use hardware_types::{PowerState, ServerId};

use super::violation::{Holder, Violation};

/// What is known of a Server's wipes and of who has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Disks {
    pub(super) due: u64,
    done: u64,
    /// The last generation whose wipe began while nobody had the machine.
    begun: Option<u64>,
    pub(super) bound: bool,
    pub(super) claimed: bool,
    available: bool,
    pub(super) has_driver: bool,
    pub(super) had_agent: bool,
    pub(super) powered: Option<String>,
}

impl Disks {
    /// What is left once the Server is deleted: who has it is written on other objects.
    pub(super) fn of_deleted(self) -> Self {
        Self {
            bound: self.bound,
            claimed: self.claimed,
            ..Self::default()
        }
    }

    /// An agent reported of the wipe of this generation (I-2).
    pub(super) fn wiping(&mut self, server: ServerId, generation: u64) -> Result<(), Violation> {
        self.free(server, generation)?;
        self.begun = Some(generation);
        Ok(())
    }

    /// The wipe of this generation is recorded as done (I-2).
    pub(super) fn wiped(&mut self, server: ServerId, generation: u64) -> Result<(), Violation> {
        if generation > self.done {
            self.free(server, generation)?;
        }
        self.done = generation;
        Ok(())
    }

    /// Whether nobody had the machine when its wipe began. Somebody may come while it goes on: a user's MetalMachine that
    /// names the machine, or a binding whose maker sees the wipe and takes the binding back.
    fn free(&self, server: ServerId, generation: u64) -> Result<(), Violation> {
        let holder = match (self.bound, self.claimed) {
            (true, _) => Holder::Binding,
            (false, true) => Holder::MetalMachine,
            (false, false) => return Ok(()),
        };
        if self.begun == Some(generation) {
            return Ok(());
        }
        Err(Violation::WipedWhileHeld {
            server,
            generation,
            holder,
        })
    }

    /// The Server is offered, or no longer; `on` is its machine's power where it is known to be so for long (I-4).
    /// What a client wrote by hand about a machine that never had an agent is the client's word.
    pub(super) fn offered(
        &mut self,
        server: ServerId,
        available: bool,
        power: Option<PowerState>,
    ) -> Result<(), Violation> {
        let becomes = available && !self.available;
        self.available = available;
        if !becomes || !self.had_agent {
            return Ok(());
        }
        let (due, done) = (self.due, self.done);
        if due == 0 || due != done {
            return Err(Violation::AvailableUnwiped { server, due, done });
        }
        let why = match (&self.powered, power) {
            (Some(id), _) => format!("it was powered by {id:?} and was not confirmed off"),
            (None, Some(PowerState::On)) => "its machine is on".to_owned(),
            _ => return Ok(()),
        };
        // without a driver a human's word stands for a reading
        if !self.has_driver {
            return Ok(());
        }
        Err(Violation::AvailablePowered { server, why })
    }
}
