//! What a change of an object or a line of a power log says, as the facts that the monitor of the invariants takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hardware_types::{PowerState, ServerId};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use lifecycle::invariant::{Fact, Hold};
use lifecycle::{HandsOff, IdentityVerdict};
use serde_json::Value;

use super::fleet::{Bmc, Fleet, Line};

/// The BMC user of our managers, in every fleet and Secret of the test bed.
pub const MANAGER_USER: &str = "admin";
/// The lease of metal-controller-manager.
const LEASE: &str = "controller-leader-election-sidero-controller-manager";
/// Field manager of what an agent reports.
const AGENT_API: &str = "agent-api";

/// What kind of object is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Server,
    Binding,
    Machine,
    Lease,
}

/// What the facts are told from: the objects as last seen, and the simulated BMCs.
#[derive(Debug, Default)]
pub(super) struct Known {
    servers: BTreeMap<ServerId, Server>,
    /// The Server that each MetalMachine names, by namespace and name.
    claims: BTreeMap<String, BTreeSet<ServerId>>,
    /// The Server that each MetalMachine has, by namespace and name.
    owners: BTreeMap<String, ServerId>,
    /// The MetalMachine that each ServerBinding is for, those that are given back left out.
    bindings: BTreeMap<ServerId, String>,
    /// Of all simulators; one that was started later comes first.
    bmcs: Vec<(usize, Bmc, PowerState)>,
    identities: BTreeMap<ServerId, IdentityVerdict>,
    lease: Option<String>,
}

#[derive(Debug, Default, PartialEq)]
struct Server {
    bmc: Option<(String, Option<u16>)>,
    wipe: Value,
    intent: Value,
}

impl Known {
    /// A simulator starts: its machines are off, whatever machines of theirs another one had.
    pub(super) fn started(&mut self, number: usize, fleet: &Fleet) -> Vec<Fact> {
        for bmc in &fleet.bmcs {
            self.bmcs.insert(0, (number, bmc.clone(), PowerState::Off));
        }
        let servers = fleet.bmcs.iter().flat_map(|bmc| self.machines_of(bmc));
        let mut facts: Vec<_> = servers
            .map(|server| Fact::Power(server, PowerState::Off))
            .collect();
        facts.extend(self.identities());
        facts
    }

    /// An object is as it is now; `None`: it is gone.
    pub(super) fn changed(&mut self, kind: Kind, name: &str, object: Option<&DynamicObject>) -> Vec<Fact> {
        match kind {
            Kind::Server => name
                .parse()
                .map_or_else(|_| Vec::new(), |id| self.server(id, object)),
            Kind::Binding => name
                .parse()
                .map_or_else(|_| Vec::new(), |server| self.binding(server, object)),
            Kind::Machine => self.machine(name, object),
            Kind::Lease if name.ends_with(LEASE) => self.lease(object),
            Kind::Lease => Vec::new(),
        }
    }

    /// A line of the power log of simulator `number`; `is_ours` tells the addresses of our managers.
    pub(super) fn line(&mut self, number: usize, line: &Line, is_ours: impl Fn(IpAddr) -> bool) -> Vec<Fact> {
        let found = self
            .bmcs
            .iter_mut()
            .find(|(of, bmc, _)| *of == number && bmc.name == line.bmc);
        let Some((_, bmc, power)) = found else {
            return Vec::new();
        };
        let bmc = bmc.clone();
        if let Some(now) = line.power() {
            *power = now;
            let servers = self.machines_of(&bmc).into_iter();
            return servers.map(|server| Fact::Power(server, now)).collect();
        }
        let Some(write) = line.command(MANAGER_USER, is_ours) else {
            return Vec::new();
        };
        vec![Fact::Received {
            server: self.meant(&bmc),
            write,
            // All replicas have one address.
            replica: None,
        }]
    }

    fn server(&mut self, id: ServerId, object: Option<&DynamicObject>) -> Vec<Fact> {
        let Some(object) = object else {
            self.servers.remove(&id);
            self.identities.remove(&id);
            return std::iter::once(Fact::Deleted(id))
                .chain(self.identities())
                .collect();
        };
        let (spec, status) = (&object.data["spec"], &object.data["status"]);
        let now = Server {
            bmc: bmc(&spec["bmc"]),
            wipe: status["wipe"].clone(),
            intent: status["powerIntent"].clone(),
        };
        let mut facts = stored(id, object);
        let before = self.servers.remove(&id).unwrap_or_default();
        if now.wipe != before.wipe
            && let Some(generation) = now.wipe["generation"].as_u64()
        {
            facts.push(Fact::Wiping(id, generation));
        }
        if now.intent != before.intent
            && let Ok(intent) = serde_json::from_value(now.intent.clone())
        {
            facts.push(Fact::Intent(id, intent));
        }
        let leads_elsewhere = now.bmc != before.bmc;
        self.servers.insert(id, now);
        if leads_elsewhere && let Some(power) = self.power_of(id) {
            facts.push(Fact::Power(id, power));
        }
        facts.extend(self.identities());
        let wipe_done = number(object, "wipe-done").unwrap_or_default();
        facts.push(Fact::WipeDone(id, wipe_done));
        facts.push(Fact::Available(id, is_available(status)));
        facts
    }

    fn binding(&mut self, server: ServerId, object: Option<&DynamicObject>) -> Vec<Fact> {
        let hold = object.map(hold).unwrap_or_default();
        let mut facts = vec![Fact::Bound(server, object.is_some()), Fact::Held(server, hold)];
        let kept = object.filter(|_| !hold.deleted && !hold.marked);
        match kept.map(|binding| &binding.data["spec"]["metalMachineRef"]) {
            Some(owner) => {
                let owner = format!("{}/{}", owner["namespace"], owner["name"]);
                let others = self
                    .bindings
                    .iter()
                    .filter(|(of, name)| **of != server && **name == owner);
                facts.push(Fact::BindingsOfOwner(server, others.count() + 1));
                self.bindings.insert(server, owner);
            }
            None => drop(self.bindings.remove(&server)),
        }
        facts
    }

    /// How many MetalMachines have the Server that this one has now.
    fn owner(&mut self, name: &str, object: Option<&DynamicObject>) -> Option<Fact> {
        let Some(server) = object.and_then(provider) else {
            self.owners.remove(name);
            return None;
        };
        self.owners.insert(name.to_owned(), server);
        let all = self.owners.values().filter(|owned| **owned == server);
        Some(Fact::Owners(server, all.count()))
    }

    fn machine(&mut self, name: &str, object: Option<&DynamicObject>) -> Vec<Fact> {
        let owner = self.owner(name, object);
        let named: BTreeSet<ServerId> = object.map(names).unwrap_or_default();
        let before = self.claims.insert(name.to_owned(), named).unwrap_or_default();
        let concerned: BTreeSet<_> = before.union(&self.claims[name]).copied().collect();
        let is_claimed = |server: &ServerId| self.claims.values().any(|named| named.contains(server));
        concerned
            .into_iter()
            .map(|server| Fact::Claimed(server, is_claimed(&server)))
            .chain(owner)
            .collect()
    }

    fn lease(&mut self, object: Option<&DynamicObject>) -> Vec<Fact> {
        let holder = object
            .and_then(|lease| lease.data["spec"]["holderIdentity"].as_str())
            .filter(|holder| !holder.is_empty())
            .map(str::to_owned);
        if holder == self.lease {
            return Vec::new();
        }
        self.lease.clone_from(&holder);
        vec![Fact::Lease(holder)]
    }

    /// The BMC that a Server leads to, and whether by Redfish.
    fn bmc_of(&self, server: ServerId) -> Option<(&Bmc, PowerState, bool)> {
        let (endpoint, port) = self.servers.get(&server)?.bmc.as_ref()?;
        self.bmcs.iter().find_map(|(_, bmc, power)| {
            let redfish = bmc.is_reached_by(endpoint, *port)?;
            Some((bmc, *power, redfish))
        })
    }

    fn leads_to(&self, server: ServerId, bmc: &Bmc) -> bool {
        self.bmc_of(server)
            .is_some_and(|(found, ..)| found.name == bmc.name)
    }

    fn power_of(&self, server: ServerId) -> Option<PowerState> {
        self.bmc_of(server).map(|(_, power, _)| power)
    }

    /// The Servers that know this BMC's machine as theirs: the one of its UUID, and those that lead to the BMC.
    fn machines_of(&self, bmc: &Bmc) -> BTreeSet<ServerId> {
        let leading = self
            .servers
            .keys()
            .copied()
            .filter(|server| self.leads_to(*server, bmc));
        leading.chain([bmc.machine]).collect()
    }

    /// The Server for which a command to this BMC was meant: the machine's own if it leads there, else whichever does.
    fn meant(&self, bmc: &Bmc) -> ServerId {
        if self.leads_to(bmc.machine, bmc) {
            return bmc.machine;
        }
        let mut leading = self.servers.keys().copied();
        leading
            .find(|server| self.leads_to(*server, bmc))
            .unwrap_or(bmc.machine)
    }

    /// What BMCs' identities say of the Servers that lead to them, where that changed. The fleet file is the truth of it.
    fn identities(&mut self) -> Vec<Fact> {
        let now: Vec<_> = self
            .servers
            .keys()
            .map(|server| (*server, self.identity(*server)))
            .collect();
        let changed = now
            .into_iter()
            .filter(|(server, verdict)| self.identities.insert(*server, *verdict) != Some(*verdict));
        changed
            .map(|(server, verdict)| Fact::Identity(server, verdict))
            .collect()
    }

    fn identity(&self, server: ServerId) -> IdentityVerdict {
        match self.bmc_of(server) {
            None => IdentityVerdict::Unknown,
            Some((bmc, ..)) if bmc.machine == server => IdentityVerdict::Same,
            Some((bmc, _, redfish)) if redfish || self.servers.contains_key(&bmc.machine) => {
                IdentityVerdict::Contradicts
            }
            Some(_) => IdentityVerdict::Different,
        }
    }
}

/// What a Server says that needs no comparison with what it was.
fn stored(id: ServerId, object: &DynamicObject) -> Vec<Fact> {
    let annotation = |key: &str| {
        object
            .annotations()
            .get(&format!("metal.sidero.dev/{key}"))
            .cloned()
    };
    let paused =
        annotation("pause").is_some() || object.annotations().contains_key("cluster.x-k8s.io/paused");
    let by_agent = object
        .managed_fields()
        .iter()
        .any(|entry| entry.manager.as_deref() == Some(AGENT_API));
    let spec = &object.data["spec"];
    vec![
        Fact::Accepted(id, spec["accepted"].as_bool() == Some(true)),
        Fact::HandsOff(id, paused.then_some(HandsOff::Paused)),
        Fact::HasDriver(id, spec["bmc"].is_object()),
        Fact::HadAgent(id, by_agent),
        Fact::Powered(id, annotation("powered")),
        Fact::Quarantined(id, annotation("quarantined").is_some()),
        Fact::WipeDue(id, number(object, "wipe-due").unwrap_or_default()),
    ]
}

/// How it stands with a ServerBinding.
fn hold(binding: &DynamicObject) -> Hold {
    let annotations = binding.annotations();
    let mark = annotations.get("metal.sidero.dev/release");
    Hold {
        holds: binding
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == "metal.sidero.dev/release"),
        marked: mark.is_some() && mark == annotations.get("metal.sidero.dev/allocation"),
        deleted: binding.metadata.deletion_timestamp.is_some(),
    }
}

/// The number with which an annotation of ours begins.
fn number(object: &DynamicObject, key: &str) -> Option<u64> {
    let text = object.annotations().get(&format!("metal.sidero.dev/{key}"))?;
    text.split(' ').next()?.parse().ok()
}

/// By its phase, or by the original's three words.
fn is_available(status: &Value) -> bool {
    let says = |field: &str| status[field].as_bool() == Some(true);
    status["phase"] == "Available" || (says("ready") && says("isClean") && !says("inUse"))
}

fn bmc(spec: &Value) -> Option<(String, Option<u16>)> {
    let port = spec["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let endpoint = spec["endpoint"].as_str()?.to_owned();
    Some((endpoint, port.filter(|port| *port != 0)))
}

/// The Servers that a MetalMachine names.
fn names(machine: &DynamicObject) -> BTreeSet<ServerId> {
    let spec = &machine.data["spec"];
    let by_ref = spec["serverRef"]["name"].as_str();
    let by_ref = by_ref.and_then(|name| name.parse().ok());
    [by_ref, provider(machine)].into_iter().flatten().collect()
}

/// The Server that a MetalMachine has.
fn provider(machine: &DynamicObject) -> Option<ServerId> {
    let id = machine.data["spec"]["providerID"].as_str()?;
    id.strip_prefix("sidero://")?.parse().ok()
}

#[cfg(test)]
mod tests;
