//! Watches the invariants over a real run: changes of the API and the power logs of all simulators, in one order.
//!
//! What it looks for is the [`Monitor`]'s; it shares no code with the managers that it watches.

mod facts;
pub(crate) mod fleet;
mod merge;
mod tail;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hardware_types::ServerId;
use jiff::Timestamp;
use lifecycle::Time;
use lifecycle::invariant::{Event, Fact, Monitor, Tolerance, Violation};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use self::facts::{Kind, Known};
use self::fleet::{Fleet, Line, time};
use self::merge::{Merge, Next};
use self::tail::Tail;
use self::watch::{Change, Told};
use crate::{Bed, Lab};

pub use self::facts::MANAGER_USER;

/// A change of the API arrives this long after it was written at the latest, on a busy machine.
const WINDOW: Duration = Duration::from_secs(5);
/// A manager learns this late of what a user wrote, so a command may still come.
const IN_FLIGHT: Duration = Duration::from_secs(5);
/// Readings that confirm a state are 3 s apart; a second less, since the order of events is known no better.
const READING_GAP: Duration = Duration::from_secs(2);
/// Between two looks at the power logs.
const LOOK: Duration = Duration::from_millis(200);
/// How long the first lists may take.
const LISTS: Duration = Duration::from_secs(30);
/// Events that a violation is shown with.
const SHOWN: usize = 30;
/// Begins the names of Servers on which tests commit violations.
const PLANTED: &str = "0b5e0000-";

/// Whose deeds are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All Servers but those on which a test commits violations.
    Run,
    /// Only those; their names begin with `0b5e0000-`.
    Planted,
}

/// All simulators of a run, in the order in which they were made.
pub(crate) type Fleets = Arc<Mutex<Vec<Fleet>>>;

/// A running observer. Dropping it ends it without a verdict.
#[derive(Debug)]
pub struct Observer {
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

/// What an observer looked at, when nothing was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Changes of objects.
    pub changes: usize,
    /// Lines of power logs.
    pub lines: usize,
    /// Simulators.
    pub simulators: usize,
}

impl std::fmt::Display for Looked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            changes,
            lines,
            simulators,
        } = self;
        write!(
            f,
            "{changes} changes of the API and {lines} lines of {simulators} power logs"
        )
    }
}

#[derive(Debug)]
struct State {
    scope: Scope,
    own: [IpAddr; 2],
    fleets: Fleets,
    /// Of the fleets of before this observer.
    earlier: usize,
    tails: Vec<Tail>,
    merge: Merge<Box<Change>, (usize, Seen)>,
    known: Known,
    monitor: Monitor,
    /// When each object was last written, as far as that was noted.
    noted: BTreeMap<(Kind, String), Time>,
    /// The power intents as last seen, to tell which change stored one.
    intents: BTreeMap<String, Value>,
    last: VecDeque<String>,
    looked: Looked,
    broken: BTreeMap<Kind, String>,
    violations: Vec<Violation>,
    /// What nobody was told yet.
    findings: Vec<String>,
}

/// What was seen of a simulator.
#[derive(Debug)]
enum Seen {
    Started(Fleet),
    Line(Line),
}

impl Observer {
    /// Starts the watches and waits until they are kept.
    pub(crate) async fn start(bed: &Bed, fleets: Fleets, scope: Scope) -> anyhow::Result<Self> {
        let own = [bed.run().network().inside(), Lab::BOOT_SERVICES].map(IpAddr::V4);
        let state = Arc::new(Mutex::new(State::new(scope, own, fleets)));
        let (sender, mut told) = mpsc::unbounded_channel();
        let mut watches = JoinSet::new();
        let kinds = [Kind::Server, Kind::Binding, Kind::Machine, Kind::Lease];
        for kind in kinds {
            watches.spawn(watch::watch(bed.client().clone(), kind, sender.clone()));
        }
        let lists = async {
            let mut missing = kinds.len();
            while missing > 0 {
                match told.recv().await.context("the watches ended")? {
                    Told::Listed => missing -= 1,
                    tell => lock(&state).told(tell),
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LISTS, lists)
            .await
            .with_context(|| format!("the observer has no lists after {LISTS:?}"))??;
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let _watches = watches;
            let mut look = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    Some(tell) = told.recv() => lock(&shared).told(tell),
                    _ = look.tick() => lock(&shared).look(now()),
                }
            }
        });
        Ok(Self {
            state,
            task: task.abort_handle(),
        })
    }

    /// All violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.state).violations.clone()
    }

    /// Fails with what was found since it was last asked.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let findings = std::mem::take(&mut lock(&self.state).findings);
        ensure!(findings.is_empty(), "{}", findings.join("\n\n"));
        Ok(())
    }

    /// Waits until all is looked at that has happened; fails with what was found, and when a watch is broken or there
    /// was nothing to look at although there were machines.
    pub async fn finish(self) -> anyhow::Result<Looked> {
        let last = now();
        // The window, and a look more.
        while now() <= last.after(WINDOW + LOOK) && !lock(&self.state).is_idle() {
            tokio::time::sleep(LOOK).await;
        }
        // The last test may have taken the API server away and given it back.
        while now() <= last.after(LISTS) && !lock(&self.state).broken.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        self.task.abort();
        lock(&self.state).look(Time::from_millis(u64::MAX));
        self.verdict()?;
        let state = lock(&self.state);
        if let Some(why) = state.broken.values().next() {
            bail!("{why}");
        }
        let looked = state.looked;
        let blind = looked.simulators > 0 && (looked.changes == 0 || looked.lines == 0);
        ensure!(!blind, "machines ran and the observer saw only {looked}");
        Ok(looked)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn new(scope: Scope, own: [IpAddr; 2], fleets: Fleets) -> Self {
        let earlier = match scope {
            Scope::Run => 0,
            Scope::Planted => lock(&fleets).len(),
        };
        Self {
            scope,
            own,
            fleets,
            earlier,
            tails: Vec::new(),
            merge: Merge::new(WINDOW),
            noted: BTreeMap::new(),
            known: Known::default(),
            monitor: Monitor::new(Tolerance {
                in_flight: IN_FLIGHT,
                reading_gap: READING_GAP,
            }),
            intents: BTreeMap::new(),
            last: VecDeque::new(),
            looked: Looked {
                changes: 0,
                lines: 0,
                simulators: 0,
            },
            broken: BTreeMap::new(),
            violations: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn told(&mut self, tell: Told) {
        match tell {
            Told::Listed => {}
            Told::Broken(kind, Some(why)) => drop(self.broken.insert(kind, why)),
            Told::Broken(kind, None) => drop(self.broken.remove(&kind)),
            Told::Lost(what) => self.findings.push(format!("the observer is blind: {what}")),
            Told::Changed(change) => {
                let at = self.written(&change);
                self.merge.change(change.revision, at, change);
            }
        }
    }

    /// The latest time at which a change can have been written. An intent that is stored before a command is sent says when
    /// that was about to happen.
    fn written(&mut self, change: &Change) -> Time {
        let key = (change.kind, change.name.clone());
        let before = self.noted.get(&key).copied();
        let written = change.written(before);
        match change.noted().max(before).filter(|_| change.object.is_some()) {
            Some(latest) => drop(self.noted.insert(key, latest)),
            None => drop(self.noted.remove(&key)),
        }
        let intent = change
            .object
            .as_ref()
            .map(|object| &object.data["status"]["powerIntent"]);
        let Some(intent) = intent.filter(|_| change.kind == Kind::Server) else {
            self.intents.remove(&change.name);
            return written;
        };
        let is_new = self.intents.insert(change.name.clone(), intent.clone()).as_ref() != Some(intent);
        let sent = intent["lastSent"].as_u64().map(Time::from_millis);
        match sent.filter(|_| is_new && intent["outcome"].is_null()) {
            Some(sent) if written.since(sent) <= WINDOW => sent.min(written),
            _ => written,
        }
    }

    /// Reads the power logs and judges what is due by `now`.
    fn look(&mut self, now: Time) {
        let fleets: Vec<_> = lock(&self.fleets).iter().skip(self.earlier).cloned().collect();
        for fleet in fleets.into_iter().skip(self.tails.len()) {
            self.tails.push(Tail::new(&fleet.power_log));
            let at = fleet.made;
            self.merge.line(at, (self.tails.len() - 1, Seen::Started(fleet)));
            self.looked.simulators += 1;
        }
        for (number, tail) in self.tails.iter_mut().enumerate() {
            match tail.lines() {
                Ok(lines) => {
                    for line in lines {
                        self.looked.lines += 1;
                        self.merge.line(line.at(), (number, Seen::Line(line)));
                    }
                }
                Err(error) => self.findings.push(format!("the observer is blind: {error:#}")),
            }
        }
        while let Some((at, next)) = self.merge.next(now) {
            self.judge(at, next);
        }
    }

    fn is_idle(&self) -> bool {
        self.merge.is_empty()
    }

    fn judge(&mut self, at: Time, next: Next<Box<Change>, (usize, Seen)>) {
        let (what, facts) = match next {
            Next::Change(change) => {
                self.looked.changes += 1;
                let what = format!(
                    "{:?} {} at revision {}",
                    change.kind, change.name, change.revision
                );
                let object = change.object.as_ref();
                (what, self.known.changed(change.kind, &change.name, object))
            }
            Next::Line((number, Seen::Started(fleet))) => (
                format!("simulator {} starts", fleet.power_log.display()),
                self.known.started(number, &fleet),
            ),
            Next::Line((number, Seen::Line(line))) => {
                let own = self.own;
                let is_ours = |address: IpAddr| address.is_loopback() || own.contains(&address);
                let what = format!(
                    "{} of {}: {} {} by {}, {} > {}: {}",
                    line.event,
                    line.bmc,
                    line.verb,
                    line.source,
                    line.actor,
                    line.before,
                    line.after.as_deref().unwrap_or("?"),
                    line.cause
                );
                (what, self.known.line(number, &line, is_ours))
            }
        };
        let facts: Vec<_> = facts.into_iter().filter(|fact| self.is_watched(fact)).collect();
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(format!("{at}: {what}: {facts:?}"));
        for fact in facts {
            if let Err(violation) = self.monitor.observe(Event { at, fact }) {
                let last: Vec<_> = self.last.iter().map(|line| format!("  {line}")).collect();
                self.findings.push(format!(
                    "{violation}\n  by {what}\nthe last events:\n{}",
                    last.join("\n")
                ));
                self.violations.push(violation);
            }
        }
    }

    fn is_watched(&self, fact: &Fact) -> bool {
        let Some(server) = fact.server() else { return true };
        is_planted(server) == (self.scope == Scope::Planted)
    }
}

fn is_planted(server: ServerId) -> bool {
    server.to_string().starts_with(PLANTED)
}

fn now() -> Time {
    time(Timestamp::now())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
