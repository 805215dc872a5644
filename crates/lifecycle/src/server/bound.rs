//! A Server that somebody has: booted into the environment of its cluster, left alone, given back.

use crate::claim::{Claim, Unconfirmed};
use crate::facts::{Purpose, Quarantine, Window};
use crate::time::Time;
use crate::{HandsOff, Timings};

use super::step::Step;
use super::{
    Act, Command, Decision, Driver, Observed, Phase, Plan, PowerState, Why, act, no_boot, until, wait,
};

/// Boots in which a machine may fetch its config; after that a human is asked.
pub const MAX_CONFIG_BOOTS: u32 = 3;

impl Decision<'_> {
    /// What is next for whoever has it; `None` if nobody does.
    pub(super) fn bound(self) -> Option<Plan> {
        Some(match &self.seen.claim {
            Claim::None => return None,
            Claim::Unconfirmed(why @ (Unconfirmed::NotMarked | Unconfirmed::HeldOn)) => {
                wait(Phase::Releasing, Why::Unconfirmed(*why))
            }
            Claim::Unconfirmed(why) => wait(Phase::Allocated, Why::Unconfirmed(*why)),
            Claim::Released { since, .. } => self.release(*since),
            Claim::Abandoned => act(Act::Unbind, Phase::Releasing, Why::Releases),
            Claim::Confirmed { installed: true, .. } => self.installed(),
            Claim::Confirmed { .. } if !self.seen.gate.accepted => wait(Phase::Allocated, Why::NotAccepted), // I-1
            Claim::Confirmed { allocation, .. } => self.install(allocation),
        })
    }

    /// Its Node was seen: from now on it boots its disk, and its token is dead.
    fn installed(self) -> Plan {
        if self.facts.window.is_some() {
            return act(Act::CloseWindow, Phase::Provisioned, Why::Installed);
        }
        wait(Phase::Provisioned, Why::Installed)
    }

    /// To be booted into its environment, which is as destructive as a wipe: what it leaves is due to be wiped before
    /// anything of it may happen.
    fn install(self, allocation: &str) -> Plan {
        let is_raised = self.facts.undone_for() == Some(allocation);
        match &self.facts.window {
            Some(window) if window.purpose == Purpose::Environment && is_raised => self.provision(window),
            Some(window) if window.purpose == Purpose::Environment => {
                act(Act::CloseWindow, Phase::Allocated, Why::Provisions) // of an allocation that is over
            }
            Some(_) => wait(Phase::Error, Why::OtherWindow),
            None if self.is_on_by_nobody() => wait(Phase::Error, Why::OnUnasked),
            None if is_raised => act(
                Act::OpenWindow(Purpose::Environment),
                Phase::Provisioning,
                Why::Provisions,
            ),
            None if self.facts.is_clean() || self.has_clients_word() => {
                let next = self.facts.due().max(self.facts.wipe_done).unwrap_or_default();
                let raise = Act::RaiseWipe {
                    generation: next.saturating_add(1),
                    allocation: Some(allocation.into()),
                };
                act(raise, Phase::Provisioning, Why::Provisions)
            }
            None => wait(Phase::Error, Why::TakenUnclean),
        }
    }

    /// Reads on, and no will of ours is recorded: to boot it would be to power-cycle what somebody runs.
    fn is_on_by_nobody(self) -> bool {
        let on = Driver::Ready {
            power: Some(PowerState::On),
        };
        self.facts.powered.is_none() && self.seen.driver == on
    }

    /// Inside the window of its environment.
    fn provision(self, window: &Window) -> Plan {
        if self.seen.config_boots >= MAX_CONFIG_BOOTS {
            return wait(Phase::Error, Why::ManyBoots);
        }
        if self.facts.powered.as_deref() != Some(&window.id) {
            // it was on before, and its record was lost: a running node is never cycled for that
            return wait(Phase::Provisioning, self.progress(None));
        }
        if self.runs_unrecorded(window) {
            return wait(Phase::Provisioning, self.progress(self.seen.asked));
        }
        self.boot(window)
    }

    /// Nothing that was sent for this window is recorded, since a user's command took its place or the record was lost, and
    /// the machine may run its system: nothing is sent for that.
    fn runs_unrecorded(self, window: &Window) -> bool {
        let sent = self.seen.intent.as_ref();
        if sent.is_some_and(|intent| Step::of(&intent.id, &window.id).is_some()) {
            return false;
        }
        let asked = self.seen.asked.is_some_and(|asked| asked >= window.opened);
        let is_on = matches!(self.seen.driver, Driver::Ready { .. }) && !self.reads_off();
        self.seen.config_boots > 0 || asked || (sent.is_none() && is_on)
    }

    /// It is on for its environment. Once it has asked there is no deadline: health checks of the cluster have theirs.
    pub(super) fn booting_environment(self, window: &Window, intent: &Command, attempt: u32) -> Plan {
        if let Some(why) = self.asked_in_vain(intent.began) {
            return wait(Phase::Provisioning, why); // a power cycle makes no environment
        }
        let asked = self.seen.asked.filter(|asked| *asked >= intent.began);
        if asked.is_some() || self.seen.config_boots > 0 {
            return wait(Phase::Provisioning, self.progress(asked));
        }
        let deadline = intent.began.max(self.seen.since).after(self.timings.boot);
        if self.now < deadline {
            return until(deadline, Phase::Provisioning, Why::Booting { attempt });
        }
        no_boot(window, attempt)
    }

    /// It asks again and again for what cannot be had, since this time.
    pub(super) fn asked_in_vain(self, since: Time) -> Option<Why> {
        let unserved = self.seen.unserved.as_ref().filter(|(at, _)| *at >= since);
        unserved.map(|(_, why)| Why::Unserved(why.clone()))
    }

    pub(super) fn progress(self, asked: Option<Time>) -> Why {
        match (self.seen.config_boots, asked) {
            (0, Some(_)) => Why::EnvironmentLoads,
            (0, None) => Why::EnvironmentDue,
            (boots, _) => Why::ConfigServed { boots },
        }
    }

    /// Given back: what was never on since it was wiped is let go at once; the rest once it is confirmed off (I-11). The
    /// wipe follows by the fact that it is due.
    fn release(self, since: Time) -> Plan {
        if self.facts.window.is_some() {
            return act(Act::CloseWindow, Phase::Releasing, Why::Releases); // its token is dead from now on
        }
        match &self.facts.powered {
            None => act(Act::LetGo, Phase::Releasing, Why::Releases),
            Some(_) if !self.seen.gate.accepted => wait(Phase::Releasing, Why::NotAccepted),
            // wiped, and not booted since: what it was on for is over
            Some(_) if self.seen.driver == Driver::None && self.facts.is_clean() => {
                act(Act::ConfirmOff, Phase::Releasing, Why::Releases)
            }
            Some(_) if self.seen.driver == Driver::None => self.off_by_hand(since, Phase::Releasing),
            Some(window) => self.switch_off(window, Phase::Releasing),
        }
    }

    /// Given back without having been confirmed off: off as soon as that can be, and until then nobody's.
    pub(super) fn quarantined(self, quarantine: &Quarantine) -> Plan {
        if self.facts.window.is_some() {
            return act(Act::CloseWindow, Phase::Quarantined, Why::Releases);
        }
        match &self.facts.powered {
            None => act(Act::ConfirmOff, Phase::Quarantined, Why::SwitchingOff),
            Some(_) if self.seen.driver == Driver::None && self.facts.is_clean() => {
                act(Act::ConfirmOff, Phase::Quarantined, Why::SwitchingOff)
            }
            Some(_) if self.seen.driver == Driver::None => {
                self.off_by_hand(quarantine.since, Phase::Quarantined)
            }
            Some(powered) => self.switch_off(powered, Phase::Quarantined),
        }
    }
}

/// In hands-off nothing is sent, so what was on stays on: a release of it waits for its deadline. What was never on has
/// nothing to wait for, nor has another installation's.
pub(super) fn left_alone(seen: &Observed, reason: HandsOff) -> Plan {
    let was_off = seen.facts.as_ref().is_ok_and(|facts| facts.powered.is_none());
    let ends = match reason {
        HandsOff::Paused => false,
        HandsOff::Foreign => true,
        HandsOff::Orphaned | HandsOff::UnexpectedPower | HandsOff::Conflict => was_off,
    };
    let why = Why::HandsOff(reason);
    match seen.claim {
        Claim::Released { .. } if ends => act(Act::LetGo, Phase::HandsOff, why),
        _ => wait(Phase::HandsOff, why),
    }
}

/// A release ends at its deadline, whatever it waits for but a pause (I-7): the Server is nobody's from then on. An attempt
/// to switch the machine off that is under way, or the first one, is seen to its end.
pub(super) fn within_deadline(seen: &Observed, now: Time, timings: &Timings, plan: Plan) -> Plan {
    let Claim::Released { allocation, since } = &seen.claim else {
        return plan;
    };
    let ends = match &plan.act {
        None => {
            let goes_on = [Why::SwitchingOff, Why::Powering, Why::HandsOff(HandsOff::Paused)];
            !goes_on.contains(&plan.why)
        }
        Some(Act::Power { .. }) => seen.intent.as_ref().is_some_and(Command::is_off_unconfirmed),
        Some(_) => false,
    };
    if !ends {
        return plan;
    }
    // a manager that starts after the deadline asks the BMC before it gives up
    let asks = timings.release.min(timings.off_again(1));
    let deadline = since.after(timings.release).max(seen.since.after(asks));
    if now < deadline {
        let again = plan.again.map_or(deadline, |again| again.min(deadline));
        return Plan {
            again: Some(again),
            ..plan
        };
    }
    let known = seen.quarantine.as_ref().map(|quarantine| &quarantine.allocation);
    let end = if known == Some(allocation) {
        Act::LetGo
    } else {
        Act::Quarantine(Quarantine {
            allocation: allocation.clone(),
            since: now,
        })
    };
    Plan {
        act: Some(end),
        again: None,
        ..plan
    }
}
