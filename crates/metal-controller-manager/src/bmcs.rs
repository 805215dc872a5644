//! The BMCs that this replica talks to: one actor for each Server, started anew when what it needs to know changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use controller_runtime::lease::Leadership;
use crd_types::metal::Server;
use futures::channel::mpsc::UnboundedSender;
use hardware_types::ServerId;
use ipmi::session::console::Timing;
use ipmi::{CipherSuite, Privilege};
use kube::Resource as _;
use kube::runtime::reflector::{ObjectRef, Store};
use lifecycle::power::Intent;
use power_manager::credentials::{CredentialKey, Ledger, Verdict};
use power_manager::driver::{Choice, IpmiBmc, IpmiCredentials, RedfishBmc, Undecided, probe};
use power_manager::{Backoff, Clock, Endpoint, Gate, Handle, Limits, Parts, Quotas, Report, Settings, spawn};
use redfish_client::{Credentials, Options, Secret, TlsPolicy, Transport};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::fence::ServerFence;
use crate::intents::Intents;
use crate::server::facts::Site;
use crate::server::login::Login;

/// What an actor is started with; another value is another actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approach {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: TlsPolicy,
    pub(crate) login: Login,
}

impl Approach {
    /// What a verdict about these credentials is about.
    pub(crate) fn key(&self) -> CredentialKey {
        CredentialKey {
            endpoint: self.endpoint.to_string(),
            secret: self.login.source.clone(),
        }
    }
}

/// How often BMCs are asked.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    pub(crate) timings: lifecycle::Timings,
    pub(crate) poll: Duration,
    pub(crate) backoff: (Duration, Duration),
}

/// A BMC that cannot be approached like this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApproachError {
    #[error("user name or password are longer than IPMI takes: {0}")]
    TooLong(#[from] ipmi::TooLong),
    #[error("the password is no UTF-8, which Redfish needs")]
    NotText,
    #[error(transparent)]
    Transport(#[from] redfish_client::TransportError),
    #[error("what the BMC speaks is not known")]
    Undecided,
}

/// The actors of one term of leadership.
pub(crate) struct Bmcs {
    pub(crate) site: Arc<Site>,
    leadership: Leadership,
    servers: Store<Server>,
    pace: Pace,
    parts: Parts<Intents>,
    wake: UnboundedSender<ObjectRef<Server>>,
    actors: Mutex<HashMap<String, Arc<Actor>>>,
    probes: Mutex<HashMap<String, Probe>>,
    transports: Mutex<HashMap<TlsPolicy, Transport>>,
}

/// One Server's actor.
pub(crate) struct Actor {
    uid: String,
    approach: Approach,
    handle: Handle,
    /// Id of the intent that it was given; given twice, one that has ended would begin anew.
    given: Mutex<Option<String>>,
    _watcher: AbortOnDropHandle<()>,
}

impl Actor {
    pub(crate) fn report(&self) -> Report {
        self.handle.report().borrow().clone()
    }

    /// Hands the stored intent over, once.
    pub(crate) async fn carry_out(&self, intent: Intent) {
        let id = Some(intent.id.clone());
        let before = std::mem::replace(&mut *lock(&self.given), id.clone());
        if before != id {
            // One that has stopped is started anew with the next reconcile.
            self.handle.carry_out(intent).await.ok();
        }
    }

    /// The machine was seen to boot.
    pub(crate) async fn booted(&self) {
        self.handle.booted().await.ok();
    }
}

/// A question what a host speaks.
struct Probe {
    host: String,
    tls: TlsPolicy,
    answer: Arc<Mutex<Option<Result<Choice, Undecided>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Bmcs {
    pub(crate) fn new(
        site: Arc<Site>,
        leadership: Leadership,
        servers: Store<Server>,
        pace: Pace,
        store: Arc<Intents>,
        wake: UnboundedSender<ObjectRef<Server>>,
    ) -> Self {
        let parts = Parts {
            store,
            limits: Arc::new(Limits::new(Quotas::default())),
            ledger: Ledger::default(),
            clock: Clock::system(),
        };
        Self {
            site,
            leadership,
            servers,
            pace,
            parts,
            wake,
            actors: Mutex::default(),
            probes: Mutex::default(),
            transports: Mutex::default(),
        }
    }

    pub(crate) fn servers(&self) -> &Store<Server> {
        &self.servers
    }

    pub(crate) fn timings(&self) -> &lifecycle::Timings {
        &self.pace.timings
    }

    pub(crate) fn clock(&self) -> Clock {
        self.parts.clock
    }

    /// The Server's actor, if it has one.
    pub(crate) fn actor(&self, server: &Server) -> Option<Arc<Actor>> {
        lock(&self.actors).get(&key(server)).cloned()
    }

    /// Stops the Server's actor unless it is one of this uid and approach. Returns whether one was stopped: what it
    /// stored last may not be in the cache yet.
    pub(crate) async fn stop_unless(&self, server: &Server, approach: Option<&Approach>) -> bool {
        let key = key(server);
        let other = {
            let mut actors = lock(&self.actors);
            let fits = actors.get(&key).is_some_and(|actor| {
                Some(&actor.uid) == server.metadata.uid.as_ref() && Some(&actor.approach) == approach
            });
            if fits { None } else { actors.remove(&key) }
        };
        match other {
            Some(actor) => {
                stop(actor).await;
                true
            }
            None => false,
        }
    }

    /// Starts the Server's actor, if it has none.
    pub(crate) fn start(
        &self,
        server: &Server,
        id: ServerId,
        approach: Approach,
        verdict: Option<Verdict>,
    ) -> Result<Arc<Actor>, ApproachError> {
        if let Some(actor) = self.actor(server) {
            return Ok(actor);
        }
        let object = ObjectRef::from_obj(server);
        let uid = server.metadata.uid.clone().unwrap_or_default();
        let own_report = Arc::new(OnceLock::new());
        let gate = self.gate(server, own_report.clone());
        let settings = Settings {
            server: id,
            key: approach.key(),
            verdict,
            timings: self.pace.timings.clone(),
            poll: self.pace.poll,
            backoff: self.pace.backoff,
        };
        let handle = self.spawn(&approach, gate, settings)?;
        own_report.set(handle.report()).ok();
        let watcher = tokio::spawn(forward(handle.report(), object, self.wake.clone()));
        let actor = Arc::new(Actor {
            uid,
            approach,
            handle,
            given: Mutex::default(),
            _watcher: AbortOnDropHandle::new(watcher),
        });
        lock(&self.actors).insert(key(server), actor.clone());
        Ok(actor)
    }

    fn gate(&self, server: &Server, report: Arc<OnceLock<watch::Receiver<Report>>>) -> Gate {
        Gate::new(Arc::new(ServerFence {
            leadership: self.leadership.clone(),
            site: self.site.clone(),
            servers: self.servers.clone(),
            server: ObjectRef::from_obj(server),
            uid: server.metadata.uid.clone().unwrap_or_default(),
            report,
        }))
    }

    fn spawn(&self, approach: &Approach, gate: Gate, settings: Settings) -> Result<Handle, ApproachError> {
        let login = &approach.login;
        match &approach.endpoint {
            Endpoint::Ipmi { host, port } => {
                let credentials =
                    IpmiCredentials::new(&login.user, &login.password, None, Privilege::Administrator)?;
                let suites = CipherSuite::ALL.to_vec();
                let bmc = IpmiBmc::new(host, *port, credentials, suites, Timing::default(), gate.clone());
                Ok(spawn(bmc, gate, settings, self.parts.clone()))
            }
            Endpoint::Redfish(endpoint) => {
                let password =
                    String::from_utf8(login.password.clone()).map_err(|_| ApproachError::NotText)?;
                let credentials = Credentials {
                    username: login.user.clone(),
                    password: Secret::new(password),
                };
                let transport = self.transport(&approach.tls)?;
                let bmc = RedfishBmc::new(
                    transport,
                    endpoint.clone(),
                    credentials,
                    Options::default(),
                    gate.clone(),
                );
                Ok(spawn(bmc, gate, settings, self.parts.clone()))
            }
            Endpoint::Undecided { .. } => Err(ApproachError::Undecided),
        }
    }

    /// One TLS configuration for each policy.
    fn transport(&self, tls: &TlsPolicy) -> Result<Transport, redfish_client::TransportError> {
        let mut transports = lock(&self.transports);
        if let Some(transport) = transports.get(tls) {
            return Ok(transport.clone());
        }
        let transport = Transport::new(tls)?;
        transports.insert(tls.clone(), transport.clone());
        Ok(transport)
    }

    /// What `host` speaks, once that is known; asks it until it is.
    pub(crate) fn choice(
        &self,
        server: &Server,
        host: &str,
        tls: &TlsPolicy,
    ) -> Result<Option<Result<Choice, Undecided>>, ApproachError> {
        let mut probes = lock(&self.probes);
        if let Some(probe) = probes
            .get(&key(server))
            .filter(|probe| probe.host == host && probe.tls == *tls)
        {
            return Ok(lock(&probe.answer).clone());
        }
        let answer = Arc::new(Mutex::new(None));
        let transport = self.transport(tls)?;
        let object = ObjectRef::from_obj(server);
        let gate = self.gate(server, Arc::default());
        let (first, cap) = self.pace.backoff;
        let asked = ask(
            host.to_owned(),
            transport,
            gate,
            Backoff::new(first, cap),
            answer.clone(),
            {
                let wake = self.wake.clone();
                move || drop(wake.unbounded_send(object.clone()))
            },
        );
        let task = tokio::spawn(asked);
        probes.insert(
            key(server),
            Probe {
                host: host.into(),
                tls: tls.clone(),
                answer,
                _task: AbortOnDropHandle::new(task),
            },
        );
        Ok(None)
    }

    /// Asks the Server's host no more what it speaks.
    pub(crate) fn stop_asking(&self, server: &Server) {
        lock(&self.probes).remove(&key(server));
    }

    /// Stops the actors of Servers that are gone.
    pub(crate) async fn sweep(&self) {
        let is_gone = |name: &String, uid: &str| {
            let server = self.servers.get(&ObjectRef::new(name));
            server.is_none_or(|server| server.meta().uid.as_deref() != Some(uid))
        };
        let gone: Vec<_> = lock(&self.actors)
            .extract_if(|name, actor| is_gone(name, &actor.uid))
            .collect();
        lock(&self.probes).retain(|name, _| self.servers.get(&ObjectRef::new(name)).is_some());
        for (_, actor) in gone {
            stop(actor).await;
        }
    }

    /// Stops all actors: their sessions are closed, side by side.
    pub(crate) async fn stop_all(&self) {
        lock(&self.probes).clear();
        let all: Vec<_> = lock(&self.actors).drain().collect();
        futures::future::join_all(all.into_iter().map(|(_, actor)| stop(actor))).await;
    }
}

/// Waits for its end, unless a reconcile still looks at it: then it ends when that does, without closing its session.
async fn stop(actor: Arc<Actor>) {
    if let Some(actor) = Arc::into_inner(actor) {
        actor.handle.stop().await;
    }
}

/// Wakes the reconciler whenever the report changes.
async fn forward(
    mut report: watch::Receiver<Report>,
    object: ObjectRef<Server>,
    wake: UnboundedSender<ObjectRef<Server>>,
) {
    while report.changed().await.is_ok() {
        report.borrow_and_update();
        wake.unbounded_send(object.clone()).ok();
    }
}

/// Asks `host` what it speaks until it says so.
async fn ask(
    host: String,
    transport: Transport,
    gate: Gate,
    mut backoff: Backoff,
    answer: Arc<Mutex<Option<Result<Choice, Undecided>>>>,
    wake: impl Fn() + Send,
) {
    loop {
        let asked = ask_once(&host, transport.clone(), &gate).await;
        let known = asked.is_ok();
        *lock(&answer) = Some(asked);
        wake();
        if known {
            return;
        }
        sleep(backoff.failed()).await;
    }
}

async fn ask_once(host: &str, transport: Transport, gate: &Gate) -> Result<Choice, Undecided> {
    let failed = |text: String| Undecided::Failed {
        host: host.to_owned(),
        error: power_manager::BmcError::Failed {
            trouble: lifecycle::Trouble::Unreachable,
            text,
        },
    };
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let redfish = format!("redfish://{bracketed}").parse();
    let redfish = redfish.map_err(|error: redfish_client::ParseEndpointError| failed(error.to_string()))?;
    let address: Option<SocketAddr> = lookup_host((host, 623))
        .await
        .map_err(|error| failed(format!("cannot resolve the name: {error}")))?
        .next();
    let address = address.ok_or_else(|| failed("the name has no address".into()))?;
    probe(
        host,
        redfish,
        address,
        transport,
        Options::default(),
        Timing::default(),
        gate,
    )
    .await
}

fn key(server: &Server) -> String {
    server.metadata.name.clone().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
