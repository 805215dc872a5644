//! All BMCs of a fleet file in one process: sockets, tasks, and an orderly end.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, HostEvents, InMemory};
use crate::bmc::Bmc;
use crate::clock::Clock;
use crate::config::{BmcConfig, FleetConfig};
use crate::control;
use crate::ipmi_front::IpmiFront;
use crate::power_log::PowerLog;
use crate::qemu::Qemu;
use crate::redfish_front::{self, RedfishFront, TlsError};
use crate::users::UserError;

/// A fleet that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error("cannot listen at {address} for {what}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Which front end of which BMC, or the control API.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The users of a BMC will not do.
    #[error("BMC {bmc:?}: users")]
    Users {
        /// The BMC.
        bmc: String,
        /// Why.
        source: UserError,
    },
    /// There is no thread for the virtual machine of a BMC.
    #[error("BMC {bmc:?}: cannot start a thread for QEMU")]
    Thread {
        /// The BMC.
        bmc: String,
        /// Why.
        source: std::io::Error,
    },
}

/// One BMC with the addresses it really listens at.
pub struct Member {
    /// The BMC.
    pub bmc: Arc<Bmc>,
    /// UDP address of IPMI.
    pub ipmi: Option<SocketAddr>,
    /// TCP address of Redfish.
    pub redfish: Option<SocketAddr>,
    front: Option<Arc<RedfishFront>>,
}

impl Member {
    /// Where Redfish is.
    pub fn redfish_url(&self) -> Option<String> {
        let tls = self.bmc.config().redfish.as_ref()?.tls;
        Some(format!(
            "{}://{}",
            if tls { "https" } else { "http" },
            self.redfish?
        ))
    }

    /// The certificate of its Redfish front end; `None` without TLS.
    pub fn certificate_pem(&self) -> Result<Option<String>, TlsError> {
        self.front
            .as_ref()
            .map_or(Ok(None), |front| front.certificate_pem())
    }
}

/// A running fleet.
pub struct Fleet {
    members: Vec<Member>,
    by_name: HashMap<Arc<str>, usize>,
    clock: Arc<Clock>,
    log: Arc<PowerLog>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Fleet {
    /// Binds every socket and starts every BMC; the power log also goes to `log_file`.
    pub async fn start(config: FleetConfig, log_file: Option<File>) -> Result<Arc<Self>, StartError> {
        let mut fleet = Self {
            members: Vec::with_capacity(config.bmcs.len()),
            by_name: HashMap::new(),
            clock: Arc::new(Clock::start()),
            log: Arc::new(PowerLog::new(log_file)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let router = redfish_front::router();
        for bmc in &config.bmcs {
            if let Err(error) = fleet.add(bmc, &config, &router).await {
                fleet.stop.cancel();
                return Err(error);
            }
        }
        Ok(Arc::new(fleet))
    }

    async fn add(
        &mut self,
        config: &BmcConfig,
        fleet: &FleetConfig,
        router: &Router,
    ) -> Result<(), StartError> {
        let (clock, log) = (self.clock.clone(), self.log.clone());
        let users = config
            .user_table(&fleet.users)
            .map_err(|source| StartError::Users {
                bmc: config.name.clone(),
                source,
            })?;
        let (events, received) = tokio::sync::mpsc::unbounded_channel();
        let backend = self.backend(config, events)?;
        let seed = seed(fleet.seed, &config.name);
        let bmc = Arc::new(Bmc::new(config.clone(), users, seed, backend, clock, log));

        let mut member = Member {
            bmc: bmc.clone(),
            ipmi: None,
            redfish: None,
            front: None,
        };
        if let Some(ipmi) = &config.ipmi {
            let socket = UdpSocket::bind(ipmi.listen).await;
            let (socket, address) = bound(socket, UdpSocket::local_addr, ipmi.listen, "IPMI", &config.name)?;
            member.ipmi = Some(address);
            let front = IpmiFront::new(bmc.clone(), ipmi);
            self.tasks.spawn(front.serve(socket, self.stop.clone()));
        }
        if let Some(redfish) = &config.redfish {
            let listener = TcpListener::bind(redfish.listen).await;
            let (listener, address) = bound(
                listener,
                TcpListener::local_addr,
                redfish.listen,
                "Redfish",
                &config.name,
            )?;
            member.redfish = Some(address);
            let front = Arc::new(RedfishFront::new(bmc.clone(), redfish.clone()));
            self.tasks
                .spawn(front.clone().serve(listener, router.clone(), self.stop.clone()));
            member.front = Some(front);
        }
        let stop = self.stop.clone();
        self.tasks.spawn(async move { bmc.run(received, stop).await });
        self.by_name.insert(member.bmc.name().clone(), self.members.len());
        self.members.push(member);
        Ok(())
    }

    fn backend(&self, config: &BmcConfig, events: HostEvents) -> Result<Box<dyn Backend>, StartError> {
        let (clock, machine) = (self.clock.clone(), &config.machine);
        let Some(qemu) = &machine.qemu else {
            return Ok(Box::new(InMemory::new(clock, machine.timings.soft_off, events)));
        };
        let (backend, supervisor) =
            Qemu::new(&config.name, machine, qemu, clock, events).map_err(|source| StartError::Thread {
                bmc: config.name.clone(),
                source,
            })?;
        self.tasks.spawn(supervisor.run(self.stop.clone()));
        Ok(Box::new(backend))
    }

    /// Serves the control API; returns the address it really listens at.
    pub async fn serve_control(self: &Arc<Self>, address: SocketAddr) -> Result<SocketAddr, StartError> {
        let error = |source| StartError::Listen {
            address,
            what: "the control API".into(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        let service = control::router(self.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = async { axum::serve(listener, service).await } => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the control API ended");
                    }
                }
            }
        });
        Ok(bound)
    }

    /// Every BMC, in the order of the fleet file.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// The BMC of this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).and_then(|index| self.members.get(*index))
    }

    /// The clock of all BMCs.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The power log of all BMCs.
    pub fn log(&self) -> &PowerLog {
        &self.log
    }

    /// Closes every socket and ends every task.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Each BMC draws its own chances.
fn seed(fleet: u64, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (fleet, name).hash(&mut hasher);
    hasher.finish()
}

fn bound<S>(
    socket: std::io::Result<S>,
    local_addr: impl Fn(&S) -> std::io::Result<SocketAddr>,
    address: SocketAddr,
    front: &str,
    bmc: &str,
) -> Result<(S, SocketAddr), StartError> {
    let error = |source| StartError::Listen {
        address,
        what: format!("{front} of BMC {bmc:?}"),
        source,
    };
    let socket = socket.map_err(error)?;
    let address = local_addr(&socket).map_err(error)?;
    Ok((socket, address))
}
