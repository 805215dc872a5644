//! One Kubernetes control plane as processes: etcd, kube-apiserver and, for the management cluster, kube-controller-manager.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use base64::prelude::{BASE64_STANDARD, Engine};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Tools;
use crate::lab::Lab;
use crate::pki::{Pki, write_private};
use crate::process::{Process, Program};
use crate::run::Run;

/// Start-up takes 4 s on a quiet machine; noisy ones have needed four times that.
const START: Duration = Duration::from_mins(2);

/// Controllers that the tests need: without `clusterrole-aggregation` Cluster API's manager is forbidden everything,
/// without `namespace` no namespace ever ends.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,garbage-collector-controller,namespace-controller,\
     root-ca-certificate-publisher-controller,serviceaccount-controller,serviceaccount-token-controller";

/// Who may talk to an API server: a user name as RBAC knows it, its groups, and the token that proves it.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Short name: of the kubeconfig file, and of the token's user id.
    name: String,
    user: String,
    groups: Vec<String>,
    token: String,
}

impl Identity {
    fn new(name: &str, user: String, groups: &[String]) -> Self {
        // Random: any user of the machine can reach the API server's port.
        Self {
            name: name.into(),
            user,
            groups: groups.into(),
            token: format!("{:032x}", rand::random::<u128>()),
        }
    }

    /// The administrator.
    pub(crate) fn admin() -> Self {
        Self::new("admin", "admin".into(), &["system:masters".into()])
    }

    /// A manager under the service account that its RBAC names; the API server cannot tell it from the account's own token.
    pub(crate) fn service_account(name: &str, namespace: &str, account: &str) -> Self {
        let groups = [
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
        ];
        Self::new(
            name,
            format!("system:serviceaccount:{namespace}:{account}"),
            &groups,
        )
    }

    /// The nodes of the workload cluster: what kubelets get by their bootstrap token.
    pub(crate) fn node() -> Self {
        Self::new("node", "lab:node".into(), &["lab:nodes".into()])
    }

    /// The token that proves it.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    fn controller_manager() -> Self {
        Self::new(
            "kube-controller-manager",
            "system:kube-controller-manager".into(),
            &[],
        )
    }

    /// Its line of the API server's token file.
    fn token_line(&self) -> String {
        format!(
            "{},{},{},\"{}\"\n",
            self.token,
            self.user,
            self.name,
            self.groups.join(",")
        )
    }
}

/// What differs between the two control planes of a run. Ports are fixed: the network namespace is the run's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Name of the cluster; its processes are `<name>-etcd` and so on.
    pub(crate) name: &'static str,
    etcd_port: u16,
    api_port: u16,
    controllers: bool,
}

/// The cluster in which Cluster API and our managers run.
pub(crate) const MANAGEMENT: Plan = Plan {
    name: "management",
    etcd_port: 2379,
    api_port: 6443,
    controllers: true,
};
/// The cluster that the machines join.
pub(crate) const WORKLOAD: Plan = Plan {
    name: "workload",
    etcd_port: 2479,
    api_port: 7443,
    controllers: false,
};

/// The kubeconfig files of one API server.
#[derive(Debug)]
struct Kubeconfigs {
    folder: PathBuf,
    server: String,
    ca: String,
}

impl Kubeconfigs {
    fn path(&self, identity: &Identity) -> PathBuf {
        self.folder.join(format!("{}.kubeconfig", identity.name))
    }

    fn text(&self, identity: &Identity) -> String {
        let ca = BASE64_STANDARD.encode(&self.ca);
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "metal",
            "clusters": [{"name": "metal", "cluster": {"server": self.server, "certificate-authority-data": ca}}],
            "users": [{"name": identity.name, "user": {"token": identity.token}}],
            "contexts": [{"name": "metal", "context": {"cluster": "metal", "user": identity.name}}],
        });
        format!("{config:#}\n")
    }

    fn write(&self, identity: &Identity) -> anyhow::Result<PathBuf> {
        let path = self.path(identity);
        write_private(&path, &self.text(identity))?;
        Ok(path)
    }
}

/// A running control plane.
pub struct ControlPlane {
    /// Its keys and certificates.
    pub pki: Pki,
    folder: PathBuf,
    admin: Identity,
    kubeconfigs: Kubeconfigs,
    client: Client,
    processes: Vec<Process>,
}

impl ControlPlane {
    /// Starts the processes and waits until the API server is ready.
    pub(crate) async fn start(
        run: &Run,
        tools: &Tools,
        plan: Plan,
        managers: &[Identity],
    ) -> anyhow::Result<Self> {
        let folder = run.folder().join(plan.name);
        let address = run.network().inside();
        let pki = Pki::create(
            &folder.join("pki"),
            plan.name,
            // the last one is where machines of a lab reach it
            &[address, run.network().outside(), Lab::BOOT_SERVICES],
        )?;
        let (admin, controllers) = (Identity::admin(), Identity::controller_manager());
        let known: String = [&admin, &controllers]
            .into_iter()
            .chain(managers)
            .map(Identity::token_line)
            .collect();
        pki.write("tokens.csv", &known)?;

        let kubeconfigs = Kubeconfigs {
            folder: folder.clone(),
            server: format!("https://{address}:{}", plan.api_port),
            ca: pki.ca.clone(),
        };
        for identity in managers {
            kubeconfigs.write(identity)?;
        }
        kubeconfigs.write(&admin)?;
        let client = connect(&kubeconfigs.text(&admin)).await?;
        let mut this = Self {
            pki,
            folder,
            admin,
            kubeconfigs,
            client,
            processes: Vec::new(),
        };
        this.start_etcd(run, tools, plan).await?;
        this.start_api_server(run, tools, plan).await?;
        if plan.controllers {
            let kubeconfig = this.kubeconfigs.write(&controllers)?;
            this.start_controllers(run, tools, plan, &kubeconfig)?;
        }
        Ok(this)
    }

    async fn start_etcd(&mut self, run: &Run, tools: &Tools, plan: Plan) -> anyhow::Result<()> {
        let (client, peer) = (etcd_url(plan.etcd_port), etcd_url(plan.etcd_port + 1));
        let (address, health) = (run.network().inside(), plan.etcd_port + 2);
        let program = Program::new(tools.program("etcd"))
            .args(["--name", plan.name, "--unsafe-no-fsync", "--log-level=warn"])
            .args([
                "--data-dir".to_owned(),
                self.folder.join("etcd").display().to_string(),
            ])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster".to_owned(), format!("{}={peer}", plan.name)])
            .args([
                "--listen-metrics-urls".to_owned(),
                format!("http://{address}:{health}"),
            ]);
        let etcd = Process::start(
            &format!("{}-etcd", plan.name),
            program,
            run.network(),
            &run.folder(),
        )?;
        etcd.until_ready(START, || http_ok(address, health, "/health"))
            .await?;
        self.processes.push(etcd);
        Ok(())
    }

    /// Who asked for what is written down; of Leases and events nothing.
    fn audit_policy(&self) -> anyhow::Result<PathBuf> {
        let policy = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [
                { "level": "Metadata", "resources": [{ "group": "", "resources": ["nodes", "nodes/status"] }] },
                { "level": "None" },
            ],
        });
        let path = self.folder.join("audit-policy.json");
        std::fs::write(&path, policy.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.json")
    }

    /// What was asked of it about Nodes, by whom and from where: an `audit.k8s.io/v1` Event each.
    pub fn audit(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let path = self.audit_log();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let events = text.lines().map(serde_json::from_str);
        events
            .collect::<Result<_, _>>()
            .context("cannot read the audit log")
    }

    async fn start_api_server(&mut self, run: &Run, tools: &Tools, plan: Plan) -> anyhow::Result<()> {
        let program = Program::new(tools.program("kube-apiserver"))
            .arg(format!("--etcd-servers={}", etcd_url(plan.etcd_port)))
            .arg(format!("--secure-port={}", plan.api_port))
            .arg(format!("--advertise-address={}", run.network().inside()))
            .arg(format!("--tls-cert-file={}", self.pki.file("tls.crt")))
            .arg(format!("--tls-private-key-file={}", self.pki.file("tls.key")))
            .arg(format!("--client-ca-file={}", self.pki.file("ca.crt")))
            .arg(format!("--service-account-key-file={}", self.pki.file("sa.pub")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                self.pki.file("sa.key")
            ))
            .arg(format!("--token-auth-file={}", self.pki.file("tokens.csv")))
            .arg(format!("--audit-policy-file={}", self.audit_policy()?.display()))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg("--api-audiences=https://kubernetes.default.svc")
            .args([
                "--service-cluster-ip-range=10.96.0.0/24",
                "--authorization-mode=RBAC",
            ])
            .args([
                "--bind-address=0.0.0.0",
                "--endpoint-reconciler-type=none",
                "--allow-privileged=true",
            ]);
        let name = format!("{}-apiserver", plan.name);
        let server = Process::start(&name, program, run.network(), &run.folder())?;
        let ready = || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok((self.client.request_text(request).await?.trim() == "ok").then_some(()))
        };
        server.until_ready(START, ready).await?;
        self.processes.push(server);
        Ok(())
    }

    fn start_controllers(
        &mut self,
        run: &Run,
        tools: &Tools,
        plan: Plan,
        kubeconfig: &Path,
    ) -> anyhow::Result<()> {
        let program = Program::new(tools.program("kube-controller-manager"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg(format!(
                "--service-account-private-key-file={}",
                self.pki.file("sa.key")
            ))
            .arg(format!("--root-ca-file={}", self.pki.file("ca.crt")))
            .args([
                "--secure-port=0",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
            ]);
        let name = format!("{}-controllers", plan.name);
        self.processes
            .push(Process::start(&name, program, run.network(), &run.folder())?);
        Ok(())
    }

    /// Its processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfigs.path(&self.admin)
    }

    /// The kubeconfig file of one of the managers it was started with.
    pub(crate) fn kubeconfig_of(&self, identity: &Identity) -> PathBuf {
        self.kubeconfigs.path(identity)
    }

    /// A client with the rights of an identity.
    pub(crate) async fn client_of(&self, identity: &Identity) -> anyhow::Result<Client> {
        let path = self.kubeconfig_of(identity);
        let kubeconfig =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        connect(&kubeconfig).await
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

async fn connect(kubeconfig: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn etcd_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Whether an HTTP server answers 200 to `GET path`.
pub(crate) async fn http_ok(address: Ipv4Addr, port: u16, path: &str) -> anyhow::Result<Option<()>> {
    let mut stream = tokio::net::TcpStream::connect((address, port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let line = answer.lines().next().unwrap_or_default();
    anyhow::ensure!(line.contains(" 200"), "{path} answers {line:?}");
    Ok(Some(()))
}
