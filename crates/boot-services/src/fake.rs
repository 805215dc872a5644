//! A directory that says what a test wants, and the HTTP port in front of it on a loopback socket.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_protocol::api::agent_client::AgentClient;
use agent_protocol::{Registration, Token, api};
use boot_protocols::ipxe::{DiskMethod, Endpoint};
use hardware_types::wipe::{Certificate, WipeOrder};
use hardware_types::{Mac, ServerId};
use lifecycle::boot::{View, Why, take_wipe};
use lifecycle::facts::Window;
use lifecycle::{IdentityVerdict, Observed};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent_boots::AgentBoots;
use crate::http::{Config, router};
use crate::server::{self, Bounds};
use crate::{
    Address, Directory, Environment, HttpMetrics, NoEnvironment, Progress, RegisterError, Sighting,
    Unavailable,
};

pub(crate) const UUID: &str = "4c4c4544-0039-3010-8048-b7c04f384432";
pub(crate) const MAC: Mac = Mac::new([0x52, 0x54, 0, 0x77, 0, 1]);
/// Longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn id() -> ServerId {
    UUID.parse().unwrap()
}

/// A registered machine that nobody accepted.
pub(crate) fn view() -> View {
    View {
        observed: Observed {
            accepted: false,
            paused: false,
            installation: Some("here".into()),
            here: "here".into(),
            identity: IdentityVerdict::Unknown,
            identity_confirmed: false,
            orphaned: false,
            unexpectedly_on: false,
        },
        released: false,
        bound: false,
        clean: false,
        macs: vec![MAC],
        registered: true,
        reported: true,
        window: None,
        wipe_due: None,
        wipe_due_for: None,
        wipe_failed: false,
        has_driver: false,
        environment_always: false,
    }
}

/// An accepted machine that is to be wiped, inside its window.
pub(crate) fn wiping() -> View {
    let mut view = view();
    view.observed.accepted = true;
    view.window = "w-1 agent 1800000000".parse().ok();
    view.wipe_due = Some(3);
    view
}

/// What its agent reports.
pub(crate) fn report() -> api::CreateServerRequest {
    report_of(UUID)
}

pub(crate) fn report_of(uuid: &str) -> api::CreateServerRequest {
    let system = api::SystemInformation {
        uuid: uuid.into(),
        manufacturer: "Metal Corp".into(),
        ..Default::default()
    };
    api::CreateServerRequest {
        hostname: "rack1-u01".into(),
        boot_mac: MAC.to_string(),
        hardware: Some(api::HardwareInformation {
            system: Some(system),
            ..Default::default()
        }),
    }
}

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) views: Mutex<HashMap<ServerId, View>>,
    pub(crate) is_full: AtomicBool,
    pub(crate) method: Mutex<Option<DiskMethod>>,
    /// What a live look finds for a machine that somebody has.
    pub(crate) environment: Mutex<Option<Result<Environment, NoEnvironment>>>,
    pub(crate) is_down: AtomicBool,
    /// Never answers.
    pub(crate) hangs: AtomicBool,
    /// Questions that hang.
    pub(crate) waiting: AtomicUsize,
    /// A live look finds that something has the machine.
    pub(crate) is_claimed: AtomicBool,
    pub(crate) progress: Mutex<Vec<Progress>>,
    pub(crate) refusal: Mutex<Option<RegisterError>>,
    pub(crate) registered: Mutex<Vec<Registration>>,
    pub(crate) addresses: Mutex<Vec<Address>>,
    pub(crate) seen: Mutex<Vec<(ServerId, Sighting)>>,
}

impl Fake {
    fn check(&self, id: ServerId, token: Option<&Token>, generation: u64) -> Result<(), RegisterError> {
        let views = self.views.lock().unwrap();
        let view = views.get(&id).ok_or(RegisterError::Unknown(id))?;
        let holds = self.holds(id, view, token);
        Ok(take_wipe(view, holds, generation)?)
    }

    fn refuse(&self) -> Result<(), RegisterError> {
        self.refusal.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

impl Directory for Fake {
    async fn view(&self, id: ServerId) -> Result<Option<View>, Unavailable> {
        if self.hangs.load(Ordering::Relaxed) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Unavailable("the API server has not been read yet".into()));
        }
        Ok(self.views.lock().unwrap().get(&id).cloned())
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    async fn environment(&self, _: ServerId) -> Result<Result<Environment, NoEnvironment>, Unavailable> {
        let found = self.environment.lock().unwrap().clone();
        Ok(found.unwrap_or_else(|| Err(NoEnvironment::Missing("Environment \"default\"".into()))))
    }

    fn disk_method(&self, _: ServerId) -> Option<DiskMethod> {
        *self.method.lock().unwrap()
    }

    async fn register(&self, report: Registration) -> Result<(), RegisterError> {
        self.refuse()?;
        self.registered.lock().unwrap().push(report);
        Ok(())
    }

    async fn addresses(
        &self,
        _: ServerId,
        _: Option<Token>,
        addresses: Vec<Address>,
    ) -> Result<(), RegisterError> {
        self.refuse()?;
        *self.addresses.lock().unwrap() = addresses;
        Ok(())
    }

    fn token(&self, _: ServerId, window: &Window) -> Option<Token> {
        Token::new(&format!("token-of-{}", window.id))
    }

    fn is_token(&self, id: ServerId, window: &Window, token: &Token) -> bool {
        self.token(id, window).as_ref() == Some(token)
    }

    async fn order_wipe(
        &self,
        _: ServerId,
        _: Token,
        generation: u64,
    ) -> Result<Result<WipeOrder, Why>, RegisterError> {
        self.refuse()?;
        if self.is_claimed.load(Ordering::Relaxed) {
            return Ok(Err(Why::Claimed));
        }
        Ok(Ok(WipeOrder {
            generation,
            include_wwids: vec!["naa.1".into()],
            heartbeat: Duration::from_secs(10),
        }))
    }

    async fn wiping(
        &self,
        id: ServerId,
        token: Option<Token>,
        progress: Progress,
    ) -> Result<(), RegisterError> {
        self.check(id, token.as_ref(), progress.generation)?;
        self.progress.lock().unwrap().push(progress);
        Ok(())
    }

    async fn wiped(
        &self,
        id: ServerId,
        token: Option<Token>,
        certificate: Certificate,
    ) -> Result<Result<(), String>, RegisterError> {
        self.check(id, token.as_ref(), certificate.generation)?;
        Ok(if certificate.disks.is_empty() {
            Err("disk /dev/sda vanished".into())
        } else {
            Ok(())
        })
    }

    fn seen(&self, id: ServerId, sighting: Sighting) {
        self.seen.lock().unwrap().push((id, sighting));
    }
}

/// The HTTP port on a port that the kernel chose.
pub(crate) struct Running {
    pub(crate) directory: Arc<Fake>,
    pub(crate) agent_boots: Arc<Mutex<AgentBoots>>,
    /// Its folder `data` is the data directory, with the agent's files.
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

pub(crate) async fn start() -> Running {
    start_with(Bounds::default(), |_| {}).await
}

pub(crate) async fn start_with(bounds: Bounds, change: impl FnOnce(&mut Config)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    for file in [
        "env/agent-amd64/vmlinuz",
        "env/agent-amd64/initramfs.xz",
        "tftp/snp.efi",
    ] {
        let file = data_dir.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "0123456789").unwrap();
    }
    let mut config = Config {
        endpoint: Endpoint::new("10.77.0.3", 8081).unwrap(),
        data_dir,
        disk_method: DiskMethod::IpxeExit,
        extra_agent_kernel_args: Vec::new(),
        poll: Duration::from_secs(7),
        agent_wait: Duration::from_mins(10),
    };
    change(&mut config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (directory, stop) = (Arc::new(Fake::default()), CancellationToken::new());
    let agent_boots = Arc::<Mutex<AgentBoots>>::default();
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let router = router(
        config,
        Arc::clone(&directory),
        Arc::clone(&agent_boots),
        axum::Router::new(),
        metrics.clone(),
    );
    let task = tokio::spawn(server::run(listener, router, bounds, metrics, stop.clone()));
    Running {
        directory,
        agent_boots,
        folder,
        address,
        registry,
        stop,
        task,
    }
}

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Running {
    pub(crate) fn know(&self, view: View) {
        self.directory.views.lock().unwrap().insert(id(), view);
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "").await
    }

    /// One request, its target as it stands; `headers` end in line breaks.
    pub(crate) async fn ask(&self, method: &str, target: &str, headers: &str) -> Answer {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n{headers}\r\n");
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        read_answer(&mut stream).await
    }

    /// Waits until so many questions hang.
    pub(crate) async fn asked(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.directory.waiting.load(Ordering::Relaxed) < count {
            assert!(
                Instant::now() < deadline,
                "fewer than {count} questions come through"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn agent(&self) -> AgentClient<tonic::transport::Channel> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        AgentClient::new(endpoint.connect().await.unwrap())
    }

    /// All metrics as text.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// All that comes until the other side ends the connection.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("no answer")
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("no head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.into(),
    }
}
