use hardware_types::PowerAction;
use lifecycle::power::Unconfirmed;
use lifecycle::server::Why;
use power_manager::Info;

use super::*;
use crate::server::request::Request;

const NOW: &str = "2026-01-02T03:04:05Z";

fn server(status: &serde_json::Value) -> Server {
    let object = serde_json::json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
        "metadata": { "name": "4c4c4544-0039-3010-8048-b7c04f384432", "generation": 3 },
        "spec": { "accepted": true, "bmc": { "endpoint": "ipmi://b" } },
        "status": status,
    });
    serde_json::from_value(object).unwrap()
}

fn key() -> CredentialKey {
    CredentialKey {
        endpoint: "ipmi://b:623".into(),
        secret: "n/s@7".into(),
    }
}

fn report() -> Report {
    let verdict = Verdict {
        key: key(),
        proved: false,
        refusals: 0,
        refused_at: None,
    };
    Report {
        power: None,
        read_twice: false,
        info: None,
        failure: None,
        failures: 0,
        verdict,
        permission: Permission::Granted,
        secret_disliked: false,
        progress: None,
        ended: None,
    }
}

fn actor(report: Report) -> Contact {
    let endpoint = Endpoint::Ipmi {
        host: "b".into(),
        port: 623,
    };
    Contact::Actor {
        endpoint,
        reason: "spec.bmc says so".into(),
        report: Box::new(report),
    }
}

fn seen(server: &Server, contact: Contact) -> Seen<'_> {
    Seen {
        server,
        hands_off: None,
        plan: plan(Phase::Accepted, Why::NotRegistered),
        bound: false,
        clean: Some(false),
        contact,
        intent: None,
        request: None,
        refusal: None,
        confirmed_guid: None,
        now: NOW.parse().unwrap(),
    }
}

fn plan(phase: Phase, why: Why) -> Plan {
    Plan {
        act: None,
        phase,
        why,
        again: None,
    }
}

fn says(status: &ServerStatus, kind: &str) -> (String, String, String) {
    let condition = condition(Some(status), kind).unwrap();
    let text = |text: &Option<String>| text.clone().unwrap();
    (
        condition.status.to_string(),
        text(&condition.reason),
        text(&condition.message),
    )
}

fn failed(trouble: Trouble) -> Report {
    let failure = Some(BmcError::Failed {
        trouble,
        text: "opening a session: it failed".into(),
    });
    Report {
        failure,
        failures: 2,
        ..report()
    }
}

#[test]
fn a_reading_shows_power_and_what_the_bmc_says_of_itself() {
    let info = Info {
        vendor: Some("Metal".into()),
        firmware: Some("1.2".into()),
        ..Info::default()
    };
    let read = Report {
        power: Some(PowerState::On),
        info: Some(info),
        ..report()
    };
    let server = server(&serde_json::json!({}));
    let status = status(&seen(&server, actor(read)));
    assert_eq!(status.power.as_deref(), Some("on"));
    assert_eq!(status.phase, Some(crd_types::metal::Phase::Accepted));
    let bmc = status.bmc.clone().unwrap();
    assert_eq!(
        (bmc.driver.as_deref(), bmc.firmware.as_deref()),
        (Some("ipmi"), Some("1.2"))
    );
    assert_eq!(bmc.since.unwrap().0.to_string(), NOW);
    let (holds, reason, _) = says(&status, names::BMC_REACHABLE);
    assert_eq!((holds.as_str(), reason.as_str()), ("True", "Connected"));
    assert!(condition(Some(&status), names::HANDS_OFF).is_none());
    assert!(condition(Some(&status), names::POWER_COMMAND).is_none());
}

#[test]
fn every_failure_names_endpoint_cause_and_remedy_under_its_reason() {
    let server = server(&serde_json::json!({}));
    for trouble in Trouble::ALL {
        let status = status(&seen(&server, actor(failed(*trouble))));
        let (holds, reason, message) = says(&status, names::BMC_REACHABLE);
        assert_eq!((holds.as_str(), reason.as_str()), ("False", trouble.reason()));
        let remedy = advice(*trouble, Permission::Granted);
        for part in ["ipmi://b:623", "it failed", "2 failures in a row", remedy] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(status.power.as_deref(), Some("unknown"));
    }
}

#[test]
fn a_verdict_survives_the_status_and_counts_for_its_key_only() {
    let mut refused = failed(Trouble::CredentialsRefused);
    refused.permission = Permission::Silence;
    refused.verdict.refusals = 1;
    refused.verdict.refused_at = Some(lifecycle::Time::from_millis(1_700_000_000_000));
    let before = server(&serde_json::json!({}));
    let status = status(&seen(&before, actor(refused)));
    let after = server(&serde_json::to_value(&status).unwrap());
    let stored = verdict(&after, &key()).unwrap();
    assert_eq!((stored.refusals, stored.proved), (1, false));
    // No sooner than it was.
    assert!(stored.refused_at >= Some(lifecycle::Time::from_millis(1_700_000_000_000)));
    let other = CredentialKey {
        secret: "n/s@8".into(),
        ..key()
    };
    assert_eq!(verdict(&after, &other), None);

    // A successor that stays silent keeps the words, and changes nothing.
    let mut silent = report();
    silent.verdict = stored;
    silent.permission = Permission::Silence;
    let again = super::status(&seen(&after, actor(silent)));
    assert_eq!(
        says(&again, names::BMC_REACHABLE),
        says(&status, names::BMC_REACHABLE)
    );
    assert_eq!(again.power.as_deref(), Some("unknown"));
}

#[test]
fn until_something_is_read_anew_the_last_word_stands() {
    let before = serde_json::json!({
        "power": "on", "bmc": { "endpoint": "ipmi://b:623", "driver": "ipmi", "reason": "r", "since": NOW, "firmware": "1.2" },
        "conditions": [{ "type": "BMCReachable", "status": "True", "reason": "Connected", "message": "m", "lastTransitionTime": NOW }],
    });
    let server = server(&before);
    for contact in [Contact::Silent, actor(report())] {
        let status = status(&seen(&server, contact));
        assert_eq!(status.power.as_deref(), Some("on"));
        let bmc = status.bmc.clone().unwrap();
        assert_eq!(
            (bmc.firmware.as_deref(), bmc.reason.as_deref()),
            (Some("1.2"), Some("r"))
        );
        assert_eq!(says(&status, names::BMC_REACHABLE).2, "m");
    }
}

#[test]
fn hands_off_says_why_and_what_to_do() {
    let server = server(&serde_json::json!({}));
    let mut seen = seen(&server, Contact::Silent);
    seen.hands_off = Some(HandsOff::Paused);
    seen.plan = plan(Phase::HandsOff, Why::HandsOff(HandsOff::Paused));
    seen.refusal = Some(Refusal::HandsOff(HandsOff::Paused));
    let status = status(&seen);
    assert_eq!(status.phase, Some(crd_types::metal::Phase::HandsOff));
    let (holds, reason, message) = says(&status, names::HANDS_OFF);
    assert_eq!((holds.as_str(), reason.as_str()), ("True", "Paused"));
    assert!(message.contains("remove the pause"), "{message}");
    assert_eq!(status.phase_reason.as_deref(), Some(message.as_str()));
}

#[test]
fn a_request_without_a_bmc_to_send_it_to_says_so() {
    let server = server(&serde_json::json!({}));
    let asked = Request::Asked {
        key: "k",
        action: PowerAction::On,
    };
    let broken = Contact::Broken {
        reason: names::CREDENTIALS_MISSING,
        message: "m".into(),
    };
    for (contact, expected) in [(Contact::None, "set spec.bmc"), (broken, "BMCReachable")] {
        let mut seen = seen(&server, contact);
        seen.request = Some(&asked);
        let (_, reason, message) = says(&status(&seen), names::POWER_COMMAND);
        assert!(reason == "Waiting" && message.contains(expected), "{message}");
    }
}

#[test]
fn a_power_command_tells_what_it_waits_for_and_how_it_ended() {
    let server = server(&serde_json::json!({}));
    let now = lifecycle::Time::default();
    let open = Intent::new("i", PowerAction::Cycle, None, now, None);
    let done = Intent {
        outcome: Some(Outcome::Done),
        ..open.clone()
    };
    let outcome = Some(Outcome::Unconfirmed(Unconfirmed::NotOn));
    let unconfirmed = Intent {
        outcome,
        ..open.clone()
    };
    let progress = power_manager::Progress {
        intent: open.clone(),
        waits_for: "two readings".into(),
    };
    let busy = Report {
        progress: Some(progress),
        ..report()
    };
    let asked = Request::Asked {
        key: "k",
        action: PowerAction::On,
    };
    let unknown = Request::Unknown {
        why: "\"explode\"".into(),
    };
    let refusal = Some(Refusal::NotAccepted);
    for (intent, request, refusal, expected) in [
        (
            Some(&open),
            None,
            None,
            ("False", "InProgress", "cycle: two readings"),
        ),
        (Some(&done), None, None, ("True", "Done", "cycle: done")),
        (Some(&done), None, refusal, ("True", "Done", "cycle: done")),
        (
            Some(&unconfirmed),
            None,
            None,
            ("False", "Unconfirmed", "the machine is off"),
        ),
        (Some(&open), None, refusal, ("False", "Waiting", "spec.accepted")),
        (
            Some(&done),
            Some(&asked),
            refusal,
            ("False", "Waiting", "on: nothing is sent: not accepted"),
        ),
        (
            Some(&done),
            Some(&unknown),
            None,
            ("False", "InvalidRequest", "\"explode\""),
        ),
    ] {
        let mut seen = seen(&server, actor(busy.clone()));
        (seen.intent, seen.request, seen.refusal) = (intent, request, refusal);
        let (holds, reason, message) = says(&status(&seen), names::POWER_COMMAND);
        assert_eq!(
            (holds.as_str(), reason.as_str()),
            (expected.0, expected.1),
            "{message}"
        );
        assert!(message.contains(expected.2), "{message}");
    }
}
