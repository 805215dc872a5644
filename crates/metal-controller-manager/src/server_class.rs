//! The ServerClass controller: says which Servers of a class can be taken and which are in use, and keeps `any`.

use std::sync::Arc;
use std::time::Duration;

use controller_runtime::backoff::{Backoff, Pauses};
use controller_runtime::controller::{self, CONCURRENCY, Reconciler};
use controller_runtime::events::Events;
use controller_runtime::telemetry::causes;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::metal::members::{InvalidSelector, Members, is_available, is_in_use};
use crd_types::metal::{Server, ServerClass, ServerClassSpec, ServerClassStatus};
use crd_types::names::{SERVER_CLASS_ANY, events};
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::keep::keep;

#[cfg(test)]
mod tests;

/// Field manager and reporter.
const SERVER_CLASS_CONTROLLER: &str = "server-class-controller";
/// Changes of Servers within this time are one.
const TOGETHER: Duration = Duration::from_millis(500);

/// Runs the controller until `over` is cancelled.
pub(crate) async fn run(
    client: Client,
    identity: &str,
    metrics: controller::Metrics,
    over: CancellationToken,
) {
    let (servers, writer) = reflector::store();
    let changed = Arc::new(Notify::new());
    let stream = watcher(Api::<Server>::all(client.clone()), watcher::Config::default()).default_backoff();
    let read = reflector::reflector(writer, stream).for_each(|event| {
        match event {
            Ok(_) => changed.notify_one(),
            Err(error) => warn!(
                error = causes(&error),
                "the watch of Servers is broken; it is begun anew"
            ),
        }
        std::future::ready(())
    });
    let classes = Api::<ServerClass>::all(client.clone());
    let controller =
        Controller::new(classes, watcher::Config::default()).reconcile_all_on(together(changed.clone()));
    let reconciler = Arc::new(ServerClasses {
        client: client.clone(),
        writer: Writer::new(client.clone(), SERVER_CLASS_CONTROLLER),
        backoff: Backoff::new(Pauses::default(), &[]),
        events: Events::new(client.clone(), SERVER_CLASS_CONTROLLER, identity),
        servers,
    });
    let reconcile = controller::run(controller, reconciler, metrics, CONCURRENCY, over.clone());
    let any = ServerClass::new(SERVER_CLASS_ANY, ServerClassSpec::default());
    let keep_any = keep(client, SERVER_CLASS_CONTROLLER, &any, over.clone());
    let read = over.run_until_cancelled(read);
    tokio::join!(reconcile, keep_any, read);
}

/// Says once that something changed, some time after it did: more that changed meanwhile is covered by it.
fn together(changed: Arc<Notify>) -> impl Stream<Item = ()> {
    stream::unfold(changed, async |changed| {
        changed.notified().await;
        sleep(TOGETHER).await;
        Some(((), changed))
    })
}

struct ServerClasses {
    client: Client,
    writer: Writer,
    backoff: Backoff,
    events: Events,
    servers: Store<Server>,
}

/// Why a class was not brought further.
#[derive(Debug, thiserror::Error)]
enum ServerClassError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot empty the qualifiers of ServerClass {SERVER_CLASS_ANY}: {0}")]
    Any(#[source] kube::Error),
}

impl Reconciler for ServerClasses {
    type Object = ServerClass;
    type Error = ServerClassError;
    const NAME: &'static str = "serverclass";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, class: Arc<ServerClass>) -> Result<Action, ServerClassError> {
        // Reading the last of them asks for all classes again.
        if !matches!(self.servers.wait_until_ready().now_or_never(), Some(Ok(()))) {
            return Ok(Action::await_change());
        }
        if class.name_any() == SERVER_CLASS_ANY && is_qualified(&class) {
            self.empty_qualifiers().await.map_err(ServerClassError::Any)?;
            return Ok(Action::await_change());
        }
        match status(&class, &self.servers.state()) {
            Ok(status) => {
                self.writer.whole_status(&*class, &status).await?;
            }
            // Only an edit helps. Until then the status stays: machines that a class has lost sight of are not lost.
            Err(invalid) => {
                let note = invalid.to_string();
                warn!(class = class.name_any(), "{note}");
                self.events
                    .warning(&*class, events::INVALID_SELECTOR, "Match", &note)
                    .await;
            }
        }
        Ok(Action::await_change())
    }
}

impl ServerClasses {
    async fn empty_qualifiers(&self) -> kube::Result<()> {
        let classes = Api::<ServerClass>::all(self.client.clone());
        let parameters = PatchParams {
            field_manager: Some(SERVER_CLASS_CONTROLLER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "spec": { "qualifiers": null } }));
        classes.patch(SERVER_CLASS_ANY, &parameters, &patch).await?;
        info!("the qualifiers of ServerClass {SERVER_CLASS_ANY} are removed: it is every Server's");
        Ok(())
    }
}

fn is_qualified(class: &ServerClass) -> bool {
    let qualifiers = class.spec.qualifiers.as_ref();
    qualifiers
        .is_some_and(|qualifiers| !qualifiers.hardware.is_empty() || !qualifiers.label_selectors.is_empty())
}

/// The Servers of the class, by name: those that can be taken now, and those that clusters have.
fn status(class: &ServerClass, servers: &[Arc<Server>]) -> Result<ServerClassStatus, InvalidSelector> {
    let members = Members::of(class)?;
    let names = |counts: fn(&Server) -> bool| {
        let counted = servers
            .iter()
            .filter(|server| counts(server) && members.have(server));
        let mut names: Vec<_> = counted.map(|server| server.name_any()).collect();
        names.sort();
        names
    };
    Ok(ServerClassStatus {
        servers_available: names(is_available),
        servers_in_use: names(is_in_use),
    })
}
