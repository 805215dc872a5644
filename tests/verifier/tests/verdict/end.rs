use serde_json::json;

use crate::run::{A, Run, at};
use crate::spoil::{drop, spoil};

#[test]
fn something_is_left() {
    for kind in ["Cluster", "MetalMachine", "Machine", "ServerBinding"] {
        let mut run = Run::good();
        run.object(100.0, kind, "left", "x-left", json!({}));
        run.fails(
            "end",
            &[&format!("{kind} left (x-left) is there still after `deleted`")],
        );
    }
}

#[test]
fn the_cluster_is_gone_late() {
    let mut run = Run::good();
    spoil(
        &mut run.objects,
        &[("kind", "Cluster"), ("event", "gone")],
        |entry| entry["t"] = at(229.0).into(),
    );
    run.fails(
        "end",
        &["Cluster first was gone at 2026-03-01T10:03:49.000Z only"],
    );
}

#[test]
fn no_cluster_was_there() {
    let mut run = Run::good();
    drop(&mut run.objects, &[("kind", "Cluster")]);
    run.fails("end", &["no Cluster was ever seen"]);
}

#[test]
fn a_server_that_is_not_in_the_pool_off() {
    for (phase, power) in [("Accepted", "off"), ("Available", "on")] {
        let mut run = Run::good();
        let end = json!({"phase": phase, "power": power});
        run.object(224.0, "Server", A.server, "s-rack1-u01", end);
        run.fails(
            "end",
            &[A.server, A.bmc, &format!("is {phase} with power {power}")],
        );
    }
}

#[test]
fn a_server_that_is_gone() {
    let mut run = Run::good();
    run.gone(224.0, "Server", A.server, "s-rack1-u01", json!({}));
    run.fails("end", &[A.server, "is not there after `deleted`"]);
}
