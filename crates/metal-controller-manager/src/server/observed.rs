//! What `lifecycle::server` is asked about: a Server, its BMC and its agent as they were seen.

use boot_services::{TOLD_AGENT, TOLD_ENVIRONMENT, TOLD_WAIT, UNSERVED};
use crd_types::metal::{Server, WipedDisk};
use crd_types::names::annotations::server as keys;
use hardware_types::inventory::Disk;
use hardware_types::wipe::{Certificate, DiskResult, DiskWipe, Erased};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as ApiTime;
use kube::ResourceExt as _;
use lifecycle::facts::{Facts, Quarantine};
use lifecycle::power::Intent;
use lifecycle::server::{Command, Driver, Observed, Wipe};
use lifecycle::{Time, wipe};
use power_manager::Report;

use crate::claim::Look;

/// Field manager of what an agent reports.
pub(crate) const AGENT_API: &str = "agent-api";

/// The durable facts, or the first annotation that cannot be read.
pub(crate) fn facts(server: &Server) -> Result<Facts, String> {
    fn read<T: std::str::FromStr<Err: std::fmt::Display>>(
        server: &Server,
        key: &str,
    ) -> Result<Option<T>, String> {
        let text = server.annotations().get(key);
        let value = text.map(|text| text.parse().map_err(|why| format!("annotation {key}: {why}")));
        value.transpose()
    }
    let done = server.annotations().get(keys::WIPE_DONE).map(|text| {
        text.parse()
            .map_err(|_| format!("annotation {}: {text:?} is not a number", keys::WIPE_DONE))
    });
    Ok(Facts {
        wipe_due: read(server, keys::WIPE_DUE)?,
        wipe_done: done.transpose()?,
        powered: server.annotations().get(keys::POWERED).cloned(),
        window: read(server, keys::BOOT_WINDOW)?,
    })
}

/// How its last release ended, if that was not well.
pub(crate) fn quarantine(server: &Server) -> Option<Quarantine> {
    let text = server.annotations().get(keys::QUARANTINED)?;
    Some(text.as_str().into())
}

/// Its own agent reported it to these boot services, as the API server keeps it.
pub(crate) fn is_registered(server: &Server) -> bool {
    let entries = server.metadata.managed_fields.iter().flatten();
    let mut ours = entries.filter(|entry| entry.manager.as_deref() == Some(AGENT_API));
    ours.any(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.get("f:spec").is_some())
    })
}

/// When a report of its agent last changed something: it is written at once, what it is seen doing a little later.
fn last_report(server: &Server) -> Option<Time> {
    let entries = server.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(AGENT_API));
    ours.filter_map(|entry| entry.time.as_ref()).map(time).max()
}

/// A client said that it is clean, as of a machine that never had an agent.
pub(crate) fn is_marked_clean(server: &Server, facts: &Facts) -> bool {
    let said = server.status.as_ref().and_then(|status| status.is_clean);
    said == Some(true) && facts.knows_no_wipe() && !is_registered(server)
}

/// Whether the Server is clean, by its facts or by a client's word.
pub(crate) fn is_clean(server: &Server) -> bool {
    facts(server).is_ok_and(|facts| facts.is_clean() || is_marked_clean(server, &facts))
}

/// What is said of it: nothing, as long as it is a client's to say. A stale *no* of ours would take its word back.
pub(crate) fn says_clean(server: &Server) -> Option<bool> {
    let is_clients = facts(server).is_ok_and(|facts| facts.knows_no_wipe()) && !is_registered(server);
    let clean = is_clean(server);
    (clean || !is_clients).then_some(clean)
}

/// How its power is controlled now. Nothing can be commanded before a BMC has said whose it is (I-13).
pub(crate) fn driver(server: &Server, report: Option<&Report>) -> Driver {
    match report {
        _ if server.spec.bmc.is_none() => Driver::None,
        Some(report) if report.failure.is_none() && report.info.is_some() => {
            Driver::Ready { power: report.power }
        }
        _ => Driver::Silent,
    }
}

/// All that the next step is decided on.
pub(crate) fn observed(
    server: &Server,
    gate: lifecycle::Observed,
    look: &Look,
    report: Option<&Report>,
    intent: Option<&Intent>,
    since: Time,
) -> Observed {
    let boot = server.status.as_ref().and_then(|status| status.boot.as_ref());
    let facts = facts(server);
    Observed {
        gate,
        claim: look.claim.clone(),
        config_boots: look.config_boots(),
        registered: is_registered(server),
        marked_clean: facts.as_ref().is_ok_and(|facts| is_marked_clean(server, facts)),
        facts,
        quarantine: quarantine(server),
        cordoned: server.spec.cordoned == Some(true),
        driver: driver(server, report),
        intent: intent.map(|intent| Command {
            id: intent.id.clone(),
            action: intent.action,
            began: intent.last_sent.unwrap_or(intent.entered),
            outcome: intent.outcome,
        }),
        asked: if look.claim.is_bound() {
            told(server, TOLD_ENVIRONMENT)
        } else {
            asked(server)
        },
        unserved: unserved(server),
        started: boot
            .and_then(|boot| boot.ipxe.as_ref())
            .filter(|seen| seen.what == TOLD_AGENT || seen.what.starts_with(TOLD_WAIT))
            .map(|seen| time(&seen.at)),
        agent: boot
            .and_then(|boot| boot.agent.as_ref())
            .map(|seen| time(&seen.at))
            .max(last_report(server)),
        wipe: reported_wipe(server),
        since,
    }
}

/// Whether the machine is on by nobody's will, as far as is known now.
pub(crate) fn is_unexpectedly_on(server: &Server, bound: bool, report: Option<&Report>) -> bool {
    let Ok(facts) = facts(server) else { return false };
    let was = super::facts::is_left_alone_for(server, lifecycle::HandsOff::UnexpectedPower);
    let answers = report.filter(|report| report.failure.is_none());
    let power = answers.and_then(|report| report.power);
    let twice = answers.is_some_and(|report| report.read_twice);
    lifecycle::server::is_unexpectedly_on(&facts, bound, was, power, twice)
}

/// What the agent reported of the last wipe; its end is judged here, by the inventory and the disks that are waived.
fn reported_wipe(server: &Server) -> Option<Wipe> {
    let wipe = server.status.as_ref()?.wipe.as_ref()?;
    let generation = u64::try_from(wipe.generation).ok()?;
    let heard = [&wipe.started_at, &wipe.heartbeat_at, &wipe.finished_at];
    let heard = heard.into_iter().flatten().map(time).max().unwrap_or_default();
    let ended = wipe.finished_at.as_ref().map(|at| {
        let certificate = Certificate {
            generation,
            disks: wipe.disks.iter().map(disk).collect(),
        };
        (time(at), verdict(server, &certificate))
    });
    Some(Wipe {
        generation,
        progress: wipe.progress.clone().unwrap_or_default(),
        heard,
        ended,
    })
}

/// Whether the wipe that is due ended badly, and the machine did not boot since.
pub(crate) fn wipe_failed(server: &Server) -> bool {
    failed_at(server).is_some_and(|failed| asked(server) <= Some(failed))
}

/// Whether the machine asked what to boot since its wipe ended badly: it may do it again.
pub(crate) fn wipe_is_tried_again(server: &Server) -> bool {
    failed_at(server).is_some_and(|failed| asked(server) > Some(failed))
}

/// When the wipe that is due ended badly.
fn failed_at(server: &Server) -> Option<Time> {
    let due = facts(server).ok()?.due()?;
    let wipe = reported_wipe(server).filter(|wipe| wipe.generation == due)?;
    let (at, verdict) = wipe.ended?;
    verdict.is_err().then_some(at)
}

/// When the machine last asked what to boot and was given the agent.
fn asked(server: &Server) -> Option<Time> {
    told(server, TOLD_AGENT)
}

/// When the machine last asked what to boot, if that could not be had; and why.
fn unserved(server: &Server) -> Option<(Time, String)> {
    let asked = server.status.as_ref()?.boot.as_ref()?.ipxe.as_ref()?;
    let why = asked.what.strip_prefix(UNSERVED)?.trim_start_matches([':', ' ']);
    Some((time(&asked.at), why.to_owned()))
}

/// When the machine last asked what to boot, if this is what it was told.
fn told(server: &Server, what: &str) -> Option<Time> {
    let asked = server.status.as_ref()?.boot.as_ref()?.ipxe.as_ref()?;
    (asked.what == what).then(|| time(&asked.at))
}

/// Whether this certificate makes the Server clean, or why not.
pub(crate) fn verdict(server: &Server, certificate: &Certificate) -> Result<(), String> {
    let waived = server
        .spec
        .wipe
        .as_ref()
        .map(|wipe| &wipe.waived_serial_numbers[..]);
    let verdict = wipe::verdict(&inventory(server), certificate, waived.unwrap_or_default());
    verdict.map_err(|failure| failure.to_string())
}

/// The disks that the Server is known to have.
fn inventory(server: &Server) -> Vec<Disk> {
    let storage = server
        .spec
        .hardware
        .as_ref()
        .and_then(|hardware| hardware.storage.as_ref());
    let devices = storage.map(|storage| &storage.devices[..]).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let disks = devices.iter().map(|device| Disk {
        size: device
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        model: text(&device.product_name),
        serial: text(&device.serial_number),
        device_name: text(&device.device_name),
        wwid: text(&device.wwid),
        ..Disk::default()
    });
    disks.collect()
}

/// A line of the certificate as the status keeps it.
pub(crate) fn wiped_disk(disk: &DiskWipe) -> WipedDisk {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let line = WipedDisk {
        device_name: disk.device_name.clone(),
        model: text(&disk.model),
        serial_number: text(&disk.serial),
        wwid: text(&disk.wwid),
        size: i64::try_from(disk.size).ok(),
        ..WipedDisk::default()
    };
    match &disk.result {
        DiskResult::Wiped(erased) => WipedDisk {
            result: WIPED.into(),
            discarded: Some(erased.discarded),
            zeroed_bytes: i64::try_from(erased.zeroed_bytes).ok(),
            partitions: i32::try_from(erased.partitions).ok(),
            remains: Some(erased.remains().into()),
            ..line
        },
        DiskResult::Refused(reason) => WipedDisk {
            result: REFUSED.into(),
            reason: Some(reason.clone()),
            ..line
        },
        DiskResult::Failed(reason) => WipedDisk {
            result: FAILED.into(),
            reason: Some(reason.clone()),
            ..line
        },
    }
}

const WIPED: &str = "Wiped";
const REFUSED: &str = "Refused";
const FAILED: &str = "Failed";

/// What no word of ours says was not wiped.
fn disk(line: &WipedDisk) -> DiskWipe {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    DiskWipe {
        device_name: line.device_name.clone(),
        model: text(&line.model),
        serial: text(&line.serial_number),
        wwid: text(&line.wwid),
        size: line
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        result: match line.result.as_str() {
            WIPED => DiskResult::Wiped(Erased {
                discarded: line.discarded == Some(true),
                zeroed_bytes: line
                    .zeroed_bytes
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or_default(),
                partitions: line
                    .partitions
                    .and_then(|n| u32::try_from(n).ok())
                    .unwrap_or_default(),
            }),
            REFUSED => DiskResult::Refused(text(&line.reason)),
            _ => DiskResult::Failed(text(&line.reason)),
        },
    }
}

pub(crate) fn time(time: &ApiTime) -> Time {
    Time::from_millis(u64::try_from(time.0.as_millisecond()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks() -> Vec<DiskWipe> {
        let disk = |name: &str, result| DiskWipe {
            device_name: name.into(),
            model: "M".into(),
            serial: "S".into(),
            wwid: "naa.1".into(),
            size: 1 << 30,
            result,
        };
        let erased = Erased {
            discarded: true,
            zeroed_bytes: 6 << 20,
            partitions: 2,
        };
        vec![
            disk("/dev/sda", DiskResult::Wiped(erased)),
            disk("/dev/sdb", DiskResult::Refused("removable".into())),
            disk("/dev/sdc", DiskResult::Failed("byte 0".into())),
        ]
    }

    #[test]
    fn a_certificate_is_read_from_the_status_as_it_was_written() {
        for wiped in disks() {
            assert_eq!(disk(&wiped_disk(&wiped)), wiped);
        }
        let odd = WipedDisk {
            result: "fine, trust me".into(),
            ..WipedDisk::default()
        };
        assert!(matches!(disk(&odd).result, DiskResult::Failed(_)));
    }

    #[test]
    fn an_annotation_that_cannot_be_read_is_named_and_proves_nothing() {
        let mut server = Server::default();
        assert_eq!(facts(&server), Ok(Facts::default()));
        for (key, value) in [
            (keys::WIPE_DUE, "soon"),
            (keys::WIPE_DONE, "-1"),
            (keys::BOOT_WINDOW, "open"),
        ] {
            server.annotations_mut().insert(key.into(), value.into());
            let why = facts(&server).unwrap_err();
            assert!(why.contains(key) && why.contains(&format!("{value:?}")), "{why}");
            assert!(!is_clean(&server));
            server.annotations_mut().remove(key);
        }
    }
}
