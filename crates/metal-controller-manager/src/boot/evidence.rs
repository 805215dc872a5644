//! What machines were seen booting: gathered in memory, written to `status.boot` of their Servers.
//!
//! Every replica serves machines, so every one writes here, under its own field manager and without the lease. Anybody
//! on the provisioning network can make sightings: only Servers are written, each at most once in [`PAUSE`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_services::Sighting;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::metal::{BootSighting, BootStatus, Server};
use hardware_types::ServerId;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// From a sighting to its write, so that the steps of one boot are one write; and between writes of one Server.
const PAUSE: Duration = Duration::from_secs(2);
/// Machines without a Server whose sightings are kept, until they register; those of more are dropped.
const STRANGERS: usize = 4096;
/// How long they are kept.
const FORGET: Duration = Duration::from_mins(10);
/// The same step again within this time is the same boot.
const SAME_BOOT: Duration = Duration::from_secs(10);
/// The same question or report without a boot in between is not news for this long.
const SAME_NEWS: Duration = Duration::from_mins(10);

/// Sightings that wait to be written.
pub(super) struct Evidence {
    servers: Store<Server>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Of Servers: as many as there are.
    known: HashMap<ServerId, BootStatus>,
    /// Of machines that may become Servers.
    strangers: HashMap<ServerId, BootStatus>,
}

impl Evidence {
    /// Nothing was seen yet of any machine.
    pub(super) fn new(servers: Store<Server>) -> Self {
        Self {
            servers,
            waiting: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Takes note; never waits.
    pub(super) fn note(&self, id: ServerId, sighting: &Sighting, now: Timestamp) {
        let is_known = self.server(id).is_some();
        let mut waiting = self.lock();
        let Waiting { known, strangers } = &mut *waiting;
        let entry = if is_known {
            known.entry(id).or_default()
        } else if strangers.len() < STRANGERS || strangers.contains_key(&id) {
            strangers.entry(id).or_default()
        } else {
            return;
        };
        let seen = Some(BootSighting {
            at: Time(now),
            what: sighting.to_string(),
        });
        match sighting {
            Sighting::Dhcp { .. } => entry.dhcp = seen,
            Sighting::Asked { .. } => entry.ipxe = seen,
            Sighting::Agent => entry.agent = seen,
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Writes what was noted, until told to stop.
    pub(super) async fn write(self: Arc<Self>, writer: Writer, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.news.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            for (server, seen) in self.due(Timestamp::now()) {
                let before = server.status.as_ref().and_then(|status| status.boot.clone());
                let before = before.unwrap_or_default();
                let boot = merged(&before, &seen);
                if boot == before {
                    continue;
                }
                match writer.status(&*server, &json!({ "boot": boot })).await {
                    // It is gone, or another of its name is there.
                    Ok(_) | Err(WriteError::Stale { .. }) => {}
                    // Evidence is a help, not a fact to build on: it is not kept for another try.
                    Err(error) => {
                        warn!(server = server.name_any(), %error, "what it was seen booting is not recorded");
                    }
                }
            }
        }
    }

    /// Takes out what there is of Servers, those that were strangers included.
    fn due(&self, now: Timestamp) -> Vec<(Arc<Server>, BootStatus)> {
        let mut waiting = self.lock();
        let Waiting { known, strangers } = &mut *waiting;
        let mut due = Vec::new();
        strangers.retain(|id, seen| {
            let Some(server) = self.server(*id) else {
                let steps = [&seen.dhcp, &seen.ipxe, &seen.agent];
                let last = steps.into_iter().flatten().map(|step| step.at.0).max();
                return last.is_some_and(|last| is_within(last, now, FORGET));
            };
            let later = known.remove(id).unwrap_or_default();
            due.push((server, merged(seen, &later)));
            false
        });
        for (id, seen) in known.drain() {
            due.extend(self.server(id).map(|server| (server, seen)));
        }
        due
    }

    fn server(&self, id: ServerId) -> Option<Arc<Server>> {
        self.servers.get(&ObjectRef::new(&id.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the Server is to say: the newer of each step, repeats within one boot left as they were.
fn merged(before: &BootStatus, seen: &BootStatus) -> BootStatus {
    let dhcp = newer(before.dhcp.as_ref(), seen.dhcp.as_ref(), SAME_BOOT);
    let booted_since = |step: Option<&BootSighting>| {
        let boot = dhcp.as_ref().map(|dhcp| dhcp.at.0);
        step.is_some_and(|step| boot > Some(step.at.0))
    };
    let same = |step: Option<&BootSighting>| if booted_since(step) { SAME_BOOT } else { SAME_NEWS };
    BootStatus {
        ipxe: newer(
            before.ipxe.as_ref(),
            seen.ipxe.as_ref(),
            same(before.ipxe.as_ref()),
        ),
        agent: newer(
            before.agent.as_ref(),
            seen.agent.as_ref(),
            same(before.agent.as_ref()),
        ),
        dhcp,
    }
}

fn newer(before: Option<&BootSighting>, seen: Option<&BootSighting>, same: Duration) -> Option<BootSighting> {
    let kept = match (before, seen) {
        (Some(before), Some(seen)) => {
            let repeats = before.what == seen.what && is_within(before.at.0, seen.at.0, same);
            if repeats || before.at > seen.at {
                before
            } else {
                seen
            }
        }
        (before, seen) => seen.or(before)?,
    };
    Some(kept.clone())
}

fn is_within(earlier: Timestamp, later: Timestamp, time: Duration) -> bool {
    Duration::try_from(later.duration_since(earlier)).is_ok_and(|between| between < time)
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher};
    use lifecycle::boot::{Answer, Why};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn evidence() -> (Evidence, reflector::store::Writer<Server>) {
        let (servers, writer) = reflector::store();
        (Evidence::new(servers), writer)
    }

    fn seen(sightings: &[(i64, Sighting)]) -> BootStatus {
        let (evidence, _writer) = evidence();
        for (second, sighting) in sightings {
            evidence.note(id(), sighting, at(*second));
        }
        evidence.lock().strangers.remove(&id()).unwrap()
    }

    fn id() -> ServerId {
        "4c4c4544-0039-3010-8048-b7c04f384432".parse().unwrap()
    }

    fn asked(answer: Answer) -> Sighting {
        Sighting::Asked { mac: None, answer }
    }

    fn dhcp() -> Sighting {
        let file = "undionly.kpxe".into();
        Sighting::Dhcp { file }
    }

    #[test]
    fn a_boot_is_one_record_of_its_steps() {
        let boot = seen(&[
            (0, dhcp()),
            (1, dhcp()),
            (2, asked(Answer::Agent)),
            (9, Sighting::Agent),
        ]);
        assert_eq!(boot.dhcp.unwrap().at.0, at(1));
        assert_eq!(boot.ipxe.unwrap().what, "told to boot the agent");
        assert_eq!(boot.agent.unwrap().at.0, at(9));
    }

    #[test]
    fn repeats_are_not_news_and_another_boot_is() {
        let first = seen(&[(0, dhcp()), (1, asked(Answer::Agent)), (5, Sighting::Agent)]);
        assert_eq!(
            merged(&first, &seen(&[(9, dhcp()), (300, Sighting::Agent)])),
            first
        );
        let again = merged(&first, &seen(&[(11, dhcp())]));
        assert_eq!(again.dhcp.unwrap().at.0, at(11));
        let other = merged(&first, &seen(&[(2, asked(Answer::Disk(Why::NotAccepted)))]));
        assert_eq!(other.ipxe.unwrap().at.0, at(2));
    }

    #[test]
    fn a_machine_that_waits_is_not_written_at_each_of_its_questions() {
        let waits = asked(Answer::Wait(Why::Dirty));
        let first = seen(&[(0, waits.clone())]);
        assert_eq!(merged(&first, &seen(&[(300, waits.clone())])), first);
        assert_ne!(merged(&first, &seen(&[(601, waits)])), first);
    }

    #[test]
    fn late_news_of_another_replica_do_not_replace_newer_ones() {
        let newer = seen(&[(100, dhcp())]);
        let file = "snp.efi".into();
        let late = seen(&[(50, Sighting::Dhcp { file })]);
        assert_eq!(merged(&newer, &late), newer);
    }

    #[test]
    fn what_a_stranger_did_is_kept_until_it_is_a_server_or_forgotten() {
        let (evidence, mut writer) = evidence();
        evidence.note(id(), &dhcp(), at(0));
        evidence.note(id(), &asked(Answer::Agent), at(1));
        assert_eq!(evidence.due(at(2)).len(), 0);
        let server = Server::new(&id().to_string(), crd_types::metal::ServerSpec::default());
        writer.apply_watcher_event(&watcher::Event::Apply(server));
        evidence.note(id(), &Sighting::Agent, at(3));
        let due = evidence.due(at(4));
        let [(_, boot)] = &due[..] else { panic!("{due:?}") };
        assert!(boot.dhcp.is_some() && boot.ipxe.is_some() && boot.agent.is_some());
        assert_eq!(evidence.due(at(5)).len(), 0);

        let other = ServerId::new(uuid::Uuid::from_u128(7)).unwrap();
        evidence.note(other, &dhcp(), at(10));
        evidence.due(at(609));
        assert!(evidence.lock().strangers.contains_key(&other));
        evidence.due(at(610));
        assert!(!evidence.lock().strangers.contains_key(&other));
    }

    #[test]
    fn a_flood_of_unknown_machines_is_bounded_and_shuts_no_server_out() {
        let (evidence, mut writer) = evidence();
        let server = Server::new(&id().to_string(), crd_types::metal::ServerSpec::default());
        writer.apply_watcher_event(&watcher::Event::Apply(server));
        for n in 1..=u128::try_from(STRANGERS).unwrap() + 10 {
            let id = ServerId::new(uuid::Uuid::from_u128(n)).unwrap();
            evidence.note(id, &Sighting::Agent, at(0));
        }
        assert_eq!(evidence.lock().strangers.len(), STRANGERS);
        evidence.note(id(), &Sighting::Agent, at(0));
        assert_eq!(evidence.due(at(1)).len(), 1);
    }
}
