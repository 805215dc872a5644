//! After the Cluster was deleted nothing is left of it, and all machines are in the pool, off.

use crate::facts::{Facts, Kind, Machine, Step};
use crate::finding::Finding;
use crate::history::{Life, lives};
use crate::time::{WATCH_LAG, later, shown};

/// What is to be gone. Nodes are not: Cluster API leaves those of a Cluster that is deleted to their end.
const GONE: [(Kind, &str); 4] = [
    (Kind::Cluster, "Cluster"),
    (Kind::Machine, "Machine"),
    (Kind::MetalMachine, "MetalMachine"),
    (Kind::ServerBinding, "ServerBinding"),
];

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("end");
    let Some([deleted]) = facts.moments([Step::Deleted], &mut finding) else {
        return finding.end("");
    };
    let until = later(deleted, WATCH_LAG);
    let mut numbers = Vec::new();
    for (kind, word) in GONE {
        let lives = lives(facts, kind);
        finding.fail_if(lives.is_empty(), || format!("no {word} was ever seen"));
        finding.looked(lives.len());
        numbers.push(format!("{} {word}s", lives.len()));
        for Life { name, uid, .. } in lives.iter().filter(|life| life.gone().is_none()) {
            finding.fail(format!("{word} {name} ({uid}) is there still after `deleted`"));
        }
        for life in &lives {
            if let Some(t) = life.gone().filter(|t| *t > until) {
                let (name, t) = (life.name, shown(t));
                finding.fail(format!("{word} {name} was gone at {t} only, after `deleted`"));
            }
        }
    }
    let servers = lives(facts, Kind::Server);
    for machine in &facts.machines {
        finding.looked(1);
        let Machine { server, bmc, .. } = machine;
        let life = servers.iter().rev().find(|life| life.name == server.as_str());
        let last = life.and_then(|life| life.during(until, until).last());
        let Some(last) = last else {
            finding.fail(format!("Server {server} of {bmc} is not there after `deleted`"));
            continue;
        };
        let word = |text: &Option<String>| text.as_deref().unwrap_or("none").to_owned();
        let (phase, power) = (word(&last.phase), word(&last.power));
        finding.fail_if((phase.as_str(), power.as_str()) != ("Available", "off"), || {
            format!("Server {server} of {bmc} is {phase} with power {power} after `deleted`, not Available with power off")
        });
    }
    finding.end(format!(
        "{} are gone, {} Servers are Available with power off",
        numbers.join(", "),
        facts.machines.len()
    ))
}
