use std::sync::atomic::Ordering;

use agent_protocol::Token;
use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::api::{self, Order};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::fake::{MAC, Running, UUID, start, wiping};

async fn started() -> (Running, AgentClient<Channel>) {
    let running = start().await;
    running.know(wiping());
    let client = running.agent().await;
    (running, client)
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = Token::new(token) {
        let value = token.bearer().parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn question(mac: &str) -> api::PollRequest {
    api::PollRequest {
        uuid: UUID.into(),
        boot_mac: mac.into(),
        waited_seconds: 7,
    }
}

fn heartbeat(generation: u64) -> api::HeartbeatRequest {
    api::HeartbeatRequest {
        uuid: UUID.into(),
        generation,
        percent: 37,
        doing: "\u{1b}/dev/sda".into(),
    }
}

#[tokio::test]
async fn an_agent_that_runs_gets_the_token_and_with_it_the_order() {
    let (_running, mut client) = started().await;
    let answer = client
        .poll(question(&MAC.to_string()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (answer.order(), answer.token.as_str()),
        (Order::Wait, "token-of-w-1")
    );
    assert!(answer.wipe.is_none() && !answer.reason.contains("token-of"));
    let request = with_token(&answer.token, question(""));
    let answer = client.poll(request).await.unwrap().into_inner();
    let wipe = answer.wipe.clone().unwrap();
    assert_eq!((answer.order(), wipe.generation), (Order::Wipe, 3));
    assert_eq!((wipe.heartbeat_seconds, answer.token.as_str()), (10, ""));
    assert_eq!(wipe.include_wwids, ["naa.1"]);
}

#[tokio::test]
async fn without_the_token_of_this_window_nobody_gets_an_order() {
    let (running, mut client) = started().await;
    for token in ["", "token-of-w-0"] {
        let request = with_token(token, question("02:00:00:00:00:09"));
        let answer = client.poll(request).await.unwrap().into_inner();
        assert_eq!((answer.order(), answer.token.as_str()), (Order::Wait, ""));
        assert!(answer.wipe.is_none());
        let refused = client
            .heartbeat(with_token(token, heartbeat(3)))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert!(running.directory.progress.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_machine_that_a_live_look_finds_taken_waits() {
    let (running, mut client) = started().await;
    running.directory.is_claimed.store(true, Ordering::Relaxed);
    let answer = client
        .poll(with_token("token-of-w-1", question("")))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.wipe.is_none() && answer.order() == Order::Wait);
    assert!(answer.reason.contains("not wiped"), "{}", answer.reason);
}

#[tokio::test]
async fn progress_and_certificate_are_taken_of_the_wipe_that_is_due() {
    let (running, mut client) = started().await;
    let request = |generation| with_token("token-of-w-1", heartbeat(generation));
    client.heartbeat(request(3)).await.unwrap();
    let other = client.heartbeat(request(2)).await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    assert!(other.message().contains("wipe 2"), "{other}");
    let progress = running.directory.progress.lock().unwrap().clone();
    assert_eq!(
        (progress.len(), progress[0].percent, progress[0].doing.as_str()),
        (1, 37, "/dev/sda")
    );

    let report = |disks| {
        let message = api::MarkServerAsWipedRequest {
            uuid: UUID.into(),
            generation: 3,
            disks,
        };
        with_token("token-of-w-1", message)
    };
    let missing = client
        .mark_server_as_wiped(report(vec![]))
        .await
        .unwrap()
        .into_inner();
    assert!(
        !missing.done && missing.reason.contains("vanished"),
        "{missing:?}"
    );
    let mut disk = api::WipedDisk::default();
    let unknown = client
        .mark_server_as_wiped(report(vec![disk.clone()]))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    disk.set_result(api::DiskResult::Wiped);
    let done = client
        .mark_server_as_wiped(report(vec![disk]))
        .await
        .unwrap()
        .into_inner();
    assert!(done.done, "{done:?}");
}
