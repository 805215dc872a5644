use serde_json::{Value, json};

use crate::run::{A, B, Run, at};
use crate::spoil::{drop, spoil};

/// Spoils one block of a reading.
#[track_caller]
fn block(run: &mut Run, server: &str, after: &str, place: &str, how: impl Fn(&mut Value)) {
    spoil(
        &mut run.disks,
        &[("server", server), ("after", after)],
        |reading| {
            spoil(
                reading["blocks"].as_array_mut().unwrap(),
                &[("place", place)],
                &how,
            );
        },
    );
}

fn content(number: u32) -> Value {
    format!("{number:064x}").into()
}

#[test]
fn a_disk_that_was_not_wiped() {
    for after in ["available", "deleted"] {
        let mut run = Run::good();
        block(&mut run, A.server, after, "tail", |block| {
            block["sha256"] = content(9);
        });
        let words = [
            "DISK-0001 of rack1-u01 is not wiped",
            after,
            "1 of 4 edge blocks",
            "tail (512 bytes at",
        ];
        run.fails("wipe", &words);
    }
}

#[test]
fn the_disk_that_was_given_back_was_not_wiped() {
    let mut run = Run::good();
    block(&mut run, B.server, "returned", "head", |block| {
        block["sha256"] = content(9);
    });
    run.fails(
        "wipe",
        &["DISK-0002 of rack1-u02 is not wiped after `returned`", "head"],
    );
}

#[test]
fn all_disks_that_were_not_wiped_are_named() {
    let mut run = Run::good();
    for host in [A, B] {
        block(&mut run, host.server, "deleted", "head", |block| {
            block["sha256"] = content(9);
        });
    }
    run.fails("wipe", &["DISK-0001", "DISK-0002"]);
}

#[test]
fn what_lies_between_the_edges_may_stay_and_hex_may_be_upper_case() {
    let mut run = Run::good();
    block(&mut run, A.server, "deleted", "middle", |block| {
        block["sha256"] = content(9);
    });
    block(&mut run, A.server, "deleted", "head", |block| {
        block["sha256"] = block["sha256"].as_str().unwrap().to_uppercase().into();
    });
    assert!(run.verdict().is_good());
}

#[test]
fn too_few_edges() {
    let mut run = Run::good();
    for reading in &mut run.disks {
        spoil(
            reading["blocks"].as_array_mut().unwrap(),
            &[("place", "tail")],
            |block| {
                block["edge"] = false.into();
            },
        );
    }
    run.fails(
        "wipe",
        &["DISK-0001", "DISK-0002", "has 3 edge blocks", "edge is missing"],
    );
}

#[test]
fn one_edge_four_times_is_one() {
    let mut run = Run::good();
    for reading in &mut run.disks {
        let blocks = reading["blocks"].as_array_mut().unwrap();
        spoil(blocks, &[("place", "tail")], |block| {
            block["offset"] = 0.into();
        });
    }
    run.fails("wipe", &["has 3 edge blocks", "other places"]);
}

#[test]
fn a_disk_that_was_empty_before_proves_nothing() {
    let mut run = Run::good();
    let zeros = run.disks[2]["blocks"][0]["sha256"].clone();
    block(&mut run, A.server, "plugged-in", "head", |block| {
        block["sha256"] = zeros.clone();
    });
    run.fails("wipe", &["DISK-0001", "zeros before anybody wiped it", "head"]);
}

#[test]
fn nothing_was_installed() {
    for (after, before) in [("running", "available"), ("running-again", "available")] {
        let mut run = Run::good();
        let of = |after: &str| {
            let mut readings = run.disks.iter();
            readings.position(|reading| reading["server"] == B.server && reading["after"] == after)
        };
        let (now, then) = (of(after).unwrap(), of(before).unwrap());
        run.disks[now]["blocks"] = run.disks[then]["blocks"].clone();
        run.fails(
            "wipe",
            &["nothing was installed on disk DISK-0002 of rack1-u02", after],
        );
    }
}

#[test]
fn another_place_is_read() {
    let mut run = Run::good();
    block(&mut run, A.server, "deleted", "tail", |block| {
        block["offset"] = 4096.into();
    });
    run.fails(
        "wipe",
        &["DISK-0001 of rack1-u01", "after `deleted` other places"],
    );
}

#[test]
fn a_place_that_is_not_on_the_disk() {
    for (field, value) in [
        ("offset", json!(1_u64 << 30)),
        ("length", json!(0)),
        ("length", json!(u64::MAX)),
    ] {
        let mut run = Run::good();
        for reading in &mut run.disks {
            spoil(
                reading["blocks"].as_array_mut().unwrap(),
                &[("place", "middle")],
                |block| {
                    block[field] = value.clone();
                },
            );
        }
        run.fails("wipe", &["DISK-0001", "middle", "can be judged"]);
    }
}

#[test]
fn a_reading_that_is_missing_or_there_twice() {
    let mut run = Run::good();
    drop(&mut run.disks, &[("server", A.server), ("after", "deleted")]);
    run.disks.push(run.disks[0].clone());
    run.fails(
        "wipe",
        &[
            "DISK-0001 of rack1-u01 was read 0 times after `deleted`",
            "2 times after `plugged-in`",
        ],
    );
}

#[test]
fn a_reading_of_another_moment() {
    let mut run = Run::good();
    spoil(
        &mut run.disks,
        &[("server", A.server), ("after", "available")],
        |reading| {
            reading["t"] = at(82.0).into();
        },
    );
    run.fails(
        "wipe",
        &[
            "DISK-0001",
            "10:01:22.000Z",
            "not between `available` and the step that follows",
        ],
    );
}

#[test]
fn nothing_was_given_back_in_between() {
    let mut run = Run::good();
    let end = [("uid", "b-worker-1"), ("event", "gone")];
    spoil(&mut run.objects, &end, |entry| entry["t"] = at(132.0).into());
    let text = run.verdict().to_string();
    assert!(
        text.contains("FAILED  wipe: no machine was given back between `running` and `returned`"),
        "{text}"
    );
}
