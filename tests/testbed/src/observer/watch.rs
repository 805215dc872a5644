//! A watch of one kind of object that loses nothing, or says so.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use lifecycle::Time;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::facts::Kind;
use super::fleet::time;
use crate::objects::resource;

/// Pause before a watch that broke is taken up again.
const RETRY: Duration = Duration::from_millis(500);
/// A watch that is taken up again says nothing until something changes; one that fails says so sooner than this.
const WORKS: Duration = Duration::from_secs(5);
/// A watch that is broken for so long is not kept.
const BROKEN: Duration = Duration::from_mins(1);
/// Namespace of our managers' leases.
const NAMESPACE: &str = "sidero-system";

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Told {
    /// All that there was at the beginning has been told.
    Listed,
    /// An object changed.
    Changed(Box<Change>),
    /// The watch works again, or does not.
    Broken(Kind, Option<String>),
    /// Changes may have been missed, or will be.
    Lost(String),
}

/// A change of an object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// With its namespace, if it has one.
    pub(super) name: String,
    /// Its revision after the change, comparable across kinds.
    pub(super) revision: u64,
    /// When it was seen.
    pub(super) arrived: Time,
    /// What it is now; `None`: it is gone.
    pub(super) object: Option<DynamicObject>,
}

impl Change {
    /// The end of the second that the API server noted last at this object.
    pub(super) fn noted(&self) -> Option<Time> {
        let entries = self.object.as_ref()?.managed_fields().iter();
        entries
            .filter_map(|entry| entry.time.as_ref())
            .map(|noted| time(noted.0).after(Duration::from_millis(999)))
            .max()
    }

    /// The latest time at which it can have been written: the API server notes the second of each write, but for one that
    /// only takes fields away, or begins a deletion. Then what is noted is that of an earlier one, no later than `before`.
    pub(super) fn written(&self, before: Option<Time>) -> Time {
        let noted = self
            .noted()
            .filter(|noted| before.is_none_or(|before| *noted > before));
        noted.map_or(self.arrived, |noted| noted.min(self.arrived))
    }
}

/// Watches all objects of a kind, until nobody listens.
pub(super) async fn watch(client: Client, kind: Kind, told: mpsc::UnboundedSender<Told>) {
    let mut known = Known::new(kind);
    let mut stream = std::pin::pin!(watcher::watcher(api(client, kind), watcher::Config::default()));
    let mut broken: Option<Instant> = None;
    loop {
        let patience = broken.map_or(Duration::MAX, |_| WORKS);
        let tells = match timeout(patience, stream.next()).await {
            Ok(None) => return,
            Err(_) => {
                broken = None;
                vec![Told::Broken(kind, None)]
            }
            Ok(Some(Ok(event))) => {
                let works = broken.take().map(|_| Told::Broken(kind, None));
                works.into_iter().chain(known.take(event)).collect()
            }
            Ok(Some(Err(error))) => {
                let since = *broken.get_or_insert_with(Instant::now);
                tokio::time::sleep(RETRY).await;
                let why = format!("the watch of {kind:?} is broken: {error}");
                if since.elapsed() > BROKEN {
                    told.send(Told::Lost(why)).ok();
                    return;
                }
                vec![Told::Broken(kind, Some(why))]
            }
        };
        for tell in tells {
            if told.send(tell).is_err() {
                return;
            }
        }
    }
}

fn api(client: Client, kind: Kind) -> Api<DynamicObject> {
    let infrastructure = "infrastructure.cluster.x-k8s.io/v1alpha3";
    match kind {
        Kind::Server => Api::all_with(client, &resource("metal.sidero.dev/v1alpha2", "Server")),
        Kind::Binding => Api::all_with(client, &resource(infrastructure, "ServerBinding")),
        Kind::Machine => Api::all_with(client, &resource(infrastructure, "MetalMachine")),
        Kind::Lease => {
            let lease = resource("coordination.k8s.io/v1", "Lease");
            Api::namespaced_with(client, NAMESPACE, &lease)
        }
    }
}

/// What was told already, to recognise what a new list adds.
struct Known {
    kind: Kind,
    revisions: BTreeMap<String, u64>,
    /// The names in the list that is being told; absent between lists.
    listing: Option<BTreeMap<String, u64>>,
    listed: bool,
}

impl Known {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            revisions: BTreeMap::new(),
            listing: None,
            listed: false,
        }
    }

    fn take(&mut self, event: Event<DynamicObject>) -> Vec<Told> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let (name, revision) = (name(&object), revision(&object));
                if let Some(listing) = &mut self.listing {
                    listing.insert(name.clone(), revision);
                }
                if self.revisions.get(&name) == Some(&revision) {
                    return Vec::new();
                }
                let lost = self.lost(&name, "changed");
                lost.into_iter().chain([self.changed(object)]).collect()
            }
            Event::InitDone => {
                let listing = self.listing.take().unwrap_or_default();
                let gone: Vec<_> = self
                    .revisions
                    .keys()
                    .filter(|name| !listing.contains_key(*name))
                    .filter_map(|name| self.lost(name, "vanished"))
                    .collect();
                self.revisions = listing;
                let first = !std::mem::replace(&mut self.listed, true);
                gone.into_iter().chain(first.then_some(Told::Listed)).collect()
            }
            Event::Apply(object) => vec![self.changed(object)],
            Event::Delete(object) => {
                self.revisions.remove(&name(&object));
                vec![Told::Changed(Box::new(self.change(&object, None)))]
            }
        }
    }

    /// A list after the first one is taken where the watch could not go on: what differs in it was missed. A lease tells
    /// only who holds it, which a list tells as well.
    fn lost(&self, name: &str, what: &str) -> Option<Told> {
        let missed = self.listed && self.kind != Kind::Lease;
        missed.then(|| {
            Told::Lost(format!(
                "{:?} {name} {what} while the watch could not be kept",
                self.kind
            ))
        })
    }

    fn changed(&mut self, object: DynamicObject) -> Told {
        self.revisions.insert(name(&object), revision(&object));
        Told::Changed(Box::new(self.change(&object.clone(), Some(object))))
    }

    fn change(&self, of: &DynamicObject, object: Option<DynamicObject>) -> Change {
        Change {
            kind: self.kind,
            name: name(of),
            revision: revision(of),
            arrived: time(Timestamp::now()),
            object,
        }
    }
}

fn name(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// etcd's revision, which all kinds share.
fn revision(object: &DynamicObject) -> u64 {
    object
        .resource_version()
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, revision: u64) -> DynamicObject {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": {"name": name, "resourceVersion": revision.to_string(),
                "managedFields": [{"manager": "caps", "time": "2026-11-24T10:00:00Z"}]},
        }))
        .unwrap()
    }

    fn told(known: &mut Known, events: Vec<Event<DynamicObject>>) -> Vec<String> {
        let tells = events.into_iter().flat_map(|event| known.take(event));
        tells
            .map(|tell| match tell {
                Told::Listed => "listed".to_owned(),
                Told::Changed(change) => format!("{} {}", change.name, change.revision),
                Told::Broken(kind, why) => format!("{kind:?} {why:?}"),
                Told::Lost(what) => what,
            })
            .collect()
    }

    #[test]
    fn a_second_list_that_differs_from_what_was_told_is_a_loss() {
        let mut known = Known::new(Kind::Server);
        let list = |objects: Vec<DynamicObject>| {
            let objects = objects.into_iter().map(Event::InitApply);
            [Event::Init]
                .into_iter()
                .chain(objects)
                .chain([Event::InitDone])
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&mut known, list(vec![object("a", 1)])), ["a 1", "listed"]);
        assert_eq!(told(&mut known, vec![Event::Apply(object("b", 2))]), ["b 2"]);
        let same = told(&mut known, list(vec![object("a", 1), object("b", 2)]));
        assert!(same.is_empty(), "{same:?}");
        let other = told(&mut known, list(vec![object("b", 3)]));
        assert!(other[0].starts_with("Server b changed"), "{other:?}");
        assert_eq!(other[1], "b 3");
        assert!(other[2].starts_with("Server a vanished"), "{other:?}");
    }

    #[test]
    fn a_change_was_written_at_the_end_of_the_noted_second_at_the_latest() {
        let known = Known::new(Kind::Server);
        let change = |object: Option<DynamicObject>, arrived: &str| Change {
            arrived: time(arrived.parse().unwrap()),
            ..known.change(&self::object("a", 1), object)
        };
        let at = |text: &str| time(text.parse().unwrap());
        let late = change(Some(object("a", 1)), "2026-11-24T10:00:05Z");
        assert_eq!(late.written(None), at("2026-11-24T10:00:00.999Z"));
        // nothing was noted of this one: what it shows is an earlier write's
        assert_eq!(late.written(late.noted()), at("2026-11-24T10:00:05Z"));
        let prompt = change(Some(object("a", 1)), "2026-11-24T10:00:00.100Z");
        assert_eq!(prompt.written(None), at("2026-11-24T10:00:00.100Z"));
        let gone = change(None, "2026-11-24T10:00:05Z");
        assert_eq!(gone.written(None), at("2026-11-24T10:00:05Z"));
    }
}
