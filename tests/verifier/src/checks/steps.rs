//! The run says that it did all of the job, with machines that the API knows.

use std::collections::BTreeSet;

use crate::facts::{Facts, Kind, Machine, Step};
use crate::finding::Finding;
use crate::history::{Life, lives};
use crate::time::{WATCH_LAG, later, shown};

/// One machine would not show that the right one is given back.
const LEAST_MACHINES: usize = 2;

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("steps");
    finding.looked(facts.steps.len());
    for step in Step::ALL {
        let times = facts.steps.iter().filter(|done| done.name == step.name()).count();
        finding.fail_if(times == 0, || format!("step `{}` is missing", step.name()));
        finding.fail_if(times > 1, || {
            format!("step `{}` is there {times} times", step.name())
        });
    }
    let known: Vec<_> = facts
        .steps
        .iter()
        .filter_map(|done| Some((Step::named(&done.name)?, done.t)))
        .collect();
    for pair in known.windows(2) {
        let [(step, t), (next, next_t)] = [pair[0], pair[1]];
        finding.fail_if(next < step, || {
            format!("step `{}` comes before `{}`", step.name(), next.name())
        });
        finding.fail_if(next_t < t, || {
            format!(
                "time goes back from `{}` at {} to `{}` at {}",
                step.name(),
                shown(t),
                next.name(),
                shown(next_t)
            )
        });
    }
    machines(facts, &mut finding);
    let servers = lives(facts, Kind::Server);
    for machine in &facts.machines {
        registered(facts, machine, &servers, &mut finding);
    }
    finding.end(format!(
        "{} steps in order, {} machines, each registered as a Server after it was plugged in and was Available",
        known.len(),
        facts.machines.len()
    ))
}

fn machines(facts: &Facts, finding: &mut Finding) {
    let machines = &facts.machines;
    finding.fail_if(machines.len() < LEAST_MACHINES, || {
        format!(
            "there are {} machines, the job needs {LEAST_MACHINES} at least",
            machines.len()
        )
    });
    // what is said of one machine must not count for two
    let distinct = |what: fn(&Machine) -> &str| machines.iter().map(what).collect::<BTreeSet<_>>().len();
    for (what, number) in [
        ("Servers", distinct(|machine| &machine.server)),
        ("BMCs", distinct(|machine| &machine.bmc)),
        ("disks", distinct(|machine| &machine.disk.serial)),
    ] {
        finding.fail_if(number < machines.len(), || {
            format!("{} machines have {number} {what}", machines.len())
        });
    }
}

fn registered(facts: &Facts, machine: &Machine, servers: &[Life<'_>], finding: &mut Finding) {
    let Machine { server, bmc, .. } = machine;
    let Some(life) = servers.iter().find(|life| life.name == server.as_str()) else {
        finding.fail(format!("Server {server} of {bmc} was never seen"));
        return;
    };
    // a step that is missing was told already
    if let Some(t) = facts.completed(Step::PluggedIn) {
        finding.fail_if(life.first() < t, || {
            let seen = shown(life.first());
            format!("Server {server} of {bmc} was seen at {seen}, before it was plugged in")
        });
    }
    if let Some(t) = facts.completed(Step::Registered) {
        finding.fail_if(life.first() > later(t, WATCH_LAG), || {
            let seen = shown(life.first());
            format!("Server {server} of {bmc} was first seen at {seen}, after `registered`")
        });
    }
    if let Some(t) = facts.completed(Step::Available) {
        let mut states = life.during(t, later(t, WATCH_LAG));
        let available = states.any(|change| change.phase.as_deref() == Some("Available"));
        finding.fail_if(!available, || {
            let t = shown(t);
            format!("Server {server} of {bmc} was not Available at {t}, when `available` was complete")
        });
    }
}
