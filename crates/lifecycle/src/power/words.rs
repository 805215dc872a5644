//! Why a power command waits and how it can end, in words for users.

use std::fmt;

use hardware_types::PowerState;
use serde::{Deserialize, Serialize};

use super::Command;
use crate::Trouble;

/// What a power command waits for. The text changes when the situation does, not because time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Nothing was read yet since this process looks at it.
    FirstReading {
        /// Why the last attempt to read failed.
        trouble: Option<Trouble>,
    },
    /// For the effect of the command, or for the second of two equal readings.
    Confirmation {
        /// The command.
        command: Command,
        /// How often it was sent, or may have been.
        attempt: u32,
        /// What the BMC reads.
        read: PowerState,
    },
    /// For the deadline of an earlier command in the other direction, which may still take effect.
    EarlierCommand {
        /// The state that does not count yet.
        target: PowerState,
    },
    /// For the machine to have been off long enough.
    Rest,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstReading { trouble: None } => f.write_str("reading the power state"),
            Self::FirstReading {
                trouble: Some(trouble),
            } => {
                write!(f, "the power state could not be read yet: {trouble}")
            }
            Self::Confirmation {
                command,
                attempt: 0,
                read,
            } => {
                write!(f, "nothing sent yet for {command}; the machine reads {read}")
            }
            Self::Confirmation {
                command: Command::Reset,
                attempt: _,
                read,
            } => write!(
                f,
                "reset was sent; waiting for a sign of a fresh boot; the machine reads {read}"
            ),
            Self::Confirmation {
                command,
                attempt,
                read,
            } => write!(
                f,
                "{command} was sent (attempt {attempt}); waiting for two readings of {}; the machine reads {}",
                command.leads_to(),
                read
            ),
            Self::EarlierCommand { target } => write!(
                f,
                "an earlier command in the other direction may still take effect: waiting for its deadline before {target} counts"
            ),
            Self::Rest => f.write_str("off; stays off for a moment before it is switched on"),
        }
    }
}

/// Why an intent ended without being confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all_fields = "camelCase")]
pub enum Unconfirmed {
    /// The power state could not be read within the deadline.
    NoReading {
        /// How often the command was sent, or may have been.
        attempts: u32,
        /// The last failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<Trouble>,
    },
    /// The BMC never read what the command leads to.
    NoEffect {
        /// The command of the last stage.
        command: Command,
        /// How often it was sent, or may have been.
        attempts: u32,
        /// The last reading.
        read: PowerState,
        /// The last failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<Trouble>,
    },
    /// A reset was sent, or may have been, and nothing shows that the machine restarted.
    ResetUnseen {
        /// The last failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<Trouble>,
    },
    /// The machine is off: a reset does nothing, and was not sent.
    NotOn,
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = match self {
            Self::NoReading { attempts, trouble } => {
                write!(
                    f,
                    "the power state could not be read within the deadline ({})",
                    times(*attempts)
                )?;
                *trouble
            }
            Self::NoEffect {
                command,
                attempts,
                read,
                trouble,
            } => {
                write!(
                    f,
                    "{command} was not confirmed within its deadline ({}); the machine reads {read}",
                    times(*attempts)
                )?;
                *trouble
            }
            Self::ResetUnseen { trouble } => {
                f.write_str("reset: sent, unconfirmed; nothing shows that the machine restarted")?;
                *trouble
            }
            Self::NotOn => {
                f.write_str("the machine is off: a reset does nothing and was not sent; ask for on")?;
                None
            }
        };
        trouble.map_or(Ok(()), |trouble| write!(f, "; {trouble}"))
    }
}

fn times(attempts: u32) -> String {
    match attempts {
        0 => "nothing was sent".into(),
        1 => "sent once".into(),
        n => format!("sent {n} times"),
    }
}
