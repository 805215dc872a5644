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
use kube::runtime::reflector::{ObjectRef, Store};
use lifecycle::boot::Answer;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::server::facts::{Site, is_foreign};

/// From a sighting to its write, so that the steps of one boot are one write; and between writes of one Server.
const PAUSE: Duration = Duration::from_secs(2);
/// What could not be written so often is dropped: some twenty seconds of an API server that is down, or of others who
/// write the same Server.
const TRIES: u32 = 10;
/// Machines without a Server whose sightings are kept, until they register; those of more are dropped.
const STRANGERS: usize = 4096;
/// How long they are kept.
const FORGET: Duration = Duration::from_mins(10);
/// The same step again within this time is the same boot.
const SAME_BOOT: Duration = Duration::from_secs(10);
/// The same report, or question of a machine that waits, without a boot in between is not news for this long.
const SAME_NEWS: Duration = Duration::from_mins(10);

/// Sightings that wait to be written.
pub(super) struct Evidence {
    servers: Store<Server>,
    site: Arc<Site>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Of Servers: as many as there are.
    known: HashMap<ServerId, Seen>,
    /// Of machines that may become Servers.
    strangers: HashMap<ServerId, Seen>,
}

/// What a machine was seen doing since that was last written.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    boot: BootStatus,
    /// It was told to wait: it asks again without a boot in between.
    waits: bool,
    /// How often it could not be written.
    failures: u32,
}

impl Seen {
    /// With what was seen after it.
    fn then(&self, later: &Self) -> Self {
        Self {
            waits: if later.boot.ipxe.is_some() {
                later.waits
            } else {
                self.waits
            },
            failures: self.failures.max(later.failures),
            boot: merged(&self.boot, later),
        }
    }
}

impl Evidence {
    /// Nothing was seen yet of any machine.
    pub(super) fn new(servers: Store<Server>, site: Arc<Site>) -> Self {
        Self {
            servers,
            site,
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
            Sighting::Dhcp { .. } => entry.boot.dhcp = seen,
            Sighting::Asked { answer, .. } => {
                entry.boot.ipxe = seen;
                entry.waits = matches!(answer, Answer::Wait(_));
            }
            Sighting::Unserved(_) => {
                entry.boot.ipxe = seen;
                entry.waits = true;
            }
            Sighting::Agent => entry.boot.agent = seen,
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
            for (id, server, seen) in self.due(Timestamp::now()) {
                let before = server.status.as_ref().and_then(|status| status.boot.clone());
                let before = before.unwrap_or_default();
                let boot = merged(&before, &seen);
                if boot == before {
                    continue;
                }
                // Other replicas write here, too: a step is added to what they wrote, or nothing is written.
                if let Err(error) = writer.transition(&*server, &json!({ "boot": boot })).await {
                    self.keep(id, seen, &error);
                }
            }
        }
    }

    /// Puts back what could not be written, for another try a little later.
    fn keep(&self, id: ServerId, mut seen: Seen, error: &WriteError) {
        seen.failures += 1;
        if seen.failures >= TRIES {
            warn!(server = %id, %error, "what it was seen booting is not recorded");
            return;
        }
        let mut waiting = self.lock();
        let later = waiting.known.remove(&id).unwrap_or_default();
        waiting.known.insert(id, seen.then(&later));
        drop(waiting);
        self.news.notify_one();
    }

    /// Takes out what there is of Servers, those that were strangers included.
    fn due(&self, now: Timestamp) -> Vec<(ServerId, Arc<Server>, Seen)> {
        let mut waiting = self.lock();
        let Waiting { known, strangers } = &mut *waiting;
        strangers.retain(|id, seen| {
            if self.server(*id).is_none() {
                let steps = [&seen.boot.dhcp, &seen.boot.ipxe, &seen.boot.agent];
                let last = steps.into_iter().flatten().map(|step| step.at.0).max();
                return last.is_some_and(|last| is_within(last, now, FORGET));
            }
            let later = known.remove(id).unwrap_or_default();
            known.insert(*id, seen.then(&later));
            false
        });
        let due = known.drain().filter_map(|(id, seen)| {
            // Nothing is written to a Server of another installation.
            let server = self.server(id).filter(|server| !is_foreign(server, &self.site))?;
            Some((id, server, seen))
        });
        due.collect()
    }

    fn server(&self, id: ServerId) -> Option<Arc<Server>> {
        self.servers.get(&ObjectRef::new(&id.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the Server is to say: the newer of each step, repeats within one boot left as they were.
fn merged(before: &BootStatus, seen: &Seen) -> BootStatus {
    let Seen {
        boot: seen, waits, ..
    } = seen;
    let dhcp = newer(before.dhcp.as_ref(), seen.dhcp.as_ref(), SAME_BOOT);
    // Whether the machine booted since it was seen at `step`, by what it did at earlier ones.
    let booted_since = |step: Option<&BootSighting>, earlier: &[Option<&BootSighting>]| {
        let last = earlier.iter().flatten().map(|sighting| sighting.at.0).max();
        step.is_some_and(|step| last > Some(step.at.0))
    };
    let asks_again = *waits && !booted_since(before.ipxe.as_ref(), &[dhcp.as_ref()]);
    let same = if asks_again { SAME_NEWS } else { SAME_BOOT };
    let ipxe = newer(before.ipxe.as_ref(), seen.ipxe.as_ref(), same);
    let runs_on = !booted_since(before.agent.as_ref(), &[dhcp.as_ref(), ipxe.as_ref()]);
    let same = if runs_on { SAME_NEWS } else { SAME_BOOT };
    let agent = newer(before.agent.as_ref(), seen.agent.as_ref(), same);
    BootStatus { dhcp, ipxe, agent }
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
    use lifecycle::boot::Why;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn evidence() -> (Evidence, reflector::store::Writer<Server>) {
        let (servers, writer) = reflector::store();
        let installation = "here".into();
        (Evidence::new(servers, Arc::new(Site { installation })), writer)
    }

    fn seen(sightings: &[(i64, Sighting)]) -> Seen {
        let (evidence, _writer) = evidence();
        for (second, sighting) in sightings {
            evidence.note(id(), sighting, at(*second));
        }
        evidence.lock().strangers.remove(&id()).unwrap()
    }

    fn written(sightings: &[(i64, Sighting)]) -> BootStatus {
        merged(&BootStatus::default(), &seen(sightings))
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
        let boot = written(&[
            (0, dhcp()),
            (1, dhcp()),
            (2, asked(Answer::Agent { with_token: false })),
            (9, Sighting::Agent),
        ]);
        assert_eq!(boot.dhcp.unwrap().at.0, at(1));
        assert_eq!(boot.ipxe.unwrap().what, "told to boot the agent");
        assert_eq!(boot.agent.unwrap().at.0, at(9));
    }

    #[test]
    fn repeats_are_not_news_and_another_boot_is() {
        let first = written(&[
            (0, dhcp()),
            (1, asked(Answer::Agent { with_token: false })),
            (5, Sighting::Agent),
        ]);
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
        let first = written(&[(0, waits.clone())]);
        assert_eq!(merged(&first, &seen(&[(300, waits.clone())])), first);
        assert_ne!(merged(&first, &seen(&[(601, waits)])), first);
    }

    #[test]
    fn a_machine_with_ipxe_in_its_rom_shows_each_boot_by_its_question() {
        let first = written(&[
            (1, asked(Answer::Agent { with_token: false })),
            (5, Sighting::Agent),
        ]);
        assert_eq!(first.dhcp, None);
        let again = merged(
            &first,
            &seen(&[
                (61, asked(Answer::Agent { with_token: false })),
                (70, Sighting::Agent),
            ]),
        );
        assert_eq!(again.ipxe.as_ref().unwrap().at.0, at(61));
        assert_eq!(again.agent.as_ref().unwrap().at.0, at(70));
    }

    #[test]
    fn what_could_not_be_written_is_kept_under_what_was_seen_since_and_given_up_at_last() {
        let (evidence, mut writer) = evidence();
        let server = Server::new(&id().to_string(), crd_types::metal::ServerSpec::default());
        writer.apply_watcher_event(&watcher::Event::Apply(server));
        let stale = WriteError::Stale { what: "it".into() };
        evidence.note(id(), &dhcp(), at(0));
        let (_, _, first) = evidence.due(at(1)).remove(0);
        evidence.note(id(), &asked(Answer::Agent { with_token: false }), at(2));
        evidence.keep(id(), first, &stale);
        for failures in 1..TRIES {
            let (_, _, seen) = evidence.due(at(3)).remove(0);
            assert_eq!(seen.failures, failures);
            assert!(seen.boot.dhcp.is_some() && seen.boot.ipxe.is_some(), "{seen:?}");
            evidence.keep(id(), seen, &stale);
        }
        assert_eq!(evidence.due(at(4)), []);
    }

    #[test]
    fn nothing_is_written_to_a_server_of_another_installation_paused_or_not() {
        use crd_types::names::annotations;
        use kube::ResourceExt as _;
        let (evidence, mut writer) = evidence();
        let mut server = Server::new(&id().to_string(), crd_types::metal::ServerSpec::default());
        let mut due_with = |key: &str, value: &str| {
            server.annotations_mut().insert(key.into(), value.into());
            writer.apply_watcher_event(&watcher::Event::Apply(server.clone()));
            evidence.note(id(), &dhcp(), at(0));
            evidence.due(at(1)).len()
        };
        assert_eq!(due_with(annotations::server::INSTALLATION, "here"), 1);
        assert_eq!(due_with(annotations::server::INSTALLATION, "elsewhere"), 0);
        assert_eq!(due_with(annotations::PAUSE, ""), 0);
    }

    #[test]
    fn late_news_of_another_replica_do_not_replace_newer_ones() {
        let newer = written(&[(100, dhcp())]);
        let file = "snp.efi".into();
        let late = seen(&[(50, Sighting::Dhcp { file })]);
        assert_eq!(merged(&newer, &late), newer);
    }

    #[test]
    fn what_a_stranger_did_is_kept_until_it_is_a_server_or_forgotten() {
        let (evidence, mut writer) = evidence();
        evidence.note(id(), &dhcp(), at(0));
        evidence.note(id(), &asked(Answer::Agent { with_token: false }), at(1));
        assert_eq!(evidence.due(at(2)).len(), 0);
        let server = Server::new(&id().to_string(), crd_types::metal::ServerSpec::default());
        writer.apply_watcher_event(&watcher::Event::Apply(server));
        evidence.note(id(), &Sighting::Agent, at(3));
        let due = evidence.due(at(4));
        let [(_, _, Seen { boot, .. })] = &due[..] else {
            panic!("{due:?}")
        };
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
