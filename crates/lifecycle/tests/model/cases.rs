//! What the model is asked to do, what it must come by, and the guards that are taken away from it.

use hardware_types::PowerAction;
use lifecycle::power::Stage;

/// What is asked for, one after the other, of a machine that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scenario {
    pub on: bool,
    pub requests: &'static [(PowerAction, bool)],
    /// The next request may come while the one before is under way, and takes its place.
    pub impatient: bool,
    /// Changes of the machine's power that this may bring about; apart from the one whose late second *on* costs another pair.
    pub edges: u8,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        on: true,
        requests: &[(PowerAction::Off, false)],
        impatient: false,
        edges: 1,
    },
    Scenario {
        on: false,
        requests: &[(PowerAction::Off, false)],
        impatient: false,
        edges: 0,
    },
    Scenario {
        on: true,
        requests: &[(PowerAction::SoftOff, false)],
        impatient: false,
        edges: 1,
    },
    Scenario {
        on: true,
        requests: &[(PowerAction::Cycle, false)],
        impatient: false,
        edges: 2,
    },
    Scenario {
        on: false,
        requests: &[(PowerAction::Cycle, false)],
        impatient: false,
        edges: 1,
    },
    Scenario {
        on: true,
        requests: &[(PowerAction::On, true)],
        impatient: false,
        edges: 2,
    },
    Scenario {
        on: true,
        requests: &[(PowerAction::Reset, false)],
        impatient: false,
        edges: 0,
    },
    Scenario {
        on: false,
        requests: &[(PowerAction::Reset, false)],
        impatient: false,
        edges: 0,
    },
    Scenario {
        on: false,
        requests: &[(PowerAction::On, false), (PowerAction::Off, false)],
        impatient: false,
        edges: u8::MAX,
    },
    Scenario {
        on: true,
        requests: &[(PowerAction::SoftOff, false), (PowerAction::Cycle, false)],
        impatient: true,
        edges: 2,
    },
];

/// Phases and faults that the exploration must have come by.
pub const SOMETIMES: &[&str] = &[
    "a soft-off is under way",
    "a soft-off ends hard",
    "a cycle is done, off and on",
    "a reset is done",
    "a one-time boot is done",
    "an intent ends unconfirmed",
    "a manager dies between storing and sending",
    "a manager dies between sending and the effect",
    "a successor ends what two faults disturbed",
    "off is asked for while an unconfirmed on may still act",
    "the BMC lies",
    "a second attempt to switch on is done",
    "a cycle takes the place of a soft-off that may still act",
];

/// A guard that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    DoneOnOneReading,
    DoneOnAccepted,
    SoftOffSentAgain,
    ResetSentAgain,
    SentBeforeStored,
    SentAgainAtOnce,
    OffCountsRightAfterUnconfirmedOn,
    SecondOffForgotten,
    SoftOffForgottenForOff,
    OnWithoutRest,
    NoDeadline,
}

impl Mutant {
    pub const ALL: &[Self] = &[
        Self::DoneOnOneReading,
        Self::DoneOnAccepted,
        Self::SoftOffSentAgain,
        Self::ResetSentAgain,
        Self::SentBeforeStored,
        Self::SentAgainAtOnce,
        Self::OffCountsRightAfterUnconfirmedOn,
        Self::SecondOffForgotten,
        Self::SoftOffForgottenForOff,
        Self::OnWithoutRest,
        Self::NoDeadline,
    ];

    /// The stage whose command is sent a second time at once.
    pub fn sends_again(self) -> Option<Stage> {
        match self {
            Self::SoftOffSentAgain => Some(Stage::SoftOff),
            Self::ResetSentAgain => Some(Stage::Reset),
            Self::SentAgainAtOnce => Some(Stage::Off),
            _ => None,
        }
    }
}
