//! A machine is off before anybody is told that it is free, and it is wiped before it is offered again.

use jiff::Timestamp;

use crate::facts::{Facts, Kind, Machine, Step};
use crate::finding::Finding;
use crate::history::{Life, binding_of, lives};
use crate::power::PowerLog;
use crate::time::{WATCH_LAG, earlier, later, shown};

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("release");
    let Some([returned, deleted]) = facts.moments([Step::Returned, Step::Deleted], &mut finding) else {
        return finding.end("");
    };
    let bindings = lives(facts, Kind::ServerBinding);
    let metal_machines = lives(facts, Kind::MetalMachine);
    let machines = lives(facts, Kind::Machine);
    let servers = lives(facts, Kind::Server);
    // each machine once, and the one that was given back in between once more
    let least = facts.machines.len() + 1;
    let mut numbers = Vec::new();
    for (word, lives) in [
        ("ServerBinding", &bindings),
        ("MetalMachine", &metal_machines),
        ("Machine", &machines),
    ] {
        // one without a Server never had a machine; a ServerBinding always has one
        let released: Vec<_> = lives
            .iter()
            .filter(|life| life.server().is_some() || word == "ServerBinding")
            .filter_map(|life| Some((life, life.gone()?)))
            .collect();
        for (life, gone) in &released {
            was_off(facts, word, life, *gone, &bindings, &mut finding);
        }
        let number = released.len();
        finding.looked(number);
        finding.fail_if(number < least, || {
            format!("{number} {word}s are gone, and there were {least} releases at least")
        });
        numbers.push(format!("{number} {word}s"));
    }
    for (binding, gone) in bindings.iter().filter_map(|life| Some((life, life.gone()?))) {
        owner_lets_go(binding, gone, &metal_machines, &mut finding);
        let claims = [(Step::Returned, returned), (Step::Deleted, deleted)];
        let claim = claims.into_iter().find(|(_, t)| gone <= *t);
        if let Some(machine) = binding.machine(facts) {
            is_available_again(machine, gone, claim, &servers, &mut finding);
        }
    }
    finding.end(format!(
        "{} were gone when their machine was off by the power log, and each was wiped and Available after that",
        numbers.join(", ")
    ))
}

/// It was off at that moment, or on again since its ServerBinding was gone: then it is wiped, while Cluster API still
/// cleans up.
fn was_off(
    facts: &Facts,
    word: &str,
    life: &Life<'_>,
    gone: Timestamp,
    bindings: &[Life<'_>],
    finding: &mut Finding,
) {
    let what = format!("{word} {} was gone at {}", life.name, shown(gone));
    let Some(machine) = life.machine(facts) else {
        let server = life.server().unwrap_or("none");
        finding.fail(format!(
            "{what}, of Server {server}, which is none of the machines"
        ));
        return;
    };
    let bmc = &machine.bmc;
    let log = PowerLog::of(facts, bmc);
    let Some(power) = log.at(gone) else {
        finding.fail(format!(
            "{what}, and nobody knows whether {bmc} was off: it has no power edge"
        ));
        return;
    };
    // that of this release: the next one may be there already when Cluster API is done
    let taken = life.server_since().unwrap_or(gone);
    let binding = binding_of(bindings, &machine.server, later(taken, WATCH_LAG));
    let free = binding.and_then(Life::gone).map(|t| earlier(t, WATCH_LAG));
    let switched_on = power.edge.map(|edge| edge.t);
    let for_wipe = free.zip(switched_on).is_some_and(|(free, on)| free <= on);
    finding.fail_if(power.is_on() && !for_wipe, || {
        let since = switched_on.map_or_else(|| "the start".into(), shown);
        let off = log.edges().find(|(_, edge)| edge.t > gone).map_or_else(
            || "and stayed so".into(),
            |(_, edge)| format!("and off at {} only", shown(edge.t)),
        );
        format!("{what} while {bmc} was on, since {since}, {off}")
    });
}

/// A ServerBinding goes only for a MetalMachine that goes.
fn owner_lets_go(binding: &Life<'_>, gone: Timestamp, metal_machines: &[Life<'_>], finding: &mut Finding) {
    let until = later(gone, WATCH_LAG);
    for owner in metal_machines {
        // whoever takes the machine next names it only after that
        let owns = owner
            .seen()
            .any(|change| change.t <= gone && change.server.is_some())
            && owner.server() == binding.server();
        let lives = owner.first() <= gone && owner.gone().is_none_or(|t| t > gone);
        let deleting = owner.seen().any(|change| change.t <= until && change.deleting)
            || owner.gone().is_some_and(|t| t <= until);
        finding.fail_if(owns && lives && !deleting, || {
            format!(
                "ServerBinding {} was gone at {} while its MetalMachine {} lived and was not being deleted",
                binding.name,
                shown(gone),
                owner.name
            )
        });
    }
}

fn is_available_again(
    machine: &Machine,
    gone: Timestamp,
    claim: Option<(Step, Timestamp)>,
    servers: &[Life<'_>],
    finding: &mut Finding,
) {
    let Machine { server, bmc, .. } = machine;
    let Some((step, claimed)) = claim else {
        let t = shown(gone);
        finding.fail(format!("{bmc} was given back at {t}, after `deleted`"));
        return;
    };
    let (from, until) = (earlier(gone, WATCH_LAG), later(claimed, WATCH_LAG));
    let of_machine = servers.iter().filter(|life| life.name == server.as_str());
    let mut phases = of_machine
        .flat_map(Life::phases)
        .filter(|(t, _)| from <= *t && *t <= until)
        .map(|(_, phase)| phase);
    let given_back = format!("Server {server} of {bmc} was given back at {}", shown(gone));
    if !phases.any(|phase| phase == "Wiping") {
        finding.fail(format!(
            "{given_back} and not seen Wiping until `{}`",
            step.name()
        ));
        return;
    }
    finding.fail_if(!phases.any(|phase| phase == "Available"), || {
        format!(
            "{given_back} and, once Wiping, not seen Available until `{}`",
            step.name()
        )
    });
}
