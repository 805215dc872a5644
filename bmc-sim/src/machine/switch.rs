//! Who switches a machine: power commands, the power button, mains power and the power policy.

use super::{
    Action, Cause, Firmware, FlagClearing, Machine, Origin, Output, Pending, Phase, PowerPolicy, Refusal,
    RestartCause, SimTime,
};
use crate::verb::{PowerVerb, Verb};

impl Machine {
    pub(super) fn power_command(
        &mut self,
        verb: PowerVerb,
        origin: Origin,
        now: SimTime,
        firmware: &mut impl Firmware,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let on = self.is_on();
        match (verb, &self.phase) {
            (_, Phase::Unplugged { .. }) => return Err(Refusal::Unplugged),
            (PowerVerb::On, Phase::Off) => {
                self.begin_on(verb.into(), Cause::Command, origin, now);
                self.restart_cause = RestartCause::ChassisControl;
            }
            // what is so already stays so
            (PowerVerb::On, Phase::PoweringOn(_) | Phase::Post { .. } | Phase::Running) => {}
            (PowerVerb::Off, Phase::PoweringOn(_)) => self.phase = Phase::Off,
            (PowerVerb::Off, Phase::PoweringOff { pending, .. }) => {
                self.phase = Phase::PoweringOff {
                    pending: pending.clone(),
                    then_on: false,
                };
            }
            (PowerVerb::Off, _) if on => self.begin_off(verb.into(), Cause::Command, origin, now, false),
            (PowerVerb::SoftOff, _) if on => self.ask_shutdown(origin, out),
            (PowerVerb::Cycle, _) if on => {
                self.begin_off(verb.into(), Cause::Command, origin, now, true);
                self.restart_cause = RestartCause::ChassisControl;
            }
            (PowerVerb::Reset, _) if on => {
                self.restart(verb.into(), Cause::Command, &origin, now, firmware, out);
                self.restart_cause = RestartCause::ChassisControl;
            }
            _ => return Err(self.refusal()),
        }
        self.chassis_control(now);
        Ok(())
    }

    pub(super) fn button_short(
        &mut self,
        origin: Origin,
        now: SimTime,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        if self.is_on() {
            self.ask_shutdown(origin, out);
            return Ok(());
        }
        let Phase::Off = self.phase else {
            return Err(self.refusal());
        };
        if !self.clearing.has(FlagClearing::KEEP_ON_BUTTON_POWER_UP) {
            self.drop_volatile_flags(now, Cause::Button, out);
        }
        self.begin_on(Verb::ButtonShort, Cause::Button, origin, now);
        self.restart_cause = RestartCause::PowerButton;
        Ok(())
    }

    fn ask_shutdown(&mut self, origin: Origin, out: &mut Vec<Output>) {
        // firmware in its self test does not listen to ACPI
        if matches!(self.phase, Phase::Running) {
            self.soft_off = Some(origin);
            out.push(Output::Action(Action::ShutDown));
        }
    }

    fn begin_on(&mut self, verb: Verb, cause: Cause, origin: Origin, now: SimTime) {
        let until = now + self.settings.timings.on;
        self.phase = Phase::PoweringOn(Pending {
            until,
            verb,
            cause,
            origin,
        });
    }

    pub(super) fn begin_off(
        &mut self,
        verb: Verb,
        cause: Cause,
        origin: Origin,
        now: SimTime,
        then_on: bool,
    ) {
        let until = now + self.settings.timings.off;
        self.phase = Phase::PoweringOff {
            pending: Pending {
                until,
                verb,
                cause,
                origin,
            },
            then_on,
        };
    }

    pub(super) fn set_policy(
        &mut self,
        policy: PowerPolicy,
        origin: &Origin,
        now: SimTime,
        out: &mut Vec<Output>,
    ) {
        let before = std::mem::replace(&mut self.settings.policy, policy);
        if before != policy {
            let text = |policy| match policy {
                PowerPolicy::AlwaysOff => "always-off",
                PowerPolicy::Previous => "previous",
                PowerPolicy::AlwaysOn => "always-on",
            };
            out.push(Output::edge(
                now,
                Verb::SetPolicy,
                text(before),
                text(policy),
                Cause::Command,
                origin,
            ));
        }
    }

    pub(super) fn plug_in(&mut self, origin: Origin, now: SimTime, out: &mut Vec<Output>) {
        let Phase::Unplugged { was_on } = self.phase else {
            return;
        };
        self.phase = Phase::Off;
        self.off_since = now;
        out.push(Output::edge(
            now,
            Verb::PlugIn,
            "unplugged",
            "off",
            Cause::Mains,
            &origin,
        ));
        let cause = match self.settings.policy {
            PowerPolicy::AlwaysOn => RestartCause::AlwaysRestore,
            PowerPolicy::Previous if was_on => RestartCause::RestorePrevious,
            PowerPolicy::AlwaysOff | PowerPolicy::Previous => return,
        };
        self.restart_cause = cause;
        self.begin_on(Verb::PlugIn, Cause::Policy, origin, now);
    }

    pub(super) fn unplug(&mut self, origin: &Origin, now: SimTime, out: &mut Vec<Output>) {
        if !self.plugged_in() {
            return;
        }
        let was_on = matches!(
            self.phase,
            Phase::Post { .. } | Phase::Running | Phase::PoweringOff { .. }
        );
        let before = if was_on { "on" } else { "off" };
        self.stop_host(out);
        self.phase = Phase::Unplugged { was_on };
        self.restart_cause = RestartCause::Unknown;
        out.push(Output::edge(
            now,
            Verb::Unplug,
            before,
            "unplugged",
            Cause::Mains,
            origin,
        ));
        self.drop_volatile_flags(now, Cause::Mains, out);
    }
}
