//! Real curl drives a simulated Redfish service.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use common::{Answer, Bench};
use serde_json::json;

const SYSTEM: &str = "/redfish/v1/Systems/system0";
const RESET: &str = "/redfish/v1/Systems/system0/Actions/ComputerSystem.Reset";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";

async fn send(bench: &Bench, method: &str, path: &str, body: &str, extra: &[&str]) -> Answer {
    let args = ["-X", method, "-H", "Content-Type: application/json", "-d", body];
    bench.redfish(path, &[&args, extra].concat()).await
}

async fn admin_sends(bench: &Bench, method: &str, path: &str, body: &str) -> Answer {
    send(bench, method, path, body, &["-u", "admin:admin-secret"]).await
}

async fn reset(bench: &Bench, kind: &str) -> Answer {
    admin_sends(bench, "POST", RESET, &format!("{{\"ResetType\": \"{kind}\"}}")).await
}

async fn log_in(bench: &Bench, user: &str, password: &str) -> Answer {
    let body = format!("{{\"UserName\": \"{user}\", \"Password\": \"{password}\"}}");
    send(bench, "POST", SESSIONS, &body, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_root_is_public() {
    let bench = Bench::new().await;
    for path in [
        "/redfish",
        "/redfish/v1",
        "/redfish/v1/",
        "/redfish/v1/odata",
        "/redfish/v1/$metadata",
    ] {
        let answer = bench.redfish(path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("OData-Version"), Some("4.0"));
    }
    let root = bench.redfish("/redfish/v1/", &[]).await.json();
    for link in ["Systems", "Managers", "SessionService", "AccountService"] {
        let path = root[link]["@odata.id"].as_str().unwrap().to_owned();
        let answer = bench.redfish(&path, &[]).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("WWW-Authenticate").unwrap().starts_with("Basic"));
        assert_eq!(answer.message_id(), "Base.1.13.NoValidSession");
        assert_eq!(bench.as_admin(&path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(bench.redfish("/redfish/v1/Nothing", &[]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_leads_to_a_resource_of_its_own_id() {
    let bench = Bench::new().await;
    let (mut todo, mut seen) = (vec!["/redfish/v1/".to_owned()], 0);
    let mut known: std::collections::HashSet<String> = todo.iter().cloned().collect();
    while let Some(path) = todo.pop() {
        let answer = bench.as_admin(&path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["@odata.id"], path);
        assert_eq!(answer.json()["@odata.etag"].as_str(), answer.header("ETag"));
        seen += 1;
        let links = answer
            .body
            .split("\"@odata.id\":\"")
            .skip(1)
            .chain(answer.body.split("ActionInfo\":\"").skip(1));
        for link in links.map(|rest| rest.split('"').next().unwrap().to_owned()) {
            if known.insert(link.clone()) {
                todo.push(link);
            }
        }
    }
    assert_eq!(seen, 21, "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_is_described_and_its_certificate_names_its_address() {
    let bench = Bench::new().await;
    let pem = bench.control("GET", "/bmcs/bios/certificate", "").await.body;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let url = format!("{}{SYSTEM}", bench.member("bios").redfish_url().unwrap());
    let trusted = [
        "--cacert",
        file.path().to_str().unwrap(),
        "-u",
        "admin:admin-secret",
        &url,
    ];
    let system = common::curl(&trusted).await.unwrap().json();
    assert_eq!(system["UUID"], "4c4c4544-0039-3010-8048-b7c04f384432");
    assert_eq!(
        (&system["Manufacturer"], &system["SerialNumber"]),
        (&json!("Metal Corp"), &json!("SN-1"))
    );
    assert_eq!(system["PowerState"], "Off");
    let nics = bench
        .as_admin(&format!("{SYSTEM}/EthernetInterfaces/nic2"), &[])
        .await
        .json();
    assert_eq!(nics["MACAddress"], "52:54:00:00:00:02");
    // plain HTTP where the fleet file says so
    let answer = bench
        .redfish_of("uefi", SYSTEM, &["-u", "admin:admin-secret"])
        .await;
    assert_eq!(answer.json()["Boot"]["BootSourceOverrideMode"], "UEFI");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_switches_and_refuses_what_the_state_forbids() {
    let bench = Bench::new().await;
    assert_eq!(reset(&bench, "ForceOff").await.status, 409);
    assert_eq!(reset(&bench, "On").await.status, 204);
    bench.machine_shows("booted", json!("disk")).await;
    let answer = reset(&bench, "On").await;
    assert_eq!(
        (answer.status, answer.message_id()),
        (409, "Base.1.13.ActionParameterValueConflict".into())
    );
    assert_eq!(reset(&bench, "ForceRestart").await.status, 204);
    bench.machine_shows("booted", json!("disk")).await;
    assert_eq!(reset(&bench, "GracefulShutdown").await.status, 204);
    bench.machine_shows("power", json!("off")).await;
    assert_eq!(
        bench.power_edges().await,
        [
            "effect on off->on",
            "effect reset on->on",
            "effect soft-off on->off"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_last_reset_moves_with_each_reset_only() {
    let bench = Bench::new().await;
    let last_reset = async || {
        let system = bench.as_admin("/redfish/v1/Systems/system0", &[]).await.json();
        system
            .get("LastResetTime")
            .map(|time| time.as_str().unwrap().to_owned())
    };
    assert_eq!(last_reset().await, None);
    assert_eq!(reset(&bench, "On").await.status, 204);
    bench.machine_shows("booted", json!("disk")).await;
    let on = last_reset().await.unwrap();
    bench.advance(5).await;
    assert_eq!(last_reset().await.unwrap(), on);
    assert_eq!(reset(&bench, "ForceRestart").await.status, 204);
    let restarted = last_reset().await.unwrap();
    // RFC 3339 in UTC: text order is time order
    assert!(restarted > on && restarted.ends_with('Z'), "{on} {restarted}");
    assert_eq!(reset(&bench, "ForceOff").await.status, 204);
    bench.machine_shows("power", json!("off")).await;
    assert_eq!(last_reset().await.unwrap(), restarted);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_actions_are_refused_by_name() {
    let bench = Bench::new().await;
    for (body, status, id) in [
        (
            r#"{"ResetType": "Explode"}"#,
            400,
            "ActionParameterValueNotInList",
        ),
        (r#"{"ResetType": 1}"#, 400, "PropertyValueTypeError"),
        ("{}", 400, "ActionParameterMissing"),
        (
            r#"{"ResetType": "On", "Colour": 1}"#,
            400,
            "ActionParameterUnknown",
        ),
        ("{", 400, "MalformedJSON"),
        ("[]", 400, "MalformedJSON"),
    ] {
        let answer = admin_sends(&bench, "POST", RESET, body).await;
        assert_eq!(
            (answer.status, answer.message_id()),
            (status, format!("Base.1.13.{id}")),
            "{body}"
        );
    }
    let form = bench
        .as_admin(RESET, &["-X", "POST", "-d", r#"{"ResetType": "On"}"#])
        .await;
    assert_eq!(form.status, 415);
    let answer = bench.as_admin(RESET, &[]).await;
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("POST")));
    let answer = bench.as_admin(SYSTEM, &["-X", "DELETE"]).await;
    assert_eq!(
        (answer.status, answer.header("Allow")),
        (405, Some("GET,HEAD,PATCH"))
    );
    assert_eq!(
        bench.as_admin("/redfish/v1/Systems/1", &[]).await.message_id(),
        "Base.1.13.ResourceMissingAtURI"
    );
    assert_eq!(
        bench.as_admin("/redfish/v1/Systems?$expand=.", &[]).await.status,
        501
    );
    assert_eq!(
        bench.as_admin(SYSTEM, &["-H", "OData-Version: 3.0"]).await.status,
        412
    );
    let bomb = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bomb.path(), vec![b' '; bmc_sim::redfish_front::MAX_BODY + 1]).unwrap();
    let body = format!("@{}", bomb.path().display());
    assert_eq!(bench.as_admin(RESET, &["--data-binary", &body]).await.status, 413);
    assert_eq!(bench.power_edges().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_once_continuous_or_disabled() {
    let bench = Bench::new().await;
    let patch =
        async |boot: &str| admin_sends(&bench, "PATCH", SYSTEM, &format!("{{\"Boot\": {boot}}}")).await;
    let answer = patch(r#"{"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}"#).await;
    assert_eq!(answer.status, 200);
    let boot = &answer.json()["Boot"];
    assert_eq!(
        (
            &boot["BootSourceOverrideEnabled"],
            &boot["BootSourceOverrideTarget"]
        ),
        (&json!("Once"), &json!("Pxe"))
    );
    // unlike IPMI flags it does not lapse
    bench.advance(61).await;
    assert_eq!(reset(&bench, "On").await.status, 204);
    bench.machine_shows("booted", json!("network")).await;
    assert_eq!(
        bench.as_admin(SYSTEM, &[]).await.json()["Boot"]["BootSourceOverrideEnabled"],
        "Disabled"
    );

    patch(r#"{"BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "Legacy"}"#).await;
    for _ in 0..2 {
        reset(&bench, "ForceRestart").await;
        bench.machine_shows("booted", json!("network")).await;
    }
    assert_eq!(
        patch(r#"{"BootSourceOverrideEnabled": "Disabled"}"#).await.status,
        200
    );
    assert_eq!(bench.machine().await["next-boot"], "disk");

    for (boot, id) in [
        (r#"{"BootSourceOverrideTarget": "Pxe"}"#, "PropertyMissing"),
        (r#"{"BootSourceOverrideEnabled": "Once"}"#, "PropertyMissing"),
        (
            r#"{"BootSourceOverrideEnabled": "Twice"}"#,
            "PropertyValueNotInList",
        ),
        (r#"{"BootSourceOverrideMode": "UEFI"}"#, "PropertyValueNotInList"),
        (r#"{"BootSourceOverrideEnabled": true}"#, "PropertyValueTypeError"),
        (r#"{"Colour": "red"}"#, "PropertyUnknown"),
        ("1", "PropertyValueTypeError"),
        ("{}", "NoOperation"),
    ] {
        let answer = patch(boot).await;
        assert_eq!(
            (answer.status, answer.message_id()),
            (400, format!("Base.1.13.{id}")),
            "{boot}"
        );
    }
    let answer = admin_sends(&bench, "PATCH", SYSTEM, r#"{"SerialNumber": "x"}"#).await;
    assert_eq!(answer.message_id(), "Base.1.13.PropertyNotWritable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_etag_is_refused_with_412_and_the_present_one_saves_a_read() {
    let bench = Bench::new().await;
    let etag = bench
        .as_admin(SYSTEM, &[])
        .await
        .header("ETag")
        .unwrap()
        .to_owned();
    let fresh = format!("If-None-Match: {etag}");
    assert_eq!(bench.as_admin(SYSTEM, &["-H", &fresh]).await.status, 304);
    let body = r#"{"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}}"#;
    let patch = async |if_match: String| {
        let header = format!("If-Match: {if_match}");
        send(
            &bench,
            "PATCH",
            SYSTEM,
            body,
            &["-u", "admin:admin-secret", "-H", &header],
        )
        .await
    };
    assert_eq!(patch(format!("W/{etag}")).await.status, 412);
    assert_eq!(patch(etag.clone()).await.status, 200);
    let answer = patch(etag.clone()).await;
    assert_eq!(
        (answer.status, answer.message_id()),
        (412, "Base.1.13.PreconditionFailed".into())
    );
    assert_eq!(patch("*".into()).await.status, 200);
    assert_eq!(bench.as_admin(SYSTEM, &["-H", &fresh]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_open_close_run_out_and_time_out() {
    let bench = Bench::new().await;
    let first = log_in(&bench, "admin", "admin-secret").await;
    assert_eq!(first.status, 201);
    let token = format!("X-Auth-Token: {}", first.header("X-Auth-Token").unwrap());
    let location = first.header("Location").unwrap().to_owned();
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 200);
    assert_eq!(
        bench.redfish(&location, &["-H", &token]).await.json()["UserName"],
        "admin"
    );

    assert_eq!(log_in(&bench, "operator", "operator-secret").await.status, 201);
    let refused = log_in(&bench, "admin", "admin-secret").await;
    assert_eq!(
        (refused.status, refused.message_id()),
        (503, "Base.1.13.SessionLimitExceeded".into())
    );

    assert_eq!(
        bench
            .redfish(&location, &["-X", "DELETE", "-H", &token])
            .await
            .status,
        204
    );
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 401);
    let third = log_in(&bench, "admin", "admin-secret").await;
    let token = format!("X-Auth-Token: {}", third.header("X-Auth-Token").unwrap());
    bench.advance(1799).await;
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 200);
    bench.advance(1800).await;
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_refused_and_counted() {
    let bench = Bench::new().await;
    assert_eq!(log_in(&bench, "admin", "wrong").await.status, 401);
    assert_eq!(bench.redfish(SYSTEM, &["-u", "admin:wrong"]).await.status, 401);
    assert_eq!(
        bench.redfish(SYSTEM, &["-H", "X-Auth-Token: none"]).await.status,
        401
    );
    assert_eq!(bench.counters().await["logins-refused"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_enforced() {
    let bench = Bench::new().await;
    let on = r#"{"ResetType": "On"}"#;
    let viewer = send(&bench, "POST", RESET, on, &["-u", "viewer:viewer-secret"]).await;
    assert_eq!(
        (viewer.status, viewer.message_id()),
        (403, "Base.1.13.InsufficientPrivilege".into())
    );
    let operator = ["-u", "operator:operator-secret"];
    assert_eq!(send(&bench, "POST", RESET, on, &operator).await.status, 204);
    let manager = "/redfish/v1/Managers/bmc0/Actions/Manager.Reset";
    assert_eq!(
        send(
            &bench,
            "POST",
            manager,
            r#"{"ResetType": "ForceRestart"}"#,
            &operator
        )
        .await
        .status,
        403
    );
    let password = r#"{"Password": "operator-new"}"#;
    assert_eq!(
        send(&bench, "PATCH", &format!("{ACCOUNTS}/2"), password, &operator)
            .await
            .status,
        403
    );
    assert_eq!(
        send(
            &bench,
            "PATCH",
            &format!("{ACCOUNTS}/3"),
            r#"{"RoleId": "Administrator"}"#,
            &operator
        )
        .await
        .status,
        403
    );
    assert_eq!(
        send(&bench, "PATCH", &format!("{ACCOUNTS}/3"), password, &operator)
            .await
            .status,
        200
    );
    assert_eq!(bench.redfish(SYSTEM, &operator).await.status, 401);
    let entries = bench.control("GET", "/power-log", "").await.json();
    assert_eq!(entries["entries"][1]["actor"], "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_holds_for_redfish_and_ipmi_and_ends_the_users_sessions() {
    let bench = Bench::new().await;
    let session = log_in(&bench, "operator", "operator-secret").await;
    let token = format!("X-Auth-Token: {}", session.header("X-Auth-Token").unwrap());
    let answer = admin_sends(
        &bench,
        "PATCH",
        &format!("{ACCOUNTS}/3"),
        r#"{"Password": "operator-new"}"#,
    )
    .await;
    assert_eq!((answer.status, &answer.json()["Password"]), (200, &json!(null)));
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 401);
    assert_eq!(
        bench
            .redfish(SYSTEM, &["-u", "operator:operator-new"])
            .await
            .status,
        200
    );
    assert!(
        bench
            .ipmitool_as(17, "operator", "operator-new", "power status")
            .await
            .ok
    );
    assert!(
        !bench
            .ipmitool_as(17, "operator", "operator-secret", "power status")
            .await
            .ok
    );
    for (body, id) in [
        (r#"{"Password": ""}"#, "PropertyValueFormatError"),
        (
            r#"{"Password": "123456789012345678901"}"#,
            "PropertyValueFormatError",
        ),
        (r#"{"Password": 1}"#, "PropertyValueTypeError"),
        (r#"{"RoleId": "King"}"#, "PropertyValueNotInList"),
        (r#"{"Locked": true}"#, "PropertyNotWritable"),
    ] {
        let answer = admin_sends(&bench, "PATCH", &format!("{ACCOUNTS}/3"), body).await;
        assert_eq!(
            (answer.status, answer.message_id()),
            (400, format!("Base.1.13.{id}")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_restarts_is_gone_for_its_time_with_its_sessions() {
    let bench = Bench::new().await;
    let session = log_in(&bench, "admin", "admin-secret").await;
    let token = format!("X-Auth-Token: {}", session.header("X-Auth-Token").unwrap());
    let path = "/redfish/v1/Managers/bmc0/Actions/Manager.Reset";
    assert_eq!(
        admin_sends(&bench, "POST", path, r#"{"ResetType": "GracefulRestart"}"#)
            .await
            .status,
        204
    );
    let url = format!("{}/redfish/v1/", bench.member("bios").redfish_url().unwrap());
    common::curl(&["-k", &url]).await.unwrap_err();
    bench.advance(61).await;
    assert_eq!(bench.redfish("/redfish/v1/", &[]).await.status, 200);
    assert_eq!(bench.redfish(SYSTEM, &["-H", &token]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutating_request_that_is_refused_is_logged_once() {
    let bench = Bench::new().await;
    let on = r#"{"ResetType": "On"}"#;
    send(&bench, "POST", RESET, on, &[]).await;
    send(&bench, "POST", RESET, on, &["-u", "viewer:viewer-secret"]).await;
    reset(&bench, "ForceOff").await;
    admin_sends(&bench, "PATCH", &format!("{ACCOUNTS}/3"), r#"{"Password": ""}"#).await;
    bench.as_admin(SYSTEM, &[]).await;
    let page = bench.control("GET", "/power-log", "").await.json();
    let lines: Vec<_> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{} {} {}", e["actor"], e["verb"], e["cause"]).replace('"', ""))
        .collect();
    assert_eq!(
        lines,
        [
            "anonymous on refused: HTTP status 401",
            "viewer on refused: HTTP status 403",
            "admin off refused: the machine is off",
            "admin set-password refused: the password has 0 bytes or a NUL in it: want 1 to 20 bytes without one",
        ]
    );
}
