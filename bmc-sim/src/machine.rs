//! The simulated machine: power, boot override and boots, as a pure function of events and time.
//!
//! No clock, no socket, no task: [`Machine::handle`] takes what happened and when, and returns what changed
//! ([`Edge`]) and what the back end must do ([`Action`]). Time is the simulator's own, counted from its start.

mod boot;
mod edge;
mod host;
mod switch;
#[cfg(test)]
mod tests;

use std::time::Duration;

use hardware_types::{BootMode, PowerState};
use serde::{Deserialize, Serialize};

use self::boot::Flags;
pub use self::boot::{BootDevice, FlagClearing, Override};
pub use self::edge::{Action, Cause, Edge, Origin, Output};
use crate::verb::{PowerVerb, Verb};

/// Time on the simulator's clock, since the simulator started.
pub type SimTime = Duration;

/// How long the machine takes over things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timings {
    /// From an accepted *on* until the power is on.
    pub on: Duration,
    /// From an accepted *off* until the power is off.
    pub off: Duration,
    /// From off to on within a power cycle, on top of [`Self::on`].
    pub cycle_pause: Duration,
    /// Power-on self test, until the firmware chooses what to boot.
    pub post: Duration,
    /// How long IPMI boot flags stay valid without a chassis control command (IPMI 2.0 §28.12, parameter 3).
    pub flag_lapse: Duration,
}

/// What the machine does when mains power returns (IPMI 2.0 §28.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerPolicy {
    /// Stays off.
    AlwaysOff,
    /// As it was when power went.
    Previous,
    /// Switches on.
    AlwaysOn,
}

/// Why the host last started (IPMI 2.0 §28.11 Get System Restart Cause).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCause {
    /// Never started since mains power came.
    Unknown,
    /// A chassis control command.
    ChassisControl,
    /// The power button.
    PowerButton,
    /// Power policy *always on*.
    AlwaysRestore,
    /// Power policy *previous state*.
    RestorePrevious,
    /// The host restarted itself.
    SoftReset,
}

/// What the machine is made of and how fast it is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// See [`Timings`].
    pub timings: Timings,
    /// The firmware's own boot order; never empty.
    pub boot_order: Vec<BootDevice>,
    /// The one mode this firmware boots in; an override for the other mode is not honoured.
    pub firmware: BootMode,
    /// See [`PowerPolicy`].
    pub policy: PowerPolicy,
    /// Whether mains power is there from the start.
    pub plugged_in: bool,
}

/// How a power-on self test goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Post {
    /// In all.
    pub duration: Duration,
    /// How often the firmware resets the host on the way.
    pub resets: u8,
    /// Whether a one-time override is spent by the first such reset.
    pub spends_override: bool,
}

/// The moods of the firmware, asked at the moment they matter. The default is a firmware without any.
pub trait Firmware {
    /// How the self test that begins now goes; `usual` is the configured duration.
    fn post(&mut self, usual: Duration) -> Post {
        Post {
            duration: usual,
            resets: 0,
            spends_override: false,
        }
    }
    /// Whether a valid override is passed over at this boot.
    fn ignores_override(&mut self) -> bool {
        false
    }
    /// Whether an override that was set while the machine was off is forgotten at this power-on.
    fn forgets_override_set_while_off(&mut self) -> bool {
        false
    }
}

/// A firmware that does what the standards say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faithful;

impl Firmware for Faithful {}

/// What happens to a machine.
#[derive(Debug, Clone)]
pub enum Event {
    /// A power command from a BMC front end or the control API.
    Power(PowerVerb, Origin),
    /// A short press of the power button.
    ButtonShort(Origin),
    /// A press of more than four seconds.
    ButtonLong(Origin),
    /// Mains power comes.
    PlugIn(Origin),
    /// Mains power goes.
    Unplug(Origin),
    /// The boot override is set or cleared.
    SetBoot {
        /// What to boot; `None` clears.
        boot: Option<Override>,
        /// Set by IPMI, so that it is valid for [`Timings::flag_lapse`] only.
        lapses: bool,
        /// Who did it.
        origin: Origin,
    },
    /// IPMI boot option parameter 3.
    SetFlagClearing(FlagClearing),
    /// The power policy is set.
    SetPolicy(PowerPolicy, Origin),
    /// The BMC restarts: what it keeps in memory is gone.
    BmcReset,
    /// The host switched itself off.
    HostOff,
    /// The host restarted itself.
    HostReset,
    /// Time passed.
    Tick,
}

/// Why a power command is refused. The machine has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The command needs a machine that is on.
    #[error("the machine is off")]
    Off,
    /// It is on its way down.
    #[error("the machine is powering off")]
    PoweringOff,
    /// It is on its way up.
    #[error("the machine is powering on")]
    PoweringOn,
    /// No mains power.
    #[error("the machine has no mains power")]
    Unplugged,
}

/// A transition that was asked for and takes its time.
#[derive(Debug, Clone)]
struct Pending {
    until: SimTime,
    verb: Verb,
    cause: Cause,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Phase {
    Unplugged {
        was_on: bool,
    },
    Off,
    PoweringOn(Pending),
    Post {
        until: SimTime,
        leg: Duration,
        resets_left: u8,
        spends_override: bool,
    },
    Running,
    PoweringOff {
        pending: Pending,
        then_on: bool,
    },
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    settings: Settings,
    phase: Phase,
    flags: Option<Flags>,
    clearing: FlagClearing,
    /// Who asked the host to shut down, until it does.
    soft_off: Option<Origin>,
    /// What the running host was started to try.
    tried: Vec<BootDevice>,
    off_since: SimTime,
    /// When the host was last switched on or reset.
    last_reset: Option<SimTime>,
    restart_cause: RestartCause,
}

impl Machine {
    /// A machine that is off, or without mains power.
    pub fn new(settings: Settings) -> Self {
        let phase = if settings.plugged_in {
            Phase::Off
        } else {
            Phase::Unplugged { was_on: false }
        };
        Self {
            settings,
            phase,
            flags: None,
            clearing: FlagClearing::default(),
            soft_off: None,
            tried: Vec::new(),
            off_since: SimTime::ZERO,
            last_reset: None,
            restart_cause: RestartCause::Unknown,
        }
    }

    /// Takes what happened at `now`, after everything that fell due before; returns what changed, in order.
    ///
    /// A refused command comes back as [`Refusal`] beside what fell due.
    pub fn handle(
        &mut self,
        event: Event,
        now: SimTime,
        firmware: &mut impl Firmware,
    ) -> (Vec<Output>, Result<(), Refusal>) {
        let mut out = Vec::new();
        self.advance(now, firmware, &mut out);
        let result = self.take(event, now, firmware, &mut out);
        // a transition that takes no time is over at once
        self.advance(now, firmware, &mut out);
        (out, result)
    }

    fn take(
        &mut self,
        event: Event,
        now: SimTime,
        firmware: &mut impl Firmware,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        match event {
            Event::Power(verb, origin) => return self.power_command(verb, origin, now, firmware, out),
            Event::ButtonShort(origin) => return self.button_short(origin, now, out),
            Event::ButtonLong(_) if !self.is_on() => return Err(self.refusal()),
            Event::ButtonLong(origin) => {
                self.begin_off(Verb::ButtonLong, Cause::Button, origin, now, false);
                // flags held for a boot that will not come lapse again
                self.chassis_control(now);
            }
            Event::PlugIn(origin) => self.plug_in(origin, now, out),
            Event::Unplug(origin) => self.unplug(&origin, now, out),
            Event::SetBoot { boot, lapses, origin } => self.set_boot(boot, lapses, &origin, now, out),
            Event::SetFlagClearing(clearing) => self.clearing = clearing,
            Event::SetPolicy(policy, origin) => self.set_policy(policy, &origin, now, out),
            Event::BmcReset => self.drop_volatile_flags(now, Cause::BmcReset, out),
            Event::HostOff => self.host_off(now, out),
            Event::HostReset => self.host_reset(now, firmware, out),
            Event::Tick => {}
        }
        Ok(())
    }

    /// When something falls due next; call [`Self::handle`] with [`Event::Tick`] then.
    pub fn next_deadline(&self) -> Option<SimTime> {
        let phase = match &self.phase {
            Phase::PoweringOn(pending) | Phase::PoweringOff { pending, .. } => Some(pending.until),
            Phase::Post { until, .. } => Some(*until),
            Phase::Unplugged { .. } | Phase::Off | Phase::Running => None,
        };
        let lapse = self.flags.as_ref().and_then(|flags| flags.lapses);
        phase.into_iter().chain(lapse).min()
    }

    /// The power state, as an honest and quick BMC would tell it.
    pub fn power(&self) -> PowerState {
        match self.phase {
            Phase::Unplugged { .. } | Phase::Off => PowerState::Off,
            Phase::PoweringOn(_) => PowerState::PoweringOn,
            Phase::Post { .. } | Phase::Running => PowerState::On,
            Phase::PoweringOff { .. } => PowerState::PoweringOff,
        }
    }

    /// Whether mains power is there.
    pub fn plugged_in(&self) -> bool {
        !matches!(self.phase, Phase::Unplugged { .. })
    }

    /// Whether the firmware is still in its self test.
    pub fn in_post(&self) -> bool {
        matches!(self.phase, Phase::Post { .. })
    }

    /// What the host tries to boot first, while it runs. A host in memory boots it; a real firmware may go on to the next.
    pub fn booted(&self) -> Option<BootDevice> {
        self.tried.first().copied()
    }

    /// What the host tries to boot, in this order, while it runs.
    pub fn tried(&self) -> &[BootDevice] {
        &self.tried
    }

    /// When the power last went off.
    pub fn off_since(&self) -> SimTime {
        self.off_since
    }

    /// When the host was last switched on or reset; `None` before the first time.
    pub fn last_reset(&self) -> Option<SimTime> {
        self.last_reset
    }

    /// See [`RestartCause`].
    pub fn restart_cause(&self) -> RestartCause {
        self.restart_cause
    }

    /// See [`PowerPolicy`].
    pub fn policy(&self) -> PowerPolicy {
        self.settings.policy
    }

    /// What the machine is made of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn is_on(&self) -> bool {
        matches!(self.phase, Phase::Post { .. } | Phase::Running)
    }

    /// Why a command that needs a running machine cannot be had now.
    fn refusal(&self) -> Refusal {
        match self.phase {
            Phase::Unplugged { .. } => Refusal::Unplugged,
            Phase::PoweringOn(_) => Refusal::PoweringOn,
            Phase::PoweringOff { .. } => Refusal::PoweringOff,
            Phase::Off | Phase::Post { .. } | Phase::Running => Refusal::Off,
        }
    }

    fn begin_post(&mut self, now: SimTime, firmware: &mut impl Firmware) {
        let post = firmware.post(self.settings.timings.post);
        let leg = post.duration / (u32::from(post.resets) + 1);
        self.phase = Phase::Post {
            until: now + leg,
            leg,
            resets_left: post.resets,
            spends_override: post.spends_override,
        };
    }

    /// Carries out everything due at or before `now`, each at its own time.
    fn advance(&mut self, now: SimTime, firmware: &mut impl Firmware, out: &mut Vec<Output>) {
        while let Some(due) = self.next_deadline().filter(|due| *due <= now) {
            self.lapse(due, out);
            match self.phase.clone() {
                Phase::PoweringOn(pending) if pending.until <= due => self.powered_on(pending, firmware, out),
                Phase::PoweringOff { pending, then_on } if pending.until <= due => {
                    self.powered_off(pending, then_on, out);
                }
                Phase::Post {
                    until,
                    leg,
                    resets_left,
                    spends_override,
                } if until <= due => {
                    if resets_left == 0 {
                        self.boot(until, firmware, out);
                    } else {
                        self.reset_in_post(until, spends_override, out);
                        let resets_left = resets_left - 1;
                        self.phase = Phase::Post {
                            until: until + leg,
                            leg,
                            resets_left,
                            spends_override,
                        };
                    }
                }
                _ => {}
            }
        }
    }

    fn powered_on(&mut self, pending: Pending, firmware: &mut impl Firmware, out: &mut Vec<Output>) {
        let Pending {
            until,
            verb,
            cause,
            origin,
        } = pending;
        out.push(Output::edge(until, verb, "off", "on", cause, &origin));
        self.last_reset = Some(until);
        self.forget_flags_set_while_off(until, firmware, out);
        self.begin_post(until, firmware);
    }

    fn powered_off(&mut self, pending: Pending, then_on: bool, out: &mut Vec<Output>) {
        self.stop_host(out);
        self.off_since = pending.until;
        let Pending {
            until,
            verb,
            cause,
            ref origin,
        } = pending;
        out.push(Output::edge(until, verb, "on", "off", cause, origin));
        self.phase = if then_on {
            let until = until + self.settings.timings.cycle_pause + self.settings.timings.on;
            Phase::PoweringOn(Pending { until, ..pending })
        } else {
            Phase::Off
        };
    }

    fn boot(&mut self, at: SimTime, firmware: &mut impl Firmware, out: &mut Vec<Output>) {
        let (order, cause) = self.choose_boot(at, firmware, out);
        let device = order.first().copied();
        self.tried.clone_from(&order);
        self.phase = Phase::Running;
        let after = device.map_or("nothing", BootDevice::as_str);
        out.push(Output::edge(
            at,
            Verb::Boot,
            "post",
            after,
            cause,
            &Origin::machine(),
        ));
        out.push(Output::Action(Action::PowerOn { order }));
    }
}
