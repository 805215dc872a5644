//! The boot override: IPMI boot flags with their lapse, Redfish override, and what the firmware makes of them.

use std::fmt;
use std::time::Duration;

use hardware_types::BootMode;
use serde::{Deserialize, Serialize};

use super::{Cause, Firmware, Machine, Origin, Output, Phase, SimTime};
use crate::verb::Verb;

/// What a machine can boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootDevice {
    /// The network (PXE).
    Network,
    /// The first disk.
    Disk,
    /// CD or DVD.
    Cd,
    /// The firmware's set-up menu.
    Setup,
}

impl BootDevice {
    /// The word, as the power log prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Cd => "cd",
            Self::Setup => "setup",
        }
    }
}

/// A boot override, as a BMC was told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Override {
    /// What to boot.
    pub device: BootDevice,
    /// For every boot, not only the next.
    pub persistent: bool,
    /// The firmware mode it is for.
    pub mode: BootMode,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frequency = if self.persistent { "continuous" } else { "once" };
        write!(f, "{} {frequency} {}", self.device.as_str(), self.mode)
    }
}

/// IPMI boot option parameter 3: when the boot flags are *not* cleared by themselves, bit by bit (IPMI 2.0 §28.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlagClearing(pub u8);

impl FlagClearing {
    /// Bit 3: not after 60 s without a chassis control command.
    pub const KEEP_AFTER_TIMEOUT: Self = Self(0x08);
    /// Bit 0: not on a power-up by the power button.
    pub const KEEP_ON_BUTTON_POWER_UP: Self = Self(0x01);

    /// Whether this bit is set.
    pub fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }
}

/// An override and how long it is good for.
#[derive(Debug, Clone)]
pub(super) struct Flags {
    value: Override,
    /// When it lapses; `None` for one that stays until used.
    pub(super) lapses: Option<SimTime>,
    /// Set over IPMI and not used yet: kept in the BMC's memory only.
    volatile: bool,
    set_while_off: bool,
}

impl Machine {
    /// The override that is valid now.
    pub fn boot_override(&self) -> Option<Override> {
        self.flags.as_ref().map(|flags| flags.value)
    }

    /// IPMI boot option parameter 3, as set.
    pub fn flag_clearing(&self) -> FlagClearing {
        self.clearing
    }

    /// What the machine would boot if it started now and its firmware were faithful.
    pub fn next_boot(&self) -> Option<BootDevice> {
        self.honoured()
            .map(|flags| flags.device)
            .or_else(|| self.settings.boot_order.first().copied())
    }

    /// The override, where it is for this firmware's mode.
    fn honoured(&self) -> Option<Override> {
        self.boot_override()
            .filter(|flags| flags.mode == self.settings.firmware)
    }

    pub(super) fn set_boot(
        &mut self,
        boot: Option<Override>,
        lapses: bool,
        origin: &Origin,
        now: SimTime,
        out: &mut Vec<Output>,
    ) {
        let lapse =
            (lapses && !self.clearing.has(FlagClearing::KEEP_AFTER_TIMEOUT)).then(|| now + self.flag_lapse());
        let set_while_off = matches!(self.phase, Phase::Off | Phase::Unplugged { .. });
        let flags = boot.map(|value| Flags {
            value,
            lapses: lapse,
            volatile: lapses,
            set_while_off,
        });
        self.replace_flags(flags, now, Cause::Command, origin, out);
    }

    fn flag_lapse(&self) -> Duration {
        self.settings.timings.flag_lapse
    }

    /// A chassis control command starts the 60 s anew (IPMI 2.0 §28.12, parameter 3); while the host starts, the
    /// flags are held until that boot reads them, however long its self test is.
    pub(super) fn chassis_control(&mut self, now: SimTime) {
        let starting = matches!(
            self.phase,
            Phase::PoweringOn(_) | Phase::Post { .. } | Phase::PoweringOff { then_on: true, .. }
        );
        let lapse = (!starting).then(|| now + self.flag_lapse());
        if let Some(flags) = self.flags.as_mut().filter(|flags| flags.volatile) {
            flags.lapses = lapse;
        }
    }

    pub(super) fn lapse(&mut self, at: SimTime, out: &mut Vec<Output>) {
        let keep = self.clearing.has(FlagClearing::KEEP_AFTER_TIMEOUT);
        match &mut self.flags {
            Some(flags) if flags.lapses.is_some_and(|lapses| lapses <= at) => {
                flags.lapses = None;
                if !keep {
                    self.replace_flags(None, at, Cause::Lapsed, &Origin::machine(), out);
                }
            }
            _ => {}
        }
    }

    pub(super) fn drop_volatile_flags(&mut self, now: SimTime, cause: Cause, out: &mut Vec<Output>) {
        if self.flags.as_ref().is_some_and(|flags| flags.volatile) {
            self.replace_flags(None, now, cause, &Origin::machine(), out);
        }
    }

    pub(super) fn forget_flags_set_while_off(
        &mut self,
        at: SimTime,
        firmware: &mut impl Firmware,
        out: &mut Vec<Output>,
    ) {
        if self.flags.as_ref().is_some_and(|flags| flags.set_while_off)
            && firmware.forgets_override_set_while_off()
        {
            self.replace_flags(None, at, Cause::Forgotten, &Origin::machine(), out);
        }
    }

    pub(super) fn reset_in_post(&mut self, at: SimTime, spends_override: bool, out: &mut Vec<Output>) {
        out.push(Output::edge(
            at,
            Verb::Reset,
            "on",
            "on",
            Cause::PostReset,
            &Origin::machine(),
        ));
        self.last_reset = Some(at);
        if spends_override {
            self.consume(at, out);
        }
    }

    /// The devices to try, the override's first, and what decided.
    pub(super) fn choose_boot(
        &mut self,
        at: SimTime,
        firmware: &mut impl Firmware,
        out: &mut Vec<Output>,
    ) -> (Vec<BootDevice>, Cause) {
        let mut order = self.settings.boot_order.clone();
        let cause = match (self.boot_override(), self.honoured()) {
            (None, _) => Cause::BootOrder,
            (Some(_), None) => Cause::OverrideWrongMode,
            (Some(_), Some(_)) if firmware.ignores_override() => Cause::OverrideIgnored,
            (Some(_), Some(flags)) => {
                order.retain(|device| *device != flags.device);
                order.insert(0, flags.device);
                Cause::Override
            }
        };
        self.consume(at, out);
        (order, cause)
    }

    /// The firmware has read the override: one for the next boot is gone, one for every boot stays for good.
    fn consume(&mut self, at: SimTime, out: &mut Vec<Output>) {
        match &mut self.flags {
            Some(flags) if flags.value.persistent => {
                flags.lapses = None;
                flags.volatile = false;
            }
            Some(_) => self.replace_flags(None, at, Cause::Consumed, &Origin::machine(), out),
            None => {}
        }
    }

    fn replace_flags(
        &mut self,
        flags: Option<Flags>,
        at: SimTime,
        cause: Cause,
        origin: &Origin,
        out: &mut Vec<Output>,
    ) {
        let text =
            |value: Option<Override>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
        let before = self.boot_override();
        self.flags = flags;
        let after = self.boot_override();
        if before != after {
            out.push(Output::edge(
                at,
                Verb::SetBoot,
                text(before),
                text(after),
                cause,
                origin,
            ));
        }
    }
}
