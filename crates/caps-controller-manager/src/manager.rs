//! The process: what is started, in which order, and who may act.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Context as _;
use controller_runtime::backoff::{Backoff, Pauses};
use controller_runtime::client::connect;
use controller_runtime::controller::{self, CONCURRENCY};
use controller_runtime::events::Events;
use controller_runtime::health::{self, Readiness, register_leadership};
use controller_runtime::lease::{Elector, Leadership, unique_identity};
use controller_runtime::process::{BoxError, Process, stop_on_signals};
use controller_runtime::telemetry::{self, causes};
use controller_runtime::writer::Writer;
use crd_types::cluster_api::{Cluster, Machine};
use crd_types::infrastructure::{MetalCluster, MetalMachine, ServerBinding};
use crd_types::metal::{Server, ServerClass};
use crd_types::names::{PROVIDER_ID_PREFIX, labels};
use futures::StreamExt as _;
use futures::channel::mpsc;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Args;
use crate::metal_cluster::MetalClusters;
use crate::metal_machine::MetalMachines;
use crate::server_binding::ServerBindings;
use crate::workload::Workloads;

/// Name of the lease, as the original has it: both exclude each other.
const LEASE: &str = "controller-leader-election-capm";
/// Field manager.
const CAPS: &str = "caps";
/// Reporter of events.
const REPORTER: &str = "caps-controller-manager";

/// Runs the manager until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.logging_format)?;
    // kube takes the process's provider; whoever was first has installed the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    let stop = stop_on_signals().context("cannot wait for signals")?;
    let client = connect(args.kubeconfig.as_deref()).await?;
    let identity = unique_identity(&std::env::var("HOSTNAME").unwrap_or_else(|_| REPORTER.into()));
    info!("starts");

    let mut registry = Registry::default();
    let metrics = controller::Metrics::register(&mut registry);
    let elector = args.enable_leader_election.then(|| {
        let namespace = &args.leader_election_namespace;
        Elector::new(client.clone(), namespace, LEASE, identity.clone(), args.lease())
    });
    let elector = elector.transpose()?;
    let leadership = elector
        .as_ref()
        .map_or_else(Leadership::unelected, Elector::leadership);
    register_leadership(&mut registry, LEASE, leadership);
    let listener = TcpListener::bind(args.health_addr)
        .await
        .with_context(|| format!("--health-addr: cannot listen at {}", args.health_addr))?;

    let mut process = Process::new(stop);
    process.start(
        "health",
        health::serve(listener, Readiness::default(), Arc::new(registry), process.stop()),
    );
    let term = Term {
        client,
        identity,
        metrics,
    };
    let stop = process.stop();
    process.start("controllers", async move {
        match elector {
            Some(elector) => elector.run(stop, |over| term.clone().work(over)).await,
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
    identity: String,
    metrics: controller::Metrics,
}

impl Term {
    /// Reconciles until the term is over.
    async fn work(self, over: CancellationToken) -> Result<(), Infallible> {
        let (servers, read_servers) = self.cache::<Server>(&over);
        let (classes, read_classes) = self.cache::<ServerClass>(&over);
        let ready = async {
            // what could be taken is not known before
            let both = async {
                servers.wait_until_ready().await.ok();
                classes.wait_until_ready().await.ok();
            };
            if over.run_until_cancelled(both).await.is_some() {
                let clusters = self.metal_clusters(&over);
                let machines = self.metal_machines(servers.clone(), classes.clone(), &over);
                let bindings = self.server_bindings(servers.clone(), &over);
                tokio::join!(clusters, machines, bindings);
            }
        };
        // Boxed: a controller's future is large.
        Box::pin(async { tokio::join!(read_servers, read_classes, ready) }).await;
        Ok(())
    }

    fn cache<K>(&self, over: &CancellationToken) -> (Store<K>, impl Future<Output = ()> + use<K>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let stream =
            watcher(Api::<K>::all(self.client.clone()), watcher::Config::default()).default_backoff();
        let over = over.clone();
        let read = async move {
            let read = reflector::reflector(writer, stream).for_each(async |event| {
                if let Err(error) = event {
                    let kind = K::kind(&());
                    warn!(%kind, error = causes(&error), "the watch is broken; it is begun anew");
                }
            });
            over.run_until_cancelled(read).await;
        };
        (store, read)
    }

    async fn metal_clusters(&self, over: &CancellationToken) {
        let controller = Controller::new(
            Api::<MetalCluster>::all(self.client.clone()),
            watcher::Config::default(),
        );
        let known = controller.store();
        let controller = controller.watches(
            Api::<Cluster>::all(self.client.clone()),
            watcher::Config::default(),
            move |cluster| of_cluster(&known, cluster.namespace().as_deref(), &cluster.name_any()),
        );
        let reconciler = Arc::new(MetalClusters {
            client: self.client.clone(),
            writer: Writer::new(self.client.clone(), CAPS),
            backoff: Backoff::new(Pauses::default(), &[]),
        });
        controller::run(
            controller,
            reconciler,
            self.metrics.clone(),
            CONCURRENCY,
            over.clone(),
        )
        .await;
    }

    async fn metal_machines(
        &self,
        servers: Store<Server>,
        classes: Store<ServerClass>,
        over: &CancellationToken,
    ) {
        let (wake, woken) = mpsc::unbounded();
        let controller = Controller::new(
            Api::<MetalMachine>::all(self.client.clone()),
            watcher::Config::default(),
        );
        let known = controller.store();
        let (of_servers, of_clusters, machines) = (known.clone(), known.clone(), known.clone());
        let controller = controller
            .watches(
                Api::<ServerBinding>::all(self.client.clone()),
                watcher::Config::default(),
                |binding| {
                    let reference = &binding.spec.metal_machine_ref;
                    let name = reference.name.as_deref()?;
                    Some(ObjectRef::new(name).within(reference.namespace.as_deref()?))
                },
            )
            .watches(
                Api::<Machine>::all(self.client.clone()),
                watcher::Config::default(),
                move |machine| of_machine(&known, &machine),
            )
            .watches(
                Api::<Cluster>::all(self.client.clone()),
                watcher::Config::default(),
                move |cluster| of_cluster(&of_clusters, cluster.namespace().as_deref(), &cluster.name_any()),
            )
            .watches(
                Api::<Server>::all(self.client.clone()),
                watcher::Config::default(),
                // whoever waits for one may take it, and whoever gives it back waits for it
                move |server| concerned(&of_servers, &server.name_any()),
            )
            .reconcile_on(woken);
        let reconciler = Arc::new(MetalMachines {
            writer: Writer::new(self.client.clone(), CAPS),
            bindings: Writer::new(self.client.clone(), CAPS),
            backoff: Backoff::new(Pauses::default(), &[]),
            events: Events::new(self.client.clone(), REPORTER, &self.identity),
            workloads: Workloads::new(self.client.clone(), wake),
            servers,
            classes,
            machines,
            client: self.client.clone(),
        });
        controller::run(
            controller,
            reconciler,
            self.metrics.clone(),
            CONCURRENCY,
            over.clone(),
        )
        .await;
    }

    async fn server_bindings(&self, servers: Store<Server>, over: &CancellationToken) {
        let controller = Controller::new(
            Api::<ServerBinding>::all(self.client.clone()),
            watcher::Config::default(),
        )
        .watches(
            Api::<Server>::all(self.client.clone()),
            watcher::Config::default(),
            |server| Some(ObjectRef::new(&server.name_any())),
        );
        let reconciler = Arc::new(ServerBindings {
            writer: Writer::new(self.client.clone(), "caps-bindings"),
            backoff: Backoff::new(Pauses::default(), &[]),
            servers,
        });
        controller::run(
            controller,
            reconciler,
            self.metrics.clone(),
            CONCURRENCY,
            over.clone(),
        )
        .await;
    }
}

/// Those of a Cluster.
fn of_cluster<K>(known: &Store<K>, namespace: Option<&str>, name: &str) -> Vec<ObjectRef<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let all = known.state();
    let theirs = all.iter().filter(|object| {
        object.meta().namespace.as_deref() == namespace
            && (object.labels().get(labels::CLUSTER_NAME).map(String::as_str) == Some(name)
                || object.owner_references().iter().any(|owner| owner.name == name))
    });
    theirs.map(|object| ObjectRef::from_obj(&**object)).collect()
}

/// The one that a Machine owns.
fn of_machine(known: &Store<MetalMachine>, machine: &Machine) -> Vec<ObjectRef<MetalMachine>> {
    let all = known.state();
    let owned = all.iter().filter(|metal| {
        let uid = machine.metadata.uid.as_ref();
        metal
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid)
    });
    owned.map(|metal| ObjectRef::from_obj(&**metal)).collect()
}

/// Those without a Server, and that which gives this one back.
fn concerned(known: &Store<MetalMachine>, server: &str) -> Vec<ObjectRef<MetalMachine>> {
    let all = known.state();
    let concerned = all.iter().filter(|metal| match &metal.spec.provider_id {
        None => true,
        Some(id) => {
            metal.metadata.deletion_timestamp.is_some() && id.strip_prefix(PROVIDER_ID_PREFIX) == Some(server)
        }
    });
    concerned.map(|metal| ObjectRef::from_obj(&**metal)).collect()
}
