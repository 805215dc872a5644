use serde_json::json;

use crate::run::{A, B, Run, at};
use crate::spoil::{drop, spoil};

#[test]
fn a_node_that_vanishes_before_its_metal_machine() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("uid", "n-worker-1"), ("event", "gone")],
        |entry| entry["t"] = at(95.0).into(),
    );
    let words = [
        "Node node-0002 (n-worker-1) vanished at 2026-03-01T10:01:35.000Z",
        "MetalMachine worker-1",
        "10:01:45.600Z only",
    ];
    run.fails("node", &words);
}

#[test]
fn a_node_that_seems_to_vanish_a_second_before_its_metal_machine() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("uid", "n-worker-1"), ("event", "gone")],
        |entry| entry["t"] = at(104.6).into(),
    );
    assert!(run.verdict().is_good());
}

#[test]
fn a_second_node_of_a_machine() {
    for name in ["node-0001", "another-name"] {
        let mut run = Run::good();
        run.object(70.0, "Node", name, "n-second", json!({"server": A.server}));
        run.fails(
            "node",
            &[
                "Machine control-plane has a second Node",
                "n-second",
                "n-control-plane",
            ],
        );
    }
}

#[test]
fn the_second_machine_has_the_first_ones_node() {
    let mut run = Run::good();
    drop(&mut run.objects, &[("uid", "n-worker-1"), ("event", "gone")]);
    drop(&mut run.objects, &[("uid", "n-worker-2")]);
    let words = [
        "Node node-0002 (n-worker-1) is that of two Machines, worker-1 and worker-2",
        "before rack1-u02 was taken",
    ];
    run.fails("node", &words);
}

#[test]
fn a_node_that_was_there_before() {
    let mut run = Run::good();
    run.object(
        30.0,
        "Node",
        "node-0001",
        "n-control-plane",
        json!({"server": A.server}),
    );
    run.fails(
        "node",
        &[
            "Node node-0001 (n-control-plane) was there at",
            "before rack1-u01 was taken",
        ],
    );
}

#[test]
fn a_machine_that_names_no_node_or_one_that_is_not_there() {
    let mut run = Run::good();
    let running = [("uid", "m-control-plane"), ("phase", "Running")];
    spoil(&mut run.objects, &running, |entry| entry["node"] = json!(null));
    run.fails("node", &["Machine control-plane is Running and names no Node"]);
    spoil(&mut run.objects, &running, |entry| {
        entry["node"] = json!("elsewhere");
    });
    run.fails(
        "node",
        &["Machine control-plane names Node elsewhere, and no such Node"],
    );
    let mut run = Run::good();
    run.object(
        74.0,
        "Machine",
        "control-plane",
        "m-control-plane",
        json!({"phase": "Running", "server": A.server, "node": "n"}),
    );
    run.fails("node", &["Machine control-plane", "names Node n", "node-0001"]);
}

#[test]
fn a_node_on_another_server() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("uid", "n-control-plane"), ("server", A.server)],
        |entry| {
            entry["server"] = json!(B.server);
        },
    );
    run.fails(
        "node",
        &[&format!(
            "Machine control-plane is Server {}, and its Node node-0001 is on {}",
            A.server, B.server
        )],
    );
}

#[test]
fn a_machine_that_runs_elsewhere() {
    let mut run = Run::good();
    let running = json!({"phase": "Running", "server": "nowhere", "node": "node-0001"});
    run.object(60.0, "Machine", "stranger", "m-stranger", running.clone());
    let text = run.verdict().to_string();
    assert!(
        text.contains("Machine stranger is Running on Server nowhere, which is none of the machines"),
        "{text}"
    );
}

#[test]
fn a_machine_that_does_not_run_at_the_step() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("uid", "m-worker-2"), ("phase", "Running")],
        |entry| entry["t"] = at(179.0).into(),
    );
    run.fails("node", &["at `running-again` rack1-u02 has 0 Running Machines"]);
}

#[test]
fn two_machines_on_one() {
    let mut run = Run::good();
    let other = json!({"phase": "Running", "server": A.server, "node": "node-0001"});
    run.object(75.0, "Machine", "other", "m-other", other.clone());
    run.gone(76.5, "Machine", "other", "m-other", other.clone());
    let text = run.verdict().to_string();
    assert!(
        text.contains("is that of two Machines, control-plane and other"),
        "{text}"
    );
    run.objects.pop();
    run.gone(85.0, "Machine", "other", "m-other", other);
    let text = run.verdict().to_string();
    assert!(
        text.contains("at `running` rack1-u01 has 2 Running Machines, not one: control-plane, other"),
        "{text}"
    );
}

#[test]
fn a_machine_without_metal_machine() {
    let mut run = Run::good();
    spoil(&mut run.objects, &[("uid", "mm-control-plane")], |entry| {
        entry["owner"] = json!(null);
    });
    run.fails("node", &["no MetalMachine of Machine control-plane"]);
}

#[test]
fn a_machine_that_nobody_had_taken() {
    let mut run = Run::good();
    for entry in &mut run.objects {
        if entry["uid"] == "b-control-plane" && entry["event"] == "seen" {
            entry["t"] = json!(at(170.0));
        }
    }
    let text = run.verdict().to_string();
    assert!(
        text.contains("Machine control-plane is Running on rack1-u01, of which no ServerBinding was seen"),
        "{text}"
    );
}

#[test]
fn a_machine_that_was_given_back_and_is_the_same_again() {
    let mut run = Run::good();
    drop(&mut run.objects, &[("uid", "m-worker-1"), ("event", "gone")]);
    spoil(&mut run.objects, &[("uid", "m-worker-2")], |entry| {
        entry["uid"] = json!("m-worker-1");
    });
    let text = run.verdict().to_string();
    assert!(
        text.contains("rack1-u02 was given back, and at `running-again` it is the same Machine m-worker-1"),
        "{text}"
    );
}
