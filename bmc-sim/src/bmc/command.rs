//! Mutating commands: logged when they arrive, carried out or not, logged when they take effect.

use std::time::Duration;

use hardware_types::PowerState;

use super::{Bmc, State};
use crate::fault::{Fault, Protocol, Spec};
use crate::machine::{Cause, Edge, Event, FlagClearing, Origin, Output, Override, PowerPolicy, Refusal};
use crate::power_log::Entry;
use crate::users::{UserError, Users};
use crate::verb::{PowerVerb, Verb};

/// A command that the BMC refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The machine is in no state for it.
    #[error(transparent)]
    Machine(#[from] Refusal),
    /// Redfish refuses *on* for a machine that is on; IPMI does not.
    #[error("the machine is on already")]
    AlreadyOn,
    /// Fault `refuse-on`.
    #[error("power went off a moment ago")]
    JustOff,
    /// The user table will not have it.
    #[error(transparent)]
    User(#[from] UserError),
}

impl Bmc {
    /// A power command. `via`: the front end it came through; `None` for the control API, which has no faults.
    pub fn power(&self, verb: PowerVerb, origin: &Origin, via: Option<Protocol>) -> Result<(), CommandError> {
        self.command(verb.into(), Event::Power(verb, origin.clone()), origin, via)
    }

    /// Sets the boot override, or clears it.
    pub fn set_boot(
        &self,
        boot: Option<Override>,
        origin: &Origin,
        via: Protocol,
    ) -> Result<(), CommandError> {
        let lapses = via == Protocol::Ipmi;
        let event = Event::SetBoot {
            boot,
            lapses,
            origin: origin.clone(),
        };
        self.command(Verb::SetBoot, event, origin, Some(via))
    }

    /// Sets IPMI boot option parameter 3. It changes no machine, so it is not logged.
    pub fn set_flag_clearing(&self, clearing: FlagClearing) {
        let mut state = self.settled();
        let (outputs, _) = self.handle(&mut state, Event::SetFlagClearing(clearing));
        self.apply(&mut state, outputs);
    }

    /// Sets the power policy.
    pub fn set_policy(&self, policy: PowerPolicy, origin: &Origin) -> Result<(), CommandError> {
        self.command(
            Verb::SetPolicy,
            Event::SetPolicy(policy, origin.clone()),
            origin,
            Some(Protocol::Ipmi),
        )
    }

    /// Presses the power button, short or long.
    pub fn button(&self, long: bool, origin: &Origin) -> Result<(), CommandError> {
        let (verb, event) = if long {
            (Verb::ButtonLong, Event::ButtonLong(origin.clone()))
        } else {
            (Verb::ButtonShort, Event::ButtonShort(origin.clone()))
        };
        self.command(verb, event, origin, None)
    }

    /// Gives or takes mains power.
    pub fn mains(&self, on: bool, origin: &Origin) -> Result<(), CommandError> {
        let (verb, event) = if on {
            (Verb::PlugIn, Event::PlugIn(origin.clone()))
        } else {
            (Verb::Unplug, Event::Unplug(origin.clone()))
        };
        self.command(verb, event, origin, None)
    }

    /// Restarts the BMC: it is gone for a while, with all sessions and what it kept in memory.
    pub fn reset_bmc(&self, origin: &Origin, via: Protocol) -> Result<(), CommandError> {
        self.command(Verb::BmcReset, Event::BmcReset, origin, Some(via))
    }

    /// Changes the user in a slot.
    pub fn change_user(
        &self,
        verb: Verb,
        slot: u8,
        origin: &Origin,
        via: Protocol,
        change: impl FnOnce(&mut Users) -> Result<(), UserError>,
    ) -> Result<(), CommandError> {
        let mut state = self.settled();
        if self.ignored(&mut state, verb, origin, via) {
            return Ok(());
        }
        let mut users = state.users.clone();
        let result = change(&mut users);
        self.log_received(state.power_word(), verb, origin, answer(&result));
        result?;
        let (before, after) = (describe(&state.users, slot), describe(&users, slot));
        state.users = users;
        let edge = Edge {
            at: self.clock.now(),
            verb,
            before,
            after,
            cause: Cause::Command,
            origin: origin.clone(),
        };
        self.apply(&mut state, vec![Output::Edge(edge)]);
        Ok(())
    }

    /// Logs a mutating command that a front end refuses by itself; others change nothing and are not logged.
    pub fn refused(&self, verb: Verb, origin: &Origin, why: &str) {
        if verb.is_mutating() {
            let state = self.settled();
            self.log_received(state.power_word(), verb, origin, format!("refused: {why}"));
        }
    }

    fn command(
        &self,
        verb: Verb,
        event: Event,
        origin: &Origin,
        via: Option<Protocol>,
    ) -> Result<(), CommandError> {
        let mut state = self.settled();
        if let Some(via) = via {
            if verb == Verb::On && self.too_soon(&mut state, via) {
                let cause = "refused: power went off a moment ago (fault refuse-on)".into();
                self.log_received(state.power_word(), verb, origin, cause);
                return Err(CommandError::JustOff);
            }
            if via == Protocol::Redfish && verb == Verb::On && state.machine.power() == PowerState::On {
                self.log_received("on", verb, origin, "refused: the machine is on already".into());
                return Err(CommandError::AlreadyOn);
            }
            if self.ignored(&mut state, verb, origin, via) {
                return Ok(());
            }
        }
        // it arrived before it had any effect, and the log says so
        let (before, arrived) = (state.power_word(), self.clock.now());
        let (mut outputs, result) = self.handle(&mut state, event);
        self.log_received_at(arrived, before, verb, origin, answer(&result));
        if verb == Verb::BmcReset {
            outputs.insert(0, self.restart_bmc(&mut state, origin));
        }
        self.apply(&mut state, outputs);
        drop(state);
        self.changed.notify_one();
        Ok(result?)
    }

    fn restart_bmc(&self, state: &mut State, origin: &Origin) -> Output {
        let now = self.clock.now();
        state.down_until = now + self.config.bmc_reset;
        state.generation += 1;
        Output::Edge(Edge {
            at: now,
            verb: Verb::BmcReset,
            before: "running".into(),
            after: "restarting".into(),
            cause: Cause::Command,
            origin: origin.clone(),
        })
    }

    /// Whether fault `refuse-on` refuses an *on* now.
    fn too_soon(&self, state: &mut State, via: Protocol) -> bool {
        let now = self.clock.now();
        let off_for = now.saturating_sub(state.machine.off_since());
        let refuses = state
            .faults
            .spec(Fault::RefuseOn, now)
            .map_or(Duration::ZERO, Spec::duration);
        state.machine.power() == PowerState::Off
            && state.last_edge.is_some()
            && off_for < refuses
            && state
                .faults
                .bites(Fault::RefuseOn, Some((Verb::On, via)), now)
                .is_some()
    }

    fn ignored(&self, state: &mut State, verb: Verb, origin: &Origin, via: Protocol) -> bool {
        let ignored = state
            .faults
            .bites(Fault::IgnoreCommand, Some((verb, via)), self.clock.now())
            .is_some();
        if ignored {
            self.log_received(
                state.power_word(),
                verb,
                origin,
                "accepted (fault ignore-command)".into(),
            );
        }
        ignored
    }

    fn log_received(&self, before: &str, verb: Verb, origin: &Origin, cause: String) {
        self.log_received_at(self.clock.now(), before, verb, origin, cause);
    }

    fn log_received_at(&self, at: Duration, before: &str, verb: Verb, origin: &Origin, cause: String) {
        let at = self.clock.date(at);
        self.log
            .append(Entry::received(at, &self.name, origin, verb, before, cause));
    }
}

fn answer<E: std::fmt::Display>(result: &Result<(), E>) -> String {
    match result {
        Ok(()) => "accepted".into(),
        Err(why) => format!("refused: {why}"),
    }
}

fn describe(users: &Users, slot: u8) -> String {
    users.get(slot).map_or_else(
        || format!("user {slot}: none"),
        |user| {
            let enabled = if user.enabled { "enabled" } else { "disabled" };
            format!("user {slot}: {} {} {enabled}", user.name, user.role)
        },
    )
}
