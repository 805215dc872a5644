//! Every fault, set through the control API, is met by real ipmitool and curl, and counted.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Bench, Ran, curl};
use serde_json::json;

const SYSTEM: &str = "/redfish/v1/Systems/system0";

impl Bench {
    /// ipmitool that asks once and waits one second at most.
    async fn once(&self, args: &str) -> Ran {
        self.ipmitool_as(17, "admin", "admin-secret", &format!("-R 1 -N 1 {args}"))
            .await
    }

    async fn system(&self, args: &[&str]) -> Result<Answer, Ran> {
        let url = format!("{}{SYSTEM}", self.member("bios").redfish_url().unwrap());
        curl(&[args, &["-k", "-u", "admin:admin-secret", &url]].concat()).await
    }

    async fn redfish_reset(&self, kind: &str) -> Answer {
        let body = format!("{{\"ResetType\": \"{kind}\"}}");
        let args = ["-H", "Content-Type: application/json", "-d", &body];
        self.as_admin(&format!("{SYSTEM}/Actions/ComputerSystem.Reset"), &args)
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_loss_keeps_requests_from_the_bmc() {
    let bench = Bench::new().await;
    bench.fault("request-loss", r#"{"verbs": ["on"]}"#).await;
    bench.once("power on").await;
    bench.fault("request-loss", r#"{"protocol": "redfish"}"#).await;
    bench.system(&[]).await.unwrap_err();
    assert!(bench.bites("request-loss").await >= 2);
    assert_eq!(bench.counters().await["commands"]["on"], 0);
    assert_eq!(bench.power_log().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_loss_carries_out_and_says_nothing() {
    let bench = Bench::new().await;
    bench.fault("reply-loss", r#"{"verbs": ["on"]}"#).await;
    let url = format!(
        "{}{SYSTEM}/Actions/ComputerSystem.Reset",
        bench.member("bios").redfish_url().unwrap()
    );
    let args = [
        "-k",
        "-u",
        "admin:admin-secret",
        "-H",
        "Content-Type: application/json",
        "-d",
    ];
    curl(&[&args, &[r#"{"ResetType": "On"}"#, &url][..]].concat())
        .await
        .unwrap_err();
    bench.machine_shows("power", json!("on")).await;
    assert_eq!(bench.bites("reply-loss").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_survived_by_retransmission() {
    let bench = Bench::new().await;
    bench
        .fault("reply-loss", r#"{"percent": 100, "next": 1, "protocol": "ipmi"}"#)
        .await;
    bench.ipmitool("mc info").await;
    assert_eq!(bench.bites("reply-loss").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_answers_late() {
    let bench = Bench::new().await;
    bench
        .fault("delay", r#"{"seconds": 0.3, "verbs": ["get-power"]}"#)
        .await;
    let started = Instant::now();
    bench.system(&[]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    let started = Instant::now();
    bench.ipmitool("power status").await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(bench.bites("delay").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_bmc_takes_requests_and_answers_none() {
    let bench = Bench::new().await;
    bench.fault("hang", "{}").await;
    assert!(!bench.once("power status").await.ok);
    let hung = bench.system(&["--max-time", "0.3"]).await.unwrap_err();
    assert!(hung.err.contains("timed out"), "{hung:?}");
    assert!(bench.bites("hang").await >= 2);
    bench.clear_faults().await;
    bench.system(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refuse_login_refuses_the_right_password() {
    let bench = Bench::new().await;
    bench.fault("refuse-login", "{}").await;
    assert!(
        !bench
            .ipmitool_as(17, "admin", "admin-secret", "power status")
            .await
            .ok
    );
    assert_eq!(bench.system(&[]).await.unwrap().status, 401);
    assert_eq!(bench.bites("refuse-login").await, 2);
    assert_eq!(bench.counters().await["logins-refused"], 2);
    bench.clear_faults().await;
    bench.ipmitool("power status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_power_lies_for_some_seconds_after_an_edge() {
    let bench = Bench::new().await;
    bench.fault("stale-power", r#"{"seconds": 30}"#).await;
    bench.ipmitool("power on").await;
    bench.machine_shows("power", json!("on")).await;
    assert!(bench.ipmitool("power status").await.contains("is off"));
    assert_eq!(bench.system(&[]).await.unwrap().json()["PowerState"], "Off");
    bench.advance(30).await;
    assert!(bench.ipmitool("power status").await.contains("is on"));
    assert_eq!(bench.bites("stale-power").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn inverted_power_says_the_opposite() {
    let bench = Bench::new().await;
    bench.fault("inverted-power", r#"{"seconds": 30}"#).await;
    assert!(bench.ipmitool("power status").await.contains("is on"));
    assert_eq!(bench.system(&[]).await.unwrap().json()["PowerState"], "On");
    bench.advance(30).await;
    assert!(bench.ipmitool("power status").await.contains("is off"));
    assert_eq!(bench.bites("inverted-power").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_command_accepts_and_does_nothing() {
    let bench = Bench::new().await;
    bench
        .fault("ignore-command", r#"{"verbs": ["on", "set-boot"], "next": 3}"#)
        .await;
    bench.ipmitool("chassis bootdev pxe").await;
    assert_eq!(bench.machine().await["next-boot"], "disk");
    bench.ipmitool("power on").await;
    assert_eq!(bench.redfish_reset("On").await.status, 204);
    bench.advance(60).await;
    assert_eq!(bench.machine().await["power"], "off");
    assert_eq!(bench.power_edges().await, [""; 0]);
    assert_eq!(bench.bites("ignore-command").await, 3);
    bench.ipmitool("power on").await;
    bench.machine_shows("power", json!("on")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ignore_override_boots_the_boot_order_once() {
    let bench = Bench::new().await;
    bench.fault("ignore-override", r#"{"next": 1}"#).await;
    bench.ipmitool("chassis bootdev pxe").await;
    assert!(
        bench
            .ipmitool("chassis bootparam get 5")
            .await
            .contains("Force PXE")
    );
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("disk")).await;
    assert_eq!(bench.bites("ignore-override").await, 1);
    bench.ipmitool("chassis bootdev pxe").await;
    bench.ipmitool("power cycle").await;
    bench.machine_shows("booted", json!("network")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_override_cannot_be_read_and_works() {
    let bench = Bench::new().await;
    bench.fault("unreadable-override", "{}").await;
    bench.ipmitool("chassis bootdev pxe").await;
    assert!(
        !bench
            .once("chassis bootparam get 5")
            .await
            .out
            .contains("Force PXE")
    );
    let boot = bench.system(&[]).await.unwrap().json()["Boot"].clone();
    assert_eq!(boot["BootSourceOverrideTarget"], json!(null));
    assert_eq!(bench.bites("unreadable-override").await, 2);
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("network")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lose_override_forgets_what_was_set_while_off() {
    let bench = Bench::new().await;
    bench.fault("lose-override", "{}").await;
    bench.ipmitool("chassis bootdev pxe").await;
    assert!(
        bench
            .ipmitool("chassis bootparam get 5")
            .await
            .contains("Force PXE")
    );
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("disk")).await;
    bench.ipmitool("chassis bootdev pxe").await;
    bench.ipmitool("power reset").await;
    bench.machine_shows("booted", json!("network")).await;
    assert_eq!(bench.bites("lose-override").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuse_on_refuses_for_some_seconds_after_off() {
    let bench = Bench::new().await;
    bench.fault("refuse-on", r#"{"seconds": 60}"#).await;
    bench.ipmitool("power on").await;
    bench.machine_shows("booted", json!("disk")).await;
    bench.ipmitool("power off").await;
    bench.machine_shows("power", json!("off")).await;
    assert!(!bench.once("power on").await.ok);
    assert_eq!(bench.redfish_reset("On").await.status, 409);
    assert_eq!(bench.bites("refuse-on").await, 2);
    bench.advance(60).await;
    bench.ipmitool("power on").await;
    bench.machine_shows("power", json!("on")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_post_takes_its_time_and_resets_on_the_way() {
    let bench = Bench::new().await;
    bench.fault("slow-post", r#"{"seconds": 100}"#).await;
    bench.ipmitool("chassis bootdev pxe").await;
    bench.ipmitool("power on").await;
    bench.machine_shows("in-post", json!(true)).await;
    bench.advance(95).await;
    assert_eq!(bench.machine().await["booted"], json!(null));
    bench.advance(5).await;
    bench.machine_shows("booted", json!("disk")).await;
    assert_eq!(
        bench.power_edges().await,
        ["effect on off->on", "effect reset on->on"]
    );
    assert_eq!(bench.bites("slow-post").await, 1);

    bench
        .fault(
            "slow-post",
            r#"{"seconds": 100, "resets": 2, "spends-override": false}"#,
        )
        .await;
    bench.ipmitool("chassis bootdev pxe").await;
    bench.ipmitool("power reset").await;
    bench.advance(100).await;
    bench.machine_shows("booted", json!("network")).await;
    assert_eq!(bench.power_edges().await.len(), 5);
}
