//! The host: what it does by itself, and how it is restarted and stopped.

use super::{Action, Cause, Firmware, Machine, Origin, Output, Phase, RestartCause, SimTime};
use crate::verb::Verb;

impl Machine {
    pub(super) fn host_off(&mut self, now: SimTime, out: &mut Vec<Output>) {
        let Phase::Running = self.phase else { return };
        let (verb, origin) = match self.soft_off.take() {
            Some(origin) => (Verb::SoftOff, origin),
            None => (Verb::Off, Origin::machine()),
        };
        self.phase = Phase::Off;
        self.off_since = now;
        self.tried.clear();
        out.push(Output::edge(now, verb, "on", "off", Cause::HostShutDown, &origin));
    }

    pub(super) fn host_reset(&mut self, now: SimTime, firmware: &mut impl Firmware, out: &mut Vec<Output>) {
        if let Phase::Running = self.phase {
            self.restart(
                Verb::Reset,
                Cause::HostReset,
                &Origin::machine(),
                now,
                firmware,
                out,
            );
            self.restart_cause = RestartCause::SoftReset;
        }
    }

    pub(super) fn restart(
        &mut self,
        verb: Verb,
        cause: Cause,
        origin: &Origin,
        now: SimTime,
        firmware: &mut impl Firmware,
        out: &mut Vec<Output>,
    ) {
        self.stop_host(out);
        out.push(Output::edge(now, verb, "on", "on", cause, origin));
        self.last_reset = Some(now);
        self.begin_post(now, firmware);
    }

    /// Ends whatever the host ran.
    pub(super) fn stop_host(&mut self, out: &mut Vec<Output>) {
        if !std::mem::take(&mut self.tried).is_empty() {
            out.push(Output::Action(Action::PowerOff));
        }
        self.soft_off = None;
    }
}
