//! What a machine's power is, what can be done to it, and what it boots next.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is none of the words a type knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a {what}: want one of {allowed}")]
pub struct ParseWordError {
    what: &'static str,
    value: String,
    allowed: String,
}

/// One closed set of words: the enum, its text form, its parser and the error that lists the words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($what:literal) { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for this value, as users read and write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseWordError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| ParseWordError {
                    what: $what,
                    value: text.into(),
                    allowed: [$($word),*].join(", "),
                })
            }
        }
    };
}

words! {
    /// What a BMC says of its machine's power. Only `On` and `Off` are readings that confirm a command.
    PowerState ("power state") {
        /// Running.
        On = "on",
        /// Not running.
        Off = "off",
        /// On its way up (Redfish `PoweringOn`, DSP0268 `PowerState`).
        PoweringOn = "powering-on",
        /// On its way down (Redfish `PoweringOff`).
        PoweringOff = "powering-off",
        /// The BMC gave no answer that says (null, a paused machine, a value we don't know).
        Unknown = "unknown",
    }
}

words! {
    /// A power command (IPMI 2.0 §28.3 Chassis Control, Redfish `ComputerSystem.Reset`).
    PowerAction ("power action") {
        /// Switch on.
        On = "on",
        /// Switch off at once.
        Off = "off",
        /// Ask the operating system to shut down (ACPI).
        SoftOff = "soft-off",
        /// Off, confirmed, on. Composed by the power manager, never sent as one command.
        Cycle = "cycle",
        /// Restart without a power-off.
        Reset = "reset",
    }
}

words! {
    /// What a machine boots next (IPMI 2.0 §28.12 boot flags, Redfish `Boot.BootSourceOverrideTarget`).
    BootTarget ("boot target") {
        /// No override: the firmware's own boot order.
        None = "none",
        /// The network.
        Pxe = "pxe",
        /// The first disk.
        Disk = "disk",
        /// The firmware's set-up menu.
        Setup = "setup",
    }
}

words! {
    /// The firmware interface that a machine boots with.
    BootMode ("boot mode") {
        /// Legacy BIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_its_text() {
        fn check<
            T: Copy + fmt::Debug + fmt::Display + PartialEq + FromStr<Err = ParseWordError> + Serialize,
        >(
            all: &[T],
        ) {
            for &value in all {
                assert_eq!(value.to_string().parse(), Ok(value));
                assert_eq!(serde_json::to_value(value).unwrap(), value.to_string());
            }
        }
        check(PowerState::ALL);
        check(PowerAction::ALL);
        check(BootTarget::ALL);
        check(BootMode::ALL);
    }

    #[test]
    fn an_unknown_word_is_named_with_what_would_do() {
        let error = "explode".parse::<PowerAction>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"explode\" is not a power action: want one of on, off, soft-off, cycle, reset"
        );
    }
}
