use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use tokio::net::TcpSocket;

use super::*;
use crate::fake::{PATIENCE, Running, UUID, read_answer, start, start_with, view};

const REQUEST: &[u8] = b"GET /boot.ipxe HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n";

async fn with(connections: u32, head: Duration) -> Running {
    let bounds = Bounds {
        connections,
        head,
        ..Bounds::default()
    };
    start_with(bounds, |_| {}).await
}

/// How long the other side keeps the connection after `sent`, and what it says.
async fn until_cut(running: &Running, sent: &[u8]) -> (Duration, Vec<u8>) {
    let mut stream = running.connect().await;
    let begun = Instant::now();
    stream.write_all(sent).await.unwrap();
    let mut said = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    // a reset is an end as well
    let _ = read.expect("the connection is kept");
    (begun.elapsed(), said)
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    let head = Duration::from_millis(300);
    let running = with(8, head).await;
    for sent in [
        &b""[..],
        b"G",
        b"GET /boot.ipxe HTTP/1.1\r\nHost: b",
        b"PRI * HTTP/2",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // an answer, and then nothing more
        b"GET /boot.ipxe HTTP/1.1\r\nHost: boot\r\n\r\n",
    ] {
        let (kept, said) = until_cut(&running, sent).await;
        assert!(
            kept >= head / 2,
            "{:?}: {kept:?}, {said:?}",
            String::from_utf8_lossy(sent)
        );
    }
    assert_eq!(running.get("/boot.ipxe").await.status, 200);
}

#[tokio::test]
async fn as_many_connections_as_allowed_are_served_and_one_more_waits() {
    let running = with(2, Duration::from_mins(1)).await;
    let (mut first, second) = (running.connect().await, running.connect().await);
    first.write_all(b"GET ").await.unwrap();
    let mut third = running.connect().await;
    third.write_all(REQUEST).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), third.read(&mut byte)).await;
    assert!(early.is_err(), "the third is served beside two");
    drop(second);
    assert_eq!(read_answer(&mut third).await.status, 200);
    // and the first was there all the time
    first.write_all(&REQUEST[4..]).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
}

#[tokio::test]
async fn as_many_connections_of_a_peer_as_allowed_are_served_and_one_more_is_closed() {
    let bounds = Bounds {
        of_a_peer: 2,
        ..Bounds::default()
    };
    let running = start_with(bounds, |_| {}).await;
    let (mut first, second) = (running.connect().await, running.connect().await);
    first.write_all(b"GET ").await.unwrap();
    let (_, said) = until_cut(&running, REQUEST).await;
    assert!(said.is_empty(), "{said:?}");
    let refused = "boot_http_connections_refused_total 1\n";
    assert!(running.metrics().contains(refused), "{}", running.metrics());
    // another peer is not hurt
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(running.address).await.unwrap();
    other.write_all(REQUEST).await.unwrap();
    assert_eq!(read_answer(&mut other).await.status, 200);
    first.write_all(&REQUEST[4..]).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
    drop(second);
}

#[tokio::test]
async fn a_head_within_the_bound_is_read_and_a_longer_one_is_not() {
    let running = start().await;
    let target = |length: usize| format!("/ipxe?uuid={}", "x".repeat(length));
    assert_eq!(running.get(&target(8 * 1024)).await.status, 200);
    let answer = running.get(&target(MAX_HEAD as usize)).await;
    assert!([414, 431].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn a_body_within_the_bound_is_let_in_and_a_longer_one_is_not() {
    let running = start().await;
    let body = |length: usize| format!("Content-Length: {length}\r\n");
    let max = crate::http::MAX_BODY;
    assert_eq!(running.ask("GET", "/boot.ipxe", &body(max)).await.status, 200);
    assert_eq!(running.ask("GET", "/boot.ipxe", &body(max + 1)).await.status, 413);
}

#[tokio::test]
async fn what_is_no_http_is_cut() {
    let running = start().await;
    let (_, said) = until_cut(
        &running,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS, that is\r\n\r\n",
    )
    .await;
    assert!(!String::from_utf8_lossy(&said).contains("200 OK"));
    assert_eq!(running.get("/boot.ipxe").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_with_503() {
    let running = start().await;
    running.know(view());
    running.directory.hangs.store(true, Ordering::Relaxed);
    let mut stream = running.connect().await;
    let request = format!("GET /ipxe?uuid={UUID} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    running.asked(1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(read_answer(&mut stream).await.status, 503);
}

#[tokio::test]
async fn stopping_ends_idle_connections_at_once_and_frees_the_port() {
    let running = start().await;
    let mut idle = running.connect().await;
    let mut agent = running.agent().await;
    let _ = agent.poll(agent_protocol::api::PollRequest::default()).await;
    running.stop.cancel();
    let ended = timeout(DRAIN / 2, running.task).await;
    ended.expect("the server does not end").unwrap();
    let mut byte = [0];
    assert!(matches!(idle.read(&mut byte).await, Ok(0) | Err(_)));
    TcpListener::bind(running.address).await.unwrap();
}

#[tokio::test]
async fn stopping_cuts_what_hangs() {
    let running = start().await;
    let mut hanging = running.connect().await;
    running.directory.hangs.store(true, Ordering::Relaxed);
    let request = format!("GET /ipxe?uuid={UUID} HTTP/1.1\r\nHost: boot\r\n\r\n");
    hanging.write_all(request.as_bytes()).await.unwrap();
    running.asked(1).await;
    running.stop.cancel();
    let ended = timeout(DRAIN + Duration::from_secs(2), running.task).await;
    ended.expect("the server does not end").unwrap();
    let mut said = Vec::new();
    let _ = hanging.read_to_end(&mut said).await;
    assert!(said.is_empty(), "{said:?}");
}
