use jiff::{SignedDuration, Timestamp};
use verifier::{Facts, verify};

use crate::run::{A, B, Run, at};
use crate::spoil::{drop, spoil};

const HUMAN: (&str, &str) = ("operator", "control://10.213.0.2:999");

#[test]
fn a_human_switches_a_machine_on_after_available() {
    let mut run = Run::good();
    for (event, t) in [("received", 43.0), ("effect", 43.5)] {
        let by_manager = [("bmc", A.bmc), ("verb", "on"), ("event", event), ("t", &at(t))];
        drop(&mut run.power, &by_manager);
    }
    run.command(43.0, A, HUMAN, "on", ("off", "on"));
    run.fails(
        "power",
        &[
            "rack1-u01",
            "10:00:43.500Z by operator",
            "only the manager",
            "operator sent on",
        ],
    );
}

#[test]
fn a_human_resets_a_machine() {
    let mut run = Run::good();
    run.command(60.0, A, HUMAN, "reset", ("on", "on"));
    run.fails(
        "power",
        &["operator sent reset to rack1-u01 at 2026-03-01T10:01:00.000Z"],
    );
}

#[test]
fn a_machine_that_switches_itself_off() {
    let mut run = Run::good();
    spoil(
        &mut run.power,
        &[
            ("bmc", A.bmc),
            ("verb", "off"),
            ("event", "effect"),
            ("t", &at(30.5)),
        ],
        |line| {
            line["actor"] = "machine".into();
            line["source"] = "machine".into();
            line["cause"] = "host shut itself down".into();
        },
    );
    run.fails("power", &["rack1-u01 went from on to off", "by machine"]);
}

#[test]
fn somebody_takes_the_managers_name() {
    let mut run = Run::good();
    spoil(
        &mut run.power,
        &[("bmc", B.bmc), ("verb", "off"), ("actor", "admin")],
        |line| {
            line["source"] = "control://10.213.0.2:999".into();
        },
    );
    run.fails("power", &["rack1-u02", "comes over IPMI or Redfish"]);
}

#[test]
fn an_edge_without_a_command() {
    let mut run = Run::good();
    drop(
        &mut run.power,
        &[
            ("bmc", A.bmc),
            ("verb", "off"),
            ("event", "received"),
            ("t", &at(30.0)),
        ],
    );
    run.fails(
        "power",
        &[
            "rack1-u01 went from on to off at 2026-03-01T10:00:30.500Z by admin",
            "no such command",
        ],
    );
}

#[test]
fn a_command_that_was_refused_or_is_another_or_of_long_ago_causes_nothing() {
    let received = [("bmc", A.bmc), ("verb", "off"), ("event", "received")];
    for (field, value) in [
        ("cause", "refused: the machine is off".to_owned()),
        ("verb", "set-boot".to_owned()),
        ("actor", "somebody".to_owned()),
    ] {
        let mut run = Run::good();
        let t = at(191.5);
        spoil(&mut run.power, &[&received[..], &[("t", &t)]].concat(), |line| {
            line[field] = value.clone().into();
        });
        run.fails(
            "power",
            &["rack1-u01", "10:03:12.000Z by admin", "no such command"],
        );
    }
    // a command that came before the edge before was for that one
    let mut run = Run::good();
    let by = ("admin", "ipmi://10.213.0.2:4711");
    drop(&mut run.power, &[&received[..], &[("t", &at(191.5))]].concat());
    run.line(35.0, A, by, "off", ("off", None), "accepted");
    run.fails("power", &["no such command"]);
}

#[test]
fn a_command_of_more_than_five_minutes_ago() {
    let mut run = Run::good();
    let command = [
        ("bmc", A.bmc),
        ("verb", "off"),
        ("event", "received"),
        ("t", &at(191.5)),
    ];
    spoil(&mut run.power, &command, |line| line["t"] = at(60.0).into());
    assert!(run.verdict().is_good(), "{}", run.verdict());
    // nothing happens for three minutes
    for list in [&mut run.steps, &mut run.disks, &mut run.power, &mut run.objects] {
        for entry in list
            .iter_mut()
            .filter(|entry| entry["t"].as_str() > Some(&at(85.0)))
        {
            let t: Timestamp = entry["t"].as_str().unwrap().parse().unwrap();
            entry["t"] = format!("{:.3}", t + SignedDuration::from_mins(3)).into();
        }
    }
    run.fails(
        "power",
        &["rack1-u01 went from on to off", "no such command", "within 5 min"],
    );
}

#[test]
fn one_cycle_is_two_edges() {
    let mut run = Run::good();
    let by = ("admin", "ipmi://10.213.0.2:4711");
    run.command(60.0, A, by, "cycle", ("on", "off"));
    run.line(62.0, A, by, "cycle", ("off", Some("on")), "command");
    let text = run.verdict().to_string();
    assert!(run.verdict().is_good(), "{text}");
    run.line(64.0, A, by, "cycle", ("on", Some("off")), "command");
    run.line(65.0, A, by, "cycle", ("off", Some("on")), "command");
    run.fails("power", &["10:01:04.000Z", "no such command"]);
}

#[test]
fn a_machine_that_was_switched_on_twice_before_it_registered() {
    let mut run = Run::good();
    run.command(8.0, A, HUMAN, "off", ("on", "off"));
    run.command(10.0, A, HUMAN, "on", ("off", "on"));
    run.fails("power", &["rack1-u01 is to be switched on once", "3 power edges"]);
}

#[test]
fn a_machine_that_the_manager_switched_on_before_it_registered() {
    let mut run = Run::good();
    spoil(&mut run.power, &[("bmc", A.bmc), ("actor", "operator")], |line| {
        line["actor"] = "admin".into();
    });
    run.fails("power", &["until `registered` rack1-u01", "by admin"]);
}

#[test]
fn an_edge_that_is_missing() {
    let mut run = Run::good();
    let by = ("admin", "ipmi://10.213.0.2:4711");
    run.command(60.0, A, by, "on", ("off", "on"));
    run.fails("power", &["rack1-u01 went from off to on", "an edge is missing"]);
}

#[test]
fn a_log_that_goes_back_in_time() {
    let mut facts = Run::good().facts();
    let lines = facts["power"].as_array_mut().unwrap();
    let line = lines.remove(0);
    lines.push(line);
    let text = verify(&Facts::parse(&facts.to_string()).unwrap()).to_string();
    assert!(
        text.contains("the power log of rack1-u01 goes back in time from 2026-03-01T10:03:"),
        "{text}"
    );
}

#[test]
fn a_machine_without_a_log() {
    let mut run = Run::good();
    run.power.retain(|line| line["bmc"] != A.bmc);
    let text = run.verdict().to_string();
    assert!(
        text.contains("FAILED  power") && text.contains("rack1-u01 has no power edge"),
        "{text}"
    );
    assert!(
        text.contains("nobody knows whether rack1-u01 was off: it has no power edge"),
        "{text}"
    );
}

#[test]
fn a_machine_that_is_on_when_it_is_offered() {
    let mut run = Run::good();
    // off only after the step
    for (t, later) in [(30.0, 37.0), (30.5, 37.5)] {
        spoil(
            &mut run.power,
            &[("bmc", A.bmc), ("verb", "off"), ("t", &at(t))],
            |line| line["t"] = at(later).into(),
        );
    }
    run.fails(
        "power",
        &["rack1-u01 was on at `available`, since 2026-03-01T10:00:06.500Z"],
    );
}

#[test]
fn a_machine_that_is_on_when_it_was_returned_or_the_cluster_deleted() {
    for (step, t) in [("returned", 118.0), ("deleted", 210.0)] {
        let mut run = Run::good();
        let after = if step == "returned" { 131.0 } else { 226.0 };
        for (event, plus) in [("received", 0.0), ("effect", 0.5)] {
            spoil(
                &mut run.power,
                &[
                    ("bmc", B.bmc),
                    ("verb", "off"),
                    ("event", event),
                    ("t", &at(t + plus)),
                ],
                |line| {
                    line["t"] = at(after + plus).into();
                },
            );
        }
        run.fails("power", &[&format!("rack1-u02 was on at `{step}`")]);
    }
}

#[test]
fn a_machine_that_is_off_when_it_runs() {
    let mut run = Run::good();
    let by = ("admin", "ipmi://10.213.0.2:4711");
    run.command(78.0, A, by, "off", ("on", "off"));
    run.command(82.0, A, by, "on", ("off", "on"));
    run.fails(
        "power",
        &["rack1-u01 was off at `running`, since 2026-03-01T10:01:18.500Z, and should be on"],
    );
}
