use std::net::SocketAddr;
use std::sync::Arc;

use ipmi::CipherSuite;
use ipmi::codec::{OpenSessionRequest, Rakp1, RmcpPlus, Role};
use proptest::prelude::*;

use super::*;
use crate::bmc::tests::bmc;
use crate::fault::{Fault, Spec};

fn front() -> IpmiFront {
    let bmc = Arc::new(bmc().0);
    let config = bmc.config().ipmi.clone().unwrap();
    IpmiFront::new(bmc, &config)
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn open_session() -> Vec<u8> {
    let request = OpenSessionRequest {
        tag: 0,
        privilege: 4,
        console_id: 1,
        algorithms: CipherSuite::Suite17.algorithms(),
    };
    RmcpPlus::plain(PayloadType::OpenSessionRequest, &request.encode())
}

/// RMCP+ status code of an answer to Open Session or RAKP (IPMI 2.0 §13.24).
fn status(reply: &Reply) -> u8 {
    reply.datagram[17]
}

#[tokio::test(start_paused = true)]
async fn the_fifth_session_is_refused_and_a_restart_of_the_bmc_ends_all() {
    let mut front = front();
    let statuses: Vec<_> = (1..=5)
        .map(|port| status(&front.datagram(&open_session(), peer(port)).unwrap()))
        .collect();
    assert_eq!(statuses, [0, 0, 0, 0, 1], "insufficient resources");
    let origin = crate::machine::Origin::machine();
    front.bmc.reset_bmc(&origin, Protocol::Ipmi).unwrap();
    assert!(
        front.datagram(&open_session(), peer(6)).is_none(),
        "nobody listens"
    );
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(status(&front.datagram(&open_session(), peer(6)).unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_counts_when_it_begins() {
    let mut front = front();
    let opened = front.datagram(&open_session(), peer(1)).unwrap();
    let bmc_id = u32::from_le_bytes(opened.datagram[24..28].try_into().unwrap());
    let rakp1 = Rakp1 {
        tag: 0,
        bmc_id,
        random: [0; 16],
        role: Role(0x14),
        user: ipmi::UserName::new("admin").unwrap(),
    };
    let datagram = RmcpPlus::plain(PayloadType::Rakp1, &rakp1.encode());
    assert!(front.datagram(&datagram, peer(1)).is_some());
    // a retransmission is no second login
    assert!(front.datagram(&datagram, peer(1)).is_some());
    let counters = front.bmc.counters();
    assert_eq!(
        (
            counters.logins_started,
            counters.logins_accepted,
            counters.logins_refused()
        ),
        (1, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_datagram_that_makes_no_sense_is_counted_and_dropped() {
    let mut front = front();
    assert!(front.datagram(&[0x06, 0x00], peer(1)).is_none());
    assert_eq!(front.bmc.counters().malformed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_reply_carries_its_delay() {
    let mut front = front();
    front
        .bmc
        .set_fault(
            Fault::Delay,
            Spec {
                seconds: Some(1.5),
                ..Spec::default()
            },
        )
        .unwrap();
    let reply = front.datagram(&open_session(), peer(1)).unwrap();
    assert_eq!(reply.delay, Duration::from_millis(1500));
}

proptest! {
    #[test]
    fn any_datagram_is_answered_or_dropped(head in 0..40usize, tail: Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let mut front = front();
        front.datagram(&tail, peer(1));
        let open = open_session();
        let mutated = [&open[..head.min(open.len())], &tail].concat();
        front.datagram(&mutated, peer(1));
    }
}
