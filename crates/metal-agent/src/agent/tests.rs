//! The loop on a fake machine against a server in the same process, over a pipe in memory: paused time runs both.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use agent_protocol::api::agent_server::{Agent, AgentServer};
use agent_protocol::api::{
    CreateServerResponse, HeartbeatRequest, HeartbeatResponse, MarkServerAsWipedRequest,
    MarkServerAsWipedResponse, ReconcileServerAddressesResponse,
};
use hardware_types::{Hardware, Mac};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response};

use super::*;
use crate::arguments::Arguments;
use crate::dhcp::Lease;
use crate::network::Joined;

const UUID: &str = "3e2501d2-e648-11e8-9b9f-000102030405";
const MAC: Mac = Mac::new([0x52, 0x54, 0, 0xaa, 0, 1]);

type Answer<T> = Result<T, Status>;

/// What the server answers, in turn, the last for ever; and what it was asked.
#[derive(Default)]
struct Script {
    create: VecDeque<Answer<CreateServerResponse>>,
    addresses: VecDeque<Answer<ReconcileServerAddressesResponse>>,
    poll: VecDeque<Answer<PollResponse>>,
    /// Answers take so long.
    delay: Duration,
    registrations: Vec<CreateServerRequest>,
    reported: Vec<Vec<String>>,
    polls: Vec<(Instant, PollRequest)>,
}

#[derive(Clone, Default)]
struct Services(Arc<Mutex<Script>>);

impl Services {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    async fn answer<T: Clone + Default>(
        &self,
        list: impl FnOnce(&mut Script) -> &mut VecDeque<Answer<T>>,
    ) -> Answer<Response<T>> {
        let (answer, delay) = {
            let mut script = self.script();
            let delay = script.delay;
            let list = list(&mut script);
            let answer = if list.len() > 1 {
                list.pop_front()
            } else {
                list.front().cloned()
            };
            (answer.unwrap_or_else(|| Ok(T::default())), delay)
        };
        sleep(delay).await;
        answer.map(Response::new)
    }
}

#[tonic::async_trait]
impl Agent for Services {
    async fn create_server(
        &self,
        request: Request<CreateServerRequest>,
    ) -> Answer<Response<CreateServerResponse>> {
        self.script().registrations.push(request.into_inner());
        self.answer(|script| &mut script.create).await
    }

    async fn reconcile_server_addresses(
        &self,
        request: Request<ReconcileServerAddressesRequest>,
    ) -> Answer<Response<ReconcileServerAddressesResponse>> {
        let addresses = request.into_inner().address.into_iter();
        let addresses = addresses.map(|address| format!("{} {}", address.r#type, address.address));
        self.script().reported.push(addresses.collect());
        self.answer(|script| &mut script.addresses).await
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Answer<Response<HeartbeatResponse>> {
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn mark_server_as_wiped(
        &self,
        _: Request<MarkServerAsWipedRequest>,
    ) -> Answer<Response<MarkServerAsWipedResponse>> {
        Ok(Response::new(MarkServerAsWipedResponse::default()))
    }

    async fn poll(&self, request: Request<PollRequest>) -> Answer<Response<PollResponse>> {
        self.script().polls.push((Instant::now(), request.into_inner()));
        self.answer(|script| &mut script.poll).await
    }
}

/// A machine whose console is a list.
struct Fake {
    services: Option<Services>,
    arguments: Result<Arguments, ArgumentError>,
    addresses: Mutex<VecDeque<Vec<IpAddr>>>,
    console: Mutex<Vec<String>>,
    rebooted: Mutex<Option<Instant>>,
}

impl Fake {
    fn new(services: Option<Services>) -> Self {
        Self {
            services,
            arguments: Ok(Arguments {
                endpoint: "10.0.2.2:8081".parse().unwrap(),
                mac: MAC,
            }),
            addresses: Mutex::new(VecDeque::from([vec!["10.0.2.15".parse().unwrap()]])),
            console: Mutex::default(),
            rebooted: Mutex::default(),
        }
    }

    /// Runs the agent to its restart; returns the seconds that it took.
    async fn run(&self) -> u64 {
        let start = Instant::now();
        run(self).await;
        let rebooted = self.rebooted.lock().unwrap().expect("the machine restarts");
        (rebooted - start).as_secs()
    }

    fn said(&self, text: &str) -> usize {
        let console = self.console.lock().unwrap();
        console.iter().filter(|line| line.contains(text)).count()
    }
}

impl Host for Fake {
    fn say(&self, text: &str) {
        self.console.lock().unwrap().push(text.into());
    }

    fn arguments(&self) -> Result<Arguments, ArgumentError> {
        self.arguments.clone()
    }

    async fn load_drivers(&self) {}

    async fn join_network(&self, mac: Mac) -> Result<Joined, JoinError> {
        assert_eq!(mac, MAC);
        Ok(Joined {
            interface: "eth0".into(),
            lease: Lease {
                address: Ipv4Addr::new(10, 0, 2, 15),
                prefix: 24,
                routes: Vec::new(),
                hostname: Some("node7".into()),
                mtu: None,
                server: Ipv4Addr::new(10, 0, 2, 2),
            },
        })
    }

    async fn inventory(&self) -> Result<Registration, InventoryError> {
        Ok(Registration {
            id: UUID.parse().unwrap(),
            hostname: String::new(),
            boot_mac: None,
            hardware: Hardware::default(),
        })
    }

    async fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = self.addresses.lock().unwrap();
        if addresses.len() > 1 {
            addresses.pop_front().unwrap()
        } else {
            addresses[0].clone()
        }
    }

    fn channel(&self, endpoint: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let (sender, receiver) = mpsc::unbounded_channel::<DuplexStream>();
        if let Some(services) = self.services.clone() {
            let incoming = futures::stream::unfold(receiver, async |mut receiver| {
                Some((Ok::<_, std::io::Error>(receiver.recv().await?), receiver))
            });
            let server = Server::builder().add_service(AgentServer::new(services));
            tokio::spawn(server.serve_with_incoming(incoming));
        }
        let connect = tower::service_fn(move |_| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let sent = sender.send(theirs);
            async move {
                sent.map_err(|_| std::io::Error::other("connection refused"))?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        Ok(Endpoint::new(format!("http://{endpoint}"))?.connect_with_connector_lazy(connect))
    }

    fn reboot(&self) {
        *self.rebooted.lock().unwrap() = Some(Instant::now());
    }
}

#[allow(clippy::unnecessary_wraps)] // stands in lists beside refusals
fn order(order: Order, reason: &str, poll_seconds: u32) -> Answer<PollResponse> {
    Ok(PollResponse {
        order: order.into(),
        reason: reason.into(),
        poll_seconds,
        ..PollResponse::default()
    })
}

fn services(polls: impl IntoIterator<Item = Answer<PollResponse>>) -> Services {
    let services = Services::default();
    services.script().poll = polls.into_iter().collect();
    services
}

#[tokio::test(start_paused = true)]
async fn a_machine_registers_reports_its_addresses_waits_and_restarts() {
    let services = services([
        order(Order::Wait, "not accepted", 7),
        order(Order::Wait, "not accepted", 7),
        order(Order::Reboot, "accepted", 0),
    ]);
    let machine = Fake::new(Some(services.clone()));
    assert_eq!(machine.run().await, 14);
    let script = services.script();
    assert_eq!(script.registrations.len(), 1);
    let registration = Registration::try_from(script.registrations[0].clone()).unwrap();
    assert_eq!(registration.id.to_string(), UUID);
    assert_eq!(registration.boot_mac, Some(MAC));
    assert_eq!(registration.hostname, "node7");
    assert_eq!(script.reported, [["InternalIP 10.0.2.15"]]);
    let waited: Vec<_> = script.polls.iter().map(|(_, poll)| poll.waited_seconds).collect();
    assert_eq!(waited, [0, 7, 14]);
    assert_eq!(script.polls[0].1.uuid, UUID);
    assert_eq!(script.polls[0].1.boot_mac, MAC.to_string());
    assert_eq!(
        machine.said("waiting: not accepted"),
        1,
        "a reason is shown when it changes"
    );
    assert_eq!(machine.said("restarting: accepted"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_polls_is_bounded() {
    let polls = [0, 1, 300, 301, u32::MAX].map(|seconds| order(Order::Wait, "", seconds));
    let services = services(polls.into_iter().chain([order(Order::Reboot, "", 0)]));
    Fake::new(Some(services.clone())).run().await;
    let script = services.script();
    let times = script
        .polls
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).as_secs());
    assert_eq!(times.collect::<Vec<_>>(), [5, 1, 300, 300, 300]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_forgotten_registers_again_and_goes_on_waiting() {
    let services = services([
        order(Order::Wait, "", 9),
        Err(Status::not_found("no Server")),
        order(Order::Reboot, "", 0),
    ]);
    let seconds = Fake::new(Some(services.clone())).run().await;
    assert_eq!(
        seconds,
        9 + 5,
        "one that is forgotten for ever does not ask without pause"
    );
    let script = services.script();
    assert_eq!(script.registrations.len(), 2);
    assert_eq!(script.reported.len(), 2);
    assert_eq!(
        script.polls[2].1.waited_seconds, 14,
        "the time since it registered first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_machine_shows_the_words_and_tries_every_five_seconds() {
    let refusals = [
        Status::permission_denied("this Server is in hands-off"),
        Status::failed_precondition("its MAC addresses are another's"),
        Status::invalid_argument("uuid: no"),
        Status::resource_exhausted("too many unaccepted Servers"),
    ];
    let services = services([order(Order::Reboot, "", 0)]);
    services.script().create = refusals
        .iter()
        .cloned()
        .map(Err)
        .chain([Ok(CreateServerResponse::default())])
        .collect();
    let machine = Fake::new(Some(services.clone()));
    assert_eq!(machine.run().await, 20);
    for refusal in refusals {
        assert_eq!(machine.said(refusal.message()), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_refused_for_ten_minutes_restarts() {
    let services = Services::default();
    services.script().create = VecDeque::from([Err(Status::permission_denied("go away"))]);
    let machine = Fake::new(Some(services.clone()));
    assert_eq!(machine.run().await, 610, "ten minutes and the countdown");
    assert_eq!(machine.said("cannot register: go away"), 1);
    assert_eq!(
        machine.said("error: the boot services gave no good answer for 10 min, the last: go away"),
        1
    );
    assert_eq!(services.script().registrations.len(), 121);
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_contact_for_ten_minutes_restarts() {
    let machine = Fake::new(None);
    let seconds = machine.run().await;
    assert!((580..=611).contains(&seconds), "{seconds}");
    assert_eq!(machine.said("connection refused"), 2, "{:?}", machine.console);
    assert_eq!(machine.said("restarting in"), 10);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_after_half_a_minute() {
    let services = Services::default();
    services.script().delay = Duration::from_hours(1);
    let machine = Fake::new(Some(services.clone()));
    machine.run().await;
    assert_eq!(machine.said("cannot register: no answer within 30 s"), 1);
    let registrations = services.script().registrations.len();
    assert!((10..=15).contains(&registrations), "{registrations}");
}

#[tokio::test(start_paused = true)]
async fn an_interruption_of_a_few_minutes_is_survived() {
    let down = std::iter::repeat_n(Err(Status::unavailable("leader changes")), 10);
    let polls = [order(Order::Wait, "", 5)].into_iter().chain(down);
    let services = services(polls.chain([order(Order::Reboot, "done", 0)]));
    let machine = Fake::new(Some(services.clone()));
    machine.run().await;
    assert_eq!(machine.said("restarting: done"), 1);
    assert_eq!(services.script().registrations.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_addresses_are_shown_once_and_stop_nothing() {
    let services = services([order(Order::Wait, "", 5), order(Order::Reboot, "", 0)]);
    services.script().addresses = VecDeque::from([Err(Status::permission_denied("not yours"))]);
    let machine = Fake::new(Some(services.clone()));
    machine.run().await;
    assert_eq!(services.script().reported.len(), 1);
    assert_eq!(machine.said("cannot report addresses: not yours"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_later_is_reported_too() {
    let services = services([
        order(Order::Wait, "", 5),
        order(Order::Wait, "", 5),
        order(Order::Reboot, "", 0),
    ]);
    let machine = Fake::new(Some(services.clone()));
    let both = vec!["10.0.2.15".parse().unwrap(), "fd00::15".parse().unwrap()];
    machine.addresses.lock().unwrap().push_back(both);
    machine.run().await;
    let want = [
        vec!["InternalIP 10.0.2.15"],
        vec!["InternalIP 10.0.2.15", "InternalIP fd00::15"],
    ];
    assert_eq!(services.script().reported, want);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shown_for_ten_seconds_before_the_restart() {
    let mut machine = Fake::new(None);
    machine.arguments = Err(ArgumentError::Missing("sidero.mac"));
    assert_eq!(machine.run().await, 10);
    assert_eq!(machine.said("error: kernel argument sidero.mac= is missing"), 1);
    assert_eq!(machine.said("restarting in"), 10);
}
