//! A machine without a power driver: a human presses the button, and what was seen of the machine stands for readings.

use crate::facts::{Purpose, Window};
use crate::time::Time;

use super::{Act, Decision, Phase, Plan, Why, act, phase_of, wait};

impl Decision<'_> {
    /// Inside a window: which button to press, or how far it is since somebody did.
    pub(super) fn booted_by_hand(self, window: &Window) -> Plan {
        let since = |time: Option<Time>| time.filter(|time| *time >= window.opened);
        let asked = since(self.seen.asked);
        let why = match window.purpose {
            Purpose::Agent if since(self.seen.agent).is_some() => Why::AgentRuns,
            Purpose::Agent if asked.is_some() => Why::AgentLoads,
            Purpose::Environment => match self.asked_in_vain(window.opened) {
                Some(why) => why,
                None if asked.is_some() || self.seen.config_boots > 0 => self.progress(asked),
                None => Why::PressButton,
            },
            Purpose::Agent => Why::PressButton,
        };
        wait(phase_of(window), why)
    }

    /// Nothing can read its power. A machine that asks what to boot runs nobody's system at that moment, and waits there.
    pub(super) fn off_by_hand(self, since: Time, phase: Phase) -> Plan {
        // both are whole seconds; one that waited within that second ran no system either
        if self.seen.started.is_some_and(|started| started >= since) {
            return act(Act::ConfirmOff, phase, Why::StartedAgain);
        }
        wait(phase, Why::SwitchOffByHand)
    }
}
