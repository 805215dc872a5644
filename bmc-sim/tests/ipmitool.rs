//! Real ipmitool drives a simulated BMC.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::Bench;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn both_cipher_suites_are_spoken_and_suite_0_is_not() {
    let bench = Bench::new().await;
    for suite in [3, 17] {
        let ran = bench.ipmitool_as(suite, "admin", "admin-secret", "mc info").await;
        assert!(
            ran.ok && ran.out.contains("IPMI Version              : 2.0"),
            "{ran:?}"
        );
        let ran = bench
            .ipmitool_as(suite, "operator", "operator-secret", "power status")
            .await;
        assert!(ran.ok && ran.out.contains("Chassis Power is off"), "{ran:?}");
    }
    let ran = bench
        .ipmitool_as(0, "admin", "admin-secret", "power status")
        .await;
    assert!(!ran.ok, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guid_is_the_machines_uuid() {
    let bench = Bench::new().await;
    let out = bench.ipmitool("mc guid").await;
    assert!(out.contains("4c4c4544-0039-3010-8048-b7c04f384432"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bootdev_pxe_is_for_the_next_boot_only() {
    let bench = Bench::new().await;
    bench.ipmitool("chassis bootdev pxe").await;
    let out = bench.ipmitool("chassis bootparam get 5").await;
    assert!(
        out.contains("Boot Flag Valid") && out.contains("Force PXE"),
        "{out}"
    );
    assert_eq!(bench.machine().await["next-boot"], "network");
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("network")).await;
    assert_eq!(bench.machine().await["next-boot"], "disk");
    let out = bench.ipmitool("chassis bootparam get 5").await;
    assert!(out.contains("Boot Flag Invalid"), "{out}");
    bench.ipmitool("power cycle").await;
    bench.machine_shows("booted", json!("disk")).await;
    assert_eq!(
        bench.power_edges().await,
        [
            "effect on off->on",
            "effect cycle on->off",
            "effect cycle off->on"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn boot_flags_lapse_after_61_idle_seconds() {
    let bench = Bench::new().await;
    bench.ipmitool("chassis bootdev pxe").await;
    bench.advance(59).await;
    assert_eq!(bench.machine().await["next-boot"], "network");
    bench.advance(2).await;
    assert_eq!(bench.machine().await["next-boot"], "disk");
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("disk")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn boot_flags_stay_when_their_clearing_is_switched_off() {
    let bench = Bench::new().await;
    // parameter 3, bit 3: not after the time-out
    bench.ipmitool("raw 0x00 0x08 0x03 0x08").await;
    bench.ipmitool("chassis bootdev pxe").await;
    bench.advance(61).await;
    assert_eq!(bench.machine().await["next-boot"], "network");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_override_stays_and_the_wrong_firmware_mode_is_passed_over() {
    let bench = Bench::new().await;
    bench.ipmitool("chassis bootdev pxe options=persistent").await;
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("network")).await;
    bench.ipmitool("power reset").await;
    bench.machine_shows("booted", json!("network")).await;
    assert_eq!(bench.machine().await["next-boot"], "network");
    bench.ipmitool("chassis bootdev pxe options=efiboot").await;
    assert_eq!(bench.machine().await["next-boot"], "disk");
    bench.ipmitool("chassis bootdev none").await;
    assert_eq!(bench.machine().await["boot-override"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_counted_at_the_bmc() {
    let bench = Bench::new().await;
    for (user, password) in [("admin", "wrong"), ("nobody", "admin-secret")] {
        let ran = bench.ipmitool_as(17, user, password, "power status").await;
        assert!(!ran.ok, "{ran:?}");
    }
    bench.ipmitool("power status").await;
    let counters = bench.counters().await;
    assert_eq!(
        (&counters["logins-refused"], &counters["logins-accepted"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_a_power_command_is_two_commands_and_one_edge() {
    let bench = Bench::new().await;
    bench.fault("reply-loss", r#"{"verbs": ["on"], "next": 1}"#).await;
    bench.ipmitool("power on").await;
    bench.machine_shows("power", json!("on")).await;
    let counters = bench.counters().await;
    assert_eq!(
        (&counters["commands"]["on"], &counters["replies-lost"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(bench.power_edges().await, ["effect on off->on"]);
    let received = bench
        .power_log()
        .await
        .into_iter()
        .filter(|line| line.starts_with("received on"));
    assert_eq!(received.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn off_and_cycle_of_a_machine_that_is_off_are_errors() {
    let bench = Bench::new().await;
    for verb in ["off", "cycle", "reset", "soft"] {
        let ran = bench
            .ipmitool_as(17, "admin", "admin-secret", &format!("power {verb}"))
            .await;
        assert!(
            !ran.ok && ran.err.contains("not supported in present state"),
            "{verb}: {ran:?}"
        );
    }
    bench.ipmitool("power on").await;
    bench.ipmitool("power on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_restart_cause_and_the_power_policy_are_told() {
    let bench = Bench::new().await;
    bench.ipmitool("power on").await;
    let out = bench.ipmitool("chassis restart_cause").await;
    assert!(out.contains("chassis power control command"), "{out}");
    bench.ipmitool("chassis policy always-on").await;
    let out = bench.ipmitool("chassis status").await;
    assert!(out.contains("always-on"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_named_given_passwords_and_roles_and_can_log_in_by_both_protocols() {
    let bench = Bench::new().await;
    for command in [
        "user set name 5 third",
        "user set password 5 third-secret",
        "user priv 5 3 1",
        "user enable 5",
        "user test 5 16 third-secret",
    ] {
        bench.ipmitool(command).await;
    }
    let out = bench.ipmitool("user list 1").await;
    assert!(
        out.lines()
            .any(|line| line.starts_with('5') && line.contains("third")),
        "{out}"
    );
    let ran = bench
        .ipmitool_as(17, "third", "third-secret", "power status")
        .await;
    assert!(ran.ok, "{ran:?}");
    let answer = bench
        .redfish("/redfish/v1/Systems", &["-u", "third:third-secret"])
        .await;
    assert_eq!(answer.status, 200);
    bench.ipmitool("user disable 5").await;
    let ran = bench
        .ipmitool_as(17, "third", "third-secret", "power status")
        .await;
    assert!(!ran.ok, "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_switch_but_not_manage_users() {
    let bench = Bench::new().await;
    let ran = bench
        .ipmitool_as(17, "operator", "operator-secret", "power on")
        .await;
    assert!(ran.ok, "{ran:?}");
    let ran = bench
        .ipmitool_as(17, "operator", "operator-secret", "user set name 5 third")
        .await;
    assert!(
        !ran.ok && ran.err.contains("Insufficient privilege level"),
        "{ran:?}"
    );
    let entries = bench.control("GET", "/power-log", "").await.json();
    assert_eq!(entries["entries"][0]["actor"], "operator");
    assert!(
        entries["entries"][0]["source"]
            .as_str()
            .unwrap()
            .starts_with("ipmi://127.0.0.1:")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_restarts_is_gone_for_its_time() {
    let bench = Bench::new().await;
    bench.ipmitool("mc reset cold").await;
    let ran = bench
        .ipmitool_as(17, "admin", "admin-secret", "-R 1 -N 1 power status")
        .await;
    assert!(!ran.ok, "{ran:?}");
    bench.advance(61).await;
    bench.ipmitool("power status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutating_command_without_privilege_is_logged_as_refused() {
    let bench = Bench::new().await;
    // Cold Reset as bytes: "mc reset cold" does not look at the answer
    for command in ["raw 6 2", "user set name 5 third"] {
        let ran = bench
            .ipmitool_as(17, "operator", "operator-secret", command)
            .await;
        assert!(!ran.ok, "{ran:?}");
    }
    let page = bench.control("GET", "/power-log", "").await.json();
    let lines = page["entries"].as_array().unwrap();
    assert_eq!(lines.len(), 2, "{page}");
    for (line, verb) in lines.iter().zip(["bmc-reset", "set-user"]) {
        assert_eq!(
            (&line["verb"], &line["cause"]),
            (&json!(verb), &json!("refused: insufficient privilege"))
        );
    }
}
