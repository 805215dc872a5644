use std::sync::atomic::Ordering;
use std::time::Instant;

use agent_protocol::api::agent_client::AgentClient;
use hardware_types::Mac;
use lifecycle::boot::NotTaken;
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::*;
use crate::fake::{Fake, MAC, PATIENCE, Running, UUID, id, report_of as report, start, start_with, view};
use crate::http::{MAX_BODY, MAX_CALLS};
use crate::server::Bounds;

fn reported(addresses: &[&str]) -> api::ReconcileServerAddressesRequest {
    let address = |address: &&str| api::Address {
        r#type: "InternalIP".into(),
        address: (*address).into(),
    };
    api::ReconcileServerAddressesRequest {
        uuid: UUID.into(),
        address: addresses.iter().map(address).collect(),
    }
}

fn question(waited_seconds: u32) -> api::PollRequest {
    api::PollRequest {
        uuid: UUID.into(),
        boot_mac: MAC.to_string(),
        waited_seconds,
    }
}

async fn started() -> (Running, AgentClient<Channel>) {
    let running = start().await;
    let client = running.agent().await;
    (running, client)
}

fn sightings(running: &Running) -> Vec<(ServerId, Sighting)> {
    running.directory.seen.lock().unwrap().clone()
}

#[tokio::test]
async fn a_report_reaches_the_directory_on_the_port_that_serves_scripts() {
    let (running, mut client) = started().await;
    let response = client.create_server(report(UUID)).await.unwrap().into_inner();
    assert_eq!(response, api::CreateServerResponse::default());
    let registered = running.directory.registered.lock().unwrap().pop().unwrap();
    assert_eq!((registered.id, registered.boot_mac), (id(), Some(MAC)));
    assert_eq!(registered.hardware.system.manufacturer, "Metal Corp");
    assert_eq!(sightings(&running), [(id(), Sighting::Agent)]);
    assert_eq!(running.get("/boot.ipxe").await.status, 200);
}

#[tokio::test]
async fn each_refusal_has_its_code_and_says_why() {
    let (running, mut client) = started().await;
    let conflict = NotTaken::Conflict {
        known: vec![MAC],
        reported: vec![Mac::new([2; 6])],
    };
    let failed = RegisterError::Failed {
        id: id(),
        reason: "timed out".into(),
    };
    let cases: [(RegisterError, Code, &str); 6] = [
        (conflict.into(), Code::FailedPrecondition, "02:02:02:02:02:02"),
        (
            RegisterError::TooMany { count: 9, limit: 9 },
            Code::ResourceExhausted,
            "9 machines are registered",
        ),
        (
            Unavailable("not read".into()).into(),
            Code::Unavailable,
            "not read",
        ),
        (failed, Code::Unavailable, "timed out"),
        (
            RegisterError::TooSoon(id()),
            Code::Unavailable,
            "less than a minute ago",
        ),
        (RegisterError::Unknown(id()), Code::NotFound, UUID),
    ];
    for (error, code, text) in cases {
        *running.directory.refusal.lock().unwrap() = Some(error);
        let status = client.create_server(report(UUID)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
    }
    let status = client.create_server(report("x")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("\"x\" does not name a machine"),
        "{status:?}"
    );
    assert!(sightings(&running).is_empty());
    let metrics = running.metrics();
    for (outcome, count) in [
        ("not-taken", 1),
        ("limit", 1),
        ("unavailable", 3),
        ("unknown", 1),
        ("invalid", 1),
    ] {
        let line = format!("boot_agent_calls_total{{call=\"CreateServer\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn addresses_by_which_a_machine_can_be_reached_are_taken() {
    let (running, mut client) = started().await;
    client
        .reconcile_server_addresses(reported(&["10.77.0.100", "2001:db8::1", "fd00::1"]))
        .await
        .unwrap();
    let stored: Vec<_> = running.directory.addresses.lock().unwrap().clone();
    let stored: Vec<_> = stored.iter().map(|stored| stored.address.to_string()).collect();
    assert_eq!(stored, ["10.77.0.100", "2001:db8::1", "fd00::1"]);
    assert_eq!(sightings(&running), [(id(), Sighting::Agent)]);
}

#[test]
fn addresses_that_lead_nowhere_are_refused_by_name() {
    for (address, why) in [
        ("", "not an IP address"),
        ("10.77.0.100/24", "not an IP address"),
        ("host", "not an IP address"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
    ] {
        let status = addresses(reported(&[address]).address).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{address}");
        let message = status.message();
        assert!(
            message.contains(&format!("{address:?}")) && message.contains(why),
            "{message}"
        );
    }
    let mut no_type = reported(&["10.0.0.1"]).address;
    no_type[0].r#type = "a b".into();
    assert!(addresses(no_type).is_err());
    let long = "x".repeat(10_000);
    let status = addresses(reported(&[&long]).address).unwrap_err();
    assert!(status.message().len() < 200, "{status:?}");
}

#[test]
fn as_many_addresses_as_allowed_are_taken_and_not_one_more() {
    let many = vec!["10.0.0.1"; MAX_ADDRESSES];
    assert_eq!(addresses(reported(&many).address).unwrap().len(), 64);
    let status = addresses(reported(&[many.as_slice(), &["10.0.0.1"]].concat()).address).unwrap_err();
    assert!(
        status
            .message()
            .contains("65 addresses are reported, 64 are allowed"),
        "{status:?}"
    );
}

#[tokio::test]
async fn an_agent_is_told_to_wait_or_to_reboot_and_why() {
    let (running, mut client) = started().await;
    let status = client.poll(question(0)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains(UUID), "{status:?}");
    assert!(sightings(&running).is_empty());
    running.know(view());
    for (waited, order) in [(599, api::Order::Wait), (600, api::Order::Reboot)] {
        let response = client.poll(question(waited)).await.unwrap().into_inner();
        assert_eq!((response.order(), response.poll_seconds), (order, 7));
        assert!(response.reason.contains("not accepted"), "{}", response.reason);
    }
    let mut paused = view();
    paused.observed.paused = true;
    running.know(paused);
    let response = client.poll(question(600)).await.unwrap().into_inner();
    assert_eq!(response.order(), api::Order::Wait, "I-5: no orders");
    assert_eq!(sightings(&running).len(), 3);
}

#[tokio::test]
async fn a_machine_gets_its_burst_of_calls_and_another_is_not_hurt() {
    let (running, mut client) = started().await;
    running.know(view());
    for _ in 0..BURST {
        client.poll(question(0)).await.unwrap();
    }
    let status = client.poll(question(0)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().contains("10 at once and one in 2s"),
        "{status:?}"
    );
    let other = UUID.replace("4c4c", "5c5c");
    client.create_server(report(&other)).await.unwrap();
}

#[test]
fn all_machines_together_get_their_burst_of_calls() {
    let config = Config {
        endpoint: boot_protocols::ipxe::Endpoint::new("10.77.0.3", 8081).unwrap(),
        data_dir: "/".into(),
        disk_method: boot_protocols::ipxe::DiskMethod::IpxeExit,
        extra_agent_kernel_args: Vec::new(),
        poll: EVERY,
        agent_wait: EVERY,
    };
    let metrics = HttpMetrics::register(&mut Registry::default());
    let api = AgentApi::new(Arc::new(Fake::default()), Arc::default(), &config, metrics);
    let other = |n: u32| UUID.replace("4c4c4544", &format!("{n:08x}")).parse().unwrap();
    let begun = Instant::now();
    let admitted = (0..5000).filter(|n| api.admit(other(*n)).is_ok()).count();
    let refilled = begun.elapsed().as_secs_f64() * f64::from(PER_SECOND_OVERALL);
    assert!(admitted >= 2000, "{admitted}");
    assert!(
        f64::from(u32::try_from(admitted).unwrap()) <= 2001.0 + refilled,
        "{admitted}, {refilled} refilled"
    );
    let status = api.admit(other(9000)).unwrap_err();
    assert!(
        status.message().contains("2000 at once and 400 per second"),
        "{status:?}"
    );
}

#[tokio::test]
async fn as_many_calls_as_allowed_are_under_way_and_one_more_waits() {
    let bounds = Bounds {
        of_a_peer: 2048,
        ..Bounds::default()
    };
    let running = start_with(bounds, |_| {}).await;
    running.directory.hangs.store(true, Ordering::Relaxed);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..MAX_CALLS {
        let mut client = running.agent().await;
        let mut question = question(0);
        question.uuid = UUID.replace("4c4c4544", &format!("{n:08x}"));
        calls.spawn(async move { client.poll(question).await });
    }
    running.asked(MAX_CALLS).await;
    let mut client = running.agent().await;
    let mut one_more = tokio::spawn(async move { client.create_server(report(UUID)).await });
    let early = timeout(Duration::from_millis(300), &mut one_more).await;
    assert!(early.is_err(), "one more is let in");
    calls.abort_all();
    let done = timeout(PATIENCE, one_more).await.unwrap();
    done.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_as_long_as_allowed_is_read_and_one_byte_more_is_not() {
    let (_running, mut client) = started().await;
    let of_length = |length: usize| {
        let mut report = report(UUID);
        report.hostname = "x".repeat(MAX_BODY);
        let excess = prost::Message::encoded_len(&report) - length;
        report.hostname.truncate(MAX_BODY - excess);
        assert_eq!(prost::Message::encoded_len(&report), length);
        report
    };
    let read = client.create_server(of_length(MAX_BODY - 5)).await.unwrap_err();
    assert_eq!(read.code(), Code::InvalidArgument, "{read:?}");
    assert!(read.message().contains("hostname is"), "{read:?}");
    let refused = client.create_server(of_length(MAX_BODY - 4)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains("131067"), "{refused:?}");
}
