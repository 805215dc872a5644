//! The Environment controller: every replica downloads what Environments name, the one that leads says what became of it.

mod asset;
mod assets;
mod default;
mod download;
mod folder;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use controller_runtime::backoff::{Backoff, Pauses};
use controller_runtime::controller::{self, CONCURRENCY, Reconciler};
use controller_runtime::events::Events;
use controller_runtime::lease::Leadership;
use controller_runtime::process::Process;
use controller_runtime::writer::{WriteError, Writer};
use crd_types::metal::Environment;
use crd_types::names::events;
use futures::FutureExt as _;
use futures::channel::mpsc;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt as _};

use self::asset::{Found, Part};
use self::assets::Assets;
pub(crate) use self::default::{DefaultFlags, keep_default};
use self::download::{Downloader, Limits};
use self::folder::Folder;

/// Field manager and reporter.
const ENVIRONMENT_CONTROLLER: &str = "environment-controller";
/// How often files of Environments that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Pauses between downloads of a file that fails.
const PAUSES: Pauses = Pauses {
    first: Duration::from_secs(5),
    cap: Duration::from_mins(5),
};

/// What the controller is started with.
pub(crate) struct Parts<'a> {
    pub(crate) client: Client,
    /// Of this process, for events.
    pub(crate) identity: &'a str,
    pub(crate) leadership: Leadership,
    pub(crate) metrics: controller::Metrics,
}

/// Starts the downloads as a part of `process`. Whoever sends to the result has begun to lead: every Environment's status
/// is looked at again.
pub(crate) fn start(
    process: &mut Process,
    data_dir: &Path,
    parts: Parts<'_>,
) -> anyhow::Result<mpsc::UnboundedSender<()>> {
    let (wake, woken) = mpsc::unbounded();
    let (leads, begun) = mpsc::unbounded();
    let client = parts.client;
    let downloader =
        Downloader::new(Limits::default()).context("cannot make an HTTP client for downloads")?;
    let assets = Arc::new(Assets::new(Folder::of(data_dir), downloader, PAUSES, wake));
    let environments = Api::<Environment>::all(client.clone());
    let controller = Controller::new(environments, watcher::Config::default())
        .reconcile_on(woken)
        .reconcile_all_on(begun);
    let store = controller.store();
    let reconciler = Arc::new(Environments {
        writer: Writer::new(client.clone(), ENVIRONMENT_CONTROLLER),
        backoff: Backoff::new(Pauses::default(), &[]),
        events: Events::new(client, ENVIRONMENT_CONTROLLER, parts.identity),
        leadership: parts.leadership,
        data_dir: data_dir.to_owned(),
        assets: assets.clone(),
    });
    let stop = process.stop();
    process.start("environments", async move {
        let reconcile = controller::run(controller, reconciler, parts.metrics, CONCURRENCY, stop);
        tokio::select! {
            () = reconcile => {}
            () = sweep(&assets, &store) => {}
        }
        assets.stop();
        Ok::<_, Infallible>(())
    });
    Ok(leads)
}

/// Removes the files of Environments that are gone, those that went while nobody ran included.
async fn sweep(assets: &Assets, store: &Store<Environment>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        // As long as it has not been read, every Environment would be gone.
        if matches!(store.wait_until_ready().now_or_never(), Some(Ok(()))) {
            assets.sweep(|name| store.get(&ObjectRef::new(name)).is_some());
        }
    }
}

/// Whether machines can boot the Environment from the replica that has its files in `data_dir`: its status says so, and the
/// files are those that its spec names now.
pub(crate) fn is_ready(environment: &Environment, data_dir: &Path) -> bool {
    let (folder, name) = (Folder::of(data_dir), environment.name_any());
    let [kernel, initrd] = Part::ALL.map(|part| folder.record(&name, part));
    asset::is_ready(environment, [kernel.as_ref(), initrd.as_ref()])
}

struct Environments {
    writer: Writer,
    backoff: Backoff,
    events: Events,
    leadership: Leadership,
    data_dir: PathBuf,
    assets: Arc<Assets>,
}

impl Reconciler for Environments {
    type Object = Environment;
    type Error = WriteError;
    const NAME: &'static str = "environment";

    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    async fn reconcile(&self, environment: Arc<Environment>) -> Result<Action, WriteError> {
        let found = Part::ALL.map(|part| self.assets.pursue(&environment, part));
        if self.leadership.holds() {
            self.say(&environment, &found).await?;
        }
        let retries = found.iter().filter_map(|found| match found {
            Found::Failed { retry, .. } => *retry,
            Found::Present | Found::Downloading { .. } => None,
        });
        Ok(retries.min().map_or_else(Action::await_change, Action::requeue))
    }
}

impl Environments {
    /// Writes the status, and events about what it says anew.
    async fn say(&self, environment: &Environment, found: &[Found; 2]) -> Result<(), WriteError> {
        let status = asset::status(environment, found);
        let Some(written) = self.writer.whole_status(environment, &status).await? else {
            return Ok(());
        };
        for found in found {
            if let Found::Failed { message, .. } = found {
                self.events
                    .warning(environment, events::ENVIRONMENT_DOWNLOAD, "Download", message)
                    .await;
            }
        }
        if is_ready(&written, &self.data_dir) {
            let note = "Kernel and initramfs are there.";
            self.events
                .normal(environment, events::ENVIRONMENT_DOWNLOAD, "Download", note)
                .await;
        }
        Ok(())
    }
}
