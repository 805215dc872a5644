//! How often a machine was given the agent and did not register: in memory of this replica, for an hour.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hardware_types::ServerId;
use lifecycle::boot::MAX_AGENT_BOOTS;

/// How long a boot counts.
const WITHIN: Duration = Duration::from_hours(1);
/// Who asks again so soon is in the same boot: no machine starts, fails and starts again in that time.
const SAME_BOOT: Duration = Duration::from_secs(30);
/// Machines that are kept; the boots of more are not counted, so they get the agent.
const MACHINES: usize = 4096;

/// When machines were given the agent.
#[derive(Debug, Default)]
pub(crate) struct AgentBoots(HashMap<ServerId, Vec<Instant>>);

impl AgentBoots {
    /// Boots of the agent within the last hour.
    pub(crate) fn count(&self, id: ServerId, now: Instant) -> u32 {
        let boots = self.0.get(&id).into_iter().flatten();
        boots.filter(|boot| counts(**boot, now)).map(|_| 1).sum()
    }

    /// It was given the agent.
    pub(crate) fn given(&mut self, id: ServerId, now: Instant) {
        if self.0.len() >= MACHINES && !self.0.contains_key(&id) {
            self.0
                .retain(|_, boots| boots.iter().any(|boot| counts(*boot, now)));
            if self.0.len() >= MACHINES {
                return;
            }
        }
        let boots = self.0.entry(id).or_default();
        boots.retain(|boot| counts(*boot, now));
        let is_same = |last: &Instant| now.saturating_duration_since(*last) < SAME_BOOT;
        if !boots.last().is_some_and(is_same) && boots.len() < MAX_AGENT_BOOTS as usize {
            boots.push(now);
        }
    }

    /// It registered.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.0.remove(&id);
    }
}

fn counts(boot: Instant, now: Instant) -> bool {
    now.saturating_duration_since(boot) < WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::UUID;

    fn id(n: usize) -> ServerId {
        UUID.replace("4c4c4544", &format!("{n:08x}")).parse().unwrap()
    }

    #[test]
    fn boots_count_for_an_hour_and_questions_of_one_boot_once() {
        let (mut boots, begin) = (AgentBoots::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for (second, count) in [(0, 1), (1, 1), (29, 1), (30, 2), (59, 2), (660, 3), (3000, 3)] {
            boots.given(id(1), at(second));
            assert_eq!(boots.count(id(1), at(second)), count, "{second} s");
        }
        assert_eq!(boots.count(id(2), at(3000)), 0);
        assert_eq!(boots.count(id(1), at(3599)), 3);
        assert_eq!(boots.count(id(1), at(3600)), 2);
        assert_eq!(boots.count(id(1), at(660 + 3600)), 0);
    }

    #[test]
    fn who_registered_begins_anew() {
        let (mut boots, now) = (AgentBoots::default(), Instant::now());
        boots.given(id(1), now);
        boots.forget(id(1));
        assert_eq!(boots.count(id(1), now), 0);
    }

    #[test]
    fn a_flood_of_machines_is_bounded_for_an_hour_and_those_before_it_still_count() {
        let (mut boots, begin) = (AgentBoots::default(), Instant::now());
        let later = begin + SAME_BOOT;
        for n in 1..=MACHINES + 10 {
            boots.given(id(n), begin);
        }
        assert_eq!(boots.0.len(), MACHINES);
        boots.given(id(1), later);
        assert_eq!(boots.count(id(1), later), 2);
        let late = begin + WITHIN;
        boots.given(id(MACHINES + 1), late);
        assert_eq!(boots.count(id(MACHINES + 1), late), 1);
        assert_eq!(boots.0.len(), 2, "those that no longer count are swept");
    }
}
