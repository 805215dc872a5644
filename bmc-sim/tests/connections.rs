//! Connections to a simulated Redfish service: how many, and what is not even a request.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod common;

use std::time::Duration;

use common::Bench;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn the_33rd_connection_waits_until_one_ends() {
    let bench = Bench::new().await;
    let address = bench.member("uefi").redfish.unwrap();
    let ask = async |stream: &mut TcpStream| {
        stream
            .write_all(b"GET /redfish/v1/ HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
    };
    let mut open = Vec::new();
    for _ in 0..bmc_sim::redfish_front::MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await;
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        open.push(stream);
    }
    let mut late = TcpStream::connect(address).await.unwrap();
    ask(&mut late).await;
    let wait = Duration::from_millis(100);
    tokio::time::timeout(wait, late.read_u8()).await.unwrap_err();
    open.pop();
    assert_eq!(late.read_u8().await.unwrap(), b'H');
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_or_no_http_is_counted() {
    let bench = Bench::new().await;
    for name in ["bios", "uefi"] {
        let address = bench.member(name).redfish.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"\x01\x02nonsense\r\n\r\n").await.unwrap();
        // the service ends it
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert_eq!(bench.member(name).bmc.counters().malformed, 1, "{name}");
    }
    // a client that does not trust the certificate is no nonsense
    let url = bench.member("bios").redfish_url().unwrap();
    common::curl(&[&url]).await.unwrap_err();
    assert_eq!(bench.member("bios").bmc.counters().malformed, 1);
}
