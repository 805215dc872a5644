//! What is said of a Server: a function of what was observed.

use crd_types::metal::{BmcCredentials, BmcStatus, Server, ServerStatus};
use crd_types::names::conditions as names;
use crd_types::{Condition, ConditionStatus};
use hardware_types::PowerState;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lifecycle::power::{Intent, Outcome};
use lifecycle::server::{Phase, Plan};
use lifecycle::{HandsOff, Refusal, Trouble};
use power_manager::credentials::{CredentialKey, Permission, Verdict};
use power_manager::{BmcError, Endpoint, Report};

use super::observed::time;
use super::request::Request;

/// How it stands with the BMC.
#[derive(Debug)]
pub(crate) enum Contact {
    /// None is configured.
    None,
    /// It is not talked to, so nothing new is known.
    Silent,
    /// It cannot be talked to.
    Broken {
        /// The condition's reason.
        reason: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// Its actor is at work.
    Actor {
        /// Where it is.
        endpoint: Endpoint,
        /// Why that driver.
        reason: String,
        /// What the actor knows.
        report: Box<Report>,
    },
}

/// All that the status is made from.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) server: &'a Server,
    pub(crate) hands_off: Option<HandsOff>,
    pub(crate) plan: Plan,
    pub(crate) bound: bool,
    /// Not said of a machine that never had an agent: a client may say it, and its word is not overwritten.
    pub(crate) clean: Option<bool>,
    pub(crate) contact: Contact,
    pub(crate) intent: Option<&'a Intent>,
    pub(crate) request: Option<&'a Request>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) confirmed_guid: Option<String>,
    pub(crate) now: Timestamp,
}

/// The fields that the Server controller writes.
pub(crate) fn status(seen: &Seen<'_>) -> ServerStatus {
    let before = seen.server.status.clone().unwrap_or_default();
    let conditions = [
        reachable(seen, &before),
        hands_off(seen),
        quarantined(seen),
        power_command(seen),
        power_cycle(seen),
        booted(seen),
    ];
    let power = power(seen, &before);
    ServerStatus {
        // as the original: in use and powered well, or free
        ready: match seen.plan.phase {
            Phase::Available => Some(true),
            Phase::Allocated | Phase::Provisioning | Phase::Provisioned => {
                Some(power.as_deref() != Some("unknown"))
            }
            _ => seen.clean.map(|_| false),
        },
        in_use: Some(seen.bound),
        is_clean: seen.clean,
        power,
        phase: Some(phase(seen.plan.phase)),
        phase_reason: Some(seen.plan.why.to_string()),
        bmc: bmc(seen, &before),
        conditions: conditions.into_iter().flatten().collect(),
        ..ServerStatus::default()
    }
}

fn phase(phase: Phase) -> crd_types::metal::Phase {
    use crd_types::metal::Phase as Word;
    match phase {
        Phase::Discovered => Word::Discovered,
        Phase::Accepted => Word::Accepted,
        Phase::Wiping => Word::Wiping,
        Phase::Available => Word::Available,
        Phase::Allocated => Word::Allocated,
        Phase::Provisioning => Word::Provisioning,
        Phase::Provisioned => Word::Provisioned,
        Phase::Releasing => Word::Releasing,
        Phase::Quarantined => Word::Quarantined,
        Phase::HandsOff => Word::HandsOff,
        Phase::Error => Word::Error,
    }
}

/// The condition of this type.
pub(crate) fn condition<'a>(status: Option<&'a ServerStatus>, kind: &str) -> Option<&'a Condition> {
    status?
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// What is stored of credentials, if it is about these.
pub(crate) fn verdict(server: &Server, key: &CredentialKey) -> Option<Verdict> {
    let stored = server.status.as_ref()?.bmc.as_ref()?.credentials.as_ref()?;
    let is_key = stored.endpoint == key.endpoint && stored.source == key.secret;
    is_key.then(|| Verdict {
        key: key.clone(),
        proved: stored.proved,
        refusals: u32::try_from(stored.refusals).unwrap_or_default(),
        refused_at: stored.refused_at.as_ref().map(time),
    })
}

/// The original's three words; transitional states are none of them.
fn power(seen: &Seen<'_>, before: &ServerStatus) -> Option<String> {
    let word = match &seen.contact {
        Contact::None => return None,
        Contact::Silent => return before.power.clone(),
        Contact::Broken { .. } => "unknown",
        Contact::Actor { report, .. } => match (&report.failure, report.power) {
            // As long as nothing is known anew, the last word stands.
            (None, None) if report.permission == Permission::Granted => return before.power.clone(),
            (None, Some(PowerState::On)) => "on",
            (None, Some(PowerState::Off)) => "off",
            // The BMC is not asked by its own fault, or ours: it has not lost its power for that.
            (Some(BmcError::Withheld(_)), _) => return before.power.clone(),
            _ => "unknown",
        },
    };
    Some(word.into())
}

fn bmc(seen: &Seen<'_>, before: &ServerStatus) -> Option<BmcStatus> {
    let before = before.bmc.clone();
    let (endpoint, reason, report) = match &seen.contact {
        Contact::None => return None,
        Contact::Silent | Contact::Broken { .. } => return before,
        Contact::Actor {
            endpoint,
            reason,
            report,
        } => (endpoint, reason, report),
    };
    let driver = match endpoint {
        Endpoint::Ipmi { .. } => "ipmi",
        Endpoint::Redfish(_) => "redfish",
        Endpoint::Undecided { .. } => return before,
    };
    let text = endpoint.to_string();
    let before = before
        .filter(|before| before.endpoint.as_deref() == Some(&text))
        .unwrap_or_default();
    let same_driver = before.driver.as_deref() == Some(driver);
    let info = report.info.clone();
    let (vendor, model, firmware) = match info {
        Some(info) => (info.vendor, info.model, info.firmware),
        None => (before.vendor, before.model, before.firmware),
    };
    let verdict = &report.verdict;
    Some(BmcStatus {
        driver: Some(driver.into()),
        reason: Some(if same_driver {
            before.reason.unwrap_or_else(|| reason.clone())
        } else {
            reason.clone()
        }),
        since: before.since.filter(|_| same_driver).or(Some(Time(seen.now))),
        endpoint: Some(text),
        vendor,
        model,
        firmware,
        confirmed_guid: seen.confirmed_guid.clone().or(before.confirmed_guid),
        credentials: Some(BmcCredentials {
            endpoint: verdict.key.endpoint.clone(),
            source: verdict.key.secret.clone(),
            proved: verdict.proved,
            refusals: i32::try_from(verdict.refusals).unwrap_or(i32::MAX),
            refused_at: verdict.refused_at.and_then(|time| {
                let millis = i64::try_from(time.as_millis()).ok()?;
                // Whole seconds, as the API has them; late rather than early.
                let second = Timestamp::from_second((millis + 999) / 1000);
                second.ok().map(Time)
            }),
        }),
    })
}

fn make(seen: &Seen<'_>, kind: &str, status: ConditionStatus, reason: &str, message: String) -> Condition {
    let severity = (status == ConditionStatus::False).then(|| {
        let info = [names::CONNECTING, names::IN_PROGRESS, names::WAITING].contains(&reason);
        if info { "Info" } else { "Warning" }.to_owned()
    });
    Condition {
        type_: kind.into(),
        status,
        severity,
        observed_generation: seen.server.metadata.generation,
        last_transition_time: Time(seen.now),
        reason: Some(reason.into()),
        message: Some(message),
    }
}

fn reachable(seen: &Seen<'_>, before: &ServerStatus) -> Option<Condition> {
    let make =
        |status, reason: &str, message| Some(make(seen, names::BMC_REACHABLE, status, reason, message));
    let unchanged = || condition(Some(before), names::BMC_REACHABLE).cloned();
    let (endpoint, report) = match &seen.contact {
        Contact::None => return None,
        Contact::Silent => return unchanged(),
        Contact::Broken { reason, message } => return make(ConditionStatus::False, reason, message.clone()),
        Contact::Actor { endpoint, report, .. } => (endpoint, report),
    };
    let refused = Trouble::CredentialsRefused;
    match &report.failure {
        Some(BmcError::Failed { trouble, text }) => {
            let failures = if report.failures > 1 {
                format!(" ({} failures in a row)", report.failures)
            } else {
                String::new()
            };
            let message = format!(
                "{endpoint}: {text}{failures}; {}",
                advice(*trouble, report.permission)
            );
            make(ConditionStatus::False, trouble.reason(), message)
        }
        Some(BmcError::Withheld(_)) => unchanged(),
        None if report.secret_disliked => make(
            ConditionStatus::False,
            names::CREDENTIALS_WITHHELD,
            format!(
                "{endpoint}: not asked: other BMCs refused the credentials {}; correct them",
                report.verdict.key.secret
            ),
        ),
        None if report.power.is_some() => make(
            ConditionStatus::True,
            names::CONNECTED,
            format!("{endpoint} answers and takes the credentials"),
        ),
        // Refused before this process began; the words of then are better than any.
        None if report.permission != Permission::Granted => unchanged()
            .filter(|condition| condition.reason.as_deref() == Some(refused.reason()))
            .or_else(|| {
                let message = format!("{endpoint}: {refused}; {}", advice(refused, report.permission));
                make(ConditionStatus::False, refused.reason(), message)
            }),
        None => unchanged().filter(|_| before.bmc.is_some()).or_else(|| {
            make(
                ConditionStatus::False,
                names::CONNECTING,
                format!("{endpoint}: waiting for its first answer"),
            )
        }),
    }
}

/// What to do about a failure.
fn advice(trouble: Trouble, permission: Permission) -> &'static str {
    match (trouble, permission) {
        (Trouble::CredentialsRefused, Permission::Silence) => {
            "they are not shown again until the Secret or spec.bmc changes: correct them there"
        }
        (Trouble::CredentialsRefused, _) => {
            "they worked before and are tried again a few times: check the account"
        }
        (Trouble::Unreachable, _) => "tried again: check spec.bmc.endpoint, the network and the BMC",
        (Trouble::Busy, _) => "tried again",
        (Trouble::Unsupported, _) => "choose another protocol in spec.bmc.endpoint (ipmi://, redfish://)",
        (Trouble::Protocol, _) => "tried again: check that spec.bmc.endpoint is a BMC, and its firmware",
        (Trouble::Certificate, _) => {
            "compare the fingerprint with the BMC's own and set spec.bmc.tls.fingerprint, or spec.bmc.tls.insecureSkipVerify"
        }
    }
}

fn hands_off(seen: &Seen<'_>) -> Option<Condition> {
    let reason = seen.hands_off?;
    Some(make(
        seen,
        names::HANDS_OFF,
        ConditionStatus::True,
        reason.reason(),
        reason.to_string(),
    ))
}

/// Its last release ended without having been confirmed.
fn quarantined(seen: &Seen<'_>) -> Option<Condition> {
    let quarantine = super::observed::quarantine(seen.server)?;
    let message = format!(
        "allocation {} ended at the release deadline before the machine was confirmed off: it may run its system still, and nobody gets it; it is switched off as soon as that can be, and then wiped",
        quarantine.allocation
    );
    Some(make(
        seen,
        names::QUARANTINED,
        ConditionStatus::True,
        names::POWER_OFF_UNCONFIRMED,
        message,
    ))
}

/// The original's condition about a wipe.
fn power_cycle(seen: &Seen<'_>) -> Option<Condition> {
    let wipe = seen.server.status.as_ref()?.wipe.as_ref()?;
    let (status, reason, message) = match (&wipe.finished_at, seen.clean) {
        (None, _) => (
            ConditionStatus::False,
            names::IN_PROGRESS,
            "Server wipe in progress.".into(),
        ),
        (Some(_), Some(true)) => (
            ConditionStatus::True,
            names::DONE,
            "Server wiped via agent.".into(),
        ),
        (Some(_), _) => (ConditionStatus::False, names::WAITING, seen.plan.why.to_string()),
    };
    Some(make(seen, names::POWER_CYCLE, status, reason, message))
}

/// The original's condition about what boots its disk from now on.
fn booted(seen: &Seen<'_>) -> Option<Condition> {
    let is_installed = seen.plan.phase == Phase::Provisioned;
    let message = "its Node was seen: it boots its disk".into();
    is_installed.then(|| {
        make(
            seen,
            names::PXE_BOOTED,
            ConditionStatus::True,
            names::INSTALLED,
            message,
        )
    })
}

fn power_command(seen: &Seen<'_>) -> Option<Condition> {
    let make =
        |status, reason: &str, message| Some(make(seen, names::POWER_COMMAND, status, reason, message));
    match (seen.request, seen.refusal) {
        (Some(Request::Unknown { why }), _) => {
            return make(ConditionStatus::False, names::INVALID_REQUEST, why.clone());
        }
        (Some(Request::Asked { action, .. } | Request::Claimed { action, .. }), refusal) => {
            let why = match (refusal, &seen.contact) {
                (Some(refusal), _) => refusal.to_string(),
                (None, Contact::None) => "no BMC is configured: set spec.bmc".into(),
                (None, _) => "condition BMCReachable says why".into(),
            };
            let message = format!("{action}: nothing is sent: {why}");
            return make(ConditionStatus::False, names::WAITING, message);
        }
        _ => {}
    }
    let intent = seen.intent?;
    let action = intent.action;
    match (&intent.outcome, seen.refusal) {
        (Some(Outcome::Done), _) => make(
            ConditionStatus::True,
            names::DONE,
            format!("{action}: done and read back"),
        ),
        (Some(Outcome::Unconfirmed(why)), _) => make(
            ConditionStatus::False,
            names::UNCONFIRMED,
            format!("{action}: {why}"),
        ),
        (None, Some(refusal)) => make(
            ConditionStatus::False,
            names::WAITING,
            format!("{action}: nothing more is sent: {refusal}"),
        ),
        (None, None) => {
            let progress = match &seen.contact {
                Contact::Actor { report, .. } => report.progress.as_ref(),
                _ => None,
            };
            let waits = progress.filter(|progress| progress.intent.id == intent.id);
            let waits = waits.map_or("waits for the BMC", |progress| progress.waits_for.as_str());
            make(
                ConditionStatus::False,
                names::IN_PROGRESS,
                format!("{action}: {waits}"),
            )
        }
    }
}

#[cfg(test)]
mod tests;
