//! What became of the objects.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::facts::{Change, Facts, Kind, Machine, ObjectEvent};

/// One object, from when it was first seen until it was gone.
#[derive(Debug, Clone)]
pub(crate) struct Life<'a> {
    pub(crate) uid: &'a str,
    pub(crate) name: &'a str,
    /// Never empty, in order.
    changes: Vec<&'a Change>,
    first: Timestamp,
}

/// All objects of a kind, in the order in which they were first seen.
pub(crate) fn lives(facts: &Facts, kind: Kind) -> Vec<Life<'_>> {
    let mut lives: Vec<Life<'_>> = Vec::new();
    for change in facts.objects.iter().filter(|change| change.kind == kind) {
        match lives.iter_mut().find(|life| life.uid == change.uid) {
            Some(life) => life.changes.push(change),
            None => lives.push(Life {
                uid: &change.uid,
                name: &change.name,
                changes: vec![change],
                first: change.t,
            }),
        }
    }
    lives
}

impl<'a> Life<'a> {
    pub(crate) const fn first(&self) -> Timestamp {
        self.first
    }

    pub(crate) fn gone(&self) -> Option<Timestamp> {
        let last = self.changes.last()?;
        (last.event == ObjectEvent::Gone).then_some(last.t)
    }

    /// When it was seen to be there, and how.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &'a Change> {
        let seen = |change: &&Change| change.event == ObjectEvent::Seen;
        self.changes.iter().copied().filter(seen)
    }

    /// How it was at `from`, and how it became until `to`.
    pub(crate) fn during(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &'a Change> {
        let at_from = self.changes.iter().rposition(|change| change.t <= from);
        let changes = self.changes.iter().skip(at_from.unwrap_or_default()).copied();
        changes.filter(move |change| change.t <= to && change.event == ObjectEvent::Seen)
    }

    /// The Server that it is about, as it last said.
    pub(crate) fn server(&self) -> Option<&'a str> {
        self.changes
            .iter()
            .rev()
            .find_map(|change| change.server.as_deref())
    }

    /// When it first said so.
    pub(crate) fn server_since(&self) -> Option<Timestamp> {
        let first = self.changes.iter().find(|change| change.server.is_some())?;
        Some(first.t)
    }

    /// The machine that it is about.
    pub(crate) fn machine(&self, facts: &'a Facts) -> Option<&'a Machine> {
        self.server().and_then(|server| facts.machine(server))
    }

    pub(crate) fn phases(&self) -> impl Iterator<Item = (Timestamp, &'a str)> {
        self.seen()
            .filter_map(|change| Some((change.t, change.phase.as_deref()?)))
    }
}

/// The ServerBinding that a Server had last, of those that were there by `t`.
pub(crate) fn binding_of<'l, 'a>(
    bindings: &'l [Life<'a>],
    server: &str,
    t: Timestamp,
) -> Option<&'l Life<'a>> {
    let mut known = bindings.iter().rev();
    known.find(|binding| binding.server() == Some(server) && binding.first() <= t)
}

/// The Servers with a ServerBinding when a step was complete.
pub(crate) fn bound(facts: &Facts, t: Timestamp) -> BTreeSet<&str> {
    let bindings = lives(facts, Kind::ServerBinding);
    // strictly: a step is complete long after what it did, and the next one may bind a Server within the lag of a watch
    let there = |binding: &&Life| binding.first() <= t && binding.gone().is_none_or(|gone| gone > t);
    bindings.iter().filter(there).filter_map(Life::server).collect()
}

/// The Servers of which a ServerBinding was gone between two steps.
pub(crate) fn given_back(facts: &Facts, after: Timestamp, until: Timestamp) -> BTreeSet<&str> {
    let bindings = lives(facts, Kind::ServerBinding);
    let between = |binding: &&Life| binding.gone().is_some_and(|t| after < t && t <= until);
    bindings.iter().filter(between).filter_map(Life::server).collect()
}
