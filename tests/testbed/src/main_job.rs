//! The main job: machines go from plugged in to Nodes of a Cluster API cluster and back to the pool. The demo and the main
//! end-to-end test are this one function, before different audiences.

pub mod facts;
mod files;
mod servers;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use self::files::Files;
pub use self::servers::servers;
use crate::bed::built;
use crate::lab::{Lab, Machine, Machines, Mark};
use crate::objects::Object;
use crate::{Bed, Process};

/// The Cluster, and what begins the names of what belongs to it.
pub const CLUSTER: &str = "lab";
const METAL: &str = "metal.sidero.dev/v1alpha2";
const CORE: &str = "cluster.x-k8s.io/v1beta2";
const WORKERS: &str = "lab-workers";
/// Where the managers' health listeners are: 9440 is Cluster API's here.
const PORTS: [u16; 2] = [9450, 9464];
/// Shorter than the defaults where a spectator would only wait.
const FLAGS: [&str; 3] = [
    "--power-check-period=1s",
    "--power-cycle-rest=1s",
    "--agent-poll-period=1s",
];
/// Emulated machines boot several times within a step, on processors that others use too.
const PATIENCE: Duration = Duration::from_mins(6);

/// A part of the main job that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The machines are there, off, their disks used; nobody knows them.
    PluggedIn,
    /// Somebody switched them on, and they became Servers.
    Registered,
    /// They were accepted, wiped and switched off.
    Available,
    /// A Cluster took them, they are its Nodes, and their Machines are Running.
    Running,
    /// The workers were scaled to 0: their machines were given back and wiped.
    Returned,
    /// The workers were scaled up again.
    RunningAgain,
    /// The Cluster was deleted, and all machines are Available.
    Deleted,
}

impl Step {
    /// As the facts name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PluggedIn => "plugged-in",
            Self::Registered => "registered",
            Self::Available => "available",
            Self::Running => "running",
            Self::Returned => "returned",
            Self::RunningAgain => "running-again",
            Self::Deleted => "deleted",
        }
    }
}

/// Whom the main job is done before.
pub trait Audience {
    /// What is done next.
    fn tell(&mut self, line: &str);

    /// A step is complete; the next one begins when this returns.
    fn after(&mut self, step: Step, job: &Job<'_>) -> impl Future<Output = anyhow::Result<()>>;
}

/// All that the main job runs on. Dropping it stops all of that.
pub struct Job<'a> {
    // Stopped in this order: the managers talk to the machines, all are in the network.
    /// `metal-controller-manager`.
    pub manager: Process,
    /// `caps-controller-manager`.
    pub caps: Process,
    /// The machines, behind their simulated BMCs.
    pub machines: Machines,
    /// Which machines there are; the first is the control plane's.
    pub all: Vec<Machine>,
    /// What stood on each one's disk when it was plugged in.
    pub marks: Vec<[Mark; 7]>,
    files: Files,
    _lab: Lab,
    /// The clusters.
    pub bed: &'a Bed,
}

/// Does the main job with so many machines, at least two. What it runs on is still there when it is done.
pub async fn run<'a>(bed: &'a Bed, count: usize, audience: &mut impl Audience) -> anyhow::Result<Job<'a>> {
    ensure!(
        (2..=usize::from(Machine::MOST)).contains(&count),
        "{count} machines: from 2 to {} can be had",
        Machine::MOST
    );
    let job = Job::plug_in(bed, count).await?;
    audience.after(Step::PluggedIn, &job).await?;
    audience.tell("somebody at the rack switches all of them on");
    job.register().await?;
    audience.after(Step::Registered, &job).await?;
    audience.tell("kubectl apply: a Secret, and for each Server accepted: true and its BMC");
    job.accept().await?;
    audience.after(Step::Available, &job).await?;
    audience.tell("kubectl apply: an Environment, two ServerClasses, and a Cluster of one control plane and its workers");
    job.create_cluster().await?;
    job.until_running(count).await?;
    audience.after(Step::Running, &job).await?;
    audience.tell("kubectl scale machinedeployment lab-workers --replicas=0");
    job.scale(0)?;
    job.until_available("the workers' machines are back in the pool", &job.all[1..])
        .await?;
    audience.after(Step::Returned, &job).await?;
    audience.tell(&format!(
        "kubectl scale machinedeployment lab-workers --replicas={}",
        count - 1
    ));
    job.scale(count - 1)?;
    job.until_running(count).await?;
    audience.after(Step::RunningAgain, &job).await?;
    audience.tell("kubectl delete cluster lab");
    job.delete_cluster().await?;
    job.until_available("all machines are back in the pool", &job.all)
        .await?;
    audience.after(Step::Deleted, &job).await?;
    Ok(job)
}

/// What the verifier says of the facts in this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The job was done.
    pub good: bool,
    /// Why, or why not.
    pub text: String,
}

/// Has the verifier judge facts. It is a program of its own, and knows nothing of how the job is done.
pub fn verify(facts: &Path) -> anyhow::Result<Verdict> {
    let output = Command::new(built("verifier")?).arg(facts).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Verdict {
        good: output.status.success(),
        text: String::from_utf8_lossy(&text).trim_end().to_owned(),
    })
}

/// The Server of a machine.
pub fn server(machine: Machine) -> Object {
    Object::cluster(METAL, "Server", machine.name())
}

impl<'a> Job<'a> {
    async fn plug_in(bed: &'a Bed, count: usize) -> anyhow::Result<Self> {
        let lab = Lab::start(bed).await?;
        let files = Files::serve(bed, lab.node_environment(bed)?).await?;
        let [metal, caps] = PORTS;
        let program = lab.manager(bed, metal)?.args(FLAGS);
        let manager = bed.start_part("metal-controller-manager", program)?;
        let caps = bed.start_part("caps-controller-manager", bed.caps_controller_manager(caps)?)?;
        let all: Vec<_> = Machine::first(count).collect();
        let machines = Machines::plug_in(bed, &lab, &all).await?;
        let marks = all.iter().map(|machine| machines.mark_disk(*machine));
        Ok(Self {
            marks: marks.collect::<anyhow::Result<_>>()?,
            manager,
            caps,
            machines,
            all,
            files,
            _lab: lab,
            bed,
        })
    }

    async fn register(&self) -> anyhow::Result<()> {
        for machine in &self.all {
            self.machines.switch_on(*machine).await?;
        }
        self.until_each("it is registered", &self.all, |machine, server| {
            let serial = &server["spec"]["hardware"]["system"]["serialNumber"];
            let address = &server["status"]["addresses"][0]["address"];
            ensure!(
                *serial == machine.serial_number() && address.is_string(),
                "serial number {serial}, address {address}"
            );
            Ok(())
        })
        .await
    }

    async fn accept(&self) -> anyhow::Result<()> {
        let yaml = servers(&self.all, self.bed.run().network().inside());
        self.bed.apply(&yaml).await?;
        self.until_available("it is wiped, off and available", &self.all)
            .await
    }

    async fn create_cluster(&self) -> anyhow::Result<()> {
        let certificate = std::fs::read(self.bed.workload.pki.file("ca.crt"))?;
        let numbers = |machines: &[Machine]| {
            let all = machines
                .iter()
                .map(|machine| format!("{{system: {{serialNumber: {}}}}}", machine.serial_number()));
            all.collect::<Vec<_>>().join(", ")
        };
        let yaml = include_str!("main_job/cluster.yaml")
            .replace("KERNEL", &format!("{}/vmlinuz", self.files.url))
            .replace("INITRD", &format!("{}/initramfs.xz", self.files.url))
            .replace("CONTROL_PLANE", &numbers(&self.all[..1]))
            .replace("WORKERS", &numbers(&self.all[1..]))
            .replace("REPLICAS", &(self.all.len() - 1).to_string())
            .replace("CA", &BASE64_STANDARD.encode(certificate))
            .replace("TOKEN", self.bed.node_token())
            .replace("ENDPOINT", &Lab::BOOT_SERVICES.to_string());
        // A control plane provider would write it; here it is at once there.
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
            "metadata": {
                "namespace": "default", "name": "lab-kubeconfig",
                "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER },
            },
            "stringData": { "value": std::fs::read_to_string(self.bed.workload.kubeconfig())? },
        });
        self.bed.apply(&kubeconfig.to_string()).await?;
        self.bed.apply(&yaml).await.map(drop)
    }

    fn scale(&self, replicas: usize) -> anyhow::Result<()> {
        let replicas = format!("--replicas={replicas}");
        self.bed
            .kubectl(&["scale", "machinedeployment", WORKERS, &replicas])?;
        Ok(())
    }

    async fn delete_cluster(&self) -> anyhow::Result<()> {
        let cluster = Object::namespaced(CORE, "Cluster", "default", CLUSTER);
        cluster.delete(self.bed.client()).await?;
        let concerned = concerned(&self.all, [cluster.clone()]);
        self.bed
            .wait_for("the Cluster is gone", PATIENCE, &concerned, || async {
                Ok(cluster.get(self.bed.client()).await?.is_none().then_some(()))
            })
            .await
            .with_context(|| self.consoles(&self.all))
    }

    /// Waits until there are so many Machines of the Cluster and each is Running.
    pub async fn until_running(&self, count: usize) -> anyhow::Result<()> {
        let machine = Object::namespaced(CORE, "Machine", "default", "lab-control-plane");
        let concerned = concerned(&self.all, [machine]);
        let all = format!("all {count} Machines are Running");
        self.bed
            .wait_for(&all, PATIENCE, &concerned, || async {
                let selector = format!("-lcluster.x-k8s.io/cluster-name={CLUSTER}");
                let format = "-ojsonpath={.items[*].status.phase}";
                let phases = self.bed.kubectl(&["get", "machines", &selector, format])?;
                let phases: Vec<_> = phases.split_whitespace().collect();
                let run = phases.iter().all(|phase| *phase == "Running");
                ensure!(run && phases.len() == count, "they are {phases:?}");
                Ok(Some(()))
            })
            .await
            .with_context(|| self.consoles(&self.all))
    }

    async fn until_available(&self, what: &str, machines: &[Machine]) -> anyhow::Result<()> {
        self.until_each(what, machines, |_, server| {
            let status = &server["status"];
            let (phase, power) = (&status["phase"], &status["power"]);
            ensure!(
                phase == "Available" && power == "off",
                "phase {phase}, power {power}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until the Servers of these machines say so.
    pub async fn until_each(
        &self,
        what: &str,
        machines: &[Machine],
        holds: impl Fn(Machine, &Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let concerned = concerned(machines, []);
        self.bed
            .wait_for(what, PATIENCE, &concerned, || async {
                for machine in machines {
                    let object = server(*machine).get(self.bed.client()).await?;
                    let object = object.with_context(|| format!("{} is no Server", machine.bmc()))?;
                    holds(*machine, &object.data).with_context(|| machine.bmc().to_owned())?;
                }
                Ok(Some(()))
            })
            .await
            .with_context(|| self.consoles(machines))
    }

    /// How the consoles of these machines end.
    fn consoles(&self, machines: &[Machine]) -> String {
        let mut text = String::new();
        for machine in machines {
            let log = self.machines.serial_log(*machine).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            writeln!(text, "the console of {} ends:\n{end}", machine.bmc()).ok();
        }
        text
    }

    /// Stops the managers as a rollout does, and removes what no Cluster owned.
    pub async fn end(self) -> anyhow::Result<()> {
        for process in [&self.caps, &self.manager] {
            let by_itself = process.stop(Duration::from_secs(11))?;
            ensure!(
                by_itself,
                "{} did not end by itself:\n{}",
                process.name(),
                process.log_tail(20)
            );
        }
        let client = self.bed.client();
        for object in self.all.iter().copied().map(server).chain([
            Object::cluster(METAL, "ServerClass", "control-plane"),
            Object::cluster(METAL, "ServerClass", "workers"),
            Object::cluster(METAL, "Environment", "lab-node"),
            Object::namespaced("v1", "Secret", "default", "lab-kubeconfig"),
        ]) {
            object.delete(client).await?;
        }
        // With a Cluster Cluster API leaves its Nodes.
        self.bed
            .workload_kubectl(&["delete", "nodes", "--selector=metal.sidero.dev/uuid"])
            .map(drop)
    }
}

/// What a failed wait shows.
fn concerned<const N: usize>(machines: &[Machine], others: [Object; N]) -> Vec<Object> {
    machines.iter().copied().map(server).chain(others).collect()
}
