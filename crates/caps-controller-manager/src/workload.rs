//! Nodes of workload clusters: one watch for each cluster, in a task of its own, so that a dead one delays nobody.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller_runtime::telemetry::causes;
use crd_types::infrastructure::MetalMachine;
use futures::channel::mpsc;
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// How long a workload cluster may take to answer a write.
const ANSWERS: Duration = Duration::from_secs(10);
/// How long it may take to be connected to.
const CONNECTS: Duration = Duration::from_secs(5);
/// How long it may say nothing: a watch ends by itself a little earlier.
const SILENT: Duration = Duration::from_mins(6);
/// A cluster that no MetalMachine asks for any more is forgotten.
const FORGET: Duration = Duration::from_mins(10);

/// All workload clusters that somebody asked for.
pub(crate) struct Workloads {
    client: Client,
    wake: mpsc::UnboundedSender<ObjectRef<MetalMachine>>,
    clusters: Mutex<HashMap<(String, String), Entry>>,
}

struct Entry {
    /// Of the Secret that it was made from.
    version: Option<String>,
    used: Instant,
    workload: Arc<Workload>,
}

/// One workload cluster.
pub(crate) struct Workload {
    client: Client,
    nodes: Store<Node>,
    /// What its watch failed with last, until it works again.
    trouble: Arc<Mutex<Option<String>>>,
    /// Whom its news are told.
    interested: Arc<Mutex<HashSet<ObjectRef<MetalMachine>>>>,
    task: AbortHandle,
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Workloads {
    pub(crate) fn new(client: Client, wake: mpsc::UnboundedSender<ObjectRef<MetalMachine>>) -> Self {
        Self {
            client,
            wake,
            clusters: Mutex::default(),
        }
    }

    /// The cluster by namespace and name; `machine` is told when something changes there. Otherwise why it is not known.
    pub(crate) async fn of(
        &self,
        cluster: &(String, String),
        machine: ObjectRef<MetalMachine>,
    ) -> Result<Arc<Workload>, String> {
        let (namespace, name) = cluster;
        let secret = format!("{name}-kubeconfig");
        let found = Api::<Secret>::namespaced(self.client.clone(), namespace)
            .get_opt(&secret)
            .await
            .map_err(|error| format!("cannot read Secret {namespace}/{secret}: {}", causes(&error)))?;
        let found = found.ok_or_else(|| format!("waiting for Secret {namespace}/{secret}"))?;
        let version = found.resource_version();
        let known = {
            let mut clusters = lock(&self.clusters);
            clusters.retain(|_, entry| entry.used.elapsed() < FORGET);
            clusters.get_mut(cluster).map(|entry| {
                entry.used = Instant::now();
                (entry.version.clone(), entry.workload.clone())
            })
        };
        if let Some((_, workload)) = known.filter(|(known, _)| *known == version) {
            lock(&workload.interested).insert(machine);
            return Ok(workload);
        }
        let text = found.data.as_ref().and_then(|data| data.get("value"));
        let text = text.ok_or_else(|| format!("Secret {namespace}/{secret} has no key \"value\""))?;
        let client = connect(&text.0)
            .await
            .map_err(|why| format!("the kubeconfig of Secret {namespace}/{secret} cannot be used: {why}"))?;
        let workload = Arc::new(self.watch(client));
        lock(&workload.interested).insert(machine);
        let entry = Entry {
            version,
            used: Instant::now(),
            workload: workload.clone(),
        };
        lock(&self.clusters).insert(cluster.clone(), entry);
        Ok(workload)
    }

    fn watch(&self, client: Client) -> Workload {
        let (nodes, writer) = reflector::store();
        let trouble = Arc::<Mutex<Option<String>>>::default();
        let interested = Arc::<Mutex<HashSet<ObjectRef<MetalMachine>>>>::default();
        let (known, whom, wake) = (trouble.clone(), interested.clone(), self.wake.clone());
        let events = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
        let task = tokio::spawn(reflector::reflector(writer, events).for_each(move |event| {
            match event {
                Err(error) => *lock(&known) = Some(causes(&error)),
                // a watch that is begun anew has not read anything yet
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {
                    return std::future::ready(());
                }
                Ok(_) => *lock(&known) = None,
            }
            for machine in lock(&whom).iter() {
                // closed only when nobody reconciles any more
                wake.unbounded_send(machine.clone()).ok();
            }
            std::future::ready(())
        }));
        Workload {
            client,
            nodes,
            trouble,
            interested,
            task: task.abort_handle(),
        }
    }
}

impl Workload {
    /// All its Nodes, as its watch has them; or why it has none.
    pub(crate) fn nodes(&self) -> Result<Vec<Arc<Node>>, String> {
        match &*lock(&self.trouble) {
            Some(why) => Err(format!("the API of its cluster cannot be watched: {why}")),
            None if self.nodes.wait_until_ready().now_or_never().is_none() => {
                Err("the Nodes of its cluster have not been read yet".into())
            }
            None => Ok(self.nodes.state()),
        }
    }

    /// Sets the provider id of a Node that has none. Kubernetes lets nobody change one.
    pub(crate) async fn set_provider_id(&self, node: &str, provider_id: &str) -> Result<(), String> {
        let patch = Patch::Merge(json!({ "spec": { "providerID": provider_id } }));
        let nodes = Api::<Node>::all(self.client.clone());
        let parameters = PatchParams::default();
        let patched = nodes.patch(node, &parameters, &patch);
        match timeout(ANSWERS, patched).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!(
                "cannot set the provider id of Node {node}: {}",
                causes(&error)
            )),
            Err(_) => Err(format!(
                "cannot set the provider id of Node {node}: no answer within {} s",
                ANSWERS.as_secs()
            )),
        }
    }
}

/// A client by a kubeconfig that came in a Secret: it may name no program to run and no file of this machine.
async fn connect(text: &[u8]) -> Result<Client, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|_| "it is no kubeconfig")?;
    if let Some(what) = forbidden(&kubeconfig) {
        return Err(format!("it has {what}: only data within it is taken"));
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| causes(&error))?;
    config.connect_timeout = Some(CONNECTS);
    config.read_timeout = Some(SILENT);
    Client::try_from(config).map_err(|error| causes(&error))
}

fn forbidden(kubeconfig: &Kubeconfig) -> Option<&'static str> {
    let users = kubeconfig
        .auth_infos
        .iter()
        .filter_map(|user| user.auth_info.as_ref());
    for user in users {
        let found = [
            (user.exec.is_some(), "a program to run"),
            (user.auth_provider.is_some(), "an auth provider"),
            (user.token_file.is_some(), "a token file"),
            (user.client_certificate.is_some(), "a certificate file"),
            (user.client_key.is_some(), "a key file"),
        ];
        if let Some((_, what)) = found.into_iter().find(|(has, _)| *has) {
            return Some(what);
        }
    }
    let mut clusters = kubeconfig
        .clusters
        .iter()
        .filter_map(|cluster| cluster.cluster.as_ref());
    clusters
        .any(|cluster| cluster.certificate_authority.is_some())
        .then_some("a CA file")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_from_a_secret_names_no_program_and_no_file() {
        let config = |user: &str, cluster: &str| {
            let text = format!(
                "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
                 clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'{cluster}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
            );
            Kubeconfig::from_yaml(&text).unwrap()
        };
        assert_eq!(forbidden(&config("token: x", "")), None);
        for (user, cluster, what) in [
            (
                "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}",
                "",
                "a program to run",
            ),
            ("tokenFile: /etc/passwd", "", "a token file"),
            ("client-key: /k", "", "a key file"),
            ("token: x", ", certificate-authority: /ca", "a CA file"),
        ] {
            assert_eq!(forbidden(&config(user, cluster)), Some(what));
        }
    }
}
