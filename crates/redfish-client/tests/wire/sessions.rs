//! Logging in, logging in again, Basic, logging out; and that no secret is printed.

use redfish_client::{Cause, Reset, Secret};
use serde_json::json;

use super::server::*;

/// base64 of `operator:opensesame-9`
const BASIC: &str = "Basic b3BlcmF0b3I6b3BlbnNlc2FtZS05";

#[tokio::test]
async fn the_root_is_read_without_credentials_and_one_session_serves_all() {
    let bmc = Server::start().await;
    let client = bmc.client();
    let (a, b, c) = tokio::join!(system(&client), system(&client), system(&client));
    assert_eq!((&a, &b), (&b, &c));
    let login = &bmc.seen_at(LOGIN)[..];
    assert_eq!(login.len(), 1);
    assert_eq!(
        login[0].body,
        json!({"UserName": "operator", "Password": PASSWORD})
    );
    for seen in bmc.seen() {
        assert!(!seen.headers.contains_key("authorization"));
        assert_eq!(
            seen.headers.contains_key("x-auth-token"),
            seen.route == SYSTEM,
            "{}",
            seen.route
        );
        assert_eq!(seen.headers["odata-version"], "4.0");
    }
}

#[tokio::test]
async fn an_ended_session_is_renewed_once() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [status(401), ok(system_document())]);
    let client = bmc.client();
    system(&client).await;
    let tokens: Vec<_> = bmc
        .seen_at(SYSTEM)
        .iter()
        .map(|seen| seen.headers["x-auth-token"].clone())
        .collect();
    assert_eq!(tokens, ["token-1", "token-2"]);

    bmc.on(SYSTEM, [status(401)]);
    let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Forbidden { status: 401, .. }),
        "{error}"
    );
    assert_eq!((bmc.seen_at(LOGIN).len(), bmc.seen_at(SYSTEM).len()), (3, 4));
}

#[tokio::test]
async fn a_power_command_is_not_repeated_after_401_and_the_next_request_logs_in_again() {
    let bmc = Server::start().await;
    bmc.on(RESET, [status(401), status(204)]);
    let client = bmc.client();
    let read = system(&client).await;
    let error = client.reset(&read, Reset::On).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::SessionEnded), "{error}");
    assert_eq!((bmc.seen_at(RESET).len(), bmc.seen_at(LOGIN).len()), (1, 1));
    client.reset(&read, Reset::On).await.unwrap();
    assert_eq!((bmc.seen_at(RESET).len(), bmc.seen_at(LOGIN).len()), (2, 2));
}

#[tokio::test]
async fn refused_credentials_are_tried_once_and_named_by_user() {
    let bmc = Server::start().await;
    for code in [401, 403] {
        bmc.on(LOGIN, [status(code)]);
        let before = bmc.seen().len();
        let error = bmc
            .client()
            .system(&link("/redfish/v1/Systems/1"))
            .await
            .unwrap_err();
        assert!(
            matches!(&*error.cause, Cause::Refused { user, status, .. } if user == "operator" && *status == code)
        );
        assert_eq!(bmc.routes()[before..], [ROOT, LOGIN]);
    }
}

#[tokio::test]
async fn basic_serves_where_there_is_no_place_for_sessions() {
    for case in [
        "no link",
        "hidden service",
        "hidden root",
        "refused method",
        "no token",
    ] {
        let bmc = Server::start().await;
        match case {
            "no link" => bmc.on(ROOT, [ok(json!({}))]),
            "hidden service" => bmc.on(
                ROOT,
                [ok(
                    json!({"SessionService": {"@odata.id": "/redfish/v1/SessionService"}}),
                )],
            ),
            "hidden root" => bmc.on(ROOT, [status(401)]),
            "refused method" => bmc.on(LOGIN, [status(405)]),
            _ => bmc.on(LOGIN, [answer(201, &[], &json!({}))]),
        }
        bmc.on("GET /redfish/v1/SessionService", [status(401)]);
        let client = bmc.client();
        system(&client).await;
        assert_eq!(bmc.seen_at(SYSTEM)[0].headers["authorization"], BASIC, "{case}");
        bmc.on(SYSTEM, [status(401)]);
        let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
        assert!(matches!(*error.cause, Cause::Refused { .. }), "{case}: {error}");
        assert_eq!(
            bmc.seen_at(SYSTEM).len(),
            2,
            "{case}: refused Basic is not repeated"
        );
    }
}

#[tokio::test]
async fn sessions_are_found_through_the_session_service() {
    let bmc = Server::start().await;
    bmc.on(ROOT, [ok(json!({"SessionService": {"@odata.id": "/s"}}))]);
    bmc.on(
        "GET /s",
        [ok(
            json!({"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}}),
        )],
    );
    system(&bmc.client()).await;
    assert_eq!(bmc.routes(), [ROOT, "GET /s", LOGIN, SYSTEM]);
}

/// What a BMC without a free slot answers to a log-in.
fn full() -> serde_json::Value {
    json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.SessionLimitExceeded"}]}})
}

#[tokio::test]
async fn a_full_session_table_means_basic_for_now_once_the_credentials_have_worked() {
    let bmc = Server::start().await;
    let client = bmc.client();
    system(&client).await;
    client.close().await.unwrap();
    bmc.on(LOGIN, [answer(400, &[], &full())]);
    system(&client).await;
    assert_eq!(bmc.seen_at(SYSTEM)[1].headers["authorization"], BASIC);

    bmc.on(LOGIN, [answer(503, &[("Retry-After", "9")], &full())]);
    bmc.on(SYSTEM, [status(401)]);
    for _ in 0..3 {
        let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
        let Cause::Busy { retry_after, .. } = &*error.cause else {
            panic!("{error}")
        };
        assert_eq!(retry_after.unwrap().as_secs(), 9);
    }
    assert_eq!(
        bmc.seen_at(SYSTEM).len(),
        3,
        "a password that may have become wrong is shown once"
    );

    let session = answer(201, &[("X-Auth-Token", "late")], &json!({}));
    bmc.on(LOGIN, [session]);
    bmc.on(SYSTEM, [ok(system_document())]);
    system(&client).await;
    assert_eq!(bmc.seen_at(SYSTEM)[3].headers["x-auth-token"], "late");
}

#[tokio::test]
async fn credentials_that_never_worked_are_not_shown_by_basic_to_a_bmc_without_a_free_session() {
    let bmc = Server::start().await;
    let client = bmc.client();
    for code in [400, 429, 503] {
        bmc.on(LOGIN, [answer(code, &[], &full())]);
        let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
        assert!(matches!(*error.cause, Cause::Busy { .. }), "{error}");
    }
    assert!(bmc.seen_at(SYSTEM).is_empty());
}

#[tokio::test]
async fn a_log_in_that_is_a_bad_request_is_a_refusal_unless_the_credentials_have_worked() {
    let bmc = Server::start().await;
    let refusal =
        json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "iLO.0.10.UnauthorizedLoginAttempt"}]}});
    for body in [&refusal, &json!({})] {
        bmc.on(LOGIN, [answer(400, &[], body)]);
        let error = bmc
            .client()
            .system(&link("/redfish/v1/Systems/1"))
            .await
            .unwrap_err();
        assert!(
            matches!(*error.cause, Cause::Refused { status: 400, .. }),
            "{error}"
        );
    }
    bmc.on(LOGIN, [answer(201, &[("X-Auth-Token", "token-1")], &json!({}))]);
    let client = bmc.client();
    system(&client).await;
    client.close().await.unwrap();
    for (body, refused) in [(&json!({}), false), (&refusal, true)] {
        bmc.on(LOGIN, [answer(400, &[], body)]);
        let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
        assert_eq!(matches!(*error.cause, Cause::Refused { .. }), refused, "{error}");
    }
}

#[tokio::test]
async fn lacking_privilege_is_not_refused_credentials() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [status(403)]);
    let error = bmc
        .client()
        .system(&link("/redfish/v1/Systems/1"))
        .await
        .unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Forbidden { status: 403, .. }),
        "{error}"
    );

    // Basic: a first 403 may be the credentials, one after a success cannot
    bmc.on(ROOT, [ok(json!({}))]);
    let client = bmc.client();
    let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Refused { status: 403, .. }),
        "{error}"
    );
    bmc.on(SYSTEM, [ok(system_document()), status(403)]);
    system(&client).await;
    let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Forbidden { status: 403, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn closing_deletes_the_session_at_this_host_and_only_once() {
    let bmc = Server::start().await;
    let elsewhere = [
        ("X-Auth-Token", "t"),
        (
            "Location",
            "https://bmc.example/redfish/v1/SessionService/Sessions/7",
        ),
    ];
    bmc.on(LOGIN, [answer(201, &elsewhere, &json!({}))]);
    let delete = "DELETE /redfish/v1/SessionService/Sessions/7";
    bmc.on(delete, [status(204)]);
    let client = bmc.client();
    client.close().await.unwrap();
    assert!(bmc.seen().is_empty());
    system(&client).await;
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(bmc.seen_at(delete).len(), 1);
    assert_eq!(bmc.seen_at(delete)[0].headers["x-auth-token"], "t");

    bmc.on(delete, [status(401)]);
    system(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn no_secret_is_in_any_text_of_an_error() {
    let bmc = Server::start().await;
    let account = "/redfish/v1/AccountService/Accounts/2";
    let new = format!("{PASSWORD}-new");
    let quoting = format!("The value {new} is not better than {PASSWORD}.");
    let info = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.PropertyValueFormatError", "Message": quoting}]}});
    bmc.on(
        &format!("GET {account}"),
        [ok(json!({"UserName": "operator", "Password": null}))],
    );
    bmc.on(&format!("PATCH {account}"), [answer(400, &[], &info)]);
    let client = bmc.client();
    let error = client
        .change_password(&link(account), &Secret::new(new.clone()))
        .await
        .unwrap_err();
    bmc.on(LOGIN, [answer(401, &[], &info)]);
    let refused = bmc.client().system(&link(account)).await.unwrap_err();
    for text in [
        format!("{error} {error:?}"),
        format!("{refused} {refused:?}"),
        format!("{client:?}"),
    ] {
        assert!(
            !text.contains("opensesame") && !text.contains("token-1"),
            "{text}"
        );
    }
    assert!(
        error
            .to_string()
            .contains("The value [redacted] is not better than [redacted]."),
        "{error}"
    );
    assert_eq!(
        bmc.seen_at(&format!("PATCH {account}"))[0].body,
        json!({"Password": new})
    );
}
