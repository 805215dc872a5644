//! The whole test bed of a run: management cluster with Cluster API, workload cluster, and the grip on each part.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use kube::api::DynamicObject;

use crate::cluster_api::{self, MANAGERS};
use crate::control_plane::{ControlPlane, Identity, MANAGEMENT, WORKLOAD};
use crate::objects::{self, Object};
use crate::observer::fleet::Fleet;
use crate::observer::{Fleets, Observer, Scope};
use crate::process::{Process, Program, tail};
use crate::run::Run;
use crate::wait::until;

/// Lines of each log that a failed wait shows.
const TAIL: usize = 5;

/// Namespace of our managers.
const NAMESPACE: &str = "sidero-system";

/// The programs and manifests that `cargo xtask tools` built.
#[derive(Debug, Clone)]
pub struct Tools(PathBuf);

impl Tools {
    /// Where `cargo xtask` said they are.
    pub fn from_env() -> anyhow::Result<Self> {
        let folder = std::env::var_os("METAL_TOOLS")
            .context("METAL_TOOLS is not set: start through `cargo xtask test e2e` or `cargo xtask demo`")?;
        Ok(Self(folder.into()))
    }

    /// The folder of all of them.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The path of a program, such as `kubectl`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// The folder with the kernel of the lab's machines: `vmlinuz` and `lib/modules/VERSION/`.
    pub fn kernel(&self) -> PathBuf {
        self.0.join("kernel")
    }

    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.0.join("manifests").join(name)
    }
}

/// A running test bed. Dropping it stops and removes everything.
pub struct Bed {
    // Fields drop in this order: processes before the network they live in.
    managers: Vec<Process>,
    /// The cluster in which Cluster API and our managers run.
    pub management: ControlPlane,
    /// The cluster that the machines join.
    pub workload: ControlPlane,
    /// Whom our managers are taken for.
    own: Identity,
    /// Whom the workload cluster takes its nodes for.
    node: Identity,
    /// The simulators that were made.
    fleets: Fleets,
    run: Run,
    tools: Tools,
}

impl Bed {
    /// Starts everything and waits until it is ready. `tell` hears what is done, as it is done.
    pub async fn start(tools: Tools, tell: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Self> {
        // The tests' own TLS clients use it too; a second installation is refused and does no harm.
        rustls::crypto::ring::default_provider().install_default().ok();
        let run = Run::start()?;
        tell(&format!(
            "run {} has its network, {}",
            run.slot().0,
            run.network().inside()
        ));
        let own = Identity::service_account("metal-managers", NAMESPACE, "default");
        let node = Identity::node();
        match start_parts(&run, &tools, &own, &node, tell).await {
            Ok((managers, management, workload)) => Ok(Self {
                managers,
                management,
                workload,
                own,
                node,
                fleets: Fleets::default(),
                run,
                tools,
            }),
            Err(error) => {
                let kept = run.keep_logs();
                Err(error.context(format!("the logs of all parts are in {}", kept.display())))
            }
        }
    }

    /// The run: its number, folder and network.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The programs it was started from.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// A client of the management cluster.
    pub fn client(&self) -> &Client {
        self.management.client()
    }

    /// The credential by which a machine becomes a node of the workload cluster.
    pub fn node_token(&self) -> &str {
        self.node.token()
    }

    /// All processes.
    pub fn parts(&self) -> impl Iterator<Item = &Process> {
        self.management
            .processes()
            .iter()
            .chain(self.workload.processes())
            .chain(&self.managers)
    }

    /// One process by name, to stop, kill or start again.
    pub fn part(&self, name: &str) -> anyhow::Result<&Process> {
        self.parts().find(|part| part.name() == name).with_context(|| {
            let names: Vec<_> = self.parts().map(Process::name).collect();
            format!("the test bed has no part {name:?}; it has {}", names.join(", "))
        })
    }

    /// Starts one more part. It is the caller's, and killed when dropped.
    pub fn start_part(&self, name: &str, program: Program) -> anyhow::Result<Process> {
        Process::start(name, program, self.run.network(), &self.run.folder())
    }

    /// `metal-controller-manager` as this workspace built it, under the identity that its RBAC names, without DHCP and
    /// TFTP. Several replicas fit beside each other on different ports; a replica's HTTP port is 1000 above.
    pub fn metal_controller_manager(&self, health_port: u16) -> anyhow::Result<Program> {
        Ok(self
            .manager(health_port)?
            .arg(format!("--api-endpoint={}", self.run.network().inside()))
            .arg(format!("--http-port={}", health_port + 1000))
            .arg(format!("--data-dir={}", self.data_dir(health_port).display()))
            .arg("--disable-dhcp-proxy")
            .arg("--disable-tftp"))
    }

    /// The folder of what machines load from the manager at this port. It makes the folder when it needs it.
    pub fn data_dir(&self, health_port: u16) -> PathBuf {
        self.run.folder().join(format!("boot-{health_port}"))
    }

    /// `metal-controller-manager` that boots machines: reached at `endpoint`, with the folder of what they load.
    pub(crate) fn booting_manager(
        &self,
        health_port: u16,
        endpoint: Ipv4Addr,
        data_dir: &Path,
    ) -> anyhow::Result<Program> {
        Ok(self
            .manager(health_port)?
            .arg(format!("--api-endpoint={endpoint}"))
            .arg(format!("--data-dir={}", data_dir.display())))
    }

    /// `caps-controller-manager` as this workspace built it, under the identity that its RBAC names.
    pub fn caps_controller_manager(&self, health_port: u16) -> anyhow::Result<Program> {
        self.program("caps-controller-manager", health_port)
    }

    fn manager(&self, health_port: u16) -> anyhow::Result<Program> {
        self.program("metal-controller-manager", health_port)
    }

    fn program(&self, name: &str, health_port: u16) -> anyhow::Result<Program> {
        let kubeconfig = self.management.kubeconfig_of(&self.own);
        Ok(Program::new(built(name)?)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!(
                "--health-addr={}:{health_port}",
                self.run.network().inside()
            )))
    }

    /// Watches the invariants from now on. It must start before the managers and simulators that it is to watch.
    pub async fn observe(&self, scope: Scope) -> anyhow::Result<Observer> {
        Observer::start(self, self.fleets.clone(), scope).await
    }

    /// A client with our managers' own identity: what it writes is taken for a manager's.
    pub async fn manager_client(&self) -> anyhow::Result<Client> {
        self.management.client_of(&self.own).await
    }

    /// The kubeconfig of our managers, and the address of the API server in it.
    pub(crate) fn managers_kubeconfig(&self) -> anyhow::Result<(String, String)> {
        let path = self.management.kubeconfig_of(&self.own);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let rest = text
            .split("https://")
            .nth(1)
            .context("the kubeconfig names no server")?;
        let address = rest
            .split(['"', '\'', '\n', ' ', ',', '}'])
            .next()
            .unwrap_or_default();
        let server = format!("https://{address}");
        Ok((text, server))
    }

    /// `bmc-sim` with a fleet file of this text. Its control API is at this port of the run's address.
    pub fn bmc_sim(&self, name: &str, fleet: &str, control_port: u16) -> anyhow::Result<Program> {
        let file = self.run.folder().join(format!("{name}.yaml"));
        fs::write(&file, fleet).with_context(|| format!("cannot write {}", file.display()))?;
        let mut fleets = self.fleets.lock().unwrap_or_else(PoisonError::into_inner);
        let power_log = self
            .run
            .folder()
            .join(format!("{name}-{}.power-log", fleets.len()));
        fleets.push(Fleet::read(fleet, power_log.clone())?);
        Ok(Program::new(built("bmc-sim")?)
            .arg(format!("--config={}", file.display()))
            .arg(format!("--power-log={}", power_log.display()))
            .arg(format!(
                "--control={}:{control_port}",
                self.run.network().inside()
            )))
    }

    /// Waits until a manager of Cluster API that was killed and started again is ready.
    pub async fn until_manager_ready(&self, name: &str) -> anyhow::Result<()> {
        let manager = MANAGERS
            .iter()
            .find(|manager| manager.name == name)
            .with_context(|| format!("no manager {name:?}"))?;
        manager.until_ready(&self.run, self.part(name)?).await
    }

    /// Applies the objects of a YAML text to the management cluster.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<usize> {
        objects::apply(self.client(), objects::parse(yaml)?).await
    }

    /// Waits until `check` answers `Some`. The error shows `concerned` with their conditions, and every part's log tail.
    pub async fn wait_for<T, F>(
        &self,
        what: &str,
        deadline: Duration,
        concerned: &[Object],
        check: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        match until(what, deadline, check).await {
            Ok(value) => Ok(value),
            Err(error) => Err(anyhow::anyhow!("{error:#}\n{}", self.report(concerned).await)),
        }
    }

    async fn report(&self, concerned: &[Object]) -> String {
        let mut report = String::from("the objects concerned:\n");
        for object in concerned {
            report.push_str(&object.story(self.client()).await);
        }
        let logs = fs::read_dir(self.run.folder().join("log"));
        let mut logs: Vec<_> = logs
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            // A capture is no text.
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            let name = log.file_stem().unwrap_or_default().display();
            writeln!(report, "\nlog of {name} ends:\n{}", tail(&log, TAIL)).ok();
        }
        report
    }
}

/// Both clusters, and Cluster API's managers on the first.
async fn start_parts(
    run: &Run,
    tools: &Tools,
    own: &Identity,
    node: &Identity,
    tell: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(Vec<Process>, ControlPlane, ControlPlane)> {
    let identities: Vec<Identity> = MANAGERS.iter().map(|manager| manager.identity()).collect();
    let known = [&identities[..], std::slice::from_ref(own)].concat();
    let (management, workload) = tokio::try_join!(
        ControlPlane::start(run, tools, MANAGEMENT, &known),
        ControlPlane::start(run, tools, WORKLOAD, std::slice::from_ref(node)),
    )?;
    tell("both API servers are ready");
    objects::apply(workload.client(), objects::parse(include_str!("bed/nodes.yaml"))?).await?;

    let client = management.client();
    until_namespace_default(client).await?;
    let count = cluster_api::install(client, tools, &management).await?;
    let applied = objects::apply(client, own_definitions()?).await?;
    cluster_api::established(client).await?;
    tell(&format!(
        "{count} objects of Cluster API and {applied} of ours are applied, their kinds are served"
    ));

    let mut managers = Vec::new();
    for (manager, identity) in MANAGERS.iter().zip(&identities) {
        managers.push(manager.start(run, tools, &management, identity)?);
    }
    for (manager, process) in MANAGERS.iter().zip(&managers) {
        manager.until_ready(run, process).await?;
    }
    tell("Cluster API's managers are ready");
    Ok((managers, management, workload))
}

/// A program of this workspace: `cargo build --workspace` puts all of them beside the folder of the tests.
pub(crate) fn built(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folders = this.ancestors().skip(1).take(2);
    let program = folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    program.with_context(|| format!("{name} is not built: `cargo build --workspace --all-targets` does it"))
}

/// The checked-in CustomResourceDefinitions, admission policies and access rules of this project.
fn own_definitions() -> anyhow::Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for folder in ["../../crds", "../../config/policy", "../../config/rbac"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            objects.extend(objects::parse(&fs::read_to_string(file?.path())?)?);
        }
    }
    Ok(objects)
}

/// Objects in a namespace are refused until the namespace and its service account exist.
async fn until_namespace_default(client: &Client) -> anyhow::Result<()> {
    let account = Object::namespaced("v1", "ServiceAccount", "default", "default");
    until("service account default", Duration::from_mins(1), || {
        account.get(client)
    })
    .await
    .map(|_| ())
}
