//! The control API, by real curl.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::{Bench, curl};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_listed_with_addresses_and_machines() {
    let bench = Bench::new().await;
    let list = bench.control("GET", "/bmcs", "").await.json();
    assert_eq!(
        (&list[0]["name"], &list[1]["name"]),
        (&json!("bios"), &json!("uefi"))
    );
    assert_eq!(list[0]["ipmi"], bench.member("bios").ipmi.unwrap().to_string());
    assert_eq!(list[1]["ipmi"], json!(null));
    assert_eq!(list[1]["machine"]["next-boot"], "disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_unplugged_plugged_in_and_its_button_pressed() {
    let bench = Bench::new().await;
    bench.control("POST", "/bmcs/bios/unplug", "").await;
    let url = format!("{}/redfish/v1/", bench.member("bios").redfish_url().unwrap());
    curl(&["-k", &url]).await.unwrap_err();
    assert!(
        !bench
            .ipmitool_as(17, "admin", "admin-secret", "-R 1 -N 1 power status")
            .await
            .ok
    );
    bench.control("POST", "/bmcs/bios/plug-in", "").await;
    bench.ipmitool("power status").await;
    let button = async |press: &str| {
        let body = format!("{{\"press\": \"{press}\", \"actor\": \"technician\"}}");
        bench.control("POST", "/bmcs/bios/button", &body).await;
    };
    button("short").await;
    bench.machine_shows("booted", json!("disk")).await;
    button("short").await;
    bench.machine_shows("power", json!("off")).await;
    button("short").await;
    bench.machine_shows("power", json!("on")).await;
    button("long").await;
    bench.machine_shows("power", json!("off")).await;
    let entries = bench.control("GET", "/power-log", "").await.json();
    let last = entries["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["actor"], &last["cause"]),
        (&json!("technician"), &json!("power button"))
    );
    assert!(
        last["source"]
            .as_str()
            .unwrap()
            .starts_with("control://127.0.0.1:")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_switched_in_somebodys_name() {
    let bench = Bench::new().await;
    bench
        .control(
            "POST",
            "/bmcs/bios/power",
            r#"{"verb": "on", "actor": "operator"}"#,
        )
        .await;
    bench.machine_shows("booted", json!("disk")).await;
    let entries = bench.control("GET", "/power-log", "").await.json();
    for entry in &entries["entries"].as_array().unwrap()[..2] {
        assert_eq!(
            (&entry["actor"], &entry["verb"]),
            (&json!("operator"), &json!("on"))
        );
    }
    bench
        .control("POST", "/bmcs/bios/power", r#"{"verb": "off"}"#)
        .await;
    bench.machine_shows("power", json!("off")).await;
    let refused = bench
        .control_raw("POST", "/bmcs/bios/power", r#"{"verb": "cycle"}"#)
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (409, &json!("the machine is off"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_log_is_read_in_pages_and_waited_for() {
    let bench = Bench::new().await;
    let start = bench.control("GET", "/power-log", "").await.json();
    assert_eq!(start, json!({"entries": [], "next": 0, "oldest": 0}));
    let (page, _) = tokio::join!(
        bench.control("GET", "/power-log?since=0&wait=20&bmc=bios", ""),
        bench.control("POST", "/bmcs/bios/power", r#"{"verb": "on"}"#)
    );
    assert_eq!(page.json()["entries"][0]["event"], "received");
    let next = page.json()["next"].as_u64().unwrap();
    let page = bench
        .control("GET", &format!("/power-log?since={next}&wait=20"), "")
        .await
        .json();
    assert_eq!(page["entries"][0]["event"], "effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_listed_set_and_cleared() {
    let bench = Bench::new().await;
    bench
        .fault(
            "delay",
            r#"{"seconds": 0.5, "verbs": ["on"], "protocol": "ipmi"}"#,
        )
        .await;
    let set = json!({"seconds": 0.5, "verbs": ["on"], "protocol": "ipmi"});
    let faults = bench.control("GET", "/bmcs/bios/faults", "").await.json();
    assert_eq!(faults["delay"], json!({"set": set, "bites": 0}));
    assert_eq!(
        faults.as_object().unwrap().len(),
        bmc_sim::fault::Fault::ALL.len()
    );
    bench.control("DELETE", "/bmcs/bios/faults/delay", "").await;
    let faults = bench.control("GET", "/bmcs/bios/faults", "").await.json();
    assert_eq!(faults["delay"]["set"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_named() {
    let bench = Bench::new().await;
    for (method, path, body, status, text) in [
        ("GET", "/nothing", "", 404, "no such path: /nothing"),
        ("GET", "/bmcs/three", "", 404, "no BMC is named \"three\""),
        (
            "PUT",
            "/bmcs/bios/faults/explode",
            "{}",
            400,
            "unknown fault \"explode\"",
        ),
        (
            "PUT",
            "/bmcs/bios/faults/hang",
            r#"{"colour": 1}"#,
            400,
            "unknown field `colour`",
        ),
        (
            "PUT",
            "/bmcs/bios/faults/hang",
            r#"{"percent": 5}"#,
            400,
            "fault hang has no field \"percent\"",
        ),
        (
            "PUT",
            "/bmcs/bios/faults/delay",
            "",
            400,
            "delay needs the field \"seconds\"",
        ),
        ("PUT", "/bmcs/bios/faults/hang", "{", 400, "the body will not do"),
        (
            "DELETE",
            "/bmcs/bios/faults/explode",
            "",
            400,
            "unknown fault \"explode\"",
        ),
        (
            "POST",
            "/bmcs/bios/power",
            r#"{"verb": "explode"}"#,
            400,
            "unknown variant `explode`",
        ),
        ("POST", "/bmcs/bios/power", "", 400, "missing field `verb`"),
        (
            "POST",
            "/bmcs/bios/button",
            r#"{"press": "gently"}"#,
            400,
            "unknown variant `gently`",
        ),
        (
            "POST",
            "/clock/advance",
            r#"{"seconds": -1}"#,
            400,
            "\"seconds\" is -1",
        ),
        (
            "POST",
            "/clock/advance",
            r#"{"seconds": 1e20}"#,
            400,
            "want 0 to 31622400",
        ),
        ("GET", "/power-log?since=x", "", 400, "invalid"),
        ("GET", "/power-log?colour=red", "", 400, "unknown field `colour`"),
        (
            "GET",
            "/power-log?bmc=three",
            "",
            404,
            "no BMC is named \"three\"",
        ),
        ("GET", "/bmcs/uefi/certificate", "", 404, "does not speak TLS"),
    ] {
        let answer = bench.control_raw(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(text), "{method} {path} {body}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_told_and_set_forward() {
    let bench = Bench::new().await;
    let before = bench.control("GET", "/clock", "").await.json()["seconds"]
        .as_f64()
        .unwrap();
    bench.advance(61).await;
    let after = bench.control("GET", "/clock", "").await.json()["seconds"]
        .as_f64()
        .unwrap();
    assert!((61.0..120.0).contains(&(after - before)), "{before} {after}");
}
