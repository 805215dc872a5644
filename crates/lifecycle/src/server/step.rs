//! The power commands of a boot window, and the ids by which a successor knows what was sent for it.

use hardware_types::PowerAction;

use super::Act;

/// What was sent for a window, by the end of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Off, then on into the agent: attempt 1 or 2.
    On(u32),
    /// Reset into the agent, with the override set again: some BMCs lose one that was set while the machine was off.
    Reset(u32),
    /// Off: it never asked what to boot, so it may be running the last tenant's disk.
    Off(u32),
    /// Off after the wipe, tried so often.
    End(u32),
}

impl Step {
    fn id(self, window: &str) -> String {
        let (word, number) = match self {
            Self::On(n) => ("on", n),
            Self::Reset(n) => ("reset", n),
            Self::Off(n) => ("off", n),
            Self::End(n) => ("end", n),
        };
        format!("{window}-{word}-{number}")
    }

    pub(super) fn of(id: &str, window: &str) -> Option<Self> {
        let (word, number) = id.strip_prefix(window)?.strip_prefix('-')?.split_once('-')?;
        let number = number.parse().ok()?;
        match word {
            "on" => Some(Self::On(number)),
            "reset" => Some(Self::Reset(number)),
            "off" => Some(Self::Off(number)),
            "end" => Some(Self::End(number)),
            _ => None,
        }
    }

    pub(super) fn power(self, window: &str) -> Act {
        let (action, network_boot) = match self {
            Self::On(_) => (PowerAction::On, true),
            Self::Reset(_) => (PowerAction::Reset, true),
            Self::Off(_) | Self::End(_) => (PowerAction::Off, false),
        };
        Act::Power {
            id: self.id(window),
            action,
            network_boot,
        }
    }
}
