//! A BMC and its machine: what is sent takes effect at once, later or never; what is read is true, or for a while not.

use std::time::Duration;

use hardware_types::PowerState;
use lifecycle::Time;
use lifecycle::power::{BootMark, Command, Stage};

use super::{Answer, TICK};

/// What becomes of a command. Its reply may always be lost: the manager does not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    Now,
    /// Takes effect after this many ticks, always within its deadline.
    Slow(u8),
    /// Accepted and ignored, or lost on the way.
    Ignored,
}

impl Fate {
    /// What may become of the command; a slow or lost one is a fault, but that an operating system takes its time is not.
    pub fn of(command: Command, may_fail: bool, lied: bool) -> &'static [Self] {
        match (command, may_fail, lied) {
            (_, false, _) => &[Self::Now],
            (_, true, true) => &[Self::Now, Self::Ignored],
            (Command::SoftOff, true, false) => &[Self::Now, Self::Slow(3), Self::Slow(9), Self::Ignored],
            (_, true, false) => &[Self::Now, Self::Slow(3), Self::Slow(7), Self::Ignored],
        }
    }

    pub fn is_fault(self) -> bool {
        self != Self::Now
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bmc {
    on: bool,
    /// Accepted, and not yet in effect.
    due: Vec<(Command, Time)>,
    /// Readings are the contrary of the truth until then.
    lies_until: Option<Time>,
    /// The machine is on its way up until then.
    post_until: Option<Time>,
    off_since: Option<Time>,
    /// Shortest time between an off and an on that we brought about.
    pub shortest_rest: Option<Duration>,
    /// Shortest time between two equal commands for one request.
    pub shortest_repeat: Option<Duration>,
    pub last_received: Option<(Command, Time)>,
    pub lied: bool,
    pub was_slow: bool,
    pub received: u8,
    pub edges: u8,
    pub resets: u8,
    pub override_sets: u8,
}

impl Bmc {
    pub fn new(on: bool) -> Self {
        Self {
            on,
            due: Vec::new(),
            lies_until: None,
            post_until: None,
            off_since: None,
            shortest_rest: None,
            shortest_repeat: None,
            last_received: None,
            lied: false,
            was_slow: false,
            received: 0,
            edges: 0,
            resets: 0,
            override_sets: 0,
        }
    }

    pub fn power(&self) -> PowerState {
        if self.on { PowerState::On } else { PowerState::Off }
    }

    pub fn mark(&self) -> BootMark {
        BootMark(u64::from(self.resets))
    }

    pub fn is_at_work(&self) -> bool {
        !self.due.is_empty()
    }

    /// Whether the machine is where the stage leads, and nothing on its way will change that.
    pub fn will_stay(&self, stage: Stage) -> bool {
        let target = stage.command().leads_to();
        let pulls_away = |command: &Command| command.leads_to() != target;
        (stage != Stage::Reset || self.resets > 0)
            && self.power() == target
            && !self.due.iter().any(|(command, _)| pulls_away(command))
    }

    /// Takes a command in; whether the machine's power changed at once.
    pub fn receive(&mut self, command: Command, fate: Fate, now: Time) -> bool {
        if let Some((_, at)) = self.last_received.filter(|(last, _)| *last == command) {
            let gap = now.since(at);
            self.shortest_repeat = Some(self.shortest_repeat.map_or(gap, |known| known.min(gap)));
        }
        self.last_received = Some((command, now));
        self.received = self.received.saturating_add(1);
        match fate {
            Fate::Now => self.act(command, now),
            Fate::Slow(ticks) => {
                self.was_slow = true;
                self.due.push((command, now.after(TICK * u32::from(ticks))));
                false
            }
            Fate::Ignored => false,
        }
    }

    /// Lets time pass up to `now`; whether the machine's power changed.
    pub fn advance(&mut self, now: Time) -> bool {
        self.lies_until = self.lies_until.filter(|until| now <= *until);
        self.post_until = self.post_until.filter(|until| now <= *until);
        let (ready, waiting) = self.due.iter().partition(|(_, at)| *at <= now);
        self.due = waiting;
        let ready: Vec<(Command, Time)> = ready;
        let before = self.edges;
        for (command, _) in ready {
            self.act(command, now);
        }
        self.edges != before
    }

    fn act(&mut self, command: Command, now: Time) -> bool {
        let on = match command {
            Command::On => true,
            Command::Off | Command::SoftOff => false,
            Command::Reset => {
                self.resets += u8::from(self.on);
                return false;
            }
        };
        if on == self.on {
            return false;
        }
        self.on = on;
        self.edges = self.edges.saturating_add(1);
        if on {
            self.post_until = Some(now.after(TICK));
            let rest = self.off_since.map(|since| now.since(since));
            self.shortest_rest = self.shortest_rest.into_iter().chain(rest).min();
        } else {
            self.off_since = Some(now);
        }
        true
    }

    /// Answers a reading. A lie lasts for less than the gap between two readings that confirm.
    pub fn read(&mut self, answer: Answer, now: Time, gap: Duration) -> Option<PowerState> {
        match answer {
            Answer::Lie => {
                self.lied = true;
                self.lies_until = Some(now.after(gap.saturating_sub(TICK)));
            }
            Answer::Unknown => return Some(PowerState::Unknown),
            Answer::Lost => return None,
            Answer::AsIs => {}
        }
        let lies = self.lies_until.is_some();
        Some(match (self.on ^ lies, self.post_until) {
            (true, Some(_)) if !lies => PowerState::PoweringOn,
            (true, _) => PowerState::On,
            (false, _) => PowerState::Off,
        })
    }
}
