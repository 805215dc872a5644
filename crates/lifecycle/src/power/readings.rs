//! What the BMC said of the machine's power since this process looks at it.

use std::time::Duration;

use hardware_types::PowerState;
use serde::{Deserialize, Serialize};

use crate::Time;

/// A value that differs once the machine was restarted: a digest of Redfish `LastResetTime` (DSP0268) or of IPMI's restart
/// cause (IPMI 2.0 §28.11). The latter is a cause, not a counter: the same cause twice is the same mark, and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootMark(pub u64);

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reading {
    /// When it was asked for.
    pub at: Time,
    /// The answer.
    pub power: PowerState,
    /// The machine's boot mark, where its BMC has one.
    pub mark: Option<BootMark>,
}

/// The latest readings, as far back as they agree on the power state.
///
/// A reading that failed is no reading: it neither confirms nor contradicts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Readings {
    equal: Vec<Reading>,
}

impl Readings {
    /// More would only repeat what the first of them said; the oldest goes, which can only delay a confirmation.
    const KEPT: usize = 16;

    /// Takes in the next reading; one that contradicts those before it starts anew.
    pub fn push(&mut self, reading: Reading) {
        if self.last().is_some_and(|last| last.power != reading.power) {
            self.equal.clear();
        }
        if self.equal.len() == Self::KEPT {
            self.equal.remove(0);
        }
        self.equal.push(reading);
    }

    /// The latest reading.
    pub fn last(&self) -> Option<&Reading> {
        self.equal.last()
    }

    /// Since when the machine is `target`, if two equal readings at least `gap` apart say so, neither before `from` nor after
    /// `until`, and none contradicted them since. Only on and off can be confirmed.
    pub fn confirmed(&self, target: PowerState, from: Time, until: Time, gap: Duration) -> Option<Time> {
        if !matches!(target, PowerState::On | PowerState::Off) {
            return None;
        }
        self.last().filter(|last| last.power == target)?;
        let first = self.equal.iter().find(|reading| reading.at >= from)?;
        let apart = |second: &Reading| second.at >= first.at.after(gap) && second.at <= until;
        self.equal.iter().any(apart).then_some(first.at)
    }
}
