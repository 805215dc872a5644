use std::net::Ipv4Addr;
use std::sync::Mutex;

use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SITE: Site = Site {
    endpoint: LOOPBACK,
    api_port: 8081,
};

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Sightings for Seen {
    fn seen(&self, sighting: &Sighting<'_>) {
        self.0.lock().unwrap().push(format!("{sighting:?}"));
    }
}

/// A REQUEST or DISCOVER of a BIOS machine's ROM.
fn packet(kind: u8) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
    packet[236..].copy_from_slice(&[99, 130, 83, 99]);
    packet.extend([53, 1, kind, 93, 2, 0, 0, 97, 17, 0]);
    packet.extend([
        0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
    ]);
    packet.push(255);
    packet
}

/// The proxy on the loopback interface, on ports that the kernel chose.
struct Running {
    seen: Arc<Seen>,
    registry: Registry,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// A client's socket, connected to the PXE port.
    client: UdpSocket,
}

async fn start() -> Running {
    let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let sockets = Sockets::bind_ports(LOOPBACK, 0, 0).unwrap();
    let client = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    client.connect(sockets.pxe.local_addr().unwrap()).await.unwrap();
    let task = tokio::spawn(serve(
        sockets,
        SITE,
        Quotas::default(),
        metrics,
        seen.clone(),
        stop.clone(),
    ));
    Running {
        seen,
        registry,
        stop,
        task,
        client,
    }
}

impl Running {
    /// Sends a message and takes the answer to it.
    async fn ask(&self, packet: &[u8]) -> Vec<u8> {
        self.client.send(packet).await.unwrap();
        let mut answer = vec![0; 2000];
        let receive = self.client.recv(&mut answer);
        let length = timeout(Duration::from_secs(5), receive).await.unwrap().unwrap();
        answer.truncate(length);
        answer
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn a_client_is_answered_from_the_endpoints_address_and_seen() {
    let running = start().await;
    let answer = running.ask(&packet(3)).await;
    assert!(answer.starts_with(&[2, 1, 6]));
    let seen = running.seen.0.lock().unwrap().clone();
    assert_eq!(
        seen,
        [
            "Dhcp { mac: 52:54:00:77:00:01, machine: Some(12345678-9abc-def0-1122-334455667788), class: Bios, \
          boot_file: \"undionly.kpxe\" }"
        ]
    );
    running.stop.cancel();
    timeout(Duration::from_secs(5), running.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn what_is_too_long_malformed_or_not_ours_is_counted_and_dropped() {
    let running = start().await;
    let padded = |length: usize| {
        let mut packet = packet(3);
        packet.resize(length, 0);
        packet
    };
    for bad in [
        &padded(MAX_MESSAGE + 1),
        &b"rubbish".to_vec(),
        &packet(1),
        &vec![],
    ] {
        running.client.send(bad).await.unwrap();
    }
    // the longest allowed is still answered; all before it were handled before it
    running.ask(&padded(MAX_MESSAGE)).await;
    let metrics = running.metrics();
    for (outcome, count) in [("oversized", 1), ("malformed", 2), ("not-ours", 1)] {
        let line = format!("boot_dhcp_messages_total{{port=\"4011\",outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn one_nic_that_asks_on_and_on_is_answered_a_burst() {
    let (seen, sender) = (
        Arc::new(Seen::default()),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    );
    let mut proxy = Proxy {
        interface: "lo".into(),
        site: SITE,
        limits: Limits::new(Quotas::default()),
        metrics: Metrics::default(),
        sightings: seen.clone(),
    };
    let source = "127.0.0.2:4011".parse().unwrap();
    let mut refused = 0;
    for _ in 0..100 {
        let outcome = proxy.answer(&packet(3), source, Port::Pxe, &sender).await;
        refused += usize::from(outcome == Err("limit-mac"));
    }
    let answered = seen.0.lock().unwrap().len();
    assert_eq!(answered + refused, 100);
    let burst = Quotas::default().burst_per_mac.get() as usize;
    assert!((burst..burst + 10).contains(&answered), "{answered} answered");
}

#[tokio::test]
async fn an_address_that_no_interface_has_is_named_with_what_to_do() {
    let error = Sockets::bind("192.0.2.1".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("192.0.2.1") && error.contains("--disable-dhcp-proxy"),
        "{error}"
    );
}
