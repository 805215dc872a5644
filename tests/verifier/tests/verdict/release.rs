use serde_json::json;

use crate::run::{A, B, Run, at};
use crate::spoil::{drop, spoil};

/// Moves the end of an object.
#[track_caller]
fn ends(run: &mut Run, uid: &str, t: f64) {
    spoil(&mut run.objects, &[("uid", uid), ("event", "gone")], |entry| {
        entry["t"] = at(t).into();
    });
}

#[test]
fn a_server_binding_that_is_gone_while_the_machine_is_on() {
    let mut run = Run::good();
    ends(&mut run, "b-worker-1", 94.0);
    let words = [
        &format!(
            "ServerBinding {} was gone at 2026-03-01T10:01:34.000Z while rack1-u02 was on",
            B.server
        ),
        "and off at 2026-03-01T10:01:41.000Z only",
    ];
    run.fails("release", &words);
}

#[test]
fn a_machine_that_is_off_only_after_all_was_gone() {
    let mut run = Run::good();
    for (uid, t) in [
        ("b-control-plane", 181.9),
        ("mm-control-plane", 182.0),
        ("m-control-plane", 182.1),
    ] {
        ends(&mut run, uid, t);
    }
    let words = [
        "ServerBinding 0b5a6f0e",
        "MetalMachine control-plane was gone",
        "Machine control-plane was gone at 2026-03-01T10:03:02.100Z while rack1-u01 was on",
        "and off at 2026-03-01T10:03:12.000Z only",
    ];
    run.fails("release", &words);
}

#[test]
fn a_machine_that_is_off_only_after_its_machine_was_gone() {
    let mut run = Run::good();
    ends(&mut run, "m-worker-2", 183.0);
    run.fails(
        "release",
        &["Machine worker-2 was gone at 2026-03-01T10:03:03.000Z while rack1-u02 was on"],
    );
    let mut run = Run::good();
    ends(&mut run, "mm-worker-2", 183.0);
    run.fails(
        "release",
        &["MetalMachine worker-2 was gone at 2026-03-01T10:03:03.000Z while rack1-u02 was on"],
    );
}

#[test]
fn a_watch_that_lags_is_no_violation() {
    // the machine is on for its wipe two seconds before its ServerBinding is seen to be gone
    let mut run = Run::good();
    ends(&mut run, "b-worker-1", 109.0);
    let wiping = [("name", B.server), ("phase", "Wiping"), ("t", &at(105.2))];
    spoil(&mut run.objects, &wiping, |entry| entry["t"] = at(108.5).into());
    assert!(run.verdict().is_good(), "{}", run.verdict());
    ends(&mut run, "b-worker-1", 111.0);
    run.fails(
        "release",
        &[
            "ServerBinding",
            "was gone at 2026-03-01T10:01:51.000Z while rack1-u02 was on",
        ],
    );
}

#[test]
fn a_server_binding_that_is_taken_from_its_metal_machine() {
    let mut run = Run::good();
    for entry in &mut run.objects {
        if entry["uid"] == "mm-worker-1" && entry["event"] == "seen" {
            entry["deleting"] = json!(false);
        }
    }
    ends(&mut run, "mm-worker-1", 109.0);
    // the Node goes after it
    ends(&mut run, "n-worker-1", 109.5);
    run.fails(
        "release",
        &[
            B.server,
            "while its MetalMachine worker-1 lived and was not being deleted",
        ],
    );
}

#[test]
fn a_machine_that_is_offered_without_a_wipe() {
    let mut run = Run::good();
    drop(
        &mut run.objects,
        &[("name", B.server), ("phase", "Wiping"), ("t", &at(105.2))],
    );
    run.fails(
        "release",
        &[B.bmc, "10:01:45.000Z", "not seen Wiping until `returned`"],
    );
}

#[test]
fn a_machine_that_is_not_offered_again() {
    let mut run = Run::good();
    drop(
        &mut run.objects,
        &[("name", B.server), ("phase", "Available"), ("t", &at(122.0))],
    );
    run.fails("release", &[B.bmc, "not seen Available until `returned`"]);
}

#[test]
fn a_release_of_an_unknown_machine() {
    let mut run = Run::good();
    run.object(
        50.0,
        "ServerBinding",
        "nowhere",
        "b-x",
        json!({"server": "nowhere"}),
    );
    run.gone(
        51.0,
        "ServerBinding",
        "nowhere",
        "b-x",
        json!({"server": "nowhere"}),
    );
    run.fails("release", &["ServerBinding nowhere", "none of the machines"]);
}

#[test]
fn too_few_releases() {
    let mut run = Run::good();
    for entry in &mut run.objects {
        if entry["uid"] == "mm-control-plane" {
            entry["server"] = json!(null);
        }
    }
    run.fails(
        "release",
        &["2 MetalMachines are gone, and there were 3 releases at least"],
    );
}

#[test]
fn a_metal_machine_that_never_had_a_server_needs_none_off() {
    let mut run = Run::good();
    run.object(50.0, "MetalMachine", "vain", "mm-vain", json!({}));
    run.gone(60.0, "MetalMachine", "vain", "mm-vain", json!({}));
    assert!(run.verdict().is_good(), "{}", run.verdict());
}

#[test]
fn a_machine_that_was_given_back_after_the_end() {
    let mut run = Run::good();
    run.object(
        60.0,
        "ServerBinding",
        A.server,
        "b-late",
        json!({"server": A.server}),
    );
    run.gone(
        227.0,
        "ServerBinding",
        A.server,
        "b-late",
        json!({"server": A.server}),
    );
    let text = run.verdict().to_string();
    assert!(
        text.contains("rack1-u01 was given back at 2026-03-01T10:03:47.000Z, after `deleted`"),
        "{text}"
    );
}
