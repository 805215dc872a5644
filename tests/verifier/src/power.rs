//! What the power log says of one machine.

use jiff::Timestamp;

use crate::facts::{Facts, Line, LineEvent};

/// The words of power in the log.
const WORDS: [&str; 3] = ["on", "off", "unplugged"];

impl Line {
    /// Power changed: an effect between two different ones of `on`, `off` and `unplugged`.
    pub fn is_power_edge(&self) -> bool {
        let is_word = |text: &str| WORDS.contains(&text);
        self.event == LineEvent::Effect
            && is_word(&self.before)
            && self
                .after
                .as_deref()
                .is_some_and(|after| is_word(after) && after != self.before)
    }

    pub(crate) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or("?")
    }
}

/// The lines of one BMC, in the order of the log.
pub(crate) struct PowerLog<'a> {
    pub(crate) lines: Vec<&'a Line>,
}

/// The power of a machine at some moment.
pub(crate) struct Power<'a> {
    pub(crate) word: &'a str,
    /// The edge that made it so, unless it was so from the start.
    pub(crate) edge: Option<&'a Line>,
}

impl Power<'_> {
    pub(crate) fn is_on(&self) -> bool {
        self.word == "on"
    }
}

impl<'a> PowerLog<'a> {
    pub(crate) fn of(facts: &'a Facts, bmc: &str) -> Self {
        let lines = facts.power.iter().filter(|line| line.bmc == bmc).collect();
        Self { lines }
    }

    /// Power edges, with their places among the lines.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (usize, &'a Line)> {
        let lines = self.lines.iter().copied().enumerate();
        lines.filter(|(_, line)| line.is_power_edge())
    }

    /// The power at a moment; `None` if no edge was ever logged: then nothing is known.
    pub(crate) fn at(&self, t: Timestamp) -> Option<Power<'a>> {
        let edge = self
            .edges()
            .map(|(_, edge)| edge)
            .take_while(|edge| edge.t <= t)
            .last();
        let word = match edge {
            Some(edge) => edge.after(),
            None => self.edges().next()?.1.before.as_str(),
        };
        Some(Power { word, edge })
    }
}
