//! Runs a controller: bounded concurrency, back-off for each object, no plan on a stale cache, results counted.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Resource;
use kube::runtime::controller::{Action, Config, Controller, Error};
use kube::runtime::watcher;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::telemetry::causes;
use crate::writer::Writer;

/// Objects reconciled at the same time, unless a controller says otherwise. kube's own default is no bound at all.
pub const CONCURRENCY: u16 = 16;
/// Pause before another look at an object that the cache does not show as it was last written.
const CACHE_LAG: Duration = Duration::from_millis(100);

/// What a controller does about one object.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind.
    type Object: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static;
    /// Why a reconcile failed.
    type Error: std::error::Error + Send + 'static;
    /// Name in logs and metrics.
    const NAME: &'static str;

    /// The writer of this controller.
    fn writer(&self) -> &Writer;

    /// The back-off of failed reconciles; [`run`] counts in it. Retries of anything else need one of their own.
    fn backoff(&self) -> &Backoff;

    /// Brings one object a step further.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Action, Self::Error>> + Send;
}

/// Counts of reconciles, under the name that dashboards know from other controllers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    reconciles: Family<ReconcileLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

impl Metrics {
    /// Puts the metrics into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles by controller and result",
            metrics.reconciles.clone(),
        );
        metrics
    }

    fn count(&self, controller: &'static str, result: &'static str) {
        self.reconciles
            .get_or_create(&ReconcileLabels { controller, result })
            .inc();
    }
}

/// Runs `reconciler` on what `controller` watches until `stop` is cancelled and the reconciles under way have ended.
pub async fn run<R: Reconciler>(
    controller: Controller<R::Object>,
    reconciler: Arc<R>,
    metrics: Metrics,
    concurrency: u16,
    stop: CancellationToken,
) {
    controller
        .with_config(Config::default().concurrency(concurrency))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            reconcile::<R>,
            |object, _, reconciler| pause(&*reconciler, &*object),
            reconciler,
        )
        .for_each(async |result| report(R::NAME, &metrics, result))
        .await;
}

async fn reconcile<R: Reconciler>(object: Arc<R::Object>, reconciler: Arc<R>) -> Result<Action, R::Error> {
    if reconciler.writer().is_behind(&*object) {
        return Ok(Action::requeue(CACHE_LAG));
    }
    let action = reconciler.reconcile(object.clone()).await?;
    reconciler.backoff().succeeded(&*object);
    Ok(action)
}

fn pause<R: Reconciler>(reconciler: &R, object: &R::Object) -> Action {
    Action::requeue(reconciler.backoff().failed(object))
}

fn report<K: Debug, E: std::error::Error + 'static>(
    controller: &'static str,
    metrics: &Metrics,
    result: Result<(K, Action), Error<E, watcher::Error>>,
) {
    match result {
        Ok((object, action)) => {
            debug!(controller, ?object, ?action, "reconciled");
            metrics.count(controller, "success");
        }
        // Its end was waited for by whoever named it; nothing is left to do.
        Err(Error::ObjectNotFound(object)) => debug!(controller, %object, "is gone"),
        Err(Error::ReconcilerFailed(error, object)) => {
            warn!(controller, %object, error = causes(&error), "cannot reconcile");
            metrics.count(controller, "error");
        }
        Err(error) => warn!(controller, error = causes(&error), "cannot watch"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, ObjectMeta};
    use kube::{Client, ResourceExt};
    use serde_json::json;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::backoff::Pauses;
    use crate::scripted;

    /// A server that lists `count` ConfigMaps at version 5 and then is silent; a write makes version 9.
    fn server(count: usize) -> Client {
        let item = |n: usize| {
            let name = format!("c{n}");
            json!({ "metadata": { "name": name, "namespace": "n", "uid": name, "resourceVersion": "5" } })
        };
        let items: Vec<_> = (0..count).map(item).collect();
        let list = json!({ "metadata": { "resourceVersion": "5" }, "items": items });
        let mut written = list["items"][0].clone();
        written["metadata"]["resourceVersion"] = json!("9");
        let answer = move |asked: &scripted::Asked| match asked.method.as_str() {
            "PATCH" => Some((200, written.clone())),
            _ => (!asked.uri.contains("watch=true")).then(|| (200, list.clone())),
        };
        scripted::client(answer).0
    }

    #[derive(Debug, thiserror::Error)]
    #[error("planted")]
    struct Planted;

    /// Takes a second for each object, and fails the first `failures` times.
    struct Slow {
        writer: Writer,
        backoff: Backoff,
        failures: usize,
        /// When reconciles began and ended.
        log: Mutex<Vec<(Instant, bool)>>,
    }

    impl Reconciler for Slow {
        type Object = ConfigMap;
        type Error = Planted;
        const NAME: &'static str = "slow";

        fn writer(&self) -> &Writer {
            &self.writer
        }

        fn backoff(&self) -> &Backoff {
            &self.backoff
        }

        async fn reconcile(&self, object: Arc<ConfigMap>) -> Result<Action, Planted> {
            assert_eq!(object.namespace().as_deref(), Some("n"));
            self.log.lock().unwrap().push((Instant::now(), true));
            sleep(Duration::from_secs(1)).await;
            let mut log = self.log.lock().unwrap();
            log.push((Instant::now(), false));
            let begun = log.iter().filter(|(_, begin)| *begin).count();
            if begun <= self.failures {
                Err(Planted)
            } else {
                Ok(Action::await_change())
            }
        }
    }

    struct Running {
        slow: Arc<Slow>,
        registry: Registry,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn slow(client: &Client, failures: usize) -> Arc<Slow> {
        Arc::new(Slow {
            writer: Writer::new(client.clone(), "slow"),
            backoff: Backoff::new(Pauses::default(), &[]),
            failures,
            log: Mutex::default(),
        })
    }

    fn start(client: Client, slow: Arc<Slow>) -> Running {
        let mut registry = Registry::default();
        let (metrics, stop) = (Metrics::register(&mut registry), CancellationToken::new());
        let controller = Controller::new(Api::all(client), watcher::Config::default());
        let task = tokio::spawn(run(controller, slow.clone(), metrics, 2, stop.clone()));
        Running {
            slow,
            registry,
            stop,
            task,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_run_at_once_than_allowed_and_stopping_waits_for_them() {
        let client = server(5);
        let running = start(client.clone(), slow(&client, 0));
        sleep(Duration::from_millis(1500)).await;
        running.stop.cancel();
        timeout(Duration::from_secs(5), running.task)
            .await
            .unwrap()
            .unwrap();
        let log = running.slow.log.lock().unwrap();
        let (mut now, mut most) = (0, 0);
        for (_, begin) in &*log {
            if *begin {
                now += 1;
            } else {
                now -= 1;
            }
            most = most.max(now);
        }
        assert_eq!((most, now), (2, 0), "{log:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_planned_on_a_cache_older_than_the_last_write() {
        let client = server(1);
        let slow = slow(&client, 0);
        let metadata = ObjectMeta {
            name: Some("c0".into()),
            namespace: Some("n".into()),
            ..ObjectMeta::default()
        };
        let object = ConfigMap {
            metadata,
            ..ConfigMap::default()
        };
        let written = slow.writer.annotate(&object, &[("fact", Some("1"))]).await;
        assert_eq!(written.unwrap().unwrap().resource_version().as_deref(), Some("9"));
        let running = start(client, slow);
        sleep(Duration::from_secs(10)).await;
        assert!(running.slow.log.lock().unwrap().is_empty());
        assert!(!running.task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_after_growing_pauses_and_counted() {
        let client = server(1);
        let running = start(client.clone(), slow(&client, 3));
        sleep(Duration::from_secs(30)).await;
        let log = running.slow.log.lock().unwrap().clone();
        let pauses: Vec<_> = log
            .windows(2)
            .filter(|pair| pair[1].1)
            .map(|pair| (pair[1].0 - pair[0].0).as_secs_f64())
            .collect();
        assert_eq!(pauses.len(), 3, "{pauses:?}");
        for (pause, whole) in pauses.iter().zip([1.0, 2.0, 4.0]) {
            assert!(*pause >= whole * 0.75 && *pause <= whole + 0.1, "{pauses:?}");
        }
        let object = running.slow.backoff.failures(&ConfigMap::default());
        assert_eq!(object, 0);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &running.registry).unwrap();
        for (result, count) in [("error", 3), ("success", 1)] {
            let line = format!(
                "controller_runtime_reconcile_total{{controller=\"slow\",result=\"{result}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{text}");
        }
    }
}
