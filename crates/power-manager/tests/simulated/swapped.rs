//! Another BMC behind the address: what was meant for the first must not reach the second (I-13).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bmc_sim::verb::Verb;
use hardware_types::{PowerAction, PowerState};
use lifecycle::power::{Command, Outcome};
use lifecycle::{IdentityVerdict, compare_identity};
use power_manager::{Bmc, spawn};
use redfish_client::TlsPolicy;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{Driver, SHORT, World, admin, carried_out, told};

/// An address with one BMC or another behind it.
struct Address {
    port: u16,
    target: Arc<Mutex<SocketAddr>>,
}

impl Address {
    async fn of(target: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = socket.local_addr().unwrap().port();
        let target = Arc::new(Mutex::new(target));
        tokio::spawn(forward(socket, target.clone()));
        Self { port, target }
    }

    fn leads_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }
}

async fn forward(socket: Arc<UdpSocket>, target: Arc<Mutex<SocketAddr>>) {
    let mut ways: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut datagram = [0; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
        let way = if let Some(way) = ways.get(&from) {
            way.clone()
        } else {
            let way = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            tokio::spawn(answer(way.clone(), socket.clone(), from));
            ways.insert(from, way.clone());
            way
        };
        let to = *target.lock().unwrap();
        way.send_to(&datagram[..length], to).await.unwrap();
    }
}

async fn answer(way: Arc<UdpSocket>, socket: Arc<UdpSocket>, to: SocketAddr) {
    let mut datagram = [0; 2048];
    while let Ok(length) = way.recv(&mut datagram).await {
        socket.send_to(&datagram[..length], to).await.unwrap();
    }
}

/// Two machines that are on, with the same password, and an address that leads to the first.
async fn two() -> (World, Address) {
    let world = World::with(SHORT).await;
    world.press_button("one").await;
    world.press_button("two").await;
    let address = Address::of(world.member("one").ipmi.unwrap()).await;
    (world, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_meets_another_bmc_in_a_new_session_sends_it_nothing_before_it_has_said_what_it_is() {
    let (world, address) = two().await;
    let mut bmc = world.ipmi_bmc_at(address.port, "admin-secret", world.gate());
    let one = bmc.describe().await.unwrap();
    address.leads_to(world.member("two").ipmi.unwrap());
    // the first datagram goes out in the old session, which the other BMC does not know; the next ones log in
    for _ in 0..3 {
        bmc.command(Command::Off).await.unwrap_err();
    }
    let error = bmc.read(false).await.unwrap_err();
    assert!(error.to_string().contains("another BMC answers"), "{error}");
    assert_eq!(world.commands("two", Verb::Off), 0);
    assert!(world.member("two").bmc.counters().logins_started > 0);

    let two = bmc.describe().await.unwrap();
    assert_ne!(one.identity, two.identity);
    assert_eq!(bmc.read(false).await.unwrap().power, PowerState::On);
    bmc.command(Command::Off).await.unwrap();
    assert_eq!(
        world.commands("two", Verb::Off),
        1,
        "whoever compared them may go on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_one_machine_never_reaches_the_bmc_that_took_its_address() {
    let (world, address) = two().await;
    let settings = world.settings("one", Driver::Ipmi, "admin-secret");
    let gate = world.gate();
    let bmc = world.ipmi_bmc_at(address.port, "admin-secret", gate.clone());
    let handle = spawn(bmc, gate, settings, world.parts.clone());
    let one = told(&handle, |report| report.power.is_some()).await.info;
    address.leads_to(world.member("two").ipmi.unwrap());
    let outcome = carried_out(&handle, world.intent(PowerAction::Off)).await;
    assert!(matches!(outcome, Outcome::Unconfirmed(_)), "{outcome:?}");
    assert_eq!(world.commands("two", Verb::Off), 0);
    assert_eq!(world.member("two").bmc.status().power, PowerState::On);
    // it is watched all the same, so that somebody can compare
    told(&handle, |report| report.info.is_some() && report.info != one).await;
}

/// Forwards connections to one target until it has another one, which ends them.
async fn connections(listener: TcpListener, mut target: watch::Receiver<SocketAddr>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            changed = target.changed() => {
                if changed.is_err() {
                    return;
                }
                open.abort_all();
            }
            accepted = listener.accept() => {
                let (mut near, _) = accepted.unwrap();
                let to = *target.borrow();
                let mut far = TcpStream::connect(to).await.unwrap();
                open.spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_system_behind_a_redfish_address_is_described_anew_and_gets_nothing() {
    let world = World::with(SHORT).await;
    world.press_button("two").await;
    let server = world.member("one").bmc.config().machine.uuid;
    let (switch, target) = watch::channel(world.member("one").redfish.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("redfish://{}", listener.local_addr().unwrap());
    tokio::spawn(connections(listener, target));
    let gate = world.gate();
    let (endpoint, policy) = (endpoint.parse().unwrap(), TlsPolicy::Insecure);
    let bmc = World::redfish_bmc_at(endpoint, admin("admin-secret"), &policy, gate.clone());
    let settings = world.settings("one", Driver::Redfish, "admin-secret");
    let handle = spawn(bmc, gate, settings, world.parts.clone());
    let verdict = |report: &power_manager::Report| {
        let identity = report.info.as_ref().and_then(|info| info.identity);
        compare_identity(server, identity, &[])
    };
    told(&handle, |report| verdict(report) == IdentityVerdict::Same).await;
    switch.send(world.member("two").redfish.unwrap()).unwrap();
    let conflict = told(&handle, |report| verdict(report) == IdentityVerdict::Contradicts).await;
    assert_eq!(conflict.power, Some(PowerState::On), "it is watched all the same");
    let outcome = carried_out(&handle, world.intent(PowerAction::Off)).await;
    assert!(matches!(outcome, Outcome::Unconfirmed(_)), "{outcome:?}");
    assert_eq!(world.commands("two", Verb::Off), 0);
}
