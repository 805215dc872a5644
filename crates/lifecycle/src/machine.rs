//! What a MetalMachine does next: takes a Server, keeps it, gives it back.
//!
//! *Write first, then look*: the claim is recorded before the ServerBinding is made, the ServerBinding before anything is
//! looked at, and only what was looked at afterwards makes the Server its own. Two that want the same Server both write,
//! and the one whose ServerBinding exists is the one; whoever finds a reason against it rolls back.

use std::fmt;

#[cfg(test)]
mod tests;

/// What is known of a MetalMachine when its next step is due. All of it is read live but what is said of the caches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// It, or its Cluster, is not to be reconciled.
    pub paused: bool,
    /// It is being deleted.
    pub deleted: bool,
    /// It is being deleted because it was moved to another management cluster, which has it from now on.
    pub moving: bool,
    /// What it lacks before it may take a Server.
    pub lacks: Option<Lack>,
    /// Its finalizer is there.
    pub held: bool,
    /// Its claim: annotation `allocation`.
    pub allocation: Option<String>,
    /// The Server that it has: `spec.providerID`.
    pub server: Option<String>,
    /// What it is to take.
    pub wants: Wants,
    /// That does not exist, as far as the caches have it.
    pub missing: bool,
    /// The ServerBinding that is its own, or that stands in its place.
    pub binding: Option<Binding>,
    /// Servers that it could take, as the caches have them, the first to be tried first.
    pub candidates: Vec<String>,
}

/// What a MetalMachine lacks before it may take a Server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lack {
    /// No Machine owns it.
    Machine,
    /// Its Cluster does not exist.
    Cluster,
    /// The infrastructure of its Cluster is not provisioned.
    Infrastructure,
    /// There is no machine config for it.
    Bootstrap,
}

/// What a MetalMachine is to take.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wants {
    /// This Server, named by its user.
    Server(String),
    /// One of this class.
    Class(String),
    /// Neither is named.
    Nothing,
}

/// A ServerBinding, by what it says of a MetalMachine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its Server.
    pub server: String,
    /// It names this MetalMachine and carries its allocation.
    pub is_ours: bool,
    /// Marked as given back.
    pub marked: bool,
    /// Being deleted.
    pub deleted: bool,
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The one thing to do now.
    pub act: Option<Act>,
    /// What it waits for.
    pub why: Why,
}

/// A step; each is one write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Act {
    /// Set the finalizer: from now on it is not gone before its Server is.
    Hold,
    /// Record a claim of its own, with a new id.
    Claim,
    /// Make the ServerBinding of this Server, unless there is one.
    Bind(String),
    /// Look at the Server, and at all other MetalMachines; then take it, or give the ServerBinding back.
    Look(String),
    /// Look at the Server and all others, and make the ServerBinding again that was lost.
    Rebuild(String),
    /// Mark the ServerBinding as given back.
    Mark(String),
    /// Delete the ServerBinding that is marked.
    Release(String),
    /// Remove the finalizer.
    LetGo,
}

/// What a MetalMachine waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Why {
    /// It is paused.
    Paused,
    /// It was moved away.
    Moving,
    /// See [`Lack`].
    Lacks(Lack),
    /// Nothing says what to take.
    WantsNothing,
    /// A Server is being taken.
    Takes,
    /// What it is to take does not exist: its kind, its name, and the field that names it.
    NotFound(&'static str, String, &'static str),
    /// No Server of this class can be taken.
    NoServer(String),
    /// The Server that is named cannot be taken.
    ServerTaken(String),
    /// It has this Server.
    Has(String),
    /// The ServerBinding of its Server is missing, and what it says does not agree.
    BindingMissing(String),
    /// The ServerBinding of its Server is another's.
    BindingOfAnother(String),
    /// The ServerBinding of its Server is deleted without a release.
    BindingDeleted(String),
    /// A Server is given back that could not be taken.
    RollsBack(String),
    /// Its Server is given back.
    Releases(String),
    /// It has no Server.
    Free,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => {
                f.write_str("paused: nothing is done until the pause of it or its Cluster is removed")
            }
            Self::Moving => f.write_str("moved to another management cluster"),
            Self::Lacks(lack) => f.write_str(match lack {
                Lack::Machine => "waiting for a Machine to own it",
                Lack::Cluster => "its Cluster does not exist",
                Lack::Infrastructure => "waiting for the infrastructure of its Cluster",
                Lack::Bootstrap => "waiting for the machine config of its Machine",
            }),
            Self::WantsNothing => {
                f.write_str("spec names neither a Server nor a ServerClass: set serverRef or serverClassRef")
            }
            Self::Takes => f.write_str("a Server is being taken"),
            Self::NotFound(kind, name, field) => write!(
                f,
                "{kind} {name} does not exist: make it, or correct spec.{field}"
            ),
            Self::NoServer(class) => write!(
                f,
                "no Server of ServerClass {class} can be taken: its status lists those that are available and in use"
            ),
            Self::ServerTaken(server) => write!(
                f,
                "Server {server} is named and cannot be taken: it is not Available, or another MetalMachine has it"
            ),
            Self::Has(server) => write!(f, "has Server {server}"),
            Self::BindingMissing(server) => write!(
                f,
                "Server {server} is its own by spec.providerID, and has no ServerBinding: it is made again only if spec.serverRef and the annotation metal.sidero.dev/allocation say the same"
            ),
            Self::BindingOfAnother(server) => {
                write!(
                    f,
                    "Server {server} is its own, and the ServerBinding of that name is not"
                )
            }
            Self::BindingDeleted(server) => write!(
                f,
                "ServerBinding {server} is deleted without a release: the machine stays as it is and stays bound; delete the Machine to release it"
            ),
            Self::RollsBack(server) => write!(f, "Server {server} could not be taken and is given back"),
            Self::Releases(server) => {
                write!(
                    f,
                    "Server {server} is given back: waiting for it to be switched off"
                )
            }
            Self::Free => f.write_str("has no Server"),
        }
    }
}

/// What a MetalMachine does next.
pub fn plan(seen: &Observed) -> Plan {
    if seen.paused {
        return wait(Why::Paused);
    }
    if seen.deleted {
        return release(seen);
    }
    match &seen.server {
        Some(server) => keep(seen, server),
        None => take(seen),
    }
}

fn wait(why: Why) -> Plan {
    Plan { act: None, why }
}

fn act(act: Act, why: Why) -> Plan {
    Plan { act: Some(act), why }
}

/// Gives back what it has; nothing that it lacks keeps it from that.
fn release(seen: &Observed) -> Plan {
    if seen.moving {
        return wait(Why::Moving);
    }
    match seen.binding.as_ref().filter(|binding| binding.is_ours) {
        Some(binding) => give_back(binding, Why::Releases(binding.server.clone())),
        None if seen.held => act(Act::LetGo, Why::Free),
        None => wait(Why::Free),
    }
}

/// The mark before the deletion: without it the machine would run on.
fn give_back(binding: &Binding, why: Why) -> Plan {
    let server = binding.server.clone();
    match (binding.marked, binding.deleted) {
        (false, _) => act(Act::Mark(server), why),
        (true, false) => act(Act::Release(server), why),
        (true, true) => wait(why),
    }
}

/// It has a Server, and nothing but its own deletion changes that.
fn keep(seen: &Observed, server: &str) -> Plan {
    if !seen.held {
        return act(Act::Hold, Why::Has(server.into()));
    }
    match &seen.binding {
        // made again only if all that it says agrees: an id that nobody gave out would bind the Server to nobody
        None if seen.allocation.is_some() && seen.wants == Wants::Server(server.into()) => {
            act(Act::Rebuild(server.into()), Why::Has(server.into()))
        }
        None => wait(Why::BindingMissing(server.into())),
        Some(binding) if !binding.is_ours => wait(Why::BindingOfAnother(server.into())),
        Some(binding) if binding.deleted => wait(Why::BindingDeleted(server.into())),
        Some(_) => wait(Why::Has(server.into())),
    }
}

fn take(seen: &Observed) -> Plan {
    if let Some(binding) = seen.binding.as_ref().filter(|binding| binding.is_ours) {
        let server = binding.server.clone();
        // whatever it lacks by now, what it made is seen to its end
        return match (binding.marked, binding.deleted) {
            (false, false) => act(Act::Look(server), Why::Takes),
            _ => give_back(binding, Why::RollsBack(server)),
        };
    }
    if let Some(lack) = seen.lacks {
        return wait(Why::Lacks(lack));
    }
    let none = match &seen.wants {
        Wants::Nothing => return wait(Why::WantsNothing),
        Wants::Class(class) if seen.missing => {
            return wait(Why::NotFound("ServerClass", class.clone(), "serverClassRef"));
        }
        Wants::Server(server) if seen.missing => {
            return wait(Why::NotFound("Server", server.clone(), "serverRef"));
        }
        Wants::Class(class) => Why::NoServer(class.clone()),
        Wants::Server(server) => Why::ServerTaken(server.clone()),
    };
    if !seen.held {
        return act(Act::Hold, Why::Takes);
    }
    if seen.allocation.is_none() {
        return act(Act::Claim, Why::Takes);
    }
    match seen.candidates.first() {
        Some(server) => act(Act::Bind(server.clone()), Why::Takes),
        None => wait(none),
    }
}

/// What a look finds at a Server whose ServerBinding is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Found {
    /// It exists and is not being deleted.
    pub exists: bool,
    /// It is accepted, not cordoned, clean, and was offered: this ServerBinding apart, it is Available.
    pub available: bool,
    /// It belongs to the class; true where none is asked for.
    pub in_class: bool,
    /// Another MetalMachine names it.
    pub rival: bool,
    /// A wipe of it is due for another allocation.
    pub due_for_another: bool,
}

/// Whether the Server becomes its own.
pub const fn may_take(found: &Found) -> bool {
    found.exists && found.available && found.in_class && !found.rival && !found.due_for_another
}

/// Whether a ServerBinding that was lost is made again: the machine runs, so whether it is Available is not asked.
pub const fn may_rebuild(found: &Found) -> bool {
    found.exists && !found.rival && !found.due_for_another
}
