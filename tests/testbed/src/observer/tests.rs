use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

const RUN: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000a";
const PLANTED_ONE: &str = "0b5e0000-51c2-4c7e-9d43-6c1f5c1c000a";

/// An observer of one simulated BMC of machine `uuid`, which writes its power log to a file.
fn state(scope: Scope, uuid: &str, folder: &Path) -> State {
    let own = IpAddr::from([10, 0, 0, 2]);
    let fleets = Fleets::default();
    let mut state = State::new(scope, [own, own], fleets.clone());
    let text = format!("bmcs: [{{name: a, ipmi: {{listen: '10.0.0.2:623'}}, machine: {{uuid: {uuid}}}}}]");
    lock(&fleets).push(Fleet::read(&text, folder.join("log")).unwrap());
    state.look(Time::from_millis(0));
    state
}

fn command(folder: &Path, millis: u32) {
    let line = json!({"t": format!("2126-11-24T10:00:00.{millis:03}Z"), "bmc": "a", "actor": MANAGER_USER,
        "source": "ipmi://10.0.0.2:1", "verb": "off", "event": "received", "before": "on", "after": null,
        "cause": "accepted"});
    fs::write(folder.join("log"), format!("{line}\n")).unwrap();
}

/// The Server as it is after a command was stored that is about to be sent.
fn stored(name: &str, millis: u64) -> Change {
    let sent = time("2126-11-24T10:00:00Z".parse().unwrap()).as_millis() + millis;
    let object = json!({
        "metadata": {"name": name},
        "spec": {"accepted": true, "bmc": {"endpoint": "10.0.0.2"}},
        "status": {"powerIntent": {"id": "r1", "action": "off", "stage": "off", "entered": sent, "attempt": 1,
            "lastSent": sent}},
    });
    Change {
        kind: Kind::Server,
        name: name.to_owned(),
        revision: 5,
        arrived: Time::from_millis(sent + 900),
        object: serde_json::from_value(object).unwrap(),
    }
}

fn invariants(mut state: State) -> Vec<&'static str> {
    state.look(Time::from_millis(u64::MAX));
    state.violations.iter().map(Violation::invariant).collect()
}

#[test]
fn a_command_that_was_stored_just_before_is_lawful_however_late_that_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(Scope::Run, RUN, folder.path());
    command(folder.path(), 250);
    state.told(Told::Changed(Box::new(stored(RUN, 250))));
    assert_eq!(invariants(state), [""; 0]);
}

#[test]
fn a_command_that_was_stored_afterwards_is_a_violation_that_shows_what_led_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = state(Scope::Run, RUN, folder.path());
    command(folder.path(), 250);
    state.told(Told::Changed(Box::new(stored(RUN, 251))));
    state.look(Time::from_millis(u64::MAX));
    let finding = &state.findings[0];
    for part in [
        "I-1",
        RUN,
        "off ipmi://10.0.0.2:1 by admin",
        "the last events:",
        "simulator",
    ] {
        assert!(finding.contains(part), "{part}: {finding}");
    }
}

#[test]
fn a_run_and_a_test_that_commits_violations_are_watched_apart() {
    for (scope, server, found) in [
        (Scope::Run, RUN, true),
        (Scope::Run, PLANTED_ONE, false),
        (Scope::Planted, PLANTED_ONE, true),
        (Scope::Planted, RUN, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let state = state(scope, server, folder.path());
        command(folder.path(), 250);
        assert_eq!(invariants(state).len(), usize::from(found), "{scope:?} {server}");
    }
}
