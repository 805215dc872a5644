//! The client against the BMC's machine over UDP on loopback.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipmi::client::{Client, Options, ask, ping};
use ipmi::command::{
    CHANNEL_PRESENT, ChassisControl, ChassisStatus, CompletionCode, GetChannelAuthCapabilities,
    GetChassisStatus, Wire,
};
use ipmi::session::bmc::{Bmc, BmcConfig, Event, UserAccount};
use ipmi::session::console::{Credentials, Delivery, ErrorKind, OpenError, RequestError, Timing, Withheld};
use ipmi::{CipherSuite, Privilege, Secret, UserName};
use tokio::net::UdpSocket;

/// What a BMC of the tests counts.
#[derive(Default)]
struct Counts {
    datagrams: AtomicUsize,
    power_commands: AtomicUsize,
}

/// A BMC on a port of its own that is on, and that drops each datagram whose number, from 1, is in `dropped`.
async fn start(dropped: &'static [usize]) -> (SocketAddr, Arc<Counts>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let counts = Arc::new(Counts::default());
    tokio::spawn(serve(socket, dropped, counts.clone()));
    (address, counts)
}

async fn serve(socket: UdpSocket, dropped: &'static [usize], counts: Arc<Counts>) {
    let Credentials {
        user: name, password, ..
    } = credentials();
    let admin = UserAccount {
        name,
        password,
        limit: Some(Privilege::Administrator),
        enabled: true,
    };
    let mut bmc = Bmc::new(BmcConfig::default(), BTreeMap::from([(2, admin)]));
    let (start, mut buffer) = (Instant::now(), [0; 1024]);
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let number = counts.datagrams.fetch_add(1, Ordering::SeqCst) + 1;
        if dropped.contains(&number) {
            continue;
        }
        let mut random = |buffer: &mut [u8]| rand::fill(buffer);
        let output = bmc.receive(&buffer[..length], peer, start.elapsed(), &mut random);
        let reply = match output.event {
            Some(Event::Command(request)) if request.parse::<ChassisControl>().is_some() => {
                counts.power_commands.fetch_add(1, Ordering::SeqCst);
                None // carried out, the answer lost
            }
            Some(Event::Command(request)) => {
                let status = ChassisStatus::decode(&[0x21, 0x10, 0x40]).unwrap();
                bmc.respond(&request, CompletionCode::OK, &status.encode(), &mut random)
            }
            _ => output.reply,
        };
        if let Some(reply) = reply {
            socket.send_to(&reply, peer).await.unwrap();
        }
    }
}

fn credentials() -> Credentials {
    Credentials {
        user: UserName::new("admin").unwrap(),
        password: Secret::new("secret").unwrap(),
        kg: None,
        privilege: Privilege::Operator,
    }
}

/// The n-th of `attempts` waits n times `first_wait` milliseconds.
fn waits(first_wait: u64, attempts: u32) -> Options {
    let timing = Timing {
        first_wait: Duration::from_millis(first_wait),
        attempts,
    };
    Options {
        timing,
        ..Options::default()
    }
}

/// For answers that are never lost on loopback: as long as it takes.
fn patient() -> Options {
    waits(5000, 2)
}

#[tokio::test]
async fn status_is_read_in_a_session_with_either_suite() {
    let (address, _) = start(&[]).await;
    for suite in CipherSuite::ALL {
        let options = Options {
            suites: vec![suite],
            ..patient()
        };
        let mut client = Client::open(address, credentials(), options).await.unwrap();
        assert_eq!(client.session().suite(), suite);
        let status = client.send(&GetChassisStatus, Delivery::Retry).await.unwrap();
        assert!(status.power_on && status.last_event.on_by_command);
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    // Open Session, RAKP 1, RAKP 3, privilege, status: each lost once.
    let (address, counts) = start(&[1, 3, 5, 7, 9]).await;
    let options = waits(50, 5);
    let mut client = Client::open(address, credentials(), options).await.unwrap();
    assert!(
        client
            .send(&GetChassisStatus, Delivery::Retry)
            .await
            .unwrap()
            .power_on
    );
    assert!(counts.datagrams.load(Ordering::SeqCst) >= 10);
}

#[tokio::test]
async fn a_power_command_without_an_answer_was_sent_once_and_the_session_goes_on() {
    let (address, counts) = start(&[]).await;
    let mut client = Client::open(address, credentials(), waits(100, 3)).await.unwrap();
    let error = client
        .send(&ChassisControl::PowerDown, Delivery::Once)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoReply);
    assert!(
        client
            .send(&GetChassisStatus, Delivery::Retry)
            .await
            .unwrap()
            .power_on
    );
    assert_eq!(counts.power_commands.load(Ordering::SeqCst), 1);
}

/// Waits until the BMC has received `sent` datagrams: a retransmission may still be on its way.
async fn all_arrived(counts: &Counts, sent: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while counts.datagrams.load(Ordering::SeqCst) < sent && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        counts.datagrams.load(Ordering::SeqCst),
        sent,
        "one question per datagram"
    );
}

#[tokio::test]
async fn the_caller_s_check_is_asked_before_every_datagram_and_its_no_sends_nothing() {
    let (address, counts) = start(&[2]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let limit = Arc::new(AtomicUsize::new(usize::MAX));
    let before_send = {
        let (asked, limit) = (asked.clone(), limit.clone());
        Arc::new(move || {
            let allowed = asked.fetch_add(1, Ordering::SeqCst) < limit.load(Ordering::SeqCst);
            if allowed {
                Ok(())
            } else {
                Err(Withheld("the lease is lost".into()))
            }
        })
    };
    let options = Options {
        before_send,
        ..waits(50, 5)
    };
    let mut client = Client::open(address, credentials(), options.clone())
        .await
        .unwrap();
    client.send(&GetChassisStatus, Delivery::Retry).await.unwrap();
    let sent = asked.load(Ordering::SeqCst);
    all_arrived(&counts, sent).await;

    limit.store(sent, Ordering::SeqCst);
    let error = client
        .send(&ChassisControl::PowerUp, Delivery::Once)
        .await
        .unwrap_err();
    assert!(matches!(error, RequestError::Withheld { .. }), "{error}");
    let error = Client::open(address, credentials(), options).await.unwrap_err();
    assert!(matches!(error, OpenError::Withheld(_)), "{error}");
    assert_eq!(counts.power_commands.load(Ordering::SeqCst), 0);
    assert_eq!(counts.datagrams.load(Ordering::SeqCst), sent);
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let error = Client::open(address, credentials(), waits(30, 2))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(
        error.to_string(),
        "cannot open an IPMI session: no answer to Open Session"
    );
    assert!(!ping(address, &waits(30, 2)).await.unwrap());
}

#[tokio::test]
async fn a_bmc_is_found_without_a_session() {
    let (address, _) = start(&[]).await;
    assert!(ping(address, &patient()).await.unwrap());
    let question = GetChannelAuthCapabilities {
        channel: CHANNEL_PRESENT,
        extended: true,
        privilege: Privilege::Operator,
    };
    let capabilities = ask(address, &question, &patient()).await.unwrap();
    assert!(capabilities.speaks_rmcp_plus() && capabilities.types_15 == 0);
}
