//! A Cluster of stand-alone Machines, and the managers that take Servers for them.

use std::time::Duration;

use anyhow::Context;
use hardware_types::Mac;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::proxy::Proxy;
use testbed::{Bed, Object, Process};

const METAL: &str = "metal.sidero.dev/v1alpha2";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";
const CLUSTER: &str = "cluster.x-k8s.io/v1beta2";
pub(crate) const ALLOCATION: &str = "metal.sidero.dev/allocation";
/// Cluster API looks again at what it does not watch every 10 s here.
const SOON: Duration = Duration::from_secs(90);
const CAPS_PORT: u16 = 9460;
pub(crate) const METAL_PORT: u16 = 9462;
/// A Server that has no machine and no BMC.
pub(crate) const BY_HAND: &str = "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c00aa";
/// Short, so that the tests are; the proportions are those of the defaults.
const FLAGS: [&str; 3] = [
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=2700ms",
    "--leader-elect-retry-period=500ms",
];

pub(crate) struct Site<'a> {
    bed: &'a Bed,
    /// Names class and cluster.
    name: &'static str,
    server: &'static str,
    pub(crate) caps: Process,
    pub(crate) metal: Option<Process>,
}

/// Status and message of a condition.
pub(crate) fn condition(object: &DynamicObject, kind: &str) -> (String, String, String) {
    let conditions = object.data["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    let text = |field: &str| {
        found
            .and_then(|one| one[field].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text("status"), text("reason"), text("message"))
}

impl<'a> Site<'a> {
    /// With CAPS; the other manager is the caller's.
    pub(crate) async fn start(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
        metal: Option<Process>,
    ) -> anyhow::Result<Self> {
        Self::start_behind(bed, name, server, metal, None).await
    }

    async fn start_behind(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
        metal: Option<Process>,
        proxy: Option<&Proxy>,
    ) -> anyhow::Result<Self> {
        let program = bed.caps_controller_manager(CAPS_PORT)?.args(FLAGS);
        let program = match proxy {
            Some(proxy) => proxy.before(program),
            None => program,
        };
        let caps = bed.start_part("caps-controller-manager", program)?;
        // as long as there is none, Cluster API looks for it in vain and waits for half a minute
        let kubeconfig = std::fs::read_to_string(bed.workload.kubeconfig())?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
            "metadata": {
                "namespace": "default", "name": format!("{name}-kubeconfig"),
                "labels": { "cluster.x-k8s.io/cluster-name": name },
            },
            "stringData": { "value": kubeconfig },
        });
        bed.apply(&secret.to_string()).await?;
        Ok(Self {
            bed,
            name,
            server,
            caps,
            metal,
        })
    }

    /// With both managers.
    pub(crate) async fn start_with_metal(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
    ) -> anyhow::Result<Self> {
        let program = bed.metal_controller_manager(METAL_PORT)?.args(FLAGS);
        let metal = bed.start_part("claims-manager", program)?;
        Self::start(bed, name, server, Some(metal)).await
    }

    /// Where its metal-controller-manager answers machines.
    pub(crate) fn services(&self) -> String {
        let inside = self.bed.run().network().inside();
        format!("http://{inside}:{}", METAL_PORT + 1000)
    }

    /// With both managers and a Server without a BMC that a human offers.
    pub(crate) async fn start_by_hand(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
    ) -> anyhow::Result<Self> {
        Self::offer_by_hand(bed, name, server, None).await
    }

    /// The same, with a proxy between CAPS and the API server.
    pub(crate) async fn start_by_hand_behind(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
        proxy: &Proxy,
    ) -> anyhow::Result<Self> {
        Self::offer_by_hand(bed, name, server, Some(proxy)).await
    }

    async fn offer_by_hand(
        bed: &'a Bed,
        name: &'static str,
        server: &'static str,
        proxy: Option<&Proxy>,
    ) -> anyhow::Result<Self> {
        let program = bed.metal_controller_manager(METAL_PORT)?.args(FLAGS);
        let metal = bed.start_part("claims-manager", program)?;
        let this = Self::start_behind(bed, name, server, Some(metal), proxy).await?;
        let object = json!({
            "apiVersion": METAL, "kind": "Server", "metadata": { "name": server }, "spec": { "accepted": true },
        });
        bed.apply(&object.to_string()).await?;
        this.offer(server).await?;
        Ok(this)
    }

    /// Has a Server match the class of the test.
    pub(crate) fn label(&self, server: &str) -> anyhow::Result<()> {
        let label = format!("claims={}", self.name);
        self.bed.kubectl(&["label", "server", server, &label]).map(drop)
    }

    /// Waits until a Server is in this phase and gives this reason.
    pub(crate) async fn until_reads(&self, server: &str, phase: &str, reason: &str) -> anyhow::Result<()> {
        let what = format!("{phase}: {reason}");
        self.until_server(server, &what, |server| {
            let status = &server.data["status"];
            let text = status["phaseReason"].as_str().unwrap_or_default();
            status["phase"] == phase && text.contains(reason)
        })
        .await
    }

    /// The machine of a Server asks what to boot until it is told this; returns the script.
    pub(crate) async fn asks_until(&self, server: &str, mac: Mac, want: &str) -> anyhow::Result<String> {
        let mac = mac.to_string().replace(':', "-");
        let url = format!("{}/ipxe?uuid={server}&mac={mac}&arch=x86_64", self.services());
        let what = format!("a script with {want:?}");
        self.bed
            .wait_for(
                &what,
                SOON,
                &[Object::cluster(METAL, "Server", server)],
                || async {
                    let script = reqwest::get(&url).await?.text().await?;
                    anyhow::ensure!(script.contains(want), "{script}");
                    Ok(Some(script))
                },
            )
            .await
    }

    /// Says of a Server that never had an agent that it is clean, and waits until it is offered.
    pub(crate) async fn offer(&self, server: &str) -> anyhow::Result<()> {
        self.label(server)?;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", "Server"));
        let api: Api<DynamicObject> = Api::all_with(self.bed.client().clone(), &kind);
        let patch = json!({ "status": { "isClean": true, "ready": true, "inUse": false } });
        api.patch_status(server, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        self.until_server(server, "it is Available", |server| {
            server.data["status"]["phase"] == "Available"
        })
        .await
    }

    /// The ServerClass of the test's one Server.
    pub(crate) async fn class(&self, environment: Option<&str>) -> anyhow::Result<()> {
        let mut class = json!({
            "apiVersion": METAL, "kind": "ServerClass", "metadata": { "name": format!("claims-{}", self.name) },
            "spec": {
                "qualifiers": {}, "selector": { "matchLabels": { "claims": self.name } },
                "strategicPatches": ["machine: {install: {disk: /dev/of-the-class}}"],
            },
        });
        if let Some(environment) = environment {
            class["spec"]["environmentRef"] = json!({ "name": environment });
        }
        self.bed.apply(&class.to_string()).await.map(drop)
    }

    /// A Cluster with these stand-alone control-plane Machines, each with a MetalMachine of its name.
    pub(crate) async fn cluster(&self, name: &str, machines: &[&str]) -> anyhow::Result<()> {
        let inside = self.bed.run().network().inside().to_string();
        let mut objects = vec![
            json!({
                "apiVersion": CLUSTER, "kind": "Cluster", "metadata": { "namespace": "default", "name": name },
                "spec": {
                    "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } },
                    "infrastructureRef": {
                        "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "MetalCluster", "name": name,
                    },
                },
            }),
            json!({
                "apiVersion": INFRASTRUCTURE, "kind": "MetalCluster",
                "metadata": { "namespace": "default", "name": name },
                "spec": { "controlPlaneEndpoint": { "host": inside, "port": 7443 } },
            }),
        ];
        for machine in machines {
            let reference =
                |group: &str, kind: &str| json!({ "apiGroup": group, "kind": kind, "name": machine });
            objects.push(json!({
                "apiVersion": CLUSTER, "kind": "Machine",
                "metadata": {
                    "namespace": "default", "name": machine, "labels": { "cluster.x-k8s.io/control-plane": "" },
                },
                "spec": {
                    "clusterName": name, "version": "v1.36.3",
                    "bootstrap": { "configRef": reference("bootstrap.cluster.x-k8s.io", "TalosConfig") },
                    "infrastructureRef": reference("infrastructure.cluster.x-k8s.io", "MetalMachine"),
                },
            }));
            objects.push(json!({
                "apiVersion": "bootstrap.cluster.x-k8s.io/v1alpha3", "kind": "TalosConfig",
                "metadata": { "namespace": "default", "name": machine },
                "spec": { "generateType": "controlplane", "talosVersion": "v1.13" },
            }));
            objects.push(json!({
                "apiVersion": INFRASTRUCTURE, "kind": "MetalMachine",
                "metadata": { "namespace": "default", "name": machine },
                "spec": { "serverClassRef": {
                    "apiVersion": METAL, "kind": "ServerClass", "name": format!("claims-{}", self.name),
                } },
            }));
        }
        let yaml: Vec<_> = objects.iter().map(Value::to_string).collect();
        self.bed.apply(&yaml.join("\n---\n")).await.map(drop)
    }

    pub(crate) async fn machine(&self, name: &str) -> anyhow::Result<DynamicObject> {
        let machine = metal_machine(name).get(self.bed.client()).await?;
        machine.with_context(|| format!("no MetalMachine {name}"))
    }

    pub(crate) async fn server(&self, name: &str) -> anyhow::Result<DynamicObject> {
        let server = Object::cluster(METAL, "Server", name)
            .get(self.bed.client())
            .await?;
        server.with_context(|| format!("no Server {name}"))
    }

    pub(crate) async fn binding(&self, server: &str) -> anyhow::Result<Option<DynamicObject>> {
        binding(server).get(self.bed.client()).await
    }

    pub(crate) async fn until_taken(&self, name: &str) -> anyhow::Result<DynamicObject> {
        self.bed
            .wait_for(
                &format!("MetalMachine {name} has a Server"),
                SOON,
                &[metal_machine(name), machine(name)],
                || async {
                    let found = self.machine(name).await?;
                    Ok(found.data["spec"]["providerID"].is_string().then_some(found))
                },
            )
            .await
    }

    /// The one that has a Server, and the other one.
    pub(crate) async fn until_one_of(&self, a: &str, b: &str) -> anyhow::Result<(String, String)> {
        let both = [metal_machine(a), metal_machine(b)];
        self.bed
            .wait_for("one of both has a Server", SOON, &both, || async {
                let mut has = Vec::new();
                for name in [a, b] {
                    has.push(self.machine(name).await?.data["spec"]["providerID"].is_string());
                }
                anyhow::ensure!(has != [true, true], "both have one");
                Ok(match has[..] {
                    [true, _] => Some((a.into(), b.into())),
                    [_, true] => Some((b.into(), a.into())),
                    _ => None,
                })
            })
            .await
    }

    /// Waits until the condition has this reason; returns its message.
    pub(crate) async fn until_reason(&self, name: &str, kind: &str, reason: &str) -> anyhow::Result<String> {
        self.until_message(name, kind, reason, "").await
    }

    /// Waits until the condition has this reason, and a message with this text; returns the message.
    pub(crate) async fn until_message(
        &self,
        name: &str,
        kind: &str,
        reason: &str,
        text: &str,
    ) -> anyhow::Result<String> {
        let what = format!("{kind} of MetalMachine {name} is {reason}");
        let concerned = [metal_machine(name), Object::cluster(METAL, "Server", self.server)];
        self.bed
            .wait_for(&what, SOON, &concerned, || async {
                let found = self.machine(name).await?;
                let (_, now, message) = condition(&found, kind);
                Ok((now == reason && message.contains(text)).then_some(message))
            })
            .await
    }

    pub(crate) async fn until_ready(&self, name: &str) -> anyhow::Result<()> {
        self.bed
            .wait_for("it is Ready", SOON, &[metal_machine(name)], || async {
                let found = self.machine(name).await?;
                let provisioned = found.data["status"]["initialization"]["provisioned"] == true;
                Ok((condition(&found, "Ready").0 == "True" && provisioned).then_some(()))
            })
            .await
    }

    pub(crate) async fn until_running(&self, name: &str) -> anyhow::Result<()> {
        let concerned = [
            metal_machine(name),
            machine(name),
            Object::cluster(METAL, "Server", self.server),
        ];
        self.bed
            .wait_for("the Machine is Running", SOON, &concerned, || async {
                let found = machine(name)
                    .get(self.bed.client())
                    .await?
                    .context("no Machine")?;
                Ok((found.data["status"]["phase"] == "Running").then_some(()))
            })
            .await
    }

    pub(crate) async fn until_server(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) -> anyhow::Result<()> {
        let concerned = [Object::cluster(METAL, "Server", name), binding(name)];
        self.bed
            .wait_for(&format!("Server {name}: {what}"), SOON, &concerned, || async {
                Ok(holds(&self.server(name).await?).then_some(()))
            })
            .await
    }

    pub(crate) async fn until_binding(
        &self,
        server: &str,
        what: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) -> anyhow::Result<DynamicObject> {
        self.bed
            .wait_for(&format!("ServerBinding {server}: {what}"), SOON, &[], || async {
                Ok(self.binding(server).await?.filter(|binding| holds(binding)))
            })
            .await
    }

    pub(crate) async fn until_gone(&self, name: &str) -> anyhow::Result<()> {
        let concerned = [
            metal_machine(name),
            machine(name),
            binding(self.server),
            Object::cluster(METAL, "Server", self.server),
        ];
        self.bed
            .wait_for(
                &format!("MetalMachine {name} is gone"),
                SOON,
                &concerned,
                || async {
                    let found = metal_machine(name).get(self.bed.client()).await?;
                    Ok(found.is_none().then_some(()))
                },
            )
            .await
    }

    /// Does something while CAPS does not run.
    pub(crate) async fn without_caps(
        &self,
        work: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.caps.kill()?;
        let done = work().await;
        self.caps.begin()?;
        done
    }

    pub(crate) async fn until_server_gone(&self, name: &str) -> anyhow::Result<()> {
        let object = Object::cluster(METAL, "Server", name);
        let concerned = [object.clone(), binding(name)];
        self.bed
            .wait_for(&format!("Server {name} is gone"), SOON, &concerned, || async {
                Ok(object.get(self.bed.client()).await?.is_none().then_some(()))
            })
            .await
    }

    /// The kubelet of the machine, which this test plays, joins the workload cluster.
    pub(crate) async fn node(&self, server: &str) -> anyhow::Result<()> {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": format!("node-{}", self.name), "labels": { "metal.sidero.dev/uuid": server } },
        });
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.bed.workload.client().clone());
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node)?)
            .await?;
        let status = json!({ "status": {
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played",
                "lastHeartbeatTime": jiff::Timestamp::now().to_string(),
                "lastTransitionTime": jiff::Timestamp::now().to_string(),
            }],
            "addresses": [{ "type": "InternalIP", "address": "10.77.0.99" }],
        } });
        let name = format!("node-{}", self.name);
        nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(status))
            .await?;
        Ok(())
    }

    pub(crate) async fn has_node(&self) -> anyhow::Result<bool> {
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.bed.workload.client().clone());
        Ok(nodes.get_opt(&format!("node-{}", self.name)).await?.is_some())
    }

    pub(crate) async fn until_no_node(&self) -> anyhow::Result<()> {
        self.bed
            .wait_for("the Node is gone", SOON, &[machine(self.name)], || async {
                Ok((!self.has_node().await?).then_some(()))
            })
            .await
    }

    pub(crate) fn pause_cluster(&self, name: &str, paused: bool) -> anyhow::Result<()> {
        let patch = json!({ "spec": { "paused": paused } }).to_string();
        self.bed
            .kubectl(&["patch", "cluster", name, "--type=merge", "-p", &patch])
            .map(drop)
    }

    /// A human's word about its Server.
    pub(crate) fn resume(&self, word: &str) -> anyhow::Result<()> {
        let resume = format!("metal.sidero.dev/resume={word}");
        self.bed
            .kubectl(&["annotate", "server", self.server, &resume])
            .map(drop)
    }

    /// Deletes a Machine; a human says that its Server is off once that is asked for.
    pub(crate) async fn resume_after_deletion(&self, name: &str) -> anyhow::Result<()> {
        self.delete_machine(name).await?;
        self.until_message(name, "ServerTaken", "PowerOffUnconfirmed", "PowerUnverified")
            .await?;
        self.resume("PowerUnverified")?;
        self.until_gone(name).await
    }

    /// The machine of a Server asks what to boot until it is nobody's any more.
    pub(crate) async fn until_released_by_boot(&self, server: &str) -> anyhow::Result<()> {
        let url = format!(
            "{}/ipxe?uuid={server}&mac=52-54-00-00-00-aa&arch=x86_64",
            self.services()
        );
        let concerned = [Object::cluster(METAL, "Server", server), binding(server)];
        self.bed
            .wait_for("a boot ends its release", SOON, &concerned, || async {
                if self.binding(server).await?.is_none() {
                    return Ok(Some(()));
                }
                let script = reqwest::get(&url).await?.text().await?;
                anyhow::ensure!(script.contains("gives it back"), "{script}");
                Ok(None)
            })
            .await
    }

    /// See [`erase_status`].
    pub(crate) fn erase_statuses(&self, name: &str, server: &str) -> anyhow::Result<()> {
        for (kind, name) in [
            ("metalmachine", name),
            ("metalcluster", name),
            ("serverbinding", server),
            ("server", server),
        ] {
            erase_status(self.bed, kind, name)?;
        }
        Ok(())
    }

    pub(crate) async fn delete_machine(&self, name: &str) -> anyhow::Result<()> {
        machine(name).delete(self.bed.client()).await
    }

    pub(crate) async fn delete_cluster(&self, name: &str) -> anyhow::Result<()> {
        let cluster = Object::namespaced(CLUSTER, "Cluster", "default", name);
        cluster.delete(self.bed.client()).await?;
        let concerned = [
            cluster.clone(),
            machine(name),
            metal_machine(name),
            binding(self.server),
            Object::cluster(METAL, "Server", self.server),
        ];
        self.bed
            .wait_for("the Cluster is gone", SOON * 2, &concerned, || async {
                Ok(cluster.get(self.bed.client()).await?.is_none().then_some(()))
            })
            .await
    }

    /// Removes what no Cluster owned, and stops the managers as a rollout does.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let client = self.bed.client();
        Object::cluster(METAL, "Server", self.server)
            .delete(client)
            .await?;
        self.until_server_gone(self.server).await?;
        for process in std::iter::once(&self.caps).chain(&self.metal) {
            let by_itself = process.stop(Duration::from_secs(11))?;
            anyhow::ensure!(
                by_itself,
                "a manager did not end by itself:\n{}",
                process.log_tail(20)
            );
        }
        // Cluster API leaves the last Node of a control plane
        Object::cluster("v1", "Node", &format!("node-{}", self.name))
            .delete(self.bed.workload.client())
            .await?;
        let class = format!("claims-{}", self.name);
        Object::cluster(METAL, "ServerClass", &class)
            .delete(client)
            .await?;
        let secret = format!("{}-kubeconfig", self.name);
        Object::namespaced("v1", "Secret", "default", &secret)
            .delete(client)
            .await
    }
}

/// As `clusterctl move` does: what is in the status is gone.
pub(crate) fn erase_status(bed: &Bed, kind: &str, name: &str) -> anyhow::Result<()> {
    let gone = json!([{ "op": "remove", "path": "/status" }]).to_string();
    let patch = [
        "patch",
        kind,
        name,
        "--subresource=status",
        "--type=json",
        "-p",
        &gone,
    ];
    bed.kubectl(&patch).map(drop)
}

fn metal_machine(name: &str) -> Object {
    Object::namespaced(INFRASTRUCTURE, "MetalMachine", "default", name)
}

fn machine(name: &str) -> Object {
    Object::namespaced(CLUSTER, "Machine", "default", name)
}

fn binding(server: &str) -> Object {
    Object::cluster(INFRASTRUCTURE, "ServerBinding", server)
}
