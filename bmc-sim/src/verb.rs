//! The words for what is asked of a BMC: in the power log, in counters and in fault filters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that names no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a verb: want one of {list}", list = Verb::list())]
pub struct ParseVerbError(String);

/// What a request asks for, whichever protocol carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "String")]
pub enum Verb {
    /// Switch on (IPMI 2.0 §28.3 power up, Redfish `On` and `ForceOn`).
    On,
    /// Switch off at once (power down, `ForceOff`).
    Off,
    /// Ask the operating system to shut down (soft shutdown, `GracefulShutdown`).
    SoftOff,
    /// Off, then on (power cycle, `PowerCycle`).
    Cycle,
    /// Restart without a power-off (hard reset, `ForceRestart`).
    Reset,
    /// Set or clear the boot override (IPMI 2.0 §28.12, Redfish `Boot`).
    SetBoot,
    /// Set what happens when mains power returns (IPMI 2.0 §28.8).
    SetPolicy,
    /// Change a user's name, role or whether it is enabled.
    SetUser,
    /// Change a user's password.
    SetPassword,
    /// Restart the BMC itself (IPMI 2.0 §20.2, Redfish `Manager.Reset`).
    BmcReset,
    /// Open a session, or refuse to.
    Login,
    /// Close a session.
    Logout,
    /// Read the power state (IPMI 2.0 §28.2, Redfish `ComputerSystem`).
    GetPower,
    /// Read the boot override over IPMI (§28.13); Redfish reads it with the power state.
    GetBoot,
    /// Any other request.
    Other,
    /// A short press of the power button.
    ButtonShort,
    /// A press of the power button for more than four seconds.
    ButtonLong,
    /// Mains power arrives.
    PlugIn,
    /// Mains power goes.
    Unplug,
    /// The firmware chose what to boot.
    Boot,
}

impl Verb {
    /// Every verb, in declaration order.
    pub const ALL: [Self; 20] = [
        Self::On,
        Self::Off,
        Self::SoftOff,
        Self::Cycle,
        Self::Reset,
        Self::SetBoot,
        Self::SetPolicy,
        Self::SetUser,
        Self::SetPassword,
        Self::BmcReset,
        Self::Login,
        Self::Logout,
        Self::GetPower,
        Self::GetBoot,
        Self::Other,
        Self::ButtonShort,
        Self::ButtonLong,
        Self::PlugIn,
        Self::Unplug,
        Self::Boot,
    ];

    /// The word, as the power log and the control API print it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::SoftOff => "soft-off",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
            Self::SetBoot => "set-boot",
            Self::SetPolicy => "set-policy",
            Self::SetUser => "set-user",
            Self::SetPassword => "set-password",
            Self::BmcReset => "bmc-reset",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::GetPower => "get-power",
            Self::GetBoot => "get-boot",
            Self::Other => "other",
            Self::ButtonShort => "button-short",
            Self::ButtonLong => "button-long",
            Self::PlugIn => "plug-in",
            Self::Unplug => "unplug",
            Self::Boot => "boot",
        }
    }

    /// Whether it is to change the machine or the BMC, so that the power log has a line when it arrives.
    pub const fn is_mutating(self) -> bool {
        matches!(
            self,
            Self::On
                | Self::Off
                | Self::SoftOff
                | Self::Cycle
                | Self::Reset
                | Self::SetBoot
                | Self::SetPolicy
                | Self::SetUser
                | Self::SetPassword
                | Self::BmcReset
        )
    }

    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Verb {
    type Err = ParseVerbError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|verb| verb.as_str() == text)
            .ok_or_else(|| ParseVerbError(text.into()))
    }
}

impl TryFrom<String> for Verb {
    type Error = ParseVerbError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The power verbs: what a chassis does when told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerVerb {
    /// See [`Verb::On`].
    On,
    /// See [`Verb::Off`].
    Off,
    /// See [`Verb::SoftOff`].
    SoftOff,
    /// See [`Verb::Cycle`].
    Cycle,
    /// See [`Verb::Reset`].
    Reset,
}

impl From<PowerVerb> for Verb {
    fn from(verb: PowerVerb) -> Self {
        match verb {
            PowerVerb::On => Self::On,
            PowerVerb::Off => Self::Off,
            PowerVerb::SoftOff => Self::SoftOff,
            PowerVerb::Cycle => Self::Cycle,
            PowerVerb::Reset => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_survives_its_text_and_is_serialised_by_it() {
        for verb in Verb::ALL {
            assert_eq!(verb.to_string().parse(), Ok(verb));
            assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
            assert_eq!(Verb::ALL[verb as usize], verb);
        }
    }

    #[test]
    fn an_unknown_verb_is_named_with_what_would_do() {
        let error = "explode".parse::<Verb>().unwrap_err().to_string();
        assert!(
            error.starts_with("\"explode\" is not a verb: want one of on, off,"),
            "{error}"
        );
    }
}
