//! What a machine reports: changes of itself, and orders to its back end.

use std::fmt;
use std::sync::Arc;

use super::{BootDevice, SimTime};
use crate::verb::Verb;

/// Who caused something, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The BMC user's name; `control-api` or the name given there; `machine` for the machine itself.
    pub actor: Arc<str>,
    /// Protocol and peer address, such as `ipmi://10.0.0.9:40000`; `machine` for the machine itself.
    pub source: Arc<str>,
}

impl Origin {
    /// `actor`, reached from `source`.
    pub fn new(actor: impl Into<Arc<str>>, source: impl Into<Arc<str>>) -> Self {
        Self {
            actor: actor.into(),
            source: source.into(),
        }
    }

    /// The machine itself: firmware, host, time.
    pub fn machine() -> Self {
        Self::new("machine", "machine")
    }
}

/// What made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A command over IPMI, Redfish or the control API.
    Command,
    /// The power button.
    Button,
    /// Mains power came or went.
    Mains,
    /// The power policy, when mains power came.
    Policy,
    /// The host shut itself down.
    HostShutDown,
    /// The host restarted itself.
    HostReset,
    /// The firmware reset the host within its self test.
    PostReset,
    /// The override chose the boot device.
    Override,
    /// The boot order chose the boot device.
    BootOrder,
    /// The boot order chose, though an override was there for it: the firmware passed it over.
    OverrideIgnored,
    /// The boot order chose: the override was for the other firmware mode.
    OverrideWrongMode,
    /// A one-time override was used.
    Consumed,
    /// IPMI boot flags were valid for their 60 s.
    Lapsed,
    /// An override that was set while the machine was off was forgotten.
    Forgotten,
    /// The BMC restarted.
    BmcReset,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Command => "command",
            Self::Button => "power button",
            Self::Mains => "mains",
            Self::Policy => "power policy",
            Self::HostShutDown => "host shut itself down",
            Self::HostReset => "host restarted itself",
            Self::PostReset => "firmware reset in POST",
            Self::Override => "boot override",
            Self::BootOrder => "boot order",
            Self::OverrideIgnored => "boot order; override ignored",
            Self::OverrideWrongMode => "boot order; override is for the other firmware mode",
            Self::Consumed => "used",
            Self::Lapsed => "boot flags lapsed",
            Self::Forgotten => "override set while off was lost",
            Self::BmcReset => "BMC restarted",
        })
    }
}

/// One change of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// When.
    pub at: SimTime,
    /// The verb that led to it.
    pub verb: Verb,
    /// What was before: a power word, a boot override, or `post`.
    pub before: String,
    /// What is now, in the same words.
    pub after: String,
    /// What made it.
    pub cause: Cause,
    /// Who caused it.
    pub origin: Origin,
}

/// What the back end must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start the host; it tries these devices in order.
    PowerOn {
        /// The override's device first, then the boot order.
        order: Vec<BootDevice>,
    },
    /// Stop the host at once.
    PowerOff,
    /// Ask the host to shut down.
    ShutDown,
}

/// One thing that came out of [`super::Machine::handle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The machine changed.
    Edge(Edge),
    /// The back end has something to do.
    Action(Action),
}

impl Output {
    pub(super) fn edge(
        at: SimTime,
        verb: Verb,
        before: impl Into<String>,
        after: impl Into<String>,
        cause: Cause,
        origin: &Origin,
    ) -> Self {
        Self::Edge(Edge {
            at,
            verb,
            before: before.into(),
            after: after.into(),
            cause,
            origin: origin.clone(),
        })
    }
}
