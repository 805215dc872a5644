//! The facts of a run of the main job: what watches saw of the API, what stood on the disks, the simulator's power log.
//! Facts only; whether the job was done is the verifier's to say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::{CLUSTER, Job, Step};
use crate::lab::{Machine, Mark};
use crate::objects::resource;

/// The version of the format.
const VERSION: u64 = 1;
/// Bytes of a block that is read.
const BLOCK: u64 = Mark::LENGTH as u64;
/// Pause before a watch that broke is taken up again.
const RETRY: Duration = Duration::from_millis(200);
const METAL: &str = "metal.sidero.dev/v1alpha2";
const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io/v1alpha3";
const CORE: &str = "cluster.x-k8s.io/v1beta2";

/// Facts as they are collected. Dropping it ends that.
#[derive(Debug)]
pub struct Collector {
    objects: Arc<Mutex<Vec<Value>>>,
    steps: Vec<Value>,
    disks: Vec<Value>,
    _watches: JoinSet<()>,
}

impl Collector {
    /// Begins to watch what belongs to the job.
    pub fn start(job: &Job<'_>) -> Self {
        let objects = Arc::new(Mutex::new(Vec::new()));
        let mut watches = JoinSet::new();
        let (management, workload) = (job.bed.client(), job.bed.workload.client());
        for (client, api_version, kind) in [
            (management, METAL, "Server"),
            (management, INFRASTRUCTURE, "ServerBinding"),
            (management, INFRASTRUCTURE, "MetalMachine"),
            (management, CORE, "Machine"),
            (management, CORE, "Cluster"),
            (workload, "v1", "Node"),
        ] {
            let watch = Watch {
                kind,
                ours: job.all.iter().map(|machine| machine.name()).collect(),
                known: BTreeMap::new(),
                told: objects.clone(),
            };
            watches.spawn(watch.keep(client.clone(), api_version));
        }
        Self {
            objects,
            steps: Vec::new(),
            disks: Vec::new(),
            _watches: watches,
        }
    }

    /// A step is complete: notes when, and what stands on the disks.
    pub fn after(&mut self, step: Step, job: &Job<'_>) -> anyhow::Result<()> {
        self.steps.push(json!({ "t": now(), "name": step.name() }));
        for (machine, marks) in job.all.iter().zip(&job.marks) {
            let blocks = blocks(job, *machine, marks)?;
            self.disks.push(json!({
                "t": now(), "after": step.name(), "server": machine.name(), "blocks": blocks,
            }));
        }
        Ok(())
    }

    /// Writes all of it.
    pub async fn write(&self, job: &Job<'_>, path: &Path) -> anyhow::Result<()> {
        let log = job.machines.get("/power-log").await?;
        let machines = job.all.iter().map(|machine| {
            json!({
                "server": machine.name(), "bmc": machine.bmc(),
                "disk": { "serial": machine.disk_serial_number(), "bytes": Machine::DISK_SIZE },
            })
        });
        let facts = json!({
            "version": VERSION,
            "machines": machines.collect::<Vec<_>>(),
            "steps": self.steps,
            "disks": self.disks,
            "power": log["entries"],
            "objects": *lock(&self.objects),
        });
        let text = serde_json::to_string_pretty(&facts)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The places that are looked at: both ends of the disk, and where marks were when it was plugged in.
fn blocks(job: &Job<'_>, machine: Machine, marks: &[Mark]) -> anyhow::Result<Vec<Value>> {
    let ends = [
        ("first block", 0, true),
        ("last block", Machine::DISK_SIZE - BLOCK, true),
    ];
    let marks = marks
        .iter()
        .map(|mark| (mark.place, mark.offset, mark.is_metadata));
    let mut blocks = Vec::new();
    for (place, offset, edge) in ends.into_iter().chain(marks) {
        let bytes = job.machines.read_disk(machine, offset, Mark::LENGTH)?;
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        blocks.push(json!({
            "place": place, "offset": offset, "length": BLOCK, "edge": edge, "sha256": sha256,
        }));
    }
    Ok(blocks)
}

/// A watch of one kind.
struct Watch {
    kind: &'static str,
    ours: Vec<&'static str>,
    /// What is there, by uid: a list after the first tells nothing of what went meanwhile.
    known: BTreeMap<String, DynamicObject>,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Watch {
    async fn keep(mut self, client: Client, api_version: &'static str) {
        let api: Api<DynamicObject> = Api::all_with(client, &resource(api_version, self.kind));
        let mut stream = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.extend(object.uid());
                    self.seen(object);
                }
                Ok(Event::InitDone) => {
                    let gone = self.known.keys().filter(|uid| !listed.contains(uid));
                    for uid in gone.cloned().collect::<Vec<_>>() {
                        self.gone(&uid);
                    }
                }
                Ok(Event::Apply(object)) => self.seen(object),
                Ok(Event::Delete(object)) => self.gone(&object.uid().unwrap_or_default()),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    fn seen(&mut self, object: DynamicObject) {
        if self.is_ours(&object) {
            self.note("seen", &object);
            self.known.insert(object.uid().unwrap_or_default(), object);
        }
    }

    fn gone(&mut self, uid: &str) {
        if let Some(object) = self.known.remove(uid) {
            self.note("gone", &object);
        }
    }

    fn is_ours(&self, object: &DynamicObject) -> bool {
        let has = |name: &str| self.ours.contains(&name);
        match self.kind {
            "Server" | "ServerBinding" => has(&object.name_any()),
            "Node" => server(self.kind, object).is_some_and(|name| has(&name)),
            "Cluster" => object.name_any() == CLUSTER,
            _ => {
                object
                    .labels()
                    .get("cluster.x-k8s.io/cluster-name")
                    .map(String::as_str)
                    == Some(CLUSTER)
            }
        }
    }

    fn note(&self, event: &str, object: &DynamicObject) {
        let status = &object.data["status"];
        let owners = object.owner_references().iter();
        let owner = owners
            .filter(|owner| self.kind == "MetalMachine" && owner.kind == "Machine")
            .map(|owner| owner.uid.as_str())
            .next();
        lock(&self.told).push(json!({
            "t": now(), "kind": self.kind, "event": event,
            "namespace": object.namespace(), "name": object.name_any(), "uid": object.uid(),
            "phase": status["phase"].as_str(), "power": status["power"].as_str(),
            "server": server(self.kind, object), "node": status["nodeRef"]["name"].as_str(),
            "owner": owner, "deleting": object.metadata.deletion_timestamp.is_some(),
        }));
    }
}

/// The Server that an object is about.
fn server(kind: &str, object: &DynamicObject) -> Option<String> {
    if kind == "ServerBinding" {
        return object.metadata.name.clone();
    }
    let label = object.labels().get("metal.sidero.dev/uuid");
    let provider = object.data["spec"]["providerID"].as_str();
    let provider = provider.and_then(|id| id.strip_prefix("sidero://"));
    label.map(String::as_str).or(provider).map(Into::into)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// RFC 3339, UTC, milliseconds.
fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
