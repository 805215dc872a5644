//! Wiping on order: once for each generation, with heartbeats while it goes on, and the report of what it came to.

use std::future::pending;
use std::time::Duration;

use agent_protocol::api::{HeartbeatRequest, MarkServerAsWipedRequest};
use hardware_types::wipe::{Certificate, DiskResult, DiskWipe, WipeOrder};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Code;

use super::{Fatal, Session, attempt, is_refusal, words};
use crate::Host;
use crate::wipe::Progress;

/// Bounds of the pause between heartbeats that an order may name.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

impl<H: Host> Session<'_, H> {
    /// Wipes as ordered, unless it did so since it booted, and reports what that came to.
    pub(super) async fn wipe(&mut self, order: WipeOrder) -> Result<(), Fatal> {
        let known = self
            .certificate
            .take()
            .filter(|done| done.generation == order.generation);
        let certificate = if let Some(certificate) = known {
            certificate
        } else {
            let certificate = self.erase(&order).await;
            // However long that took: the report has its own time.
            self.last_success = Instant::now();
            certificate
        };
        self.certificate = Some(certificate.clone());
        self.certify(certificate).await
    }

    async fn erase(&mut self, order: &WipeOrder) -> Certificate {
        self.host
            .say(&format!("wiping the disks, wipe {}", order.generation));
        let (progress, mut signs) = watch::channel(Progress::default());
        let certificate = {
            let work = self.host.wipe(order, &progress);
            tokio::select! {
                certificate = work => certificate,
                () = self.keep_telling(order, &mut signs) => pending().await,
            }
        };
        for disk in &certificate.disks {
            self.host.say(&line(disk));
        }
        certificate
    }

    /// Tells how far it is until it is dropped: no heartbeat comes after the wipe.
    async fn keep_telling(&self, order: &WipeOrder, signs: &mut watch::Receiver<Progress>) {
        let mut ticks = interval(order.heartbeat.clamp(HEARTBEAT.0, HEARTBEAT.1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = self.client.clone();
        loop {
            ticks.tick().await;
            let (percent, doing) = {
                let progress = signs.borrow_and_update();
                (progress.percent(), progress.doing())
            };
            self.host.say(&format!("wiping, {percent} %: {doing}"));
            let message = HeartbeatRequest {
                uuid: self.report.id.to_string(),
                generation: order.generation,
                percent,
                doing,
            };
            // The wipe goes on whatever becomes of it: half erased disks are of no use to anybody.
            if let Err(status) = attempt(client.heartbeat(self.call(message))).await {
                self.host
                    .say(&format!("cannot tell how far the wipe is: {}", words(&status)));
            }
        }
    }

    /// Reports the certificate; a refusal is shown, and the next poll says what to do then.
    async fn certify(&mut self, certificate: Certificate) -> Result<(), Fatal> {
        let message = MarkServerAsWipedRequest {
            uuid: self.report.id.to_string(),
            generation: certificate.generation,
            disks: certificate.disks.into_iter().map(Into::into).collect(),
        };
        let answer = self.insist("report the wipe", message, async |client, request| {
            match client.mark_server_as_wiped(request).await {
                Ok(answer) => Ok(Ok(answer.into_inner())),
                Err(status) if is_refusal(&status) || status.code() == Code::NotFound => {
                    Ok(Err(words(&status)))
                }
                Err(status) => Err(status),
            }
        });
        let answer = answer.await?;
        self.show(match answer {
            Ok(answer) if answer.done => "the disks are wiped".into(),
            Ok(answer) => format!("the wipe does not count: {}", answer.reason),
            Err(refusal) => format!("the report of the wipe is refused: {refusal}"),
        });
        Ok(())
    }
}

fn line(disk: &DiskWipe) -> String {
    let name = &disk.device_name;
    match &disk.result {
        DiskResult::Wiped(erased) => format!(
            "{name}: {} bytes zeroed and read back, {} partitions; {}",
            erased.zeroed_bytes,
            erased.partitions,
            erased.remains()
        ),
        DiskResult::Refused(reason) => format!("{name}: left alone: {reason}"),
        DiskResult::Failed(reason) => format!("{name}: not wiped: {reason}"),
    }
}
