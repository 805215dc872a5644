//! Brings what was seen of the API and of the power logs into one order.
//!
//! A line of a power log says when it was written. A change of an object arrives late, so it comes with the latest time at
//! which it can have been written; which of two changes was first is told by their revisions, whatever their kinds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lifecycle::Time;

/// Changes and lines that are not due yet.
#[derive(Debug)]
pub(super) struct Merge<C, L> {
    window: Duration,
    /// By revision and arrival.
    changes: BTreeMap<(u64, u64), (Time, C)>,
    arrived: u64,
    /// In the order of their times; those of one time as they came.
    lines: VecDeque<(Time, L)>,
    /// The time of what was last given out: it never goes back.
    reached: Time,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<C, L> {
    Change(C),
    Line(L),
}

impl<C, L> Merge<C, L> {
    /// Whatever arrives within `window` after it happened is put in its place.
    pub(super) const fn new(window: Duration) -> Self {
        Self {
            window,
            changes: BTreeMap::new(),
            arrived: 0,
            lines: VecDeque::new(),
            reached: Time::from_millis(0),
        }
    }

    /// A change of an object, written at `at` or before.
    pub(super) fn change(&mut self, revision: u64, at: Time, change: C) {
        self.arrived += 1;
        self.changes.insert((revision, self.arrived), (at, change));
    }

    /// A line of a power log, written at `at`.
    pub(super) fn line(&mut self, at: Time, line: L) {
        let place = self.lines.partition_point(|(known, _)| *known <= at);
        self.lines.insert(place, (at, line));
    }

    /// What comes next, if it is so old that nothing can come before it any more.
    pub(super) fn next(&mut self, now: Time) -> Option<(Time, Next<C, L>)> {
        let (at, is_change) = self.first()?;
        if at.after(self.window) > now {
            return None;
        }
        self.reached = self.reached.max(at);
        let next = if is_change {
            Next::Change(self.changes.pop_first()?.1.1)
        } else {
            Next::Line(self.lines.pop_front()?.1)
        };
        Some((self.reached, next))
    }

    /// Whether there is nothing left.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.lines.is_empty()
    }

    /// The time of what is first, and whether it is a change: one that was written in the same millisecond goes before a line.
    fn first(&self) -> Option<(Time, bool)> {
        // The first change was written before all the others, so before the earliest of them.
        let change = self.changes.values().map(|(at, _)| *at).min();
        let line = self.lines.front().map(|(at, _)| *at);
        match (change, line) {
            (Some(change), Some(line)) if line < change => Some((line, false)),
            (Some(change), _) => Some((change, true)),
            (None, line) => line.map(|line| (line, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Time = Time::from_millis(u64::MAX);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn merge() -> Merge<&'static str, &'static str> {
        Merge::new(Duration::from_millis(100))
    }

    fn all(merge: &mut Merge<&'static str, &'static str>, now: Time) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.next(now))
            .map(|(_, Next::Change(what) | Next::Line(what))| what)
            .collect()
    }

    #[test]
    fn changes_go_by_revision_and_lines_by_time() {
        let mut merge = merge();
        merge.line(at(30), "line 30");
        merge.line(at(10), "line 10");
        merge.line(at(10), "line 10 again");
        merge.change(7, at(25), "second");
        merge.change(5, at(20), "first");
        assert_eq!(
            all(&mut merge, END),
            ["line 10", "line 10 again", "first", "second", "line 30"]
        );
        assert!(merge.is_empty());
    }

    #[test]
    fn what_is_known_to_be_early_takes_its_predecessors_along() {
        let mut merge = merge();
        merge.change(5, at(90), "accepted, seen late");
        merge.change(6, at(20), "stored, and says when");
        merge.line(at(20), "the command that was stored");
        assert_eq!(
            all(&mut merge, END),
            [
                "accepted, seen late",
                "stored, and says when",
                "the command that was stored"
            ]
        );
    }

    #[test]
    fn nothing_is_given_out_while_something_earlier_may_come() {
        let mut merge = merge();
        merge.line(at(50), "command");
        assert!(merge.next(at(149)).is_none());
        merge.change(1, at(40), "stored before");
        assert_eq!(all(&mut merge, at(149)), ["stored before"]);
        assert_eq!(all(&mut merge, at(150)), ["command"]);
    }

    #[test]
    fn time_never_goes_back() {
        let mut merge = merge();
        merge.line(at(50), "line");
        assert_eq!(merge.next(END), Some((at(50), Next::Line("line"))));
        merge.change(1, at(40), "later than any window");
        assert_eq!(
            merge.next(END),
            Some((at(50), Next::Change("later than any window")))
        );
    }
}
