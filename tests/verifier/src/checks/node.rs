//! Each Machine that runs has one Node, its own, made after the machine was taken and there until it is given back.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::facts::{Facts, Kind, Machine, Step};
use crate::finding::Finding;
use crate::history::{Life, binding_of, given_back, lives};
use crate::time::{WATCH_LAG, earlier, later, shown};

const RUNNING: &str = "Running";

pub(crate) fn check(facts: &Facts) -> Finding {
    let mut finding = Finding::new("node");
    let moments = facts.moments([Step::Running, Step::Returned, Step::RunningAgain], &mut finding);
    let Some([running, returned, again]) = moments else {
        return finding.end("");
    };
    let world = World {
        facts,
        machines: lives(facts, Kind::Machine),
        metal_machines: lives(facts, Kind::MetalMachine),
        bindings: lives(facts, Kind::ServerBinding),
        nodes: lives(facts, Kind::Node),
    };
    // by the Node's uid: the Machine that has it
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ran = 0;
    for machine in &world.machines {
        let Some((since, _)) = machine.phases().find(|(_, phase)| *phase == RUNNING) else {
            continue;
        };
        ran += 1;
        let Some(node) = world.node_of(machine, since, &mut finding) else {
            continue;
        };
        if let Some(other) = owners.insert(node.uid, machine.name) {
            finding.fail(format!(
                "Node {} ({}) is that of two Machines, {other} and {}",
                node.name, node.uid, machine.name
            ));
        }
    }
    finding.looked(ran);
    let given_back = given_back(facts, running, returned);
    for machine in &facts.machines {
        let first = world.one_runs(machine, Step::Running, running, &mut finding);
        let second = world.one_runs(machine, Step::RunningAgain, again, &mut finding);
        // with another Machine comes another Node: none is that of two
        let same = first.is_some() && first == second;
        finding.fail_if(same && given_back.contains(machine.server.as_str()), || {
            format!(
                "{} was given back, and at `running-again` it is the same Machine {} as before",
                machine.bmc,
                first.unwrap_or_default()
            )
        });
    }
    finding.end(format!(
        "{ran} Machines were Running, each with one Node of its own on its own machine; all {} machines at `running` and at \
         `running-again`, {} with another Node",
        facts.machines.len(),
        given_back.len()
    ))
}

struct World<'a> {
    facts: &'a Facts,
    machines: Vec<Life<'a>>,
    metal_machines: Vec<Life<'a>>,
    bindings: Vec<Life<'a>>,
    nodes: Vec<Life<'a>>,
}

impl<'a> World<'a> {
    /// The Node that a Machine names, which runs since then.
    fn node_of(&self, machine: &Life<'a>, since: Timestamp, finding: &mut Finding) -> Option<&Life<'a>> {
        let of = format!("Machine {}", machine.name);
        let running = machine
            .seen()
            .filter(|change| change.phase.as_deref() == Some(RUNNING));
        let named: Vec<_> = running.map(|change| change.node.as_deref()).collect();
        let Some(name) = named.iter().copied().flatten().last() else {
            finding.fail(format!("{of} is Running and names no Node"));
            return None;
        };
        for other in named.iter().filter(|node| **node != Some(name)) {
            let other = other.unwrap_or("none");
            finding.fail(format!(
                "{of} is Running and names Node {name}, and earlier or later {other}"
            ));
        }
        let Some(bmc) = machine.machine(self.facts).map(|machine| machine.bmc.as_str()) else {
            let server = machine.server().unwrap_or("none");
            finding.fail(format!(
                "{of} is Running on Server {server}, which is none of the machines"
            ));
            return None;
        };
        let server = machine.server()?;
        let Some(binding) = binding_of(&self.bindings, server, later(since, WATCH_LAG)) else {
            finding.fail(format!(
                "{of} is Running on {bmc}, of which no ServerBinding was seen"
            ));
            return None;
        };
        let (from, to) = (earlier(since, WATCH_LAG), later(since, WATCH_LAG));
        let there = |node: &&Life<'_>| node.name == name && node.during(from, to).next().is_some();
        let mut candidates = self.nodes.iter().filter(there).peekable();
        let Some(any) = candidates.peek().copied() else {
            let t = shown(since);
            finding.fail(format!(
                "{of} names Node {name}, and no such Node was there when it ran at {t}"
            ));
            return None;
        };
        let Some(node) = candidates.find(|node| node.server() == Some(server)) else {
            let wrong = any.server().unwrap_or("no Server");
            finding.fail(format!(
                "{of} is Server {server}, and its Node {name} is on {wrong}"
            ));
            return None;
        };
        let taken = earlier(binding.first(), WATCH_LAG);
        finding.fail_if(node.first() < taken, || {
            format!(
                "Node {name} ({}) was there at {}, before {bmc} was taken for {of} at {}",
                node.uid,
                shown(node.first()),
                shown(binding.first())
            )
        });
        self.has_no_other(machine, node, taken, finding);
        self.stays(machine, node, finding);
        Some(node)
    }

    /// No second Node of the machine, nor of the name, appears as long as the Machine is there.
    fn has_no_other(&self, machine: &Life<'a>, node: &Life<'a>, taken: Timestamp, finding: &mut Finding) {
        let until = machine.gone().unwrap_or(Timestamp::MAX);
        let others = self.nodes.iter().filter(|other| {
            let same = other.name == node.name || other.server() == machine.server();
            same && other.uid != node.uid && taken <= other.first() && other.first() < until
        });
        for other in others {
            finding.fail(format!(
                "Machine {} has a second Node: {} ({}) beside {} ({}), seen at {}",
                machine.name,
                other.name,
                other.uid,
                node.name,
                node.uid,
                shown(other.first())
            ));
        }
    }

    /// The Node goes after the MetalMachine, if it goes.
    fn stays(&self, machine: &Life<'a>, node: &Life<'a>, finding: &mut Finding) {
        let owned = |life: &&Life<'_>| {
            life.seen()
                .any(|change| change.owner.as_deref() == Some(machine.uid))
        };
        let Some(metal_machine) = self.metal_machines.iter().find(owned) else {
            finding.fail(format!("no MetalMachine of Machine {} was seen", machine.name));
            return;
        };
        let Some(gone) = node.gone() else { return };
        let after = metal_machine.gone().filter(|t| gone >= earlier(*t, WATCH_LAG));
        finding.fail_if(after.is_none(), || {
            let end = metal_machine.gone().map_or_else(
                || "is there still".into(),
                |t| format!("was gone at {} only", shown(t)),
            );
            format!(
                "Node {} ({}) vanished at {}, and MetalMachine {} of Machine {} {end}",
                node.name,
                node.uid,
                shown(gone),
                metal_machine.name,
                machine.name
            )
        });
    }

    /// The one Machine that ran on this machine when a step was complete.
    fn one_runs(
        &self,
        machine: &Machine,
        step: Step,
        t: Timestamp,
        finding: &mut Finding,
    ) -> Option<&'a str> {
        let ran = |life: &&Life<'_>| {
            life.server() == Some(&machine.server)
                && life
                    .during(t, later(t, WATCH_LAG))
                    .any(|change| change.phase.as_deref() == Some(RUNNING))
        };
        let running: Vec<_> = self.machines.iter().filter(ran).collect();
        if let [one] = running[..] {
            return Some(one.uid);
        }
        let names: Vec<_> = running.iter().map(|life| life.name).collect();
        finding.fail(format!(
            "at `{}` {} has {} Running Machines, not one: {}",
            step.name(),
            machine.bmc,
            names.len(),
            names.join(", ")
        ));
        None
    }
}
