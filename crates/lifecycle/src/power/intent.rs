//! What is stored of a power command before its first byte is sent, and all that a successor needs to go on.

use hardware_types::{BootMode, BootTarget, PowerAction, PowerState};
use serde::{Deserialize, Serialize};

use super::{BootMark, Unconfirmed};
use crate::{Time, Timings};

/// What can be sent to a BMC as one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Switch on.
    On,
    /// Switch off at once.
    Off,
    /// Ask the operating system to shut down (ACPI).
    SoftOff,
    /// Restart without a power-off.
    Reset,
}

impl Command {
    /// The reading that confirms it; after a reset the machine is on.
    pub const fn leads_to(self) -> PowerState {
        match self {
            Self::On | Self::Reset => PowerState::On,
            Self::Off | Self::SoftOff => PowerState::Off,
        }
    }

    /// How long after it was sent it may take effect; past that it counts as lost.
    pub const fn deadline(self, timings: &Timings) -> std::time::Duration {
        match self {
            Self::On => timings.on,
            Self::Off => timings.off,
            Self::SoftOff => timings.soft_off,
            Self::Reset => timings.reset,
        }
    }

    /// The action that this command is.
    pub const fn action(self) -> PowerAction {
        match self {
            Self::On => PowerAction::On,
            Self::Off => PowerAction::Off,
            Self::SoftOff => PowerAction::SoftOff,
            Self::Reset => PowerAction::Reset,
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.action().fmt(f)
    }
}

/// What the machine boots once, when this intent switches it on or resets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootOrder {
    /// The device.
    pub target: BootTarget,
    /// The firmware interface, where it must be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BootMode>,
}

/// What a BMC said of a boot override that was set: recorded for whoever looks into a machine that booted otherwise; it stops nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OverrideSeen {
    /// It reads back as set.
    AsSet,
    /// It reads back as something else.
    Different,
    /// It cannot be read back.
    Unreadable,
    /// The BMC supports no such override.
    Unsupported,
}

/// Where an intent stands: the command that its present part is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Asking the operating system to shut down.
    SoftOff,
    /// Switching off, and confirming it.
    Off,
    /// Switching on (the boot override right before it), and confirming it.
    On,
    /// Resetting (the boot override right before it), and looking for a sign of it.
    Reset,
}

impl Stage {
    /// The command of this stage.
    pub const fn command(self) -> Command {
        match self {
            Self::SoftOff => Command::SoftOff,
            Self::Off => Command::Off,
            Self::On => Command::On,
            Self::Reset => Command::Reset,
        }
    }
}

/// How an intent ended. There is no third way: past every deadline stands a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Read back (I-10).
    Done,
    /// Not read back within the deadline.
    Unconfirmed(Unconfirmed),
}

/// A power command under way: what `Server.status.powerIntent` holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The id of the request that it serves.
    pub id: String,
    /// What was asked for.
    pub action: PowerAction,
    /// What to boot, for an action that ends on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootOrder>,
    /// Where it stands.
    pub stage: Stage,
    /// When the present stage began.
    pub entered: Time,
    /// How often the present stage's command was sent, or may have been. Counted before it is sent.
    pub attempt: u32,
    /// When it was, or may have been, sent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_sent: Option<Time>,
    /// When it was, or may have been, sent last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent: Option<Time>,
    /// Until when an *on* or *reset* that was sent, and not accounted for, may still take effect: until then *off* does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_may_act_until: Option<Time>,
    /// The same for *off* and *soft-off*: until then *on* does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_may_act_until: Option<Time>,
    /// More commands of this stage than one may be on their way, or one may have found nothing to do: the effect that was seen
    /// does not account for all that was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful: bool,
    /// The machine's boot mark as it was before a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark_before: Option<BootMark>,
    /// What the BMC said of the boot override, once one was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_seen: Option<OverrideSeen>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Intent {
    /// A new intent, nothing sent yet. `boot` is what the machine boots when `action` ends with it on; otherwise it means nothing.
    ///
    /// `previous` is the machine's last intent, ended or not: a command of its that may yet take effect is remembered.
    pub fn new(
        id: impl Into<String>,
        action: PowerAction,
        boot: Option<BootOrder>,
        now: Time,
        previous: Option<&Self>,
    ) -> Self {
        let stage = match action {
            PowerAction::SoftOff => Stage::SoftOff,
            PowerAction::Off | PowerAction::Cycle => Stage::Off,
            // an override set on a running machine would be lost or hit the wrong boot: off comes first
            PowerAction::On if boot.is_some() => Stage::Off,
            PowerAction::On => Stage::On,
            PowerAction::Reset => Stage::Reset,
        };
        Self {
            id: id.into(),
            action,
            boot,
            stage,
            entered: now,
            attempt: 0,
            first_sent: None,
            last_sent: None,
            on_may_act_until: previous.and_then(|intent| intent.on_may_act_until),
            off_may_act_until: previous.and_then(|intent| intent.off_may_act_until),
            doubtful: false,
            mark_before: None,
            override_seen: None,
            outcome: None,
        }
    }

    /// Until when an earlier command in the other direction may still take effect.
    pub(super) const fn unsettled_until(&self, target: PowerState) -> Option<Time> {
        match target {
            PowerState::Off => self.on_may_act_until,
            _ => self.off_may_act_until,
        }
    }

    const fn may_act_until(&mut self, target: PowerState) -> &mut Option<Time> {
        match target {
            PowerState::Off => &mut self.off_may_act_until,
            _ => &mut self.on_may_act_until,
        }
    }

    /// This intent as it must be stored before the present stage's command is sent at `now`; `read` is when the last reading showed
    /// that there is something to do, if it did. An earlier command may have done it since.
    pub(super) fn sending(&self, now: Time, timings: &Timings, read: Option<Time>) -> Self {
        let mut next = self.clone();
        let command = self.stage.command();
        next.attempt += 1;
        next.first_sent = self.first_sent.or(Some(now));
        next.last_sent = Some(now);
        let may_act_until = next.may_act_until(command.leads_to());
        let another = may_act_until.is_some_and(|until| read.is_none_or(|read| until > read));
        // a soft-off that an off follows has the longer time of the two
        *may_act_until = Some(now.after(command.deadline(timings))).max(*may_act_until);
        next.doubtful |= another || (read.is_none() && command != Command::Reset);
        next
    }

    /// This intent at the beginning of another stage.
    pub(super) fn enter(&self, stage: Stage, now: Time) -> Self {
        Self {
            stage,
            entered: now,
            attempt: 0,
            first_sent: None,
            last_sent: None,
            doubtful: false,
            ..self.clone()
        }
    }

    /// What is known once the present stage's target was confirmed: the command has had its effect, unless none was sent or that is
    /// doubtful, and whatever pulled the other way is past its deadline.
    pub(super) fn settled(&self) -> Self {
        let mut next = self.clone();
        match self.stage.command().leads_to() {
            PowerState::Off => next.on_may_act_until = None,
            _ => next.off_may_act_until = None,
        }
        if self.attempt > 0 && !self.doubtful {
            *next.may_act_until(self.stage.command().leads_to()) = None;
        }
        next
    }
}
