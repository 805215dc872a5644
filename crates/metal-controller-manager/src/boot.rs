//! The boot services of this process: DHCP proxy, TFTP, HTTP and the agent's API, on every replica, leader or not.

mod config;
mod directory;
mod environment;
mod evidence;
mod inventory;
mod macs;
mod report;
mod token;
mod wipe;

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boot_protocols::dhcp::{Class, Site as DhcpSite};
use boot_protocols::ipxe::{self, Endpoint};
use boot_services::http::{self, Config};
use boot_services::{Directory as _, HttpMetrics, Sighting, dhcp, sightings, tftp};
use controller_runtime::events::Events;
use controller_runtime::process::Process;
use controller_runtime::writer::Writer;
use crd_types::infrastructure::ServerBinding;
use crd_types::metal::Server;
use futures::StreamExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, lookup_host};
use tracing::warn;

use self::directory::Machines;
use self::evidence::Evidence;
use self::macs::Macs;
use self::token::Keys;
use crate::args::BootFlags;
use crate::server::facts::Site;
use crate::server::observed::AGENT_API;

/// Longest pause between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Field manager of what machines were seen booting.
const BOOT_SERVICES: &str = "boot-services";
/// Field manager of the record of machine configs.
const METADATA: &str = "metadata";
/// Who registers machines, as the original's events name it.
const REPORTER: &str = "sidero-server";

/// What the services are started with.
pub(crate) struct Parts {
    pub(crate) client: Client,
    pub(crate) site: Arc<Site>,
    /// Of this process, for events.
    pub(crate) identity: String,
    /// Where the keys of boot tokens are kept.
    pub(crate) namespace: String,
    /// What a machine is given between two signs of life.
    pub(crate) silence: Duration,
}

/// Opens all ports and starts all services as parts of `process`.
pub(crate) async fn start(
    process: &mut Process,
    registry: &mut Registry,
    flags: &BootFlags,
    parts: Parts,
) -> anyhow::Result<()> {
    let endpoint = flags.endpoint()?;
    let address = resolved(&endpoint).await?;
    // Machines are told the address: their agent has no resolver.
    let endpoint = Endpoint::new(&address.ip().to_string(), address.port())?;
    let arguments = flags.extra_agent_kernel_args();
    ipxe::kernel("agent-amd64", arguments.iter().map(String::as_str)).context("--extra-agent-kernel-args")?;
    let listener = listen(flags.http_port)
        .await
        .with_context(|| format!("--http-port: cannot listen at {}", flags.http_port))?;
    let stop = process.stop();
    let macs = Arc::<Macs>::default();
    let index = macs.clone();
    let servers = cache(
        process,
        "cache of Servers",
        Api::<Server>::all(parts.client.clone()),
        move |event| index.note(event),
    );
    let bindings = Api::<PartialObjectMeta<ServerBinding>>::all(parts.client.clone());
    let bindings = cache(process, "cache of ServerBindings", bindings, |_| {});

    let evidence = Arc::new(Evidence::new(servers.clone(), parts.site.clone()));
    let writer = Writer::new(parts.client.clone(), BOOT_SERVICES);
    process.start(
        "boot evidence",
        endless(evidence.clone().write(writer, stop.clone())),
    );
    let machines = Arc::new(Machines {
        keys: Keys::of(&parts.client, &parts.namespace).await?,
        // as the original: three within the time, and one in ten seconds at least, so that people see it move
        heartbeat: (parts.silence / 3).min(HEARTBEAT),
        site: parts.site,
        servers,
        bindings,
        writer: Writer::new(parts.client.clone(), AGENT_API),
        metadata: Writer::new(parts.client.clone(), METADATA),
        events: Events::new(parts.client.clone(), REPORTER, &parts.identity),
        macs,
        evidence,
        data_dir: flags.data_dir.clone(),
        unaccepted_limit: flags.max_unaccepted_servers,
        client: parts.client,
    });
    start_udp(process, registry, flags, address, machines.clone())?;
    let config = Config {
        endpoint,
        data_dir: flags.data_dir.clone(),
        disk_method: flags.boot_from_disk_method,
        extra_agent_kernel_args: arguments,
        poll: flags.agent_poll_period,
        agent_wait: flags.agent_wait,
    };
    let metrics = HttpMetrics::register(registry);
    let configs = metadata_server::router(machines.clone());
    process.start(
        "boot services",
        endless(http::serve(listener, config, machines, configs, metrics, stop)),
    );
    Ok(())
}

/// DHCP proxy and TFTP, which know IPv4 only.
fn start_udp(
    process: &mut Process,
    registry: &mut Registry,
    flags: &BootFlags,
    endpoint: SocketAddr,
    machines: Arc<Machines>,
) -> anyhow::Result<()> {
    if flags.disable_dhcp_proxy && flags.disable_tftp {
        return Ok(());
    }
    let IpAddr::V4(address) = endpoint.ip() else {
        warn!(%endpoint, "no DHCP proxy and no TFTP: they need an endpoint with an IPv4 address");
        return Ok(());
    };
    let seen: Arc<dyn sightings::Sightings> = Arc::new(Seen(machines));
    if !flags.disable_dhcp_proxy {
        match dhcp::Sockets::bind(address) {
            Ok(sockets) => {
                let site = DhcpSite {
                    endpoint: address,
                    api_port: endpoint.port(),
                };
                let metrics = dhcp::Metrics::register(registry);
                let proxy = dhcp::serve(
                    sockets,
                    site,
                    dhcp::Quotas::default(),
                    metrics,
                    seen.clone(),
                    process.stop(),
                );
                process.start("DHCP proxy", endless(proxy));
            }
            // In a pod network nobody has the endpoint's address: the rest works all the same.
            Err(error @ dhcp::BindError::NoInterface(_)) => warn!("no DHCP proxy: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if !flags.disable_tftp {
        let folder = flags.data_dir.join("tftp");
        let files = tftp::Files::of(&folder)
            .context("--data-dir: loaders are served by TFTP (--disable-tftp does without)")?;
        // Behind a Service the endpoint's address is not ours.
        let socket = tftp::bind(address).or_else(|_| tftp::bind(Ipv4Addr::UNSPECIFIED))?;
        let metrics = tftp::Metrics::register(registry);
        process.start(
            "TFTP",
            endless(tftp::serve(socket, files, metrics, seen, process.stop())),
        );
    }
    Ok(())
}

/// What DHCP and TFTP saw, by machine.
struct Seen(Arc<Machines>);

impl sightings::Sightings for Seen {
    fn seen(&self, sighting: &sightings::Sighting<'_>) {
        // A TFTP client has only an address, which says little about who it is.
        let sightings::Sighting::Dhcp {
            mac,
            machine,
            boot_file,
            class,
        } = sighting
        else {
            return;
        };
        // It asks for an address as often as it likes: only firmware shows a boot.
        if *class == Class::Ipxe {
            return;
        }
        if let Some(id) = self.0.macs.machine(*mac, *machine) {
            let file = (*boot_file).to_owned();
            self.0.seen(id, Sighting::Dhcp { file });
        }
    }
}

/// A cache of all objects of a kind, kept up to date by a part of the process; `note` follows its events.
fn cache<K>(
    process: &mut Process,
    part: &'static str,
    api: Api<K>,
    note: impl Fn(&watcher::Event<K>) + Send + 'static,
) -> Store<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let stop = process.stop();
    let stream = watcher(api, watcher::Config::default()).default_backoff();
    process.start(part, async move {
        let mut stream = std::pin::pin!(reflector::reflector(writer, stream));
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return Ok::<_, io::Error>(()),
                event = stream.next() => event,
            };
            match event {
                Some(Ok(event)) => note(&event),
                Some(Err(error)) => warn!(part, %error, "the watch is broken; it is begun anew"),
                None => return Err(io::Error::other("the watch ended")),
            }
        }
    });
    store
}

/// A part that has no error to end with.
async fn endless(work: impl Future<Output = ()>) -> Result<(), Infallible> {
    work.await;
    Ok(())
}

/// All addresses of IPv6 and IPv4, or of IPv4 where there is no other.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
        bound => bound,
    }
}

/// The endpoint's address, of IPv4 if it has one: DHCP proxy and TFTP know no other.
async fn resolved(endpoint: &Endpoint) -> anyhow::Result<SocketAddr> {
    let text = endpoint.to_string();
    let found = lookup_host(&text)
        .await
        .with_context(|| format!("--api-endpoint: cannot resolve {text}"))?;
    let all: Vec<_> = found.collect();
    let chosen = all
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| all.first());
    chosen
        .copied()
        .with_context(|| format!("--api-endpoint: {text} has no address"))
}
