//! Cluster API on a management cluster: its manifests, fitted to processes instead of pods, and its managers.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use base64::prelude::{BASE64_STANDARD, Engine};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::Tools;
use crate::control_plane::{ControlPlane, Identity, http_ok};
use crate::objects;
use crate::process::{Process, Program};
use crate::run::Run;
use crate::wait::until;

/// A Cluster API manager: what it is built as, whom RBAC takes it for, where it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manager {
    pub(crate) name: &'static str,
    program: &'static str,
    manifest: &'static str,
    namespace: &'static str,
    account: &'static str,
    webhook_port: u16,
    health_port: u16,
    flags: &'static [&'static str],
}

/// Cluster API core. `--sync-period`: a Node that appears after its stand-alone control-plane Machine's last event
/// would otherwise be seen 10 minutes late.
const CORE: Manager = Manager {
    name: "cluster-api",
    program: "capi-manager",
    manifest: "core.yaml",
    namespace: "capi-system",
    account: "capi-manager",
    webhook_port: 9443,
    health_port: 9440,
    flags: &[
        "--leader-elect=false",
        "--sync-period=10s",
        "--feature-gates=MachinePool=false,ClusterTopology=true",
    ],
};

/// The Talos bootstrap provider; its flag for the same thing has another name.
const TALOS: Manager = Manager {
    name: "talos-bootstrap",
    program: "cabpt-manager",
    manifest: "cabpt.yaml",
    namespace: "cabpt-system",
    account: "default",
    webhook_port: 9446,
    health_port: 9449,
    flags: &[
        "--enable-leader-election=false",
        "--feature-gates=MachinePool=false",
    ],
};

/// All of them are started at once and then waited for.
pub(crate) const MANAGERS: [Manager; 2] = [CORE, TALOS];

const START: Duration = Duration::from_secs(90);

impl Manager {
    /// The service account that its RBAC names.
    pub(crate) fn identity(self) -> Identity {
        Identity::service_account(self.name, self.namespace, self.account)
    }

    /// Starts the manager as a process, without waiting.
    pub(crate) fn start(
        self,
        run: &Run,
        tools: &Tools,
        cluster: &ControlPlane,
        identity: &Identity,
    ) -> anyhow::Result<Process> {
        let program = Program::new(tools.program(self.program))
            .arg(format!(
                "--kubeconfig={}",
                cluster.kubeconfig_of(identity).display()
            ))
            .arg(format!("--webhook-port={}", self.webhook_port))
            .arg(format!("--webhook-cert-dir={}", cluster.pki.folder()))
            .arg(format!("--health-addr=0.0.0.0:{}", self.health_port))
            .arg("--diagnostics-address=0")
            .args(self.flags.iter().copied())
            .env("POD_NAMESPACE", self.namespace)
            .env("POD_NAME", self.name)
            .env("POD_UID", "00000000-0000-0000-0000-000000000000");
        Process::start(self.name, program, run.network(), &run.folder())
    }

    /// Waits until the manager says that it is ready.
    pub(crate) async fn until_ready(self, run: &Run, process: &Process) -> anyhow::Result<()> {
        let address = run.network().inside();
        process
            .until_ready(START, || http_ok(address, self.health_port, "/readyz"))
            .await
    }
}

/// Applies the manifests of all managers. Returns the number of objects.
pub(crate) async fn install(client: &Client, tools: &Tools, cluster: &ControlPlane) -> anyhow::Result<usize> {
    let mut objects = Vec::new();
    for manager in MANAGERS {
        let path = tools.manifest(manager.manifest);
        let yaml = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for object in objects::parse(&yaml)? {
            objects.extend(fit(object, manager.webhook_port, &cluster.pki.ca)?);
        }
    }
    objects::apply(client, objects).await
}

/// Waits until every CustomResourceDefinition is served: established, and in the discovery and OpenAPI documents that
/// kubectl caches, which follow a moment later.
pub async fn established(client: &Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    until("CustomResourceDefinitions Established", START, || async {
        let list = definitions.list(&ListParams::default()).await?;
        let waiting: Vec<_> = list
            .iter()
            .filter(|crd| !is_established(crd))
            .map(ResourceExt::name_any)
            .collect();
        anyhow::ensure!(waiting.is_empty(), "still waiting for {}", waiting.join(", "));
        let discovery = text(
            client,
            "/apis",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        )
        .await?;
        let openapi = text(client, "/openapi/v3", "application/json").await?;
        for crd in list {
            let plural = format!("\"resource\":\"{}\"", crd.spec.names.plural);
            anyhow::ensure!(
                discovery.contains(&plural),
                "discovery does not name {}",
                crd.name_any()
            );
            for version in crd.spec.versions.iter().filter(|version| version.served) {
                let path = format!("apis/{}/{}\"", crd.spec.group, version.name);
                anyhow::ensure!(openapi.contains(&path), "OpenAPI does not name {path}");
            }
        }
        Ok(Some(()))
    })
    .await
}

/// What the API server answers to `GET path`.
async fn text(client: &Client, path: &str, accept: &str) -> anyhow::Result<String> {
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, accept)
        .body(Vec::new())?;
    Ok(client.request_text(request).await?)
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// Fits a manifest's object to managers that run as processes: webhooks are called at a loopback port under our CA;
/// what only makes sense with pods or cert-manager is left out.
fn fit(object: DynamicObject, webhook_port: u16, ca: &str) -> anyhow::Result<Option<DynamicObject>> {
    let types = object.types.clone().context("an object has no kind")?;
    if ["Deployment", "Service"].contains(&types.kind.as_str())
        || types.api_version.starts_with("cert-manager.io/")
    {
        return Ok(None);
    }
    let mut value = serde_json::to_value(object)?;
    // By path, not by text: a CRD of Cluster API has properties of these names in its schema.
    let mut configs = Vec::new();
    match types.kind.as_str() {
        "CustomResourceDefinition" => {
            configs.extend(value.pointer_mut("/spec/conversion/webhook/clientConfig"));
        }
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            let hooks = value["webhooks"]
                .as_array_mut()
                .context("a webhook configuration has no webhooks")?;
            configs.extend(hooks.iter_mut().filter_map(|hook| hook.get_mut("clientConfig")));
        }
        _ => {}
    }
    for config in configs {
        let path = config["service"]["path"]
            .as_str()
            .context("a webhook's service has no path")?;
        let url = format!("https://127.0.0.1:{webhook_port}{path}");
        *config = json!({"url": url, "caBundle": BASE64_STANDARD.encode(ca)});
    }
    Ok(Some(serde_json::from_value(value)?))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn webhooks_are_called_on_the_managers_own_port() {
        let hook = object(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w"},
            "webhooks": [{"name": "a", "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/validate"}}}],
        }));
        let fitted = fit(hook, 9443, "CA").unwrap().unwrap();
        let config = &fitted.data["webhooks"][0]["clientConfig"];
        assert_eq!(
            config,
            &json!({"url": "https://127.0.0.1:9443/validate", "caBundle": "Q0E="})
        );
    }

    #[test]
    fn a_schema_that_talks_of_services_stays_as_it_is() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "e"},
            "spec": {"schema": {"clientConfig": {"service": {"type": "object"}}}},
        });
        assert_eq!(
            serde_json::to_value(fit(object(crd.clone()), 1, "CA").unwrap()).unwrap(),
            crd
        );
    }

    #[test]
    fn what_needs_pods_is_left_out() {
        for (version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
            ("cert-manager.io/v1", "Issuer"),
        ] {
            let object = object(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}));
            assert!(fit(object, 1, "CA").unwrap().is_none(), "{kind}");
        }
    }
}
