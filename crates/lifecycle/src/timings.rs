//! Every deadline and interval that a decision knows, in one place.

use std::time::Duration;

/// Deadlines and intervals of the decisions. One value for a whole manager; [`Timings::on_platform`] adapts it to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timings {
    /// From *off* sent to off confirmed; past it the outcome is unconfirmed.
    pub off: Duration,
    /// From *on* sent to on confirmed.
    pub on: Duration,
    /// What an operating system is given to shut down before the machine is switched off hard.
    pub soft_off: Duration,
    /// From *reset* sent to a sign of a fresh boot.
    pub reset: Duration,
    /// Two equal readings confirm a state when they are at least this far apart.
    pub reading_gap: Duration,
    /// How long a machine stays off, confirmed, before the same sequence switches it on again.
    pub rest: Duration,
    /// From a machine's power-on to its question what to boot, and then to a sign of its agent, and between two of
    /// those; past it the machine is switched off.
    pub boot: Duration,
    /// How long an agent that runs is given to fetch its orders before the machine is power-cycled for them.
    pub agent_grace: Duration,
    /// How long a boot window stays open without a sign of life.
    pub window: Duration,
    /// From the deletion of a marked ServerBinding to its end, whether or not the machine was confirmed off.
    pub release: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            off: Duration::from_mins(1),
            on: Duration::from_mins(1),
            soft_off: Duration::from_mins(3),
            reset: Duration::from_mins(1),
            reading_gap: Duration::from_secs(3),
            rest: Duration::from_secs(10),
            boot: Duration::from_mins(20),
            agent_grace: Duration::from_secs(30),
            window: Duration::from_hours(24),
            release: Duration::from_mins(30),
        }
    }
}

/// What a platform (vendor and model) needs instead of the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PlatformTimings {
    /// Replaces [`Timings::off`].
    pub off: Option<Duration>,
    /// Replaces [`Timings::on`].
    pub on: Option<Duration>,
    /// Replaces [`Timings::soft_off`].
    pub soft_off: Option<Duration>,
    /// Replaces [`Timings::reset`].
    pub reset: Option<Duration>,
    /// Replaces [`Timings::rest`], and only upwards.
    pub rest: Option<Duration>,
    /// Replaces [`Timings::boot`].
    pub boot: Option<Duration>,
}

impl Timings {
    /// When an *off* that was not confirmed is tried again, after so many attempts: a minute, doubled, ten at most.
    pub fn off_again(&self, attempts: u32) -> Duration {
        let doubled = self.off.saturating_mul(1 << attempts.clamp(1, 8));
        doubled.min(self.off.saturating_mul(10))
    }

    /// These timings with what `platform` needs. The reading gap is a rule of safety and belongs to no platform.
    #[must_use]
    pub fn on_platform(&self, platform: &PlatformTimings) -> Self {
        Self {
            off: platform.off.unwrap_or(self.off),
            on: platform.on.unwrap_or(self.on),
            soft_off: platform.soft_off.unwrap_or(self.soft_off),
            reset: platform.reset.unwrap_or(self.reset),
            reading_gap: self.reading_gap,
            rest: platform.rest.map_or(self.rest, |rest| rest.max(self.rest)),
            boot: platform.boot.unwrap_or(self.boot),
            agent_grace: self.agent_grace,
            window: self.window,
            release: self.release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_replaces_what_it_names_and_never_shortens_the_rest() {
        let slow = PlatformTimings {
            off: Some(Duration::from_mins(2)),
            rest: Some(Duration::from_secs(2)),
            ..PlatformTimings::default()
        };
        let timings = Timings::default().on_platform(&slow);
        assert_eq!(
            timings,
            Timings {
                off: Duration::from_mins(2),
                ..Timings::default()
            }
        );
    }
}
