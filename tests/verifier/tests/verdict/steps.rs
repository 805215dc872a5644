use serde_json::json;

use crate::run::{B, Run, at};
use crate::spoil::{drop, spoil};

#[test]
fn a_good_run_is_good() {
    let verdict = Run::good().verdict();
    let text = verdict.to_string();
    assert!(verdict.is_good(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    assert!(
        lines[0].starts_with("ok  steps: 7 steps in order, 2 machines"),
        "{text}"
    );
    assert!(
        lines[1].contains("20 blocks") && lines[1].contains("(1 given back)"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("ok  power: 16 power edges of 2 machines"),
        "{text}"
    );
    assert!(
        lines[3].starts_with("ok  node: 3 Machines were Running"),
        "{text}"
    );
    assert!(
        lines[4].starts_with("ok  release: 3 ServerBindings, 3 MetalMachines, 3 Machines"),
        "{text}"
    );
    assert!(
        lines[5].contains("1 Clusters, 3 Machines, 3 MetalMachines, 3 ServerBindings are gone"),
        "{text}"
    );
    assert_eq!(lines[6], "all 6 checks are ok: the main job was done");
}

#[test]
fn a_missing_step_fails_all_that_need_it() {
    let mut run = Run::good();
    drop(&mut run.steps, &[("name", "returned")]);
    let verdict = run.verdict();
    for finding in verdict.findings() {
        let needs = finding.check() != "end";
        let says = finding
            .failures()
            .iter()
            .any(|text| text == "step `returned` is missing");
        assert_eq!((needs, needs), (!finding.is_ok(), says), "{finding}");
    }
}

#[test]
fn a_step_twice() {
    let mut run = Run::good();
    run.steps.push(json!({"t": at(226.0), "name": "deleted"}));
    run.fails("steps", &["`deleted` is there 2 times"]);
}

#[test]
fn steps_out_of_order() {
    let mut run = Run::good();
    run.steps.swap(4, 5);
    run.fails(
        "steps",
        &[
            "`running-again` comes before `returned`",
            "time goes back from `running-again`",
        ],
    );
}

#[test]
fn two_machines_with_one_disk() {
    let mut run = Run::good();
    run.machines[1]["disk"] = run.machines[0]["disk"].clone();
    run.fails("steps", &["2 machines have 1 disks"]);
}

#[test]
fn one_machine_is_too_few() {
    let mut run = Run::good();
    run.machines.pop();
    let text = run.verdict().to_string();
    assert!(text.contains("FAILED  steps: there are 1 machines"), "{text}");
}

#[test]
fn a_server_that_was_there_before_its_machine() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("name", B.server), ("phase", "Discovered")],
        |entry| {
            entry["t"] = at(2.0).into();
        },
    );
    run.fails("steps", &[B.server, B.bmc, "before it was plugged in"]);
}

#[test]
fn a_server_that_registered_late() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("name", B.server), ("phase", "Discovered")],
        |entry| {
            entry["t"] = at(24.0).into();
        },
    );
    drop(
        &mut run.objects,
        &[("name", B.server), ("phase", "Wiping"), ("t", &at(22.0))],
    );
    run.fails("steps", &[B.server, "10:00:24.000Z, after `registered`"]);
}

#[test]
fn a_server_that_was_not_offered() {
    let mut run = Run::good();
    drop(
        &mut run.objects,
        &[("name", B.server), ("phase", "Available"), ("t", &at(34.0))],
    );
    run.fails("steps", &[B.server, "was not Available"]);
}

#[test]
fn a_server_that_nobody_saw() {
    let mut run = Run::good();
    run.objects
        .retain(|entry| entry["kind"] != "Server" || entry["name"] != B.server);
    let text = run.verdict().to_string();
    assert!(
        text.contains(&format!("Server {} of {} was never seen", B.server, B.bmc)),
        "{text}"
    );
}

#[test]
fn without_facts_no_check_is_ok() {
    let verdict = Run::default().verdict();
    for finding in verdict.findings() {
        assert!(!finding.is_ok(), "{finding}");
        let says = finding
            .failures()
            .iter()
            .any(|text| text == "there was nothing to look at");
        assert!(says, "{finding}");
    }
    assert!(
        verdict
            .to_string()
            .ends_with("6 of 6 checks FAILED: steps, wipe, power, node, release, end")
    );
}

#[test]
fn steps_without_anything_else_are_not_enough() {
    let run = Run {
        steps: Run::good().steps,
        ..Run::default()
    };
    for finding in run.verdict().findings() {
        assert!(!finding.is_ok(), "{finding}");
    }
}
