//! A human switches a machine on once; from then on only the manager does, and each time it was asked for.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::facts::{Facts, Line, LineEvent, Machine, Step};
use crate::finding::Finding;
use crate::history::bound;
use crate::power::PowerLog;
use crate::time::{later, shown};

/// The BMC user of the manager.
const MANAGER: &str = "admin";
/// The human.
const HUMAN: &str = "operator";
/// The manager speaks to BMCs; the simulator's control API would let anybody take its name.
const PROTOCOLS: [&str; 2] = ["ipmi://", "redfish://"];
/// A command that takes longer to show was not the cause: a simulated machine needs seconds, one whose system shuts
/// down by itself a few minutes.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("power");
    let moments = facts.moments(
        [
            Step::PluggedIn,
            Step::Registered,
            Step::Available,
            Step::Running,
            Step::Returned,
            Step::RunningAgain,
            Step::Deleted,
        ],
        &mut finding,
    );
    let Some(
        [
            plugged_in,
            registered,
            available,
            running,
            returned,
            again,
            deleted,
        ],
    ) = moments
    else {
        return finding.end("");
    };
    let span = Span {
        plugged_in,
        registered,
        deleted,
    };
    let nothing = BTreeSet::new();
    // who has a ServerBinding is on, who has none is off
    let moments = [
        (Step::Available, available, nothing.clone()),
        (Step::Running, running, bound(facts, running)),
        (Step::Returned, returned, bound(facts, returned)),
        (Step::RunningAgain, again, bound(facts, again)),
        (Step::Deleted, deleted, nothing),
    ];
    let mut edges = 0;
    for machine in &facts.machines {
        let log = PowerLog::of(facts, &machine.bmc);
        edges += span.edges(&log).count();
        is_in_order(machine, &log, &mut finding);
        human_switches_on_once(machine, &log, &span, &mut finding);
        only_the_manager_commands(machine, &log, &span, &mut finding);
        for (step, t, on) in &moments {
            let wanted = on.contains(machine.server.as_str());
            is_as_wanted(machine, &log, (*step, *t), wanted, &mut finding);
        }
    }
    finding.looked(edges);
    finding.end(format!(
        "{edges} power edges of {} machines: each switched on once by {HUMAN}, then only by {MANAGER} over \
         IPMI or Redfish after a command; on at each step while it has a ServerBinding, else off",
        facts.machines.len()
    ))
}

/// The part of the log that is judged.
struct Span {
    plugged_in: Timestamp,
    registered: Timestamp,
    deleted: Timestamp,
}

impl Span {
    fn edges<'a>(&self, log: &PowerLog<'a>) -> impl Iterator<Item = (usize, &'a Line)> {
        log.edges()
            .filter(|(_, edge)| self.plugged_in < edge.t && edge.t <= self.deleted)
    }
}

fn describe(edge: &Line) -> String {
    format!(
        "{} went from {} to {} at {} by {} (verb {}, from {})",
        edge.bmc,
        edge.before,
        edge.after(),
        shown(edge.t),
        edge.actor,
        edge.verb,
        edge.source
    )
}

/// The log is what it was, and misses nothing.
fn is_in_order(machine: &Machine, log: &PowerLog<'_>, finding: &mut Finding) {
    let bmc = &machine.bmc;
    for pair in log.lines.windows(2) {
        finding.fail_if(pair[1].t < pair[0].t, || {
            let [t, next] = [pair[0].t, pair[1].t].map(shown);
            format!("the power log of {bmc} goes back in time from {t} to {next}")
        });
    }
    let edges: Vec<_> = log.edges().map(|(_, edge)| edge).collect();
    for pair in edges.windows(2) {
        finding.fail_if(pair[0].after() != pair[1].before, || {
            format!(
                "{}, though it was {} since {}: an edge is missing",
                describe(pair[1]),
                pair[0].after(),
                shown(pair[0].t)
            )
        });
    }
}

fn human_switches_on_once(machine: &Machine, log: &PowerLog<'_>, span: &Span, finding: &mut Finding) {
    let before = span.edges(log).filter(|(_, edge)| edge.t <= span.registered);
    let edges: Vec<_> = before.map(|(_, edge)| edge).collect();
    let wanted =
        |edge: &Line| (edge.before.as_str(), edge.after(), edge.actor.as_str()) == ("off", "on", HUMAN);
    if !matches!(edges[..], [edge] if wanted(edge)) {
        let found: Vec<_> = edges.iter().map(|edge| describe(edge)).collect();
        finding.fail(format!(
            "until `registered` {} is to be switched on once, by {HUMAN}; there are {} power edges: {}",
            machine.bmc,
            edges.len(),
            found.join(", ")
        ));
    }
}

fn only_the_manager_commands(machine: &Machine, log: &PowerLog<'_>, span: &Span, finding: &mut Finding) {
    let late = |line: &&&Line| span.registered < line.t && line.t <= span.deleted;
    let commands = log.lines.iter().filter(late);
    for line in commands.filter(|line| line.event == LineEvent::Received && line.actor != MANAGER) {
        // a reset, or a command that changed nothing, shows in no edge
        finding.fail(format!(
            "{} sent {} to {} at {} (from {}): after `registered` only the manager may",
            line.actor,
            line.verb,
            machine.bmc,
            shown(line.t),
            line.source
        ));
    }
    let mut previous: Option<(usize, &Line)> = None;
    for (place, edge) in log.edges() {
        if span.registered < edge.t && edge.t <= span.deleted {
            finding.fail_if(edge.actor != MANAGER, || {
                format!(
                    "{}: after `registered` only the manager ({MANAGER}) may",
                    describe(edge)
                )
            });
            let foreign = !PROTOCOLS.iter().any(|protocol| edge.source.starts_with(protocol));
            finding.fail_if(edge.actor == MANAGER && foreign, || {
                format!("{}: the manager comes over IPMI or Redfish", describe(edge))
            });
            let caused = has_command(log, (place, edge), previous);
            finding.fail_if(edge.actor == MANAGER && !caused, || {
                format!(
                    "{}, and no such command of {MANAGER} was accepted since the edge before and within {} min",
                    describe(edge),
                    PATIENCE.as_mins()
                )
            });
        }
        previous = Some((place, edge));
    }
}

/// Whether the manager sent the command that this edge names. It arrived after the edge before: until then the machine
/// was not in the state that the command changes. So each edge has a command of its own; only a cycle has two edges.
fn has_command(log: &PowerLog<'_>, (place, edge): (usize, &Line), previous: Option<(usize, &Line)>) -> bool {
    let fits = match edge.after() {
        "on" => ["on", "cycle"].contains(&edge.verb.as_str()),
        "off" => ["off", "soft-off", "cycle"].contains(&edge.verb.as_str()),
        _ => false,
    };
    let is_in_time = |line: &Line| line.t <= edge.t && edge.t <= later(line.t, PATIENCE);
    let is_second_half = |before: &Line| {
        edge.verb == "cycle" && edge.after() == "on" && before.verb == "cycle" && before.actor == MANAGER
    };
    if let Some((_, before)) = previous.filter(|(_, before)| is_second_half(before)) {
        return fits && is_in_time(before);
    }
    let since = previous.map_or(0, |(place, _)| place + 1);
    fits && log.lines[since..place].iter().any(|line| {
        line.event == LineEvent::Received
            && line.actor == MANAGER
            && line.verb == edge.verb
            && line.cause == "accepted"
            && is_in_time(line)
    })
}

fn is_as_wanted(
    machine: &Machine,
    log: &PowerLog<'_>,
    (step, t): (Step, Timestamp),
    wants_on: bool,
    finding: &mut Finding,
) {
    let (bmc, step) = (&machine.bmc, step.name());
    let wanted = if wants_on { "on" } else { "off" };
    match log.at(t) {
        None => finding.fail(format!(
            "{bmc} has no power edge: nobody knows whether it was {wanted} at `{step}`"
        )),
        Some(power) => finding.fail_if(power.word != wanted, || {
            let since = power
                .edge
                .map_or_else(|| "the start".into(), |edge| shown(edge.t));
            format!(
                "{bmc} was {} at `{step}`, since {since}, and should be {wanted}",
                power.word
            )
        }),
    }
}
