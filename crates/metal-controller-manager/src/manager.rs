//! The process: what is started, in which order, and who may act.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use controller_runtime::backoff::{Backoff, Pauses};
use controller_runtime::client::connect;
use controller_runtime::controller::{self, CONCURRENCY};
use controller_runtime::events::Events;
use controller_runtime::health::{self, Readiness, register_leadership};
use controller_runtime::lease::{Elector, Leadership, unique_identity};
use controller_runtime::process::{BoxError, Process, allow_open_files, stop_on_signals};
use controller_runtime::telemetry;
use controller_runtime::writer::Writer;
use crd_types::infrastructure::{MetalMachine, ServerBinding};
use crd_types::metal::Server;
use crd_types::names::PROVIDER_ID_PREFIX;
use crd_types::names::annotations::request;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt as _};
use power_manager::Clock;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::bmcs::{Bmcs, Pace};
use crate::intents::Intents;
use crate::server::facts::Site;
use crate::server::{Servers, refers_to};
use crate::server_binding::ServerBindings;
use crate::{Args, boot, environment, server_class};

/// Name of the lease, as the original has it: both exclude each other.
const LEASE: &str = "controller-leader-election-sidero-controller-manager";
/// Field manager and reporter of the Server controller.
const SERVER_CONTROLLER: &str = "server-controller";
/// Who reports events.
const REPORTER: &str = "sidero-controller-manager";
/// How often actors of Servers that are gone are looked for. Nothing is sent for them meanwhile: their gate is shut.
const SWEEP: Duration = Duration::from_secs(5);
/// Annotations by which users ask for something.
const REQUESTS: &[&str] = &[request::POWER, request::REBOOT, request::RESUME];

/// Runs the manager until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.logging_format)?;
    // reqwest and kube take the process's provider; whoever was first has installed the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    allow_open_files(boot_services::OPEN_FILES);
    let stop = stop_on_signals().context("cannot wait for signals")?;
    let client = connect(args.kubeconfig.as_deref()).await?;
    let site = Arc::new(Site {
        installation: installation(&client).await?,
    });
    info!(installation = site.installation, "starts");

    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| "metal-controller-manager".into());
    let identity = unique_identity(&instance);
    let mut registry = Registry::default();
    let metrics = controller::Metrics::register(&mut registry);
    let elector = args.enable_leader_election.then(|| {
        let (namespace, timings) = (&args.leader_election_namespace, args.timings.lease());
        Elector::new(client.clone(), namespace, LEASE, identity.clone(), timings)
    });
    let elector = elector.transpose()?;
    let leadership = elector
        .as_ref()
        .map_or_else(Leadership::unelected, Elector::leadership);
    register_leadership(&mut registry, LEASE, leadership.clone());
    let listener = TcpListener::bind(args.health_addr).await;
    let listener =
        listener.with_context(|| format!("--health-addr: cannot listen at {}", args.health_addr))?;

    let mut process = Process::new(stop);
    let parts = boot::Parts {
        client: client.clone(),
        site: site.clone(),
        identity: identity.clone(),
        namespace: args.leader_election_namespace.clone(),
        silence: args.timings.lifecycle().boot,
    };
    boot::start(&mut process, &mut registry, &args.boot, parts).await?;
    let parts = environment::Parts {
        client: client.clone(),
        identity: &identity,
        leadership: leadership.clone(),
        metrics: metrics.clone(),
    };
    let environments = environment::start(&mut process, &args.boot.data_dir, parts)?;
    process.start(
        "health",
        health::serve(listener, Readiness::default(), Arc::new(registry), process.stop()),
    );
    let term = Term {
        client,
        leadership,
        site,
        identity,
        metrics,
        environments,
        args,
    };
    let stop = process.stop();
    process.start("controllers", async move {
        match elector {
            Some(elector) => elector.run(stop, |token| term.clone().work(token)).await,
            None => term.work(stop).await,
        }
        .map_err(BoxError::from)
    });
    Ok(process.run().await?)
}

/// What every term of leadership begins with.
#[derive(Clone)]
struct Term {
    client: Client,
    leadership: Leadership,
    site: Arc<Site>,
    identity: String,
    metrics: controller::Metrics,
    /// Told that a term begins.
    environments: mpsc::UnboundedSender<()>,
    args: Args,
}

impl Term {
    /// Reconciles until the term is over; then all sessions are closed.
    async fn work(self, over: CancellationToken) -> Result<(), Infallible> {
        // Closed only when the process ends.
        self.environments.unbounded_send(()).ok();
        let classes = server_class::run(
            self.client.clone(),
            &self.identity,
            self.metrics.clone(),
            over.clone(),
        );
        let flags = &self.args.default_environment;
        let default = environment::keep_default(self.client.clone(), flags, over.clone());
        let (wake, woken) = mpsc::unbounded();
        let controller = Controller::new(
            Api::<Server>::all(self.client.clone()),
            watcher::Config::default(),
        );
        let servers = controller.store();
        let secrets = Api::<PartialObjectMeta<Secret>>::all(self.client.clone());
        let users = servers.clone();
        let controller = controller
            .watches(secrets, watcher::Config::default(), move |secret| {
                let name = format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name_any());
                users_of(&users, &name)
            })
            .watches(
                Api::<PartialObjectMeta<ServerBinding>>::all(self.client.clone()),
                watcher::Config::default(),
                // it has the Server's name
                |binding| Some(ObjectRef::new(&binding.name_any())),
            )
            .watches(
                Api::<MetalMachine>::all(self.client.clone()),
                watcher::Config::default(),
                |machine| server_of(&machine),
            )
            .reconcile_on(woken);
        let reconciler = Arc::new(self.reconciler(servers, wake));
        let sweep = async {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                reconciler.bmcs.sweep().await;
            }
        };
        let reconcile = controller::run(
            controller,
            reconciler.clone(),
            self.metrics.clone(),
            CONCURRENCY,
            over.clone(),
        );
        let bindings = self.server_bindings(&over);
        // Boxed: a controller's future is large.
        let all = Box::pin(async { tokio::join!(reconcile, bindings, classes, default) });
        tokio::select! {
            _ = all => {}
            () = sweep => {}
        }
        reconciler.bmcs.stop_all().await;
        Ok(())
    }

    async fn server_bindings(&self, over: &CancellationToken) {
        let controller = Controller::new(
            Api::<ServerBinding>::all(self.client.clone()),
            watcher::Config::default(),
        );
        let reconciler = Arc::new(ServerBindings {
            client: self.client.clone(),
            writer: Writer::new(self.client.clone(), SERVER_CONTROLLER),
            backoff: Backoff::new(Pauses::default(), &[]),
            events: Events::new(self.client.clone(), REPORTER, &self.identity),
            deadline: self.args.timings.lifecycle().release,
        });
        let metrics = self.metrics.clone();
        controller::run(controller, reconciler, metrics, CONCURRENCY, over.clone()).await;
    }

    fn reconciler(&self, servers: Store<Server>, wake: mpsc::UnboundedSender<ObjectRef<Server>>) -> Servers {
        let timings = &self.args.timings;
        let pace = Pace {
            timings: timings.lifecycle(),
            poll: timings.power_check_period,
            backoff: (timings.bmc_first_retry, timings.bmc_longest_retry),
        };
        let intents = Arc::new(Intents::new(self.client.clone(), self.leadership.clone()));
        let (site, leadership) = (self.site.clone(), self.leadership.clone());
        Servers {
            client: self.client.clone(),
            writer: Writer::new(self.client.clone(), SERVER_CONTROLLER),
            backoff: Backoff::new(Pauses::default(), REQUESTS),
            events: Events::new(self.client.clone(), REPORTER, &self.identity),
            intents: intents.clone(),
            since: Clock::system().now(),
            bmcs: Bmcs::new(site, leadership, servers, pace, intents, wake),
        }
    }
}

/// The Server that a MetalMachine has.
fn server_of(machine: &MetalMachine) -> Option<ObjectRef<Server>> {
    let provider_id = machine.spec.provider_id.as_deref()?;
    provider_id.strip_prefix(PROVIDER_ID_PREFIX).map(ObjectRef::new)
}

/// The Servers whose credentials are in a Secret.
fn users_of(servers: &Store<Server>, secret: &str) -> Vec<ObjectRef<Server>> {
    let all = servers.state();
    let users = all.iter().filter(|server| refers_to(server, secret));
    users.map(|server| ObjectRef::from_obj(&**server)).collect()
}

/// Names the management cluster, wherever its objects are moved or restored to.
async fn installation(client: &Client) -> anyhow::Result<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let system = namespaces
        .get("kube-system")
        .await
        .context("cannot read namespace kube-system")?;
    system.uid().context("namespace kube-system has no uid")
}
