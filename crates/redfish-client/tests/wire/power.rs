//! Power commands: chosen among what is offered, sent once, never to another machine.

use redfish_client::{Accepted, Cause, Reach, Reset, TlsPolicy};
use serde_json::json;

use super::server::*;

#[tokio::test]
async fn a_reset_sends_the_type_that_the_bmc_offers() {
    let bmc = Server::start().await;
    let client = bmc.client();
    let read = system(&client).await;
    assert_eq!(client.reset(&read, Reset::ForceOff).await, Ok(Accepted::Done));
    let sent = &bmc.seen_at(RESET)[0];
    assert_eq!(sent.body, json!({"ResetType": "ForceOff"}));
    assert_eq!(sent.headers["content-type"], "application/json");
    assert_eq!(sent.headers["x-auth-token"], "token-1");
    assert!(sent.headers.contains_key("content-length") && !sent.headers.contains_key("transfer-encoding"));
    assert!(!sent.headers.contains_key("if-match"));
}

#[tokio::test]
async fn a_reset_without_an_answer_is_sent_once_and_may_have_arrived() {
    for (silence, end) in [(Answer::Drop, Reach::Dropped), (Answer::Hang, Reach::Timeout)] {
        let bmc = Server::start().await;
        bmc.on(RESET, [silence, status(204)]);
        let client = bmc.impatient_client();
        let read = system(&client).await;
        let error = client.reset(&read, Reset::On).await.unwrap_err();
        assert!(
            matches!(*error.cause, Cause::Unreachable { at, .. } if at == end),
            "{error}"
        );
        assert!(error.maybe_sent);
        assert_eq!(bmc.seen_at(RESET).len(), 1);
    }
}

#[tokio::test]
async fn a_reset_never_travels_on_a_connection_that_was_used_before() {
    let bmc = Server::start().await;
    let client = bmc.client();
    let read = system(&client).await;
    for _ in 0..3 {
        client.reset(&read, Reset::On).await.unwrap();
    }
    let reads: Vec<_> = bmc.seen_at(SYSTEM).iter().map(|seen| seen.connection).collect();
    assert!(
        reads.windows(2).all(|pair| pair[0] == pair[1]),
        "reads share a connection: {reads:?}"
    );
    let resets: Vec<_> = bmc.seen_at(RESET).iter().map(|seen| seen.connection).collect();
    for (n, connection) in resets.iter().enumerate() {
        let users = bmc
            .seen()
            .iter()
            .filter(|seen| seen.connection == *connection)
            .count();
        assert_eq!(users, 1, "reset {n} of {resets:?}");
    }
}

#[tokio::test]
async fn a_bmc_that_closes_after_each_answer_is_driven_without_loss() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [ok(system_document()).then_close()]);
    bmc.on(RESET, [status(204).then_close()]);
    let client = bmc.client();
    let read = system(&client).await;
    for _ in 0..20 {
        client.reset(&read, Reset::On).await.unwrap();
    }
    assert_eq!(bmc.seen_at(RESET).len(), 20);
}

#[tokio::test]
async fn a_bmc_that_cannot_be_reached_certainly_got_nothing() {
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("redfish+http://{}", deaf.local_addr().unwrap());
    let error = client_of(&endpoint, &TlsPolicy::Undecided, yes(), PATIENCE)
        .service_root()
        .await
        .unwrap_err();
    assert!(
        matches!(
            *error.cause,
            Cause::Unreachable {
                at: Reach::Connect,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        !error.maybe_sent && error.to_string().contains("Connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_read_or_log_in_before_a_reset_says_that_nothing_was_sent() {
    let bmc = Server::start().await;
    let read = system(&bmc.client()).await;
    for (route, answer) in [
        (SYSTEM, Answer::Drop),
        (LOGIN, Answer::Drop),
        (ROOT, status(500)),
        (LOGIN, status(500)),
    ] {
        let bmc = Server::start().await;
        bmc.on(route, [answer]);
        let error = bmc.client().reset(&read, Reset::On).await.unwrap_err();
        assert!(!error.maybe_sent, "{error}");
        assert!(bmc.seen_at(RESET).is_empty());
    }
}

#[tokio::test]
async fn a_read_is_repeated_once_when_the_connection_drops() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [Answer::Drop, ok(system_document())]);
    let client = bmc.client();
    system(&client).await;
    assert_eq!(bmc.seen_at(SYSTEM).len(), 2);

    bmc.on(SYSTEM, [Answer::Drop]);
    let error = client.system(&link("/redfish/v1/Systems/1")).await.unwrap_err();
    assert!(
        matches!(
            *error.cause,
            Cause::Unreachable {
                at: Reach::Dropped,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(bmc.seen_at(SYSTEM).len(), 4);
}

#[tokio::test]
async fn the_allowed_values_of_action_info_count_where_the_action_lists_none() {
    let bmc = Server::start().await;
    let reset = json!({"target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", "@Redfish.ActionInfo": "/info"});
    bmc.on(
        SYSTEM,
        [system_with("Actions", json!({"#ComputerSystem.Reset": reset}))],
    );
    let parameters =
        json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["ForceOn", "ForceOff"]}]});
    bmc.on("GET /info", [ok(parameters)]);
    let client = bmc.client();
    let read = system(&client).await;
    client.reset(&read, Reset::On).await.unwrap();
    assert_eq!(bmc.seen_at(RESET)[0].body, json!({"ResetType": "ForceOn"}));
    let error = client.reset(&read, Reset::GracefulShutdown).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Unsupported(_)), "{error}");
    assert!(
        error.to_string().contains("ForceOn, ForceOff") && !error.maybe_sent,
        "{error}"
    );
    assert_eq!(bmc.seen_at(RESET).len(), 1);
}

#[tokio::test]
async fn without_a_list_of_allowed_values_the_standards_word_is_sent() {
    let target = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let bare = json!({"target": target});
    let empty = json!({"target": target, "ResetType@Redfish.AllowableValues": []});
    let broken = json!({"target": target, "@Redfish.ActionInfo": "/gone"});
    for action in [bare, empty, broken] {
        let bmc = Server::start().await;
        bmc.on(
            SYSTEM,
            [system_with("Actions", json!({"#ComputerSystem.Reset": action}))],
        );
        let client = bmc.client();
        let read = system(&client).await;
        client.reset(&read, Reset::GracefulShutdown).await.unwrap();
        assert_eq!(
            bmc.seen_at(RESET)[0].body,
            json!({"ResetType": "GracefulShutdown"})
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_to_another_machine_behind_the_same_link() {
    let bmc = Server::start().await;
    let other = system_with("UUID", json!("11111111-2222-3333-4444-555555555555"));
    bmc.on(SYSTEM, [ok(system_document()), other]);
    let client = bmc.client();
    let read = system(&client).await;
    let error = client.reset(&read, Reset::ForceOff).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Identity { .. }), "{error}");
    assert!(
        error.to_string().contains("11111111-2222-3333-4444-555555555555"),
        "{error}"
    );
    assert!(bmc.seen_at(RESET).is_empty());
}

#[tokio::test]
async fn what_the_bmc_says_of_a_refused_reset_reaches_the_error() {
    let bmc = Server::start().await;
    let info = json!({"error": {"@Message.ExtendedInfo": [{"MessageId": "IDRAC.2.8.PSU501", "Message": "Already on."}]}});
    bmc.on(RESET, [answer(409, &[], &info)]);
    let client = bmc.client();
    let read = system(&client).await;
    let error = client.reset(&read, Reset::On).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("failed (409): Already on. (IDRAC.2.8.PSU501)"),
        "{error}"
    );
    bmc.on(RESET, [answer(503, &[("Retry-After", "30")], &info)]);
    let error = client.reset(&read, Reset::On).await.unwrap_err();
    let Cause::Busy { retry_after, .. } = *error.cause else {
        panic!("{error}")
    };
    assert_eq!(retry_after.unwrap().as_secs(), 30);
    bmc.on(RESET, [status(405)]);
    let error = client.reset(&read, Reset::On).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Unsupported(_)), "{error}");
    assert_eq!(bmc.seen_at(RESET).len(), 3);
}

#[tokio::test]
async fn a_reset_that_became_a_task_is_accepted_and_not_waited_for() {
    let bmc = Server::start().await;
    bmc.on(
        RESET,
        [answer(
            202,
            &[("Location", "/redfish/v1/TaskMonitors/1"), ("Retry-After", "7")],
            &json!({}),
        )],
    );
    let client = bmc.client();
    let read = system(&client).await;
    let Accepted::Task(task) = client.reset(&read, Reset::On).await.unwrap() else {
        panic!("no task")
    };
    assert_eq!(
        (task.monitor.as_str(), task.retry_after.unwrap().as_secs()),
        ("/redfish/v1/TaskMonitors/1", 7)
    );
    assert!(bmc.seen_at("GET /redfish/v1/TaskMonitors/1").is_empty());
}

#[tokio::test]
async fn the_system_is_the_named_one_or_the_only_one_that_boots() {
    let bmc = Server::start().await;
    let members = [
        "/redfish/v1/Systems/DPU",
        "/redfish/v1/Systems/Tray",
        "/gone",
        "/redfish/v1/Systems/1",
    ];
    let members: Vec<_> = members.iter().map(|path| json!({"@odata.id": path})).collect();
    bmc.on("GET /redfish/v1/Systems", [ok(json!({"Members": members}))]);
    bmc.on(
        "GET /redfish/v1/Systems/DPU",
        [system_with("SystemType", json!("DPU"))],
    );
    bmc.on("GET /redfish/v1/Systems/Tray", [system_with("Boot", json!(null))]);
    let client = bmc.client();
    assert_eq!(
        client.pick_system().await.unwrap().link.as_str(),
        "/redfish/v1/Systems/1"
    );

    let named = bmc.client_at("/redfish/v1/Systems/Tray/", &TlsPolicy::Undecided, yes());
    assert_eq!(
        named.pick_system().await.unwrap().link.as_str(),
        "/redfish/v1/Systems/Tray"
    );

    bmc.on("GET /redfish/v1/Systems/Tray", [ok(system_document())]);
    let error = client.pick_system().await.unwrap_err().to_string();
    assert!(
        error.contains("name one") && error.contains("/redfish/v1/Systems/Tray, /redfish/v1/Systems/1"),
        "{error}"
    );
}
