//! What machines were seen booting: gathered in memory, written to `status.boot` of their Servers.
//!
//! Every replica serves machines, so every one writes here, under its own field manager and without the lease. Anybody
//! on the provisioning network can make sightings: only known Servers are written, each at most once in [`PAUSE`].

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
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// From a sighting to its write, so that the steps of one boot are one write; and between writes of one Server.
const PAUSE: Duration = Duration::from_secs(2);
/// Machines whose sightings wait to be written; those of more are dropped.
const LIMIT: usize = 4096;
/// The same step again within this time is the same boot.
const SAME_BOOT: Duration = Duration::from_secs(10);
/// The same question or report without a boot in between is not news for this long.
const SAME_NEWS: Duration = Duration::from_mins(10);

/// Sightings that wait to be written.
#[derive(Default)]
pub(super) struct Evidence {
    waiting: Mutex<HashMap<ServerId, BootStatus>>,
    news: Notify,
}

impl Evidence {
    /// Takes note; never waits.
    pub(super) fn note(&self, id: ServerId, sighting: &Sighting, now: Timestamp) {
        let mut waiting = self.lock();
        if waiting.len() >= LIMIT && !waiting.contains_key(&id) {
            return;
        }
        let seen = Some(BootSighting {
            at: Time(now),
            what: sighting.to_string(),
        });
        let entry = waiting.entry(id).or_default();
        match sighting {
            Sighting::Dhcp { .. } => entry.dhcp = seen,
            Sighting::Asked { .. } => entry.ipxe = seen,
            Sighting::Agent => entry.agent = seen,
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Writes what was noted, until told to stop.
    pub(super) async fn write(
        self: Arc<Self>,
        writer: Writer,
        servers: Store<Server>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.news.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let batch = std::mem::take(&mut *self.lock());
            for (id, seen) in batch {
                // Of a machine that nobody knows there is nothing to say.
                let Some(server) = servers.get(&ObjectRef::new(&id.to_string())) else {
                    continue;
                };
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
                    Err(error) => warn!(server = %id, %error, "what it was seen booting is not recorded"),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerId, BootStatus>> {
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
            let repeats = before.what == seen.what && is_within(before, seen, same);
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

fn is_within(before: &BootSighting, seen: &BootSighting, time: Duration) -> bool {
    let between = seen.at.0.duration_since(before.at.0);
    Duration::try_from(between).is_ok_and(|between| between < time)
}

#[cfg(test)]
mod tests {
    use lifecycle::boot::{Answer, Why};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn seen(sightings: &[(i64, Sighting)]) -> BootStatus {
        let (evidence, id) = (Evidence::default(), id());
        for (second, sighting) in sightings {
            evidence.note(id, sighting, at(*second));
        }
        evidence.lock().remove(&id).unwrap()
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
    fn a_flood_of_unknown_machines_is_bounded() {
        let evidence = Evidence::default();
        for n in 1..=u128::try_from(LIMIT).unwrap() + 10 {
            let id = ServerId::new(uuid::Uuid::from_u128(n)).unwrap();
            evidence.note(id, &Sighting::Agent, at(0));
        }
        assert_eq!(evidence.lock().len(), LIMIT);
    }
}
