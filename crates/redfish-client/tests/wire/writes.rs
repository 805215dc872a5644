//! Changes: preconditions, the boot override's mode, passwords, tasks.

use hardware_types::BootTarget;
use redfish_client::{Accepted, Cause, Override, Secret, System};
use serde_json::{Value, json};

use super::server::*;

const MONITOR: &str = "GET /redfish/v1/TaskMonitors/1";

async fn pxe_once(bmc: &Server) -> Result<Accepted, redfish_client::Error> {
    let client = bmc.client();
    let read = system(&client).await;
    client
        .set_boot_override(&read, BootTarget::Pxe, Override::Once)
        .await
}

fn if_match(bmc: &Server) -> Vec<String> {
    bmc.seen_at(PATCH)
        .iter()
        .map(|seen| seen.headers["if-match"].clone())
        .collect()
}

fn tagged(etag: &str) -> Answer {
    answer(200, &[("ETag", etag)], &system_document())
}

#[tokio::test]
async fn if_match_is_the_header_then_the_body_then_a_star() {
    let mut bare = system_document();
    bare.as_object_mut().unwrap().remove("@odata.etag");
    for (answer, etag) in [
        (tagged("\"header-1\""), "\"header-1\""),
        (ok(system_document()), "W/\"7\""),
        (answer(200, &[("ETag", "")], &system_document()), "W/\"7\""),
        (ok(bare), "*"),
    ] {
        let bmc = Server::start().await;
        bmc.on(SYSTEM, [answer]);
        pxe_once(&bmc).await.unwrap();
        assert_eq!(if_match(&bmc), [etag]);
    }
}

#[tokio::test]
async fn after_412_the_resource_is_read_again_and_the_change_sent_once_more() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [tagged("\"1\""), tagged("\"1\""), tagged("\"2\"")]);
    bmc.on(PATCH, [status(412), status(204)]);
    assert_eq!(pxe_once(&bmc).await, Ok(Accepted::Done));
    assert_eq!(if_match(&bmc), ["\"1\"", "\"2\""]);
}

#[tokio::test]
async fn a_bmc_that_refuses_its_own_etag_gets_a_star() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [status(412), status(204)]);
    pxe_once(&bmc).await.unwrap();
    assert_eq!(if_match(&bmc), ["\"header-1\"", "*"]);

    bmc.on(PATCH, [status(412)]);
    let error = pxe_once(&bmc).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Precondition { status: 412, .. }),
        "{error}"
    );
    assert_eq!(if_match(&bmc).len(), 4, "one retry and no more");
}

fn boots(bmc: &Server) -> Vec<Value> {
    bmc.seen_at(PATCH)
        .iter()
        .map(|seen| seen.body["Boot"].clone())
        .collect()
}

#[tokio::test]
async fn the_mode_is_sent_exactly_as_read_and_left_out_after_400() {
    let bmc = Server::start().await;
    bmc.on(
        SYSTEM,
        [system_with("Boot", json!({"BootSourceOverrideMode": "uEFI"}))],
    );
    bmc.on(PATCH, [status(400), status(204)]);
    pxe_once(&bmc).await.unwrap();
    let full = json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "uEFI"});
    let bare = json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"});
    assert_eq!(boots(&bmc), [full, bare]);
}

#[tokio::test]
async fn without_a_mode_to_leave_out_a_400_is_final() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [system_with("Boot", json!({}))]);
    bmc.on(PATCH, [status(400)]);
    let error = pxe_once(&bmc).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Failed { status: 400, .. }),
        "{error}"
    );
    assert_eq!(
        boots(&bmc),
        [json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"})]
    );
}

#[tokio::test]
async fn a_400_to_what_already_reads_so_is_no_failure() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [status(400)]);
    assert_eq!(pxe_once(&bmc).await, Ok(Accepted::Done));
    let client = bmc.client();
    let read = system(&client).await;
    let error = client
        .set_boot_override(&read, BootTarget::Disk, Override::Once)
        .await
        .unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Failed { status: 400, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_target_that_is_not_listed_and_a_system_without_boot_are_unsupported() {
    let bmc = Server::start().await;
    let list = json!({"BootSourceOverrideTarget@Redfish.AllowableValues": ["Hdd", "UefiHttp"]});
    for boot in [list, Value::Null] {
        bmc.on(SYSTEM, [system_with("Boot", boot)]);
        let error = pxe_once(&bmc).await.unwrap_err();
        assert!(
            matches!(*error.cause, Cause::Unsupported(_)) && !error.maybe_sent,
            "{error}"
        );
    }
    assert!(boots(&bmc).is_empty());
}

#[tokio::test]
async fn clearing_sends_one_property_once_and_nothing_where_there_is_no_override() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [Answer::Drop]);
    let client = bmc.client();
    let read = system(&client).await;
    let error = client
        .set_boot_override(&read, BootTarget::None, Override::Once)
        .await
        .unwrap_err();
    assert!(error.maybe_sent, "{error}");
    assert_eq!(boots(&bmc), [json!({"BootSourceOverrideEnabled": "Disabled"})]);

    bmc.on(
        SYSTEM,
        [system_with(
            "Boot",
            json!({"BootSourceOverrideEnabled": "Disabled"}),
        )],
    );
    assert_eq!(client.clear_boot_override(&read).await, Ok(Accepted::Done));
    assert_eq!(boots(&bmc).len(), 1);
}

#[tokio::test]
async fn a_boot_override_may_be_repeated_when_the_connection_drops() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [Answer::Drop, status(204)]);
    pxe_once(&bmc).await.unwrap();
    assert_eq!(boots(&bmc).len(), 2);
}

#[tokio::test]
async fn an_override_that_was_set_reads_back() {
    let bmc = Server::start().await;
    let client = bmc.client();
    let System { boot, .. } = system(&client).await.value;
    assert_eq!(boot.unwrap().next_boot(), Some(BootTarget::Pxe));
}

#[tokio::test]
async fn accounts_are_found_by_links_and_a_password_is_sent_once() {
    let bmc = Server::start().await;
    bmc.on(
        "GET /redfish/v1/AccountService",
        [ok(json!({"Accounts": {"@odata.id": "/accounts"}}))],
    );
    bmc.on(
        "GET /accounts",
        [ok(
            json!({"Members": [{"@odata.id": "/accounts/1"}, {"@odata.id": "/accounts/2"}]}),
        )],
    );
    bmc.on("GET /accounts/1", [ok(json!({"UserName": "", "Enabled": false}))]);
    let account = json!({"UserName": "operator", "RoleId": "Operator", "Enabled": true, "@odata.etag": "e"});
    bmc.on("GET /accounts/2", [ok(account)]);
    bmc.on("PATCH /accounts/2", [Answer::Drop, status(204)]);
    let client = bmc.client();
    let links = client.accounts().await.unwrap();
    assert_eq!(client.account(&links[0]).await.unwrap().value.username, None);
    let account = client.account(&links[1]).await.unwrap();
    assert_eq!(account.value.username.as_deref(), Some("operator"));
    let error = client
        .change_password(&account.link, &Secret::new("n3w"))
        .await
        .unwrap_err();
    assert!(error.maybe_sent, "{error}");
    assert_eq!(bmc.seen_at("PATCH /accounts/2").len(), 1);
    assert_eq!(bmc.seen_at("PATCH /accounts/2")[0].headers["if-match"], "e");
}

#[tokio::test]
async fn a_manager_shows_its_firmware_and_resets() {
    let bmc = Server::start().await;
    bmc.on(ROOT, [ok(json!({"Managers": {"@odata.id": "/m"}}))]);
    bmc.on("GET /m", [ok(json!({"Members": [{"@odata.id": "/m/bmc"}]}))]);
    let reset = json!({"target": "/m/bmc/reset", "ResetType@Redfish.AllowableValues": ["GracefulRestart"]});
    let manager = json!({"FirmwareVersion": "2.14", "Actions": {"#Manager.Reset": reset}});
    bmc.on("GET /m/bmc", [ok(manager)]);
    let client = bmc.client();
    let links = client.managers().await.unwrap();
    let manager = client.manager(&links[0]).await.unwrap().value;
    assert_eq!(manager.firmware_version.as_deref(), Some("2.14"));
    assert_eq!(manager.reset.unwrap().allowed.unwrap(), ["GracefulRestart"]);
    assert_eq!(client.get(&links[0]).await.unwrap()["FirmwareVersion"], "2.14");
}

fn task() -> Answer {
    answer(
        202,
        &[("Location", "/redfish/v1/TaskMonitors/1")],
        &json!({"TaskState": "New"}),
    )
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let running = || ok(json!({"TaskState": "Running"}));
    for end in [
        ok(json!({"TaskState": "Completed"})),
        status(204),
        ok(json!({"Id": "1"})),
    ] {
        let bmc = Server::start().await;
        bmc.on(PATCH, [task()]);
        // not there yet, busy, then under way in both forms
        bmc.on(MONITOR, [status(404), status(503), status(202), running(), end]);
        assert_eq!(pxe_once(&bmc).await, Ok(Accepted::Done));
        assert_eq!(bmc.seen_at(MONITOR).len(), 5);
    }
}

#[tokio::test]
async fn a_failed_task_gives_its_messages_and_a_vanished_one_tells_nothing() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [task()]);
    let messages = json!([{"MessageId": "SYS.1.2.SYS435", "Message": "Job failed."}]);
    bmc.on(
        MONITOR,
        [ok(json!({"TaskState": "Exception", "Messages": messages}))],
    );
    let error = pxe_once(&bmc).await.unwrap_err();
    assert!(
        error.to_string().ends_with("Job failed. (SYS.1.2.SYS435)"),
        "{error}"
    );

    bmc.on(MONITOR, [Answer::Drop]);
    assert!(
        pxe_once(&bmc).await.unwrap_err().maybe_sent,
        "the change was sent, whatever its task does"
    );

    bmc.on(MONITOR, [status(202), status(404)]);
    assert_eq!(pxe_once(&bmc).await, Ok(Accepted::Untold));
    bmc.on(PATCH, [status(202)]);
    assert_eq!(pxe_once(&bmc).await, Ok(Accepted::Untold));
}

#[tokio::test]
async fn a_task_is_not_waited_for_past_its_deadline_or_before_its_retry_after() {
    let bmc = Server::start().await;
    bmc.on(PATCH, [task()]);
    // the second pause would end after the deadline of two seconds
    bmc.on(
        MONITOR,
        [
            answer(202, &[("Retry-After", "1")], &Value::Null),
            answer(202, &[("Retry-After", &u64::MAX.to_string())], &Value::Null),
        ],
    );
    let begin = std::time::Instant::now();
    let client = bmc.impatient_client();
    let read = system(&client).await;
    let error = client
        .set_boot_override(&read, BootTarget::Pxe, Override::Once)
        .await
        .unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Unfinished(_)) && error.maybe_sent,
        "{error}"
    );
    assert_eq!(bmc.seen_at(MONITOR).len(), 2);
    assert!(begin.elapsed().as_millis() >= 1000);
}
