//! The wipe as the boot services see it: ordered after a live look, its progress and certificate written to the status.

use std::time::Duration;

use agent_protocol::Token;
use boot_services::{Directory as _, Progress, RegisterError};
use crd_types::metal::{NodeAddress, Server, WipeStatus};
use crd_types::names::events;
use hardware_types::ServerId;
use hardware_types::wipe::{Certificate, WipeOrder};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lifecycle::boot::{Credentials, NotOrdered, Order, View, Why, order, take_wipe};
use serde_json::{Value, json};

use super::directory::{Machines, TRIES, changes_on, failed};
use crate::server::act::{claimed_by, is_bound};
use crate::server::facts::boot_view;
use crate::server::observed;
use controller_runtime::writer::WriteError;

/// How disks are erased, as `spec.wipe.method` calls it.
const METHOD: &str = "auto";
/// Progress is written so often at most.
const PAUSE: Duration = Duration::from_secs(5);

/// What the agent's field manager says in a status: all of it in each write.
pub(super) fn reported(addresses: &[NodeAddress], wipe: Option<&WipeStatus>) -> Value {
    let mut status = json!({});
    if !addresses.is_empty() {
        status["addresses"] = json!(addresses);
    }
    if let Some(wipe) = wipe {
        status["wipe"] = json!(wipe);
    }
    status
}

impl Machines {
    /// The Server and what is known of the machine, both as the API server has them now.
    async fn present(&self, id: ServerId) -> Result<(Server, View), RegisterError> {
        let server = self.live(id).await?.ok_or(RegisterError::Unknown(id))?;
        let bound = is_bound(&self.client, &id.to_string()).await;
        let bound = bound.map_err(|error| failed(id, &error))?;
        let view = boot_view(&server, &self.site, bound.into());
        Ok((server, view))
    }

    /// See [`boot_services::Directory::order_wipe`]. The wipe is recorded as due since before its window opened, so
    /// whoever takes the machine from now on sees that; whoever took it before is found here (I-2).
    pub(super) async fn live_order(
        &self,
        id: ServerId,
        token: Token,
        generation: u64,
    ) -> Result<Result<WipeOrder, Why>, RegisterError> {
        let (server, view) = self.present(id).await?;
        let shown = Credentials {
            mac: None,
            token: self.holds(id, &view, Some(&token)),
        };
        match order(&view, shown, Duration::ZERO, Duration::ZERO) {
            Order::Wipe(due) if due == generation => {}
            Order::Wait(why) | Order::Reboot(why) => return Ok(Err(why)),
            Order::Wipe(_) | Order::TakeToken => return Ok(Err(Why::Dirty)),
        }
        let claim = claimed_by(&self.client, &id.to_string()).await;
        if claim.map_err(|error| failed(id, &error))?.is_some() {
            return Ok(Err(Why::Claimed));
        }
        let spec = server.spec.wipe.unwrap_or_default();
        Ok(Ok(WipeOrder {
            generation,
            include_wwids: spec.include_wwids,
            heartbeat: self.heartbeat,
        }))
    }

    /// See [`boot_services::Directory::wiping`].
    pub(super) async fn record_progress(
        &self,
        id: ServerId,
        token: Option<Token>,
        progress: Progress,
    ) -> Result<(), RegisterError> {
        for _ in 0..TRIES {
            let (server, view) = self.present(id).await?;
            let has_token = self.holds(id, &view, token.as_ref());
            self.take(&server, &view, has_token, progress.generation).await?;
            let before = server.status.as_ref().and_then(|status| status.wipe.as_ref());
            let retried = observed::wipe_is_tried_again(&server);
            let Some(wipe) = advanced(before, &progress, retried, Timestamp::now()) else {
                return Ok(());
            };
            match self.write_wipe(&server, &wipe).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Stale { .. }) => {}
                Err(error) => return Err(failed(id, &error)),
            }
        }
        Err(changes_on(id))
    }

    /// See [`boot_services::Directory::wiped`].
    pub(super) async fn record_certificate(
        &self,
        id: ServerId,
        token: Option<Token>,
        certificate: Certificate,
    ) -> Result<Result<(), String>, RegisterError> {
        for _ in 0..TRIES {
            let (server, view) = self.present(id).await?;
            let done = observed::facts(&server).ok().and_then(|facts| facts.wipe_done);
            if done == Some(certificate.generation) {
                // the answer to the report that made it so was lost
                return Ok(Ok(()));
            }
            let has_token = self.holds(id, &view, token.as_ref());
            self.take(&server, &view, has_token, certificate.generation)
                .await?;
            let before = server.status.as_ref().and_then(|status| status.wipe.as_ref());
            let wipe = ended(before, &certificate, Timestamp::now());
            match self.write_wipe(&server, &wipe).await {
                Ok(()) => {}
                Err(WriteError::Stale { .. }) => continue,
                Err(error) => return Err(failed(id, &error)),
            }
            let verdict = observed::verdict(&server, &certificate);
            if let Err(why) = &verdict {
                let note = format!("Wipe failed: {why}");
                self.events
                    .warning(&server, events::SERVER_WIPE, "Wipe", &note)
                    .await;
            }
            return Ok(verdict);
        }
        Err(changes_on(id))
    }

    /// Whether what is said of this wipe is taken. That somebody spoke of it who was not told to, a human should know.
    async fn take(
        &self,
        server: &Server,
        view: &View,
        has_token: bool,
        generation: u64,
    ) -> Result<(), NotOrdered> {
        let taken = take_wipe(view, has_token, generation);
        if let Err(refusal) = &taken {
            let note = format!("Report of a wipe refused: {refusal}");
            self.events
                .warning(server, events::SERVER_WIPE, "Wipe", &note)
                .await;
        }
        taken
    }

    async fn write_wipe(&self, server: &Server, wipe: &WipeStatus) -> Result<(), WriteError> {
        let status = server.status.as_ref();
        let addresses = status.map(|status| &status.addresses[..]).unwrap_or_default();
        let status = reported(addresses, Some(wipe));
        self.writer.transition(server, &status).await.map(drop)
    }
}

/// The status after a heartbeat; `None` if there is nothing to write. A heartbeat that comes after the end of its wipe
/// says nothing, unless the machine `booted` to try it again.
fn advanced(
    before: Option<&WipeStatus>,
    progress: &Progress,
    booted: bool,
    now: Timestamp,
) -> Option<WipeStatus> {
    let generation = i64::try_from(progress.generation).ok()?;
    let text = match progress.doing.as_str() {
        "" => format!("{} %", progress.percent),
        doing => format!("{} %: {doing}", progress.percent),
    };
    let same = before.filter(|before| before.generation == generation);
    let goes_on = same.filter(|before| before.finished_at.is_none());
    if same.is_some() && goes_on.is_none() && !booted {
        return None;
    }
    let last = goes_on.and_then(|before| before.heartbeat_at.as_ref());
    let age = last.map(|last| Duration::try_from(now.duration_since(last.0)).unwrap_or_default());
    if age.is_some_and(|age| age < PAUSE) {
        return None;
    }
    Some(WipeStatus {
        generation,
        started_at: goes_on
            .and_then(|before| before.started_at.clone())
            .or(Some(Time(now))),
        heartbeat_at: Some(Time(now)),
        progress: Some(text),
        ..WipeStatus::default()
    })
}

/// The status after a certificate.
fn ended(before: Option<&WipeStatus>, certificate: &Certificate, now: Timestamp) -> WipeStatus {
    let generation = i64::try_from(certificate.generation).unwrap_or(i64::MAX);
    let before = before.filter(|before| before.generation == generation && before.finished_at.is_none());
    WipeStatus {
        generation,
        started_at: before.and_then(|before| before.started_at.clone()),
        finished_at: Some(Time(now)),
        method: Some(METHOD.into()),
        disks: certificate.disks.iter().map(observed::wiped_disk).collect(),
        ..WipeStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn progress(percent: u32) -> Progress {
        Progress {
            generation: 3,
            percent,
            doing: "/dev/sda".into(),
        }
    }

    #[test]
    fn heartbeats_are_written_once_in_a_while_and_keep_the_beginning() {
        let first = advanced(None, &progress(0), false, at(0)).unwrap();
        assert_eq!(
            (first.generation, first.progress.as_deref()),
            (3, Some("0 %: /dev/sda"))
        );
        assert_eq!(advanced(Some(&first), &progress(9), false, at(4)), None);
        let later = advanced(Some(&first), &progress(9), false, at(5)).unwrap();
        assert_eq!(later.started_at, first.started_at);
        assert_eq!(later.heartbeat_at.unwrap().0, at(5));
        let other = Progress {
            generation: 4,
            ..progress(0)
        };
        let next = advanced(Some(&first), &other, false, at(1)).unwrap();
        assert_eq!((next.generation, next.started_at.unwrap().0), (4, at(1)));
    }

    #[test]
    fn a_heartbeat_after_the_end_says_nothing_until_the_machine_booted_again() {
        let certificate = Certificate {
            generation: 3,
            disks: Vec::new(),
        };
        let first = advanced(None, &progress(0), false, at(0));
        let end = ended(first.as_ref(), &certificate, at(9));
        assert_eq!(end.started_at.clone().unwrap().0, at(0));
        assert_eq!(advanced(Some(&end), &progress(50), false, at(60)), None);
        let again = advanced(Some(&end), &progress(50), true, at(60)).unwrap();
        assert_eq!((again.started_at.unwrap().0, again.finished_at), (at(60), None));
    }
}
