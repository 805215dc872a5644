//! Simulated BMCs, IPMI and Redfish, and a manager.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use testbed::proxy::Proxy;
use testbed::{Bed, Object, Process};
use tokio::sync::{Mutex, MutexGuard};

/// A machine of the lab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// The Server's.
    pub(crate) name: &'static str,
    /// The BMC's.
    pub(crate) bmc: &'static str,
}

/// Behind IPMI.
pub(crate) const A: Machine = Machine {
    name: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000a",
    bmc: "a",
};
/// Behind Redfish.
pub(crate) const B: Machine = Machine {
    name: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000b",
    bmc: "b",
};

/// Behind IPMI too, which its endpoint does not say; its BMC has a GUID of its own invention.
pub(crate) const C: Machine = Machine {
    name: "0b5a6f0e-51c2-4c7e-9d43-6c1f5c1c000c",
    bmc: "c",
};

const CONTROL: u16 = 6200;
const IPMI: u16 = 6230;
/// An address of its own: a bare host means the default ports.
const BARE: &str = "127.0.0.3";
const REDFISH: u16 = 8443;
const SOON: Duration = Duration::from_secs(20);

/// Short, so that the tests are; the proportions are those of the defaults.
const FLAGS: [&str; 7] = [
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=2700ms",
    "--leader-elect-retry-period=500ms",
    "--power-check-period=1s",
    "--power-cycle-rest=1s",
    "--bmc-first-retry=500ms",
    "--bmc-longest-retry=2s",
];

/// One lab at a time: a manager acts on all Servers of the cluster.
static ONE: Mutex<()> = Mutex::const_new(());

pub(crate) struct Lab<'a> {
    bed: &'a Bed,
    http: reqwest::Client,
    /// The replica that leads.
    pub(crate) manager: Process,
    /// Where it answers machines.
    pub(crate) services: String,
    sim: Process,
    _one: MutexGuard<'static, ()>,
}

impl<'a> Lab<'a> {
    pub(crate) async fn start(bed: &'a Bed) -> anyhow::Result<Self> {
        Self::start_with(bed, &[]).await
    }

    pub(crate) async fn start_with(bed: &'a Bed, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_behind(bed, flags, None).await
    }

    /// With a proxy between the manager and the API server.
    pub(crate) async fn start_behind(
        bed: &'a Bed,
        flags: &[&str],
        proxy: Option<&Proxy>,
    ) -> anyhow::Result<Self> {
        let one = ONE.lock().await;
        for machine in [A, B, C] {
            // A test that failed may have left it.
            object(machine).delete(bed.client()).await?;
        }
        let inside = bed.run().network().inside();
        let fleet = format!(
            "version: 1
users:
  - {{name: admin, password: admin-secret, role: administrator}}
bmcs:
  - name: a
    ipmi: {{listen: '{inside}:{IPMI}'}}
    machine: {{uuid: {}, manufacturer: Metal Corp, model: Model-X, serial: SN-A, firmware: bios, timings: {{on: 1ms, off: 1ms, post: 1ms}}}}
  - name: b
    redfish: {{listen: '{inside}:{REDFISH}', tls: true}}
    machine: {{uuid: {}, manufacturer: Metal Corp, model: Model-Y, serial: SN-B, firmware: uefi, timings: {{on: 1ms, off: 1ms, post: 1ms}}}}
  - name: c
    ipmi: {{listen: '{BARE}:623'}}
    machine: {{uuid: 11111111-2222-4333-8444-555555555555, manufacturer: Metal Corp, model: Model-X, serial: SN-C, firmware: bios, timings: {{on: 1ms, off: 1ms, post: 1ms}}}}
",
            A.name, B.name
        );
        let sim = bed.start_part("bmc-sim", bed.bmc_sim("bmc-sim", &fleet, CONTROL)?)?;
        let (manager, services) = manager(bed, flags, proxy)?;
        let this = Self {
            bed,
            http: reqwest::Client::new(),
            manager,
            services,
            sim,
            _one: one,
        };
        let listens = || async { this.get("/bmcs").await.map(Some) };
        bed.wait_for("bmc-sim listens", SOON, &[], listens).await?;
        Ok(this)
    }

    /// Another replica.
    pub(crate) fn another_manager(&self) -> anyhow::Result<Process> {
        manager(self.bed, &[], None).map(|(manager, _)| manager)
    }

    /// Waits until a replica says that it runs; as long as another one leads, it follows.
    pub(crate) async fn until_follows(&self, replica: &Process) -> anyhow::Result<()> {
        let runs = || async { Ok(replica.log()?.contains("starts").then_some(())) };
        self.bed.wait_for("the follower runs", SOON, &[], runs).await
    }

    /// A machine that is on, and whose cycle got as far as its *off*.
    pub(crate) async fn half_cycled(&self, machine: Machine) -> anyhow::Result<()> {
        self.secret("good", "admin-secret").await?;
        let path = format!("/bmcs/{}/power", machine.bmc);
        self.control(&path, json!({ "verb": "on", "actor": "operator" }))
            .await?;
        self.server(machine, "good", json!({ "accepted": true })).await?;
        self.annotate(machine, "metal.sidero.dev/power", Some("cycle"))
            .await?;
        self.until(machine, "off was sent", SOON, async |_| {
            Ok((self.commands(machine).await? == ["off"]).then_some(()))
        })
        .await
    }

    /// What the manager counts.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let (host, port) = self.services.rsplit_once(':').context("no port")?;
        let health = port.parse::<u16>()? - 1000;
        let answer = self.http.get(format!("{host}:{health}/metrics")).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// Stops the manager as a rollout does, and removes the Servers.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let by_itself = self.manager.stop(Duration::from_secs(11))?;
        anyhow::ensure!(
            by_itself,
            "the manager did not end by itself:\n{}",
            self.manager.log_tail(20)
        );
        drop(self.sim);
        for machine in [A, B, C] {
            object(machine).delete(self.bed.client()).await?;
        }
        Ok(())
    }

    pub(crate) async fn secret(&self, name: &str, password: &str) -> anyhow::Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "default", "name": format!("bmc-{name}") },
            "stringData": { "user": "admin", "pass": password },
        });
        self.bed.apply(&secret.to_string()).await.map(drop)
    }

    /// A Server whose credentials are in this Secret; `spec` is merged in.
    pub(crate) async fn server(&self, machine: Machine, secret: &str, spec: Value) -> anyhow::Result<()> {
        let inside = self.bed.run().network().inside();
        let from = |key: &str| json!({ "secretKeyRef": { "namespace": "default", "name": format!("bmc-{secret}"), "key": key } });
        let mut bmc = match machine.bmc {
            "a" => json!({ "endpoint": inside, "port": IPMI }),
            "c" => json!({ "endpoint": BARE }),
            _ => {
                json!({ "endpoint": format!("redfish://{inside}:{REDFISH}"), "tls": { "insecureSkipVerify": true } })
            }
        };
        bmc["userFrom"] = from("user");
        bmc["passFrom"] = from("pass");
        for (key, value) in spec["bmc"].as_object().into_iter().flatten() {
            bmc[key] = value.clone();
        }
        let server = json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": machine.name },
            "spec": { "accepted": spec["accepted"], "bmc": bmc },
        });
        self.bed.apply(&server.to_string()).await.map(drop)
    }

    pub(crate) async fn patch(&self, machine: Machine, patch: Value) -> anyhow::Result<()> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", "Server"));
        let api: Api<DynamicObject> = Api::all_with(self.bed.client().clone(), &kind);
        api.patch(machine.name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub(crate) async fn annotate(
        &self,
        machine: Machine,
        key: &str,
        value: Option<&str>,
    ) -> anyhow::Result<()> {
        self.patch(machine, json!({ "metadata": { "annotations": { key: value } } }))
            .await
    }

    async fn read(&self, machine: Machine) -> anyhow::Result<DynamicObject> {
        object(machine)
            .get(self.bed.client())
            .await?
            .context("the Server is gone")
    }

    pub(crate) async fn annotation(&self, machine: Machine, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.read(machine).await?.annotations().get(key).cloned())
    }

    pub(crate) async fn status(&self, machine: Machine) -> anyhow::Result<Value> {
        Ok(self.read(machine).await?.data["status"].clone())
    }

    /// Waits until `check` of the Server answers `Some`.
    pub(crate) async fn until<T>(
        &self,
        machine: Machine,
        what: &str,
        deadline: Duration,
        check: impl AsyncFn(&DynamicObject) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let what = format!("{}: {what}", machine.bmc);
        let look = || async { check(&self.read(machine).await?).await };
        self.bed.wait_for(&what, deadline, &[object(machine)], look).await
    }

    /// Waits until the condition has this reason; returns its message.
    pub(crate) async fn until_condition(
        &self,
        machine: Machine,
        kind: &str,
        reason: &str,
        deadline: Duration,
    ) -> anyhow::Result<String> {
        let what = format!("{kind} is {reason}");
        self.until(machine, &what, deadline, async |object| {
            let (now, message) = condition(object, kind);
            Ok((now == reason).then_some(message))
        })
        .await
    }

    pub(crate) async fn until_power(&self, machine: Machine, power: &str) -> anyhow::Result<()> {
        let what = format!("power is {power}");
        self.until(machine, &what, SOON, async |object| {
            Ok((object.data["status"]["power"] == power).then_some(()))
        })
        .await
    }

    /// Waits until the manager that leads now has looked at an unaccepted Server: it says what it does not send.
    pub(crate) async fn until_seen_anew(&self, machine: Machine, verb: &str) -> anyhow::Result<()> {
        self.annotate(machine, "metal.sidero.dev/power", Some(verb))
            .await?;
        self.until(machine, "it is looked at", SOON, async |object| {
            let (_, message) = condition(object, "PowerCommand");
            Ok(message
                .starts_with(&format!("{verb}: nothing is sent"))
                .then_some(()))
        })
        .await
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(self.url(path)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    pub(crate) async fn control(&self, path: &str, body: Value) -> anyhow::Result<()> {
        self.http
            .post(self.url(path))
            .json(&body)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }

    pub(crate) async fn fault(&self, machine: Machine, fault: &str, body: Value) -> anyhow::Result<()> {
        let url = self.url(&format!("/bmcs/{}/faults/{fault}", machine.bmc));
        self.http.put(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn clear_faults(&self, machine: Machine) -> anyhow::Result<()> {
        let url = self.url(&format!("/bmcs/{}/faults", machine.bmc));
        self.http.delete(url).send().await?.error_for_status()?;
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}:{CONTROL}{path}", self.bed.run().network().inside())
    }

    pub(crate) async fn counter(&self, machine: Machine, name: &str) -> anyhow::Result<u64> {
        let counters = self.get(&format!("/bmcs/{}/counters", machine.bmc)).await?;
        counters[name]
            .as_u64()
            .with_context(|| format!("no counter {name} in {counters}"))
    }

    async fn log(&self, machine: Machine, event: &str) -> anyhow::Result<Vec<Value>> {
        let log = self.get(&format!("/power-log?bmc={}", machine.bmc)).await?;
        let lines = log["entries"]
            .as_array()
            .with_context(|| format!("no entries in {log}"))?;
        Ok(lines
            .iter()
            .filter(|line| line["event"] == event)
            .cloned()
            .collect())
    }

    /// The mutating commands that the BMC received from the manager.
    pub(crate) async fn commands(&self, machine: Machine) -> anyhow::Result<Vec<String>> {
        let lines = self.log(machine, "received").await?;
        let from_manager = lines.iter().filter(|line| {
            line["source"]
                .as_str()
                .is_some_and(|source| !source.starts_with("control://"))
        });
        Ok(from_manager
            .filter_map(|line| Some(line["verb"].as_str()?.to_owned()))
            .collect())
    }

    /// Changes of power, as `before>after`.
    pub(crate) async fn edges(&self, machine: Machine) -> anyhow::Result<Vec<String>> {
        let lines = self.log(machine, "effect").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = lines
            .iter()
            .map(|line| (text(&line["before"]), text(&line["after"])));
        let is_power = |word: &String| word == "on" || word == "off";
        Ok(pairs
            .filter(|(before, after)| is_power(before) && is_power(after))
            .map(|(before, after)| format!("{before}>{after}"))
            .collect())
    }
}

/// Reason and message of a condition.
pub(crate) fn condition(object: &DynamicObject, kind: &str) -> (String, String) {
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
    (text("reason"), text("message"))
}

fn object(machine: Machine) -> Object {
    Object::cluster("metal.sidero.dev/v1alpha2", "Server", machine.name)
}

/// A replica, and where it answers machines.
fn manager(bed: &Bed, flags: &[&str], proxy: Option<&Proxy>) -> anyhow::Result<(Process, String)> {
    static REPLICAS: AtomicU16 = AtomicU16::new(0);
    let n = REPLICAS.fetch_add(1, Ordering::Relaxed);
    crate::played::agent_files(bed, 9500 + n)?;
    let program = bed
        .metal_controller_manager(9500 + n)?
        .args(FLAGS)
        .args(flags.iter().copied());
    let program = match proxy {
        Some(proxy) => proxy.before(program),
        None => program,
    };
    let manager = bed.start_part(&format!("metal-controller-manager-{n}"), program)?;
    Ok((
        manager,
        format!("http://{}:{}", bed.run().network().inside(), 10500 + n),
    ))
}
